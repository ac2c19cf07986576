//! What the journals of a process's places share: the partition that their rows go to, and one request for
//! what all of them have at one moment.
//!
//! A request costs the database much more than a row of some hundred bytes in it, and rows of one partition
//! are one write to it. So whoever syncs while a request is under way waits for its end; the next one takes what
//! all lines have by then, also those whose own sync has not come yet.
//!
//! # Invariants
//! - One request at a time. Nothing is held while the database works.
//! - Rows whose request failed are written by their own journal, alone: no place waits for another's again.
//! - It does not matter for what is kept whether two processes have one number: a row's key begins with the
//!   place and its life.
//!
//! Not here: which rows there are (`line.rs`).

use super::line::{Line, Progress};
use crate::cassandra::rows::Rows;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::{Arc, Weak};

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
    // Whose records are gathered. Taken for a moment, and no other lock while it is held.
    lines: Mutex<Vec<Weak<Line>>>,
    // Whether a request is under way. Lines are looked at while it is held.
    is_busy: Mutex<bool>,
    changed: Condvar,
}

impl Gathering {
    /// `incarnation` are random bits of this life of the process.
    pub(in crate::cassandra) fn new(incarnation: u128) -> Self {
        let low = u64::try_from(incarnation & u128::from(IS_PROCESS - 1)).unwrap_or(0);
        Self {
            process: IS_PROCESS | low,
            filling: Mutex::default(),
            lines: Mutex::default(),
            is_busy: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// From now on what this line has goes along, until it is let go of.
    pub(super) fn join(&self, line: &Arc<Line>) {
        let mut lines = self.lines.lock();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
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

    /// Returns when a line is durable up to a ticket: how far it is then, or `None` if it has rows that
    /// have to be written alone. Blocks.
    pub(super) fn reach(&self, rows: &dyn Rows, line: &Line, through: u64) -> Option<u64> {
        let mut is_busy = self.is_busy.lock();
        loop {
            match line.progress(through) {
                Progress::Reached(synced) => return Some(synced),
                Progress::Refused => return None,
                Progress::Waits => {}
            }
            if *is_busy {
                self.changed.wait(&mut is_busy);
                continue;
            }
            *is_busy = true;
            MutexGuard::unlocked(&mut is_busy, || self.round(rows));
            *is_busy = false;
            self.changed.notify_all();
        }
    }

    /// Writes what all lines have.
    fn round(&self, rows: &dyn Rows) {
        let lines: Vec<Arc<Line>> = self.lines.lock().iter().filter_map(Weak::upgrade).collect();
        let groups = lines.into_iter().filter_map(|line| Some((line.take()?, line)));
        let groups: Vec<_> = groups.collect();
        let writes: Vec<_> = groups.iter().flat_map(|(group, _)| group.writes.clone()).collect();
        let outcome = rows.write(&writes);
        for (group, line) in groups {
            line.settle(group, outcome.is_ok());
        }
    }
}
