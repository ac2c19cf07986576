//! Stored histograms as the engine works with them: counted in floats, with the hints of a store
//! that knows what came before.

use super::evaluator::BucketsWanted;
use crate::histogram::{FloatHistogram, stats_hint, stored_hint};
use model::SeriesColumns;
use model::histogram::{Histogram, ResetHint};
use std::sync::Arc;

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
            // What came before was not fetched: the store may have told.
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
