//! Joining what several sstables have of one partition: series by their labels, and the chunks of
//! each series into one row of them.
//!
//! A chunk that shares no moment with another, and of which nothing is hidden, goes through as it
//! is. All others are decoded, joined by D4 and coded anew; of one moment under several revisions
//! the highest is kept.
//!
//! # Invariants
//! - The chunks of a result share no moment and ascend in time.
//! - Compacting twice, or in another order of inputs, gives the same samples.
//!
//! Not here: the join itself (`crate::merge`); files (`worker.rs`).

use super::cut::{Hidden, hidden};
use super::input::Series;
use crate::bytes::Damaged;
use crate::chunk::{Chunk, HISTOGRAM};
use crate::head::series::CHUNK_SAMPLES_MAX;
use crate::merge;
use crate::tombstone;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::{HistogramSample, Sample};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Neighbours that have no more samples than this together become one chunk.
const JOIN_SAMPLES_MAX: u32 = CHUNK_SAMPLES_MAX / 2;

/// The series of all inputs, each once, with the chunks of all: in the order of the first input,
/// what only later ones have behind it.
pub(crate) fn series(inputs: Vec<Vec<Series<Chunk>>>) -> Vec<Series<Chunk>> {
    let mut inputs = inputs.into_iter();
    let mut merged = inputs.next().unwrap_or_default();
    let hasher = FixedState::default();
    let mut places: HashTable<usize> = HashTable::new();
    for input in inputs {
        // Inputs mostly have the same series in the same order: the table is seldom asked.
        let mut guess = 0;
        for series in input {
            let found = match merged.get(guess).is_some_and(|held| held.pairs == series.pairs) {
                true => Some(guess),
                false => {
                    for at in places.len()..merged.len() {
                        let key = |at: &usize| hasher.hash_one(&merged[*at].pairs);
                        places.insert_unique(key(&at), at, key);
                    }
                    let hash = hasher.hash_one(&series.pairs);
                    places.find(hash, |at| merged[*at].pairs == series.pairs).copied()
                }
            };
            match found {
                Some(at) => merged[at].chunks.extend(series.chunks),
                None => merged.push(series),
            }
            guess = found.map_or(guess, |at| at + 1);
        }
    }
    merged
}

/// The chunks of a series without what is `gone`. Small neighbours become one if it `joins` them;
/// for a writer that joins them all it would be work done twice.
pub(crate) fn canonical(
    mut chunks: Vec<Chunk>,
    gone: &tombstone::Hidden,
    joins: bool,
) -> Result<Vec<Chunk>, Damaged> {
    chunks.sort_by_key(|chunk| (chunk.head.first_ms, chunk.head.last_ms));
    let mut out = Vec::with_capacity(chunks.len());
    let mut group = Group::default();
    for chunk in chunks {
        let head = chunk.head;
        let is_cut = match hidden(&gone.ranges(head.revision), head.first_ms, head.last_ms) {
            Hidden::All => continue,
            Hidden::Part => true,
            Hidden::Nothing => false,
        };
        if !group.takes(&chunk, joins) {
            std::mem::take(&mut group).finish(gone, &mut out)?;
        }
        group.push(chunk, is_cut);
    }
    group.finish(gone, &mut out)?;
    Ok(out)
}

/// Chunks that become one or more new ones together.
#[derive(Default)]
struct Group {
    chunks: Vec<Chunk>,
    samples: u32,
    last_ms: i64,
    /// Whether something of them is hidden.
    is_cut: bool,
}

impl Group {
    /// Whether a chunk that begins no earlier belongs to it.
    fn takes(&self, chunk: &Chunk, joins: bool) -> bool {
        let Some(first) = self.chunks.first() else { return true };
        let is_small = joins && self.samples.saturating_add(chunk.head.count) <= JOIN_SAMPLES_MAX;
        let is_alike = first.head.revision == chunk.head.revision;
        chunk.head.first_ms <= self.last_ms || (is_small && is_alike)
    }

    fn push(&mut self, chunk: Chunk, is_cut: bool) {
        self.last_ms = match self.chunks.is_empty() {
            true => chunk.head.last_ms,
            false => self.last_ms.max(chunk.head.last_ms),
        };
        self.samples = self.samples.saturating_add(chunk.head.count);
        self.is_cut |= is_cut;
        self.chunks.push(chunk);
    }

    fn finish(self, gone: &tombstone::Hidden, out: &mut Vec<Chunk>) -> Result<(), Damaged> {
        if self.chunks.len() <= 1 && !self.is_cut {
            out.extend(self.chunks);
            return Ok(());
        }
        let (mut samples, mut histograms) = (Vec::new(), Vec::new());
        for chunk in &self.chunks {
            let gone = gone.ranges(chunk.head.revision);
            match chunk.head.encoding {
                HISTOGRAM => decode_histograms(chunk, &gone, &mut histograms)?,
                _ => decode(chunk, &gone, &mut samples)?,
            }
        }
        merge::join(&mut samples);
        merge::join_histograms(&mut histograms);
        merge::settle(&mut samples, &mut histograms);
        let mut chunks = merge::chunks_of(samples);
        chunks.extend(merge::histogram_chunks_of(histograms));
        chunks.sort_by_key(|chunk| chunk.head.first_ms);
        out.extend(chunks);
        Ok(())
    }
}

/// Adds the histograms of a chunk but for those in `gone`.
fn decode_histograms(
    chunk: &Chunk,
    gone: &[(i64, i64)],
    out: &mut Vec<HistogramSample>,
) -> Result<(), Damaged> {
    let head = &chunk.head;
    let mut within = true;
    head.decode_histograms(&chunk.bytes, |timestamp_ms, start_timestamp_ms, histogram| {
        within &= (head.first_ms..=head.last_ms).contains(&timestamp_ms);
        if hidden(gone, timestamp_ms, timestamp_ms) != Hidden::Nothing {
            return true;
        }
        let (histogram, revision) = (Arc::new(histogram.clone()), head.revision);
        out.push(HistogramSample { timestamp_ms, histogram, start_timestamp_ms, revision });
        true
    })?;
    if within { Ok(()) } else { Err(Damaged("a chunk holds a sample outside of its times")) }
}

/// Adds the samples of a chunk but for those in `gone`.
fn decode(chunk: &Chunk, gone: &[(i64, i64)], samples: &mut Vec<Sample>) -> Result<(), Damaged> {
    let head = &chunk.head;
    let mut within = true;
    head.decode(&chunk.bytes, |timestamp_ms, value, start_timestamp_ms| {
        within &= (head.first_ms..=head.last_ms).contains(&timestamp_ms);
        if hidden(gone, timestamp_ms, timestamp_ms) == Hidden::Nothing {
            let revision = head.revision;
            samples.push(Sample { timestamp_ms, value, start_timestamp_ms, revision });
        }
        true
    })?;
    if within { Ok(()) } else { Err(Damaged("a chunk holds a sample outside of its times")) }
}
