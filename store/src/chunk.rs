//! Chunks: consecutive samples of one series, coded.
//!
//! A chunk holds floats or histograms. It has a type tag, so that denser encodings can come beside the first. Its timestamps
//! ascend, each occurs once, and all of them lie in one UTC day.
//!
//! Not here: which samples make a chunk (`head`), and where it lies on disk (`sstable`).

pub(crate) mod decimal;
pub(crate) mod dense;
pub(crate) mod fast;
mod grown;
pub(crate) mod histogram;
mod ints;
pub(crate) mod packed;
pub(crate) mod pages;
pub(crate) mod times;

use crate::bytes::Damaged;
use model::{Histogram, Sample};
use std::sync::Arc;

/// The type tag of [`fast`].
pub(crate) const FAST: u8 = 1;
/// The type tag of [`histogram`]; all others hold floats.
pub(crate) const HISTOGRAM: u8 = 8;
/// The type tag of [`dense`].
pub(crate) const DENSE: u8 = 2;
/// The type tag of [`dense`] whose integers are differences to those of the chunk before.
pub(crate) const DIFFERENCE: u8 = 3;

/// What is known of a chunk without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    /// How it is coded.
    pub(crate) encoding: u8,
    /// The revision of all its samples.
    pub(crate) revision: u32,
    /// How many samples there are; at least one.
    pub(crate) count: u32,
    /// The first sample's time.
    pub(crate) first_ms: i64,
    /// The last sample's time.
    pub(crate) last_ms: i64,
    /// The number of its column of times, if it is dense; else 0.
    pub(crate) column: u32,
}

/// A chunk that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// What is known of it.
    pub(crate) head: ChunkHead,
    /// Its samples, coded.
    pub(crate) bytes: Arc<[u8]>,
}

impl ChunkHead {
    /// Whether it is coded without its times, which are a column of their own.
    pub(crate) fn is_dense(&self) -> bool {
        matches!(self.encoding, DENSE | DIFFERENCE)
    }

    /// Whether its samples have the times of another's, by what is known of them.
    pub(crate) fn has_times_of(&self, other: &Self) -> bool {
        let times = |head: &Self| (head.first_ms, head.last_ms, head.count, head.column);
        self.is_dense() == other.is_dense() && times(self) == times(other)
    }

    /// Whether some of its samples may lie in `[start_ms, end_ms)`.
    pub(crate) fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.first_ms < end_ms && start_ms <= self.last_ms
    }

    /// Hands each sample of the `bytes` of a chunk that is not dense to `visit`, in order, until it returns `false`.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        visit: impl FnMut(i64, f64, i64) -> bool,
    ) -> Result<(), Damaged> {
        match self.encoding {
            FAST => fast::decode(bytes, self.first_ms, self.count, visit),
            HISTOGRAM => Err(Damaged("a chunk of histograms where floats were expected")),
            DENSE | DIFFERENCE => Err(Damaged("a dense chunk has no times of its own")),
            _ => Err(Damaged("a chunk has an unknown encoding")),
        }
    }
}

impl ChunkHead {
    /// Appends the samples of the chunk's `bytes` that `columns` wants.
    pub(crate) fn decode_columns(
        &self,
        bytes: &[u8],
        columns: &mut fast::Columns<'_>,
    ) -> Result<(), Damaged> {
        match self.encoding {
            FAST => fast::decode_columns(bytes, self.first_ms, self.count, columns),
            _ => Err(Damaged("a chunk has an unknown encoding")),
        }
    }
}

impl ChunkHead {
    /// Hands each histogram of the chunk's `bytes` to `visit`, in order, until it returns `false`:
    /// its time, its start, and what it says.
    pub(crate) fn decode_histograms(
        &self,
        bytes: &[u8],
        visit: impl FnMut(i64, i64, &Histogram) -> bool,
    ) -> Result<(), Damaged> {
        match self.encoding {
            HISTOGRAM => histogram::decode(bytes, self.first_ms, self.count, visit),
            _ => Err(Damaged("a chunk of floats where histograms were expected")),
        }
    }

    /// Hands the time of each sample of the chunk's `bytes` to `visit`, in order, until it returns
    /// `false`.
    pub(crate) fn times(
        &self,
        bytes: &[u8],
        mut visit: impl FnMut(i64) -> bool,
    ) -> Result<(), Damaged> {
        match self.encoding {
            HISTOGRAM => self.decode_histograms(bytes, |at, _, _| visit(at)),
            _ => self.decode(bytes, |at, _, _| visit(at)),
        }
    }
}

impl Chunk {
    /// Codes samples that ascend in time, share a revision and lie in one day; `None` without any.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let mut encoder = fast::Encoder::default();
        for sample in samples {
            encoder.push(sample.timestamp_ms, sample.value, sample.start_timestamp_ms);
        }
        encoder.seal(samples.first()?.revision)
    }
}
