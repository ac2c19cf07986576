//! What a server has of a batch, and whether that is what the ledger says.
//!
//! # Invariants
//! - Whatever an answer holds is judged: series that the batch does not have are faults, too.
//! - Values are compared by their bits, except for the payload of a NaN, which JSON has no words for.

use super::ledger::{Outcome, Run};
use super::{METRIC, is_stale, value_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So many faults are named.
const NAMED_MAX: usize = 10;
/// A series that is none of the batch's, by its labels.
pub(super) const STRAY: u32 = u32::MAX;

/// The samples that were found, by series, in the order of the answer.
pub(super) type Found = BTreeMap<u32, Vec<(i64, f64)>>;
/// The times of a batch that were asked for, and what had come of each.
pub(super) type Times = BTreeMap<i64, Outcome>;

/// What was found to be wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Acknowledged and not there.
    pub(super) missing: u64,
    pub(super) wrong: u64,
    /// Never sent, or not under these labels.
    pub(super) unknown: u64,
    pub(super) twice: u64,
    /// A part of what one request had for one metric.
    pub(super) torn: u64,
    /// Seen, and not any more, while no attempt at it had failed.
    pub(super) flicker: u64,
    /// A question of another kind has another answer than the samples give.
    pub(super) other: u64,
    /// Seen, and not any more, after an attempt that failed: nobody was promised it, so it is no fault.
    pub(super) gone: u64,
    named: Vec<String>,
}

impl Faults {
    pub(super) fn count(&self) -> u64 {
        let lost = self.missing + self.torn + self.flicker;
        lost + self.wrong + self.unknown + self.twice + self.other
    }

    pub(super) fn report(&self) -> Value {
        json!({
            "missing": self.missing,
            "wrong_value": self.wrong,
            "never_sent": self.unknown,
            "twice": self.twice,
            "torn": self.torn,
            "seen_and_gone": self.flicker,
            "other_answers": self.other,
            "unacknowledged_and_gone": self.gone,
            "first_faults": self.named,
        })
    }

    pub(super) fn name(&mut self, what: &str, series: u32, timestamp_ms: i64) {
        self.say(|| format!("{what}: series {series} at {timestamp_ms}"));
    }

    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(what());
        }
    }

    /// Those of another judgement, too.
    pub(super) fn add(&mut self, other: Self) {
        self.missing += other.missing;
        self.wrong += other.wrong;
        self.unknown += other.unknown;
        self.twice += other.twice;
        self.torn += other.torn;
        self.flicker += other.flicker;
        self.other += other.other;
        self.gone += other.gone;
        other.named.into_iter().for_each(|what| self.say(|| what));
    }
}

/// Compares all that was found of a batch with its times.
pub(super) fn judge(run: Run, batch: u32, times: &Times, found: &Found, faults: &mut Faults) {
    let (ours, none) = (run.series_of(batch), Vec::new());
    for (series, samples) in found.iter().filter(|(series, _)| !ours.contains(series)) {
        faults.unknown += samples.len().max(1) as u64;
        let at = samples.first().map_or(0, |sample| sample.0);
        faults.name("labels that were never sent", *series, at);
    }
    for series in ours {
        let samples = found.get(&series).unwrap_or(&none);
        judge_series(run.run, series, times, samples, faults);
    }
}

fn judge_series(run: u64, series: u32, times: &Times, samples: &[(i64, f64)], faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (timestamp_ms, value) in samples {
        if !seen.insert(*timestamp_ms) {
            faults.twice += 1;
            faults.name("twice", series, *timestamp_ms);
        } else if !times.contains_key(timestamp_ms) {
            faults.unknown += 1;
            faults.name("never sent", series, *timestamp_ms);
        } else if !is_it(*value, value_of(run, series, *timestamp_ms)) {
            faults.wrong += 1;
            faults.name("wrong value", series, *timestamp_ms);
        }
    }
    for (timestamp_ms, _) in times.iter().filter(|(_, of)| of.is_promised()) {
        // No range of samples shows a marker; what it hides is asked for at the end.
        let is_hidden = is_stale(value_of(run, series, *timestamp_ms));
        if !is_hidden && !seen.contains(timestamp_ms) {
            faults.missing += 1;
            faults.name("missing", series, *timestamp_ms);
        }
    }
}

/// What a request has for one metric is there as a whole or not at all, once nobody is at work on it.
pub(super) fn judge_parts(run: Run, batch: u32, times: &Times, found: &Found, faults: &mut Faults) {
    for (at, _) in times.iter().filter(|(_, of)| !of.is_promised()) {
        let mut parts: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for series in run.series_of(batch) {
            if !is_stale(value_of(run.run, series, *at)) {
                let has = |all: &Vec<(i64, f64)>| all.iter().any(|sample| sample.0 == *at);
                let (have, all) = parts.entry(series % run.metrics.max(1)).or_default();
                *have += u32::from(found.get(&series).is_some_and(has));
                *all += 1;
            }
        }
        for (metric, (have, all)) in
            parts.into_iter().filter(|(_, (have, all))| 0 < *have && have < all)
        {
            faults.torn += 1;
            faults
                .say(|| format!("torn: {have} of {all} of batch {batch}, metric {metric} at {at}"));
        }
    }
}

/// Whether a value that was told is the one that was sent.
pub(super) fn is_it(told: f64, sent: f64) -> bool {
    told.to_bits() == sent.to_bits() || (told.is_nan() && sent.is_nan() && !is_stale(sent))
}

/// Which series of a run these labels are of, if they are as they were sent.
pub(super) fn series_of_labels(run: Run, labels: &Value) -> u32 {
    let text = |name: &str| labels[name].as_str().unwrap_or_default();
    let is_ours = |series: &u32| {
        let batch = series / run.batch_series.max(1);
        let metric = format!("{METRIC}_{}", series % run.metrics.max(1));
        text("batch") == batch.to_string()
            && text("run") == run.run.to_string()
            && text("__name__") == metric
            && labels.as_object().is_some_and(|all| all.len() == 4)
    };
    text("series").parse().ok().filter(is_ours).unwrap_or(STRAY)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
