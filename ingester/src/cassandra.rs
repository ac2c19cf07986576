//! A store whose bytes are rows of Cassandra: the processes hold nothing (DESIGN.md D14, design in
//! `docs/adr/0010-how-a-store-lies-in-rows.md`).
//!
//! The store's head, codec, reader and merge are the embedded ones. Here are the three things that
//! they stand on: the journal in the place of the commit log, the rows of a manifest, and pieces of
//! sstables and checkpoints in the place of files. Below them is one small trait ([`Rows`]) of what
//! is asked of the database.
//!
//! Not here: who may open a store (`cluster::ownership`).

pub mod cql;
#[cfg(feature = "cassandra")]
pub mod driver;
pub mod fake;
mod journal;
mod manifest;
mod pieces;
mod row_disk;
pub mod rows;
pub mod schema;
pub mod upkeep;

pub use rows::{Change, Changed, Column, Consistency, Key, Read, Row, Rows, RowsError, Write};

use crate::cassandra::rows::CommitLogSync;
use row_disk::RowDisk;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::Result;
use store::commit_log::{self, LogSink, ReplayReport};
use store::disk::Disk;
use store::engine::Backend;
use store::manifest::ManifestSink;

/// Of a write whose outcome is unknown: how often the same row is written again before the error is
/// handed on. Each try has the driver's own time-out.
const TRIES: usize = 4;

/// One store in rows, opened for one life of a process.
#[derive(Debug)]
pub struct RowStore {
    rows: Arc<dyn Rows>,
    disk: Arc<RowDisk>,
    incarnation: u128,
    // Which life of the store this is; 0 until the manifest is open.
    life: AtomicU64,
}

impl RowStore {
    /// Stands on `rows`. `incarnation` is 128 random bits, drawn for this life of the process.
    ///
    /// # Errors
    /// If a node of the database answers before it has synced, unless `accept_periodic`; what the
    /// database says.
    pub fn new(rows: Arc<dyn Rows>, incarnation: u128, accept_periodic: bool) -> Result<Self> {
        for (node, sync) in rows.commit_log_sync().map_err(|error| error.on("settings"))? {
            if sync == CommitLogSync::Periodic && !accept_periodic {
                let why = format!(
                    "node {node} has `commitlog_sync: periodic`: it answers up to 10 s before what \
                     it answers for is on disk; set `batch` or `group`, or accept_periodic_commitlog"
                );
                return Err(rows::refused("use", "cassandra", why));
            }
        }
        let disk = Arc::new(RowDisk::new(Arc::clone(&rows)));
        Ok(Self { rows, disk, incarnation, life: AtomicU64::new(0) })
    }

    /// Which life of the store this is, from 1; 0 before it is open.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// Where its sstables and checkpoints are.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk) as Arc<dyn Disk>
    }
}

impl Backend for RowStore {
    fn open_manifest(&self) -> Result<Box<dyn ManifestSink>> {
        let (manifest, life) = manifest::RowManifest::open(
            Arc::clone(&self.rows),
            Arc::clone(&self.disk),
            self.incarnation,
        )?;
        self.life.store(life, Ordering::Relaxed);
        Ok(Box::new(manifest))
    }

    fn open_log(
        &self,
        config: &commit_log::Config,
        _start: u64,
        from_segment: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(Box<dyn LogSink>, ReplayReport)> {
        let life = self.life();
        let report = journal::replay(&*self.rows, life, from_segment, visit)?;
        let journal = journal::Journal::open(Arc::clone(&self.rows), life, config)?;
        Ok((Box::new(journal), report))
    }
}
