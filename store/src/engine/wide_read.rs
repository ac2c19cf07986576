//! Reads that need many sstables of one partition: counted, and a few of them named, for whoever
//! owns the engine to log. Many files mean that compaction is behind.
//!
//! Not here: the counting of files (`select/gather.rs`, where a read gathers what it finds).

use super::Engine;
use model::{DayBucket, TenantId, Text};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A read that takes a partition out of so many sstables is counted and named.
pub const READ_SSTABLES_WARN: u32 = 32;
/// A read that takes a partition out of so many sstables is an alarm.
pub const READ_SSTABLES_ALARM: u32 = 64;
/// So many partitions are named until somebody asks; more are only counted.
const NAMED_MAX: usize = 32;

/// A partition that a read took out of many sstables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WideRead {
    /// The partition's tenant.
    pub tenant: TenantId,
    /// Its metric.
    pub metric: Text,
    /// Its day.
    pub day: DayBucket,
    /// How many sstables one read needed at most, [`READ_SSTABLES_WARN`] or more.
    pub sstables: u32,
}

/// What is known of such reads.
#[derive(Debug, Default)]
pub(super) struct WideReads {
    warned: AtomicU64,
    alarmed: AtomicU64,
    /// The widest read of each partition since somebody asked. A leaf.
    named: Mutex<Vec<WideRead>>,
}

impl WideReads {
    /// Notes the partitions of one read that came out of many sstables.
    pub(super) fn note(&self, tenant: &TenantId, wide: Vec<(Text, DayBucket, u32)>) {
        let Some(widest) = wide.iter().map(|(_, _, sstables)| *sstables).max() else { return };
        self.warned.fetch_add(1, Ordering::Relaxed);
        self.alarmed.fetch_add(u64::from(widest >= READ_SSTABLES_ALARM), Ordering::Relaxed);
        let mut named = self.named.lock();
        for (metric, day, sstables) in wide {
            let is_it = |held: &&mut WideRead| {
                held.metric == metric && held.day == day && held.tenant == *tenant
            };
            if let Some(held) = named.iter_mut().find(is_it) {
                held.sstables = held.sstables.max(sstables);
            } else if named.len() < NAMED_MAX {
                named.push(WideRead { tenant: tenant.clone(), metric, day, sstables });
            }
        }
    }

    /// Reads that were noted, and those among them that are alarms.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.warned.load(Ordering::Relaxed), self.alarmed.load(Ordering::Relaxed))
    }
}

impl Engine {
    /// The partitions that reads took out of many sstables since the last call, at most 32. How
    /// many such reads there were is in [`Stats`](super::Stats).
    #[must_use]
    pub fn take_wide_reads(&self) -> Vec<WideRead> {
        std::mem::take(&mut self.wide_reads.named.lock())
    }
}
