//! Asking for exemplars. They stay in the head as long as their series, within bounds per series and
//! per tenant; checkpoints and the commit log have them over a restart.
//!
//! Not here: how many are kept (`head/series.rs`, `head/shard.rs`).

use super::Engine;
use crate::error::{Error, Result};
use crate::select::compile;
use model::exemplar::SeriesExemplars;
use model::read::ExemplarQuery;
use model::{Matcher, TenantId, TimeRange, TimestampMs};

impl Engine {
    /// The exemplars that a query asks for: as [`Engine::exemplars`], within its bound.
    ///
    /// # Errors
    /// As [`Engine::exemplars`], and [`Error::TooManySamples`].
    pub fn exemplars_at(
        &self,
        tenant: &TenantId,
        query: &ExemplarQuery,
        now: TimestampMs,
    ) -> Result<Vec<SeriesExemplars>> {
        let found = self.exemplars(tenant, &query.matcher_sets, query.range, now)?;
        let count: u64 = found.iter().map(|series| series.exemplars.len() as u64).sum();
        match count > query.exemplars_max {
            true => Err(Error::TooManySamples { samples_max: query.exemplars_max }),
            false => Ok(found),
        }
    }

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
