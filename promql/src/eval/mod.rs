//! Evaluation of a query: series by series, in columns over the steps.
//!
//! A query is planned first (`plan.rs`): which series are wanted from when to when; each is asked
//! for once. Then the tree is walked once, and every node works on whole columns. Windows slide
//! over a series' samples with two indices; grouping and matching keys are worked out once a series.
//!
//! # Invariants
//! - No clock, no thread, no socket: the caller's `Cancel` says when to stop.
//! - Values, order of float operations and texts are those of Prometheus 3.14.0.
//! - The stack's depth follows the tree's, never the number of links in a chain.
//!
//! Not here: parsing; turning an answer into JSON.

mod error;
mod grid;
mod params;
mod value;

pub use error::EvalError;
pub use params::{Cancel, EvalParams, Limits, Query};

use crate::source::SeriesSource;
use crate::value::Evaluation;

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
    let _ = (source, query, params);
    cancel.check()?;
    Err(EvalError::Internal("not there yet".into()))
}
