//! Functions that extrapolate or interpolate: `rate`, `increase`, `delta`, `irate`, `idelta`, and
//! what `anchored` and `smoothed` make of a window.

use super::data::Point;
use super::select::{Window, between};
use promql::ast::Edges;

/// Whether the start of a sample says that its counter was reset after the sample before; both are
/// given as start and time.
pub(super) fn is_start_reset(before: (i64, i64), now: (i64, i64)) -> bool {
    if now.0 == 0 || now.0 >= now.1 || now.0 < before.1 {
        return false;
    }
    // A start at the sample before is that of a delta, if that one knows its start.
    now.0 > before.1 || (before.0 <= before.1 && before.0 != 0 && before.0 != before.1)
}

/// Whether a counter started before the last sample of the one before it.
pub(super) fn is_overlap(start: i64, time: i64, next_start: i64) -> bool {
    next_start != 0 && next_start < time && next_start != start
}

/// When the samples of a window were taken.
pub(super) struct Times {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: usize,
    /// When the first sample's counter started, if that lies in the window.
    pub(super) started: Option<i64>,
}

/// What growth between samples is multiplied with, to be that of the window. `zero_share`: how much
/// longer than between the samples a counter would have taken to come from 0.
pub(super) fn factor(
    window: &Window,
    times: &Times,
    range_ms: i64,
    zero_share: Option<f64>,
    is_rate: bool,
) -> f64 {
    let mut sampled = seconds(times.last - times.first);
    let spacing = if times.count > 1 { sampled / (times.count - 1) as f64 } else { 0.0 };
    let mut to_start = seconds(times.first - window.start);
    let mut to_end = seconds(window.end - times.last);
    if let Some(started) = times.started {
        to_start = 0.0;
        sampled = seconds(times.last - started);
    } else {
        if to_start >= spacing * 1.1 {
            to_start = spacing / 2.0;
        }
        // A counter was not below zero.
        let to_zero = zero_share.map_or(to_start, |share| sampled * share);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= spacing * 1.1 {
        to_end = spacing / 2.0;
    }
    let mut factor = 1.0;
    if sampled != 0.0 {
        factor = (sampled + to_start + to_end) / sampled;
    }
    if is_rate { factor / seconds(range_ms) } else { factor }
}

/// `rate`, `increase` (counters) and `delta`. Whether starts overlap is answered too.
pub(super) fn rate(
    window: &Window,
    range_ms: i64,
    is_counter: bool,
    is_rate: bool,
) -> (Option<f64>, bool) {
    let points = &window.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return (None, false) };
    let mut result = last.value - first.value;
    let mut is_overlapping = false;
    for two in points.windows(2).filter(|_| is_counter) {
        let (a, b) = (two[0], two[1]);
        is_overlapping |= is_overlap(a.start, a.time, b.start);
        if b.value < a.value || is_start_reset((a.start, a.time), (b.start, b.time)) {
            result += a.value;
        }
    }
    let starts_inside =
        is_counter && first.start != 0 && first.start > window.start && first.start < first.time;
    if starts_inside {
        result += first.value;
    } else if points.len() < 2 {
        return (None, is_overlapping);
    }
    let started = starts_inside.then_some(first.start);
    let times = Times { first: first.time, last: last.time, count: points.len(), started };
    let is_growing = is_counter && result > 0.0 && first.value >= 0.0;
    let zero_share = is_growing.then(|| first.value / result);
    (Some(result * factor(window, &times, range_ms, zero_share, is_rate)), is_overlapping)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// `irate` and `idelta` of two samples.
pub(super) fn instant(a: &Point, b: &Point, is_rate: bool) -> f64 {
    let is_reset = b.value < a.value || is_start_reset((a.start, a.time), (b.start, b.time));
    let result = if is_rate && is_reset { b.value } else { b.value - a.value };
    if is_rate { result / seconds(b.time - a.time) } else { result }
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
    let mut points = vec![Point { time: window.start, start: 0, value: left }];
    points.extend(inside);
    points.push(Point { time: window.end, start: 0, value: right });
    window.points = points;
}
