//! What the journals of a process's places share: the partition that their rows go to, and one request for
//! the rows of all that sync at one time.
//!
//! A request costs the database much more than a row of some hundred bytes in it, and rows of one partition
//! are one write to it. So whoever finds a request under way waits for its end, and the next one takes
//! the rows of all who wait.
//!
//! # Invariants
//! - Whoever waits is told what came of the request that had his rows, and of no other.
//! - Nothing is held while the database works.
//! - It does not matter for what is kept whether two processes have one number: a row's key begins with the
//!   place and its life.
//!
//! Not here: which rows, and what happens to those that could not be written (`journal.rs`).

use crate::cassandra::rows::{Rows, RowsError, Write};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::mem;

/// A partition of the database ends about here.
const PARTITION_BYTES_MAX: u64 = 64 << 20;
/// Is set in a process's number, and in no place's.
const IS_PROCESS: u64 = 1 << 62;

/// A partition that rows of many places go to: a process's number, and which of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shelf {
    pub(super) process: u64,
    pub(super) bucket: u64,
}

/// What the journals of a process share.
#[derive(Debug)]
pub(in crate::cassandra) struct Gathering {
    process: u64,
    // The partition that is being filled, and the bytes in it. A leaf.
    filling: Mutex<(u64, u64)>,
    // A leaf.
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Write>,
    waiters: usize,
    /// The number of the request that takes what waits.
    next: u64,
    is_busy: bool,
    done: BTreeMap<u64, Done>,
}

#[derive(Debug)]
struct Done {
    outcome: Result<(), RowsError>,
    /// Who has not been told yet.
    waiters: usize,
}

impl Gathering {
    /// `incarnation` are random bits of this life of the process.
    pub(in crate::cassandra) fn new(incarnation: u128) -> Self {
        let low = u64::try_from(incarnation & u128::from(IS_PROCESS - 1)).unwrap_or(0);
        Self {
            process: IS_PROCESS | low,
            filling: Mutex::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The partition for a row of so many bytes.
    pub(super) fn shelf(&self, bytes: usize) -> Shelf {
        let mut filling = self.filling.lock();
        let (bucket, held) = &mut *filling;
        if *held >= PARTITION_BYTES_MAX {
            (*bucket, *held) = (*bucket + 1, 0);
        }
        *held += bytes as u64;
        Shelf { process: self.process, bucket: *bucket }
    }

    /// Writes rows, with those of whoever else waits. Blocks.
    pub(super) fn write(&self, rows: &dyn Rows, writes: &[Write]) -> Result<(), RowsError> {
        let mut queue = self.queue.lock();
        queue.waiting.extend_from_slice(writes);
        queue.waiters += 1;
        let mine = queue.next;
        loop {
            if let Some(outcome) = queue.told(mine) {
                return outcome;
            }
            if queue.is_busy {
                self.changed.wait(&mut queue);
                continue;
            }
            // Those who wait for the request before have been told or will be: this is mine.
            let (waiting, waiters) = queue.begin();
            let outcome = MutexGuard::unlocked(&mut queue, || rows.write(&waiting));
            queue.is_busy = false;
            queue.done.insert(mine, Done { outcome, waiters });
            self.changed.notify_all();
        }
    }
}

impl Queue {
    /// Takes all that waits into one request.
    fn begin(&mut self) -> (Vec<Write>, usize) {
        self.is_busy = true;
        self.next += 1;
        (mem::take(&mut self.waiting), mem::take(&mut self.waiters))
    }

    /// What came of a request, if it is over.
    fn told(&mut self, number: u64) -> Option<Result<(), RowsError>> {
        let done = self.done.get_mut(&number)?;
        done.waiters = done.waiters.saturating_sub(1);
        if done.waiters > 0 {
            return Some(done.outcome.clone());
        }
        self.done.remove(&number).map(|done| done.outcome)
    }
}
