//! Series that have come to have the same labels are one series, if they are never there at the
//! same time.

use super::error::EvalError;
use super::value::Series;
use model::LabelSet;
use std::collections::HashMap;

/// Joins series of the same labels. The first one's place and flags stay.
///
/// # Errors
/// If two of them have a sample at the same step.
pub(crate) fn same_labels(vector: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    if !has_same_labels(&vector) {
        return Ok(vector);
    }
    let mut places: HashMap<LabelSet, usize> = HashMap::with_capacity(vector.len());
    let mut merged: Vec<Series> = Vec::with_capacity(vector.len());
    for series in vector {
        match places.get(&series.labels) {
            Some(place) => join(&mut merged[*place], &series)?,
            None => {
                places.insert(series.labels.clone(), merged.len());
                merged.push(series);
            }
        }
    }
    Ok(merged)
}

fn join(into: &mut Series, from: &Series) -> Result<(), EvalError> {
    for step in 0..from.values.len() {
        if !from.has(step) {
            continue;
        }
        if into.has(step) {
            return Err(EvalError::same_labels());
        }
        into.copy_step(step, from);
    }
    Ok(())
}

/// Whether two series have the same labels.
pub(crate) fn has_same_labels(vector: &[Series]) -> bool {
    // The common case needs no table: what a selector gave is in order.
    if vector.is_sorted_by(|a, b| a.labels < b.labels) {
        return false;
    }
    let mut seen = std::collections::HashSet::with_capacity(vector.len());
    !vector.iter().all(|series| seen.insert(&series.labels))
}
