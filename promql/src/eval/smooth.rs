//! Smoothed instant selectors: lines through the samples around each step.

use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::selector::{Sink, alive_between, histograms_between};
use super::value::{ABSENT, Series};
use super::window::{Samples, edges, mixed};
use crate::annotations::AboutHistograms;
use crate::ast::VectorSelector;

/// A smoothed instant selector: at each step the value of the line through the samples around it,
/// or the last one before if none follows.
pub(super) fn smoothed(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), EvalError> {
    let (ends, first_ms, last_ms) = ctx.times.vector_range(node, grid)?;
    let range_ms = ctx.params.lookback_ms;
    let mut column = Vec::new();
    for fetched in ctx.series(&node.matchers, first_ms, last_ms)? {
        let samples = alive_between(fetched, first_ms, last_ms);
        let histograms = histograms_between(ctx, fetched, first_ms, last_ms)?;
        ctx.budget.tick(grid.len)?;
        column.clear();
        column.resize(grid.len, ABSENT);
        let mut series = Series::floats(fetched.labels.clone(), false, column);
        let about = mixed::About { ctx, metric: fetched.labels.metric_name(), span: node.span };
        for step in 0..grid.len {
            let moment = ends.at(step);
            let float = Around::new(&samples.times_ms, moment, range_ms);
            let histogram = Around::new(&histograms.times_ms, moment, range_ms);
            match (float.is_empty(), histogram.is_empty()) {
                (true, true) => {}
                (false, false) => about.note(AboutHistograms::MixedWithFloats),
                (false, true) => {
                    if let Some(value) = float_at(&samples, float, moment) {
                        series.values[step] = value;
                    }
                }
                (true, false) => {
                    let (times, values) = (&histograms.times_ms, &histograms.values);
                    let around = (histogram.before, histogram.after);
                    if let Some(value) = mixed::edges::at(&about, times, values, around, moment) {
                        series.put(step, value);
                    }
                }
            }
        }
        column = if series.is_present() { sink(series)? } else { series.values };
    }
    Ok(())
}

/// The samples next to a moment.
#[derive(Clone, Copy, Debug)]
struct Around {
    /// The last one before it, within the lookback.
    before: Option<usize>,
    /// The first one at or after it, within the lookback.
    after: Option<usize>,
}

impl Around {
    fn new(times_ms: &[i64], moment: i64, range_ms: i64) -> Self {
        let next = times_ms.partition_point(|time| *time < moment);
        let open_ms = moment.saturating_sub(range_ms);
        let last_ms = moment.saturating_add(range_ms);
        Self {
            before: next.checked_sub(1).filter(|at| times_ms[*at] > open_ms),
            after: Some(next).filter(|at| times_ms.get(*at).is_some_and(|time| *time <= last_ms)),
        }
    }

    fn is_empty(self) -> bool {
        self.before.is_none() && self.after.is_none()
    }
}

fn float_at(samples: &Samples<'_>, around: Around, moment: i64) -> Option<f64> {
    let Samples { times_ms, values, .. } = samples;
    match (around.before, around.after) {
        (_, Some(at)) if times_ms[at] == moment => Some(values[at]),
        (Some(from), Some(to)) => {
            let (times, ends) = ((times_ms[from], times_ms[to]), (values[from], values[to]));
            Some(edges::line(times, ends, moment, false))
        }
        (Some(at), None) => Some(values[at]),
        (None, _) => None,
    }
}
