//! What differs from what a case expects, for people: in the notation of scripts.

use model::histogram::{Counts, Histogram, ResetHint, Span};
use model::sample::is_stale;
use model::{LabelSet, METRIC_NAME};
use std::fmt;

/// How an answer differs from the expected one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Which part of the answer, and how it was asked if not as written; empty: the answer.
    pub about: String,
    /// What was expected; a list has a line for each.
    pub expected: String,
    /// What came instead.
    pub got: String,
}

impl Failure {
    pub(crate) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { about: String::new(), expected: expected.into(), got: got.into() }
    }

    /// Says in front what it is about.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.about = match self.about.is_empty() {
            true => what.to_string(),
            false => format!("{what}: {}", self.about),
        };
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.about.is_empty() {
            write!(f, "{}: ", self.about)?;
        }
        write!(f, "expected {}, got {}", self.expected, self.got)
    }
}

/// A list, a line for each; "nothing" if it is empty.
pub(crate) fn lines(of: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = of.collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

/// A series as scripts write it: `name{label="value"}`.
pub(crate) fn name(labels: &LabelSet) -> String {
    let rest = labels.iter().filter(|(label, _)| ***label != *METRIC_NAME);
    let pairs: Vec<String> = rest.map(|(label, value)| format!("{label}={:?}", &**value)).collect();
    match labels.metric_name() {
        metric if pairs.is_empty() && !metric.is_empty() => metric.to_owned(),
        metric => format!("{metric}{{{}}}", pairs.join(", ")),
    }
}

/// A float as scripts write it.
pub(crate) fn float(value: f64) -> String {
    match value {
        value if is_stale(value) => "stale".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value:?}").trim_end_matches(".0").to_owned(),
    }
}

/// A histogram as scripts write it.
pub(crate) fn histogram(histogram: &Histogram) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let floats = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect::<Vec<f64>>();
    let (total, zero, positive, negative) = match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            let totals = floats(&[*count, *zero_count]);
            (totals[0], totals[1], floats(positive), floats(negative))
        }
        Counts::Float { count, zero_count, positive, negative } => {
            (*count, *zero_count, positive.clone(), negative.clone())
        }
    };
    let mut fields = vec![
        format!("schema:{}", histogram.schema),
        format!("count:{}", float(total)),
        format!("sum:{}", float(histogram.sum)),
    ];
    let mut put = |key: &str, value: f64| {
        if value != 0.0 {
            fields.push(format!("{key}:{}", float(value)));
        }
    };
    put("z_bucket", zero);
    put("z_bucket_w", histogram.zero_threshold);
    let sides =
        [("", &histogram.positive_spans, &positive), ("n_", &histogram.negative_spans, &negative)];
    for (sign, spans, counts) in sides {
        if let (Some(first), false) = (spans.first(), counts.is_empty()) {
            fields.push(format!("{sign}offset:{}", first.offset));
            fields.push(format!("{sign}buckets:[{}]", buckets(spans, counts)));
        }
    }
    if !histogram.custom_values.is_empty() {
        let values: Vec<String> = histogram.custom_values.iter().map(|v| float(*v)).collect();
        fields.push(format!("custom_values:[{}]", values.join(" ")));
    }
    match histogram.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Yes => fields.push("counter_reset_hint:reset".to_owned()),
        ResetHint::No => fields.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => fields.push("counter_reset_hint:gauge".to_owned()),
    }
    format!("{{{{{}}}}}", fields.join(" "))
}

/// The buckets of one sign from the first on; a long row of empty ones is told by its length.
fn buckets(spans: &[Span], counts: &[f64]) -> String {
    let mut counts = counts.iter();
    let mut out = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        match span.offset {
            gap if index == 0 || gap <= 0 => {}
            gap if gap <= 8 => out.extend((0..gap).map(|_| "0".to_owned())),
            gap => out.push(format!("0x{gap}")),
        }
        out.extend((&mut counts).take(span.length as usize).map(|count| float(*count)));
    }
    out.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::{Point, parse_series};

    #[test]
    fn a_histogram_is_told_in_the_notation_that_it_is_written_in() {
        for text in [
            "{{schema:3 count:9 sum:-1.5 z_bucket:2 z_bucket_w:0.001 offset:-2 buckets:[1 0 2] n_offset:1 n_buckets:[4]}}",
            "{{schema:-53 count:3 sum:5 offset:0 buckets:[1 2] custom_values:[0.5 1] counter_reset_hint:gauge}}",
        ] {
            let series = parse_series(&format!("a {text}")).unwrap();
            let [Point::Histogram(read, _)] = &series.points(9).unwrap()[..] else { panic!() };
            assert_eq!(histogram(read), text);
        }
    }

    #[test]
    fn a_failure_says_which_part_what_was_expected_and_what_came() {
        let failure =
            Failure::new(float(1.0), float(f64::NAN)).about("{a=\"b\"}").about("in range mode");
        assert_eq!(failure.to_string(), "in range mode: {a=\"b\"}: expected 1, got NaN");
        assert_eq!((float(f64::INFINITY), float(0.25)), ("+Inf".to_owned(), "0.25".to_owned()));
    }
}
