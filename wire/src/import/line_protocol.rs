//! InfluxDB's line protocol: `cpu,host=a usage=1.5,up=true,name="x" 1700000000000000000`.
//!
//! A field is a series named `measurement_field` with the tags as labels. Strings are left out.
//! A line feed inside of a string ends the line all the same: the string is left out anyway, but its
//! rest is told as a line that cannot be read.

use super::{BadLine, Labels, LineBounds};
use model::METRIC_NAME;
use std::borrow::Cow;

/// What a line's timestamp counts, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    unit_ns: i64,
}

impl Precision {
    /// The precision that is meant by `ns`, `us`, `u`, `ms`, `s`, `m`, `h`; empty is `ns`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit_ns = match text {
            "" | "n" | "ns" => 1,
            "u" | "us" | "µ" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return None,
        };
        Some(Self { unit_ns })
    }

    fn to_ms(self, count: i64) -> Option<i64> {
        let ns = i128::from(count) * i128::from(self.unit_ns);
        i64::try_from(ns.div_euclid(1_000_000)).ok()
    }
}

/// What a line says: points of several series that differ in their names alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Points<'a> {
    /// What was measured: the first part of the name of each of them.
    pub measurement: Cow<'a, str>,
    /// The labels that all of them have.
    pub tags: Labels<'a>,
    /// The other part of each series' name, and its value.
    pub fields: Vec<(Cow<'a, str>, f64)>,
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Points<'_> {
    /// The name of the series that a field is.
    #[must_use]
    pub fn name(&self, field: &str) -> String {
        format!("{}_{field}", self.measurement)
    }

    /// The labels of the series of this name.
    pub fn labels<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (&'s str, &'s str)> {
        let tags = self.tags.iter().map(|(name, value)| (&**name, &**value));
        std::iter::once((METRIC_NAME, name)).chain(tags)
    }

    /// How many bytes all of their labels are, written out.
    #[must_use]
    pub fn labels_bytes(&self) -> usize {
        // Beside its text a label takes a few bytes.
        let tags: usize = self.tags.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let names: usize = self.fields.iter().map(|(name, _)| name.len()).sum();
        let each = tags.saturating_add(self.measurement.len());
        each.saturating_mul(self.fields.len()).saturating_add(names)
    }
}

/// Reads a line, without its line feed; `None` if it is empty or a comment. A line without a moment
/// is of `default_ms`.
///
/// # Errors
/// [`BadLine`].
pub fn parse(
    line: &[u8],
    precision: Precision,
    default_ms: i64,
    bounds: LineBounds,
) -> Result<Option<Points<'_>>, BadLine> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?.trim_matches([' ', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut rest = line;
    let measurement = token(&mut rest, b", ");
    if measurement.is_empty() {
        return Err("a line begins with a measurement".into());
    }
    let mut tags = Labels::new();
    while let Some(behind) = rest.strip_prefix(',') {
        rest = behind;
        let name = token(&mut rest, b"=, ");
        rest = rest.strip_prefix('=').ok_or("a tag has no value")?;
        let value = token(&mut rest, b", ");
        if name.is_empty() || value.is_empty() {
            return Err("a tag has an empty name or value".into());
        }
        if tags.len() == bounds.labels {
            return Err(bounds.too_many_labels());
        }
        tags.push((name, value));
    }
    rest = rest.trim_start_matches(' ');
    if rest.is_empty() {
        return Err("a line needs a field".into());
    }
    let fields = read_fields(&mut rest, bounds)?;
    let timestamp = rest.trim_start_matches(' ');
    let timestamp_ms = if timestamp.is_empty() {
        default_ms
    } else {
        let count = timestamp.parse().map_err(|_| "its timestamp is not an integer")?;
        precision.to_ms(count).ok_or("its timestamp is out of range")?
    };
    Ok(Some(Points { measurement, tags, fields, timestamp_ms }))
}

/// Reads fields up to a blank or the end.
fn read_fields<'a>(
    rest: &mut &'a str,
    bounds: LineBounds,
) -> Result<Vec<(Cow<'a, str>, f64)>, BadLine> {
    let mut fields = Vec::new();
    loop {
        let name = token(rest, b"=, ");
        *rest = rest.strip_prefix('=').ok_or("a field has no value")?;
        if name.is_empty() {
            return Err("a field has an empty name".into());
        }
        let value = if rest.starts_with('"') {
            skip_string(rest)?;
            None
        } else {
            let end = rest.find([',', ' ']).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            *rest = behind;
            Some(number(word)?)
        };
        if let Some(value) = value {
            if fields.len() == bounds.series {
                return Err(bounds.too_many_fields());
            }
            fields.push((name, value));
        }
        match rest.strip_prefix(',') {
            Some(behind) => *rest = behind,
            None if rest.is_empty() || rest.starts_with(' ') => return Ok(fields),
            None => return Err("a comma is missing between fields".into()),
        }
    }
}

/// A name or a tag's value up to one of `ends`, taken off the front of `rest`. A backslash before
/// one of these, or before a comma, an equal sign or a blank, takes its meaning.
fn token<'a>(rest: &mut &'a str, ends: &[u8]) -> Cow<'a, str> {
    let bytes = rest.as_bytes();
    let (mut at, mut has_escapes) = (0, false);
    while at < bytes.len() && !ends.contains(&bytes[at]) {
        let is_escape = bytes[at] == b'\\' && matches!(bytes.get(at + 1), Some(b',' | b'=' | b' '));
        has_escapes |= is_escape;
        at += if is_escape { 2 } else { 1 };
    }
    let (token, behind) = rest.split_at(at);
    *rest = behind;
    if !has_escapes {
        return Cow::Borrowed(token);
    }
    let mut plain = String::with_capacity(token.len());
    let mut chars = token.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(',' | '=' | ' ')) => plain.extend(chars.next()),
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Takes a string in quotes off the front of `rest`.
fn skip_string(rest: &mut &str) -> Result<(), BadLine> {
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => {
                *rest = &rest[at + 1..];
                return Ok(());
            }
            _ => is_escaped = byte == b'\\' && !is_escaped,
        }
    }
    Err("a string is not closed".into())
}

/// A number: a float, an integer as `3i` or `3u`, true or false.
fn number(word: &str) -> Result<f64, BadLine> {
    match word {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(0.0),
        _ => {}
    }
    let bad = BadLine::from("a field's value is not a number");
    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    if let Some(digits) = word.strip_suffix('i') {
        return digits.parse().map(|number: i64| number as f64).map_err(|_| bad);
    } else if let Some(digits) = word.strip_suffix('u') {
        return digits.parse().map(|number: u64| number as f64).map_err(|_| bad);
    }
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    word.parse().ok().filter(|_| is_plain).ok_or(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Points<'_>>, BadLine> {
        parse(line.as_bytes(), Precision::parse("").unwrap(), 7, LineBounds::NONE)
    }

    fn points(line: &str) -> (Vec<String>, Vec<(String, f64)>, i64) {
        let points = read(line).unwrap().unwrap();
        let tags = points.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let named = |(field, value): &(Cow<'_, str>, f64)| (points.name(field), *value);
        (tags, points.fields.iter().map(named).collect(), points.timestamp_ms)
    }

    #[test]
    fn the_example_of_the_contract_is_two_series() {
        let (tags, fields, at) =
            points("cpu,host=a usage=1.5,up=true,name=\"x\" 1700000000000000000");
        assert_eq!(tags, ["host=a"]);
        assert_eq!(fields, [("cpu_usage".into(), 1.5), ("cpu_up".into(), 1.0)]);
        assert_eq!(at, 1_700_000_000_000);
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let (_, fields, at) = points("m a=3i,b=-3i,c=3u,d=t,e=f,g=False,h=1e3,i=.5,j=-0.5E-3");
        let values: Vec<f64> = fields.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [3.0, -3.0, 3.0, 1.0, 0.0, 0.0, 1000.0, 0.5, -0.0005]);
        assert_eq!(at, 7, "without a moment it is now");
    }

    #[test]
    fn escapes_take_the_meaning_of_separators() {
        let line = r#"a\ b\,c,t\=1=x\ y,u=\n f\,1="\"},\\",g\ 2=2"#;
        let (tags, fields, _) = points(line);
        assert_eq!(tags, ["t=1=x y", r"u=\n"]);
        assert_eq!(fields, [("a b,c_g 2".into(), 2.0)]);
    }

    #[test]
    fn empty_lines_and_comments_say_nothing() {
        for line in ["", "  ", "# x", "\r"] {
            assert_eq!(read(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn a_line_of_strings_alone_is_no_fault() {
        assert_eq!(points("m s=\"x\"").1, []);
    }

    #[test]
    fn what_is_no_such_line_is_told_why() {
        for (line, why) in [
            (",a=b c=1", "measurement"),
            ("m", "needs a field"),
            ("m,a b=1", "a tag has no value"),
            ("m,=x b=1", "empty name or value"),
            ("m,a= b=1", "empty name or value"),
            ("m a", "a field has no value"),
            ("m =1", "empty name"),
            ("m a=", "not a number"),
            ("m a=x", "not a number"),
            ("m a=NaN", "not a number"),
            ("m a=inf", "not a number"),
            ("m a=1.5i", "not a number"),
            ("m a=-1u", "not a number"),
            ("m a=\"x", "not closed"),
            ("m a=\"x\"y", "comma is missing"),
            ("m a=1 1.5", "not an integer"),
            ("m a=1 1 2", "not an integer"),
            ("m a=1,", "no value"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn moments_have_the_precision_that_is_asked_for() {
        for (precision, count, ms) in [
            ("ns", -1, -1),
            ("us", 1_500, 1),
            ("u", 2_000, 2),
            ("ms", 5, 5),
            ("s", 5, 5_000),
            ("m", 5, 300_000),
            ("h", 1, 3_600_000),
        ] {
            assert_eq!(Precision::parse(precision).unwrap().to_ms(count), Some(ms), "{precision}");
        }
        assert_eq!(Precision::parse("h").unwrap().to_ms(i64::MAX), None);
        assert_eq!(Precision::parse("d"), None);
    }

    #[test]
    fn what_a_line_is_written_out_is_known_before_it_is() {
        let long = "x".repeat(1000);
        for start in [format!("m,t={long}"), long] {
            let line = format!("{start} {}", vec!["f=1"; 1000].join(","));
            assert!(read(&line).unwrap().unwrap().labels_bytes() > 1_000_000);
        }
    }

    #[test]
    fn a_line_may_have_so_many_tags_and_fields_and_no_more() {
        let bounds = LineBounds { labels: 2, series: 3, samples: 1 };
        let read =
            |line: &str| parse(line.as_bytes(), Precision::parse("").unwrap(), 0, bounds).map(drop);
        assert_eq!(read("m,a=1,b=2 a=1,b=2,s=\"x\",c=3"), Ok(()));
        assert_eq!(read("m,a=1,b=2,c=3 a=1").unwrap_err().to_string(), "more than 2 labels");
        let error = read("m a=1,b=2,c=3,d=4").unwrap_err().to_string();
        assert_eq!(error, "more than 3 fields (max_request_series)");
    }
}
