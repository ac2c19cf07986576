//! Series that have come to have the same labels are one series, if they are never there at the
//! same time.

use super::error::EvalError;
use super::value::{ABSENT, Series, is_absent};
use model::{LabelSet, SeriesColumns};
use std::collections::HashMap;
use std::sync::Arc;

/// Joins series of the same labels. The first one's place and flags stay.
///
/// # Errors
/// If two of them have a sample at the same step.
pub(crate) fn same_labels(vector: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    joined(vector, join)
}

/// As [`same_labels`], of series that came to have the same labels as a whole, not step by step: a float and
/// a histogram may meet at a step, and there the histogram stays.
///
/// # Errors
/// If two of them have a float at the same step, or two a histogram.
pub(crate) fn same_labels_by_kind(vector: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut merged = joined(vector, join_by_kind)?;
    for series in &mut merged {
        for (point, value) in series.histograms.iter().flatten().zip(&mut series.values) {
            if point.is_some() {
                *value = ABSENT;
            }
        }
    }
    Ok(merged)
}

fn joined(
    vector: Vec<Series>,
    join: fn(&mut Series, &Series) -> Result<(), EvalError>,
) -> Result<Vec<Series>, EvalError> {
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

/// Gives series of the same labels the flags of the one that is there first: what is put together
/// step by step is as its first sample is.
pub(crate) fn flags_of_first_step(vector: &mut [Series]) {
    let is_mixed = vector.windows(2).any(|two| two[0].drop_name != two[1].drop_name);
    if !is_mixed || !has_same_labels(vector) {
        return;
    }
    let first_step = |of: &Series| {
        let len = of.values.len();
        (0..len).find(|step| of.has(*step)).unwrap_or(len)
    };
    let mut first: HashMap<LabelSet, (usize, bool)> = HashMap::new();
    for series in &*vector {
        let own = (first_step(series), series.drop_name);
        let have = first.entry(series.labels.clone()).or_insert(own);
        if own.0 < have.0 {
            *have = own;
        }
    }
    for series in vector {
        series.drop_name = first.get(&series.labels).map_or(series.drop_name, |first| first.1);
    }
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

/// For now a step may have both a float and a histogram, so that a third series is told what is there.
fn join_by_kind(into: &mut Series, from: &Series) -> Result<(), EvalError> {
    for (have, new) in into.values.iter_mut().zip(&from.values) {
        if is_absent(*new) {
            continue;
        }
        if !is_absent(*have) {
            return Err(EvalError::same_labels());
        }
        *have = *new;
    }
    for (step, histogram) in from.histogram_steps() {
        if into.histogram(step).is_some() {
            return Err(EvalError::same_labels());
        }
        into.put(step, Arc::clone(histogram));
    }
    Ok(())
}

/// Joins columns of the same labels, which stand side by side.
///
/// # Errors
/// If two of them have a sample at the same time.
pub(crate) fn same_columns(series: Vec<SeriesColumns>) -> Result<Vec<SeriesColumns>, EvalError> {
    let mut joined: Vec<SeriesColumns> = Vec::with_capacity(series.len());
    for of in series {
        match joined.last_mut() {
            Some(last) if last.labels == of.labels => {
                let (have, new) = (std::mem::take(last), of);
                *last = join_columns(have, &new)?;
            }
            _ => joined.push(of),
        }
    }
    Ok(joined)
}

fn join_columns(have: SeriesColumns, new: &SeriesColumns) -> Result<SeriesColumns, EvalError> {
    let mut joined = SeriesColumns { labels: have.labels.clone(), ..SeriesColumns::default() };
    let floats = |of: &SeriesColumns| (0..of.floats.len()).map(|at| of.floats.sample(at)).collect();
    let (mut all, more): (Vec<_>, Vec<_>) = (floats(&have), floats(new));
    all.extend(more);
    all.sort_by_key(|sample| sample.timestamp_ms);
    let histograms =
        |of: &SeriesColumns| (0..of.histograms.len()).map(|at| of.histograms.sample(at)).collect();
    let (mut counted, more): (Vec<_>, Vec<_>) = (histograms(&have), histograms(new));
    counted.extend(more);
    counted.sort_by_key(|sample| sample.timestamp_ms);
    let meet = all.windows(2).any(|two| two[0].timestamp_ms == two[1].timestamp_ms)
        || counted.windows(2).any(|two| two[0].timestamp_ms == two[1].timestamp_ms);
    if meet {
        return Err(EvalError::same_labels());
    }
    all.iter().for_each(|sample| joined.floats.push_sample(sample));
    counted.into_iter().for_each(|sample| joined.histograms.push_sample(sample));
    Ok(joined)
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
