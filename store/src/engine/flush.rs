//! Flushing: the head's samples become sstables, its definitions a checkpoint, and the log's
//! segments before go.
//!
//! # Order
//! 1. The log is rolled while no append is between log and head: all records of the segments
//!    before are in the head.
//! 2. The head's samples are copied into sstables, one per retention class and window; they stay
//!    readable in the head.
//! 3. The definitions of all series of the head are written as a checkpoint.
//! 4. One edit of the manifest makes both live and moves the start of replay.
//! 5. Readers are shown the new sstables; then the head lets go of what it gave.
//! 6. The segments before are unlinked.
//!
//! A crash or an error between any two leaves what was there before the edit, or what is after it.

use super::delete;
use super::recover;
use super::retain::is_expired;
use super::{Engine, JobReport, seconds};
use crate::checkpoint;
use crate::compaction::cut::Labels;
use crate::error::Result;
use crate::head::Tenant;
use crate::head::shard::Taken;
use crate::head::symbols::Symbols;
use crate::manifest::{self, CheckpointRef, Edit, SstableMeta};
use crate::retention::window_days;
use crate::sstable::rows::{HeadRow, by_day, write_tenant};
use crate::sstable::tables::Retired;
use crate::sstable::window::Window;
use crate::sstable::writer::{Encoding, Writer};
use crate::tombstone::{Tombstones, Touching};
use model::{CompiledRetention, DayBucket, Retention, TenantId, TimestampMs};
use parking_lot::MutexGuard;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a flush takes of the writes that come while it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Any of them: the log has them too.
    Loose,
    /// None: appends wait while the head's chunks are counted out, and the files hold the state
    /// of one moment.
    OneMoment,
    /// As `OneMoment`, and what waits for the log is not replayed behind the flush.
    Border,
}

/// What a tenant's head gave, and which days each series has.
pub(super) struct TenantTaken {
    tenant: Arc<Tenant>,
    /// A copy, so that new series need not wait for the file.
    symbols: Symbols,
    series: Vec<Taken>,
    days: Vec<Vec<(DayBucket, Range<usize>)>>,
    /// For each series how long it is kept.
    retentions: Vec<Retention>,
}

impl Engine {
    pub(super) fn flush_head(&self, now: TimestampMs) -> Result<JobReport> {
        let one = self.flushing.lock();
        self.flush_as(&one, Cut::Loose, now)
    }

    /// Flushes while the caller holds `flushing`.
    pub(super) fn flush_as(
        &self,
        _one: &MutexGuard<'_, ()>,
        cut: Cut,
        now: TimestampMs,
    ) -> Result<JobReport> {
        let purge = self.purge_asked.begin_flush();
        let alone = self.gate.write();
        if cut == Cut::Border {
            self.log.sync().map_err(|failed| failed.error)?;
        }
        let from_segment = self.log.roll();
        let alone = (cut != Cut::Loose).then_some(alone);
        let mut tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        let rules = Arc::clone(&self.retention.read());
        let tombstones = Arc::clone(&self.tombstones.read());
        let taken: Vec<TenantTaken> = tenants
            .iter()
            .map(|tenant| take(tenant, &tombstones, rules.in_force(&tenant.id)))
            .collect();
        drop(alone);
        let (version, mut more) = self.first_rules(&taken_tenants(&taken), &rules);
        let trusted = self.trusted(now);
        let (mut written, samples_expired) = self.write_sstables(&taken, trusted, now)?;
        for meta in &mut written {
            meta.retention_version = version;
            meta.tombstones_through = tombstones.through();
        }
        more.push(Edit::SetTrustedTime(trusted.0));
        more.extend(delete::revisions(&taken_revisions(&taken), self.manifest.lock().state()));
        drop(taken);
        let (checkpoint, series) = self.write_checkpoint(&tenants, from_segment)?;
        let old = self.manifest.lock().state().checkpoint;
        more.push(Edit::SetCheckpoint(checkpoint));
        self.publish(&written, &[], &more)?;
        let sstables = written.len() as u64;
        let mut report = JobReport { series, sstables, samples_expired, ..JobReport::default() };
        for meta in &written {
            report.samples += meta.samples;
            report.sstable_bytes += meta.file_bytes;
        }
        // A purge lets go of the texts of every series that has no sample left.
        let idle_before = match purge {
            0 => seconds(now.minus_ms(self.config.series_idle_ms)),
            _ => u32::MAX,
        };
        for tenant in &tenants {
            report.series_dropped += tenant.release(idle_before, &self.gate);
        }
        self.flushed_at_ms.store(now.0, Ordering::Relaxed);
        if purge > 0 {
            // The newest segment always stays: it must not be one with samples.
            self.log.mark_anew();
            self.log.sync().map_err(|failed| failed.error)?;
        }
        let before = self.log.segments()?.len();
        self.log.remove_through(from_segment.saturating_sub(1))?;
        report.segments_removed = before.saturating_sub(self.log.segments()?.len()) as u64;
        if let Some(old) = old {
            self.parts.disk.unlink(&manifest::checkpoint_path(old.id))?;
        }
        self.purge_asked.end_flush(purge);
        // What cannot be unlinked now stays in line.
        let _ = self.remove_retired();
        Ok(report)
    }

    /// Makes one change of the live files: what is `added` is live from now on, what is `removed`
    /// is not, and `more` edits go with it. Readers see it when this returns. The removed files are
    /// unlinked when no reader holds them any more ([`Engine::remove_retired`]).
    pub(super) fn publish(
        &self,
        added: &[SstableMeta],
        removed: &[u64],
        more: &[Edit],
    ) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let added_files = || added.iter().map(|meta| Retired::unheld(meta.id));
        let before = Arc::clone(&self.tables.read());
        // Opened before the edit: what cannot be read does not become live.
        let tables = before.replace(removed, added);
        let tables = tables.inspect_err(|_| self.retired.lock().extend(added_files()))?;
        let adds = added.iter().cloned().map(Edit::AddSstable);
        let removes = removed.iter().copied().map(Edit::RemoveSstable);
        let edits: Vec<Edit> = adds.chain(removes).chain(more.iter().cloned()).collect();
        let has_rules = |edit: &Edit| matches!(edit, Edit::SetRetentionRules(..));
        let rules = more.iter().any(has_rules);
        if let Err(error) = manifest.apply(&edits) {
            self.doubtful.lock().extend(added.iter().map(|meta| meta.id));
            return Err(error);
        }
        let gone = before.retired(removed);
        *self.tables.write() = Arc::new(tables);
        if rules {
            self.take_rules(&manifest)?;
        }
        let mut retired = self.retired.lock();
        retired.extend(gone);
        // This edit succeeded, so those that failed before are not on disk.
        retired.extend(self.doubtful.lock().drain(..).map(Retired::unheld));
        Ok(())
    }

    /// Takes over what has changed about live files, which stay where they are.
    pub(super) fn publish_moved(&self, metas: &[SstableMeta]) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let ids: Vec<u64> = metas.iter().map(|meta| meta.id).collect();
        let tables = self.tables.read().replace(&ids, metas)?;
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
        let mut writer = checkpoint::Writer::create(&*self.parts.disk, &path)?;
        let mut series = 0;
        for tenant in tenants {
            series += recover::checkpoint(tenant, |frame| writer.frame(frame))?;
        }
        writer.finish()?;
        Ok((CheckpointRef { id, log_from_segment }, series))
    }
}

/// Takes what a tenant's head has, but for what is deleted.
pub(super) fn take(
    tenant: &Arc<Tenant>,
    tombstones: &Tombstones,
    rules: &CompiledRetention,
) -> TenantTaken {
    let mut series = tenant.take();
    // Taken after the series, so that each symbol they use is in it.
    let symbols = tenant.symbols.read().clone();
    let touching = tombstones.touching(&tenant.id, i64::MIN, i64::MAX);
    if !touching.is_empty() {
        series.iter_mut().for_each(|taken| cut(taken, &symbols, &touching));
    }
    let days = series.iter_mut().map(|taken| by_day(&mut taken.chunks)).collect();
    let retentions = retentions(&series, &symbols, rules);
    TenantTaken { tenant: Arc::clone(tenant), symbols, series, days, retentions }
}

/// Takes out what is deleted.
fn cut(taken: &mut Taken, symbols: &Symbols, touching: &Touching) {
    let hidden = touching.hidden(|wanted| {
        let mut pairs = symbols.pairs(&taken.labels);
        let value = pairs.find(|(name, _)| **symbols.text(*name) == *wanted);
        value.map_or("", |(_, value)| symbols.text(value))
    });
    if !hidden.is_empty() {
        let chunks = std::mem::take(&mut taken.chunks).into_iter();
        taken.chunks = chunks.filter_map(|chunk| hidden.cut_chunk(chunk)).collect();
    }
}

/// The highest revision of each tenant's samples.
fn taken_revisions(taken: &[TenantTaken]) -> Vec<(TenantId, u32)> {
    let highest = |taken: &TenantTaken| {
        let chunks = taken.series.iter().flat_map(|series| &series.chunks);
        chunks.map(|chunk| chunk.head.revision).max().unwrap_or(0)
    };
    taken.iter().map(|taken| (taken.tenant.id.clone(), highest(taken))).collect()
}

/// How long each series is kept.
fn retentions(series: &[Taken], symbols: &Symbols, rules: &CompiledRetention) -> Vec<Retention> {
    let (shortest, longest) = rules.bounds();
    if shortest == longest {
        return vec![shortest; series.len()];
    }
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let retention = |taken: &Taken| {
        pairs.clear();
        pairs.extend(symbols.pairs(&taken.labels));
        let labels = Labels::new(symbols.texts(), &pairs);
        rules.of(|name| labels.value(name))
    };
    series.iter().map(retention).collect()
}

/// The tenants that gave something.
fn taken_tenants(taken: &[TenantTaken]) -> Vec<TenantId> {
    let gave = taken.iter().filter(|taken| !taken.series.is_empty());
    gave.map(|taken| taken.tenant.id.clone()).collect()
}

impl Engine {
    /// Writes one sstable for each retention class and window. Also returns how many samples were
    /// left out because their window has expired at the moment that is `trusted`.
    pub(super) fn write_sstables(
        &self,
        taken: &[TenantTaken],
        trusted: TimestampMs,
        now: TimestampMs,
    ) -> Result<(Vec<SstableMeta>, u64)> {
        let mut kept: BTreeMap<(Retention, Window), Vec<Vec<HeadRow<'_>>>> = BTreeMap::new();
        let mut expired = 0;
        for (index, tenant) in taken.iter().enumerate() {
            for (retention, row) in tenant.rows() {
                let window = Window::of(row.day, window_days(retention));
                if is_expired(window, retention, trusted) {
                    expired += row.chunks.iter().map(|c| u64::from(c.head.count)).sum::<u64>();
                    continue;
                }
                let rows = kept.entry((retention, window)).or_default();
                rows.resize_with(taken.len(), Vec::new);
                rows[index].push(row);
            }
        }
        let mut written = Vec::with_capacity(kept.len());
        for ((retention, window), rows) in kept {
            let class = self.class_of(retention)?;
            let id = self.manifest.lock().allocate_file_id();
            let mut writer = Writer::create(&*self.parts.disk, id, class, window, now)?;
            for (tenant, rows) in taken.iter().zip(rows) {
                if !rows.is_empty() {
                    let (id, symbols) = (&tenant.tenant.id, &tenant.symbols);
                    write_tenant(&mut writer, id, symbols, rows, Encoding::Fast)?;
                }
            }
            written.push(writer.finish()?);
        }
        Ok((written, expired))
    }
}

impl TenantTaken {
    /// What each series has of each day.
    fn rows(&self) -> impl Iterator<Item = (Retention, HeadRow<'_>)> {
        let series = self.series.iter().zip(&self.days).zip(&self.retentions);
        series.flat_map(|((taken, days), retention)| {
            days.iter().map(|(day, range)| {
                let chunks = &taken.chunks[range.clone()];
                let (labels, target) = (&taken.labels, taken.target);
                (*retention, HeadRow { labels, day: *day, target, chunks })
            })
        })
    }
}
