//! `changes`, `resets` over samples of both kinds, in the order of their times.

use super::{Answer, View};
use crate::ast::Edges;
use crate::eval::window::rate::starts_anew;
use crate::histogram::FloatHistogram;

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Sample<'s> {
    time_ms: i64,
    start_ms: i64,
    value: Either<'s>,
}

#[derive(Clone, Copy)]
enum Either<'s> {
    Float(f64),
    Histogram(&'s FloatHistogram),
}

/// `changes`: from NaN to NaN nothing changes.
pub(super) fn changes(view: &View<'_>) -> Answer {
    count(view, |before, now| match (before.value, now.value) {
        (Either::Float(old), Either::Float(new)) => new != old && !(new.is_nan() && old.is_nan()),
        (Either::Histogram(old), Either::Histogram(new)) => !new.same(old),
        _ => true,
    })
}

/// `resets`: a change of kind is one too.
pub(super) fn resets(view: &View<'_>) -> Answer {
    count(view, |before, now| {
        let is_new = || starts_anew((before.start_ms, before.time_ms), (now.start_ms, now.time_ms));
        match (before.value, now.value) {
            (Either::Float(old), Either::Float(new)) => new < old || is_new(),
            (Either::Histogram(old), Either::Histogram(new)) => is_new() || new.is_reset_after(old),
            _ => true,
        }
    })
}

fn count(view: &View<'_>, is_event: impl Fn(Sample<'_>, Sample<'_>) -> bool) -> Answer {
    let Some((mut float, mut histogram)) = first_that_count(view) else { return Answer::None };
    let (mut before, mut events) = (None, 0_u32);
    loop {
        let (next, next_histogram) =
            (view.times_ms.get(float), view.histogram_times_ms.get(histogram));
        let now = match (next, next_histogram) {
            (None, None) => return Answer::Float(f64::from(events)),
            (Some(time), other) if other.is_none_or(|other| time <= other) => {
                float += 1;
                let start_ms = view.starts_ms.get(float - 1).copied().unwrap_or(0);
                Sample { time_ms: *time, start_ms, value: Either::Float(view.floats[float - 1]) }
            }
            (_, Some(time)) => {
                histogram += 1;
                let at = histogram - 1;
                let start_ms = view.histogram_starts_ms.get(at).copied().unwrap_or(0);
                let value = Either::Histogram(&view.histograms[at]);
                Sample { time_ms: *time, start_ms, value }
            }
            (Some(_), None) => return Answer::None,
        };
        if before.is_some_and(|before| is_event(before, now)) {
            events += 1;
        }
        before = Some(now);
    }
}

/// The first float and the first histogram that count. An anchored window begins with the last
/// sample at or before its left edge, of whichever kind; `None` if nothing lies behind that edge.
fn first_that_count(view: &View<'_>) -> Option<(usize, usize)> {
    if view.edges != Edges::Anchored {
        return Some((0, 0));
    }
    let before = |times: &[i64]| times.partition_point(|time| *time <= view.open_ms);
    let floats = before(view.times_ms);
    let histograms = before(view.histogram_times_ms);
    if floats >= view.times_ms.len() && histograms >= view.histogram_times_ms.len() {
        return None;
    }
    let anchor = floats.checked_sub(1).map(|at| view.times_ms[at]);
    let other = histograms.checked_sub(1).map(|at| view.histogram_times_ms[at]);
    Some(match (anchor, other) {
        (None, None) => (0, 0),
        (Some(float), other) if other.is_none_or(|other| float >= other) => {
            (floats - 1, histograms)
        }
        _ => (floats, histograms.saturating_sub(1)),
    })
}
