//! `absent`, `absent_over_time`: 1 where nothing is.

use super::Args;
use crate::ast::Expr;
use crate::eval::column::Steps;
use crate::eval::{ABSENT, EvalError, Evaluator, Grid, Series};
use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};

/// `absent`
pub(super) fn absent(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let vector = args.vector(0)?;
    where_nothing_is(args.ctx, args.expr(0)?, &vector, args.grid)
}

/// `absent_over_time`, after each series has said where it has samples.
pub(crate) fn over_windows(
    ctx: &Evaluator<'_>,
    arg: &Expr,
    vector: &[Series],
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let mut absent = where_nothing_is(ctx, arg, vector, grid)?;
    absent.iter_mut().for_each(|series| series.drop_name = ctx.params.delayed_name_removal);
    Ok(absent)
}

fn where_nothing_is(
    ctx: &Evaluator<'_>,
    arg: &Expr,
    vector: &[Series],
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let mut there = Steps::none(grid.len);
    for series in vector {
        ctx.budget.tick(grid.len)?;
        there.add(series);
    }
    let value = |step| if there.has(step) { ABSENT } else { 1.0 };
    let values = ctx.budget.column_of((0..grid.len).map(value))?;
    let series = Series::floats(labels_of(arg), false, values);
    Ok(if series.is_present() { vec![series] } else { Vec::new() })
}

/// The labels that a selector fixes: by `=`, once.
fn labels_of(arg: &Expr) -> LabelSet {
    let matchers: &[Matcher] = match arg {
        Expr::Vector(node) => &node.matchers,
        Expr::Matrix(node) => &node.vector.matchers,
        _ => &[],
    };
    let mut labels = LabelSet::default();
    let mut fixed: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| &*matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !fixed.contains(&&*matcher.name) {
            fixed.push(&matcher.name);
            labels.set(matcher.name.clone(), matcher.value.clone());
        } else {
            labels.remove(&matcher.name);
        }
    }
    labels
}
