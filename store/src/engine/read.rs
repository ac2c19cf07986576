//! Reading: a question is asked of the head and then of the sstables, and put together.
//!
//! # Invariants
//! - The rules of retention are taken before the head, and the head before the sstables: what moves
//!   meanwhile is seen twice at most, and never missed.
//! - The tombstones that an answer leaves out are as new as any that its sstables were freed of: a
//!   delete is seen whole or not at all.
//!
//! Not here: what a question is and how answers are joined (`select.rs`).

use super::deleted_read::{self, DeletedRead};
use super::{Engine, READ_SSTABLES_WARN};
use crate::error::{Error, Result};
use crate::select::{Gather, Query, Together, Want};
use crate::tombstone::{Tombstones, Touching};
use model::matcher::CompiledMatcher;
use model::read::{
    Estimate, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, MetadataQuery, SelectBounds,
    Selection,
};
use model::{METRIC_NAME, Matcher, SeriesColumns, TenantId, Text, TimestampMs};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Engine {
    /// The series and samples of a selection, ascending by labels, that have not expired at `now`.
    ///
    /// # Errors
    /// [`Error::TooManySeries`], [`Error::TooManySamples`], [`Error::BadMatcher`],
    /// [`Error::Corrupt`], or what the disk says.
    pub fn select(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        now: TimestampMs,
    ) -> Result<Vec<SeriesColumns>> {
        self.gathered(tenant, selection, now, Gather::new(selection.bounds))
    }

    /// As [`Engine::select`], of one of several stores that answer together: while they gather, all of them
    /// hold no more than one may.
    ///
    /// # Errors
    /// As [`Engine::select`].
    pub fn select_together(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        now: TimestampMs,
        together: Arc<Together>,
    ) -> Result<Vec<SeriesColumns>> {
        let mut gather = Gather::new(selection.bounds);
        gather.count_together(together);
        self.gathered(tenant, selection, now, gather)
    }

    fn gathered(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        now: TimestampMs,
        mut gather: Gather,
    ) -> Result<Vec<SeriesColumns>> {
        if let Some(mut query) = Query::of_selection(selection)? {
            query.clip = self.retention.read().clip(tenant, now);
            gather.look_at(selection.wanted.clone());
            self.collect(tenant, &query, selection.bounds.tombstones_max, &mut gather)?;
        }
        gather.finish()
    }

    /// What a selection is likely to return, without decoding any sample.
    ///
    /// # Errors
    /// As [`Engine::select`].
    pub fn estimate(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        now: TimestampMs,
    ) -> Result<Estimate> {
        let mut estimate = Estimate::default();
        let Some(mut query) = Query::of_selection(selection)? else { return Ok(estimate) };
        query.clip = self.retention.read().clip(tenant, now);
        if let Some(tenant) = self.tenants.read().get(tenant).cloned() {
            tenant.estimate(&query, &mut estimate);
        }
        let tables = Arc::clone(&self.tables.read());
        tables.estimate(tenant, &query, &mut estimate)?;
        Ok(estimate)
    }

    /// Answers a question about labels at `now`; a series of which all has expired is not one any
    /// more. Names and values are of series with a sample in the days
    /// that the range touches, label sets of series with a sample in the range itself.
    ///
    /// # Errors
    /// As [`Engine::select`].
    pub fn labels(
        &self,
        tenant: &TenantId,
        query: &LabelQuery,
        now: TimestampMs,
    ) -> Result<LabelAnswer> {
        let want = match query.want {
            LabelWant::Series | LabelWant::SeriesPart(_) => Want::Presence,
            LabelWant::Names | LabelWant::Values(_) => Want::Possibility,
        };
        let limit = match query.limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let mut gather = match &query.want {
            LabelWant::Values(name) => Gather::of_texts(Some(name.clone()), limit),
            LabelWant::Names => Gather::of_texts(None, limit),
            LabelWant::Series => Gather::of_first(limit),
            LabelWant::SeriesPart(_) => Gather::new(SelectBounds {
                series_max: u64::try_from(limit).unwrap_or(u64::MAX),
                ..SelectBounds::NONE
            }),
        };
        let every: &[Vec<Matcher>] = &[Vec::new()];
        let sets = if query.matcher_sets.is_empty() { every } else { &query.matcher_sets };
        for matchers in sets {
            let tombstones_max = query.tombstones_max;
            if let Some(mut query) = Query::of_labels(query, matchers, want)? {
                query.clip = self.retention.read().clip(tenant, now);
                self.collect(tenant, &query, tombstones_max, &mut gather)?;
            }
        }
        Ok(match &query.want {
            LabelWant::Names | LabelWant::Values(_) => LabelAnswer::Texts(gather.finish_texts()),
            LabelWant::Series | LabelWant::SeriesPart(_) => {
                let mut series = gather.finish_labels();
                series.truncate(limit);
                LabelAnswer::Series(series)
            }
        })
    }

    /// Asks the head, and after it the sstables: what a flush takes out of the head is in an
    /// sstable before, so no sample is missed; one that is seen twice is joined. What the head
    /// gave is mostly newer, so it is decoded last.
    fn collect(
        &self,
        id: &TenantId,
        query: &Query,
        tombstones_max: u64,
        gather: &mut Gather,
    ) -> Result<()> {
        let tenant = self.tenants.read().get(id).cloned();
        let of_head =
            |gather: &mut Gather| tenant.as_ref().map(|t| t.collect(query, gather)).transpose();
        let before = Arc::clone(&self.tombstones.read());
        self.hide(id, query, (&before, tombstones_max), gather)?;
        let mark = gather.mark();
        let mut hits = of_head(gather)?;
        let mut tables = Arc::clone(&self.tables.read());
        // A file may be without what a delete hides that came in between, and others not yet.
        let mut later = Arc::clone(&self.tombstones.read());
        if later.through() != before.through() {
            if query.want != Want::Samples || gather.steps().is_some() {
                // The head was asked for less than it takes to leave something out afterwards.
                gather.ask_for_samples(mark);
                hits = of_head(gather)?;
                tables = Arc::clone(&self.tables.read());
                later = Arc::clone(&self.tombstones.read());
            }
            self.hide(id, query, (&later, tombstones_max), gather)?;
        }
        let collected = tables.collect(id, query, gather);
        collected.inspect_err(|error| self.faults.note_read(error))?;
        self.wide_reads.note(id, gather.take_wide(READ_SSTABLES_WARN));
        hits.map_or(Ok(()), |hits| hits.add(query, gather))
    }

    /// Makes the answer to a question leave out what is deleted.
    fn hide(
        &self,
        tenant: &TenantId,
        query: &Query,
        (tombstones, tombstones_max): (&Tombstones, u64),
        gather: &mut Gather,
    ) -> Result<()> {
        let span = (query.start_ms, query.end_ms);
        let metric = metric_of(&query.matchers);
        let touching = self.touching((tombstones, tombstones_max), tenant, span, metric)?;
        gather.hide(touching, query.want);
        Ok(())
    }

    /// Those of all tombstones that a read of `[start, end)` has to look at, of this metric only if
    /// it names one. Many of them are noted, and too many refused.
    pub(super) fn touching(
        &self,
        (tombstones, tombstones_max): (&Tombstones, u64),
        tenant: &TenantId,
        (start_ms, end_ms): (i64, i64),
        metric: Option<&Text>,
    ) -> Result<Touching> {
        let mut touching = tombstones.touching(tenant, start_ms, end_ms);
        if let Some(metric) = metric {
            touching.only_metric(metric);
        }
        let count = touching.len() as u64;
        let is_refused = count > tombstones_max;
        if is_refused || count > self.config.read_tombstones_warn {
            let (first_day, last_day) = deleted_read::days(start_ms, end_ms);
            self.deleted_reads.note(DeletedRead {
                tenant: tenant.clone(),
                metric: metric.cloned(),
                first_day,
                last_day,
                tombstones: count,
                is_refused,
            });
        }
        if is_refused {
            let tenant = tenant.clone();
            return Err(Error::TooManyReadTombstones { tombstones: count, tombstones_max, tenant });
        }
        Ok(touching)
    }

    /// The tenant's metadata, ascending by metric.
    #[must_use]
    pub fn metadata(&self, tenant: &TenantId, query: &MetadataQuery) -> MetadataAnswer {
        let Some(tenant) = self.tenants.read().get(tenant).cloned() else {
            return Vec::new();
        };
        let metadata = tenant.metadata.lock();
        match &query.metric {
            Some(metric) => metadata.get(metric).cloned().into_iter().collect(),
            None => metadata.iter().cloned().collect(),
        }
    }

    /// The tenants that hold anything here, ascending.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        let mut tenants: BTreeSet<TenantId> = self.tenants.read().keys().cloned().collect();
        tenants.extend(self.tables.read().tenants());
        tenants.into_iter().collect()
    }
}

/// The metric that matchers name, if they do.
pub(super) fn metric_of(matchers: &[CompiledMatcher]) -> Option<&Text> {
    let on_name = matchers.iter().filter(|matcher| *matcher.name == *METRIC_NAME);
    on_name.filter_map(|matcher| matcher.equal_to()).next()
}
