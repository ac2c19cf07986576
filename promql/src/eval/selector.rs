//! Selectors: the newest sample of each step, and the samples of windows.

use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::value::{ABSENT, Series, Val, is_absent};
use super::window::{RangeSeries, Samples, Windows, edges};
use crate::ast::{Call, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use crate::math::convert::seconds;
use crate::plan::Ends;
use model::sample::is_stale;
use model::{Column, Matcher, SeriesColumns};
use std::borrow::Cow;

/// An instant selector: at each step the newest sample of the lookback, unless it is stale.
pub(crate) fn instant(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Val, EvalError> {
    if node.edges == Edges::Smoothed {
        return smoothed(ctx, node, grid).map(Val::Vector);
    }
    newest(ctx, node, grid, |column, index| column.values[index]).map(Val::Vector)
}

/// `timestamp` of an instant selector: the samples' own times.
pub(crate) fn sample_times(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    newest(ctx, node, grid, |column, index| seconds(column.timestamps_ms[index]))
}

/// The times in milliseconds of the newest samples of the info series that a call wants.
pub(crate) fn info_times(
    ctx: &Evaluator<'_>,
    node: &Call,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let (ends, need) = ctx.times.info_need(node, grid)?;
    let wanted = (&need.matchers[..], ends, need.first_ms, need.last_ms);
    newest_of(ctx, wanted, grid, |column, index| column.timestamps_ms[index] as f64)
}

fn newest(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
    pick: impl Fn(&Column, usize) -> f64,
) -> Result<Vec<Series>, EvalError> {
    let (ends, first_ms, last_ms) = ctx.times.vector_range(node, grid)?;
    newest_of(ctx, (&node.matchers, ends, first_ms, last_ms), grid, pick)
}

fn newest_of(
    ctx: &Evaluator<'_>,
    (matchers, ends, first_ms, last_ms): (&[Matcher], Ends, i64, i64),
    grid: Grid,
    pick: impl Fn(&Column, usize) -> f64,
) -> Result<Vec<Series>, EvalError> {
    let mut vector = Vec::new();
    for series in ctx.series(matchers, first_ms, last_ms)? {
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
    pub(crate) windows: Windows<'a>,
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
    let (edges, outside_ms) = (node.vector.edges, ctx.params.lookback_ms);
    let budget = Some(&ctx.budget);
    let windows = Windows { grid, ends, range_ms, edges, outside_ms, budget };
    Ok(RangeVector { series, windows })
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
    ctx: &'a Evaluator<'_>,
    node: &Subquery,
    grid: Grid,
) -> Result<RangeVector<'a>, EvalError> {
    let (inner, ends, range_ms) = ctx.times.subquery_grid(node, grid)?;
    let (edges, budget) = (Edges::Plain, Some(&ctx.budget));
    let windows = Windows { grid, ends, range_ms, edges, outside_ms: 0, budget };
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

/// A smoothed instant selector: at each step the value of the line through the samples around it,
/// or the last one before if none follows.
fn smoothed(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let (ends, first_ms, last_ms) = ctx.times.vector_range(node, grid)?;
    let range_ms = ctx.params.lookback_ms;
    let mut vector = Vec::new();
    for fetched in ctx.series(&node.matchers, first_ms, last_ms)? {
        let Samples { times_ms, values } = alive_between(fetched, first_ms, last_ms);
        ctx.budget.take_column(grid.len)?;
        let mut column = vec![ABSENT; grid.len];
        for (step, value) in column.iter_mut().enumerate() {
            let moment = ends.at(step);
            let open_ms = moment.saturating_sub(range_ms);
            let next = times_ms.partition_point(|time| *time < moment);
            let before = next.checked_sub(1).filter(|at| times_ms[*at] > open_ms);
            let after = Some(next).filter(|at| {
                times_ms.get(*at).is_some_and(|time| *time <= moment.saturating_add(range_ms))
            });
            *value = match (before, after) {
                (_, Some(at)) if times_ms[at] == moment => values[at],
                (Some(from), Some(to)) => {
                    let (times, ends) =
                        ((times_ms[from], times_ms[to]), (values[from], values[to]));
                    edges::line(times, ends, moment, false)
                }
                (Some(at), None) => values[at],
                (None, _) => continue,
            };
        }
        let labels = fetched.labels.clone();
        vector.push(Series { labels, drop_name: false, values: column });
    }
    vector.retain(Series::is_present);
    Ok(vector)
}
