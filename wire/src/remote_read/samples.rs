//! The answer in the form `SAMPLES`: every sample spelled out, one snappy block around all of it.

use crate::protobuf::write::push_bytes;
use crate::remote_write::{push_float, push_histogram_sample, push_labels};
use model::SeriesColumns;

/// Appends a series to the result of one question.
pub fn push_series(series: &SeriesColumns, into: &mut Vec<u8>) {
    let mut message = Vec::with_capacity(64 * series.labels.len() + 20 * series.floats.len());
    push_labels(&series.labels, &mut message);
    for (at, value) in series.floats.timestamps_ms.iter().zip(&series.floats.values) {
        push_float(*at, *value, &mut message);
    }
    for index in 0..series.histograms.len() {
        push_histogram_sample(&series.histograms.sample(index), &mut message);
    }
    push_bytes(1, &message, into);
}

/// The whole answer: the results of all questions, in their order, in a snappy block.
///
/// # Errors
/// If they are longer than a snappy block can be, 4 GiB.
pub fn response(results: &[Vec<u8>]) -> Result<Vec<u8>, snap::Error> {
    let mut message = Vec::with_capacity(results.iter().map(|result| result.len() + 12).sum());
    for result in results {
        push_bytes(1, result, &mut message);
    }
    snap::raw::Encoder::new().compress_vec(&message)
}
