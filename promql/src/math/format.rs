//! Numbers as text, as Go prints them: annotations, `count_values` labels, quantile labels.

/// Shortest decimal without an exponent (Go's `'f', -1`).
pub(crate) fn plain(value: f64) -> String {
    special(value).unwrap_or_else(|| value.to_string())
}

/// Shortest form, with an exponent below 1e-4 and from 1e6 on (Go's `%g`).
pub(crate) fn general(value: f64) -> String {
    special(value).unwrap_or_else(|| scientific_or_plain(&format!("{value:e}"), 6))
}

/// Go's `%.2g`.
pub(crate) fn two_digits(value: f64) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let text = format!("{value:.1e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    scientific_or_plain(&format!("{mantissa}e{exponent}"), 2)
}

/// As OpenMetrics writes the value of a `quantile` label: always with a point or an exponent.
pub(crate) fn open_metrics(value: f64) -> String {
    let text = general(value);
    if special(value).is_some() || text.contains(['.', 'e']) { text } else { text + ".0" }
}

fn special(value: f64) -> Option<String> {
    let text = match value {
        _ if value.is_nan() => "NaN",
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => return None,
    };
    Some(text.into())
}

/// From `1.25e-7`: with an exponent of two digits at least where Go writes one, else plain.
fn scientific_or_plain(text: &str, exponent_max: i32) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponent_max).contains(&exponent) {
        return text.parse::<f64>().map_or_else(|_| text.into(), |value| value.to_string());
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_go_prints_them() {
        assert_eq!(general(0.5), "0.5");
        assert_eq!(general(-1.1), "-1.1");
        assert_eq!(general(1e21), "1e+21");
        assert_eq!(general(123_456_789.0), "1.23456789e+08");
        assert_eq!(general(100_000.0), "100000");
        assert_eq!(general(1.5e-7), "1.5e-07");
        assert_eq!(general(f64::NAN), "NaN");
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(plain(f64::INFINITY), "+Inf");
        assert_eq!(two_digits(1234.0), "1.2e+03");
        assert_eq!(two_digits(2.0), "2");
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.25), "0.25");
    }
}
