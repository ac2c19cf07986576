//! What was tried and what was acknowledged, and what is wrong with an answer.
//!
//! Each sample describes itself: its value and its moment are functions of its writer and its
//! sequence number, so a sample that is read proves whence it came, and no copy is kept.

use super::aging::Aging;
use model::histogram::{Counts, Span};
use model::sample::stale_marker;
use model::{DeleteRequest, Histogram, LabelSet, Matcher, SeriesColumns, TimeRange, TimestampMs};
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

/// One writer in six sends histograms.
pub(super) fn is_histogram(number: u64) -> bool {
    number % 6 == 5
}

/// What a sample of such a writer holds: its value is the sum.
pub(super) fn histogram_of(id: Id) -> Histogram {
    let counts = Counts::Integer {
        count: id.1 + 3,
        zero_count: 2,
        positive: vec![id.1, 1],
        negative: Vec::new(),
    };
    let positive_spans = vec![Span { offset: 1, length: 2 }];
    Histogram { sum: sample_of(id).1, positive_spans, counts, ..Histogram::stale() }
}

/// Whose samples a delete takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Writer(u64),
    Metric(u64),
}

/// A delete of what lies in `[start_ms, end_ms)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) tenant: usize,
    whose: Whose,
    start_ms: i64,
    pub(super) end_ms: i64,
}

impl Deletion {
    /// Of some samples that follow each other, in time or late.
    pub(super) fn new(tenant: usize, whose: Whose, first: u64, count: u64, is_late: bool) -> Self {
        let at = |sequence: u64| {
            let days_late = if is_late { 3 } else { 0 };
            BASE_MS + i64::try_from(sequence).unwrap() * STEP_MS - days_late * DAY_MS
        };
        Self { tenant, whose, start_ms: at(first), end_ms: at(first + count) }
    }

    pub(super) fn request(&self) -> DeleteRequest {
        let matcher = match self.whose {
            Whose::Writer(number) => Matcher::equal("writer", &*number.to_string()),
            Whose::Metric(number) => Matcher::equal("__name__", &*format!("metric_{number}")),
        };
        let (start, end) = (TimestampMs(self.start_ms), TimestampMs(self.end_ms));
        let matcher_sets = vec![vec![matcher]];
        DeleteRequest { matcher_sets, range: TimeRange { start, end }, revision_max: 0 }
    }

    fn covers(&self, (writer, sequence): Id) -> bool {
        let is_whose = match self.whose {
            Whose::Writer(number) => writer.number == number,
            Whose::Metric(number) => writer.number % 3 == number,
        };
        let is_in = (self.start_ms..self.end_ms).contains(&sample_of((writer, sequence)).0);
        is_whose && is_in && writer.tenant == self.tenant
    }
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
    /// Deletes that were answered: what they cover is gone, also what comes later.
    pub(super) deleted: Vec<Deletion>,
    /// Deletes that failed: they are done whole or not at all, and the next start shows which.
    pub(super) unsure: Vec<Deletion>,
    /// Deletes of what is too old by now: they may be forgotten.
    forgotten: Vec<Deletion>,
    /// The clock, and what rules of retention hide.
    pub(super) aging: Aging,
    /// Snapshots that were answered, and what was true then.
    pub(super) snapshots: BTreeMap<String, History>,
    /// Names for snapshots.
    pub(super) names: u64,
    /// How often each job was done.
    pub(super) jobs: BTreeMap<&'static str, u64>,
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

    /// The history as a snapshot that is taken now has to know it.
    pub(super) fn moment(&self) -> Self {
        Self { snapshots: BTreeMap::new(), seen: BTreeSet::new(), ..self.clone() }
    }

    /// What was sent, of which nothing was acknowledged.
    pub(super) fn only_tried(&self) -> Self {
        Self { tried: self.tried.clone(), ..Self::default() }
    }

    /// Whether the job was done.
    pub(super) fn count(&mut self, job: &'static str, is_done: bool) {
        *self.jobs.entry(job).or_default() += u64::from(is_done);
    }

    /// The moment it is.
    pub(super) fn now(&self) -> TimestampMs {
        self.aging.now()
    }

    /// These are sent.
    pub(super) fn send(&mut self, samples: &[Id]) {
        samples.iter().for_each(|id| self.aging.sent_again(*id));
        self.tried.extend(samples.iter().copied());
    }

    /// The rules of retention were set, or that failed.
    pub(super) fn set_rules(&mut self, rules: usize, is_done: bool) {
        self.aging.set(rules, is_done, &self.tried);
    }

    /// From now on deletes of what is too old need not hold any more.
    pub(super) fn forget_deletes(&mut self) {
        for list in [&mut self.deleted, &mut self.unsure] {
            let over = |deletion: &Deletion| self.aging.may_forget(deletion);
            self.forgotten.extend(list.iter().filter(|deletion| over(deletion)));
            list.retain(|deletion| !over(deletion));
        }
    }

    fn may_be_hidden(&self, id: Id) -> bool {
        let mut deletions = self.deleted.iter().chain(&self.unsure).chain(&self.forgotten);
        self.aging.may_be_hidden(id) || deletions.any(|deletion| deletion.covers(id))
    }

    /// Learns from what a start found which of the deletes that failed were done after all: that
    /// may not change again.
    pub(super) fn settle(&mut self, found: &BTreeSet<Id>) -> Vec<String> {
        let unsure = std::mem::take(&mut self.unsure);
        let mut faults = Vec::new();
        for (index, deletion) in unsure.iter().enumerate() {
            let others = unsure.iter().enumerate().filter(|(other, _)| *other != index);
            let others: Vec<&Deletion> = others
                .map(|(_, other)| other)
                .chain(&self.deleted)
                .chain(&self.forgotten)
                .collect();
            let is_alone = |id: &&Id| {
                !others.iter().any(|other| other.covers(**id)) && !self.aging.may_be_hidden(**id)
            };
            let covered = self.acknowledged.iter().filter(|id| deletion.covers(**id));
            let (there, gone): (Vec<&Id>, Vec<&Id>) =
                covered.filter(is_alone).partition(|id| found.contains(id));
            match (there.is_empty(), gone.is_empty()) {
                (true, true) => self.unsure.push(*deletion),
                (true, false) => self.deleted.push(*deletion),
                (false, true) => {}
                (false, false) => faults.push(format!("{deletion:?} is done by half: {gone:?}")),
            }
        }
        faults
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
        let is_missing = |id: &&Id| !self.may_be_hidden(**id);
        let lost = self.acknowledged.difference(&found).filter(is_missing);
        faults.extend(lost.map(|id| format!("{id:?} was acknowledged and is lost")));
        let vanished = self.seen.difference(&found).filter(is_missing);
        faults.extend(vanished.map(|id| format!("{id:?} was seen and has vanished")));
        let is_deleted = |id: &&Id| self.deleted.iter().any(|deletion| deletion.covers(**id));
        let resurrected = found.iter().filter(is_deleted);
        faults.extend(resurrected.map(|id| format!("{id:?} was deleted and is resurrected")));
        let expired = found.iter().filter(|id| self.aging.is_hidden(**id));
        faults.extend(expired.map(|id| format!("{id:?} has expired and is shown")));
        (faults, found)
    }

    fn check_series(
        &self,
        writer: Writer,
        series: &SeriesColumns,
        found: &mut BTreeSet<Id>,
        faults: &mut Vec<String>,
    ) {
        let (floats, histograms) = (&series.floats, &series.histograms);
        let is_other_empty = match is_histogram(writer.number) {
            true => floats.is_empty(),
            false => histograms.is_empty(),
        };
        if !is_other_empty {
            faults.push(format!("{writer:?} has samples of a kind that it never sent"));
        }
        let bits_of = |id: Id| sample_of(id).1.to_bits();
        let floats = floats.timestamps_ms.iter().zip(&floats.values);
        let floats = floats.map(|(at, value)| {
            (*at, Box::new(move |id| bits_of(id) == value.to_bits()) as Box<dyn Fn(Id) -> bool>)
        });
        let histograms = histograms.timestamps_ms.iter().zip(&histograms.values);
        let histograms = histograms.map(|(at, value)| {
            (*at, Box::new(move |id| histogram_of(id) == **value) as Box<dyn Fn(Id) -> bool>)
        });
        let mut before = None;
        for (timestamp_ms, is_of) in floats.chain(histograms) {
            if before.replace(timestamp_ms).is_some_and(|before| before >= timestamp_ms) {
                faults.push(format!("{writer:?} has a moment twice or out of order"));
            }
            match id_at(writer, timestamp_ms).filter(|id| self.tried.contains(id)) {
                Some(id) if is_of(id) => drop(found.insert(id)),
                Some(id) => faults.push(format!("{id:?} has the wrong value")),
                None => faults.push(format!("{writer:?} at {timestamp_ms} was invented")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::HistogramSample;
    use std::sync::Arc;

    fn history() -> (History, Vec<Vec<SeriesColumns>>) {
        let mut history = History::default();
        let mut answers = vec![Vec::new(), Vec::new()];
        for (tenant, answer) in answers.iter_mut().enumerate() {
            for number in [0, 1, 2, 3, 5] {
                let writer = Writer { tenant, number };
                let mut series = SeriesColumns { labels: labels_of(writer), ..Default::default() };
                let mut samples: Vec<_> = (0..70).map(|_| history.next(writer)).collect();
                history.tried.extend(samples.iter().copied());
                history.acknowledged.extend(samples.iter().copied());
                samples.sort_by_key(|id| sample_of(*id).0);
                for id in samples {
                    let (at, value) = sample_of(id);
                    match is_histogram(number) {
                        true => series.histograms.push_sample(HistogramSample {
                            timestamp_ms: at,
                            histogram: Arc::new(histogram_of(id)),
                            start_timestamp_ms: 0,
                            revision: 0,
                        }),
                        false => series.floats.push(at, value),
                    }
                }
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
        let lies: [(&str, Lie); 14] = [
            ("a sample dropped", |a| {
                a[0][1].floats.timestamps_ms.to_mut().remove(5);
                a[0][1].floats.values.remove(5);
            }),
            ("a sample twice", |a| {
                let (t, v) = (a[1][1].floats.timestamps_ms[5], a[1][1].floats.values[5]);
                a[1][1].floats.timestamps_ms.to_mut().insert(6, t);
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
            ("a moment shifted", |a| a[0][3].floats.timestamps_ms.to_mut()[0] -= 1),
            ("two moments swapped", |a| a[0][3].floats.timestamps_ms.to_mut().swap(0, 1)),
            ("two values swapped", |a| a[0][3].floats.values.swap(0, 1)),
            ("a series dropped", |a| drop(a[1].remove(0))),
            ("a series twice", |a| {
                let series = a[1][0].clone();
                a[1].push(series);
            }),
            ("tenants swapped", |a| a.swap(0, 1)),
            ("a histogram's bucket changed", |a| {
                let mut histogram = (*a[0][4].histograms.values[3]).clone();
                let Counts::Integer { positive, .. } = &mut histogram.counts else { panic!() };
                positive[1] += 1;
                a[0][4].histograms.values[3] = Arc::new(histogram);
            }),
            ("a histogram dropped", |a| {
                a[1][4].histograms.timestamps_ms.pop();
                a[1][4].histograms.values.pop();
            }),
            ("an invented sample", |a| a[0][0].floats.push(BASE_MS + 9_000 * STEP_MS, 1.0)),
        ];
        for (lie, tell) in lies {
            let mut answers = truth.clone();
            tell(&mut answers);
            assert!(!history.check(&answers).0.is_empty(), "{lie}");
        }
    }
    #[test]
    fn what_was_deleted_may_not_be_there_and_what_was_perhaps_deleted_is_there_or_not() {
        let (mut history, truth) = history();
        let all = history.check(&truth).1;
        let deletion = Deletion::new(0, Whose::Writer(1), 10, 5, false);
        let without = |from: u64, to: u64| {
            let mut answers = truth.clone();
            let floats = &mut answers[0][1].floats;
            let gone = from..to;
            let ids = |at: &i64| id_at(Writer { tenant: 0, number: 1 }, *at).unwrap();
            let kept = |at: &i64| ids(at).1 % 5 == 4 || !gone.contains(&ids(at).1);
            let kept: Vec<bool> = floats.timestamps_ms.iter().map(kept).collect();
            let mut keeps = kept.iter();
            floats.timestamps_ms.to_mut().retain(|_| *keeps.next().unwrap());
            let mut keeps = kept.iter();
            floats.values.retain(|_| *keeps.next().unwrap());
            answers
        };
        history.unsure.push(deletion);
        for answers in [&truth, &without(10, 15)] {
            assert_eq!(history.check(answers).0, Vec::<String>::new());
        }
        assert!(!history.check(&without(8, 15)).0.is_empty(), "one too many");
        let half = history.clone().settle(&history.check(&without(12, 15)).1);
        assert_eq!(half.len(), 1, "{half:?}");
        let mut undone = history.clone();
        assert_eq!(undone.settle(&all), Vec::<String>::new());
        assert!(!undone.check(&without(10, 15)).0.is_empty(), "it changed its mind");
        assert_eq!(history.settle(&history.check(&without(10, 15)).1), Vec::<String>::new());
        assert_eq!(history.deleted, [deletion]);
        assert!(history.check(&truth).0.iter().all(|fault| fault.ends_with("resurrected")));
        assert_eq!(history.check(&truth).0.len(), 4);
    }
}
