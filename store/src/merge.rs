//! Merging samples by the join of DESIGN.md D4.
//!
//! # Invariants
//! - The result does not depend on the order, the grouping or the repetition of what comes in.
//!
//! Not here: which sources a series has (`select.rs`).

use crate::chunk::{Chunk, ChunkHead, histogram};
use crate::head::series::CHUNK_SAMPLES_MAX;
use model::read::Steps;
use model::sample::{self, join_order};
use model::{Column, HistogramColumn, HistogramSample, Sample, SeriesColumns, TimestampMs};
use std::cmp::Ordering;

/// Sorts samples by time and keeps the winner of each moment.
pub(crate) fn join(samples: &mut Vec<Sample>) {
    // The winner of a moment comes first, so that `dedup_by` keeps it.
    samples.sort_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then_with(|| join_order(b, a)));
    samples.dedup_by(|later, kept| later.timestamp_ms == kept.timestamp_ms);
}

/// Sorts histograms by time and keeps the winner of each moment.
pub(crate) fn join_histograms(samples: &mut Vec<HistogramSample>) {
    let winner_first = |a: &HistogramSample, b: &HistogramSample| {
        a.timestamp_ms.cmp(&b.timestamp_ms).then_with(|| sample::join_histograms(b, a))
    };
    // Mostly they ascend, and then nothing is compared by its bytes.
    if !samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) {
        samples.sort_by(winner_first);
        samples.dedup_by_key(|sample| sample.timestamp_ms);
    }
}

/// Keeps one sample of each moment that both kinds have; both lists are joined before.
pub(crate) fn settle(samples: &mut Vec<Sample>, histograms: &mut Vec<HistogramSample>) {
    if samples.is_empty() || histograms.is_empty() {
        return;
    }
    let at = |sample: &Sample, histograms: &[HistogramSample]| {
        histograms.binary_search_by_key(&sample.timestamp_ms, |held| held.timestamp_ms).ok()
    };
    let mut lost = vec![false; histograms.len()];
    samples.retain(|sample| match at(sample, histograms) {
        None => true,
        Some(place) => {
            let wins = sample::histogram_wins(&histograms[place], sample);
            lost[place] = !wins;
            !wins
        }
    });
    let mut lost = lost.into_iter();
    histograms.retain(|_| !lost.next().unwrap_or(false));
}

/// Codes histograms in any order as chunks of one revision and one day each. A moment that occurs
/// under several revisions is kept under each.
pub(crate) fn histogram_chunks_of(mut samples: Vec<HistogramSample>) -> Vec<Chunk> {
    let key = |s: &HistogramSample| (s.revision, s.timestamp_ms);
    samples.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| sample::join_histograms(b, a)));
    samples.dedup_by_key(|sample| key(sample));
    let day = |sample: &HistogramSample| TimestampMs(sample.timestamp_ms).day();
    samples
        .chunk_by(|a, b| a.revision == b.revision && day(a) == day(b))
        .flat_map(histogram::chunks)
        .collect()
}

/// Codes samples in any order as chunks of one revision and one day each. A moment that occurs
/// under several revisions is kept under each.
pub(crate) fn chunks_of(mut samples: Vec<Sample>) -> Vec<Chunk> {
    samples.sort_by(|a, b| {
        let key = |s: &Sample| (s.revision, s.timestamp_ms);
        key(a).cmp(&key(b)).then_with(|| join_order(b, a))
    });
    samples.dedup_by_key(|sample| (sample.revision, sample.timestamp_ms));
    let day = |sample: &Sample| TimestampMs(sample.timestamp_ms).day();
    samples
        .chunk_by(|a, b| a.revision == b.revision && day(a) == day(b))
        .flat_map(|one_day| one_day.chunks(CHUNK_SAMPLES_MAX as usize))
        .filter_map(Chunk::of)
        .collect()
}

/// Samples of one source: ascending in time, each moment once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Its floats, without their starts and revisions.
    pub(crate) column: Column,
    /// Since when they count up, one per float; or empty if no start is known.
    pub(crate) starts: Vec<i64>,
    /// Its histograms.
    pub(crate) histograms: Vec<HistogramSample>,
    /// The revision of them all.
    pub(crate) revision: u32,
}

impl Run {
    /// The run of one sample.
    pub(crate) fn of(sample: &Sample) -> Self {
        let mut run = Self { revision: sample.revision, ..Self::default() };
        run.column.push(sample.timestamp_ms, sample.value);
        if sample.start_timestamp_ms != 0 {
            run.starts.push(sample.start_timestamp_ms);
        }
        run
    }

    /// Keeps the samples whose moment `keep` wants.
    pub(crate) fn retain(&mut self, keep: impl Fn(i64) -> bool) {
        let kept: Vec<bool> = self.column.timestamps_ms.iter().map(|at| keep(*at)).collect();
        let mut places = kept.iter();
        self.column.values.retain(|_| places.next().copied().unwrap_or(false));
        let mut places = kept.iter();
        self.starts.retain(|_| places.next().copied().unwrap_or(false));
        let mut places = kept.iter();
        self.column.timestamps_ms.to_mut().retain(|_| places.next().copied().unwrap_or(false));
        let inside = |sample: &HistogramSample| keep(sample.timestamp_ms);
        self.histograms.retain(inside);
    }

    /// Keeps of the floats those that are the newest at a step.
    pub(crate) fn thin(&mut self, steps: &Steps) {
        let mut kept = Vec::new();
        steps.pick(&self.column.timestamps_ms, |place| kept.push(place));
        if kept.len() == self.column.len() {
            return;
        }
        fn picked<T: Copy>(from: &[T], kept: &[usize]) -> Vec<T> {
            kept.iter().filter_map(|place| from.get(*place).copied()).collect()
        }
        self.column.values = picked(&self.column.values, &kept);
        if !self.starts.is_empty() {
            self.starts.resize(self.column.timestamps_ms.len(), 0);
            self.starts = picked(&self.starts, &kept);
        }
        self.column.timestamps_ms = picked(&self.column.timestamps_ms, &kept).into();
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.column.len() + self.histograms.len()
    }

    /// How many samples they count as where samples are limited: a histogram by its size.
    pub(crate) fn samples(&self) -> u64 {
        let histograms = self.histograms.iter().map(|sample| sample.histogram.samples());
        self.column.len() as u64 + histograms.sum::<u64>()
    }

    fn sample(&self, index: usize) -> Sample {
        Sample {
            start_timestamp_ms: self.starts.get(index).copied().unwrap_or(0),
            revision: self.revision,
            ..self.column.sample(index)
        }
    }

    /// Its floats, as they are.
    fn into_column(mut self) -> Column {
        if !self.starts.is_empty() {
            self.starts.resize(self.column.len(), 0);
            self.column.start_timestamps_ms = self.starts;
        }
        if self.revision != 0 {
            self.column.revisions = vec![self.revision; self.column.len()];
        }
        self.column
    }
}

/// The run that takes the samples of a chunk: the last one if they follow on it, or a new one.
pub(crate) fn run_for<'r>(head: &ChunkHead, runs: &'r mut Vec<Run>) -> &'r mut Run {
    let fits = runs.last().is_some_and(|run| {
        run.revision == head.revision
            && run.column.timestamps_ms.last().is_none_or(|last| *last < head.first_ms)
    });
    if !fits {
        // Most series have one run of a source; a vector would begin with room for four.
        runs.reserve_exact(usize::from(runs.is_empty()));
        runs.push(Run { revision: head.revision, ..Run::default() });
    }
    let last = runs.len() - 1;
    &mut runs[last]
}

/// What all runs hold of a series whose labels are not settled yet.
pub(crate) fn columns_of(mut runs: Vec<Run>) -> SeriesColumns {
    let mut histograms = Vec::new();
    for run in runs.iter_mut().filter(|run| !run.histograms.is_empty()) {
        histograms.append(&mut run.histograms);
    }
    join_histograms(&mut histograms);
    let mut column = HistogramColumn::default();
    histograms.into_iter().for_each(|sample| column.push_sample(sample));
    let floats = column_of(runs);
    let mut columns = SeriesColumns { floats, histograms: column, ..SeriesColumns::default() };
    columns.settle();
    columns
}

/// One column of all runs' floats.
fn column_of(mut runs: Vec<Run>) -> Column {
    runs.retain(|run| !run.column.is_empty());
    if runs.len() <= 1 {
        return runs.pop().unwrap_or_default().into_column();
    }
    runs.sort_by_key(|run| run.column.timestamps_ms.first().copied());
    let apart = runs.is_sorted_by(|a, b| {
        a.column.timestamps_ms.last().cmp(&b.column.timestamps_ms.first()) == Ordering::Less
    });
    let len = runs.iter().map(|run| run.column.len()).sum::<usize>();
    let mut column = Column::default();
    column.values.reserve(len);
    if apart {
        runs.into_iter().for_each(|run| column.append(run.into_column()));
        return column;
    }
    let mut samples: Vec<Sample> = Vec::with_capacity(len);
    for run in &runs {
        samples.extend((0..run.column.len()).map(|index| run.sample(index)));
    }
    join(&mut samples);
    samples.iter().for_each(|sample| column.push_sample(sample));
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sample() -> impl Strategy<Value = Sample> {
        (-5_i64..20, prop_oneof![Just(f64::NAN), Just(1.0), Just(2.0)], 0_u32..2, 0_i64..2)
            .prop_map(|(timestamp_ms, value, revision, start_timestamp_ms)| Sample {
                timestamp_ms: timestamp_ms * 40_000_000,
                value,
                start_timestamp_ms,
                revision,
            })
    }

    proptest! {
        #[test]
        fn however_samples_are_cut_into_chunks_the_join_decides(
            samples in prop::collection::vec(sample(), 0..60),
            cut in 0_usize..60,
        ) {
            let mut expected: BTreeMap<i64, Sample> = BTreeMap::new();
            for s in &samples {
                let held = expected.entry(s.timestamp_ms).or_insert(*s);
                if join_order(s, held) == Ordering::Greater {
                    *held = *s;
                }
            }
            let (left, right) = samples.split_at(cut.min(samples.len()));
            let mut runs = Vec::new();
            for chunk in chunks_of(left.to_vec()).into_iter().chain(chunks_of(right.to_vec())) {
                let mut run = Run { revision: chunk.head.revision, ..Run::default() };
                chunk.head.decode(&chunk.bytes, |timestamp_ms, value, start| {
                    run.column.push(timestamp_ms, value);
                    run.starts.push(start);
                    true
                }).unwrap();
                runs.push(run);
            }
            let column = column_of(runs);
            prop_assert_eq!(&column.timestamps_ms, &expected.keys().copied().collect::<Vec<_>>());
            let bits = |values: &mut dyn Iterator<Item = f64>| values.map(f64::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(
                bits(&mut column.values.iter().copied()),
                bits(&mut expected.values().map(|s| s.value))
            );
            for (index, want) in expected.values().enumerate() {
                let have = column.sample(index);
                prop_assert_eq!(have.start_timestamp_ms, want.start_timestamp_ms);
                prop_assert_eq!(have.revision, want.revision);
            }
        }
    }
}
