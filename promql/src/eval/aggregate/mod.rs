//! Aggregations: series are put into groups once, then their columns are folded into the groups'.

mod fold;
mod folding;
mod group;
mod histograms;
mod pick;
mod values;

use super::error::EvalError;
use super::evaluator::{Evaluator, bare};
use super::grid::Grid;
use super::value::{ABSENT, Scalar, Series, Val, is_absent};
use crate::ast::{AggregateOp, Aggregation};
use crate::math::minmax;
use crate::math::quantile::quantile;
use crate::span::Span;
pub(crate) use folding::Folding;
use group::{Groups, NameDrop, groups};

/// Evaluates an aggregation.
pub(crate) fn aggregate(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    grid: Grid,
) -> Result<Val, EvalError> {
    if node.op == AggregateOp::CountValues {
        return values::count_values(ctx, node, grid).map(Val::Vector);
    }
    let param = match node.param.as_deref() {
        Some(param) => ctx.eval_scalar(bare(param), grid)?,
        None => Scalar::Same(f64::NAN),
    };
    let inner = bare(&node.expr);
    if let Some(folded) = folding::as_they_come(ctx, node, grid)? {
        return Ok(Val::Vector(folded));
    }
    let vector = ctx.eval_vector(inner, grid)?;
    ctx.budget.tick(vector.len())?;
    let result = match node.op {
        AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio => pick::pick(ctx, node, &param, vector, grid)?,
        AggregateOp::Quantile => {
            check_quantiles(ctx, node, &param);
            note_ignored(ctx, node, &vector, bare(&node.expr).span());
            quantiles(ctx, groups(&vector, node), &vector, &param, grid)?
        }
        _ => folding::folded(ctx, node, &vector, grid)?,
    };
    Ok(Val::Vector(result))
}

/// Says that histograms are left out, if there are any.
fn note_ignored(ctx: &Evaluator<'_>, node: &Aggregation, vector: &[Series], span: Span) {
    if vector.iter().any(Series::has_histogram) {
        ctx.note(|notes| notes.ignored_in_aggregation(node.op.as_str(), span));
    }
}

fn check_quantiles(ctx: &Evaluator<'_>, node: &Aggregation, param: &Scalar) {
    let Some(span) = node.param.as_deref().map(|param| bare(param).span()) else { return };
    if param.distinct().iter().any(|q| q.is_nan()) {
        ctx.note(|notes| notes.invalid_quantile(f64::NAN, span));
    }
    let (least, greatest) = bounds(param);
    if greatest > 1.0 {
        ctx.note(|notes| notes.invalid_quantile(greatest, span));
    }
    if least < 0.0 {
        ctx.note(|notes| notes.invalid_quantile(least, span));
    }
}

/// The least and the greatest value over the steps; NaN if any is.
fn bounds(param: &Scalar) -> (f64, f64) {
    let mut values = param.distinct().iter();
    let first = values.next().copied().unwrap_or(f64::NAN);
    values.fold((first, first), |(least, greatest), value| {
        (minmax::min(least, *value), minmax::max(greatest, *value))
    })
}

fn quantiles(
    ctx: &Evaluator<'_>,
    groups: Groups,
    vector: &[Series],
    param: &Scalar,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let mut members: Vec<Vec<&Series>> = vec![Vec::new(); groups.labels.len()];
    for (series, group) in vector.iter().zip(&groups.of_series) {
        members[*group].push(series);
    }
    let (mut result, mut scratch) = (Vec::new(), Vec::new());
    for (labels, members) in groups.labels.into_iter().zip(members) {
        ctx.budget.take_column(grid.len)?;
        let mut values = vec![ABSENT; grid.len];
        for (step, value) in values.iter_mut().enumerate() {
            ctx.budget.tick(members.len())?;
            scratch.clear();
            scratch.extend(members.iter().map(|of| of.values[step]).filter(|v| !is_absent(*v)));
            if !scratch.is_empty() {
                *value = quantile(param.at(step), &mut scratch);
            }
        }
        let mut drops = NameDrop::default();
        members.iter().for_each(|of| drops.add(AggregateOp::Quantile, of));
        result.push(Series::floats(labels, drops.is_due(), values));
    }
    result.retain(Series::is_present);
    Ok(result)
}
