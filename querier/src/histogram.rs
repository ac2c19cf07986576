//! Native histograms as JSON: `[seconds,{"count":"4","sum":"5.5","buckets":[[3,"-0.1","0.1","4"]]}]`.
//!
//! The first number of a bucket says which of its bounds belong to it: 0 the upper one, 1 the lower
//! one, 2 none, 3 both. Buckets that hold nothing are left out.

use crate::number;
use model::histogram::Histogram;
use promql::histogram::FloatHistogram;

/// Appends the moment and the histogram.
pub(crate) fn push_sample(out: &mut Vec<u8>, timestamp_ms: i64, histogram: &Histogram) {
    let histogram = FloatHistogram::new(histogram);
    out.push(b'[');
    number::push_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",{\"count\":");
    push_number(out, histogram.count());
    out.extend_from_slice(b",\"sum\":");
    push_number(out, histogram.sum());
    let mut is_first = true;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if is_first { b",\"buckets\":[[" } else { b",[" });
        is_first = false;
        out.push(match (bucket.has_lower, bucket.has_upper) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        });
        for value in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            push_number(out, value);
        }
        out.push(b']');
    }
    out.extend_from_slice(if is_first { b"}]" } else { b"]}]" });
}

fn push_number(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    number::push_sample(out, value);
    out.push(b'"');
}

/// Appends the moments and histograms from `start` to `end`, as far as there are some; a comma
/// before each but the very first.
pub(crate) fn push_samples(
    out: &mut Vec<u8>,
    column: &model::HistogramColumn,
    start: usize,
    end: usize,
) {
    let times = column.timestamps_ms.get(start..end).unwrap_or_default();
    let values = column.values.get(start..end).unwrap_or_default();
    for (index, (timestamp_ms, histogram)) in times.iter().zip(values).enumerate() {
        if start + index > 0 {
            out.push(b',');
        }
        push_sample(out, *timestamp_ms, histogram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::{Point, parse_series};

    fn text(description: &str) -> String {
        let series = parse_series(&format!("m {{{{{description}}}}}")).unwrap();
        let [Point::Histogram(histogram, _)] = &series.points(1).unwrap()[..] else { panic!() };
        let mut out = Vec::new();
        push_sample(&mut out, 1_500, histogram);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_histogram_is_written_as_upstream_does() {
        assert_eq!(text("count:0"), r#"[1.500,{"count":"0","sum":"0"}]"#);
        assert_eq!(
            text(
                "count:8 sum:2.5 z_bucket:1 z_bucket_w:0.5 buckets:[2 0 1] offset:1 n_buckets:[4]"
            ),
            r#"[1.500,{"count":"8","sum":"2.5","buckets":[[1,"-1","-0.5","4"],[3,"-0.5","0.5","1"],[0,"1","2","2"],[0,"4","8","1"]]}]"#
        );
        assert_eq!(
            text("schema:-53 count:3 sum:NaN custom_values:[5 10] buckets:[1 0 2]"),
            r#"[1.500,{"count":"3","sum":"NaN","buckets":[[3,"-Inf","5","1"],[0,"10","+Inf","2"]]}]"#
        );
    }
}
