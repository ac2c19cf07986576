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

mod append;
mod backend;
mod claim;
mod compact;
mod crowded;
mod delete;
mod deleted_read;
mod described;
mod door;
mod exemplars;
mod faults;
mod flush;
mod forget;
mod idle;
mod import;
mod jobs;
mod large_metric;
mod large_partition;
mod pass;
mod purge;
mod read;
mod recover;
mod renumber;
mod reserve;
mod retain;
mod scrub;
mod snapshot;
mod stats;
mod versions;
mod wide_read;

pub use crate::select::Together;
pub use backend::Backend;
pub use compact::{Compaction, CompactionReport};
pub use crowded::CrowdedWindow;
pub use deleted_read::DeletedRead;
pub use door::{AppendLimits, Appended, FlushReason, Job, JobReport, OpenReport, Parts, Stats};
pub use import::{Import, ImportOptions, ImportReport};
pub use large_metric::LargeMetric;
pub(crate) use large_partition::PART_BYTES_MIN;
pub use large_partition::{LargePartition, PARTITION_BYTES_ALARM, PARTITION_BYTES_WARN};
pub use purge::PurgeReport;
pub use reserve::DiskSpace;
pub use retain::Expired;
pub use scrub::ScrubReport;
pub use versions::CHANGES;
pub use wide_read::{READ_SSTABLES_ALARM, READ_SSTABLES_WARN, WideRead};

use crate::checkpoint;
use crate::commit_log::{LogSink, ReplayReport};
use crate::compaction::space::Space;
use crate::compaction::window::Decider;
use crate::config::Config;
use crate::error::Result;
use crate::head::Tenant;
use crate::manifest::{self, ManifestSink, State};
use crate::retention::Retentions;
use crate::retention::trust::Trust;
use crate::sstable::tables::{Retired, Tables};
use crate::tombstone::Tombstones;
use claim::Claims;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{TenantId, TimestampMs};
use parking_lot::{Mutex, RwLock};
use recover::Recovery;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

/// One node's store. Share it by `Arc`; every method takes `&self`.
///
/// Locks, in the order they are taken: `flushing`, `gate`, `tenants`, those of a tenant; `manifest`
/// is held for an edit only and comes before `tables` and `tombstones`; `claims` comes before
/// `tables` too, and no other lock is taken while it is held.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    parts: Parts,
    log: Box<dyn LogSink>,
    /// Shared by an append from its log record to the head; alone for the moment in which a flush
    /// begins, so that every record of the segments before is in the head by then. But for a flush of
    /// one moment nobody waits for a disk while it is alone.
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
    doubtful: Mutex<Vec<Retired>>,
    /// One flush at a time.
    flushing: Mutex<()>,
    manifest: Mutex<Box<dyn ManifestSink>>,
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
    /// Places of the commit log that were damaged when it was opened.
    log_damaged: u64,
    /// Somebody wants deleted bytes to leave the disk.
    purge_asked: purge::Asked,
    /// A purge has taken samples of which the metric may be gone; also at a start, for the one before
    /// may not have come so far.
    has_purged: AtomicBool,
    /// Files of which no tombstone up to a number hides anything, and that number. A leaf.
    looked_at: Mutex<BTreeMap<u64, u64>>,
    /// Files of which a tombstone may hide something, and since when that is known. A leaf.
    to_purge: Mutex<BTreeMap<u64, TimestampMs>>,
    /// What is damaged.
    faults: faults::Faults,
    /// Its lock comes before `manifest`, `tables` and `claims`.
    scrub: scrub::Scrub,
    reserve: reserve::Reserve,
    /// What has changed.
    versions: versions::Versions,
    forgotten: idle::Forgotten,
}

impl Engine {
    /// Opens a store, or begins one in an empty directory.
    ///
    /// When this returns, every sample that was ever acknowledged can be read, but for those that
    /// the report names as lost.
    ///
    /// # Errors
    /// What the disk says; a format of a later release; a manifest or checkpoint that is damaged.
    pub fn open(parts: Parts, config: Config, now: TimestampMs) -> Result<(Self, OpenReport)> {
        let directory = backend::Directory(Arc::clone(&parts.disk));
        match Self::open_on(&directory, parts.clone(), config.clone(), now) {
            // A start writes: the manifest anew, and the end of the log. What it began is no more
            // to the next one than what a crash leaves.
            Err(error) if error.is_full() && reserve::make_room(&*parts.disk).is_ok() => {
                Self::open_on(&directory, parts, config, now)
            }
            opened => opened,
        }
    }

    /// Opens a store on something else than a directory; [`Parts::disk`] is the backend's.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_on(
        backend: &dyn Backend,
        parts: Parts,
        mut config: Config,
        now: TimestampMs,
    ) -> Result<(Self, OpenReport)> {
        let disk = Arc::clone(&parts.disk);
        let manifest = backend.open_manifest()?;
        let reserve = reserve::Reserve::of(&*disk, &config)?;
        config.commit_log.free_bytes_min = reserve.bytes();
        let tenants = RwLock::default();
        let make =
            |id: &TenantId| tenant_in(&tenants, id, &parts.cluster_name, || parts.generation_seed);
        let mut recovery = Recovery::new(&make, seconds(now));
        let (log, replay) = replay(backend, &parts, &config, manifest.state(), &mut recovery)?;
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
            log_damaged: report.replay.damage.len() as u64 + report.records_damaged,
            purge_asked: purge::Asked::default(),
            has_purged: AtomicBool::new(true),
            looked_at: Mutex::default(),
            to_purge: Mutex::default(),
            faults: faults::Faults::default(),
            scrub: scrub::Scrub::default(),
            reserve,
            versions: versions::Versions::default(),
            forgotten: idle::Forgotten::default(),
            config,
            parts,
        };
        engine.quarantine_damaged(&report);
        report.series = engine.stats().series;
        Ok((engine, report))
    }

    /// Whether a tenant may write where there may be `tenants_max`, 0 for any number: it is known, or
    /// there is room for one more in memory.
    #[must_use]
    pub fn has_room_for(&self, id: &TenantId, tenants_max: u64) -> bool {
        let tenants = self.tenants.read();
        if tenants_max == 0 || tenants.contains_key(id) {
            return true;
        }
        let held = tenants.len() as u64;
        if held >= tenants_max.div_ceil(2) {
            self.forgotten.ask_for_room();
        }
        held < tenants_max
    }

    /// The tenant of this name. Who puts something into it holds `gate` from before: it may be
    /// forgotten.
    fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        let seed = || self.forgotten.seed(self.parts.generation_seed);
        tenant_in(&self.tenants, id, &self.parts.cluster_name, seed)
    }
}

/// Puts what the checkpoint and the log hold into the head.
fn replay(
    backend: &dyn Backend,
    parts: &Parts,
    config: &Config,
    state: &State,
    recovery: &mut Recovery<'_>,
) -> Result<(Box<dyn LogSink>, ReplayReport)> {
    if let Some(checkpoint) = state.checkpoint {
        let path = manifest::checkpoint_path(checkpoint.id);
        checkpoint::read(&*parts.disk, &path, &mut |frame| recovery.frame(&path, frame))?;
    }
    let (seed, from_segment) = (parts.generation_seed, state.log_from_segment());
    backend.open_log(&config.commit_log, seed, from_segment, &mut |payload| {
        if !payload.is_empty() {
            recovery.record(payload);
        }
        Ok(())
    })
}

/// The tenant of this name, which begins with its first write.
fn tenant_in(
    tenants: &RwLock<HashMap<TenantId, Arc<Tenant>, RandomState>>,
    id: &TenantId,
    cluster_name: &str,
    seed: impl FnOnce() -> u64,
) -> Arc<Tenant> {
    if let Some(tenant) = tenants.read().get(id) {
        return Arc::clone(tenant);
    }
    let make = || Arc::new(Tenant::new(id.clone(), cluster_name, seed()));
    Arc::clone(tenants.write().entry(id.clone()).or_insert_with(make))
}

/// Seconds since 1970, as far as they go.
fn seconds(now: TimestampMs) -> u32 {
    u32::try_from((now.0 / 1000).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod bound_tests;
#[cfg(test)]
mod churn_tests;
#[cfg(test)]
mod full_tests;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod rot_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod type_tests;
