//! Chance from a seed.

use model::SplitMix64;

/// The same chances for the same seed.
#[derive(Debug)]
pub(in crate::ownership) struct Chance(SplitMix64);

impl Chance {
    /// What `seed` has in store.
    pub(in crate::ownership) fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.draw() % (high - low + 1)
    }

    /// One of `len` indices.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.between(0, len as u64 - 1)).unwrap()
    }

    /// True so many times of a hundred.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }
}
