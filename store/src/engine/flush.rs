//! Flushing: the head's samples become sstables, its definitions a checkpoint, and the log's
//! segments before go.
//!
//! # Order
//! 1. The log is rolled, and then the appends that are between log and head are waited for: all
//!    records of the segments before are in the head. Nobody waits for a sync that is at work, but
//!    the flush; only for a snapshot everybody does.
//! 2. The head's samples are written to sstables, one per retention class and window, a partition
//!    at a time (`head/flush.rs`); they stay readable in the head.
//! 3. The definitions of all series of the head are written as a checkpoint.
//! 4. One edit of the manifest makes both live and moves the start of replay.
//! 5. Readers are shown the new sstables; then the head lets go of what it gave.
//! 6. The checkpoint before and the segments before are unlinked, ahead of anything that is written
//!    for a purge: on a disk without room the next try finds more of it than this one did.
//!
//! A crash or an error between any two leaves what was there before the edit, or what is after it.
//! After an error the files of the flush are unlinked, but for those of an edit that failed: nobody
//! knows whether they are live on disk, so no further flush is begun before that is settled.

use super::delete;
use super::purge::Progress;
use super::recover;
use super::retain::is_expired;
use super::{Engine, JobReport, seconds};
use crate::checkpoint;
use crate::error::Result;
use crate::head::flush::{Listed, Place, RowRef};
use crate::head::series::Takes;
use crate::head::shard::IdleBefore;
use crate::head::{self, Tenant};
use crate::manifest::{self, CheckpointRef, Edit, SstableMeta};
use crate::sstable::tables::Retired;
use crate::sstable::writer::Writer;
use model::{TenantId, TimestampMs};
use parking_lot::{MutexGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Engine {
    pub(super) fn flush_head(&self, now: TimestampMs) -> Result<JobReport> {
        let one = self.flushing.lock();
        self.flush_as(&one, Takes::Newest, now)
    }

    /// Closes the log's segment; returns the next one's number and, if it is to be of one moment,
    /// what appends wait for.
    fn roll(&self, takes: Takes) -> Result<(u64, Option<RwLockWriteGuard<'_, ()>>)> {
        if takes == Takes::Newest {
            let from_segment = self.log.roll();
            drop(self.gate.write());
            return Ok((from_segment, None));
        }
        let alone = self.gate.write();
        // What waits for the log would be replayed as of behind that moment.
        self.log.sync().map_err(|failed| failed.error)?;
        Ok((self.log.roll(), Some(alone)))
    }

    /// Flushes while the caller holds `flushing`.
    pub(super) fn flush_as(
        &self,
        _one: &MutexGuard<'_, ()>,
        takes: Takes,
        now: TimestampMs,
    ) -> Result<JobReport> {
        self.settle()?;
        let purge = self.purge_asked.progress();
        let is_for_room = self.reserve.wants_flush();
        let (from_segment, alone) = self.roll(takes)?;
        let mut tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        let rules = Arc::clone(&self.retention.read());
        let tombstones = Arc::clone(&self.tombstones.read());
        let list_one = |tenant: &Arc<Tenant>| {
            let deleted = tombstones.touching(&tenant.id, i64::MIN, i64::MAX);
            head::flush::list(tenant, takes, deleted, rules.in_force(&tenant.id))
        };
        let mut listed: Vec<Listed> = tenants.iter().map(list_one).collect();
        drop(alone);
        listed.retain(|listed| !listed.is_empty());
        let giving: Vec<TenantId> = listed.iter().map(|l| l.tenant.id.clone()).collect();
        let (version, mut more) = self.first_rules(&giving, &rules);
        let trusted = self.trusted(now);
        let Written { sstables: mut written, samples_expired, revisions } =
            self.write_sstables(listed, trusted, now)?;
        for meta in &mut written {
            meta.retention_version = version;
            meta.tombstones_through = tombstones.through();
        }
        more.push(Edit::SetTrustedTime(trusted.0));
        more.extend(delete::revisions(&revisions, self.manifest.lock().state()));
        // Before the checkpoint: it shall not carry on what is deleted.
        for tenant in &tenants {
            self.let_go_of_exemplars(tenant, &tombstones, trusted);
        }
        let (checkpoint, series) =
            self.write_checkpoint(&tenants, from_segment).inspect_err(|_| {
                self.let_go(written.iter().map(|meta| manifest::sstable_path(meta.id)));
            })?;
        more.push(Edit::SetCheckpoint(checkpoint));
        self.publish(&written, &[], &more)?;
        let sstables = written.len() as u64;
        let mut report = JobReport { series, sstables, samples_expired, ..JobReport::default() };
        for meta in &written {
            report.samples += meta.samples;
            report.sstable_bytes += meta.file_bytes;
        }
        // A purge lets go of the texts of every series that has nothing left.
        let with_exemplars_s = seconds(now.minus_ms(self.config.series_idle_ms));
        let bare_s = if purge.is_asked() { u32::MAX } else { with_exemplars_s };
        let idle = IdleBefore { bare_s, with_exemplars_s, now_s: seconds(now) };
        for tenant in &tenants {
            report.series_dropped += tenant.release(idle, &self.gate);
        }
        self.forget_tenants(&tenants);
        self.flushed_at_ms.store(now.0, Ordering::Relaxed);
        report.segments_removed = self.cut_log(from_segment, purge)?;
        self.purge_asked.end_flush(purge);
        if is_for_room {
            self.reserve.was_flushed();
        }
        Ok(report)
    }

    /// Unlinks what is behind the flush, and returns how many segments went.
    fn cut_log(&self, from_segment: u64, purge: Progress) -> Result<u64> {
        // The checkpoint before; what cannot be unlinked now stays in line.
        let _ = self.remove_retired();
        let last = from_segment.saturating_sub(1);
        let count = || self.log.segments_through(last);
        let before = count()?;
        self.log.remove_through(last)?;
        if purge.is_asked() {
            // The newest segment always stays: it must not be one with samples.
            self.log.mark_anew();
            self.log.sync_into_reserve().map_err(|failed| failed.error)?;
            self.log.remove_through(last)?;
        }
        Ok(before.saturating_sub(count()?))
    }

    /// Finds out what became of edits that failed, before more files are written: where no edit
    /// succeeds, the files of one try are kept and not those of each.
    pub(super) fn settle(&self) -> Result<()> {
        let mut manifest = self.manifest.lock();
        if self.doubtful.lock().is_empty() {
            return Ok(());
        }
        manifest.apply(&[])?;
        self.retired.lock().extend(self.doubtful.lock().drain(..));
        drop(manifest);
        let _ = self.remove_retired();
        Ok(())
    }

    /// Makes one change of the live files: what is `added` is live from now on, what is `removed`
    /// is not, and `more` edits go with it. Readers see it when this returns. The removed files, and
    /// the checkpoint before one that `more` sets, are unlinked when no reader holds them any more
    /// ([`Engine::remove_retired`]). After an error what was added goes, at once or when it is known
    /// what became of the edit.
    pub(super) fn publish(
        &self,
        added: &[SstableMeta],
        removed: &[u64],
        more: &[Edit],
    ) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let checkpoint = more.iter().find_map(|edit| match edit {
            Edit::SetCheckpoint(checkpoint) => Some(manifest::checkpoint_path(checkpoint.id)),
            _ => None,
        });
        let added_files = || {
            let sstables = added.iter().map(|meta| manifest::sstable_path(meta.id));
            sstables.chain(checkpoint.clone())
        };
        let before = Arc::clone(&self.tables.read());
        // Opened before the edit: what cannot be read does not become live.
        let tables = before.replace(removed, added);
        let tables = tables.inspect_err(|_| self.let_go(added_files()))?;
        let adds = added.iter().cloned().map(Edit::AddSstable);
        let removes = removed.iter().copied().map(Edit::RemoveSstable);
        let edits: Vec<Edit> = adds.chain(removes).chain(more.iter().cloned()).collect();
        let has_rules = |edit: &Edit| matches!(edit, Edit::SetRetentionRules(..));
        let rules = more.iter().any(has_rules);
        let old = checkpoint.as_ref().and(manifest.state().checkpoint);
        if let Err(error) = manifest.apply(&edits) {
            self.doubtful.lock().extend(added_files().map(Retired::unheld));
            return Err(error);
        }
        let gone = before.retired(removed);
        *self.tables.write() = Arc::new(tables);
        if rules {
            self.take_rules(manifest.state())?;
        }
        let mut retired = self.retired.lock();
        retired.extend(gone);
        retired.extend(old.map(|old| Retired::unheld(manifest::checkpoint_path(old.id))));
        // This edit succeeded, so those that failed before are not on disk.
        retired.extend(self.doubtful.lock().drain(..));
        drop(retired);
        drop(manifest);
        self.claims.lock().forget(removed);
        Ok(())
    }

    /// Takes over what has changed about live files, which stay where they are.
    pub(super) fn publish_moved(&self, metas: &[SstableMeta]) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let tables = self.tables.read().moved(metas);
        let edits: Vec<Edit> = metas.iter().cloned().map(Edit::AddSstable).collect();
        manifest.apply(&edits)?;
        *self.tables.write() = Arc::new(tables);
        Ok(())
    }

    /// Writes the definitions of all series in the head.
    fn write_checkpoint(
        &self,
        tenants: &[Arc<Tenant>],
        log_from_segment: u64,
    ) -> Result<(CheckpointRef, u64)> {
        let id = self.manifest.lock().allocate_file_id();
        let path = manifest::checkpoint_path(id);
        let write = || -> Result<u64> {
            let mut writer = checkpoint::Writer::create(&*self.parts.disk, &path)?;
            let mut series = 0;
            for tenant in tenants {
                series += recover::checkpoint(tenant, |frame| writer.frame(frame))?;
            }
            writer.finish()?;
            Ok(series)
        };
        let series = write()
            .inspect_err(|_| self.let_go([checkpoint::temporary_path(&path), path.clone()]))?;
        Ok((CheckpointRef { id, log_from_segment }, series))
    }
}

/// The files of a flush, not live yet.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) sstables: Vec<SstableMeta>,
    /// How many samples were left out because their window has expired.
    pub(super) samples_expired: u64,
    /// The highest revision of each tenant's samples.
    pub(super) revisions: Vec<(TenantId, u32)>,
}

impl Engine {
    /// Writes one sstable for each retention class and window, but for windows that have expired
    /// at the moment that is `trusted`. Tenants come ascending. After an error none is left.
    pub(super) fn write_sstables(
        &self,
        listed: Vec<Listed>,
        trusted: TimestampMs,
        now: TimestampMs,
    ) -> Result<Written> {
        let mut created = Vec::new();
        let written = self.try_write_sstables(listed, (trusted, now), &mut created);
        written.inspect_err(|_| self.let_go(created.into_iter().map(manifest::sstable_path)))
    }

    fn try_write_sstables(
        &self,
        mut listed: Vec<Listed>,
        (trusted, now): (TimestampMs, TimestampMs),
        created: &mut Vec<u64>,
    ) -> Result<Written> {
        let mut by_place: BTreeMap<Place, Vec<(usize, Vec<RowRef>)>> = BTreeMap::new();
        for (index, tenant) in listed.iter_mut().enumerate() {
            for (place, rows) in std::mem::take(&mut tenant.rows) {
                by_place.entry(place).or_default().push((index, rows));
            }
        }
        let mut written = Written::default();
        let mut revisions: BTreeMap<usize, u32> = BTreeMap::new();
        for ((retention, window), tenants) in by_place {
            if is_expired(window, retention, trusted) {
                let waste = tenants.iter().map(|(index, rows)| listed[*index].waste(rows));
                written.samples_expired += waste.sum::<u64>();
                continue;
            }
            let class = self.class_of(retention)?;
            let id = self.manifest.lock().allocate_file_id();
            let mut writer = Writer::create(&*self.parts.disk, id, class, window, now)?;
            created.push(id);
            for (index, rows) in tenants {
                let gave = listed[index].write(&mut writer, rows)?;
                let revision = revisions.entry(index).or_default();
                *revision = gave.revision.max(*revision);
            }
            written.sstables.push(writer.finish()?);
        }
        let named = |(index, revision): (usize, u32)| (listed[index].tenant.id.clone(), revision);
        written.revisions = revisions.into_iter().map(named).collect();
        Ok(written)
    }
}
