//! A series cut into chunks: each of one kind of sample, at most 120 of them, ascending in time.

use super::histogram::{HistogramChunk, may_follow};
use super::xor;
use model::SeriesColumns;

/// The most samples of a chunk.
const SAMPLES_MAX: usize = 120;

/// A chunk of histograms that has grown to so many bytes takes no more.
const HISTOGRAM_BYTES: usize = 16 << 10;

/// How a chunk is coded, by the number that Prometheus gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Histograms of integers.
    Histogram = 2,
    /// Histograms of floats.
    FloatHistogram = 3,
}

/// Samples of one kind, coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first sample's time, in milliseconds since 1970.
    pub min_ms: i64,
    /// The last sample's.
    pub max_ms: i64,
    /// How it is coded.
    pub encoding: Encoding,
    /// The samples.
    pub data: Vec<u8>,
}

/// The chunks of a series, made one by one.
#[derive(Debug)]
pub struct Chunks {
    series: SeriesColumns,
    next_float: usize,
    next_histogram: usize,
}

impl Chunks {
    /// The chunks of a series; its labels do not count.
    #[must_use]
    pub fn of(series: SeriesColumns) -> Self {
        Self { series, next_float: 0, next_histogram: 0 }
    }

    fn floats(&mut self, before_ms: Option<i64>) -> Option<Chunk> {
        let floats = &self.series.floats;
        let from = self.next_float;
        let mut len = floats.len().saturating_sub(from).min(SAMPLES_MAX);
        let times = floats.timestamps_ms.get(from..from + len)?;
        if let Some(before_ms) = before_ms {
            // One at least: also of columns that share a moment all are told.
            len = times.partition_point(|at| *at < before_ms).clamp(1, len);
        }
        let times = times.get(..len)?;
        let values = floats.values.get(from..from + len)?;
        self.next_float += len;
        Some(Chunk {
            min_ms: *times.first()?,
            max_ms: *times.last()?,
            encoding: Encoding::Xor,
            data: xor::encode(times, values),
        })
    }

    fn histograms(&mut self, before_ms: Option<i64>) -> Option<Chunk> {
        let column = &self.series.histograms;
        let mut samples = column.timestamps_ms.iter().zip(&column.values).skip(self.next_histogram);
        let (first, mut last) = samples.next()?;
        let (min_ms, mut max_ms) = (*first, *first);
        let mut chunk = HistogramChunk::start(min_ms, last);
        for (at, histogram) in samples {
            let is_full = usize::from(chunk.samples()) == SAMPLES_MAX
                || chunk.len() >= HISTOGRAM_BYTES
                || before_ms.is_some_and(|before_ms| *at >= before_ms);
            if is_full || !may_follow(last, histogram) {
                break;
            }
            chunk.push(*at, histogram);
            (max_ms, last) = (*at, histogram);
        }
        self.next_histogram += usize::from(chunk.samples());
        let encoding =
            if chunk.is_float() { Encoding::FloatHistogram } else { Encoding::Histogram };
        Some(Chunk { min_ms, max_ms, encoding, data: chunk.finish() })
    }
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let float = self.series.floats.timestamps_ms.get(self.next_float).copied();
        let histogram = self.series.histograms.timestamps_ms.get(self.next_histogram).copied();
        match (float, histogram) {
            (Some(float), Some(at)) if at < float => self.histograms(Some(float)),
            (Some(_), before) => self.floats(before),
            (None, _) => self.histograms(None),
        }
    }
}
