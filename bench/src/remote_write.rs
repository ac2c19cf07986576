//! Encodes remote write 1.0: `WriteRequest{timeseries=1, metadata=3}`, then snappy's block format.

use crate::protobuf::{push_bytes, push_eight, push_uint, push_varint, take_bytes};

/// A series as a sender writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name and value of each label, in the order they are sent.
    pub labels: Vec<(String, String)>,
    /// Milliseconds since 1970, and the value.
    pub samples: Vec<(i64, f64)>,
}

impl Series {
    /// A series of the metric `name` with `labels`, which are put into order.
    #[must_use]
    pub fn new(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let mut labels: Vec<(String, String)> = labels
            .iter()
            .chain([&("__name__", name)])
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        labels.sort();
        Self { labels, samples: samples.to_vec() }
    }
}

/// The headers that a remote write 1.0 request carries.
pub const HEADERS: [(&str, &str); 4] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ("User-Agent", "cumae-bench"),
];

/// The headers that a remote write 2.0 request carries.
pub const HEADERS_V2: [(&str, &str); 4] = [
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
    ("User-Agent", "cumae-bench"),
];

/// A whole request body: protobuf, compressed.
#[must_use]
pub fn body(series: &[Series]) -> Vec<u8> {
    let mut message = Vec::new();
    for one in series {
        let mut text = Vec::new();
        for (name, value) in &one.labels {
            push_label(&mut text, name, value);
        }
        push_series(&mut message, &text, &one.samples);
    }
    compress(&message)
}

/// Snappy's block format of `message`.
///
/// # Panics
/// If `message` is longer than 4 GiB, which no request is.
#[must_use]
pub fn compress(message: &[u8]) -> Vec<u8> {
    let compressed = snap::raw::Encoder::new().compress_vec(message);
    assert!(compressed.is_ok(), "a request body is shorter than 4 GiB");
    compressed.unwrap_or_default()
}

/// Appends `Label{name=1, value=2}` as field 1 of a `TimeSeries`.
pub fn push_label(series: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::with_capacity(name.len() + value.len() + 6);
    push_bytes(&mut label, 1, name.as_bytes());
    push_bytes(&mut label, 2, value.as_bytes());
    push_bytes(series, 1, &label);
}

/// Appends a `TimeSeries` of encoded labels and of samples as field 1 of a `WriteRequest`.
pub fn push_series(message: &mut Vec<u8>, labels: &[u8], samples: &[(i64, f64)]) {
    let mut rows = Vec::with_capacity(samples.len() * 20);
    for (timestamp_ms, value) in samples {
        push_bytes(&mut rows, 2, &sample(*timestamp_ms, *value));
    }
    message.push(0x0a);
    push_varint(message, (labels.len() + rows.len()) as u64);
    message.extend_from_slice(labels);
    message.extend_from_slice(&rows);
}

/// `Sample{value=1, timestamp=2}`, in either version.
pub(crate) fn sample(timestamp_ms: i64, value: f64) -> Vec<u8> {
    let mut sample = Vec::with_capacity(20);
    push_eight(&mut sample, 1, value.to_le_bytes());
    push_uint(&mut sample, 2, timestamp_ms.cast_unsigned());
    sample
}

/// Names and values of the labels that [`push_label`] has encoded.
pub fn labels(mut encoded: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let mut label = take_bytes(&mut encoded)?;
        let (name, value) = (take_bytes(&mut label)?, take_bytes(&mut label)?);
        Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back() {
        let pairs = [("__name__", "up"), ("job", ""), ("long", &*"x".repeat(300))];
        let mut encoded = Vec::new();
        pairs.iter().for_each(|(name, value)| push_label(&mut encoded, name, value));
        assert!(labels(&encoded).eq(pairs));
        assert_eq!(labels(&encoded[..encoded.len() - 1]).count(), 2);
    }

    #[test]
    fn the_published_vector_rw1_comes_out_byte_by_byte() {
        let up = Series::new("up", &[("job", "a")], &[(1_700_000_000_000, 1.0)]);
        let hex: String = body(&[up]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "2eb40a2c0a0e0a085f5f6e616d655f5f120275700a080a036a6f62120161121009000000000000f03f10\
             80d095ffbc31"
        );
    }
}
