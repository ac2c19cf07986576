//! Binary operators: which operands, and how series find each other.

mod arithmetic;
mod elements;
mod matching;
mod set;
mod vector;

use super::column;
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::value::{ABSENT, Scalar, Series, Val, is_absent};
use crate::ast::{BinaryOp, Link};
use arithmetic::{Outcome, apply as compute};
use elements::{Element, Note, Operand, StepNotes};
use std::sync::Arc;

/// Applies one link of a chain.
pub(crate) fn apply(
    ctx: &Evaluator<'_>,
    link: &Link,
    left: Val,
    right: Val,
    grid: Grid,
) -> Result<Val, EvalError> {
    match (left, right) {
        (Val::Scalar(left), Val::Scalar(right)) => scalars(ctx, link, &left, &right, grid),
        (Val::Vector(left), Val::Scalar(right)) => {
            with_scalar(ctx, link, left, &right, false).map(Val::Vector)
        }
        (Val::Scalar(left), Val::Vector(right)) => {
            with_scalar(ctx, link, right, &left, true).map(Val::Vector)
        }
        (Val::Vector(left), Val::Vector(right)) => {
            let Some(matching) = link.matching.as_deref() else {
                return Err(EvalError::internal("two vectors without matching"));
            };
            let vector = if link.op.is_set() {
                set::apply(ctx, link.op, matching, left, right, grid)?
            } else {
                vector::apply(ctx, link, matching, left, right, grid)?
            };
            Ok(Val::Vector(vector))
        }
        _ => Err(EvalError::internal("a string is no operand")),
    }
}

fn scalars(
    ctx: &Evaluator<'_>,
    link: &Link,
    left: &Scalar,
    right: &Scalar,
    grid: Grid,
) -> Result<Val, EvalError> {
    if trims(link.op) {
        let op = link.op.as_str();
        let text = format!("operator \"{op}\" not allowed for Scalar operations");
        return Err(EvalError::Unexecutable(text));
    }
    let value = |step| match compute(link.op, left.at(step), right.at(step)) {
        Outcome::Value(value) => value,
        Outcome::Compared(holds) => f64::from(u8::from(holds)),
    };
    let scalar = match (left, right) {
        (Scalar::Same(_), Scalar::Same(_)) => Scalar::Same(value(0)),
        _ => Scalar::Steps(ctx.budget.column_of((0..grid.len).map(value))?),
    };
    Ok(Val::Scalar(scalar))
}

/// A vector and a scalar. A comparison that filters keeps the vector's value, on whichever side it
/// stands.
fn with_scalar(
    ctx: &Evaluator<'_>,
    link: &Link,
    mut vector: Vec<Series>,
    scalar: &Scalar,
    is_swapped: bool,
) -> Result<Vec<Series>, EvalError> {
    let mut notes = StepNotes::default();
    let is_trim = trims(link.op);
    let compute = |step, value: f64| {
        let scalar = scalar.at(step);
        let outcome = if is_swapped {
            compute(link.op, scalar, value)
        } else {
            compute(link.op, value, scalar)
        };
        match outcome {
            Outcome::Value(value) => value,
            Outcome::Compared(holds) if link.return_bool => f64::from(u8::from(holds)),
            Outcome::Compared(true) => value,
            Outcome::Compared(false) => ABSENT,
        }
    };
    let drops_name = changes_meaning(link.op) || link.return_bool;
    for series in &mut vector {
        if is_trim {
            ctx.budget.tick(series.values.len())?;
            drop_floats(series, &mut notes);
        } else {
            column::map(&ctx.budget, &mut series.values, compute)?;
        }
        if series.histograms.is_some() {
            histograms_with_scalar(ctx, link, series, scalar, is_swapped, &mut notes)?;
        }
        if drops_name {
            ctx.drop_name(series);
        }
    }
    notes.tell(ctx, link.op, link.span);
    if is_trim || link.op.is_comparison() && !link.return_bool {
        vector.retain(Series::is_present);
        return Ok(vector);
    }
    if drops_name { ctx.merge_dropped(vector) } else { Ok(vector) }
}

/// Whether the operator trims histograms: it has no meaning for floats.
pub(crate) fn trims(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
}

/// Floats mean nothing to an operator that trims.
fn drop_floats(series: &mut Series, notes: &mut StepNotes) {
    for (step, value) in series.values.iter_mut().enumerate() {
        if !is_absent(*value) {
            notes.put(step, Note::Kinds("float", "float"));
            *value = ABSENT;
        }
    }
}

fn histograms_with_scalar(
    ctx: &Evaluator<'_>,
    link: &Link,
    series: &mut Series,
    scalar: &Scalar,
    is_swapped: bool,
    notes: &mut StepNotes,
) -> Result<(), EvalError> {
    let points = series.histograms.take().unwrap_or_default();
    for (step, point) in points.iter().enumerate() {
        let Some(histogram) = point else { continue };
        ctx.budget.tick(1)?;
        let (vector, scalar) = (Operand::Histogram(histogram), Operand::Float(scalar.at(step)));
        let (left, right) = if is_swapped { (scalar, vector) } else { (vector, scalar) };
        let (element, note) = elements::apply(link.op, left, right);
        note.into_iter().for_each(|note| notes.put(step, note));
        if let Element::Histogram(histogram) = element {
            ctx.budget.take_bytes(histogram.bytes())?;
            series.put(step, Arc::new(histogram));
        }
    }
    Ok(())
}

/// Whether the result is no longer what the metric's name says.
fn changes_meaning(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Div | Mul | Pow | Mod | Atan2)
}
