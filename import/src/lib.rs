//! Bulk load: reads what others wrote and hands it over, series by series. Knows `model` and
//! `store` only; writes no file.
//!
//! # Invariants
//! - No byte of a source is believed before its checksum was right, where the source has one, and
//!   nothing is allocated that the size of a file does not bound.
//! - What cannot be read ends the import with the file and the offset, or is left out and counted
//!   if the operator said so. Nothing is guessed, and nothing is left out silently.
//!
//! Not here: how sstables are made of it (`store::engine::Import`); flags and printing (`node`).

mod bits;
mod bytes;
pub mod error;
pub mod openmetrics;
pub mod prometheus;

pub use error::{Error, Result};

use model::mutation::MetricMetadata;
use model::{Exemplar, HistogramSample, LabelSet, Sample};
use store::engine::Import;

/// Where samples go.
pub trait Sink {
    /// Takes samples of one series, in any order.
    ///
    /// # Errors
    /// What the store says.
    fn samples(&mut self, labels: &LabelSet, samples: &[Sample]) -> store::Result<()>;

    /// Takes native histograms of one series, in any order. They are valid.
    ///
    /// # Errors
    /// What the store says.
    fn histograms(&mut self, labels: &LabelSet, samples: &[HistogramSample]) -> store::Result<()>;

    /// Takes an exemplar of one series.
    fn exemplar(&mut self, labels: &LabelSet, exemplar: Exemplar);

    /// Takes what a metric means.
    fn metadata(&mut self, entry: MetricMetadata);

    /// Is told that a day is complete, as far as it is known.
    ///
    /// # Errors
    /// What the store says.
    fn day_is_complete(&mut self) -> store::Result<()>;
}

impl Sink for Import<'_> {
    fn samples(&mut self, labels: &LabelSet, samples: &[Sample]) -> store::Result<()> {
        Import::samples(self, labels, samples)
    }

    fn histograms(&mut self, labels: &LabelSet, samples: &[HistogramSample]) -> store::Result<()> {
        Import::histograms(self, labels, samples)
    }

    fn exemplar(&mut self, labels: &LabelSet, exemplar: Exemplar) {
        Import::exemplar(self, labels, exemplar);
    }

    fn metadata(&mut self, entry: MetricMetadata) {
        Import::metadata(self, entry);
    }

    fn day_is_complete(&mut self) -> store::Result<()> {
        Import::write(self)
    }
}

/// How a source is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Leave out what is damaged, and count it, instead of giving up.
    pub skip_damaged: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Report {
    /// Samples handed over, floats and histograms; those found twice, twice.
    pub samples: u64,
    /// Exemplars handed over; those found twice, twice.
    pub exemplars: u64,
    /// Samples, exemplars and chunks of series that nothing names.
    pub without_series: u64,
    /// Places that were damaged and left out; of many the first hundred are named in `damage`.
    pub damaged: u64,
    /// The first of them.
    pub damage: Vec<Error>,
}

impl Report {
    /// Notes damage, or returns it if it is not to be left out.
    fn note(&mut self, error: Error, options: Options) -> Result<()> {
        let may_be_left_out = matches!(error, Error::Damaged { .. } | Error::Unsupported { .. });
        if !options.skip_damaged || !may_be_left_out {
            return Err(error);
        }
        self.damaged += 1;
        if self.damage.len() < 100 {
            self.damage.push(error);
        }
        Ok(())
    }
}
