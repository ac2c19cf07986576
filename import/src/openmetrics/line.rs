//! One line of OpenMetrics.

use crate::bytes::Bad;
use model::mutation::MetricType;
use model::{Exemplar, LabelSet, METRIC_NAME, Sample};
use std::borrow::Cow;

/// What a line says.
#[derive(Debug)]
pub(super) enum Line<'a> {
    Nothing,
    Eof,
    Type(Cow<'a, str>, MetricType),
    Help(Cow<'a, str>, String),
    Unit(Cow<'a, str>, String),
    Sample { labels: LabelSet, sample: Sample, exemplar: Option<Exemplar> },
}

/// Reads a line, without its line feed.
pub(super) fn parse(line: &str) -> Result<Line<'_>, Bad> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let Some(comment) = line.strip_prefix('#') else {
        return if line.is_empty() { Ok(Line::Nothing) } else { sample(line) };
    };
    if comment == " EOF" {
        return Ok(Line::Eof);
    }
    match comment.trim_start().split_once(' ') {
        Some(("TYPE", rest)) => {
            let (name, rest) = named(rest)?;
            Ok(Line::Type(name, metric_type(rest)?))
        }
        Some(("HELP", rest)) => {
            let (name, rest) = named(rest)?;
            Ok(Line::Help(name, unescaped(rest)?))
        }
        Some(("UNIT", rest)) => {
            let (name, rest) = named(rest)?;
            Ok(Line::Unit(name, rest.to_owned()))
        }
        _ => Ok(Line::Nothing),
    }
}

/// The name of a metric, which may be a text in quotes, and what is told of it.
fn named(text: &str) -> Result<(Cow<'_, str>, &str), Bad> {
    if text.starts_with('"') {
        let (name, behind) = quoted(text)?;
        return Ok((Cow::Owned(name), behind.strip_prefix(' ').unwrap_or(behind)));
    }
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok((Cow::Borrowed(name), rest))
}

fn metric_type(text: &str) -> Result<MetricType, Bad> {
    Ok(match text {
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "gaugehistogram" => MetricType::GaugeHistogram,
        "summary" => MetricType::Summary,
        "info" => MetricType::Info,
        "stateset" => MetricType::StateSet,
        "unknown" | "untyped" => MetricType::Unknown,
        _ => return Err(Bad("no type of metric that is known")),
    })
}

fn unescaped(text: &str) -> Result<String, Bad> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(escaped @ ('\\' | '"')) => out.push(escaped),
                _ => return Err(Bad("a backslash before neither n, \" nor another")),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

fn sample(line: &str) -> Result<Line<'_>, Bad> {
    let name_end = line.find(['{', ' ']).ok_or(Bad("a sample needs a value"))?;
    let (name, mut rest) = line.split_at(name_end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    if let Some(inside) = rest.strip_prefix('{') {
        rest = labels(inside, &mut pairs)?;
    }
    if !pairs.iter().any(|(name, value)| name == METRIC_NAME && !value.is_empty()) {
        return Err(Bad("a sample needs a metric's name"));
    }
    let labels = LabelSet::from_pairs(pairs).map_err(|_| Bad("a label occurs twice"))?;
    let rest = rest.strip_prefix(' ').ok_or(Bad("a space is missing before the value"))?;
    let (rest, told) = match rest.split_once(" # ") {
        Some((rest, told)) => (rest, Some(told)),
        None => (rest, None),
    };
    let (value, moment) = rest.split_once(' ').ok_or(Bad("it has no timestamp"))?;
    let (value, timestamp_ms) = (number(value)?, milliseconds(moment)?);
    let sample = Sample { timestamp_ms, value, start_timestamp_ms: 0, revision: 0 };
    let exemplar = told.map(|told| exemplar(told, timestamp_ms)).transpose()?;
    Ok(Line::Sample { labels, sample, exemplar })
}

/// Reads labels up to the closing brace, and returns what is behind it. One without a value is the
/// metric's name.
fn labels<'a>(mut rest: &'a str, pairs: &mut Vec<(String, String)>) -> Result<&'a str, Bad> {
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let name = if rest.starts_with('"') {
            let (name, behind) = quoted(rest)?;
            rest = behind;
            name
        } else {
            let end = rest.find(['=', ' ', ',', '}']).ok_or(Bad("a label has no end"))?;
            let (name, behind) = rest.split_at(end);
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(Bad("not a label's name"));
            }
            rest = behind;
            name.to_owned()
        };
        rest = rest.trim_start_matches(' ');
        if let Some(behind) = rest.strip_prefix('=') {
            let (value, behind) = quoted(behind.trim_start_matches(' '))?;
            pairs.push((name, value));
            rest = behind;
        } else {
            pairs.push((METRIC_NAME.to_owned(), name));
        }
        rest = rest.trim_start_matches(' ');
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err(Bad("a comma is missing between labels")),
        }
    }
}

/// A text in quotes, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str), Bad> {
    let inside = text.strip_prefix('"').ok_or(Bad("a quote is missing"))?;
    let mut is_escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !is_escaped => {
                let (inside, behind) = inside.split_at(at);
                return Ok((unescaped(inside)?, behind.strip_prefix('"').unwrap_or_default()));
            }
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    Err(Bad("a quote is not closed"))
}

/// An exemplar; one without a moment is of its sample's.
fn exemplar(text: &str, sample_ms: i64) -> Result<Exemplar, Bad> {
    let inside = text.strip_prefix('{').ok_or(Bad("an exemplar begins with labels"))?;
    let mut pairs = Vec::new();
    let rest = labels(inside, &mut pairs)?;
    let labels = LabelSet::from_pairs(pairs).map_err(|_| Bad("a label occurs twice"))?;
    let mut words = rest.strip_prefix(' ').unwrap_or_default().split(' ');
    let value = number(words.next().unwrap_or_default())?;
    let timestamp_ms = words.next().map_or(Ok(sample_ms), milliseconds)?;
    match words.next() {
        None => Ok(Exemplar { timestamp_ms, value, labels }),
        Some(_) => Err(Bad("there is more behind an exemplar")),
    }
}

fn number(text: &str) -> Result<f64, Bad> {
    let is_number = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let number = text.parse().ok().filter(|_| is_number);
    number.ok_or(Bad("not a number"))
}

/// Seconds as a decimal number, exact to the millisecond; what is finer is cut off.
fn milliseconds(text: &str) -> Result<i64, Bad> {
    let bad = Bad("not a timestamp in seconds");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_plain(whole) || !is_plain(fraction) {
        // With an exponent, as floats are written by some.
        let seconds = number(text)?;
        let is_moment = seconds.is_finite() && seconds.abs() < 9e15;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be far inside")]
        return if is_moment { Ok((seconds * 1e3).round() as i64) } else { Err(bad) };
    }
    let mut thousandths = fraction.as_bytes().iter().map(|digit| i64::from(digit - b'0'));
    let mut next = || thousandths.next().unwrap_or(0);
    let millis = next() * 100 + next() * 10 + next();
    let whole: i64 = whole.parse().map_err(|_| bad)?;
    whole.checked_mul(1000).and_then(|ms| ms.checked_add(millis)).map(|ms| ms * sign).ok_or(bad)
}
