//! Times and durations as parameters write them: decides what is one and what is not.
//!
//! A time is float seconds, RFC 3339, or one of the two extreme strings clients send. A duration is
//! float seconds or `1d2h3m4s5ms`. Both become milliseconds.
//!
//! # Invariants
//! - Blanks, hex, `Inf`, `NaN` and what does not fit 64-bit milliseconds are refused.
//! - The refusals carry the words that Prometheus' clients know.

use model::TimestampMs;
use model::time::DAY_MS;

/// The earliest time a client names: what Prometheus takes for "from the beginning".
pub(crate) const TIME_MIN: TimestampMs = TimestampMs(-9_223_309_901_257_974_000);

/// The latest time a client names: what Prometheus takes for "to the end".
pub(crate) const TIME_MAX: TimestampMs = TimestampMs(9_223_309_901_257_974_999);

const TIME_MIN_TEXT: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Units of durations, descending, in milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * DAY_MS),
    ("w", 7 * DAY_MS),
    ("d", DAY_MS),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Nanoseconds of 64 bits bound every duration, as upstream.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// Reads a time.
///
/// # Errors
/// The text that says that it is none.
pub fn parse_time(text: &str) -> Result<TimestampMs, String> {
    let parsed = match parse_float(text) {
        Some(seconds) => millis_of(seconds),
        None if text == TIME_MIN_TEXT => Some(TIME_MIN.0),
        None if text == TIME_MAX_TEXT => Some(TIME_MAX.0),
        None => parse_rfc3339(text),
    };
    parsed.map(TimestampMs).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Reads a duration, in milliseconds; what is below a millisecond is cut off.
///
/// # Errors
/// The text that says that it is none.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        if seconds.abs() > DURATION_SECONDS_MAX {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        // Cut off twice, as upstream: 1.025 s are 1,024,999,999 ns.
        return Ok(to_i64((seconds * 1e9).trunc()).map_or(0, |ns| ns / 1_000_000));
    }
    parse_units(text).ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// A finite decimal number, nothing else around it.
fn parse_float(text: &str) -> Option<f64> {
    let decimal = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if !text.bytes().all(decimal) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Seconds to milliseconds; whole seconds and the rest apart, so that large times keep their
/// milliseconds as well as a float can.
fn millis_of(seconds: f64) -> Option<i64> {
    let whole = to_i64(seconds.trunc())?.checked_mul(1_000)?;
    whole.checked_add(to_i64((seconds.fract() * 1_000.0).round())?)
}

fn to_i64(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the guard keeps it within an i64")]
    (-LIMIT..LIMIT).contains(&number).then_some(number as i64)
}

fn parse_units(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = tail;
    }
    let fits = total <= i64::MAX / 1_000_000;
    (fits && !text.is_empty()).then_some(total)
}

/// `2026-01-02T03:04:05[.678](Z|+01:00)`.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let days = parse_date(date)?;
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, parse_fraction(fraction)?),
        None => (clock, 0),
    };
    let [hours, minutes, seconds] = parse_fields::<3>(clock, ':')?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let of_day = (hours * 60 + minutes) * 60 + seconds;
    Some((days * 86_400 + of_day - parse_zone(zone)?) * 1_000 + fraction)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn parse_date(date: &str) -> Option<i64> {
    let (year, month_day) = date.split_at_checked(4)?;
    let year = parse_digits(year)?;
    let [month, day] = parse_fields::<2>(month_day.strip_prefix('-')?, '-')?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    // Count from the first of March, so that the leap day is the last of its year.
    let (shifted, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Milliseconds of a decimal fraction of a second; digits beyond them are cut off.
fn parse_fraction(fraction: &str) -> Option<i64> {
    parse_digits(fraction)?;
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    parse_digits(&millis)
}

/// Seconds east of Greenwich.
fn parse_zone(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let [hours, minutes] = parse_fields::<2>(&zone[1..], ':')?;
    let seconds = (hours * 60 + minutes) * 60;
    (hours < 24 && minutes < 60).then_some(if zone.starts_with('-') { -seconds } else { seconds })
}

/// `N` fields of two digits.
fn parse_fields<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut fields = [0; N];
    let mut parts = text.split(separator);
    for field in &mut fields {
        *field = parse_digits(parts.next().filter(|part| part.len() == 2)?)?;
    }
    parts.next().is_none().then_some(fields)
}

fn parse_digits(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_table_says() {
        let table = [
            ("0", 0),
            ("4", 4_000),
            ("-1.5", -1_500),
            ("1700000000", 1_700_000_000_000),
            ("1700000000.1234", 1_700_000_000_123),
            ("1700000000.9996", 1_700_000_001_000),
            ("1.7e9", 1_700_000_000_000),
            ("1700000000000", 1_700_000_000_000_000),
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T22:13:20.5Z", 1_700_000_000_500),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
            ("2023-11-14T17:13:20-05:00", 1_700_000_000_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            (TIME_MIN_TEXT, TIME_MIN.0),
            (TIME_MAX_TEXT, TIME_MAX.0),
        ];
        for (text, millis) in table {
            assert_eq!(parse_time(text), Ok(TimestampMs(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_named() {
        let table = [
            "",
            " ",
            "abc",
            "1 ",
            " 1",
            "0x10",
            "1_000",
            "Inf",
            "-inf",
            "NaN",
            "infinity",
            "1e400",
            "1e300",
            "9223372036854775.9",
            "9223372036854776",
            "2023-11-14",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20Z",
            "2023-13-14T22:13:20Z",
            "2023-02-29T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+25:00",
            "2023-11-14T22:13:20z",
            "é023-11-14T22:13:20Z",
            "2023-1é-14T22:13:20Z",
            "2023-11-14T22:13:20+é",
            "12023-11-14T22:13:20Z",
            "T",
            "+T+",
            ".",
        ];
        for text in table {
            let refusal = format!("cannot parse {text:?} to a valid timestamp");
            assert_eq!(parse_time(text), Err(refusal));
        }
    }

    #[test]
    fn durations_are_read_as_the_table_says() {
        let table = [
            ("15", 15_000),
            ("0.5", 500),
            ("0.0001", 0),
            ("-1", -1_000),
            ("0", 0),
            ("1d2h3m4s5ms", 93_784_005),
            ("5m", 300_000),
            ("1y1w", 372 * DAY_MS),
            ("100ms", 100),
            ("9223372036", 9_223_372_036_000),
        ];
        for (text, millis) in table {
            assert_eq!(parse_duration(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_named() {
        for text in [
            "",
            "1h30",
            "1x",
            "m",
            "1m1h",
            "1s1s",
            "-5m",
            "5 m",
            "1e",
            "300y",
            "99999999999999999999s",
            "0x5",
            "NaN",
            "Inf",
            "1.5h",
            "5M",
            "é",
        ] {
            let refusal = format!("cannot parse {text:?} to a valid duration");
            assert_eq!(parse_duration(text), Err(refusal));
        }
        let refusal = "cannot parse \"1e12\" to a valid duration. It overflows int64";
        assert_eq!(parse_duration("1e12"), Err(refusal.to_owned()));
        for (text, ms) in [("1.025", 1_024), ("2.05", 2_049), ("4.1", 4_099), ("1.0259", 1_025)] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
    }
}
