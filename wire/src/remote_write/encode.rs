//! Makes `WriteRequest` bytes: for what this process writes itself, and for tests.

use model::LabelSet;
use model::mutation::{MetricMetadata, MetricType};

/// Appends a series with its samples to a `WriteRequest`.
pub fn encode_series(labels: &LabelSet, samples: &[(i64, f64)], into: &mut Vec<u8>) {
    let mut series = Vec::with_capacity(64 * labels.len() + 20 * samples.len());
    let mut part = Vec::new();
    for (name, value) in labels.iter() {
        part.clear();
        push_bytes(1, name.as_bytes(), &mut part);
        push_bytes(2, value.as_bytes(), &mut part);
        push_bytes(1, &part, &mut series);
    }
    for (timestamp_ms, value) in samples {
        part.clear();
        part.push(0x09);
        part.extend_from_slice(&value.to_le_bytes());
        part.push(0x10);
        push_varint(timestamp_ms.cast_unsigned(), &mut part);
        push_bytes(2, &part, &mut series);
    }
    push_bytes(1, &series, into);
}

/// Appends what a metric means to a `WriteRequest`.
pub fn encode_metadata(metadata: &MetricMetadata, into: &mut Vec<u8>) {
    let mut message = vec![0x08, type_number(metadata.metric_type)];
    push_bytes(2, metadata.metric.as_bytes(), &mut message);
    push_bytes(4, metadata.help.as_bytes(), &mut message);
    push_bytes(5, metadata.unit.as_bytes(), &mut message);
    push_bytes(3, &message, into);
}

fn type_number(metric_type: MetricType) -> u8 {
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

fn push_bytes(number: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(number << 3 | 2);
    push_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

fn push_varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}
