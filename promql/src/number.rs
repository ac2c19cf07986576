//! Numbers and durations as text, by Go's rules: reading literals, printing values.

use crate::quote::quoted;

/// Reads a number literal: decimal, exponent, hex, octal, `_` between digits, `inf`, `nan`.
///
/// # Errors
/// What Go's `strconv` says about it.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    let fault =
        |reason: &str| Err(format!("strconv.ParseFloat: parsing {}: {reason}", quoted(text)));
    if !underscores_separate_digits(text) {
        return fault("invalid syntax");
    }
    let plain = text.replace('_', "");
    if let Some(value) = parse_integer(&plain) {
        return Ok(value);
    }
    let is_hex = plain.len() >= 2 && plain.as_bytes().get(1).is_some_and(|b| b | 0x20 == b'x');
    match plain.parse::<f64>() {
        Ok(value) if !is_hex => {
            let written_infinite = plain.bytes().any(|byte| byte | 0x20 == b'n');
            if value.is_infinite() && !written_infinite {
                return fault("value out of range");
            }
            Ok(value)
        }
        _ => fault("invalid syntax"),
    }
}

/// An integer with Go's prefixes (`0x`, leading `0` for octal), rounded to a float.
#[expect(clippy::cast_precision_loss, reason = "a literal is the float nearest to it")]
fn parse_integer(text: &str) -> Option<f64> {
    let value = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => i64::from_str_radix(text.get(2..)?, 16).ok()?,
        [b'0', b'0'..=b'9', ..] => i64::from_str_radix(text, 8).ok()?,
        [b'0'..=b'9', ..] => text.parse::<i64>().ok()?,
        _ => return None,
    };
    Some(value as f64)
}

/// Whether each `_` stands between two digits or between `0x` and a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_hex = matches!(bytes, [b'0', b'x' | b'X', ..]);
    let is_digit =
        |byte: &u8| if is_hex { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
    bytes.iter().enumerate().all(|(at, &byte)| {
        byte != b'_'
            || (at > 0
                && bytes.get(at + 1).is_some_and(is_digit)
                && bytes.get(at - 1).is_some_and(|b| is_digit(b) || (is_hex && at == 2)))
    })
}

struct Unit {
    name: &'static str,
    ms: u64,
    /// Printed only if nothing would remain: `90d` reads easier than `12w6d`.
    exact: bool,
}

const UNITS: [Unit; 7] = [
    Unit { name: "y", ms: 365 * 86_400_000, exact: true },
    Unit { name: "w", ms: 7 * 86_400_000, exact: true },
    Unit { name: "d", ms: 86_400_000, exact: false },
    Unit { name: "h", ms: 3_600_000, exact: false },
    Unit { name: "m", ms: 60_000, exact: false },
    Unit { name: "s", ms: 1000, exact: false },
    Unit { name: "ms", ms: 1, exact: false },
];

/// The longest duration in milliseconds: what 64-bit nanoseconds hold.
const DURATION_MS_MAX: u64 = 9_223_372_036_854;

/// Reads a duration literal such as `1h30m` as milliseconds.
///
/// # Errors
/// What upstream says about it.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(0),
        _ => {}
    }
    let invalid = || format!("not a valid duration string: {}", quoted(text));
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units_left = UNITS.as_slice();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(letters);
        if name.is_empty() {
            return Err(invalid());
        }
        let Some(unit) = UNITS.iter().find(|unit| unit.name == name) else {
            return Err(format!("unknown unit {} in duration {}", quoted(name), quoted(text)));
        };
        let Some(at) = units_left.iter().position(|left| left.name == name) else {
            return Err(invalid());
        };
        units_left = units_left.get(at + 1..).unwrap_or(&[]);
        total = number
            .checked_mul(unit.ms)
            .and_then(|ms| total.checked_add(ms))
            .filter(|&ms| ms <= DURATION_MS_MAX)
            .ok_or("duration out of range")?;
        rest = tail;
    }
    Ok(total)
}

/// Milliseconds as `1h30m`; zero is `0s`.
pub(crate) fn format_duration(ms: i64) -> String {
    let mut out = String::from(if ms < 0 { "-" } else { "" });
    let mut left = ms.unsigned_abs();
    if left == 0 {
        return "0s".to_owned();
    }
    for unit in &UNITS {
        let count = left / unit.ms;
        if count == 0 || (unit.exact && !left.is_multiple_of(unit.ms)) {
            continue;
        }
        out.push_str(&count.to_string());
        out.push_str(unit.name);
        left -= count * unit.ms;
    }
    out
}

/// The shortest decimal that reads back as `value`, never with an exponent.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_have_gos_values() {
        let cases = [
            ("017", 15.0),
            ("08", 8.0),
            ("0x_1F", 31.0),
            ("1_000", 1000.0),
            ("1e1_0", 1e10),
            (".5", 0.5),
            ("1.e3", 1000.0),
            ("Inf", f64::INFINITY),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ];
        for (text, value) in cases {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        for text in ["0x", "1__0", "0xFFFFFFFFFFFFFFFFFF", "1e400", "_1"] {
            assert!(parse_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_go_from_the_largest_unit_to_the_smallest() {
        assert_eq!(parse_duration("1d12h30m15s500ms"), Ok(131_415_500));
        assert_eq!(parse_duration("0s"), Ok(0));
        for text in ["1m1h", "5m1m", "5", "1hs", "99999999999999999999999999y", "300y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_printed_duration_reads_back() {
        for ms in [1, 999, 1001, 86_400_000, 604_800_000, 31_536_000_000, 31_536_000_001] {
            assert_eq!(parse_duration(&format_duration(ms)), Ok(ms.unsigned_abs()));
        }
        assert_eq!(format_duration(90 * 86_400_000), "90d");
        assert_eq!(format_duration(-60_000), "-1m");
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        assert_eq!(format_float(1e21), "1000000000000000000000");
        assert_eq!(format_float(f64::NEG_INFINITY), "-Inf");
    }
}
