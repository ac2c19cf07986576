//! Histograms of windows with edges of their own, and between two samples.

use super::rate::{add, sub};
use super::{About, Answer, View};
use crate::annotations::AboutHistograms;
use crate::ast::Edges;
use crate::eval::window::edges::{ends, float_change};
use crate::eval::window::rate::Slope;
use crate::histogram::FloatHistogram;
use crate::math::convert::seconds;
use model::histogram::ResetHint;
use std::sync::Arc;

/// `rate`, `increase`, `delta`: from edge to edge.
pub(super) fn change(about: &About<'_>, slope: Slope, view: &View<'_>) -> Answer {
    let bounds = (view.open_ms, view.end_ms);
    if view.histograms.is_empty() {
        let change = float_change(view.times_ms, view.floats, bounds, view.edges, slope);
        let Some(change) = change else { return Answer::None };
        let by = if slope.is_rate { seconds(view.range_ms) } else { 1.0 };
        return Answer::Float(change / by);
    }
    match histogram_change(about, slope, view) {
        Some(mut change) => {
            if slope.is_rate {
                change.divide(seconds(view.range_ms));
            }
            change.hint = ResetHint::Gauge;
            change.compact();
            Answer::Histogram(change)
        }
        None => Answer::None,
    }
}

/// The samples that a window's edges are made of.
struct Span<'s> {
    times_ms: &'s [i64],
    histograms: &'s [Arc<FloatHistogram>],
    first: usize,
    last: usize,
    open_ms: i64,
    end_ms: i64,
    is_smoothed: bool,
}

fn histogram_change(about: &About<'_>, slope: Slope, view: &View<'_>) -> Option<FloatHistogram> {
    let (times_ms, histograms) = (view.histogram_times_ms, view.histograms);
    let (open_ms, end_ms) = (view.open_ms, view.end_ms);
    let (first, last) = ends(times_ms, (open_ms, end_ms), view.edges)?;
    let is_smoothed = view.edges == Edges::Smoothed;
    if is_smoothed && times_ms[first] > end_ms {
        return None;
    }
    let span = Span { times_ms, histograms, first, last, open_ms, end_ms, is_smoothed };
    check(about, slope, &histograms[first..=last])?;
    let left = span.left(about, slope)?;
    let right = span.right(about, slope)?;
    if !(slope.is_counter || left.is_gauge() && right.is_gauge()) {
        about.note(AboutHistograms::NotGauge);
    }
    let mut change = right.clone();
    sub(about, &mut change, &left)?;
    if slope.is_counter
        && let Some(hidden) = span.resets(about, &left, &right)?
    {
        add(about, &mut change, &hidden)?;
    }
    Some(change)
}

/// Whether the histograms are of one kind.
fn check(about: &About<'_>, slope: Slope, histograms: &[Arc<FloatHistogram>]) -> Option<()> {
    let is_custom = histograms.first()?.is_custom();
    for histogram in histograms {
        if histogram.is_custom() != is_custom {
            about.note(AboutHistograms::MixedBuckets);
            return None;
        }
        if slope.is_counter && histogram.is_gauge() {
            about.note(AboutHistograms::NotCounter);
        }
    }
    Some(())
}

impl Span<'_> {
    fn left(&self, about: &About<'_>, slope: Slope) -> Option<FloatHistogram> {
        let first = self.first;
        if self.is_smoothed && self.times_ms[first] < self.open_ms {
            return self.line(about, first, self.open_ms, slope);
        }
        Some((*self.histograms[first]).clone())
    }

    fn right(&self, about: &About<'_>, slope: Slope) -> Option<FloatHistogram> {
        let last = self.last;
        if self.is_smoothed && last > 0 && self.times_ms[last] > self.end_ms {
            return self.line(about, last - 1, self.end_ms, slope);
        }
        Some((*self.histograms[last]).clone())
    }

    fn line(
        &self,
        about: &About<'_>,
        from: usize,
        at_ms: i64,
        slope: Slope,
    ) -> Option<FloatHistogram> {
        let times = (self.times_ms[from], self.times_ms[from + 1]);
        let ends = (&*self.histograms[from], &*self.histograms[from + 1]);
        line(about, times, ends, at_ms, slope.is_counter)
    }

    /// What resets on the way from edge to edge have hidden; the outer `None` if histograms do not
    /// come together.
    fn resets(
        &self,
        about: &About<'_>,
        left: &FloatHistogram,
        right: &FloatHistogram,
    ) -> Option<Option<FloatHistogram>> {
        let (mut from, mut before) = (self.first + 1, left);
        // A reset that the left edge's line runs through is made up for already.
        if self.is_smoothed
            && self.times_ms[self.first] < self.open_ms
            && self.histograms[from].is_reset_after(&self.histograms[self.first])
        {
            before = &self.histograms[from];
            from += 1;
        }
        if from > self.last {
            return Some(None);
        }
        let mut hidden: Option<FloatHistogram> = None;
        // The last one stands for the right edge, or is behind it.
        let inside = self.histograms[from..self.last].iter().map(|histogram| &**histogram);
        for now in inside.chain([right]) {
            if now.is_reset_after(before) {
                match &mut hidden {
                    Some(hidden) => add(about, hidden, before)?,
                    None => hidden = Some(before.clone()),
                }
            }
            before = now;
        }
        Some(hidden)
    }
}

/// Where the line between two histograms is at `at_ms`. After a reset a counter has started from
/// zero.
fn line(
    about: &About<'_>,
    times_ms: (i64, i64),
    (from, to): (&FloatHistogram, &FloatHistogram),
    at_ms: i64,
    is_counter: bool,
) -> Option<FloatHistogram> {
    if at_ms == times_ms.0 {
        return Some(from.clone());
    }
    let mut result = to.clone();
    if at_ms == times_ms.1 {
        return Some(result);
    }
    let part = at_ms.saturating_sub(times_ms.0) as f64;
    let part = part / times_ms.1.saturating_sub(times_ms.0) as f64;
    if is_counter && to.is_reset_after(from) {
        result.scale(part);
        return Some(result);
    }
    sub(about, &mut result, from)?;
    result.scale(part);
    add(about, &mut result, from)?;
    Some(result)
}

/// A smoothed instant vector's histogram: on the line through the samples around `at_ms`, or the
/// last one before.
pub(crate) fn at(
    about: &About<'_>,
    times_ms: &[i64],
    histograms: &[Arc<FloatHistogram>],
    (before, after): (Option<usize>, Option<usize>),
    at_ms: i64,
) -> Option<Arc<FloatHistogram>> {
    match (before, after) {
        (_, Some(at)) if times_ms[at] == at_ms => Some(Arc::clone(&histograms[at])),
        (Some(from), Some(to)) => {
            let ends = (&*histograms[from], &*histograms[to]);
            if ends.0.is_custom() != ends.1.is_custom() {
                about.note(AboutHistograms::MixedBuckets);
                return None;
            }
            let is_counter = !(ends.0.is_gauge() && ends.1.is_gauge());
            let times = (times_ms[from], times_ms[to]);
            line(about, times, ends, at_ms, is_counter).map(Arc::new)
        }
        (Some(at), None) => {
            let last = FloatHistogram::clone(&histograms[at]);
            Some(Arc::new(last.with_hint(ResetHint::Unknown)))
        }
        (None, _) => None,
    }
}
