//! Numbers as Go treats and prints them.

use std::cmp::Ordering;

/// A sum that keeps what rounding lost (Neumaier).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kahan {
    pub(super) sum: f64,
    pub(super) lost: f64,
}

impl Kahan {
    pub(super) fn new(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }

    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// The mean; once the sum would overflow, the running mean.
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut sum = Kahan::new(values[0]);
    for index in 1..values.len() {
        let mut more = sum;
        more.add(values[index]);
        if more.sum.is_infinite() {
            return running_mean(sum, values, index);
        }
        sum = more;
    }
    let count = values.len() as f64;
    sum.sum / count + sum.lost / count
}

fn running_mean(sum: Kahan, values: &[f64], from: usize) -> f64 {
    let before = from as f64;
    let mut mean = Kahan { sum: sum.sum / before, lost: sum.lost / before };
    for (index, value) in values.iter().enumerate().skip(from) {
        let count = (index + 1) as f64;
        let share = (count - 1.0) / count;
        mean = Kahan { sum: share * mean.sum, lost: share * mean.lost };
        mean.add(value / count);
    }
    mean.total()
}

/// The quantile of values; NaN is the smallest value.
pub(super) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    });
    let rank = q * (values.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to len - 1")]
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Infinity wins over NaN, NaN over numbers.
pub(super) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a > b {
        a
    } else {
        b
    }
}

pub(super) fn go_min(a: f64, b: f64) -> f64 {
    -go_max(-a, -b)
}

/// The digits of a finite number and the exponent of the first: 1250 is `125`, 3.
fn digits(value: f64) -> (String, i32) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("an exponent");
    let digits = mantissa.chars().filter(char::is_ascii_digit).collect();
    (digits, exponent.parse().expect("a number"))
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        return Some("NaN");
    }
    (value.is_infinite()).then_some(if value > 0.0 { "+Inf" } else { "-Inf" })
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    let point = if digits.len() > 1 { "." } else { "" };
    format!("{}{point}{}e{sign}{:02}", &digits[..1], &digits[1..], exponent.abs())
}

/// `%g`: as short as can be, with an exponent if it is below -4 or above 5.
pub(super) fn percent_g(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let (digits, exponent) = digits(value.abs());
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}", with_exponent(&digits, exponent))
}

/// `%.2g`
pub(super) fn percent_2g(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let rounded: f64 = format!("{value:.1e}").parse().expect("a number");
    let (digits, exponent) = digits(rounded.abs());
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if !(-4..2).contains(&exponent) {
        return format!("{sign}{}", with_exponent(&digits, exponent));
    }
    format!("{rounded}")
}

/// As decimal digits without exponent, as short as can be.
pub(super) fn decimal(value: f64) -> String {
    special(value).map_or_else(|| format!("{value}"), Into::into)
}

/// As OpenMetrics wants it: never like an integer.
pub(super) fn open_metrics(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let text = percent_g(value);
    if text.contains(['e', '.']) { text } else { text + ".0" }
}
