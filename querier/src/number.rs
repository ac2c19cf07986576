//! Numbers as the query API writes them: decides digits, exponents and signs.
//!
//! Samples and exemplars use the *vector form*: the shortest digits that read back as the same
//! number, with an exponent of at least two digits when the number is below 1e-6 or from 1e21 on.
//! Scalars and strings use the *plain form*: the same digits, never an exponent.
//! Timestamps are seconds: whole, or with exactly three decimals.
//!
//! Not here: the quotes around a value (`json.rs`).

use std::io::Write;

/// Appends `value` in the vector form, without quotes.
pub(crate) fn push_sample(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    if size.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        push_exponent(out, value);
    } else {
        push_plain(out, value);
    }
}

/// Appends `value` in the plain form, without quotes.
pub(crate) fn push_plain(out: &mut Vec<u8>, value: f64) {
    if let Some(whole) = small_whole(value) {
        if value < 0.0 {
            out.push(b'-');
        }
        push_digits(out, whole);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        // Writing into memory does not fail.
        let _ = write!(out, "{value}");
    }
}

/// Appends a timestamp in seconds.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    let size = timestamp_ms.unsigned_abs();
    let (seconds, rest) = (size / 1_000, size % 1_000);
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    push_digits(out, seconds);
    if rest != 0 {
        // Writing into memory does not fail.
        let _ = write!(out, ".{rest:03}");
    }
}

/// The size of a whole number below 2^53; -0 is none of them. Most samples are such numbers, and
/// they need no search for the shortest digits.
fn small_whole(value: f64) -> Option<u64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let size = value.abs();
    if size >= LIMIT || size.trunc() != size || value.to_bits() == (-0.0_f64).to_bits() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative and below 2^53"
    )]
    Some(size as u64)
}

/// Appends a whole number in decimals.
fn push_digits(out: &mut Vec<u8>, mut number: u64) {
    // Twenty digits hold every u64.
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b"0123456789"[usize::try_from(number % 10).unwrap_or(0)];
        number /= 10;
        start = index;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

fn push_exponent(out: &mut Vec<u8>, value: f64) {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn samples_and_scalars_are_written_as_the_table_says() {
        let subnormal = format!("0.{}5", "0".repeat(323));
        let table: &[(f64, &str, &str)] = &[
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.0, "1", "1"),
            (-2.5, "-2.5", "-2.5"),
            (0.1 + 0.2, "0.30000000000000004", "0.30000000000000004"),
            (0.000001, "0.000001", "0.000001"),
            (0.000000999, "9.99e-07", "0.000000999"),
            (-0.000000999, "-9.99e-07", "-0.000000999"),
            (1e20, "100000000000000000000", "100000000000000000000"),
            (999_999_999_999_999_900_000.0, "999999999999999900000", "999999999999999900000"),
            (1e21, "1e+21", "1000000000000000000000"),
            (-1.5e21, "-1.5e+21", "-1500000000000000000000"),
            (1e100, "1e+100", &format!("1{}", "0".repeat(100))),
            (5e-324, "5e-324", &subnormal),
            (9_007_199_254_740_991.0, "9007199254740991", "9007199254740991"),
            (-9_007_199_254_740_991.0, "-9007199254740991", "-9007199254740991"),
            (10.0, "10", "10"),
            (-100.0, "-100", "-100"),
            (9_007_199_254_740_993.0, "9007199254740992", "9007199254740992"),
            (123_456_789.125, "123456789.125", "123456789.125"),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ];
        for (value, vector, plain) in table {
            assert_eq!(written(|out| push_sample(out, *value)), *vector);
            assert_eq!(written(|out| push_plain(out, *value)), *plain);
        }
        assert_eq!(written(|out| push_sample(out, f64::MAX)), "1.7976931348623157e+308");
    }

    #[test]
    fn written_samples_read_back_as_the_same_bits() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_nan() {
                continue;
            }
            for text in
                [written(|out| push_sample(out, value)), written(|out| push_plain(out, value))]
            {
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{text}");
            }
        }
    }

    #[test]
    fn timestamps_are_whole_seconds_or_have_three_decimals() {
        let table: &[(i64, &str)] = &[
            (0, "0"),
            (1, "0.001"),
            (-1, "-0.001"),
            (-1_500, "-1.500"),
            (1_700_000_000_000, "1700000000"),
            (1_700_000_000_120, "1700000000.120"),
            (-2_000, "-2"),
            (i64::MIN, "-9223372036854775.808"),
            (i64::MAX, "9223372036854775.807"),
        ];
        for (timestamp_ms, text) in table {
            assert_eq!(written(|out| push_timestamp(out, *timestamp_ms)), *text);
        }
    }
}
