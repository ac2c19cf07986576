//! Makes the series of a `WriteRequest` piece by piece: what other protocols are translated into.

use super::encode::push_histogram;
use crate::protobuf::write::{push_bytes, push_double, push_number};
use model::histogram::Histogram;

/// One series under way. What was begun is appended to a message by [`SeriesEncoder::finish`].
///
/// Labels come first: a series whose labels stand at its front is read fastest.
#[derive(Clone, Debug, Default)]
pub struct SeriesEncoder {
    series: Vec<u8>,
    part: Vec<u8>,
    inner: Vec<u8>,
}

impl SeriesEncoder {
    /// Adds a label.
    pub fn label(&mut self, name: &str, value: &str) {
        self.part.clear();
        push_bytes(1, name.as_bytes(), &mut self.part);
        push_bytes(2, value.as_bytes(), &mut self.part);
        push_bytes(1, &self.part, &mut self.series);
    }

    /// Adds a sample; a start of 0 is unknown.
    pub fn sample(&mut self, timestamp_ms: i64, value: f64, start_timestamp_ms: i64) {
        self.part.clear();
        push_double(1, value, &mut self.part);
        push_number(2, timestamp_ms.cast_unsigned(), &mut self.part);
        if start_timestamp_ms != 0 {
            push_number(3, start_timestamp_ms.cast_unsigned(), &mut self.part);
        }
        push_bytes(2, &self.part, &mut self.series);
    }

    /// Adds a native histogram; a start of 0 is unknown.
    pub fn histogram(&mut self, timestamp_ms: i64, histogram: &Histogram, start_timestamp_ms: i64) {
        self.part.clear();
        push_histogram(histogram, &mut self.part);
        push_number(15, timestamp_ms.cast_unsigned(), &mut self.part);
        push_number(17, start_timestamp_ms.cast_unsigned(), &mut self.part);
        push_bytes(4, &self.part, &mut self.series);
    }

    /// Adds an exemplar with its own labels.
    pub fn exemplar<'l>(
        &mut self,
        timestamp_ms: i64,
        value: f64,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) {
        self.part.clear();
        for (name, text) in labels {
            self.inner.clear();
            push_bytes(1, name.as_bytes(), &mut self.inner);
            push_bytes(2, text.as_bytes(), &mut self.inner);
            push_bytes(1, &self.inner, &mut self.part);
        }
        push_double(2, value, &mut self.part);
        push_number(3, timestamp_ms.cast_unsigned(), &mut self.part);
        push_bytes(3, &self.part, &mut self.series);
    }

    /// Appends the series to a `WriteRequest` and forgets it.
    pub fn finish(&mut self, into: &mut Vec<u8>) {
        push_bytes(1, &self.series, into);
        self.series.clear();
    }
}
