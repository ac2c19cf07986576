//! The store's sizes and counts, gathered for metrics.

use super::{Engine, Stats};
use crate::head::Tenant;
use model::TenantId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Engine {
    /// How many series of a tenant are open.
    #[must_use]
    pub fn open_series(&self, tenant: &TenantId) -> u64 {
        self.tenants.read().get(tenant).map_or(0, |tenant| tenant.series().0)
    }

    /// Sizes, for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (reads_tombstones_warned_total, reads_tombstones_refused_total) =
            self.deleted_reads.counts();
        let (reads_sstables_warned_total, reads_sstables_alarmed_total) = self.wide_reads.counts();
        let (tenants, forgotten) = {
            let tenants = self.tenants.read();
            (tenants.values().cloned().collect::<Vec<Arc<Tenant>>>(), self.forgotten.counted())
        };
        let mut stats = Stats {
            tenants: tenants.len() as u64,
            log_pending_bytes: self.log.pending_bytes() as u64,
            log_written_bytes_total: self.log.written_bytes(),
            log_segments: self.log.segments_through(u64::MAX).unwrap_or(0),
            samples_appended_total: self.appended.load(Ordering::Relaxed),
            samples_late_total: self.late.load(Ordering::Relaxed),
            overlap_max: self.overlap_max(),
            tombstones: self.tombstones.read().len() as u64,
            reads_tombstones_warned_total,
            reads_tombstones_refused_total,
            reads_sstables_warned_total,
            reads_sstables_alarmed_total,
            ..forgotten
        };
        for tenant in &tenants {
            count(tenant, &mut stats);
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
}

/// Adds what a tenant has in the head, and what it has counted.
pub(super) fn count(tenant: &Tenant, stats: &mut Stats) {
    let (series, created) = tenant.series();
    stats.series += series;
    stats.series_created_total += created;
    let metadata = tenant.metadata.lock();
    stats.metadata += metadata.iter().len() as u64;
    stats.metadata_lost_limit_total += metadata.lost();
    drop(metadata);
    for shard in tenant.shards() {
        stats.head_samples += shard.samples;
        stats.head_sample_bytes += shard.sample_bytes;
        stats.exemplars += shard.exemplars;
        stats.exemplars_lost_limit_total += shard.exemplars_lost.limit;
        stats.exemplars_lost_idle_total += shard.exemplars_lost.idle;
    }
}
