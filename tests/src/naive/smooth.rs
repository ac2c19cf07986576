//! `anchored` and `smoothed` of native histograms, and `smoothed` selectors.

use super::data::{HPoint, Stored};
use super::eval::Naive;
use super::histogram::Hist;
use super::histogram_rate::About;
use super::notes::Notes;
use super::select::{Window, between, seen};
use super::value::Val;
use model::histogram::ResetHint;
use promql::Span;
use promql::ast::Edges;

impl Naive<'_> {
    /// The value on the line between the samples before and after a moment; if there is none after
    /// it, the one before.
    pub(super) fn smoothed(&mut self, of: &Stored, moment: i64, span: Span) -> Option<Val> {
        let lookback_ms = self.params.lookback_ms;
        let range = (moment - lookback_ms, moment + lookback_ms);
        let window = seen((&of.floats, &of.histograms), range, range);
        let about = About { metric: of.labels.metric_name(), span };
        let Window { points, histograms, .. } = &window;
        if !points.is_empty() && !histograms.is_empty() {
            about.mixed_kinds(&mut self.notes);
            return None;
        }
        if !histograms.is_empty() {
            let of = smoothed_histogram(histograms, moment, about, &mut self.notes);
            return of.map(Val::histogram);
        }
        let after = points.iter().find(|point| point.time >= moment);
        let before = points.iter().rev().find(|point| point.time < moment);
        Some(Val::Float(match (before, after) {
            (_, Some(after)) if after.time == moment => after.value,
            (Some(before), Some(after)) => between(*before, *after, moment, false),
            (Some(before), None) => before.value,
            (None, _) => return None,
        }))
    }
}

fn smoothed_histogram(
    points: &[HPoint],
    moment: i64,
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    let after = points.iter().find(|point| point.time >= moment);
    let before = points.iter().rev().find(|point| point.time < moment);
    match (before, after) {
        (_, Some(after)) if after.time == moment => Some(Hist::clone(&after.value)),
        (Some(a), Some(b)) => {
            if a.value.is_custom() != b.value.is_custom() {
                about.mixed_buckets(notes);
                return None;
            }
            let is_gauge = |of: &HPoint| of.value.hint == ResetHint::Gauge;
            line(a, b, moment, !is_gauge(a) || !is_gauge(b), about, notes)
        }
        (Some(before), None) => {
            Some(Hist { hint: ResetHint::Unknown, ..Hist::clone(&before.value) })
        }
        (None, _) => None,
    }
}

/// The histogram at `time` on the line through two; a counter that was reset started from 0.
fn line(
    a: &HPoint,
    b: &HPoint,
    time: i64,
    is_counter: bool,
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    if time == a.time {
        return Some(Hist::clone(&a.value));
    }
    if time == b.time {
        return Some(Hist::clone(&b.value));
    }
    let share = (time - a.time) as f64 / (b.time - a.time) as f64;
    if is_counter && b.value.is_reset_after(&a.value) {
        return Some(Hist::clone(&b.value).mul(share));
    }
    let grown = about.plus(Hist::clone(&b.value), &a.value, -1.0, notes)?.mul(share);
    about.plus(grown, &a.value, 1.0, notes)
}

/// `rate`, `increase` and `delta` of an anchored or smoothed window.
pub(super) fn rate(
    window: &Window,
    (edges, range_ms): (Edges, i64),
    (is_counter, is_rate): (bool, bool),
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    let points = &window.histograms;
    let (start, end) = (window.start, window.end);
    let is_smoothed = edges == Edges::Smoothed;
    let first = points.iter().rposition(|point| point.time <= start).unwrap_or(0);
    let last = match is_smoothed {
        true => points.iter().position(|point| point.time >= end),
        false => None,
    };
    let last = last.unwrap_or(points.len().checked_sub(1)?);
    if points[last].time <= start || (is_smoothed && points[first].time > end) {
        return None;
    }
    let is_gauge = |of: &Hist| of.hint == ResetHint::Gauge;
    for point in &points[first..=last] {
        if point.value.is_custom() != points[first].value.is_custom() {
            about.mixed_buckets(notes);
            return None;
        }
        if is_counter && is_gauge(&point.value) {
            about.not_counter(notes);
        }
    }
    let left = match is_smoothed && points[first].time < start {
        true => line(&points[first], &points[first + 1], start, is_counter, about, notes)?,
        false => Hist::clone(&points[first].value),
    };
    let right = match is_smoothed && last > 0 && points[last].time > end {
        true => line(&points[last - 1], &points[last], end, is_counter, about, notes)?,
        false => Hist::clone(&points[last].value),
    };
    if !is_counter && (!is_gauge(&left) || !is_gauge(&right)) {
        about.not_gauge(notes);
    }
    let mut result = about.plus(right.clone(), &left, -1.0, notes)?;
    if is_counter {
        // A reset that the left edge lies in is in its value already.
        let is_across = is_smoothed
            && points[first].time < start
            && points[first + 1].value.is_reset_after(&points[first].value);
        let (mut before, from) = match is_across {
            true => (Hist::clone(&points[first + 1].value), first + 2),
            false => (left, first + 1),
        };
        let mut lost: Option<Hist> = None;
        if from <= last {
            let inside = points[from..last].iter().map(|point| Hist::clone(&point.value));
            for next in inside.chain([right]) {
                if next.is_reset_after(&before) {
                    lost = Some(match lost {
                        None => before,
                        Some(lost) => about.plus(lost, &before, 1.0, notes)?,
                    });
                }
                before = next;
            }
        }
        if let Some(lost) = lost {
            result = about.plus(result, &lost, 1.0, notes)?;
        }
    }
    if is_rate {
        result = result.div(range_ms as f64 / 1000.0);
    }
    result.hint = ResetHint::Gauge;
    Some(result.compact())
}
