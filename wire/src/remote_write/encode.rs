//! Makes `WriteRequest` bytes (1.0): for what this process writes itself, and for tests.

use crate::protobuf::write::{
    push_bytes, push_double, push_number, push_varint, varint_len, zigzag,
};
use model::histogram::{Counts, ResetHint, Span};
use model::mutation::{MetricMetadata, MetricType};
use model::{Exemplar, HistogramSample, LabelSet};

/// Appends a series with its samples to a `WriteRequest`.
pub fn encode_series(labels: &LabelSet, samples: &[(i64, f64)], into: &mut Vec<u8>) {
    let mut series = Vec::with_capacity(64 * labels.len() + 20 * samples.len());
    push_labels(labels, &mut series);
    for (timestamp_ms, value) in samples {
        push_float(*timestamp_ms, *value, &mut series);
    }
    push_bytes(1, &series, into);
}

/// Appends a series with native histograms and exemplars to a `WriteRequest`. Revisions do not
/// travel this way.
pub fn encode_extras(
    labels: &LabelSet,
    histograms: &[HistogramSample],
    exemplars: &[Exemplar],
    into: &mut Vec<u8>,
) {
    let mut series = Vec::new();
    push_labels(labels, &mut series);
    for exemplar in exemplars {
        let mut part = Vec::new();
        push_labels(&exemplar.labels, &mut part);
        push_double(2, exemplar.value, &mut part);
        push_number(3, exemplar.timestamp_ms.cast_unsigned(), &mut part);
        push_bytes(3, &part, &mut series);
    }
    for sample in histograms {
        push_histogram_sample(sample, &mut series);
    }
    push_bytes(1, &series, into);
}

/// A float sample as a field of a `TimeSeries`.
pub(crate) fn push_float(timestamp_ms: i64, value: f64, into: &mut Vec<u8>) {
    let time = timestamp_ms.cast_unsigned();
    // A key and eight bytes, a key and the time.
    push_varint(2 << 3 | 2, into);
    push_varint(10 + varint_len(time), into);
    push_double(1, value, into);
    push_number(2, time, into);
}

/// A native histogram as a field of a `TimeSeries`.
pub(crate) fn push_histogram_sample(sample: &HistogramSample, into: &mut Vec<u8>) {
    let mut part = Vec::new();
    push_histogram(sample, &mut part);
    push_bytes(4, &part, into);
}

/// A histogram and its times, as a message of either version.
pub(super) fn push_histogram(sample: &HistogramSample, into: &mut Vec<u8>) {
    let histogram = &*sample.histogram;
    push_double(3, histogram.sum, into);
    push_number(4, zigzag(histogram.schema.into()), into);
    push_double(5, histogram.zero_threshold, into);
    push_spans(8, &histogram.negative_spans, into);
    push_spans(11, &histogram.positive_spans, into);
    match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            push_number(1, *count, into);
            push_number(6, *zero_count, into);
            push_deltas(9, negative, into);
            push_deltas(12, positive, into);
        }
        Counts::Float { count, zero_count, positive, negative } => {
            push_double(2, *count, into);
            push_double(7, *zero_count, into);
            push_doubles(10, negative, into);
            push_doubles(13, positive, into);
        }
    }
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    push_number(14, hint, into);
    push_doubles(16, &histogram.custom_values, into);
    push_number(15, sample.timestamp_ms.cast_unsigned(), into);
    push_number(17, sample.start_timestamp_ms.cast_unsigned(), into);
}

fn push_spans(number: u8, spans: &[Span], into: &mut Vec<u8>) {
    for span in spans {
        let mut part = Vec::new();
        push_number(1, zigzag(span.offset.into()), &mut part);
        push_number(2, span.length.into(), &mut part);
        push_bytes(number, &part, into);
    }
}

/// Counts as differences. What lies more than an i64 apart cannot be said, and comes out wrong.
fn push_deltas(number: u8, counts: &[u64], into: &mut Vec<u8>) {
    let mut part = Vec::new();
    let mut last = 0_u64;
    for count in counts {
        push_varint(zigzag(count.wrapping_sub(last).cast_signed()), &mut part);
        last = *count;
    }
    if !part.is_empty() {
        push_bytes(number, &part, into);
    }
}

fn push_doubles(number: u8, values: &[f64], into: &mut Vec<u8>) {
    if !values.is_empty() {
        let part: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        push_bytes(number, &part, into);
    }
}

/// Labels as fields of a `TimeSeries`.
pub(crate) fn push_labels(labels: &LabelSet, into: &mut Vec<u8>) {
    let mut part = Vec::new();
    for (name, value) in labels.iter() {
        part.clear();
        push_bytes(1, name.as_bytes(), &mut part);
        push_bytes(2, value.as_bytes(), &mut part);
        push_bytes(1, &part, into);
    }
}

/// Appends what a metric means to a `WriteRequest`.
pub fn encode_metadata(metadata: &MetricMetadata, into: &mut Vec<u8>) {
    let mut message = vec![0x08, type_number(metadata.metric_type)];
    push_bytes(2, metadata.metric.as_bytes(), &mut message);
    push_bytes(4, metadata.help.as_bytes(), &mut message);
    push_bytes(5, metadata.unit.as_bytes(), &mut message);
    push_bytes(3, &message, into);
}

pub(super) fn type_number(metric_type: MetricType) -> u8 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}
