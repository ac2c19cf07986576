//! Prometheus' text format: `name{label="value"} 1.5 1700000000000`, with names in quotes too.
//!
//! Moments are milliseconds since 1970. What OpenMetrics adds, exemplars above all, is not read.

use super::{BadLine, Labels, LineBounds, Row};
use model::METRIC_NAME;
use model::mutation::MetricType;
use std::borrow::Cow;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// It is empty, or a comment.
    Nothing,
    /// The type of a metric.
    Type(Cow<'a, str>, MetricType),
    /// What a metric means.
    Help(Cow<'a, str>, Cow<'a, str>),
    /// A sample.
    Sample(Row<'a>),
}

/// Reads a line, without its line feed. A sample without a moment is of `default_ms`.
///
/// # Errors
/// [`BadLine`].
pub fn parse(line: &[u8], default_ms: i64, bounds: LineBounds) -> Result<Line<'_>, BadLine> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?.trim_matches(BLANKS);
    match line.strip_prefix('#') {
        _ if line.is_empty() => Ok(Line::Nothing),
        Some(comment) => Ok(told(comment.trim_start_matches(BLANKS))),
        None => sample(line, default_ms, bounds).map(Line::Sample),
    }
}

const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// What a comment tells of a metric, whose name may be a text in quotes.
fn told(comment: &str) -> Line<'_> {
    let (keyword, rest) = comment.split_once(BLANKS).unwrap_or((comment, ""));
    let mut rest = rest.trim_start_matches(BLANKS);
    let name = if rest.starts_with('"') {
        // What says nothing of a metric is only a comment.
        quoted(&mut rest).unwrap_or_default()
    } else {
        let (name, behind) = rest.split_once(BLANKS).unwrap_or((rest, ""));
        rest = behind;
        Cow::Borrowed(name)
    };
    rest = rest.trim_start_matches(BLANKS);
    let metric_type = match (keyword, rest.trim_matches(BLANKS)) {
        ("HELP", _) if !name.is_empty() => return Line::Help(name, unescaped(rest)),
        ("TYPE", "counter") => MetricType::Counter,
        ("TYPE", "gauge") => MetricType::Gauge,
        ("TYPE", "histogram") => MetricType::Histogram,
        ("TYPE", "gaugehistogram") => MetricType::GaugeHistogram,
        ("TYPE", "summary") => MetricType::Summary,
        ("TYPE", "info") => MetricType::Info,
        ("TYPE", "stateset") => MetricType::StateSet,
        _ => return Line::Nothing,
    };
    if name.is_empty() { Line::Nothing } else { Line::Type(name, metric_type) }
}

fn sample(line: &str, default_ms: i64, bounds: LineBounds) -> Result<Row<'_>, BadLine> {
    let is_end = |c: char| c == '{' || BLANKS.contains(&c);
    let (name, mut rest) = line.split_at(line.find(is_end).unwrap_or(line.len()));
    let mut labels = Labels::new();
    if !name.is_empty() {
        if !is_name(name, true) {
            return Err("not a metric's name".into());
        }
        labels.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
    }
    rest = rest.trim_start_matches(BLANKS);
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels, bounds)?;
    }
    if !labels.iter().any(|(name, _)| name == METRIC_NAME) {
        return Err("a sample needs a metric's name".into());
    }
    let mut words = rest.split(BLANKS).filter(|word| !word.is_empty());
    let value = words.next().ok_or("a sample needs a value")?;
    let value = value.parse().map_err(|_| "its value is not a number")?;
    let timestamp_ms = match words.next() {
        None => default_ms,
        Some(word) => word.parse().map_err(|_| "its timestamp is not in milliseconds")?,
    };
    match words.next() {
        None => Ok(Row { labels, samples: vec![(timestamp_ms, value)] }),
        Some(_) => Err("there is more behind its timestamp".into()),
    }
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && may_have_colons);
    name.chars().all(is_fine) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// Reads labels up to the closing brace, and returns what is behind it. A name in quotes without a
/// value is the metric's.
fn read_labels<'a>(
    mut rest: &'a str,
    labels: &mut Labels<'a>,
    bounds: LineBounds,
) -> Result<&'a str, BadLine> {
    loop {
        if labels.len() > bounds.labels {
            return Err(bounds.too_many_labels());
        }
        rest = rest.trim_start_matches(BLANKS);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let is_quoted = rest.starts_with('"');
        let name = if is_quoted {
            quoted(&mut rest)?
        } else {
            let is_end = |c: char| c == '=' || c == ',' || c == '}' || BLANKS.contains(&c);
            let end = rest.find(is_end).ok_or("a label has no end")?;
            let (name, behind) = rest.split_at(end);
            if !is_name(name, false) {
                return Err("not a label's name".into());
            }
            rest = behind;
            Cow::Borrowed(name)
        };
        rest = rest.trim_start_matches(BLANKS);
        if let Some(behind) = rest.strip_prefix('=') {
            rest = behind.trim_start_matches(BLANKS);
            labels.push((name, quoted(&mut rest)?));
        } else if is_quoted {
            labels.push((Cow::Borrowed(METRIC_NAME), name));
        } else {
            return Err("a label has no value".into());
        }
        rest = rest.trim_start_matches(BLANKS);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err("a comma is missing between labels".into()),
        }
    }
}

/// A text in quotes, taken off the front of `rest`.
fn quoted<'a>(rest: &mut &'a str) -> Result<Cow<'a, str>, BadLine> {
    let inside = rest.strip_prefix('"').ok_or("a quote is missing")?;
    let mut is_escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => {
                *rest = &inside[at + 1..];
                return Ok(unescaped(&inside[..at]));
            }
            _ => is_escaped = byte == b'\\' && !is_escaped,
        }
    }
    Err("a quote is not closed".into())
}

/// A text without its escapes; a backslash before anything else is just one.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some(escaped @ ('\\' | '"')) => plain.push(escaped),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> (Vec<(String, String)>, (i64, f64)) {
        match parse(line.as_bytes(), 7, LineBounds::NONE).unwrap() {
            Line::Sample(row) => {
                let own = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
                    (name.into_owned(), value.into_owned())
                };
                (row.labels.into_iter().map(own).collect(), row.samples[0])
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_may_have_so_many_labels_and_no_more() {
        let bounds = LineBounds { labels: 3, ..LineBounds::NONE };
        assert!(parse(b"m{a=\"1\",b=\"2\"} 1", 0, bounds).is_ok());
        let error = parse(b"m{a=\"1\",b=\"2\",c=\"3\"} 1", 0, bounds).unwrap_err();
        assert_eq!(error.to_string(), "more than 3 labels");
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn samples_are_read_as_prometheus_writes_them() {
        for (line, pairs, sample) in [
            ("up 1", &[("__name__", "up")][..], (7, 1.0)),
            ("up 1 1700000000000\r", &[("__name__", "up")], (1_700_000_000_000, 1.0)),
            ("up{} -5e3 -1", &[("__name__", "up")], (-1, -5000.0)),
            ("\tup {a=\"b\",} +Inf", &[("__name__", "up"), ("a", "b")], (7, f64::INFINITY)),
            (
                r#"a:b{ c = "x\"y\\z\n\q" , d="}" } 1"#,
                &[("__name__", "a:b"), ("c", "x\"y\\z\n\\q"), ("d", "}")],
                (7, 1.0),
            ),
            (
                r#"{"http.requests","a b"="é"} 2"#,
                &[("__name__", "http.requests"), ("a b", "é")],
                (7, 2.0),
            ),
        ] {
            assert_eq!(row(line), (labels(pairs), sample), "{line}");
        }
        assert!(row("x NaN").1.1.is_nan());
    }

    #[test]
    fn comments_tell_types_and_meanings() {
        assert_eq!(parse(b"", 0, LineBounds::NONE).unwrap(), Line::Nothing);
        assert_eq!(parse(b"# anything", 0, LineBounds::NONE).unwrap(), Line::Nothing);
        assert_eq!(parse(b"# EOF", 0, LineBounds::NONE).unwrap(), Line::Nothing);
        assert_eq!(
            parse(b"# TYPE up gauge", 0, LineBounds::NONE).unwrap(),
            Line::Type("up".into(), MetricType::Gauge)
        );
        let help = Line::Help("up".into(), "a\nb c".into());
        assert_eq!(parse(br"# HELP up a\nb c", 0, LineBounds::NONE).unwrap(), help);
    }

    #[test]
    fn a_name_in_quotes_may_have_blanks_and_quotes_where_a_comment_tells_of_it() {
        for (line, wanted) in [
            (r#"# HELP "a b" what"#, Line::Help("a b".into(), "what".into())),
            (r#"# TYPE "a b" gauge"#, Line::Type("a b".into(), MetricType::Gauge)),
            (r#"#  TYPE   "a\"b"	counter"#, Line::Type("a\"b".into(), MetricType::Counter)),
            (r#"# HELP "a b"#, Line::Nothing),
            (r#"# HELP "" what"#, Line::Nothing),
        ] {
            assert_eq!(parse(line.as_bytes(), 0, LineBounds::NONE).unwrap(), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_no_sample_is_told_why() {
        for (line, why) in [
            ("up", "needs a value"),
            ("up x", "not a number"),
            ("up 1 2.5", "milliseconds"),
            ("up 1 2 3", "more behind"),
            ("1up 1", "metric's name"),
            ("a-b 1", "metric's name"),
            ("{a=\"b\"} 1", "needs a metric's name"),
            ("up{a} 1", "no value"),
            ("up{a=b} 1", "quote is missing"),
            ("up{a=\"b 1", "not closed"),
            ("up{a=\"b\" c=\"d\"} 1", "comma is missing"),
            ("up{1a=\"b\"} 1", "label's name"),
        ] {
            let error = parse(line.as_bytes(), 0, LineBounds::NONE).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(parse(b"up\xff 1", 0, LineBounds::NONE).is_err());
    }
}
