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

    /// The generation of a tenant's series numbers: until it is forgotten, or the store closed. Of one
    /// that is not known, what it would have if it came now.
    #[must_use]
    pub fn generation(&self, tenant: &TenantId) -> u64 {
        let known = self.tenants.read().get(tenant).map(|tenant| tenant.generation);
        let seed = || self.forgotten.seed(self.parts.generation_seed);
        known.unwrap_or_else(|| crate::head::generation(tenant, seed()))
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
        stats.log_damaged = self.log_damaged;
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

impl Stats {
    /// Those of two stores of one process together. The disk's and the scrub's are the first one's.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let mut sum = self;
        for (mine, theirs) in [
            (&mut sum.series, other.series),
            (&mut sum.series_created_total, other.series_created_total),
            (&mut sum.head_samples, other.head_samples),
            (&mut sum.head_sample_bytes, other.head_sample_bytes),
            (&mut sum.exemplars, other.exemplars),
            (&mut sum.exemplars_lost_limit_total, other.exemplars_lost_limit_total),
            (&mut sum.exemplars_lost_idle_total, other.exemplars_lost_idle_total),
            (&mut sum.metadata, other.metadata),
            (&mut sum.metadata_lost_limit_total, other.metadata_lost_limit_total),
            (&mut sum.log_segments, other.log_segments),
            (&mut sum.log_pending_bytes, other.log_pending_bytes),
            (&mut sum.log_written_bytes_total, other.log_written_bytes_total),
            (&mut sum.sstables, other.sstables),
            (&mut sum.sstable_bytes, other.sstable_bytes),
            (&mut sum.sstable_samples, other.sstable_samples),
            (&mut sum.samples_appended_total, other.samples_appended_total),
            (&mut sum.samples_late_total, other.samples_late_total),
            (&mut sum.reads_tombstones_warned_total, other.reads_tombstones_warned_total),
            (&mut sum.reads_tombstones_refused_total, other.reads_tombstones_refused_total),
            (&mut sum.reads_sstables_warned_total, other.reads_sstables_warned_total),
            (&mut sum.reads_sstables_alarmed_total, other.reads_sstables_alarmed_total),
            (&mut sum.cache_bytes, other.cache_bytes),
            (&mut sum.cache_hits_total, other.cache_hits_total),
            (&mut sum.cache_misses_total, other.cache_misses_total),
            (&mut sum.partitions_large, other.partitions_large),
            (&mut sum.partitions_alarming, other.partitions_alarming),
            (&mut sum.log_damaged, other.log_damaged),
            (&mut sum.damaged_blocks, other.damaged_blocks),
            (&mut sum.reads_damaged_total, other.reads_damaged_total),
            (&mut sum.scrubbed_bytes_total, other.scrubbed_bytes_total),
            (&mut sum.scrub_faults_total, other.scrub_faults_total),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        // A tenant may be in both, and a delete: there are that many at least.
        sum.tenants = self.tenants.max(other.tenants);
        sum.overlap_max = self.overlap_max.max(other.overlap_max);
        sum.tombstones = self.tombstones.max(other.tombstones);
        sum.disk_is_short |= other.disk_is_short;
        sum
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
