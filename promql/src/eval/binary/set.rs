//! `and`, `or`, `unless`: step by step, by signature.

use super::matching::{By, signatures};
use crate::ast::{BinaryOp, Matching};
use crate::eval::column::Steps;
use crate::eval::error::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::grid::Grid;
use crate::eval::merge;
use crate::eval::value::{ABSENT, Series};

/// Applies a set operator.
pub(super) fn apply(
    ctx: &Evaluator<'_>,
    op: BinaryOp,
    matching: &Matching,
    mut left: Vec<Series>,
    mut right: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let numbers = signatures(&By::new(matching), &left, &right);
    ctx.budget.tick(left.len() + right.len())?;
    let is_or = op == BinaryOp::Or;
    let (asked, asked_numbers) =
        if is_or { (&left, &numbers.left) } else { (&right, &numbers.right) };
    let there = presence(ctx, asked, asked_numbers, numbers.count, grid)?;
    let (kept, kept_numbers) =
        if is_or { (&mut right, &numbers.right) } else { (&mut left, &numbers.left) };
    for (series, number) in kept.iter_mut().zip(kept_numbers) {
        ctx.budget.tick(grid.len)?;
        let Some(there) = &there[*number] else {
            if op == BinaryOp::And {
                series.values.fill(ABSENT);
                series.histograms = None;
            }
            continue;
        };
        for step in 0..series.values.len() {
            if there.has(step) != (op == BinaryOp::And) {
                series.erase(step);
            }
        }
    }
    kept.retain(Series::is_present);
    if !is_or {
        return Ok(left);
    }
    left.append(&mut right);
    merge::flags_of_first_step(&mut left);
    // At one instant equal labels stay side by side until the end, if names are dropped late.
    if grid.is_instant && ctx.params.delayed_name_removal {
        Ok(left)
    } else {
        merge::same_labels(left)
    }
}

/// The steps at which each signature is there; `None` if no series carries it.
fn presence(
    ctx: &Evaluator<'_>,
    vector: &[Series],
    numbers: &[usize],
    count: usize,
    grid: Grid,
) -> Result<Vec<Option<Steps>>, EvalError> {
    let mut there: Vec<Option<Steps>> = vec![None; count];
    for (series, number) in vector.iter().zip(numbers) {
        ctx.budget.tick(grid.len)?;
        let steps = there[*number].get_or_insert_with(|| Steps::none(grid.len));
        steps.add(series);
    }
    Ok(there)
}
