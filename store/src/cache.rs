//! The cache of what was read from sstables: checked blocks and decoded parts, within a budget of
//! bytes.
//!
//! What comes in first lies in a small queue; only what is asked for again there, or soon after it
//! fell out, moves to the main queue. So a scan that touches everything once pushes out what other
//! scans brought, and not what dashboards use (S3-FIFO, Yang et al., SOSP 2023).
//!
//! # Invariants
//! - The bytes held never exceed the budget; what is larger than half of it is not kept.
//! - A checksum is checked before something comes in, and not again while it is there.
//! - When the last user of a file is gone, so is everything of it.
//!
//! Not here: what the parts are (`sstable`).

use crate::error::Result;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most a part is counted for.
const USES_MAX: u8 = 3;
/// The small queue's share of the budget is one of so many parts.
const SMALL_SHARE: usize = 10;
/// How many parts are remembered that fell out of the small queue.
const GHOSTS_MAX: usize = 4096;
/// What a part takes besides its own bytes: entry, queue, counts.
const ENTRY_BYTES: usize = 160;

/// A part of an sstable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Directory,
    /// By the tenant's index in the directory.
    Symbols(usize),
    /// Likewise.
    Dictionary(usize),
    /// By the block's offset in the file.
    Partition(u64),
    /// Likewise.
    Chunks(u64),
    /// Likewise.
    TimesBlock(u64),
    /// By the tenant's index and the column's number.
    Times(usize, u32),
}

/// The number of the sstable, and which part of it.
pub(crate) type Key = (u64, Part);

/// How the cache does, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStats {
    pub(crate) bytes: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: usize,
    /// A leaf.
    queues: Mutex<Queues>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Queues {
    entries: HashMap<Key, Entry, RandomState>,
    small: VecDeque<Key>,
    main: VecDeque<Key>,
    ghosts: HashSet<Key, RandomState>,
    ghost_queue: VecDeque<Key>,
    small_bytes: usize,
    main_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    what: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    uses: u8,
    is_main: bool,
}

impl Cache {
    /// An empty cache that holds so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            queues: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The part of this key; if it is not there it is loaded, and kept unless `keeps` is false.
    /// `load` also says how many bytes it takes.
    pub(crate) fn get_or_load<T: Any + Send + Sync>(
        &self,
        key: Key,
        keeps: bool,
        load: impl FnOnce() -> Result<(T, usize)>,
    ) -> Result<Arc<T>> {
        if let Some(found) = self.queues.lock().get(&key).and_then(|what| what.downcast().ok()) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(found);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let (loaded, bytes) = load()?;
        let loaded = Arc::new(loaded);
        let bytes = bytes + ENTRY_BYTES;
        if keeps && bytes <= self.bytes_max / 2 {
            self.queues.lock().put(key, Arc::clone(&loaded) as _, bytes, self.bytes_max);
        }
        Ok(loaded)
    }

    /// Whether a part is here; that is no use of it.
    pub(crate) fn holds(&self, key: Key) -> bool {
        self.queues.lock().entries.contains_key(&key)
    }

    /// Drops everything of a file.
    pub(crate) fn forget(&self, file: u64) {
        self.queues.lock().forget(file);
    }

    /// How it does.
    pub(crate) fn stats(&self) -> CacheStats {
        let queues = self.queues.lock();
        CacheStats {
            bytes: (queues.small_bytes + queues.main_bytes) as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl Queues {
    fn get(&mut self, key: &Key) -> Option<Arc<dyn Any + Send + Sync>> {
        let entry = self.entries.get_mut(key)?;
        entry.uses = (entry.uses + 1).min(USES_MAX);
        Some(Arc::clone(&entry.what))
    }

    fn put(&mut self, key: Key, what: Arc<dyn Any + Send + Sync>, bytes: usize, bytes_max: usize) {
        if self.entries.contains_key(&key) {
            // Somebody else loaded the same.
            return;
        }
        let is_main = self.ghosts.remove(&key);
        self.entries.insert(key, Entry { what, bytes, uses: 0, is_main });
        if is_main {
            self.main.push_back(key);
            self.main_bytes += bytes;
        } else {
            self.small.push_back(key);
            self.small_bytes += bytes;
        }
        while self.small_bytes + self.main_bytes > bytes_max {
            if self.small_bytes > bytes_max / SMALL_SHARE || self.main.is_empty() {
                self.shrink_small();
            } else {
                self.shrink_main();
            }
        }
    }

    /// Takes the oldest out of the small queue: to the main queue if it was asked for again.
    fn shrink_small(&mut self) {
        let Some(key) = self.small.pop_front() else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.small_bytes -= entry.bytes;
        if entry.uses > 0 {
            (entry.uses, entry.is_main) = (0, true);
            self.main_bytes += entry.bytes;
            self.main.push_back(key);
            return;
        }
        self.entries.remove(&key);
        if self.ghosts.insert(key) {
            self.ghost_queue.push_back(key);
        }
        if self.ghost_queue.len() > GHOSTS_MAX
            && let Some(oldest) = self.ghost_queue.pop_front()
        {
            self.ghosts.remove(&oldest);
        }
    }

    /// Takes the oldest out of the main queue, or lets it go round once more for each use.
    fn shrink_main(&mut self) {
        let Some(key) = self.main.pop_front() else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.uses > 0 {
            entry.uses -= 1;
            self.main.push_back(key);
            return;
        }
        self.main_bytes -= entry.bytes;
        self.entries.remove(&key);
    }

    fn forget(&mut self, file: u64) {
        let Self { small_bytes, main_bytes, .. } = self;
        self.entries.retain(|key, entry| {
            let stays = key.0 != file;
            if !stays {
                *(if entry.is_main { &mut *main_bytes } else { &mut *small_bytes }) -= entry.bytes;
            }
            stays
        });
        for queue in [&mut self.small, &mut self.main, &mut self.ghost_queue] {
            queue.retain(|key| key.0 != file);
        }
        self.ghosts.retain(|key| key.0 != file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(cache: &Cache, file: u64, part: u64, bytes: usize) -> bool {
        let mut loaded = false;
        let value = cache.get_or_load((file, Part::Chunks(part)), true, || {
            loaded = true;
            Ok(((file, part), bytes))
        });
        assert_eq!(*value.unwrap(), (file, part));
        loaded
    }

    #[test]
    fn what_is_used_again_outlives_a_scan() {
        let cache = Cache::new(100 * (ENTRY_BYTES + 40));
        for round in 0..3 {
            (0..50).for_each(|part| assert!(load(&cache, 1, part, 40) == (round == 0)));
        }
        (0..10_000).for_each(|part| assert!(load(&cache, 2, part, 40)));
        let loaded_again = (0..50).filter(|part| load(&cache, 1, *part, 40)).count();
        assert_eq!(loaded_again, 0);
    }

    #[test]
    fn a_file_that_is_gone_leaves_nothing() {
        let cache = Cache::new(1 << 20);
        (0..10).for_each(|part| assert!(load(&cache, part % 2, part, 100)));
        cache.forget(0);
        assert_eq!(cache.stats().bytes, 5 * (100 + ENTRY_BYTES as u64));
        assert!(load(&cache, 0, 0, 100) && !load(&cache, 1, 1, 100));
        cache.forget(0);
        cache.forget(1);
        assert_eq!(cache.stats().bytes, 0);
    }

    #[test]
    fn what_does_not_fit_or_is_not_to_be_kept_is_loaded_each_time() {
        let cache = Cache::new(1000);
        assert!(load(&cache, 1, 1, 600) && load(&cache, 1, 1, 600));
        let key = (1, Part::Directory);
        let bypass = |value: u8| *cache.get_or_load(key, false, || Ok((value, 1))).unwrap();
        assert_eq!((bypass(1), bypass(2)), (1, 2));
        assert_eq!(cache.stats(), CacheStats { bytes: 0, hits: 0, misses: 4 });
    }

    proptest! {
        #[test]
        fn the_budget_holds_whatever_comes(
            steps in prop::collection::vec((0_u64..4, 0_u64..30, 0_usize..600), 1..300),
        ) {
            let cache = Cache::new(4000);
            for (file, part, bytes) in steps {
                if bytes == 0 {
                    cache.forget(file);
                } else {
                    load(&cache, file, part, bytes);
                }
                let queues = cache.queues.lock();
                let held: usize = queues.entries.values().map(|entry| entry.bytes).sum();
                prop_assert_eq!(held, queues.small_bytes + queues.main_bytes);
                prop_assert!(held <= 4000);
                prop_assert_eq!(queues.entries.len(), queues.small.len() + queues.main.len());
                prop_assert!(queues.ghosts.len() <= GHOSTS_MAX);
            }
        }
    }
}
