//! Asking for exemplars. They stay in the head as long as their series, within bounds per series and
//! per tenant; checkpoints and the commit log have them over a restart.
//!
//! Not here: how many are kept (`head/series.rs`, `head/shard.rs`).

use super::Engine;
use crate::error::Result;
use crate::select::compile;
use model::exemplar::SeriesExemplars;
use model::{Matcher, TenantId, TimeRange, TimestampMs};

impl Engine {
    /// The exemplars in `range` of the series that match all matchers of one of the sets, ascending
    /// by labels, each series' by time; without what is deleted, or older at `now` than the series is kept.
    ///
    /// # Errors
    /// [`Error::BadMatcher`](crate::Error::BadMatcher).
    pub fn exemplars(
        &self,
        tenant: &TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        now: TimestampMs,
    ) -> Result<Vec<SeriesExemplars>> {
        let sets = matcher_sets.iter().map(compile).collect::<Result<Vec<_>>>()?;
        let Some(held) = self.tenants.read().get(tenant).cloned() else {
            return Ok(Vec::new());
        };
        let mut found = held.exemplars(&sets, range);
        let stones = self.tombstones.read().touching(tenant, range.start.0, range.end.0);
        // As of the oldest rules that still have an effect: an exemplar does not say since when it is here.
        let hides = self.retention.read().clip(tenant, now).of_file(0);
        for series in &mut found {
            let value = |name: &str| series.labels.get(name).map_or("", |value| value);
            let ranges = stones.hidden(value).ranges(0);
            let is_seen = |at: i64| !ranges.iter().any(|(start, end)| (*start..*end).contains(&at));
            let first_ms = hides.first_shown_ms(value);
            let is_shown = |at: i64| first_ms <= at && is_seen(at);
            series.exemplars.retain(|exemplar| is_shown(exemplar.timestamp_ms));
        }
        found.retain(|series| !series.exemplars.is_empty());
        Ok(found)
    }
}
