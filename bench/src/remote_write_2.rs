//! Encodes remote write 2.0: `Request{symbols=4, timeseries=5}`.

use crate::protobuf::{push_bytes, push_uint, push_varint};
use crate::remote_write::{labels, sample};
use std::collections::HashMap;

/// A request in the making: texts once, series by the texts' numbers.
#[derive(Debug)]
pub(crate) struct Request {
    numbers: HashMap<Box<str>, u64>,
    symbols: Vec<u8>,
    series: Vec<u8>,
}

impl Default for Request {
    fn default() -> Self {
        let mut symbols = Vec::new();
        // The first text is the empty one, by the rules.
        push_bytes(&mut symbols, 4, b"");
        Self { numbers: HashMap::from([("".into(), 0)]), symbols, series: Vec::new() }
    }
}

impl Request {
    /// Adds `TimeSeries{labels_refs=1, samples=2, metadata=5}`.
    pub(crate) fn push(&mut self, encoded: &[u8], samples: &[(i64, f64)]) {
        let (mut numbers, mut metric_type) = (Vec::new(), 0);
        for (name, value) in labels(encoded) {
            for text in [name, value] {
                let number = self.number(text);
                push_varint(&mut numbers, number);
            }
            if name == "__name__" {
                metric_type = metric_type_of(value);
            }
        }
        let mut series = Vec::new();
        push_bytes(&mut series, 1, &numbers);
        for (timestamp_ms, value) in samples {
            push_bytes(&mut series, 2, &sample(*timestamp_ms, *value));
        }
        let mut metadata = Vec::new();
        push_uint(&mut metadata, 1, metric_type);
        push_bytes(&mut series, 5, &metadata);
        push_bytes(&mut self.series, 5, &series);
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u64;
        self.numbers.insert(text.into(), number);
        push_bytes(&mut self.symbols, 4, text.as_bytes());
        number
    }

    /// The message.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.symbols.append(&mut self.series);
        self.symbols
    }
}

/// Counter, gauge or histogram, by the name.
fn metric_type_of(name: &str) -> u64 {
    match name {
        _ if name.ends_with("_total") => 1,
        _ if name.ends_with("_bucket") => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote_write::push_label;

    #[test]
    fn texts_are_sent_once_and_series_name_them_by_number() {
        let mut encoded = Vec::new();
        push_label(&mut encoded, "__name__", "up");
        let mut request = Request::default();
        request.push(&encoded, &[(1, 1.0)]);
        request.push(&encoded, &[(1, 1.0)]);
        let series =
            b"\x2a\x15\x0a\x02\x01\x02\x12\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x01\x2a\x02\x08\x02";
        let symbols = b"\x22\0\x22\x08__name__\x22\x02up";
        assert_eq!(request.finish(), [&symbols[..], series, series].concat());
    }
}
