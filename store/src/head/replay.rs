//! Samples of one revision on their way into the head past the log: a record's, again, or imported.

use super::shard::Shard;
use super::{Tenant, local_of, lock_next, shard_of};
use model::{HistogramSample, Sample};
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering;

/// Takes samples in; the shard of the last ones stays locked.
pub(crate) struct Replay<'a> {
    tenant: &'a Tenant,
    held: Option<(usize, MutexGuard<'a, Shard>)>,
    now_s: u32,
}

impl Tenant {
    /// Begins with samples that have this revision.
    pub(crate) fn replay(&self, revision: u32, now_s: u32) -> Replay<'_> {
        self.revision_max.fetch_max(revision, Ordering::AcqRel);
        Replay { tenant: self, held: None, now_s }
    }
}

impl Replay<'_> {
    /// Adds a series' samples.
    pub(crate) fn push(&mut self, number: u32, samples: &[Sample]) {
        let now_s = self.now_s;
        if let Some(shard) = lock_next(&self.tenant.shards, &mut self.held, shard_of(number)) {
            shard.push(local_of(number), now_s, samples.iter().copied());
        }
    }

    /// Adds a series' histograms.
    pub(crate) fn push_histograms(&mut self, number: u32, samples: &[HistogramSample]) {
        let now_s = self.now_s;
        if let Some(shard) = lock_next(&self.tenant.shards, &mut self.held, shard_of(number)) {
            shard.push_histograms(local_of(number), now_s, samples.iter().cloned());
        }
    }
}
