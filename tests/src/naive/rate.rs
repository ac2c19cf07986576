//! Functions that extrapolate or interpolate: `rate`, `increase`, `delta`, `irate`, `idelta`, and
//! what `anchored` and `smoothed` make of a window.

use super::data::Point;
use super::select::{Window, between};
use promql::ast::Edges;

/// `rate`, `increase` (counters) and `delta`.
pub(super) fn rate(window: &Window, range_ms: i64, is_counter: bool, is_rate: bool) -> Option<f64> {
    let points = &window.points;
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 2 {
        return None;
    }
    let mut result = last.value - first.value;
    if is_counter {
        for two in points.windows(2) {
            if two[1].value < two[0].value {
                result += two[0].value;
            }
        }
    }
    let sampled = seconds(last.time - first.time);
    let spacing = sampled / (points.len() - 1) as f64;
    let mut to_start = seconds(first.time - window.start);
    let mut to_end = seconds(window.end - last.time);
    if to_start >= spacing * 1.1 {
        to_start = spacing / 2.0;
    }
    if is_counter && result > 0.0 && first.value >= 0.0 {
        // A counter was not below zero.
        let to_zero = sampled * (first.value / result);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= spacing * 1.1 {
        to_end = spacing / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if is_rate {
        factor /= seconds(range_ms);
    }
    Some(result * factor)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// `irate` and `idelta`: the last two samples.
pub(super) fn instant(points: &[Point], is_rate: bool) -> Option<f64> {
    let [.., a, b] = points else { return None };
    let is_reset = is_rate && b.value < a.value;
    let result = if is_reset { b.value } else { b.value - a.value };
    Some(if is_rate { result / seconds(b.time - a.time) } else { result })
}

/// The part of an extended window that counts, with the values at its edges.
struct Extended {
    left: f64,
    right: f64,
    /// Strictly inside.
    inside: Vec<Point>,
}

fn extended(window: &Window, edges: Edges, is_counter: bool) -> Option<Extended> {
    let (start, end) = (window.start, window.end);
    let points = &window.points;
    let is_smoothed = edges == Edges::Smoothed;
    // The last one at or before the start, or else the first one after it.
    let first = points.iter().rposition(|point| point.time <= start).unwrap_or(0);
    let last = match is_smoothed {
        true => points.iter().position(|point| point.time >= end),
        false => None,
    };
    let last = last.unwrap_or(points.len().checked_sub(1)?);
    let (a, b) = (points[first], points[last]);
    if b.time <= start {
        return None;
    }
    let left = match is_smoothed && a.time < start {
        true => between(a, points[first + 1], start, is_counter),
        false => a.value,
    };
    let right = match is_smoothed && last > 0 && b.time > end {
        true => between(points[last - 1], b, end, is_counter),
        false => b.value,
    };
    let is_inside = |point: &&Point| point.time > start && point.time < end;
    let inside = points.iter().filter(is_inside).copied().collect();
    Some(Extended { left, right, inside })
}

/// `rate`, `increase` and `delta` of an anchored or smoothed window.
pub(super) fn extended_rate(
    window: &Window,
    edges: Edges,
    range_ms: i64,
    is_counter: bool,
    is_rate: bool,
) -> Option<f64> {
    if edges == Edges::Smoothed && window.points.first()?.time > window.end {
        return None;
    }
    let Extended { left, right, inside } = extended(window, edges, is_counter)?;
    let mut result = right - left;
    if is_counter {
        let mut before = left;
        let inside = inside.iter().map(|point| point.value);
        let mut lost = 0.0;
        for value in inside.chain([right]) {
            if value < before {
                lost += before;
            }
            before = value;
        }
        result += lost;
    }
    Some(if is_rate { result / seconds(range_ms) } else { result })
}

/// What `x[5m] anchored` itself is: samples at both edges and those between.
pub(super) fn extend(window: &mut Window, edges: Edges) {
    let Some(Extended { left, right, inside }) = extended(window, edges, false) else {
        window.points.clear();
        return;
    };
    let mut points = vec![Point { time: window.start, value: left }];
    points.extend(inside);
    points.push(Point { time: window.end, value: right });
    window.points = points;
}

/// The samples that `changes` and `resets` look at: an anchored window begins with the last one at
/// or before its start.
pub(super) fn anchored(window: &Window, edges: Edges) -> Option<&[Point]> {
    let points = &window.points[..];
    if edges != Edges::Anchored {
        return Some(points);
    }
    if points.last()?.time <= window.start {
        return None;
    }
    let first = points.iter().rposition(|point| point.time <= window.start).unwrap_or(0);
    Some(&points[first..])
}
