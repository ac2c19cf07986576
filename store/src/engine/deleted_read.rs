//! Reads that many deletes touch: counted, and a few of them named, for whoever owns the engine to
//! log. Each such read tries every series against every one of the deletes.
//!
//! Not here: which deletes touch a read (`tombstone.rs`), and when there are too many (`read.rs`).

use super::Engine;
use model::time::DAY_MS;
use model::{DayBucket, TenantId, Text};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many are named until somebody asks; more are only counted.
const NAMED_MAX: usize = 32;

/// What a read asked for that many deletes touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRead {
    /// Whose.
    pub tenant: TenantId,
    /// The metric; `None` if the read named none.
    pub metric: Option<Text>,
    /// The first day of its range.
    pub first_day: DayBucket,
    /// The last day of its range.
    pub last_day: DayBucket,
    /// How many deletes touched one read at most.
    pub tombstones: u64,
    /// Whether it was refused for that.
    pub is_refused: bool,
}

/// What is known of such reads.
#[derive(Debug, Default)]
pub(super) struct DeletedReads {
    warned: AtomicU64,
    refused: AtomicU64,
    /// The worst of each metric since somebody asked. A leaf.
    named: Mutex<Vec<DeletedRead>>,
}

impl DeletedReads {
    /// Notes a read.
    pub(super) fn note(&self, read: DeletedRead) {
        self.warned.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(u64::from(read.is_refused), Ordering::Relaxed);
        let mut named = self.named.lock();
        let is_it =
            |held: &&mut DeletedRead| held.metric == read.metric && held.tenant == read.tenant;
        if let Some(held) = named.iter_mut().find(is_it) {
            if held.tombstones < read.tombstones {
                *held = read;
            }
        } else if named.len() < NAMED_MAX {
            named.push(read);
        }
    }

    /// Reads that were noted, and those among them that were refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.warned.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// The days of a range whose end is open.
pub(super) fn days(start_ms: i64, end_ms: i64) -> (DayBucket, DayBucket) {
    let day = |at: i64| {
        let day = at.div_euclid(DAY_MS).clamp(i32::MIN.into(), i32::MAX.into());
        DayBucket(i32::try_from(day).unwrap_or_default())
    };
    (day(start_ms), day(end_ms.saturating_sub(1)))
}

impl Engine {
    /// The reads since the last call that many deletes touched, at most 32. How many there were is
    /// in [`Stats`](super::Stats).
    #[must_use]
    pub fn take_deleted_reads(&self) -> Vec<DeletedRead> {
        std::mem::take(&mut self.deleted_reads.named.lock())
    }
}
