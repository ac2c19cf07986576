//! Chunks: consecutive samples of one series, coded.
//!
//! A chunk holds floats or histograms. It has a type tag, so that denser encodings can come beside the first. Its timestamps
//! ascend, each occurs once, and all of them lie in one UTC day.
//!
//! Not here: which samples make a chunk (`head`), and where it lies on disk (`sstable`).

pub(crate) mod decimal;
pub(crate) mod fast;
pub(crate) mod histogram;

use crate::bytes::Damaged;
use model::{Histogram, Sample};
use std::sync::Arc;

/// The type tag of [`fast`].
pub(crate) const FAST: u8 = 1;
/// The type tag of [`histogram`]; all others hold floats.
pub(crate) const HISTOGRAM: u8 = 8;

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
    /// Whether some of its samples may lie in `[start_ms, end_ms)`.
    pub(crate) fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.first_ms < end_ms && start_ms <= self.last_ms
    }

    /// Hands each sample of the chunk's `bytes` to `visit`, in order, until it returns `false`.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        visit: impl FnMut(i64, f64, i64) -> bool,
    ) -> Result<(), Damaged> {
        match self.encoding {
            FAST => fast::decode(bytes, self.first_ms, self.count, visit),
            HISTOGRAM => Err(Damaged("a chunk of histograms where floats were expected")),
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
