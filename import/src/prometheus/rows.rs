//! What was decoded of one series: floats, histograms, or some of each.

use crate::Sink;
use model::{HistogramSample, LabelSet, Sample};

/// Samples of one series, in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) floats: Vec<Sample>,
    pub(super) histograms: Vec<HistogramSample>,
}

/// How many rows there were at a moment: of floats, of histograms.
pub(super) type Mark = (usize, usize);

impl Rows {
    pub(super) fn clear(&mut self) {
        self.truncate((0, 0));
    }

    pub(super) fn mark(&self) -> Mark {
        (self.floats.len(), self.histograms.len())
    }

    /// Lets go of what came since.
    pub(super) fn truncate(&mut self, mark: Mark) {
        self.floats.truncate(mark.0);
        self.histograms.truncate(mark.1);
    }

    /// Of what came since, keeps what the time says.
    pub(super) fn retain_since(&mut self, mark: Mark, keeps: impl Fn(i64) -> bool) {
        let mut index = 0;
        self.floats.retain(|sample| {
            index += 1;
            index <= mark.0 || keeps(sample.timestamp_ms)
        });
        index = 0;
        self.histograms.retain(|sample| {
            index += 1;
            index <= mark.1 || keeps(sample.timestamp_ms)
        });
    }

    /// Hands all of it over, and returns how many samples that were.
    pub(super) fn hand_over(&self, labels: &LabelSet, sink: &mut dyn Sink) -> store::Result<u64> {
        if !self.floats.is_empty() {
            sink.samples(labels, &self.floats)?;
        }
        if !self.histograms.is_empty() {
            sink.histograms(labels, &self.histograms)?;
        }
        Ok((self.floats.len() + self.histograms.len()) as u64)
    }
}
