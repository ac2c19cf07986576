//! The engine: the store's only public door.
//!
//! A mutation goes to the commit log's line and into the head, and is answered when the log has
//! been synced. Jobs bring the head into sstables. Reads put both together.
//!
//! # Invariants
//! - What is answered is on disk: in the log, or in an sstable that the manifest names.
//! - A record carries the definition of each series it uses until an earlier record with it is on
//!   disk, and once more after that; and no segment goes before a checkpoint holds the definitions
//!   that later segments use (DESIGN.md D15).
//! - There is no thread, clock or chance in here: whoever owns the engine brings them.
//!
//! Not here: the log (`commit_log.rs`), the head (`head.rs`), files (`sstable.rs`).

mod claim;
mod compact;
mod crowded;
mod delete;
mod deleted_read;
mod door;
mod exemplars;
mod faults;
mod flush;
mod forget;
mod import;
mod large_partition;
mod pass;
mod purge;
mod recover;
mod reserve;
mod retain;
mod scrub;
mod snapshot;
mod versions;
mod wide_read;

pub use compact::{Compaction, CompactionReport};
pub use crowded::CrowdedWindow;
pub use deleted_read::DeletedRead;
pub use door::{AppendLimits, Appended, FlushReason, Job, JobReport, OpenReport, Parts, Stats};
pub use import::{Import, ImportOptions, ImportReport};
pub(crate) use large_partition::PART_BYTES_MIN;
pub use large_partition::{LargePartition, PARTITION_BYTES_ALARM, PARTITION_BYTES_WARN};
pub use purge::PurgeReport;
pub use reserve::DiskSpace;
pub use retain::Expired;
pub use scrub::ScrubReport;
pub use versions::CHANGES;
pub use wide_read::{READ_SSTABLES_ALARM, READ_SSTABLES_WARN, WideRead};

use crate::checkpoint;
use crate::commit_log::{CommitLog, ReplayReport, SyncFailed};
use crate::compaction::space::Space;
use crate::compaction::window::Decider;
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format_marker;
use crate::head::{Resolved, Tenant};
use crate::manifest::{
    self, CHECKPOINT_DIRECTORY, LOG_DIRECTORY, Manifest, SSTABLE_DIRECTORY, State,
};
use crate::record;
use crate::retention::Retentions;
use crate::retention::trust::Trust;
use crate::select::{Gather, Query, Want};
use crate::sstable::tables::{Retired, Tables};
use crate::tombstone::Tombstones;
use claim::Claims;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::mutation::{MetricMetadata, Mutation, Written};
use model::read::{
    Estimate, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, MetadataQuery, SelectBounds,
    Selection,
};
use model::{Matcher, SeriesColumns, SeriesRef, TenantId, TimestampMs};
use parking_lot::{Mutex, RwLock};
use recover::Recovery;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// One node's store. Share it by `Arc`; every method takes `&self`.
///
/// Locks, in the order they are taken: `flushing`, `gate`, `tenants`, those of a tenant; `manifest`
/// is held for an edit only and comes before `tables` and `tombstones`; `claims` comes before
/// `tables` too, and no other lock is taken while it is held.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    parts: Parts,
    log: CommitLog,
    /// Shared by an append from its log record to the head; alone for the moment in which a flush
    /// begins, so that every record of the segments before is in the head by then.
    gate: RwLock<()>,
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>, RandomState>>,
    /// The live sstables. Readers take a snapshot, after they have read the head. It changes with
    /// the manifest held, so that the two go through the same states.
    tables: RwLock<Arc<Tables>>,
    /// What is worth compacting.
    decider: Decider,
    /// Which sstables jobs work on.
    claims: Arc<Mutex<Claims>>,
    /// Files that are no longer live, until the last reader that knew them as live has gone. A leaf.
    retired: Mutex<Vec<Retired>>,
    /// Files of edits that failed: nobody knows whether they are live on disk until a later edit
    /// succeeds. Changes with the manifest held.
    doubtful: Mutex<Vec<u64>>,
    /// One flush at a time.
    flushing: Mutex<()>,
    manifest: Mutex<Manifest>,
    /// What is kept how long. It changes with the manifest held; a reader takes it before the head
    /// and the tables: older rules on newer files hide nothing that came back.
    retention: RwLock<Arc<Retentions>>,
    /// How far the clock is believed. A leaf.
    trust: Mutex<Trust>,
    flushed_at_ms: AtomicI64,
    appended: AtomicU64,
    late: AtomicU64,
    /// What is deleted. It changes with the manifest held, as `tables` does.
    tombstones: RwLock<Arc<Tombstones>>,
    deleted_reads: deleted_read::DeletedReads,
    wide_reads: wide_read::WideReads,
    large: large_partition::LargeCounts,
    /// Somebody wants deleted bytes to leave the disk.
    purge_asked: purge::Asked,
    /// Files of which no tombstone up to a number hides anything, and that number. A leaf.
    looked_at: Mutex<BTreeMap<u64, u64>>,
    /// What is damaged.
    faults: faults::Faults,
    /// Its lock comes before `manifest`, `tables` and `claims`.
    scrub: scrub::Scrub,
    reserve: reserve::Reserve,
    /// What has changed.
    versions: versions::Versions,
}

impl Engine {
    /// Opens a store, or begins one in an empty directory.
    ///
    /// When this returns, every sample that was ever acknowledged can be read, but for those that
    /// the report names as lost.
    ///
    /// # Errors
    /// What the disk says; a format of a later release; a manifest or checkpoint that is damaged.
    pub fn open(parts: Parts, mut config: Config, now: TimestampMs) -> Result<(Self, OpenReport)> {
        let disk = Arc::clone(&parts.disk);
        prepare(&*disk)?;
        let reserve = reserve::Reserve::of(&*disk, &config)?;
        config.commit_log.free_bytes_min = reserve.bytes();
        let manifest = Manifest::open(Arc::clone(&disk))?;
        let tenants = RwLock::default();
        let make = |id: &TenantId| tenant_in(&tenants, id, &parts);
        let mut recovery = Recovery::new(&make, seconds(now), config.metadata_max);
        let (log, replay) = replay(&parts, &config, manifest.state(), &mut recovery)?;
        let mut report = OpenReport { replay, ..recovery.report };
        let tables = Tables::open(disk, manifest.state(), &config, &mut report)?;
        if report.replay.damage.is_empty() && report.records_damaged == 0 {
            manifest.remove_orphans()?;
        }
        let trust = retain::trust_at_start(manifest.state(), now, config.clock_step_max_ms);
        let retention = Retentions::default().recorded(manifest.state())?;
        let tombstones = RwLock::new(Arc::new(delete::tombstones_of(manifest.state())?));
        let engine = Self {
            log,
            retention: RwLock::new(Arc::new(retention)),
            trust: Mutex::new(trust),
            gate: RwLock::new(()),
            tenants,
            tables: RwLock::new(Arc::new(tables)),
            // Alone, or as one of a few: all tokens come here.
            decider: Decider::new(config.compaction.clone(), Space::default()),
            claims: Arc::default(),
            retired: Mutex::default(),
            doubtful: Mutex::default(),
            flushing: Mutex::new(()),
            manifest: Mutex::new(manifest),
            flushed_at_ms: AtomicI64::new(now.0),
            appended: AtomicU64::new(0),
            late: AtomicU64::new(0),
            tombstones,
            deleted_reads: deleted_read::DeletedReads::default(),
            wide_reads: wide_read::WideReads::default(),
            large: large_partition::LargeCounts::default(),
            purge_asked: purge::Asked::default(),
            looked_at: Mutex::default(),
            faults: faults::Faults::default(),
            scrub: scrub::Scrub::default(),
            reserve,
            versions: versions::Versions::default(),
            config,
            parts,
        };
        engine.quarantine_damaged(&report);
        report.series = engine.stats().series;
        Ok((engine, report))
    }

    /// Puts a mutation in line for the disk and into the head.
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
        self.reserve.check()?;
        let tenant = self.tenant(&mutation.context.tenant);
        let has_numbers =
            mutation.series.iter().any(|rows| matches!(rows.series, SeriesRef::Number(_)));
        if has_numbers && mutation.generation != tenant.generation {
            return Ok(Appended::NeedLabels);
        }
        let _shared = self.gate.read();
        let synced = self.log.synced_sequence();
        let Some(resolved) = tenant.resolve(mutation, limits, synced, seconds(now)) else {
            return Ok(Appended::NeedLabels);
        };
        let ticket = self.log_mutation(&tenant, mutation, &resolved)?;
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
    ) -> Result<u64> {
        // Held until the record is in line, so that what is news to one is not old to another
        // whose record comes first.
        let mut metadata = (!mutation.metadata.is_empty()).then(|| tenant.metadata.lock());
        let news: Vec<&MetricMetadata> = match &metadata {
            Some(held) => mutation
                .metadata
                .iter()
                .filter(|entry| held.is_news(entry, self.config.metadata_max))
                .collect(),
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

    /// The job that is due, if one is.
    #[must_use]
    pub fn next_job(&self, now: TimestampMs) -> Option<Job> {
        // First, for it gives space back and takes none: a flush may find no room without it.
        if self.is_expiry_due(now) {
            return Some(Job::Expire);
        }
        if let Some(job) = self.purge_job() {
            return Some(job);
        }
        let stats = self.stats();
        let tail_max = self.config.tail_samples_per_series.saturating_mul(stats.series);
        let flush = |reason| (stats.head_samples > 0).then_some(Job::Flush(reason));
        if self.reserve.takes_flush() {
            return flush(FlushReason::DiskReserve);
        }
        if stats.head_sample_bytes > self.config.head_bytes_max {
            return flush(FlushReason::MemoryPressure);
        }
        if stats.head_samples > tail_max.max(self.config.tail_samples_max) {
            return flush(FlushReason::LongTail);
        }
        let block = |at: i64| {
            at.saturating_sub(self.config.flush_slack_ms).div_euclid(self.config.block_ms.max(1))
        };
        let is_over = block(now.0) > block(self.flushed_at_ms.load(Ordering::Relaxed));
        if is_over { flush(FlushReason::BlockBorder) } else { None }
    }

    /// Does a job.
    ///
    /// # Errors
    /// What the disk says. Nothing is lost by it, and the job may be tried again.
    pub fn run(&self, job: Job, now: TimestampMs) -> Result<JobReport> {
        match job {
            Job::Flush(_) => self.flush_head(now),
            Job::Expire => self.expire(now),
        }
    }

    /// Brings the whole head into sstables.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn flush(&self, now: TimestampMs) -> Result<JobReport> {
        self.run(Job::Flush(FlushReason::Asked), now)
    }

    /// Flushes the head and leaves the log with an idle mark.
    ///
    /// # Errors
    /// What the disk says.
    pub fn close(&self, now: TimestampMs) -> Result<JobReport> {
        self.log.sync().map_err(|failed| failed.error)?;
        let report = self.flush(now)?;
        self.idle_sync().map_err(|failed| failed.error)?;
        Ok(report)
    }

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
        let mut gather = Gather::new(selection.bounds);
        if let Some(mut query) = Query::of_selection(selection)? {
            query.clip = self.retention.read().clip(tenant, now);
            self.hide(tenant, &query, &mut gather)?;
            self.collect(tenant, &query, &mut gather)?;
        }
        gather.finish()
    }

    /// What a selection is likely to return, without a look at any sample.
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
            LabelWant::Series => Want::Presence,
            LabelWant::Names | LabelWant::Values(_) => Want::Possibility,
        };
        let limit = match query.limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let mut gather = match &query.want {
            LabelWant::Values(name) => Gather::of_texts(Some(name.clone()), limit),
            LabelWant::Names => Gather::of_texts(None, limit),
            LabelWant::Series => Gather::new(SelectBounds::NONE),
        };
        let every: &[Vec<Matcher>] = &[Vec::new()];
        let sets = if query.matcher_sets.is_empty() { every } else { &query.matcher_sets };
        for matchers in sets {
            if let Some(mut query) = Query::of_labels(query, matchers, want)? {
                query.clip = self.retention.read().clip(tenant, now);
                self.hide(tenant, &query, &mut gather)?;
                self.collect(tenant, &query, &mut gather)?;
            }
        }
        Ok(match &query.want {
            LabelWant::Names | LabelWant::Values(_) => LabelAnswer::Texts(gather.finish_texts()),
            LabelWant::Series => {
                let mut series = gather.finish_labels();
                series.truncate(limit);
                LabelAnswer::Series(series)
            }
        })
    }

    /// Asks the head, and after it the sstables: what a flush takes out of the head is in an
    /// sstable before, so no sample is missed; one that is seen twice is joined. What the head
    /// gave is mostly newer, so it is decoded last.
    fn collect(&self, id: &TenantId, query: &Query, gather: &mut Gather) -> Result<()> {
        let tenant = self.tenants.read().get(id).cloned();
        let hits = tenant.map(|tenant| tenant.collect(query, gather));
        let tables = Arc::clone(&self.tables.read());
        let collected = tables.collect(id, query, gather);
        collected.inspect_err(|error| self.faults.note_read(error))?;
        self.wide_reads.note(id, gather.take_wide(READ_SSTABLES_WARN));
        hits.map_or(Ok(()), |hits| hits.add(query, gather))
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

    /// Sizes, for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (reads_tombstones_warned_total, reads_tombstones_refused_total) =
            self.deleted_reads.counts();
        let (reads_sstables_warned_total, reads_sstables_alarmed_total) = self.wide_reads.counts();
        let mut stats = Stats {
            log_pending_bytes: self.log.pending_bytes() as u64,
            log_segments: self.log.segments().map_or(0, |segments| segments.len() as u64),
            samples_appended_total: self.appended.load(Ordering::Relaxed),
            samples_late_total: self.late.load(Ordering::Relaxed),
            overlap_max: self.overlap_max(),
            tombstones: self.tombstones.read().len() as u64,
            reads_tombstones_warned_total,
            reads_tombstones_refused_total,
            reads_sstables_warned_total,
            reads_sstables_alarmed_total,
            ..Stats::default()
        };
        let tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        stats.tenants = tenants.len() as u64;
        for tenant in tenants {
            let (series, created) = tenant.series();
            stats.series += series;
            stats.series_created_total += created;
            for shard in tenant.shards() {
                stats.head_samples += shard.samples;
                stats.head_sample_bytes += shard.sample_bytes;
                stats.exemplars += shard.exemplars;
                stats.exemplars_lost_limit_total += shard.exemplars_lost.limit;
                stats.exemplars_lost_idle_total += shard.exemplars_lost.idle;
            }
        }
        let tables = Arc::clone(&self.tables.read());
        tables.count(&mut stats);
        (stats.partitions_large, stats.partitions_alarming) = self.large.get();
        (stats.damaged_blocks, stats.reads_damaged_total) =
            self.faults.counts(|path| tables.has_path(path));
        (stats.disk_free_bytes, stats.disk_is_short) = self.reserve.state();
        stats.disk_reserve_bytes = self.reserve.bytes();
        let scrubbed = &self.scrub;
        stats.scrubbed_bytes_total = scrubbed.bytes.load(Ordering::Relaxed);
        stats.scrub_cycles_total = scrubbed.cycles.load(Ordering::Relaxed);
        stats.scrub_faults_total = scrubbed.faults.load(Ordering::Relaxed);
        stats.scrub_completed_ms = scrubbed.completed_ms.load(Ordering::Relaxed);
        stats
    }

    fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        tenant_in(&self.tenants, id, &self.parts)
    }
}

/// Sees to it that the directory is one of ours, and clean.
fn prepare(disk: &dyn Disk) -> Result<()> {
    format_marker::check(disk)?;
    crate::snapshot::remove_leftovers(disk)?;
    for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
        disk.create_dir(directory)?;
    }
    disk.sync_dir("")
}

/// Puts what the checkpoint and the log hold into the head.
fn replay(
    parts: &Parts,
    config: &Config,
    state: &State,
    recovery: &mut Recovery<'_>,
) -> Result<(CommitLog, ReplayReport)> {
    if let Some(checkpoint) = state.checkpoint {
        let path = manifest::checkpoint_path(checkpoint.id);
        checkpoint::read(&*parts.disk, &path, &mut |frame| recovery.frame(&path, frame))?;
    }
    CommitLog::open(
        Arc::clone(&parts.disk),
        LOG_DIRECTORY,
        config.commit_log.clone(),
        parts.generation_seed,
        state.log_from_segment(),
        &mut |record| {
            if !record.payload.is_empty() {
                recovery.record(record.payload);
            }
            Ok(())
        },
    )
}

/// The tenant of this name, which begins with its first write.
fn tenant_in(
    tenants: &RwLock<HashMap<TenantId, Arc<Tenant>, RandomState>>,
    id: &TenantId,
    parts: &Parts,
) -> Arc<Tenant> {
    if let Some(tenant) = tenants.read().get(id) {
        return Arc::clone(tenant);
    }
    let make = || Arc::new(Tenant::new(id.clone(), &parts.cluster_name, parts.generation_seed));
    Arc::clone(tenants.write().entry(id.clone()).or_insert_with(make))
}

/// Seconds since 1970, as far as they go.
fn seconds(now: TimestampMs) -> u32 {
    u32::try_from((now.0 / 1000).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod rot_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod type_tests;
