//! Claims: which sstables a job works on, so that no other does; which a job failed with, and rest
//! for a while, so that the others have their turn; and which are found damaged.
//!
//! # Invariants
//! - An sstable leaves the live ones only while it is claimed; so one that is live and not claimed,
//!   seen with the claims locked, is free.

use crate::error::Error;
use model::TimestampMs;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// After a first failure an sstable rests so long, and twice as long after each further one …
const REST_MS: i64 = 60_000;
/// … but no longer than after so many.
const FAILURES_MAX: u32 = 7;

/// Who holds what. Its lock comes before that of the tables.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: BTreeSet<u64>,
    /// Those that a job found damaged, and what it found. They are not compacted again.
    suspects: BTreeMap<u64, Error>,
    /// Those that a job failed with, as long as they are live.
    resting: BTreeMap<u64, Rest>,
}

/// What came of the jobs that took an sstable.
#[derive(Clone, Copy, Debug)]
struct Rest {
    failures: u32,
    since: TimestampMs,
}

/// Sstables that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Arc<Mutex<Claims>>,
    ids: Vec<u64>,
}

impl Claims {
    /// Claims all of `ids`, or none if one is held already.
    pub(crate) fn claim(&mut self, own: &Arc<Mutex<Self>>, ids: &[u64]) -> Option<Claim> {
        if ids.iter().any(|id| self.held.contains(id)) {
            return None;
        }
        self.held.extend(ids);
        Some(Claim { claims: Arc::clone(own), ids: ids.to_vec() })
    }

    /// Whether a job works on it.
    pub(crate) fn is_held(&self, id: u64) -> bool {
        self.held.contains(&id)
    }

    /// Whether a job may take it that nobody asked for.
    pub(crate) fn is_free(&self, id: u64, now: TimestampMs) -> bool {
        !self.held.contains(&id) && !self.suspects.contains_key(&id) && !self.rests(id, now)
    }

    /// Remembers that a job failed with these.
    pub(crate) fn rest(&mut self, ids: &[u64], now: TimestampMs) {
        for id in ids {
            let rest = self.resting.entry(*id).or_insert(Rest { failures: 0, since: now });
            *rest = Rest { failures: (rest.failures + 1).min(FAILURES_MAX), since: now };
        }
    }

    /// Whether a job failed with it a short while ago. A clock that was set back ends that.
    pub(crate) fn rests(&self, id: u64, now: TimestampMs) -> bool {
        self.resting.get(&id).is_some_and(|rest| {
            let pause_ms = REST_MS << rest.failures.saturating_sub(1);
            (0..pause_ms).contains(&now.0.saturating_sub(rest.since.0))
        })
    }

    /// These are no longer live.
    pub(crate) fn forget(&mut self, ids: &[u64]) {
        for id in ids {
            self.suspects.remove(id);
            self.resting.remove(id);
        }
    }

    /// What a job found wrong with it.
    pub(crate) fn suspect(&self, id: u64) -> Option<Error> {
        self.suspects.get(&id).cloned()
    }

    /// Remembers that it is damaged.
    pub(crate) fn suspects(&mut self, id: u64, error: Error) {
        self.suspects.insert(id, error);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        for id in &self.ids {
            claims.held.remove(id);
        }
    }
}
