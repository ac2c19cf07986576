//! Evaluation of a query: series by series, in columns over the steps.
//!
//! A query is planned first (`plan.rs`): which series are wanted from when to when; each is asked
//! for once. Then the tree is walked once, and every node works on whole columns. Windows slide
//! over a series' samples with two indices; grouping and matching keys are worked out once a series.
//!
//! # Invariants
//! - No clock, no socket: the caller's `Cancel` says when to stop. Threads end with the evaluation.
//! - Values, order of float operations and texts are those of Prometheus 3.14.0.
//! - The stack's depth follows the tree's, never the number of links in a chain.
//!
//! Not here: parsing; turning an answer into JSON.

mod aggregate;
mod binary;
mod budget;
mod call;
pub(crate) mod column;
mod error;
mod evaluator;
mod grid;
pub(crate) mod merge;
mod meter;
mod names;
mod params;
mod repeats;
mod selector;
pub(crate) mod shards;
mod smooth;
mod stored;
mod value;
mod window;

pub use error::EvalError;
pub use meter::{Memory, Meter};
pub use params::{Cancel, EvalParams, Limits, Query};

pub(crate) use evaluator::{BucketsWanted, Evaluator, bare};
pub(crate) use grid::Grid;
pub(crate) use selector::{info_times, sample_times, start_times};
pub(crate) use value::{ABSENT, Scalar, Series, Val, is_absent};

use crate::ast::{Edges, Expr, ValueType};
use crate::histogram::FloatHistogram;
use crate::source::SeriesSource;
use crate::value::{Evaluation, InstantSample, Value};
use model::histogram::Histogram;
use model::{Column, HistogramColumn, LabelSet, SeriesColumns};
use std::sync::Arc;

/// Evaluates a query over the series of a source.
///
/// Range queries answer a matrix sorted by labels. Instant queries answer what the expression is:
/// a scalar, a string, a matrix sorted by labels, or a vector in the engine's order.
///
/// # Errors
/// [`EvalError`]: the source failed, a limit was hit, the caller has left, or the data does not
/// allow the query.
pub fn evaluate(
    source: &dyn SeriesSource,
    query: Query<'_>,
    params: &EvalParams,
    cancel: &Cancel,
) -> Result<Evaluation, EvalError> {
    cancel.check()?;
    let end_ms = if params.is_instant() { params.start_ms } else { params.end_ms };
    let Some(grid) = Grid::new(params.start_ms, end_ms, params.step_ms) else {
        return Err(EvalError::Invalid("end timestamp must not be before start time".into()));
    };
    check_type(query.expr, params)?;
    let ctx = Evaluator::new(source, query, params, cancel, grid)?;
    ctx.budget.check_steps(grid.len)?;
    let value = match bare(query.expr) {
        expr @ (Expr::Matrix(_) | Expr::Subquery(_)) => Value::Matrix(matrix(&ctx, expr, grid)?),
        expr => answer(&ctx, ctx.eval(expr, grid)?, grid)?,
    };
    // Whatever ended early because it was to stop has no answer.
    ctx.budget.check()?;
    let (warnings, infos) = ctx.into_notes().into_texts(query.text);
    Ok(Evaluation { value, warnings, infos })
}

fn check_type(expr: &Expr, params: &EvalParams) -> Result<(), EvalError> {
    let name = match expr.value_type() {
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
        ValueType::Scalar | ValueType::Vector => return Ok(()),
    };
    if params.is_instant() {
        return Ok(());
    }
    let text = format!(
        "invalid expression type \"{name}\" for range query, must be Scalar or instant Vector"
    );
    Err(EvalError::Invalid(text))
}

/// The samples of a range vector itself.
fn matrix(ctx: &Evaluator<'_>, expr: &Expr, grid: Grid) -> Result<Vec<SeriesColumns>, EvalError> {
    let Some(range) = selector::range(ctx, expr, grid)? else {
        return Err(EvalError::internal("a range vector was expected"));
    };
    let mut series = Vec::new();
    for of in range.series {
        let mut of = of?;
        if range.windows.edges != Edges::Plain {
            if !of.histograms.values.is_empty() {
                let modifier = window::edges::modifier(range.windows.edges);
                let text = format!("{modifier} modifier is not supported with histograms");
                return Err(EvalError::Unexecutable(text));
            }
            let (times, values) = window::edges::extended(&of.samples, &range.windows);
            of.samples =
                window::Samples { times_ms: times.into(), values: values.into(), ascends: false };
        }
        let mut labels = of.labels.into_owned();
        if of.drop_name {
            value::drop_reserved(&mut labels);
        }
        let weight: u64 = of.histograms.values.iter().map(|histogram| histogram.samples()).sum();
        ctx.budget.take_samples(of.samples.values.len() as u64 + weight)?;
        if matches!(expr, Expr::Subquery(_)) {
            // A time and a value for each: nothing that was fetched has them.
            ctx.budget.take_column(of.samples.values.len().saturating_mul(2))?;
        }
        let histograms = HistogramColumn {
            values: of.histograms.values.iter().map(|of| Arc::new(of.to_stored())).collect(),
            timestamps_ms: of.histograms.times_ms,
            ..HistogramColumn::default()
        };
        let floats = Column {
            timestamps_ms: of.samples.times_ms.into_timestamps(),
            values: of.samples.values.into_owned(),
            ..Column::default()
        };
        series.push(SeriesColumns { labels, floats, histograms });
    }
    series.retain(|series| !series.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    merge::same_columns(series)
}

fn answer(ctx: &Evaluator<'_>, val: Val, grid: Grid) -> Result<Value, EvalError> {
    let is_instant = ctx.params.is_instant();
    match val {
        Val::Text(text) => Ok(Value::String { timestamp_ms: grid.start_ms, text }),
        Val::Scalar(scalar) if is_instant => {
            Ok(Value::Scalar { timestamp_ms: grid.start_ms, value: scalar.at(0) })
        }
        Val::Scalar(scalar) => {
            let values = (0..grid.len).map(|step| scalar.at(step)).collect();
            let series = Series::floats(LabelSet::default(), false, values);
            Ok(Value::Matrix(vec![columns(series, grid)]))
        }
        Val::Vector(vector) => {
            let mut vector = cleaned(ctx, vector)?;
            if is_instant {
                return Ok(Value::Vector(
                    vector.into_iter().map(|of| at_instant(of, grid)).collect(),
                ));
            }
            vector.sort_by(|a, b| a.labels.cmp(&b.labels));
            Ok(Value::Matrix(vector.into_iter().map(|series| columns(series, grid)).collect()))
        }
    }
}

/// Drops the names that were to be dropped at the end.
fn cleaned(ctx: &Evaluator<'_>, mut vector: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    vector.retain(Series::is_present);
    if !ctx.params.delayed_name_removal {
        return Ok(vector);
    }
    for series in vector.iter_mut().filter(|series| series.drop_name) {
        value::drop_reserved(&mut series.labels);
    }
    merge::same_labels_by_kind(vector)
}

fn at_instant(series: Series, grid: Grid) -> InstantSample {
    let histogram = series.histogram_steps().next();
    let histogram = histogram.map(|(_, histogram)| Arc::new(histogram.to_stored()));
    InstantSample {
        labels: series.labels,
        timestamp_ms: grid.start_ms,
        value: series.values.first().copied().filter(|v| !is_absent(*v)).unwrap_or(f64::NAN),
        histogram,
    }
}

fn columns(series: Series, grid: Grid) -> SeriesColumns {
    let present = series.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
    let mut floats = Column::default();
    present.for_each(|(step, value)| floats.push(grid.at(step), *value));
    let mut histograms = HistogramColumn::default();
    // Steps that share a histogram go on sharing it.
    let mut last: Option<(&Arc<FloatHistogram>, Arc<Histogram>)> = None;
    for (step, histogram) in series.histogram_steps() {
        let stored = match &last {
            Some((have, stored)) if Arc::ptr_eq(have, histogram) => Arc::clone(stored),
            _ => Arc::new(histogram.to_stored()),
        };
        last = Some((histogram, Arc::clone(&stored)));
        histograms.timestamps_ms.push(grid.at(step));
        histograms.values.push(stored);
    }
    SeriesColumns { labels: series.labels.clone(), floats, histograms }
}

#[cfg(test)]
mod tests;
