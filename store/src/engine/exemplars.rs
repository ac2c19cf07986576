//! Asking for exemplars, and letting go of those that are deleted or too old. They stay in the head
//! within bounds per series and per tenant; checkpoints and the commit log have them over a restart.
//!
//! Not here: how many are kept, and which go for newer ones (`head/exemplars.rs`).

use super::Engine;
use super::read::metric_of;
use crate::error::{Error, Result};
use crate::head::Tenant;
use crate::retention::Hides;
use crate::select::compile;
use crate::tombstone::{Tombstones, Touching};
use model::exemplar::SeriesExemplars;
use model::read::ExemplarQuery;
use model::{LabelSet, Matcher, TenantId, TimeRange, TimestampMs};
use std::sync::Arc;

impl Engine {
    /// The exemplars that a query asks for, as [`Engine::exemplars`] gives them.
    ///
    /// # Errors
    /// [`Error::BadMatcher`]; [`Error::TooManySamples`] and [`Error::TooManyReadTombstones`] beyond the
    /// query's bounds.
    pub fn exemplars_at(
        &self,
        tenant: &TenantId,
        query: &ExemplarQuery,
        now: TimestampMs,
    ) -> Result<Vec<SeriesExemplars>> {
        let ExemplarQuery { matcher_sets, range, tombstones_max, .. } = query;
        let found = self.exemplars_within(tenant, matcher_sets, *range, now, *tombstones_max)?;
        let count: u64 = found.iter().map(|series| series.exemplars.len() as u64).sum();
        match count > query.exemplars_max {
            true => Err(Error::TooManySamples { samples_max: query.exemplars_max }),
            false => Ok(found),
        }
    }

    /// The exemplars in `range` of the series that match all matchers of one of the sets, ascending
    /// by labels, each series' by time; without what is deleted, or older at `now` than the series is
    /// kept.
    ///
    /// # Errors
    /// [`Error::BadMatcher`].
    pub fn exemplars(
        &self,
        tenant: &TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        now: TimestampMs,
    ) -> Result<Vec<SeriesExemplars>> {
        self.exemplars_within(tenant, matcher_sets, range, now, u64::MAX)
    }

    fn exemplars_within(
        &self,
        tenant: &TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        now: TimestampMs,
        tombstones_max: u64,
    ) -> Result<Vec<SeriesExemplars>> {
        let sets = matcher_sets.iter().map(compile).collect::<Result<Vec<_>>>()?;
        let Some(held) = self.tenants.read().get(tenant).cloned() else {
            return Ok(Vec::new());
        };
        let metric = match &sets[..] {
            [matchers] => metric_of(matchers),
            _ => None,
        };
        let span = (range.start.0, range.end.0);
        let all = Arc::clone(&self.tombstones.read());
        let stones = self.touching((&all, tombstones_max), tenant, span, metric)?;
        let mut found = held.exemplars(&sets, range);
        let hides = self.exemplars_hidden(tenant, now);
        for series in &mut found {
            let is_shown = shown(&stones, &hides, &series.labels);
            series.exemplars.retain(|exemplar| is_shown(exemplar.timestamp_ms));
        }
        found.retain(|series| !series.exemplars.is_empty());
        Ok(found)
    }

    /// Takes what is deleted or too old out of the head.
    pub(super) fn let_go_of_exemplars(
        &self,
        tenant: &Tenant,
        tombstones: &Tombstones,
        trusted: TimestampMs,
    ) {
        let stones = tombstones.touching(&tenant.id, i64::MIN, i64::MAX);
        let hides = self.exemplars_hidden(&tenant.id, trusted);
        tenant.retain_exemplars(|labels| shown(&stones, &hides, labels));
    }

    /// As of the oldest rules that still have an effect: an exemplar does not say since when it is here.
    fn exemplars_hidden(&self, tenant: &TenantId, now: TimestampMs) -> Hides {
        self.retention.read().clip(tenant, now).of_file(0)
    }
}

/// Whether exemplars of a series are shown, by their time.
fn shown(stones: &Touching, hides: &Hides, labels: &LabelSet) -> impl Fn(i64) -> bool + use<> {
    let value = |name: &str| labels.get(name).map_or("", |value| value);
    let deleted = stones.hidden(value).ranges(0);
    let first_ms = hides.first_shown_ms(value);
    move |at| first_ms <= at && !deleted.iter().any(|(start, end)| (*start..*end).contains(&at))
}
