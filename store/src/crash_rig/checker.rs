//! What was tried and what was acknowledged, and what is wrong with an answer.
//!
//! Each sample describes itself: its value and its moment are functions of its writer and its
//! sequence number, so a sample that is read proves whence it came, and no copy is kept.

use model::sample::stale_marker;
use model::{LabelSet, SeriesColumns, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const TENANTS: [&str; 2] = ["left", "right"];
const BASE_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
const DAY_MS: i64 = 86_400_000;

/// A series: the tenant's index, and a number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Writer {
    pub(super) tenant: usize,
    pub(super) number: u64,
}

/// A sample: its writer, and its number within that.
pub(super) type Id = (Writer, u64);

pub(super) fn labels_of(writer: Writer) -> LabelSet {
    let pairs = [
        ("__name__", format!("metric_{}", writer.number % 3)),
        ("instance", format!("host-{}", writer.number / 2)),
        ("job", "rig".to_owned()),
        ("owner", TENANTS[writer.tenant].to_owned()),
        ("writer", writer.number.to_string()),
    ];
    LabelSet::from_pairs(pairs).unwrap()
}

/// Every fifth sample is three days late, and one in eight is of an odd kind.
pub(super) fn sample_of((writer, sequence): Id) -> (i64, f64) {
    let days_late = if sequence % 5 == 4 { 3 } else { 0 };
    let steps = i64::try_from(sequence).unwrap();
    let timestamp_ms = BASE_MS + steps * STEP_MS - days_late * DAY_MS;
    let plain = (writer.number + 1) * (1 << 40) + sequence;
    let value = match sequence % 64 {
        7 => f64::NEG_INFINITY,
        15 => -0.0,
        23 => stale_marker(),
        31 => f64::from_bits(0x7ff8_0000_0000_0000 | (plain & 0xFFFF)),
        39 => f64::from_bits(plain),
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        _ => plain as f64,
    };
    (timestamp_ms, value)
}

fn id_at(writer: Writer, timestamp_ms: i64) -> Option<Id> {
    [0, 3].into_iter().find_map(|days_late| {
        let steps = (timestamp_ms - BASE_MS + days_late * DAY_MS).checked_div(STEP_MS)?;
        let id = (writer, u64::try_from(steps).ok()?);
        (sample_of(id).0 == timestamp_ms).then_some(id)
    })
}

pub(super) fn now() -> TimestampMs {
    TimestampMs(BASE_MS + DAY_MS / 2)
}

/// The history of one store over all its lives.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) tried: BTreeSet<Id>,
    pub(super) acknowledged: BTreeSet<Id>,
    /// What a start answered after its replay: it may not vanish again.
    pub(super) seen: BTreeSet<Id>,
    /// How many compactions were carried out.
    pub(super) compactions: u64,
    /// The next sequence number of each writer.
    next: BTreeMap<Writer, u64>,
}

impl History {
    /// A sample that was never tried before.
    pub(super) fn next(&mut self, writer: Writer) -> Id {
        let next = self.next.entry(writer).or_default();
        *next += 1;
        (writer, *next - 1)
    }

    /// Takes in what other writers did at the same time.
    pub(super) fn merge(&mut self, other: Self) {
        self.tried.extend(other.tried);
        self.acknowledged.extend(other.acknowledged);
        self.next.extend(other.next);
    }

    /// What is wrong with an answer to "everything", tenant by tenant; and what was in it.
    pub(super) fn check(&self, answers: &[Vec<SeriesColumns>]) -> (Vec<String>, BTreeSet<Id>) {
        let mut faults = Vec::new();
        let mut found = BTreeSet::new();
        for (tenant, answer) in answers.iter().enumerate() {
            let mut writers = BTreeSet::new();
            for series in answer {
                let number = series.labels.value("writer").parse().unwrap_or(u64::MAX);
                let writer = Writer { tenant, number };
                if number == u64::MAX || series.labels != labels_of(writer) {
                    faults.push(format!("leaked or invented series {:?}", series.labels));
                    continue;
                }
                if !writers.insert(number) {
                    faults.push(format!("{writer:?} is answered twice"));
                }
                self.check_series(writer, series, &mut found, &mut faults);
            }
        }
        let lost = self.acknowledged.difference(&found);
        faults.extend(lost.map(|id| format!("{id:?} was acknowledged and is lost")));
        let vanished = self.seen.difference(&found);
        faults.extend(vanished.map(|id| format!("{id:?} was seen and has vanished")));
        (faults, found)
    }

    fn check_series(
        &self,
        writer: Writer,
        series: &SeriesColumns,
        found: &mut BTreeSet<Id>,
        faults: &mut Vec<String>,
    ) {
        let floats = &series.floats;
        if !floats.timestamps_ms.is_sorted_by(|a, b| a < b) {
            faults.push(format!("{writer:?} has a moment twice or out of order"));
        }
        for (timestamp_ms, value) in floats.timestamps_ms.iter().zip(&floats.values) {
            match id_at(writer, *timestamp_ms).filter(|id| self.tried.contains(id)) {
                Some(id) if sample_of(id).1.to_bits() == value.to_bits() => {
                    found.insert(id);
                }
                Some(id) => faults.push(format!("{id:?} has the wrong value {value}")),
                None => faults.push(format!("{writer:?} at {timestamp_ms} was invented")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (History, Vec<Vec<SeriesColumns>>) {
        let mut history = History::default();
        let mut answers = vec![Vec::new(), Vec::new()];
        for (tenant, answer) in answers.iter_mut().enumerate() {
            for number in 0..4 {
                let writer = Writer { tenant, number };
                let mut series = SeriesColumns { labels: labels_of(writer), ..Default::default() };
                let mut samples: Vec<_> = (0..70).map(|_| history.next(writer)).collect();
                history.tried.extend(samples.iter().copied());
                history.acknowledged.extend(samples.iter().copied());
                samples.sort_by_key(|id| sample_of(*id).0);
                samples.iter().map(|id| sample_of(*id)).for_each(|(t, v)| series.floats.push(t, v));
                answer.push(series);
            }
        }
        (history, answers)
    }

    #[test]
    fn a_true_answer_is_not_flagged_and_every_lie_is() {
        let (mut history, truth) = history();
        assert_eq!(history.check(&truth).0, Vec::<String>::new());
        history.seen = history.check(&truth).1;
        assert_eq!(history.seen, history.tried);

        type Lie = fn(&mut Vec<Vec<SeriesColumns>>);
        let lies: [(&str, Lie); 12] = [
            ("a sample dropped", |a| {
                a[0][1].floats.timestamps_ms.remove(5);
                a[0][1].floats.values.remove(5);
            }),
            ("a sample twice", |a| {
                let (t, v) = (a[1][1].floats.timestamps_ms[5], a[1][1].floats.values[5]);
                a[1][1].floats.timestamps_ms.insert(6, t);
                a[1][1].floats.values.insert(6, v);
            }),
            ("a bit flipped", |a| {
                let value = &mut a[0][2].floats.values[9];
                *value = f64::from_bits(value.to_bits() ^ 1);
            }),
            ("a sign of zero lost", |a| {
                let zero =
                    a[0][0].floats.values.iter().position(|v| *v == 0.0 && v.is_sign_negative());
                a[0][0].floats.values[zero.unwrap()] = 0.0;
            }),
            ("a payload of a NaN lost", |a| {
                let nan = a[0][0].floats.values.iter().position(|v| v.is_nan());
                a[0][0].floats.values[nan.unwrap()] = f64::NAN;
            }),
            ("a moment shifted", |a| a[0][3].floats.timestamps_ms[0] -= 1),
            ("two moments swapped", |a| a[0][3].floats.timestamps_ms.swap(0, 1)),
            ("two values swapped", |a| a[0][3].floats.values.swap(0, 1)),
            ("a series dropped", |a| drop(a[1].remove(0))),
            ("a series twice", |a| {
                let series = a[1][0].clone();
                a[1].push(series);
            }),
            ("tenants swapped", |a| a.swap(0, 1)),
            ("an invented sample", |a| a[0][0].floats.push(BASE_MS + 9_000 * STEP_MS, 1.0)),
        ];
        for (lie, tell) in lies {
            let mut answers = truth.clone();
            tell(&mut answers);
            assert!(!history.check(&answers).0.is_empty(), "{lie}");
        }
    }
}
