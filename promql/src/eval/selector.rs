//! Selectors: the newest sample of each step, and the samples of windows.

use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::value::{ABSENT, Series, Val, is_absent};
use super::window::{RangeSeries, Samples, Windows};
use crate::ast::{Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use crate::math::convert::seconds;
use model::sample::is_stale;
use model::{Column, SeriesColumns};
use std::borrow::Cow;

/// An instant selector: at each step the newest sample of the lookback, unless it is stale.
pub(crate) fn instant(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Val, EvalError> {
    if node.edges != Edges::Plain {
        return Err(unsupported_edges());
    }
    newest(ctx, node, grid, |column, index| column.values[index]).map(Val::Vector)
}

/// `timestamp` of an instant selector: the samples' own times. An `@` is taken at its word here,
/// whatever the offset, as upstream does.
pub(crate) fn sample_times(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    newest(ctx, node, grid, |column, index| seconds(column.timestamps_ms[index]))
}

fn newest(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
    pick: impl Fn(&Column, usize) -> f64,
) -> Result<Vec<Series>, EvalError> {
    let (ends, first_ms, last_ms) = ctx.times.vector_range(node, grid)?;
    let mut vector = Vec::new();
    for series in ctx.series(&node.matchers, first_ms, last_ms)? {
        let column = &series.floats;
        let mut values: Option<Vec<f64>> = None;
        let mut next = column.timestamps_ms.partition_point(|time| *time < first_ms);
        ctx.budget.tick(grid.len)?;
        for step in 0..grid.len {
            let moment = ends.at(step);
            while next < column.len() && column.timestamps_ms[next] <= moment {
                next += 1;
            }
            let Some(index) = next.checked_sub(1) else { continue };
            let is_old =
                column.timestamps_ms[index] <= moment.saturating_sub(ctx.params.lookback_ms);
            if is_old || is_stale(column.values[index]) {
                continue;
            }
            values.get_or_insert_with(|| vec![ABSENT; grid.len])[step] = pick(column, index);
        }
        let Some(values) = values else { continue };
        ctx.budget.take_column(values.len())?;
        vector.push(Series { labels: series.labels.clone(), drop_name: false, values });
    }
    Ok(vector)
}

/// A range vector: every series' samples, and the windows over them.
pub(crate) struct RangeVector<'a> {
    /// The series, those without a sample left out.
    pub(crate) series: Vec<RangeSeries<'a>>,
    /// The windows.
    pub(crate) windows: Windows,
}

/// The range vector of a matrix selector or subquery; `None` if the expression is neither.
pub(crate) fn range<'a>(
    ctx: &'a Evaluator<'_>,
    expr: &Expr,
    grid: Grid,
) -> Result<Option<RangeVector<'a>>, EvalError> {
    match expr {
        Expr::Matrix(node) => samples(ctx, node, grid).map(Some),
        Expr::Subquery(node) => subquery(ctx, node, grid).map(Some),
        _ => Ok(None),
    }
}

fn samples<'a>(
    ctx: &'a Evaluator<'_>,
    node: &MatrixSelector,
    grid: Grid,
) -> Result<RangeVector<'a>, EvalError> {
    if node.vector.edges != Edges::Plain {
        return Err(unsupported_edges());
    }
    let (ends, range_ms, first_ms, last_ms) = ctx.times.matrix_range(node, grid)?;
    let mut series = Vec::new();
    for fetched in ctx.series(&node.vector.matchers, first_ms, last_ms)? {
        let samples = alive_between(fetched, first_ms, last_ms);
        ctx.budget.tick(samples.values.len())?;
        if !samples.values.is_empty() {
            let labels = Cow::Borrowed(&fetched.labels);
            series.push(RangeSeries { labels, drop_name: false, samples });
        }
    }
    Ok(RangeVector { series, windows: Windows { grid, ends, range_ms } })
}

/// The samples from `first_ms` to `last_ms`, stale markers left out.
fn alive_between(series: &SeriesColumns, first_ms: i64, last_ms: i64) -> Samples<'_> {
    let times = &series.floats.timestamps_ms;
    let first = times.partition_point(|time| *time < first_ms);
    let end = times.partition_point(|time| *time <= last_ms).max(first);
    let (times, values) = (&times[first..end], &series.floats.values[first..end]);
    if !values.iter().any(|value| is_stale(*value)) {
        return Samples { times_ms: Cow::Borrowed(times), values: Cow::Borrowed(values) };
    }
    let alive = times.iter().zip(values).filter(|(_, value)| !is_stale(**value));
    let (times, values): (Vec<i64>, Vec<f64>) = alive.unzip();
    Samples { times_ms: Cow::Owned(times), values: Cow::Owned(values) }
}

fn subquery<'a>(
    ctx: &Evaluator<'_>,
    node: &Subquery,
    grid: Grid,
) -> Result<RangeVector<'a>, EvalError> {
    let (inner, ends, range_ms) = ctx.times.subquery_grid(node, grid)?;
    let windows = Windows { grid, ends, range_ms };
    let Some(inner) = inner else { return Ok(RangeVector { series: Vec::new(), windows }) };
    ctx.budget.check_steps(inner.len)?;
    let vector = ctx.eval_vector(&node.expr, inner)?;
    let mut series = Vec::with_capacity(vector.len());
    for of in vector {
        ctx.budget.tick(of.values.len())?;
        let present = of.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
        let (times, values): (Vec<i64>, Vec<f64>) =
            present.map(|(step, value)| (inner.at(step), *value)).unzip();
        let samples = Samples { times_ms: Cow::Owned(times), values: Cow::Owned(values) };
        let labels = Cow::Owned(of.labels);
        series.push(RangeSeries { labels, drop_name: of.drop_name, samples });
    }
    Ok(RangeVector { series, windows })
}

fn unsupported_edges() -> EvalError {
    EvalError::unexecutable("anchored and smoothed selectors are not supported yet")
}
