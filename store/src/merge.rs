//! Merging samples by the join of DESIGN.md D4.
//!
//! # Invariants
//! - The result does not depend on the order, the grouping or the repetition of what comes in.
//!
//! Not here: which sources a series has (`select.rs`).

use crate::chunk::{Chunk, ChunkHead};
use crate::head::series::CHUNK_SAMPLES_MAX;
use model::sample::join_order;
use model::{Column, Sample, TimestampMs};
use std::cmp::Ordering;

/// Sorts samples by time and keeps the winner of each moment.
pub(crate) fn join(samples: &mut Vec<Sample>) {
    // The winner of a moment comes first, so that `dedup_by` keeps it.
    samples.sort_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then_with(|| join_order(b, a)));
    samples.dedup_by(|later, kept| later.timestamp_ms == kept.timestamp_ms);
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
    /// When and what.
    pub(crate) column: Column,
    /// Since when, one per sample; or empty if no start is known.
    pub(crate) starts: Vec<i64>,
    /// The revision of them all.
    pub(crate) revision: u32,
}

impl Run {
    fn sample(&self, index: usize) -> Sample {
        Sample {
            timestamp_ms: self.column.timestamps_ms[index],
            value: self.column.values[index],
            start_timestamp_ms: self.starts.get(index).copied().unwrap_or(0),
            revision: self.revision,
        }
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

/// One column of all runs.
pub(crate) fn column_of(mut runs: Vec<Run>) -> Column {
    runs.retain(|run| !run.column.is_empty());
    if runs.len() <= 1 {
        return runs.pop().unwrap_or_default().column;
    }
    runs.sort_by_key(|run| run.column.timestamps_ms.first().copied());
    let apart = runs.is_sorted_by(|a, b| {
        a.column.timestamps_ms.last().cmp(&b.column.timestamps_ms.first()) == Ordering::Less
    });
    let len = runs.iter().map(|run| run.column.len()).sum();
    let mut column =
        Column { timestamps_ms: Vec::with_capacity(len), values: Vec::with_capacity(len) };
    if apart {
        for run in &runs {
            column.timestamps_ms.extend_from_slice(&run.column.timestamps_ms);
            column.values.extend_from_slice(&run.column.values);
        }
        return column;
    }
    let mut samples: Vec<Sample> = Vec::with_capacity(len);
    for run in &runs {
        samples.extend((0..run.column.len()).map(|index| run.sample(index)));
    }
    join(&mut samples);
    for sample in samples {
        column.push(sample.timestamp_ms, sample.value);
    }
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
        }
    }
}
