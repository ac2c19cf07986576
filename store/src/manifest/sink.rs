//! The manifest sink: what an engine asks of a manifest, so that a file of one node and rows that
//! outlive the process are one.
//!
//! Not here: how one is opened ([`crate::engine::Backend::open_manifest`]).

use super::{Edit, Manifest, State};
use crate::error::Result;
use std::fmt::Debug;

/// A manifest that is open for edits.
pub trait ManifestSink: Debug + Send {
    /// What is live.
    fn state(&self) -> &State;

    /// A number for a new file or tombstone, above all that were given before. In rows no file of
    /// any life had it; on a disk see [`Manifest::allocate_file_id`].
    fn allocate_file_id(&mut self) -> u64;

    /// Makes `edits` one change, durable when this returns.
    ///
    /// # Errors
    /// What the disk says; then the state is as before, and whether the change is durable is not
    /// known until a later call succeeds, also one without edits.
    fn apply(&mut self, edits: &[Edit]) -> Result<()>;

    /// Keeps room for the edits that give space back when the disk is full.
    ///
    /// # Errors
    /// What the disk says; then nothing is kept.
    fn keep_spare(&self, bytes_min: u64, free_bytes: u64) -> Result<()>;

    /// Lets go of what crashes left over.
    ///
    /// # Errors
    /// What the disk says.
    fn remove_orphans(&self) -> Result<()>;

    /// The file that a scrub has to look at, if it is one.
    fn path(&self) -> Option<&str>;
}

impl ManifestSink for Manifest {
    fn state(&self) -> &State {
        Manifest::state(self)
    }
    fn allocate_file_id(&mut self) -> u64 {
        Manifest::allocate_file_id(self)
    }
    fn apply(&mut self, edits: &[Edit]) -> Result<()> {
        Manifest::apply(self, edits)
    }
    fn keep_spare(&self, bytes_min: u64, free_bytes: u64) -> Result<()> {
        Manifest::keep_spare(self, bytes_min, free_bytes)
    }
    fn remove_orphans(&self) -> Result<()> {
        Manifest::remove_orphans(self).map(drop)
    }
    fn path(&self) -> Option<&str> {
        Some(super::MANIFEST_FILE)
    }
}
