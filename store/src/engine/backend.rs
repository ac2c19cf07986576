//! What an engine stands on: a directory of one node, or rows that outlive the process (DESIGN.md
//! D16). There is one head, one codec, one reader and one merge above it.
//!
//! Three seams: the log sink ([`LogSink`]), the manifest sink ([`ManifestSink`]), and the [`Disk`], whose
//! sstables are written through a segment sink and read through a block source.
//!
//! Not here: rows (`ingester/cassandra`).

use crate::commit_log::{self, CommitLog, LogSink, ReplayReport};
use crate::disk::Disk;
use crate::error::Result;
use crate::format_marker;
use crate::manifest::{
    CHECKPOINT_DIRECTORY, LOG_DIRECTORY, Manifest, ManifestSink, SSTABLE_DIRECTORY,
};
use std::fmt::Debug;
use std::sync::Arc;

/// Opens the log and the manifest of one store, for one life of a process.
pub trait Backend: Debug + Send + Sync {
    /// Reads what is live. Comes first; after it no earlier life can change anything.
    ///
    /// # Errors
    /// What the disk says; a format of a later release; damage.
    fn open_manifest(&self) -> Result<Box<dyn ManifestSink>>;

    /// Hands each record from segment `from_segment` on to `visit`, of this store's earlier lives,
    /// and opens the log for this one. When it returns, what was visited is durable. `start` is 64
    /// random bits, drawn for this life.
    ///
    /// # Errors
    /// As [`CommitLog::open`].
    fn open_log(
        &self,
        config: &commit_log::Config,
        start: u64,
        from_segment: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(Box<dyn LogSink>, ReplayReport)>;
}

/// A directory of one node.
#[derive(Debug)]
pub(super) struct Directory(pub(super) Arc<dyn Disk>);

impl Backend for Directory {
    fn open_manifest(&self) -> Result<Box<dyn ManifestSink>> {
        prepare(&*self.0)?;
        Ok(Box::new(Manifest::open(Arc::clone(&self.0))?))
    }

    fn open_log(
        &self,
        config: &commit_log::Config,
        start: u64,
        from_segment: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(Box<dyn LogSink>, ReplayReport)> {
        let (disk, config) = (Arc::clone(&self.0), config.clone());
        let (log, report) =
            CommitLog::open(disk, LOG_DIRECTORY, config, start, from_segment, &mut |record| {
                visit(record.payload)
            })?;
        Ok((Box::new(log), report))
    }
}

/// Sees to it that the directory is one of ours, and clean.
fn prepare(disk: &dyn Disk) -> Result<()> {
    format_marker::check(disk)?;
    crate::snapshot::remove_leftovers(disk)?;
    for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
        disk.create_dir(directory)?;
    }
    disk.sync_dir("")
}
