//! Series descriptions, the notation of test scripts: `metric{labels} 1+2x3 _ stale {{schema:0}}`.
//!
//! A description says which samples a series has, one after the other at some step. It is read
//! into the counts it is written with: expanding `0x1000000000` is the caller's to refuse.
//!
//! Not here: what a script does with it.

use crate::ast::Sign;
use crate::error::ParseError;
use crate::number::parse_number;
use crate::parse::metric::metric;
use crate::quote::quoted;
use crate::span::Span;
use model::LabelSet;

/// A series and its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesDescription {
    /// The series.
    pub labels: LabelSet,
    /// Its samples, in order.
    pub items: Vec<SeriesItem>,
}

/// Some samples, or gaps, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesItem {
    /// `_`, `_x3`: this many gaps.
    Gaps(u64),
    /// `5`, `1x4`, `1+2x3`, `stale`: each sample is `step` above the one before it.
    Floats {
        /// The first sample.
        first: f64,
        /// What is added from one to the next.
        step: f64,
        /// How many samples: `1x4` makes five.
        count: u64,
    },
    /// `{{…}}`, `{{…}}x4`, `{{…}}+{{…}}x3`.
    Histograms {
        /// The first sample.
        first: Box<HistogramDescription>,
        /// What is added or subtracted from one to the next.
        step: Option<(Sign, Box<HistogramDescription>)>,
        /// How many samples: `x4` makes five.
        count: u64,
    },
}

/// A native histogram as written; what is not written is zero or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramDescription {
    /// The resolution; -53: custom buckets.
    pub schema: i32,
    /// The sum of all observations.
    pub sum: f64,
    /// The number of observations.
    pub count: f64,
    /// `z_bucket`: observations in the zero bucket.
    pub zero_count: f64,
    /// `z_bucket_w`: the width of the zero bucket.
    pub zero_threshold: f64,
    /// The upper bounds of custom buckets.
    pub custom_values: Vec<f64>,
    /// `offset`: the index of the first positive bucket.
    pub positive_offset: i32,
    /// `buckets`: observations in positive buckets, one after the other.
    pub positive_buckets: Vec<f64>,
    /// `n_offset`: the index of the first negative bucket.
    pub negative_offset: i32,
    /// `n_buckets`: observations in negative buckets, one after the other.
    pub negative_buckets: Vec<f64>,
    /// The hint, if one is written.
    pub counter_reset_hint: Option<CounterResetHint>,
}

/// What is known about a counter reset before a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterResetHint {
    /// Nothing.
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// The histogram is a gauge.
    Gauge,
}

/// Parses a series description.
///
/// # Errors
/// [`ParseError`] for the first thing that is wrong.
pub fn parse_series(text: &str) -> Result<SeriesDescription, ParseError> {
    let (labels, at) = metric(text)?;
    let mut cursor = Cursor { text, at };
    let mut items = Vec::new();
    loop {
        let had_space = cursor.skip_spaces();
        if cursor.peek().is_none() {
            return Ok(SeriesDescription { labels, items });
        }
        if !had_space {
            return cursor.fault("expected a space between series values");
        }
        items.push(cursor.item()?);
    }
}

struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn accept(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn take_while(&mut self, accepted: impl Fn(u8) -> bool) -> &'t str {
        let len = self.rest().bytes().take_while(|&byte| accepted(byte)).count();
        let taken = self.rest().get(..len).unwrap_or("");
        self.at += taken.len();
        taken
    }

    fn skip_spaces(&mut self) -> bool {
        !self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).is_empty()
    }

    fn fault<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let span = Span::new(offset(self.at), offset(self.text.len()));
        Err(ParseError::new(self.text, span, message))
    }

    fn item(&mut self) -> Parsed<SeriesItem> {
        if self.accept("{{") {
            return self.histograms();
        }
        if self.accept("_") {
            return Ok(SeriesItem::Gaps(self.times()?.unwrap_or(1)));
        }
        if self.accept("stale") {
            let count = self.times()?.map_or(1, |times| times.saturating_add(1));
            return Ok(SeriesItem::Floats {
                first: model::sample::stale_marker(),
                step: 0.0,
                count,
            });
        }
        let first = self.signed_number()?;
        let mut step = 0.0;
        let has_step = matches!(self.peek(), Some(b'+' | b'-'));
        if has_step {
            step = self.signed_number()?;
        }
        match self.times()? {
            Some(times) => Ok(SeriesItem::Floats { first, step, count: times.saturating_add(1) }),
            None if has_step => self.fault("expected \"x\" and a number of repetitions"),
            None => Ok(SeriesItem::Floats { first, step, count: 1 }),
        }
    }

    fn histograms(&mut self) -> Parsed<SeriesItem> {
        let first = Box::new(self.histogram()?);
        let sign = match self.peek() {
            Some(b'+') => Some(Sign::Plus),
            Some(b'-') => Some(Sign::Minus),
            _ => None,
        };
        let mut step = None;
        if let Some(sign) = sign {
            self.at += 1;
            if !self.accept("{{") {
                return self.fault("expected \"{{\"");
            }
            step = Some((sign, Box::new(self.histogram()?)));
        }
        match self.times()? {
            Some(times) => {
                Ok(SeriesItem::Histograms { first, step, count: times.saturating_add(1) })
            }
            None if step.is_some() => self.fault("expected \"x\" and a number of repetitions"),
            None => Ok(SeriesItem::Histograms { first, step, count: 1 }),
        }
    }

    /// `x4`, if it is there.
    fn times(&mut self) -> Parsed<Option<u64>> {
        if !self.accept("x") {
            return Ok(None);
        }
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(times) => Ok(Some(times)),
            Err(_) => {
                self.fault(format!("invalid repetition in series values: {}", quoted(digits)))
            }
        }
    }

    fn signed_number(&mut self) -> Parsed<f64> {
        if self.accept("-") {
            return Ok(-self.number()?);
        }
        self.accept("+");
        self.number()
    }

    fn number(&mut self) -> Parsed<f64> {
        let start = self.at;
        let word = self.take_while(|byte| byte.is_ascii_alphabetic());
        if !word.is_empty() {
            return match word.to_ascii_lowercase().as_str() {
                "inf" => Ok(f64::INFINITY),
                "nan" => Ok(f64::NAN),
                _ => self.fault(format!("unexpected {}, expected a number", quoted(word))),
            };
        }
        self.take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'));
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.take_while(|byte| byte.is_ascii_digit());
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        parse_number(text).or_else(|reason| self.fault(format!("error parsing number: {reason}")))
    }

    fn integer(&mut self) -> Parsed<i32> {
        let digits = self.take_while(|byte| byte == b'-' || byte.is_ascii_digit());
        match digits.parse() {
            Ok(value) => Ok(value),
            Err(_) => self.fault(format!("expected an integer, got {}", quoted(digits))),
        }
    }

    /// `[1 2 3]`
    fn numbers(&mut self) -> Parsed<Vec<f64>> {
        if !self.accept("[") {
            return self.fault("expected \"[\"");
        }
        let mut numbers = Vec::new();
        loop {
            self.skip_spaces();
            if self.accept("]") {
                return Ok(numbers);
            }
            numbers.push(self.signed_number()?);
        }
    }

    /// A histogram, of which `{{` has been read.
    fn histogram(&mut self) -> Parsed<HistogramDescription> {
        let mut histogram = HistogramDescription::default();
        let mut seen: Vec<&str> = Vec::new();
        loop {
            self.skip_spaces();
            if self.accept("}}") {
                return Ok(histogram);
            }
            let key = self.take_while(|byte| byte == b'_' || byte.is_ascii_alphabetic());
            if seen.contains(&key) {
                return self.fault(format!("duplicate key {} in histogram", quoted(key)));
            }
            seen.push(key);
            if !self.accept(":") {
                return self.fault("missing `:` for histogram descriptor");
            }
            self.histogram_field(&mut histogram, key)?;
            if !self.rest().starts_with([' ', '\t', '}']) {
                return self.fault("expected a space between histogram descriptors");
            }
        }
    }

    fn histogram_field(&mut self, into: &mut HistogramDescription, key: &str) -> Parsed<()> {
        match key {
            "schema" => into.schema = self.integer()?,
            "sum" => into.sum = self.signed_number()?,
            "count" => into.count = self.signed_number()?,
            "z_bucket" => into.zero_count = self.signed_number()?,
            "z_bucket_w" => into.zero_threshold = self.signed_number()?,
            "custom_values" => into.custom_values = self.numbers()?,
            "offset" => into.positive_offset = self.integer()?,
            "buckets" => into.positive_buckets = self.numbers()?,
            "n_offset" => into.negative_offset = self.integer()?,
            "n_buckets" => into.negative_buckets = self.numbers()?,
            "counter_reset_hint" => into.counter_reset_hint = Some(self.hint()?),
            _ => return self.fault(format!("bad histogram descriptor found: {}", quoted(key))),
        }
        Ok(())
    }

    fn hint(&mut self) -> Parsed<CounterResetHint> {
        match self.take_while(|byte| byte == b'_' || byte.is_ascii_alphabetic()) {
            "unknown" => Ok(CounterResetHint::Unknown),
            "reset" => Ok(CounterResetHint::Reset),
            "not_reset" => Ok(CounterResetHint::NotReset),
            "gauge" => Ok(CounterResetHint::Gauge),
            other => self.fault(format!("unknown counter reset hint {}", quoted(other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<SeriesItem> {
        parse_series(text).unwrap().items
    }

    fn floats(first: f64, step: f64, count: u64) -> SeriesItem {
        SeriesItem::Floats { first, step, count }
    }

    #[test]
    fn floats_and_gaps_keep_the_counts_they_are_written_with() {
        assert_eq!(
            items("m 5 _ _x3 1x4 1+2x3 1-2x3 -1 +1 1.5e+3 -Inf"),
            [
                floats(5.0, 0.0, 1),
                SeriesItem::Gaps(1),
                SeriesItem::Gaps(3),
                floats(1.0, 0.0, 5),
                floats(1.0, 2.0, 4),
                floats(1.0, -2.0, 4),
                floats(-1.0, 0.0, 1),
                floats(1.0, 0.0, 1),
                floats(1500.0, 0.0, 1),
                floats(f64::NEG_INFINITY, 0.0, 1),
            ]
        );
        let stale = items("m stale");
        assert!(matches!(stale[..], [SeriesItem::Floats { first, count: 1, .. }]
            if model::sample::is_stale(first)));
    }

    #[test]
    fn a_metric_is_a_name_or_labels_or_both() {
        let labels = |text: &str| parse_series(text).unwrap().labels.to_string();
        assert_eq!(labels("m 1"), r#"{__name__="m"}"#);
        assert_eq!(labels(r#"m{a="b", c='d',} 1"#), r#"{__name__="m", a="b", c="d"}"#);
        assert_eq!(labels(r#"{"x.y", "z.w"="1"}"#), r#"{__name__="x.y", z.w="1"}"#);
        assert_eq!(labels("{} 1"), "{}");
    }

    #[test]
    fn histograms_have_all_their_fields() {
        let text = "m {{schema:-53 sum:5.5 count:4 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 -1] \
                    offset:-2 n_buckets:[3] n_offset:1 custom_values:[5 Inf] \
                    counter_reset_hint:gauge}}+{{}}x2 {{ }}x1 {{}}";
        let [SeriesItem::Histograms { first, step: Some((Sign::Plus, _)), count: 3 }, rest @ ..] =
            &items(text)[..]
        else {
            panic!("not a series of histograms");
        };
        let want = HistogramDescription {
            schema: -53,
            sum: 5.5,
            count: 4.0,
            zero_count: 1.0,
            zero_threshold: 0.001,
            custom_values: vec![5.0, f64::INFINITY],
            positive_offset: -2,
            positive_buckets: vec![1.0, 2.0, -1.0],
            negative_offset: 1,
            negative_buckets: vec![3.0],
            counter_reset_hint: Some(CounterResetHint::Gauge),
        };
        assert_eq!(**first, want);
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn what_is_not_a_description_is_refused() {
        for text in [
            "",
            "m 1+2",
            "m 1x",
            "m x",
            "m 1 2y",
            "m {{",
            "m {{sum:1 sum:2}}",
            "m {{foo:1}}",
            "m {{sum:1count:1}}",
            "m{a=} 1",
            "m 0x1F",
            "m {a=\"b\"} 1",
            "m {{}}+1x2",
            "1 2",
            "m 1x99999999999999999999",
        ] {
            assert!(parse_series(text).is_err(), "{text}");
        }
    }
}
