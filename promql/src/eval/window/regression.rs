//! `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::{Samples, Windows};
use crate::math::format::general;
use crate::math::kahan::Kahan;

/// The line of least squares through samples: slope per second, and value at `origin_ms`.
fn line(windows: &Windows, times_ms: &[i64], values: &[f64], origin_ms: i64) -> (f64, f64) {
    let Some(first) = values.first() else { return (f64::NAN, f64::NAN) };
    let zero = Kahan::default;
    let (mut n, mut x, mut y, mut xy, mut xx) = (0.0, zero(), zero(), zero(), zero());
    let mut is_constant = true;
    let values = windows.pieces(values).flatten();
    for (index, (time_ms, value)) in times_ms.iter().zip(values).enumerate() {
        if index > 0 && value != first {
            is_constant = false;
        }
        n += 1.0;
        let seconds = time_ms.saturating_sub(origin_ms) as f64 / 1e3;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    if is_constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, *first) };
    }
    let (x, y, xy, xx) = (x.total(), y.total(), xy.total(), xx.total());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// `deriv`
pub(crate) fn deriv(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    windows.slide(&samples.times_ms, |window| {
        if window.end - window.first < 2 {
            return;
        }
        let times_ms = &samples.times_ms[window.range()];
        let (slope, _) = line(windows, times_ms, &samples.values[window.range()], times_ms[0]);
        out[window.step] = slope;
    })
}

/// `predict_linear`; the seconds ahead of the evaluation time are asked at each step.
pub(crate) fn predict(
    samples: &Samples<'_>,
    windows: &Windows,
    ahead: impl Fn(usize) -> f64,
    out: &mut [f64],
) -> usize {
    windows.slide(&samples.times_ms, |window| {
        if window.end - window.first < 2 {
            return;
        }
        let (times_ms, values) =
            (&samples.times_ms[window.range()], &samples.values[window.range()]);
        let (slope, value) = line(windows, times_ms, values, windows.grid.at(window.step));
        out[window.step] = slope * ahead(window.step) + value;
    })
}

/// `double_exponential_smoothing`; the factors are asked at each step.
pub(crate) fn smooth(
    samples: &Samples<'_>,
    windows: &Windows,
    factors: impl Fn(usize) -> (f64, f64),
    out: &mut [f64],
) -> usize {
    windows.slide(&samples.times_ms, |window| {
        let values = &samples.values[window.range()];
        let [first, second, ..] = values else { return };
        let (level, trend) = factors(window.step);
        let (mut before, mut smoothed, mut slope) = (0.0, *first, second - first);
        for (index, value) in windows.pieces(values).flatten().enumerate().skip(1) {
            let scaled = level * value;
            if index > 1 {
                slope = trend * (smoothed - before) + (1.0 - trend) * slope;
            }
            let next = scaled + (1.0 - level) * (smoothed + slope);
            (before, smoothed) = (smoothed, next);
        }
        out[window.step] = smoothed;
    })
}

/// Asks which factors `double_exponential_smoothing` cannot work with.
pub(crate) fn smoothing_fault(level: f64, trend: f64) -> Option<String> {
    let fault = |name, value: f64| {
        let got = if value.is_infinite() { general(value) } else { format!("{value:.6}") };
        Some(format!("invalid {name} factor. Expected: 0 < {}, got: {got}", bound(name)))
    };
    if level <= 0.0 || level >= 1.0 {
        return fault("smoothing", level);
    }
    if trend <= 0.0 || trend >= 1.0 {
        return fault("trend", trend);
    }
    None
}

fn bound(name: &str) -> &'static str {
    if name == "smoothing" { "sf < 1" } else { "tf < 1" }
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn a_line_is_found_and_a_constant_has_no_slope() {
        let line = Samples {
            times_ms: vec![0, 1_000, 2_000].into(),
            values: Cow::Owned(vec![1.0, 3.0, 5.0]),
            ascends: false,
        };
        let mut out = [0.0];
        deriv(&line, &windows(2_000, 2_000, 1, 5_000), &mut out);
        assert_eq!(out, [2.0]);
        predict(&line, &windows(2_000, 2_000, 1, 5_000), |_| 10.0, &mut out);
        assert_eq!(out, [25.0]);
        let flat = Samples { values: Cow::Owned(vec![0.1; 3]), ..line };
        deriv(&flat, &windows(2_000, 2_000, 1, 5_000), &mut out);
        assert_eq!(out, [0.0]);
    }
}
