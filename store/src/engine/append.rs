//! Appending: a mutation goes into the commit log's line and into the head.
//!
//! # Invariants
//! - What is in the head is in line for the log before: a mutation that the log refuses is nowhere.
//! - What is news to one writer is not old to another whose record comes first.
//!
//! Not here: the log (`commit_log.rs`), which series are taken (`head.rs`).

use super::{AppendLimits, Appended, Engine, seconds};
use crate::commit_log::SyncFailed;
use crate::error::{Error, Result};
use crate::head::{Resolved, Tenant};
use crate::record;
use model::mutation::{MetricMetadata, Mutation, Written};
use model::{SeriesRef, TimestampMs};
use parking_lot::RwLockReadGuard;
use std::sync::atomic::Ordering;

impl Engine {
    /// Puts a mutation in line for the disk and into the head. Waits while somebody is alone with the log.
    ///
    /// # Errors
    /// [`Error::DiskReserve`] while the disk is nearly full, [`Error::LogFull`] and
    /// [`Error::RecordTooLarge`] from the log, [`Error::BadMutation`]; then
    /// no sample of it was kept.
    pub fn append(
        &self,
        mutation: &Mutation,
        limits: AppendLimits,
        now: TimestampMs,
    ) -> Result<Appended> {
        let shared = self.gate.read();
        self.append_within(&shared, mutation, limits, now)
    }

    /// As [`Engine::append`], for who may not wait: `None` while somebody wants to be alone, and nothing
    /// was done. That may take as long as the log takes to sync.
    pub fn try_append(
        &self,
        mutation: &Mutation,
        limits: AppendLimits,
        now: TimestampMs,
    ) -> Option<Result<Appended>> {
        let shared = self.gate.try_read()?;
        Some(self.append_within(&shared, mutation, limits, now))
    }

    fn append_within(
        &self,
        _shared: &RwLockReadGuard<'_, ()>,
        mutation: &Mutation,
        limits: AppendLimits,
        now: TimestampMs,
    ) -> Result<Appended> {
        self.reserve.check()?;
        let tenant = self.tenant(&mutation.context.tenant);
        let has_numbers =
            mutation.series.iter().any(|rows| matches!(rows.series, SeriesRef::Number(_)));
        if has_numbers && mutation.generation != tenant.generation {
            return Ok(Appended::NeedLabels);
        }
        let synced = self.log.synced_sequence();
        let Some(resolved) = tenant.resolve(mutation, limits, synced, seconds(now)) else {
            return Ok(Appended::NeedLabels);
        };
        let ticket = self.log_mutation(&tenant, mutation, &resolved, limits)?;
        let (samples, late) =
            tenant.apply(mutation, &resolved, ticket, seconds(now), limits.exemplars_max);
        self.versions.mark(&tenant.id, &mutation.timestamps_ms);
        self.appended.fetch_add(samples, Ordering::Relaxed);
        self.late.fetch_add(late, Ordering::Relaxed);
        let written = Written {
            generation: tenant.generation,
            numbers: resolved.named,
            refused: resolved.refused,
        };
        Ok(Appended::Queued { ticket, written })
    }

    /// Puts the mutation's record in line.
    fn log_mutation(
        &self,
        tenant: &Tenant,
        mutation: &Mutation,
        resolved: &Resolved,
        limits: AppendLimits,
    ) -> Result<u64> {
        // Held until the record is in line, so that what is news to one is not old to another
        // whose record comes first.
        let mut metadata = (!mutation.metadata.is_empty()).then(|| tenant.metadata.lock());
        let news: Vec<&MetricMetadata> = match &mut metadata {
            Some(held) => held.news(&mutation.metadata, limits.metadata_max),
            None => Vec::new(),
        };
        let parts = record::Parts {
            mutation,
            generation: tenant.generation,
            numbers: &resolved.numbers,
            carried: &resolved.carried,
            metadata: &news,
        };
        let record = match resolved.carried.is_empty() {
            // Without definitions the strings are not looked at, so nobody has to wait.
            true => record::encode(&parts, None),
            false => record::encode(&parts, Some(&tenant.symbols.read())),
        };
        let ticket = self.log.append(&record.ok_or(Error::BadMutation)?)?;
        if let Some(held) = &mut metadata {
            news.into_iter().for_each(|entry| held.insert(entry.clone()));
        }
        Ok(ticket)
    }

    /// Brings everything in line to the disk; returns the highest ticket that is there.
    ///
    /// It blocks while the disk works; appends go on meanwhile.
    ///
    /// # Errors
    /// [`SyncFailed`]: every ticket up to its `through` without an answer is refused.
    pub fn sync(&self) -> Result<u64, SyncFailed> {
        self.log.sync()
    }

    /// The highest ticket on disk.
    #[must_use]
    pub fn synced_ticket(&self) -> u64 {
        self.log.synced_sequence()
    }

    /// How many bytes wait for the commit log.
    #[must_use]
    pub fn log_pending_bytes(&self) -> usize {
        self.log.pending_bytes()
    }

    /// Says in the log how far it is on disk, so that later damage is told from a torn tail. To be
    /// called after a second without a write; without news it does nothing.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    pub fn idle_sync(&self) -> Result<u64, SyncFailed> {
        match self.log.mark() {
            Some(_) => self.log.sync(),
            None => Ok(self.log.synced_sequence()),
        }
    }
}
