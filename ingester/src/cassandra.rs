//! A store whose bytes are rows of Cassandra: the processes hold nothing (DESIGN.md D14, design in
//! `docs/adr/0010-how-a-store-lies-in-rows.md`).
//!
//! The store's head, codec, reader and merge are the embedded ones. Here are the three things that
//! they stand on: the journal in the place of the commit log, the rows of a manifest, and pieces of
//! sstables and checkpoints in the place of files. Below them is one small trait ([`Rows`]) of what
//! is asked of the database.
//!
//! The ring's *places* are stores of their own, which share the tables: a place is opened by one process
//! at a time, and opening it shuts out whoever had it.
//!
//! Not here: who may open a store (`cluster::ownership`).

pub mod agreement;
pub mod cql;
#[cfg(feature = "cassandra")]
pub mod driver;
pub mod fake;
pub mod fleet;
mod guarded;
pub mod guest;
mod joined;
mod journal;
mod manifest;
pub mod member;
pub mod oversight;
mod periods;
mod pieces;
mod row_disk;
pub mod rows;
pub mod schema;
pub mod settings;
pub mod upkeep;

pub use rows::{Change, Changed, Column, Consistency, Key, Read, Row, Rows, RowsError, Write};

use crate::cassandra::rows::CommitLogSync;
use journal::{Gathering, Whose};
use periods::Periods;
use pieces::PieceCache;
use row_disk::RowDisk;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use store::Result;
use store::commit_log::{self, LogSink, ReplayReport};
use store::disk::Disk;
use store::engine::Backend;
use store::manifest::ManifestSink;

/// Of a write whose outcome is unknown: how often the same row is written again before the error is
/// handed on. Each try has the driver's own time-out.
const TRIES: usize = 4;

/// So many bytes of pieces of sstables are kept near.
pub const CACHE_BYTES: usize = 128 << 20;

/// The stores of all places of one database, for one life of a process.
#[derive(Debug)]
pub struct Database {
    rows: Arc<dyn Rows>,
    cache: Arc<PieceCache>,
    incarnation: u128,
    places: u16,
    periods: Arc<Periods>,
    /// What waits in the journals of all places.
    pending_bytes: Arc<AtomicUsize>,
    gathering: Arc<Gathering>,
    /// By how many milliseconds the clock was ahead of the nodes' when it was looked at.
    clock_ahead_ms: Arc<AtomicI64>,
    // How many stores were made: each has an incarnation of its own.
    made: AtomicU64,
}

impl Database {
    /// Stands on `rows`, which `places` places share: a number that never changes. `incarnation` is 128
    /// random bits, drawn for this life of the process.
    ///
    /// # Errors
    /// If a node of the database answers before it has synced, unless `accept_periodic`; what the
    /// database says.
    pub fn new(
        rows: Arc<dyn Rows>,
        incarnation: u128,
        places: u16,
        accept_periodic: bool,
    ) -> Result<Self> {
        for (node, sync) in rows.commit_log_sync().map_err(|error| error.on("settings"))? {
            if sync == CommitLogSync::Periodic && !accept_periodic {
                let why = format!(
                    "node {node} has `commitlog_sync: periodic`: it answers up to 10 s before what \
                     it answers for is on disk; set `batch` or `group`, or accept_periodic_commitlog"
                );
                return Err(rows::refused("use", "cassandra", why));
            }
        }
        Ok(Self {
            rows,
            cache: Arc::new(PieceCache::new(CACHE_BYTES)),
            incarnation,
            places: places.max(1),
            periods: Arc::default(),
            pending_bytes: Arc::default(),
            gathering: Arc::new(Gathering::new(incarnation)),
            clock_ahead_ms: Arc::default(),
            made: AtomicU64::new(0),
        })
    }

    /// Keeps so many bytes of pieces of sstables near, instead of [`CACHE_BYTES`].
    #[must_use]
    pub fn keeping_near(mut self, bytes: usize) -> Self {
        self.cache = Arc::new(PieceCache::new(bytes));
        self
    }

    /// The clock shows this hour since 1970: the number of the journals' next period, if it can be.
    pub fn set_hour(&self, hour: u64) {
        self.periods.set_hour(hour);
    }

    /// Compares the clock, which shows this many milliseconds since 1970, with those of the nodes: by how many it
    /// is ahead of them all. By what it is ahead nothing expires. Blocks.
    ///
    /// # Errors
    /// What the database says; what was found before holds.
    pub fn look_at_clock(&self, now_ms: i64) -> Result<i64> {
        let told = self.rows.clock_ms().map_err(|error| error.on("clock"))?;
        let ahead_ms = told.map_or(0, |theirs_ms| now_ms.saturating_sub(theirs_ms));
        self.clock_ahead_ms.store(ahead_ms, Ordering::Relaxed);
        Ok(ahead_ms)
    }

    /// The newest period of the journals that is known; 0 before the first place is open.
    #[must_use]
    pub fn period(&self) -> u64 {
        self.periods.newest()
    }

    /// The bytes of files that were fetched from the database since this was asked last.
    pub fn take_fetched_bytes(&self) -> u64 {
        self.cache.take_fetched_bytes()
    }

    /// Makes the table of the journals' next period, or finds that another has: from now on journals go
    /// there. Blocks.
    ///
    /// # Errors
    /// What the database says; then journals stay where they are.
    pub fn make_next_period(&self) -> Result<u64> {
        self.periods.make_next(&*self.rows, self.periods.hour())
    }

    /// The store of a place, which is this process's by a version of the ring row. Opening it ends every
    /// life of the place that was opened by that version or one before, wherever; it fails if there was
    /// one by a later version.
    #[must_use]
    pub fn place(&self, place: u16, ring_version: u64) -> RowStore {
        let made = u128::from(self.made.fetch_add(1, Ordering::Relaxed));
        self.place_as(place, ring_version, self.incarnation.wrapping_add(made))
    }

    /// As [`Database::place`], as the same life of it as a store that came to nothing
    /// ([`RowStore::unused`]).
    #[must_use]
    pub fn place_as(&self, place: u16, ring_version: u64, incarnation: u128) -> RowStore {
        let is_used: Arc<AtomicBool> = Arc::default();
        let disk = RowDisk::new(
            Arc::clone(&self.rows),
            Arc::clone(&self.cache),
            (place, self.places),
            (Arc::clone(&is_used), Arc::clone(&self.clock_ahead_ms)),
        );
        RowStore {
            rows: Arc::clone(&self.rows),
            disk: Arc::new(disk),
            whose: Whose {
                place,
                places: self.places,
                periods: Arc::clone(&self.periods),
                floor: Arc::default(),
                pending_bytes: Arc::clone(&self.pending_bytes),
                gathering: Arc::clone(&self.gathering),
                is_used,
            },
            incarnation,
            ring_version,
            life: AtomicU64::new(0),
            is_fenced: Arc::default(),
        }
    }
}

/// The store of one place, opened once.
#[derive(Debug)]
pub struct RowStore {
    rows: Arc<dyn Rows>,
    disk: Arc<RowDisk>,
    whose: Whose,
    incarnation: u128,
    ring_version: u64,
    is_fenced: Arc<AtomicBool>,
    // Which life of the place this is; 0 until the manifest is open.
    life: AtomicU64,
}

impl RowStore {
    /// The store of a database that has one place, as [`Database::new`].
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn new(rows: Arc<dyn Rows>, incarnation: u128, accept_periodic: bool) -> Result<Self> {
        Ok(Database::new(rows, incarnation, 1, accept_periodic)?.place(0, 0))
    }

    /// What is near of the files of all places.
    fn near(&self) -> &Arc<PieceCache> {
        self.disk.near()
    }

    /// Which life of the place this is, from 1; 0 before it is open.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// The incarnation of a store that has written nothing as the life that it was given: what it wrote
    /// would have that life's numbers. So an opening that failed can be tried again without another one.
    #[must_use]
    pub fn unused(&self) -> Option<u128> {
        (!self.whose.is_used.load(Ordering::Relaxed)).then_some(self.incarnation)
    }

    /// Is set when another life has been seen to have taken the place over: this one will change nothing
    /// any more.
    #[must_use]
    pub fn is_fenced(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_fenced)
    }

    /// The period of the journal where a replay would begin; 0 before the first flush.
    #[must_use]
    pub fn replay_from(&self) -> u64 {
        self.whose.floor.load(Ordering::Relaxed)
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
            (self.whose.place, self.ring_version),
            Arc::clone(&self.disk),
            self.incarnation,
        )?;
        self.life.store(life, Ordering::Relaxed);
        Ok(Box::new(manifest.tells(self.is_fenced(), Arc::clone(&self.whose.is_used))))
    }

    fn open_log(
        &self,
        config: &commit_log::Config,
        _start: u64,
        from_segment: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(Box<dyn LogSink>, ReplayReport)> {
        let life = self.life();
        let report = journal::replay(&*self.rows, &self.whose, life, from_segment, visit)?;
        let (rows, whose) = (Arc::clone(&self.rows), self.whose.clone());
        let journal = journal::Journal::open(rows, whose, life, from_segment, config)?;
        Ok((Box::new(journal), report))
    }
}
