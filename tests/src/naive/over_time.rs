//! Functions over the samples of a window.

use super::data::{HPoint, Point};
use super::numbers::{Kahan, mean, quantile};
use super::rate::is_start_reset;
use super::select::Window;
use super::value::{Failure, fail};
use promql::ast::Edges;

/// `sum_over_time`
pub(super) fn sum(values: &[f64]) -> f64 {
    let mut sum = Kahan::default();
    values.iter().for_each(|value| sum.add(*value));
    if sum.sum.is_infinite() { sum.sum } else { sum.total() }
}

/// `stdvar_over_time`: Welford's way, with compensation.
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut sum) = (Kahan::default(), Kahan::default());
    for (index, value) in values.iter().enumerate() {
        let delta = value - mean.total();
        mean.add(delta / (index + 1) as f64);
        sum.add(delta * (value - mean.total()));
    }
    sum.total() / values.len() as f64
}

/// `mad_over_time`: the median distance from the median.
pub(super) fn mad(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, values.to_vec());
    quantile(0.5, values.iter().map(|value| (value - median).abs()).collect())
}

/// The sample that wins against all before it; NaN loses.
pub(super) fn best(points: &[Point], wins: impl Fn(f64, f64) -> bool) -> Point {
    let mut best = points[0];
    for point in points {
        if wins(point.value, best.value) || best.value.is_nan() {
            best = *point;
        }
    }
    best
}

/// Slope per second and value at `time` of the line through the samples with the least squares.
pub(super) fn line(points: &[Point], time: i64) -> (f64, f64) {
    let first = points[0].value;
    if points.iter().skip(1).all(|point| point.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x, mut y, mut xy, mut xx] = [Kahan::default(); 4];
    for point in points {
        let at = (point.time - time) as f64 / 1e3;
        x.add(at);
        y.add(point.value);
        xy.add(at * point.value);
        xx.add(at * at);
    }
    let count = points.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(Kahan::total);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

/// `double_exponential_smoothing`
pub(super) fn smoothing(values: &[f64], level: f64, trend: f64) -> Result<Option<f64>, Failure> {
    for (what, factor) in [("smoothing", level), ("trend", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            let got = match factor {
                f64::INFINITY => "+Inf".into(),
                f64::NEG_INFINITY => "-Inf".into(),
                factor => format!("{factor:.6}"),
            };
            let short = if what == "trend" { "tf" } else { "sf" };
            return fail(format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {got}"));
        }
    }
    if values.len() < 2 {
        return Ok(None);
    }
    let (mut before, mut smooth) = (0.0, values[0]);
    let mut slope = values[1] - values[0];
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (smooth - before) + (1.0 - trend) * slope;
        }
        let next = level * value + (1.0 - level) * (smooth + slope);
        (before, smooth) = (smooth, next);
    }
    Ok(Some(smooth))
}

/// What a function makes of the numbers of a window; `None` if it is none of these.
pub(super) fn simple(name: &str, points: &[Point]) -> Option<f64> {
    if points.is_empty() {
        return None;
    }
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let time = |point: &Point| point.time as f64 / 1000.0;
    Some(match name {
        "avg_over_time" => mean(&values),
        "sum_over_time" => sum(&values),
        "stdvar_over_time" => variance(&values),
        "stddev_over_time" => variance(&values).sqrt(),
        "mad_over_time" => mad(&values),
        "max_over_time" => best(points, |a, b| a > b).value,
        "min_over_time" => best(points, |a, b| a < b).value,
        "ts_of_max_over_time" => time(&best(points, |a, b| a >= b)),
        "ts_of_min_over_time" => time(&best(points, |a, b| a <= b)),
        _ => return None,
    })
}

/// A sample of either kind.
enum Either<'a> {
    Float(&'a Point),
    Histogram(&'a HPoint),
}

/// The samples that `changes` and `resets` look at, in order: an anchored window begins with the
/// last one at or before its start. `None` if nothing lies after that.
fn merged<'a>(window: &'a Window, edges: Edges) -> Option<Vec<Either<'a>>> {
    let floats = window.points.iter().map(|point| (point.time, Either::Float(point)));
    let histograms = window.histograms.iter();
    let histograms = histograms.map(|point| (point.time, Either::Histogram(point)));
    let mut all: Vec<_> = floats.chain(histograms).collect();
    all.sort_by_key(|(time, _)| *time);
    if edges == Edges::Anchored {
        if all.last()?.0 <= window.start {
            return None;
        }
        let first = all.iter().rposition(|(time, _)| *time <= window.start).unwrap_or(0);
        all.drain(..first);
    }
    Some(all.into_iter().map(|(_, sample)| sample).collect())
}

/// `changes`
pub(super) fn changes(window: &Window, edges: Edges) -> Option<f64> {
    let is_change = |two: &&[Either<'_>]| match (&two[0], &two[1]) {
        (Either::Float(a), Either::Float(b)) => {
            a.value != b.value && !(a.value.is_nan() && b.value.is_nan())
        }
        (Either::Histogram(a), Either::Histogram(b)) => !b.value.is_equal(&a.value),
        _ => true,
    };
    Some(merged(window, edges)?.windows(2).filter(is_change).count() as f64)
}

/// `resets`
pub(super) fn resets(window: &Window, edges: Edges) -> Option<f64> {
    let is_reset = |two: &&[Either<'_>]| match (&two[0], &two[1]) {
        (Either::Float(a), Either::Float(b)) => {
            b.value < a.value || is_start_reset((a.start, a.time), (b.start, b.time))
        }
        (Either::Histogram(a), Either::Histogram(b)) => {
            is_start_reset((a.start, a.time), (b.start, b.time)) || b.value.is_reset_after(&a.value)
        }
        _ => true,
    };
    Some(merged(window, edges)?.windows(2).filter(is_reset).count() as f64)
}
