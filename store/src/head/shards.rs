//! The shards of a tenant's head: each comes into being with its first series, since many a tenant
//! has few.
//!
//! # Invariants
//! - A shard that is there stays. One that is not is as good as an empty one.

use super::SHARDS;
use super::shard::Shard;
use once_cell::race::OnceBox;
use parking_lot::Mutex;
use std::array;

/// The shards of one tenant.
#[derive(Debug)]
pub(super) struct Shards {
    seed: u64,
    /// Each guards its series. One that is not there is a null pointer.
    all: [OnceBox<Mutex<Shard>>; SHARDS as usize],
}

impl Shards {
    /// None is there yet.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, all: array::from_fn(|_| OnceBox::new()) }
    }

    /// The shard at `index`, if it is there.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Mutex<Shard>> {
        self.all.get(index)?.get()
    }

    /// The shard at `index`, below [`SHARDS`], which is made if need be.
    pub(super) fn get_or_make(&self, index: usize) -> &Mutex<Shard> {
        self.all[index].get_or_init(|| Box::new(Mutex::new(Shard::new(self.seed))))
    }

    /// Those that are there, with their indexes, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Mutex<Shard>)> {
        let all = self.all.iter().enumerate();
        all.filter_map(|(index, shard)| Some((index, shard.get()?)))
    }
}
