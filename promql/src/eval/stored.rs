//! Stored histograms as the engine works with them: counted in floats, with the hints of a store
//! that knows what came before.

use super::error::EvalError;
use super::evaluator::BucketsWanted;
use super::params::EvalParams;
use crate::histogram::{FloatHistogram, stats_hint, stored_hint};
use crate::plan::Need;
use crate::source::SeriesSource;
use model::histogram::{Histogram, ResetHint};
use model::{QueryShard, SeriesColumns};
use std::sync::Arc;

/// Fetches what a selector needs, or a part of it.
pub(super) fn fetch(
    source: &dyn SeriesSource,
    need: &Need,
    shard: QueryShard,
    params: &EvalParams,
) -> Result<Vec<SeriesColumns>, EvalError> {
    let bounds = params.limits.select_bounds();
    let mut series = source.select(&need.selection(shard, bounds))?;
    if need.shows_hints && series.iter().any(begins_with_a_counter) {
        let earlier = match need.before(params.lookback_ms) {
            Some(before) => source.select(&before.selection(shard, bounds))?,
            None => Vec::new(),
        };
        hint_first(&mut series, &earlier);
    }
    Ok(series)
}

/// Whether the first sample is a histogram that may go on from one before.
fn begins_with_a_counter(series: &SeriesColumns) -> bool {
    let (Some(time), Some(first)) =
        (series.histograms.timestamps_ms.first(), series.histograms.values.first())
    else {
        return false;
    };
    let is_first = series.floats.timestamps_ms.first().is_none_or(|float| time < float);
    is_first && !first.is_stale() && matches!(first.reset_hint, ResetHint::Unknown | ResetHint::No)
}

/// Gives the first histograms the hints that they have after what was there before. Both lists
/// ascend by labels.
fn hint_first(series: &mut [SeriesColumns], earlier: &[SeriesColumns]) {
    for of in series.iter_mut().filter(|of| begins_with_a_counter(of)) {
        let place = earlier.binary_search_by(|before| before.labels.cmp(&of.labels));
        let before = place.ok().map(|at| &earlier[at]).and_then(|before| {
            let (floats, histograms) = (&before.floats, &before.histograms);
            let is_last = floats.timestamps_ms.last() < histograms.timestamps_ms.last();
            histograms.values.last().filter(|_| is_last)
        });
        if let Some(first) = of.histograms.values.first_mut() {
            let hint = stored_hint(before.map(|before| &**before), first);
            if hint != first.reset_hint {
                Arc::make_mut(first).reset_hint = hint;
            }
        }
    }
}

/// The histograms of one fetched series.
pub(super) struct Stored<'a> {
    series: &'a SeriesColumns,
    /// The first one that the selector can see.
    first: usize,
    with_buckets: bool,
    /// The one that was asked for last.
    last: Option<(usize, Arc<FloatHistogram>)>,
}

impl<'a> Stored<'a> {
    /// The histograms of a series for a selector that sees them from `first_ms` on.
    pub(super) fn new(series: &'a SeriesColumns, first_ms: i64, wanted: BucketsWanted) -> Self {
        let first = series.histograms.timestamps_ms.partition_point(|time| *time < first_ms);
        Self { series, first, with_buckets: wanted != BucketsWanted::None, last: None }
    }

    /// When the histograms were.
    pub(super) fn times_ms(&self) -> &'a [i64] {
        &self.series.histograms.timestamps_ms
    }

    /// Since when they count up; empty if it is not known of any.
    pub(super) fn starts_ms(&self) -> &'a [i64] {
        &self.series.histograms.start_timestamps_ms
    }

    /// The histogram at this place of the column.
    pub(super) fn get(&mut self, index: usize) -> Arc<FloatHistogram> {
        if let Some((have, histogram)) = &self.last
            && *have == index
        {
            return Arc::clone(histogram);
        }
        let stored = &self.series.histograms.values[index];
        let hint = self.hint(index);
        let histogram = if self.with_buckets {
            let like = self.last.as_ref().map(|(_, histogram)| &**histogram);
            FloatHistogram::like(stored, like).with_hint(hint)
        } else {
            let hint = stats_hint(hint, self.alive_before(index), stored);
            FloatHistogram::without_buckets(stored).with_hint(hint)
        };
        let histogram = Arc::new(histogram);
        self.last = Some((index, Arc::clone(&histogram)));
        histogram
    }

    fn hint(&self, index: usize) -> ResetHint {
        let column = &self.series.histograms;
        let (now, time) = (&column.values[index], column.timestamps_ms[index]);
        let floats = &self.series.floats.timestamps_ms;
        let float_before = floats.partition_point(|float| *float < time).checked_sub(1);
        let Some(before) = index.checked_sub(1) else {
            // What came before was looked at when this was fetched.
            return match now.reset_hint {
                ResetHint::No if float_before.is_none() => ResetHint::No,
                _ => stored_hint(None, now),
            };
        };
        let is_next = float_before.is_none_or(|at| floats[at] < column.timestamps_ms[before]);
        stored_hint(is_next.then(|| &*column.values[before]), now)
    }

    /// The last histogram before this one that is no stale marker.
    fn alive_before(&self, index: usize) -> Option<&'a Histogram> {
        let before = self.series.histograms.values.get(self.first..index)?;
        before.iter().rev().find(|histogram| !histogram.is_stale()).map(|histogram| &**histogram)
    }
}
