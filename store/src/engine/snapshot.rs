//! Taking a snapshot of a store that is at work.
//!
//! # Order
//! 1. The head is flushed as of one moment; everything answered before is in it.
//! 2. While no edit of the manifest can come, so that no live file can go, each live file gets a
//!    second name in the snapshot's directory.
//! 3. A manifest of its own is written beside them, then the list of all of them: with that it is
//!    a snapshot. A crash before leaves a directory without a list, which the next start removes.
//!
//! A delete that is answered between the first step and the second is part of it.
//!
//! Not here: what a snapshot looks like, and everything done with one later (`snapshot.rs`).

use super::Engine;
use crate::error::{Error, Result};
use crate::head::series::Takes;
use crate::snapshot::{self, Snapshot};
use model::TimestampMs;

impl Engine {
    /// Takes a snapshot of everything that was answered before the call.
    ///
    /// # Errors
    /// [`Error::SnapshotExists`], [`Error::BadSnapshotName`], or what the disk says; then there is
    /// no snapshot of that name, and the store goes on.
    pub fn snapshot(&self, name: &str, now: TimestampMs) -> Result<Snapshot> {
        let disk = &*self.parts.disk;
        snapshot::check_name(name)?;
        // Held to the end: only by a flush does a live checkpoint become another.
        let one = self.flushing.lock();
        if disk.list(snapshot::DIRECTORY)?.iter().any(|taken| taken == name) {
            return Err(Error::SnapshotExists { name: name.to_owned() });
        }
        self.flush_as(&one, Takes::OneMoment, now)?;
        let taken = snapshot::begin(disk, name).and_then(|()| {
            let state = {
                let manifest = self.manifest.lock();
                snapshot::link(disk, name, manifest.state())?;
                manifest.state().clone()
            };
            snapshot::finish(disk, name, now, state)
        });
        if taken.is_err() {
            // If this fails too, the next start does it.
            let _ = snapshot::remove(disk, name);
        }
        taken
    }
}

#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod tests;
