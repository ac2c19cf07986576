//! Windows that hold native histograms, or samples whose start timestamps matter: one after the
//! other, each worked through from its start.
//!
//! Functions that know floats only leave histograms out, and say so where a window has both.

pub(crate) mod edges;
mod events;
mod fold;
mod rate;

use super::{Both, RangeSeries, Windows};
use crate::annotations::{AboutHistograms, Operation};
use crate::ast::Edges;
use crate::eval::error::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::value::Series;
use crate::eval::window::rate::Slope;
use crate::histogram::FloatHistogram;
use crate::math::convert::seconds;
use crate::span::Span;
use std::sync::Arc;

/// Whose windows these are, and where to say something about them.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// The evaluation.
    pub(crate) ctx: &'a Evaluator<'a>,
    /// The series' metric.
    pub(crate) metric: &'a str,
    /// The expression to blame.
    pub(crate) span: Span,
}

impl About<'_> {
    /// Says something about the series.
    pub(crate) fn note(&self, what: AboutHistograms) {
        self.ctx.note(|notes| notes.about(what, self.metric, self.span));
    }

    /// Custom values differed.
    fn note_bounds(&self, differed: bool, operation: Operation) {
        if differed {
            self.ctx.note(|notes| notes.bounds_differed(operation, self.span));
        }
    }
}

/// What a function makes of a window.
pub(super) enum Answer {
    /// Nothing.
    None,
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(FloatHistogram),
    /// A histogram of the window.
    Stored(Arc<FloatHistogram>),
}

/// One window's samples.
pub(super) struct View<'s> {
    /// When the floats are.
    times_ms: &'s [i64],
    floats: &'s [f64],
    /// Since when floats count up; as long as they are, or empty.
    starts_ms: &'s [i64],
    /// When the histograms are.
    histogram_times_ms: &'s [i64],
    histograms: &'s [Arc<FloatHistogram>],
    /// Since when histograms count up; as long as they are, or empty.
    histogram_starts_ms: &'s [i64],
    /// The window's left edge.
    open_ms: i64,
    /// The window's right edge.
    end_ms: i64,
    range_ms: i64,
    edges: Edges,
}

impl<'s> View<'s> {
    fn new(series: &'s RangeSeries<'_>, windows: &Windows<'_>, window: &Both) -> Self {
        let (floats, histograms) = (window.floats.clone(), window.histograms.clone());
        Self {
            times_ms: &series.samples.times_ms[floats.clone()],
            floats: &series.samples.values[floats.clone()],
            starts_ms: series.starts.floats.get(floats).unwrap_or_default(),
            histogram_times_ms: &series.histograms.times_ms[histograms.clone()],
            histograms: &series.histograms.values[histograms.clone()],
            histogram_starts_ms: series.starts.histograms.get(histograms).unwrap_or_default(),
            open_ms: window.end_ms.saturating_sub(windows.range_ms),
            end_ms: window.end_ms,
            range_ms: windows.range_ms,
            edges: windows.edges,
        }
    }

    fn has_both(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }

    /// How much the window holds, in samples.
    fn samples(&self) -> u64 {
        let histograms: u64 = self.histograms.iter().map(|histogram| histogram.samples()).sum();
        self.floats.len() as u64 + histograms
    }
}

/// Whether the function knows what to do with histograms, or with starts.
fn knows_histograms(name: &str) -> bool {
    matches!(
        name,
        "rate"
            | "increase"
            | "delta"
            | "irate"
            | "idelta"
            | "sum_over_time"
            | "avg_over_time"
            | "count_over_time"
            | "present_over_time"
            | "absent_over_time"
            | "first_over_time"
            | "last_over_time"
            | "ts_of_first_over_time"
            | "ts_of_last_over_time"
            | "changes"
            | "resets"
    )
}

/// Whether the function looks at start timestamps.
pub(crate) fn knows_starts(name: &str) -> bool {
    matches!(name, "rate" | "increase" | "irate" | "resets")
}

/// Fills in the steps of `into`. `floats_only` is what a function that knows no histograms makes
/// of the floats.
pub(crate) fn run(
    about: &About<'_>,
    name: &str,
    series: &RangeSeries<'_>,
    windows: &Windows<'_>,
    into: &mut Series,
    floats_only: impl FnOnce(&mut [f64]) -> usize,
) -> Result<(), EvalError> {
    let knows = knows_histograms(name);
    if !knows {
        let most = floats_only(&mut into.values);
        about.ctx.budget.fits(most as u64)?;
    }
    let times = (&series.samples.times_ms, &series.histograms.times_ms);
    windows.slide_both(times.0, times.1, |window| {
        let view = View::new(series, windows, &window);
        if !knows {
            if view.has_both() {
                about.note(AboutHistograms::IgnoredInWindow);
            }
            return Ok(());
        }
        about.ctx.budget.fits(view.samples())?;
        match answer(about, name, &view) {
            Answer::None => {}
            Answer::Float(value) => into.values[window.step] = value,
            Answer::Histogram(histogram) => {
                about.ctx.budget.take_bytes(histogram.bytes())?;
                into.put(window.step, Arc::new(histogram));
            }
            Answer::Stored(histogram) => into.put(window.step, histogram),
        }
        Ok(())
    })
}

fn answer(about: &About<'_>, name: &str, view: &View<'_>) -> Answer {
    let slope = |is_counter, is_rate| {
        let slope = Slope { is_counter, is_rate };
        if view.has_both() {
            about.note(AboutHistograms::MixedWithFloats);
            return Answer::None;
        }
        match view.edges {
            Edges::Plain => rate::extrapolated(about, slope, view),
            _ => edges::change(about, slope, view),
        }
    };
    match name {
        "rate" => slope(true, true),
        "increase" => slope(true, false),
        "delta" => slope(false, false),
        "irate" => rate::instant(about, true, view),
        "idelta" => rate::instant(about, false, view),
        "sum_over_time" => fold::sum(about, view),
        "avg_over_time" => fold::avg(about, view),
        "count_over_time" => Answer::Float((view.floats.len() + view.histograms.len()) as f64),
        "present_over_time" | "absent_over_time" => Answer::Float(1.0),
        "first_over_time" => ends(view, false, false),
        "last_over_time" => ends(view, true, false),
        "ts_of_first_over_time" => ends(view, false, true),
        "ts_of_last_over_time" => ends(view, true, true),
        "changes" => events::changes(view),
        "resets" => events::resets(view),
        _ => Answer::None,
    }
}

/// The first or the last sample, or its time.
fn ends(view: &View<'_>, is_last: bool, is_time: bool) -> Answer {
    let at = |len: usize| if is_last { len.checked_sub(1) } else { (len > 0).then_some(0) };
    let (float, histogram) = (at(view.floats.len()), at(view.histograms.len()));
    let float_ms = float.map(|at| view.times_ms[at]);
    let histogram_ms = histogram.map(|at| view.histogram_times_ms[at]);
    let is_histogram = match (float_ms, histogram_ms) {
        (Some(float), Some(histogram)) => (float < histogram) == is_last,
        (float, _) => float.is_none(),
    };
    let (ms, answer) = if is_histogram {
        let Some(at) = histogram else { return Answer::None };
        (histogram_ms, Answer::Stored(Arc::clone(&view.histograms[at])))
    } else {
        let Some(at) = float else { return Answer::None };
        (float_ms, Answer::Float(view.floats[at]))
    };
    match ms {
        Some(ms) if is_time => Answer::Float(seconds(ms)),
        _ => answer,
    }
}
