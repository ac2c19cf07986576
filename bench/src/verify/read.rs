//! Reads back all that a ledger says was written, and asks the same in other words.

use super::asked::Asked;
use super::judge::{Faults, Found, Times, is_it, judge, judge_parts};
use super::ledger::{Ledger, Run};
use super::{Error, is_stale, value_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

/// One question asks for about so many samples at most.
const QUESTION_SAMPLES: usize = 200_000;
/// So long before the first time and behind the last one nothing may be.
const MARGIN_MS: i64 = 3_600_000;
/// At so many moments a batch is asked for its newest values, too.
const MOMENTS: usize = 48;

/// Reads back what a ledger says was written, and judges: `holds` in the report says whether every
/// acknowledged sample was found exactly once and nothing else, and whether counts, series and newest values
/// are those of the samples.
///
/// # Errors
/// [`Error`] if the ledger or the server cannot be read.
pub fn read(target: SocketAddr, prefix: &str, ledger: &Path) -> Result<Value, Error> {
    let ledger = Ledger::read(ledger)?;
    let mut reading = Reading::of(Asked::new(target, prefix), ledger.run);
    for (batch, times) in &ledger.batches {
        reading.batch(*batch, times)?;
    }
    Ok(reading.report())
}

#[derive(Debug)]
struct Reading {
    asked: Asked,
    run: Run,
    faults: Faults,
    acknowledged: u64,
    found: u64,
    /// Of those that were found, whom nobody had acknowledged.
    doubtful: u64,
}

impl Reading {
    fn of(asked: Asked, run: Run) -> Self {
        Self { asked, run, faults: Faults::default(), acknowledged: 0, found: 0, doubtful: 0 }
    }

    fn batch(&mut self, batch: u32, times: &Times) -> Result<(), Error> {
        let (Some(first), Some(last)) = (times.keys().next(), times.keys().next_back()) else {
            return Ok(());
        };
        let (first_ms, last_ms) = (*first, *last);
        let times_max = QUESTION_SAMPLES.div_ceil(self.run.batch_series.max(1) as usize).max(1);
        let all: Vec<i64> = times.keys().copied().collect();
        // A range is open on its left and closed on its right.
        let mut start_ms = first_ms - MARGIN_MS;
        for some in all.chunks(times_max) {
            let to_ms = some.last().copied().unwrap_or(start_ms);
            let end_ms = if to_ms == last_ms { to_ms + MARGIN_MS } else { to_ms };
            let found = self.asked.samples(self.run, batch, start_ms, end_ms)?;
            let times = times.range(start_ms + 1..=end_ms).map(|(at, is)| (*at, *is)).collect();
            judge(self.run, batch, &times, &found, &mut self.faults);
            judge_parts(self.run, batch, &times, &found, &mut self.faults);
            self.count(&times, &found);
            let counts = self.asked.counts(self.run, batch, start_ms, end_ms)?;
            let of_samples =
                found.iter().map(|(series, all)| (series.to_string(), all.len() as u64));
            let of_samples: BTreeMap<String, u64> = of_samples.filter(|(_, n)| *n > 0).collect();
            self.expect(counts == of_samples, || format!("counts of batch {batch} up to {end_ms}"));
            start_ms = end_ms;
        }
        self.names(batch, times, first_ms - MARGIN_MS, last_ms + MARGIN_MS)?;
        self.moments(batch, times)
    }

    fn count(&mut self, times: &Times, found: &Found) {
        let kept = times.values().filter(|is| is.is_promised()).count() as u64;
        self.acknowledged += kept * u64::from(self.run.batch_series);
        for (at, _) in found.values().flatten() {
            self.found += 1;
            self.doubtful += u64::from(!times.get(at).is_some_and(|is| is.is_promised()));
        }
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.other += 1;
            self.faults.say(what);
        }
    }

    /// The series are told once each, and no others.
    fn names(&mut self, batch: u32, times: &Times, start: i64, end: i64) -> Result<(), Error> {
        let told = self.asked.series(self.run, batch, start, end)?;
        let once: BTreeSet<u32> = told.iter().copied().collect();
        let ours: BTreeSet<u32> = self.run.series_of(batch).collect();
        let is_promised = times.values().any(|is| is.is_promised());
        let is_whole = if is_promised { once == ours } else { once.is_subset(&ours) };
        self.expect(is_whole && told.len() == once.len(), || format!("series of batch {batch}"));
        Ok(())
    }

    /// At some of the times that were acknowledged the newest values are those of that time, and a series that a
    /// marker has ended is not there.
    fn moments(&mut self, batch: u32, times: &Times) -> Result<(), Error> {
        let sure = times.iter().filter(|(_, is)| is.is_promised()).map(|(at, _)| *at);
        let sure: Vec<i64> = sure.collect();
        for at in sure.iter().step_by(sure.len().div_ceil(MOMENTS).max(1)) {
            let found = self.asked.newest(self.run, batch, *at)?;
            let of = |series| (series, value_of(self.run.run, series, *at));
            let sent = self.run.series_of(batch).map(of).filter(|(_, value)| !is_stale(*value));
            let sent: BTreeMap<u32, f64> = sent.collect();
            let is_same = |(series, told): (&u32, &Vec<(i64, f64)>)| {
                let [(_, told)] = told[..] else { return false };
                sent.get(series).is_some_and(|sent| is_it(told, *sent))
            };
            let is_whole = found.len() == sent.len() && found.iter().all(is_same);
            self.expect(is_whole, || format!("newest values of batch {batch} at {at}"));
        }
        Ok(())
    }

    fn report(&self) -> Value {
        let mut report = self.faults.report();
        report["run"] = json!(self.run.run.to_string());
        report["samples_acknowledged"] = json!(self.acknowledged);
        report["samples_found"] = json!(self.found);
        report["unacknowledged_and_found"] = json!(self.doubtful);
        report["holds"] = json!(self.faults.count() == 0 && self.acknowledged > 0);
        report
    }
}
