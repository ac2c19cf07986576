//! Flushing: the head's samples become sstables, its definitions a checkpoint, and the log's
//! segments before go.
//!
//! # Order
//! 1. The log is rolled while no append is between log and head: all records of the segments
//!    before are in the head.
//! 2. The head's samples are copied into sstables, one per window; they stay readable in the head.
//! 3. The definitions of all series of the head are written as a checkpoint.
//! 4. One edit of the manifest makes both live and moves the start of replay.
//! 5. Readers are shown the new sstables; then the head lets go of what it gave.
//! 6. The segments before are unlinked.
//!
//! A crash or an error between any two leaves what was there before the edit, or what is after it.

use super::recover;
use super::{Engine, JobReport, seconds};
use crate::checkpoint;
use crate::error::Result;
use crate::head::Tenant;
use crate::head::shard::Taken;
use crate::head::symbols::Symbols;
use crate::manifest::{self, CheckpointRef, Edit, SstableMeta};
use crate::sstable::rows::{HeadRow, by_day, write_tenant};
use crate::sstable::window::Window;
use crate::sstable::writer::{Encoding, Writer};
use model::{DayBucket, TimestampMs};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The default retention class.
const CLASS: u32 = 0;

/// What a tenant's head gave, and which days each series has.
struct TenantTaken {
    tenant: Arc<Tenant>,
    /// A copy, so that new series need not wait for the file.
    symbols: Symbols,
    series: Vec<Taken>,
    days: Vec<Vec<(DayBucket, Range<usize>)>>,
}

impl Engine {
    pub(super) fn flush_head(&self, now: TimestampMs) -> Result<JobReport> {
        let _one = self.flushing.lock();
        let from_segment = {
            let _alone = self.gate.write();
            self.log.roll()
        };
        let mut tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        let taken: Vec<TenantTaken> = tenants.iter().map(take).collect();
        let written = self.write_sstables(&taken, now)?;
        drop(taken);
        let (checkpoint, series) = self.write_checkpoint(&tenants, from_segment)?;
        let old = self.manifest.lock().state().checkpoint;
        self.publish(&written, &[], &[Edit::SetCheckpoint(checkpoint)])?;
        let mut report =
            JobReport { series, sstables: written.len() as u64, ..JobReport::default() };
        for meta in &written {
            report.samples += meta.samples;
            report.sstable_bytes += meta.file_bytes;
        }
        let idle_before = seconds(now.minus_ms(self.config.series_idle_ms));
        for tenant in &tenants {
            report.series_dropped += tenant.release(idle_before, &self.gate);
        }
        self.flushed_at_ms.store(now.0, Ordering::Relaxed);
        let before = self.log.segments()?.len();
        self.log.remove_through(from_segment.saturating_sub(1))?;
        report.segments_removed = before.saturating_sub(self.log.segments()?.len()) as u64;
        if let Some(old) = old {
            self.parts.disk.unlink(&manifest::checkpoint_path(old.id))?;
        }
        Ok(report)
    }

    /// Makes one change of the live files: what is `added` is live from now on, what is `removed`
    /// is not, and `more` edits go with it. Readers see it when this returns.
    ///
    /// The removed files are still on disk: whoever removed them unlinks them.
    pub(super) fn publish(
        &self,
        added: &[SstableMeta],
        removed: &[u64],
        more: &[Edit],
    ) -> Result<()> {
        let mut manifest = self.manifest.lock();
        // Opened before the edit: what cannot be read does not become live.
        let tables = self.tables.read().replace(removed, added)?;
        let adds = added.iter().cloned().map(Edit::AddSstable);
        let removes = removed.iter().copied().map(Edit::RemoveSstable);
        let edits: Vec<Edit> = adds.chain(removes).chain(more.iter().cloned()).collect();
        manifest.apply(&edits)?;
        *self.tables.write() = Arc::new(tables);
        Ok(())
    }

    /// Writes one sstable for each window.
    fn write_sstables(&self, taken: &[TenantTaken], now: TimestampMs) -> Result<Vec<SstableMeta>> {
        let days = taken.iter().flat_map(|tenant| tenant.days.iter().flatten());
        let mut windows: BTreeMap<Window, ()> = BTreeMap::new();
        for (day, _) in days {
            windows.insert(Window::of(*day, self.config.window_days), ());
        }
        let mut written = Vec::with_capacity(windows.len());
        for window in windows.into_keys() {
            let id = self.manifest.lock().allocate_file_id();
            let mut writer = Writer::create(&*self.parts.disk, id, CLASS, window, now)?;
            for tenant in taken {
                let rows = tenant.rows(window, self.config.window_days);
                if !rows.is_empty() {
                    let (id, symbols) = (&tenant.tenant.id, &tenant.symbols);
                    write_tenant(&mut writer, id, symbols, rows, Encoding::Fast)?;
                }
            }
            written.push(writer.finish()?);
        }
        Ok(written)
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

fn take(tenant: &Arc<Tenant>) -> TenantTaken {
    let mut series = tenant.take();
    let days = series.iter_mut().map(|taken| by_day(&mut taken.chunks)).collect();
    // Taken after the series, so that each symbol they use is in it.
    let symbols = tenant.symbols.read().clone();
    TenantTaken { tenant: Arc::clone(tenant), symbols, series, days }
}

impl TenantTaken {
    /// The rows of a window.
    fn rows(&self, window: Window, window_days: u16) -> Vec<HeadRow<'_>> {
        let mut rows = Vec::new();
        for (taken, days) in self.series.iter().zip(&self.days) {
            for (day, range) in days {
                if Window::of(*day, window_days) == window {
                    rows.push(HeadRow {
                        labels: &taken.labels,
                        day: *day,
                        target: taken.target,
                        chunks: &taken.chunks[range.clone()],
                    });
                }
            }
        }
        rows
    }
}
