//! The pieces that were read last: of the files of all places, for a reader asks for many small ranges of one.
//!
//! Not here: what a piece is, and how it is read (`pieces.rs`).

use super::PIECE_BYTES;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many pieces are brought near ahead of a read at most.
const FETCHED_MAX: usize = 32;

/// A file, and which of its pieces.
pub(in crate::cassandra) type PieceKey = (u64, u64);

/// What is near.
#[derive(Debug)]
pub(in crate::cassandra) struct PieceCache {
    bytes_max: usize,
    // A leaf: nothing is read while it is held.
    held: Mutex<Held>,
    fetched_bytes: AtomicU64,
    /// How many pieces were put here, and how many when a question needed none.
    fetches: AtomicU64,
    fetches_when_near: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    /// With when each was read last.
    pieces: BTreeMap<PieceKey, (u64, Arc<[u8]>)>,
    /// By when they were read last.
    order: BTreeMap<u64, PieceKey>,
    reads: u64,
    bytes: usize,
}

impl Held {
    fn get(&mut self, key: PieceKey) -> Option<Arc<[u8]>> {
        let (read, bytes) = self.pieces.get_mut(&key)?;
        self.order.remove(read);
        self.reads += 1;
        *read = self.reads;
        self.order.insert(self.reads, key);
        Some(Arc::clone(bytes))
    }

    fn put(&mut self, key: PieceKey, bytes: Arc<[u8]>) {
        self.reads += 1;
        self.bytes += bytes.len();
        if let Some((read, old)) = self.pieces.insert(key, (self.reads, bytes)) {
            self.order.remove(&read);
            self.bytes -= old.len();
        }
        self.order.insert(self.reads, key);
    }

    fn shrink_to(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some((_, key)) = self.order.pop_first()
        {
            let old = self.pieces.remove(&key);
            self.bytes -= old.map_or(0, |(_, old)| old.len());
        }
    }
}

impl PieceCache {
    /// Keeps so many bytes.
    pub(in crate::cassandra) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            held: Mutex::default(),
            fetched_bytes: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
            fetches_when_near: AtomicU64::new(u64::MAX),
        }
    }

    /// So many pieces are brought near ahead of a read: of what is kept a quarter at most.
    pub(in crate::cassandra) fn fetched_max(&self) -> usize {
        FETCHED_MAX.min(self.bytes_max / PIECE_BYTES / 4)
    }

    /// Whether a piece is near.
    pub(in crate::cassandra) fn holds(&self, key: PieceKey) -> bool {
        self.held.lock().pieces.contains_key(&key)
    }

    pub(super) fn get(&self, key: PieceKey) -> Option<Arc<[u8]>> {
        self.held.lock().get(key)
    }

    /// The bytes of the pieces that were fetched since this was asked last.
    pub(in crate::cassandra) fn take_fetched_bytes(&self) -> u64 {
        self.fetched_bytes.swap(0, Ordering::Relaxed)
    }

    /// Nothing is near any more.
    #[cfg(test)]
    pub(in crate::cassandra) fn forget(&self) {
        self.held.lock().shrink_to(0);
    }

    /// How many pieces were brought near so far.
    pub(in crate::cassandra) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// A question is answered that began when there had been so many fetches.
    pub(in crate::cassandra) fn answered(&self, fetches: u64) {
        if self.fetches() == fetches {
            self.fetches_when_near.store(fetches, Ordering::Relaxed);
        }
    }

    /// Whether a question found all near, and nothing was fetched since: it is likely that the next one does.
    pub(in crate::cassandra) fn is_all_near(&self) -> bool {
        self.fetches_when_near.load(Ordering::Relaxed) == self.fetches()
    }

    pub(super) fn put(&self, key: PieceKey, bytes: Arc<[u8]>) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.fetched_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut held = self.held.lock();
        held.put(key, bytes);
        held.shrink_to(self.bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_that_were_read_last_are_near_and_no_more_than_so_many_bytes_of_them() {
        let cache = PieceCache::new(4_000);
        let is_near = |pieces: [u64; 5]| pieces.map(|piece| cache.holds((1, piece)));
        for piece in 0..4 {
            cache.put((1, piece), vec![7; 1_000].into());
        }
        assert!(cache.get((1, 0)).is_some());
        cache.put((1, 4), vec![7; 1_500].into());
        assert_eq!(is_near([0, 1, 2, 3, 4]), [true, false, false, true, true]);
        // What is near already counts once.
        cache.put((1, 4), vec![7; 2_000].into());
        assert_eq!(is_near([0, 1, 2, 3, 4]), [true, false, false, true, true]);
        cache.put((1, 5), vec![7; 5_000].into());
        assert_eq!(is_near([0, 1, 3, 4, 5]), [false; 5]);
        assert_eq!(cache.held.lock().bytes, 0);
    }
}
