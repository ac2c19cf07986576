//! Claims: which sstables a job works on, so that no other does; and which are found damaged.
//!
//! # Invariants
//! - An sstable leaves the live ones only while it is claimed; so one that is live and not claimed,
//!   seen with the claims locked, is free.

use crate::error::Error;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who holds what. Its lock comes before that of the tables.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: BTreeSet<u64>,
    /// Those that a job found damaged, and what it found. They are not compacted again.
    suspects: BTreeMap<u64, Error>,
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

    /// Whether a job may take it.
    pub(crate) fn is_free(&self, id: u64) -> bool {
        !self.held.contains(&id) && !self.suspects.contains_key(&id)
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
