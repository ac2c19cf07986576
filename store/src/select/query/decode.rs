//! What a chunk gives to a question: its wanted samples, as columns, or whether it has any.
//!
//! # Invariants
//! - A run's times ascend: a chunk whose times do not is damaged.
//! - A chunk's head cannot ask for more memory than its bytes are worth.
//!
//! Not here: how bytes become samples (`chunk.rs`), and how runs are joined (`merge.rs`).

use super::Query;
use crate::bytes::Damaged;
use crate::chunk::fast::Columns;
use crate::chunk::{ChunkHead, HISTOGRAM};
use crate::merge::{self, Run};
use model::column::Known;
use model::{Column, HistogramSample, Sample};
use std::sync::Arc;

impl Query {
    /// Adds the wanted samples of a chunk to the last run, or to one of its own.
    pub(crate) fn decode(
        &self,
        head: &ChunkHead,
        bytes: &[u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), Damaged> {
        if head.encoding == HISTOGRAM {
            return self.decode_histograms(head, bytes, runs);
        }
        let run = merge::run_for(head, runs);
        let Run { column: Column { timestamps_ms, values, known, .. }, starts, .. } = run;
        *known = Known::Nothing;
        let timestamps_ms = timestamps_ms.to_mut();
        let before = timestamps_ms.len();
        if timestamps_ms.capacity() == before {
            // A sample is a byte at least, but for a run's; so a head cannot ask for the moon.
            let len = (head.count as usize).min(bytes.len().saturating_mul(64));
            let room = self.room(head, len);
            timestamps_ms.reserve_exact(room);
            values.reserve_exact(room);
        }
        if self.spans.is_empty() {
            let (start_ms, end_ms) = (self.start_ms, self.end_ms);
            let mut columns = Columns { timestamps_ms, values, starts, start_ms, end_ms };
            // It sees to it that times ascend.
            head.decode_columns(bytes, &mut columns)?;
        } else {
            head.decode(bytes, |at, value, start| {
                if self.keeps(at) {
                    timestamps_ms.push(at);
                    values.push(value);
                    if start != 0 || !starts.is_empty() {
                        starts.resize(values.len() - 1, 0);
                        starts.push(start);
                    }
                }
                at < self.end_ms
            })?;
            if !timestamps_ms[before..].is_sorted_by(|a, b| a < b) {
                return Err(Damaged("a chunk's times do not ascend"));
            }
        }
        if timestamps_ms.is_empty() && run.histograms.is_empty() {
            runs.pop();
        }
        Ok(())
    }

    /// Adds the wanted histograms of a chunk to the last run, or to one of its own.
    fn decode_histograms(
        &self,
        head: &ChunkHead,
        bytes: &[u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), Damaged> {
        let mut wanted = Vec::new();
        head.decode_histograms(bytes, |timestamp_ms, start_timestamp_ms, histogram| {
            if self.keeps(timestamp_ms) {
                let (histogram, revision) = (Arc::new(histogram.clone()), head.revision);
                wanted.push(HistogramSample {
                    timestamp_ms,
                    histogram,
                    start_timestamp_ms,
                    revision,
                });
            }
            timestamp_ms < self.end_ms
        })?;
        match runs.last_mut() {
            _ if wanted.is_empty() => {}
            Some(run) if run.revision == head.revision => run.histograms.append(&mut wanted),
            _ => runs.push(Run { histograms: wanted, revision: head.revision, ..Run::default() }),
        }
        Ok(())
    }

    /// Room for a series' samples in all sources, by what a chunk of `len` samples says of its step.
    pub(crate) fn room(&self, head: &ChunkHead, len: usize) -> usize {
        let span = u64::try_from(head.last_ms.saturating_sub(head.first_ms)).unwrap_or(0);
        let from = self.start_ms.max(head.first_ms);
        let wanted = u64::try_from(self.end_ms.saturating_sub(from)).unwrap_or(0);
        let steps = u64::from(head.count).saturating_sub(1);
        let by_time = match wanted.saturating_mul(steps).checked_div(span) {
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX).saturating_add(2),
            None => len,
        };
        by_time.min(len.saturating_mul(self.sources.get()))
    }

    /// Whether a chunk holds a sample that is asked for.
    pub(crate) fn is_present(&self, head: &ChunkHead, bytes: &[u8]) -> Result<bool, Damaged> {
        let mut found = [head.first_ms, head.last_ms].iter().any(|at| self.keeps(*at));
        if !found {
            head.times(bytes, |at| {
                found = self.keeps(at);
                !found && at < self.end_ms
            })?;
        }
        Ok(found)
    }

    /// Adds late samples as a run for each revision.
    pub(crate) fn add_late(
        &self,
        late: Vec<Sample>,
        histograms: Vec<HistogramSample>,
        runs: &mut Vec<Run>,
    ) {
        let chunks = merge::chunks_of(late).into_iter();
        for chunk in chunks.chain(merge::histogram_chunks_of(histograms)) {
            // What was coded a moment ago is decoded without fail.
            let _ = self.decode(&chunk.head, &chunk.bytes, runs);
        }
    }
}
