//! Partitions that grow large: their bytes summed over the head and all files of their day. A
//! compaction and a repair hold a partition at once, so a large one costs memory. None is refused.
//!
//! Not here: when it is asked for and logged (whoever owns the engine).

use super::Engine;
use crate::head::Tenant;
use model::{DayBucket, TenantId, Text, TimestampMs};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A partition of so many bytes is counted and named.
pub const PARTITION_BYTES_WARN: u64 = 64_000_000;
/// A partition of so many bytes is an alarm.
pub const PARTITION_BYTES_ALARM: u64 = 100_000_000;
/// What a file has of a partition counts from this on.
pub(crate) const PART_BYTES_MIN: u64 = 64 << 10;
/// So many are named at once, the largest.
const NAMED_MAX: usize = 32;

/// A partition that has grown large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargePartition {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its metric.
    pub metric: Text,
    /// Its day.
    pub day: DayBucket,
    /// Its bytes in the head and in all files, about.
    pub bytes: u64,
}

/// How many there were when somebody asked.
#[derive(Debug, Default)]
pub(super) struct LargeCounts {
    warned: AtomicU64,
    alarmed: AtomicU64,
}

impl LargeCounts {
    /// Those that are counted, and the alarms among them.
    pub(super) fn get(&self) -> (u64, u64) {
        (self.warned.load(Ordering::Relaxed), self.alarmed.load(Ordering::Relaxed))
    }
}

type Sizes = BTreeMap<(TenantId, Text, DayBucket), u64>;

impl Engine {
    /// The partitions of [`PARTITION_BYTES_WARN`] or more, the largest first and at most 32; how
    /// many there are is in [`Stats`](super::Stats) from then on. It looks at every series of the
    /// head: once a minute is often enough.
    pub fn large_partitions(&self) -> Vec<LargePartition> {
        let large = self.partitions_over(PARTITION_BYTES_WARN);
        let alarmed = large.iter().filter(|partition| partition.bytes >= PARTITION_BYTES_ALARM);
        self.large.alarmed.store(alarmed.count() as u64, Ordering::Relaxed);
        self.large.warned.store(large.len() as u64, Ordering::Relaxed);
        large.into_iter().take(NAMED_MAX).collect()
    }

    pub(super) fn partitions_over(&self, bytes_min: u64) -> Vec<LargePartition> {
        let mut sizes = Sizes::new();
        let tables = Arc::clone(&self.tables.read());
        tables.large_parts(|tenant, metric, day, bytes| {
            *sizes.entry((tenant.clone(), metric.clone(), day)).or_default() += bytes;
        });
        let tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        for tenant in tenants {
            add_head(&tenant, &mut sizes);
        }
        let over = sizes.into_iter().filter(|(_, bytes)| *bytes >= bytes_min);
        let named = over.map(|((tenant, metric, day), bytes)| LargePartition {
            tenant,
            metric,
            day,
            bytes,
        });
        let mut large: Vec<LargePartition> = named.collect();
        large.sort_by_key(|partition| Reverse(partition.bytes));
        large
    }
}

/// Adds what a tenant's head holds. A series' bytes count for the day of its newest chunk.
fn add_head(tenant: &Tenant, sizes: &mut Sizes) {
    let mut by_symbol: BTreeMap<(u32, DayBucket), u64> = BTreeMap::new();
    let symbols = tenant.symbols.read();
    for shard in tenant.shards() {
        for series in shard.iter() {
            let newest = series.open().map(|(head, _)| head.last_ms);
            let newest =
                newest.or_else(|| series.closed().0.next_back().map(|chunk| chunk.head.last_ms));
            let newest = newest.or_else(|| series.histograms().0.map(|(head, _)| head.last_ms));
            if let (Some(at), Some(metric)) = (newest, symbols.metric(&series.labels)) {
                let bytes = by_symbol.entry((metric, TimestampMs(at).day())).or_default();
                *bytes += series.sample_bytes() as u64;
            }
        }
    }
    for ((metric, day), bytes) in by_symbol {
        let key = (tenant.id.clone(), symbols.text(metric).clone(), day);
        *sizes.entry(key).or_default() += bytes;
    }
}
