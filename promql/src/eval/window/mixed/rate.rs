//! `rate`, `increase`, `delta`, `irate`, `idelta` of histograms, and of samples whose start
//! timestamps matter.

use super::{About, Answer, View};
use crate::annotations::{AboutHistograms, Operation};
use crate::eval::window::rate::{Slope, overlaps, starts_anew};
use crate::histogram::{FloatHistogram, MixedBuckets};
use crate::math::convert::seconds;
use model::histogram::ResetHint;
use std::sync::Arc;

/// How much something has changed.
enum Change {
    Float(f64),
    Histogram(Box<FloatHistogram>),
}

impl Change {
    fn is_up(&self) -> bool {
        match self {
            Self::Float(change) => *change > 0.0,
            Self::Histogram(change) => change.count > 0.0,
        }
    }

    fn size(&self) -> f64 {
        match self {
            Self::Float(change) => *change,
            Self::Histogram(change) => change.count,
        }
    }
}

/// The samples of one kind, as far as their times matter.
struct Course<'s> {
    times_ms: &'s [i64],
    starts_ms: &'s [i64],
    /// The first value; of a histogram its count.
    first: f64,
}

impl Course<'_> {
    fn start(&self, index: usize) -> i64 {
        self.starts_ms.get(index).copied().unwrap_or(0)
    }

    /// Whether the counter started anew between the sample before this one and this one.
    fn starts_anew(&self, index: usize) -> bool {
        let at = |index: usize| (self.start(index), self.times_ms[index]);
        !self.starts_ms.is_empty() && starts_anew(at(index - 1), at(index))
    }

    /// Whether some sample starts before the one before it ended, and is no continuation of it.
    fn has_overlap(&self) -> bool {
        !self.starts_ms.is_empty()
            && (1..self.times_ms.len()).any(|index| {
                overlaps(self.start(index - 1), self.times_ms[index - 1], self.start(index))
            })
    }
}

/// `rate`, `increase`, `delta`: the change over the window, extrapolated to its edges; or from the
/// start of the first sample, if that lies in the window.
pub(super) fn extrapolated(about: &About<'_>, slope: Slope, view: &View<'_>) -> Answer {
    let (course, change) = match view.histograms.first() {
        Some(first) => {
            let course = Course {
                times_ms: view.histogram_times_ms,
                starts_ms: view.histogram_starts_ms,
                first: first.count,
            };
            let change = match view.histograms {
                [_] => None,
                histograms => match histogram_change(about, slope, histograms, &course) {
                    Some(change) => Some(Change::Histogram(Box::new(change))),
                    None => return Answer::None,
                },
            };
            (course, change)
        }
        None => {
            let (times_ms, starts_ms) = (view.times_ms, view.starts_ms);
            let course = Course { times_ms, starts_ms, first: view.floats[0] };
            let change = float_change(about, slope, view.floats, &course);
            (course, (view.floats.len() > 1).then_some(Change::Float(change)))
        }
    };
    let Some((change, factor)) = stretched(about, slope, view, &course, change) else {
        return Answer::None;
    };
    let factor = if slope.is_rate { factor / seconds(view.range_ms) } else { factor };
    match change {
        Change::Float(change) => Answer::Float(change * factor),
        Change::Histogram(mut change) => {
            change.scale(factor);
            Answer::Histogram(*change)
        }
    }
}

fn float_change(about: &About<'_>, slope: Slope, floats: &[f64], course: &Course<'_>) -> f64 {
    let mut change = floats[floats.len() - 1] - floats[0];
    if !slope.is_counter {
        return change;
    }
    if course.has_overlap() {
        about.note(AboutHistograms::StartOverlap);
    }
    for (before, two) in floats.windows(2).enumerate() {
        if two[1] < two[0] || course.starts_anew(before + 1) {
            change += two[0];
        }
    }
    change
}

/// The change, with the first sample as such if the counter started in the window; and how much
/// longer the window is than what was sampled.
fn stretched(
    about: &About<'_>,
    slope: Slope,
    view: &View<'_>,
    course: &Course<'_>,
    change: Option<Change>,
) -> Option<(Change, f64)> {
    let gaps = course.times_ms.len() - 1;
    let (first_ms, last_ms) = (course.times_ms[0], course.times_ms[gaps]);
    let mut sampled = seconds(last_ms.saturating_sub(first_ms));
    let spacing = if gaps > 0 { sampled / gaps as f64 } else { 0.0 };
    let threshold = spacing * 1.1;
    let mut to_start = seconds(first_ms.saturating_sub(view.open_ms));
    let mut to_end = seconds(view.end_ms.saturating_sub(last_ms));
    let start_ms = course.start(0);
    let change =
        if slope.is_counter && start_ms != 0 && start_ms > view.open_ms && start_ms < first_ms {
            to_start = 0.0;
            sampled = seconds(last_ms.saturating_sub(start_ms));
            with_first(about, view, change)?
        } else {
            let change = change?;
            if to_start >= threshold {
                to_start = spacing / 2.0;
            }
            // A counter is not extrapolated to before the moment when it was zero.
            if slope.is_counter && change.is_up() && course.first >= 0.0 {
                let to_zero = sampled * (course.first / change.size());
                if to_zero < to_start {
                    to_start = to_zero;
                }
            }
            change
        };
    if to_end >= threshold {
        to_end = spacing / 2.0;
    }
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    Some((change, factor))
}

/// The change since zero: the first sample counts as a whole.
fn with_first(about: &About<'_>, view: &View<'_>, change: Option<Change>) -> Option<Change> {
    Some(match (change, view.histograms.first()) {
        (Some(Change::Histogram(mut change)), Some(first)) => {
            add(about, &mut change, first)?;
            Change::Histogram(change)
        }
        (_, Some(first)) => Change::Histogram(Box::new((**first).clone())),
        (Some(Change::Float(change)), None) => Change::Float(change + view.floats[0]),
        (_, None) => Change::Float(view.floats[0]),
    })
}

/// Adds, and says what there is to say; `None` if they do not come together.
pub(super) fn add(
    about: &About<'_>,
    to: &mut FloatHistogram,
    other: &FloatHistogram,
) -> Option<()> {
    merged(about, to.add(other), Operation::Addition)
}

/// Subtracts, and says what there is to say; `None` if they do not come together.
pub(super) fn sub(
    about: &About<'_>,
    from: &mut FloatHistogram,
    other: &FloatHistogram,
) -> Option<()> {
    merged(about, from.sub(other), Operation::Subtraction)
}

fn merged(
    about: &About<'_>,
    result: Result<crate::histogram::Merged, MixedBuckets>,
    operation: Operation,
) -> Option<()> {
    match result {
        Ok(merged) => {
            about.note_bounds(merged.bounds_differed, operation);
            Some(())
        }
        Err(MixedBuckets) => {
            about.note(AboutHistograms::MixedBuckets);
            None
        }
    }
}

/// How much histograms have changed from the first to the last, resets made up for. What is said
/// about them is said only if there is an answer; else only why there is none.
fn histogram_change(
    about: &About<'_>,
    slope: Slope,
    histograms: &[Arc<FloatHistogram>],
    course: &Course<'_>,
) -> Option<FloatHistogram> {
    let (first, last) = (&histograms[0], &histograms[histograms.len() - 1]);
    let ends_are_gauges = (first.is_gauge(), last.is_gauge());
    // Before a reset the first one's layout does not matter.
    let nothing;
    let mut before: &FloatHistogram = first;
    if slope.is_counter && (course.starts_anew(1) || histograms[1].is_reset_after(first)) {
        nothing = histograms[1].emptied();
        before = &nothing;
    }
    let is_custom = before.is_custom();
    if last.is_custom() != is_custom {
        if slope.is_counter && (ends_are_gauges.0 || ends_are_gauges.1) {
            about.note(AboutHistograms::NotCounter);
        }
        about.note(AboutHistograms::MixedBuckets);
        return None;
    }
    let between = &histograms[1..histograms.len() - 1];
    if slope.is_counter && between.iter().any(|of| of.is_custom() != is_custom) {
        about.note(AboutHistograms::MixedBuckets);
        return None;
    }
    let mut schema = last.schema.min(before.schema);
    if slope.is_counter {
        schema = between.iter().fold(schema, |schema, of| schema.min(of.schema));
    }
    let mut change = last.at_most(schema);
    sub(about, &mut change, before)?;
    if slope.is_counter {
        if histograms.iter().any(|of| of.is_gauge()) {
            about.note(AboutHistograms::NotCounter);
        }
        if course.has_overlap() {
            about.note(AboutHistograms::StartOverlap);
        }
        for (index, now) in histograms.iter().enumerate().skip(1) {
            if course.starts_anew(index) || now.is_reset_after(before) {
                add(about, &mut change, before)?;
            }
            before = now;
        }
    } else if !(ends_are_gauges.0 && ends_are_gauges.1) {
        about.note(AboutHistograms::NotGauge);
    }
    change.hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

/// One of the last two samples of a window.
#[derive(Clone, Copy)]
struct Late<'s> {
    time_ms: i64,
    start_ms: i64,
    float: f64,
    histogram: Option<&'s Arc<FloatHistogram>>,
}

/// `irate`, `idelta`: the change between the last two samples, of whichever kind.
pub(super) fn instant(about: &About<'_>, is_rate: bool, view: &View<'_>) -> Answer {
    let Some([before, last]) = last_two(view) else { return Answer::None };
    let interval_ms = last.time_ms.saturating_sub(before.time_ms);
    if interval_ms == 0 {
        return Answer::None;
    }
    let is_new = starts_anew((before.start_ms, before.time_ms), (last.start_ms, last.time_ms));
    match (before.histogram, last.histogram) {
        (None, None) => {
            let (old, new) = (before.float, last.float);
            let change = if is_rate && (new < old || is_new) { new } else { new - old };
            Answer::Float(if is_rate { change / seconds(interval_ms) } else { change })
        }
        (Some(old), Some(new)) => {
            let are_gauges = (old.is_gauge(), new.is_gauge());
            if is_rate && (are_gauges.0 || are_gauges.1) {
                about.note(AboutHistograms::NotCounter);
            }
            if !(is_rate || are_gauges.0 && are_gauges.1) {
                about.note(AboutHistograms::NotGauge);
            }
            let mut change = (**new).clone();
            if (!is_rate || !(is_new || new.is_reset_after(old)))
                && sub(about, &mut change, old).is_none()
            {
                return Answer::None;
            }
            change.hint = ResetHint::Gauge;
            change.compact();
            if is_rate {
                change.divide(seconds(interval_ms));
            }
            Answer::Histogram(change)
        }
        _ => {
            about.note(AboutHistograms::MixedWithFloats);
            Answer::None
        }
    }
}

/// The last two samples by their time.
fn last_two<'s>(view: &View<'s>) -> Option<[Late<'s>; 2]> {
    let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
    let mut late: Vec<Late<'s>> = Vec::with_capacity(4);
    for at in view.floats.len().saturating_sub(2)..view.floats.len() {
        let (time_ms, start_ms) = (view.times_ms[at], start(view.starts_ms, at));
        late.push(Late { time_ms, start_ms, float: view.floats[at], histogram: None });
    }
    for at in view.histograms.len().saturating_sub(2)..view.histograms.len() {
        let time_ms = view.histogram_times_ms[at];
        let start_ms = start(view.histogram_starts_ms, at);
        let histogram = Some(&view.histograms[at]);
        late.push(Late { time_ms, start_ms, float: 0.0, histogram });
    }
    late.sort_by_key(|sample| sample.time_ms);
    late.last_chunk().copied()
}
