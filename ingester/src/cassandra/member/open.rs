//! The places that are open in a process: a store each.
//!
//! # Invariants
//! - A set never changes: another one takes its place. Who works with a set sees whether a place's store
//!   is still the same.
//! - Series numbers of one generation mean the same for as long as it lasts: it ends when a place that
//!   gave any is closed.

use super::super::RowStore;
use crate::embedded::{Embedded, SeriesShare};
use model::TenantId;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::RetentionConfig;
use store::engine::Stats;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A place's store.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) embedded: Arc<Embedded>,
    pub(super) store: RowStore,
    /// Samples that the journal brought back.
    pub(super) samples: u64,
    /// How long it keeps samples. A leaf.
    pub(super) rules: Mutex<Arc<RetentionConfig>>,
}

impl Served {
    /// Whether another life has taken the place over.
    pub(super) fn is_fenced(&self) -> bool {
        self.store.is_fenced().load(Ordering::Relaxed)
    }
}

/// The open places.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) by_place: BTreeMap<usize, Arc<Served>>,
    seed: u128,
    /// Counts the places that were closed.
    epoch: u64,
}

impl Open {
    /// None. `seed` is drawn for this process.
    pub(super) fn new(seed: u128) -> Self {
        Self { by_place: BTreeMap::new(), seed, epoch: 0 }
    }

    pub(super) fn with(&self, place: usize, served: Served) -> Self {
        let mut next = self.clone();
        next.by_place.insert(place, Arc::new(served));
        next
    }

    pub(super) fn without(&self, places: &BTreeSet<usize>) -> Self {
        let mut next = self.clone();
        next.by_place.retain(|place, _| !places.contains(place));
        if next.by_place.len() < self.by_place.len() {
            next.epoch += 1;
        }
        next
    }

    /// The generations of a tenant's series numbers: over all places, and of each. The first changes
    /// with any of the others, and never comes back.
    pub(super) fn generations(&self, tenant: &TenantId) -> (u64, BTreeMap<usize, u64>) {
        let of_place = |(place, served): (&usize, &Arc<Served>)| {
            (*place, served.embedded.engine().generation(tenant))
        };
        let by_place: BTreeMap<usize, u64> = self.by_place.iter().map(of_place).collect();
        let [low, high] = super::halves(self.seed);
        let mut bytes = self.epoch.to_le_bytes().to_vec();
        bytes.extend(by_place.values().flat_map(|generation| generation.to_le_bytes()));
        let seed = xxh3_64_with_seed(&bytes, low) ^ high;
        (xxh3_64_with_seed(tenant.as_str().as_bytes(), seed).max(1), by_place)
    }

    /// The sizes of all stores together.
    pub(super) fn stats(&self) -> Stats {
        let all = self.by_place.values().map(|served| served.embedded.stats());
        all.reduce(|sum, one| sum.and(&one)).unwrap_or_default()
    }
}

/// How many of a tenant's series one place may have open: as many as the process may, for the part of the
/// ring that it has, without those that its other places have.
#[derive(Debug)]
pub(super) struct Share {
    open: Arc<RwLock<Arc<Open>>>,
    place: usize,
    places: u16,
}

impl Share {
    pub(super) fn new(open: Arc<RwLock<Arc<Open>>>, place: usize, places: u16) -> Self {
        Self { open, place, places }
    }
}

impl SeriesShare for Share {
    fn series_max(&self, tenant: &TenantId, limit: u64) -> u64 {
        let open = Arc::clone(&self.open.read());
        let of_ring = limit.saturating_mul(open.by_place.len() as u64);
        let process_max = of_ring.div_ceil(u64::from(self.places.max(1)));
        let others = open.by_place.iter().filter(|(place, _)| **place != self.place);
        let elsewhere = others.map(|(_, served)| served.embedded.engine().open_series(tenant));
        process_max.saturating_sub(elsewhere.sum())
    }

    /// A metric is in one place.
    fn metric_series_max(&self, limit: u64) -> u64 {
        limit
    }
}
