//! Native histograms as JSON: `{"count":"9","sum":"12.5","buckets":[[0,"0.5","1","1"]]}`.
//!
//! A bucket is its boundary rule, its bounds and its count: rule 0 is (low, high], 1 [low, high),
//! 2 (low, high), 3 [low, high]. They ascend; empty ones are left out, and so is the key without any.

use crate::number;
use model::Histogram;
use promql::histogram::FloatHistogram;

/// Appends `[seconds,{…}]`.
pub(crate) fn push_sample(out: &mut Vec<u8>, timestamp_ms: i64, histogram: &Histogram) {
    out.push(b'[');
    number::push_timestamp(out, timestamp_ms);
    out.push(b',');
    push_histogram(out, histogram);
    out.push(b']');
}

fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let histogram = FloatHistogram::new(histogram);
    out.extend_from_slice(b"{\"count\":");
    push_float(out, histogram.count());
    out.extend_from_slice(b",\"sum\":");
    push_float(out, histogram.sum());
    let mut opening: &[u8] = b",\"buckets\":[";
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(opening);
        opening = b",";
        let rule = match (bucket.has_lower, bucket.has_upper) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.extend_from_slice(&[b'[', rule, b',']);
        push_float(out, bucket.lower);
        out.push(b',');
        push_float(out, bucket.upper);
        out.push(b',');
        push_float(out, bucket.count);
        out.push(b']');
    }
    out.extend_from_slice(if opening == b"," { b"]}" } else { b"}" });
}

fn push_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    number::push_sample(out, value);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::{CUSTOM_BUCKETS, Counts, Span};

    fn json(histogram: &Histogram) -> String {
        let mut out = Vec::new();
        push_sample(&mut out, 1_500, histogram);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json[0], 1.5);
        String::from_utf8(out).unwrap()
    }

    fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
        spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn exponential_buckets_are_written_as_the_contract_shows_them() {
        let histogram = Histogram {
            sum: 12.5,
            zero_threshold: 0.001,
            positive_spans: spans(&[(0, 2), (1, 1)]),
            negative_spans: spans(&[(0, 1)]),
            counts: Counts::Integer {
                count: 9,
                zero_count: 2,
                positive: vec![1, 2, 1],
                negative: vec![3],
            },
            ..Histogram::stale()
        };
        let buckets = r#"[[1,"-1","-0.5","3"],[3,"-0.001","0.001","2"],[0,"0.5","1","1"],[0,"1","2","2"],[0,"4","8","1"]]"#;
        let expected = format!(r#"[1.500,{{"count":"9","sum":"12.5","buckets":{buckets}}}]"#);
        assert_eq!(json(&histogram), expected);
    }

    #[test]
    fn custom_buckets_are_written_as_the_contract_shows_them() {
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS,
            sum: 1e-7,
            positive_spans: spans(&[(0, 3)]),
            custom_values: vec![0.5, 1.0],
            counts: Counts::Float {
                count: 6.0,
                zero_count: 0.0,
                positive: vec![1.0, 2.0, 3.0],
                negative: vec![],
            },
            ..Histogram::stale()
        };
        let buckets = r#"[[3,"-Inf","0.5","1"],[0,"0.5","1","2"],[0,"1","+Inf","3"]]"#;
        let expected = format!(r#"[1.500,{{"count":"6","sum":"1e-07","buckets":{buckets}}}]"#);
        assert_eq!(json(&histogram), expected);
    }

    #[test]
    fn empty_buckets_are_left_out_and_the_key_without_any() {
        let empty = Histogram {
            sum: f64::NAN,
            positive_spans: spans(&[(0, 2)]),
            counts: Counts::Integer {
                count: 0,
                zero_count: 0,
                positive: vec![0, 0],
                negative: vec![],
            },
            ..Histogram::stale()
        };
        assert_eq!(json(&empty), r#"[1.500,{"count":"0","sum":"NaN"}]"#);
    }
}
