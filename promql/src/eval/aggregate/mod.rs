//! Aggregations: series are put into groups once, then their columns are folded into the groups'.

mod fold;
mod group;
mod histograms;
mod pick;
mod values;

use super::error::EvalError;
use super::evaluator::{Evaluator, bare};
use super::grid::Grid;
use super::value::{ABSENT, Scalar, Series, Val, is_absent};
use crate::ast::{AggregateOp, Aggregation, Expr};
use crate::eval::shards;
use crate::math::minmax;
use crate::math::quantile::quantile;
use crate::span::Span;
use group::{Groups, groups};
use model::LabelSet;
use std::sync::atomic::{AtomicU64, Ordering};

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
    // What the query has several times is fetched once, as a whole.
    let counts = counts_series(node) && !ctx.is_repeated(inner);
    if let Some(deferred) = ctx.deferred_of(inner).filter(|_| counts) {
        return shards::count(ctx, node, deferred, grid).map(Val::Vector);
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
        _ => folded(ctx, node, groups(&vector, node), &vector, grid)?,
    };
    Ok(Val::Vector(result))
}

/// Whether it only looks whether there is a sample of each series of a selector: then it can be worked
/// out of parts of the series, and their labels are not needed.
pub(crate) fn counts_series(node: &Aggregation) -> bool {
    let counts = matches!(node.op, AggregateOp::Count | AggregateOp::Group);
    counts && matches!(bare(&node.expr), Expr::Vector(_))
}

/// The groups of a part of the series that [`counts_series`] looks at. `samples` are those of the
/// parts so far, which together have to fit.
pub(crate) fn counted(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    grid: Grid,
    samples: &AtomicU64,
) -> Result<Vec<Series>, EvalError> {
    let vector = ctx.eval_vector(bare(&node.expr), grid)?;
    let own = vector.iter().map(Series::samples).sum::<u64>();
    ctx.budget.fits(samples.fetch_add(own, Ordering::Relaxed))?;
    folded(ctx, node, groups(&vector, node), &vector, grid)
}

/// The groups of all series, out of those of its parts.
pub(crate) fn joined(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    parts: &[Series],
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let op = if node.op == AggregateOp::Count { AggregateOp::Sum } else { node.op };
    // Whole numbers: their sum does not depend on the order.
    let mut all =
        folded(ctx, &Aggregation { op, ..node.clone() }, groups(parts, node), parts, grid)?;
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}

/// Groups whose operator takes one series' column after the other.
fn folded(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    groups: Groups,
    vector: &[Series],
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let span = bare(&node.expr).span();
    let mut of_groups = Vec::with_capacity(groups.labels.len());
    for labels in groups.labels {
        ctx.budget.take_column(grid.len)?;
        let column = fold::Column::new(node.op, grid.len)?;
        of_groups.push(Group { labels, drop_name: false, column, histograms: None });
    }
    for (series, group) in vector.iter().zip(&groups.of_series) {
        ctx.budget.tick(grid.len)?;
        of_groups[*group].add(ctx, node, series, span)?;
    }
    let mut result = Vec::with_capacity(of_groups.len());
    for group in of_groups {
        let mut series = Series::floats(group.labels, group.drop_name, group.column.finish());
        if let Some(histograms) = group.histograms {
            series.histograms = Some(histograms.finish(ctx, span, &mut series.values)?);
        }
        result.push(series);
    }
    result.retain(Series::is_present);
    if matches!(node.op, AggregateOp::Count | AggregateOp::Group) {
        // Their series come in any order.
        result.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(result)
}

/// A group while series are folded into it.
struct Group {
    labels: LabelSet,
    drop_name: bool,
    column: fold::Column,
    histograms: Option<histograms::Histograms>,
}

impl Group {
    fn add(
        &mut self,
        ctx: &Evaluator<'_>,
        node: &Aggregation,
        series: &Series,
        span: Span,
    ) -> Result<(), EvalError> {
        self.drop_name |= series.drop_name;
        let fold = match node.op {
            AggregateOp::Sum => histograms::Fold::Sum,
            AggregateOp::Avg => histograms::Fold::Avg,
            _ => {
                self.column.add(&series.values);
                let mut is_counted = true;
                for (step, _) in series.histogram_steps() {
                    is_counted &= self.column.count(step);
                }
                if !is_counted {
                    note_ignored(ctx, node, std::slice::from_ref(series), span);
                }
                return Ok(());
            }
        };
        match &self.histograms {
            // Floats count no more where histograms have failed to come together.
            Some(histograms) => {
                let mut floats = series.values.clone();
                let steps = (0..floats.len()).filter(|step| histograms.is_incompatible(*step));
                steps.for_each(|step| floats[step] = ABSENT);
                self.column.add(&floats);
            }
            None => self.column.add(&series.values),
        }
        if series.has_histogram() {
            let len = series.values.len();
            let new = || histograms::Histograms::new(fold, len);
            let column = &self.column;
            let histograms = self.histograms.get_or_insert_with(new);
            histograms.add(ctx, series, span, |step| column.has(step))?;
        }
        Ok(())
    }
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
        let drop_name = members.iter().any(|of| of.drop_name);
        result.push(Series::floats(labels, drop_name, values));
    }
    result.retain(Series::is_present);
    Ok(result)
}
