//! The journal: the log of one life of a place, as rows of a database. The log sink that stands in the
//! place of the commit log.
//!
//! A *writer* is a place and a life of it. A *row* holds whole records, or a part of one that is too
//! large for a row; its key is its writer and a number. A *period* is a table that all writers share. A *shelf*
//! is a partition of it that the rows of all places of a process go to (`gathering.rs`), so that those that
//! are written at one time are one request. A *stretch* is a string of a writer's rows on one shelf, and a
//! *segment* of the log sink; a *signpost*, a row in a partition of the writer's own, says where it begins.
//!
//! # Invariants
//! - A row is durable only together with the signpost that leads to it: nobody guesses where a journal ends.
//! - A row never changes: what could not be written is written again with the same key, bytes and
//!   timestamp, in front of what came since (`line.rs`). So a write that comes late, or twice, changes nothing.
//! - A record is durable when a quorum has acknowledged all rows of its group and of those before.
//! - A writer's periods rise, and begin with the one where the replay of its place begins. So a table
//!   goes when the replay of every place begins behind its period; rows are not deleted.
//! - No table is made when a row is written, and nobody waits for the database but who syncs: a record is
//!   put in line, and a segment ended, while a group is under way.
//! - Rows that could not be written are written alone until they are: a place whose rows are refused holds up
//!   no other.
//!
//! Not here: what is in a record; when to sync; who may read a journal (`cluster::ownership`); which
//! periods there are (`periods.rs`).

mod gathering;
mod line;
mod replay;

pub(super) use gathering::Gathering;
pub(super) use replay::replay;

use super::periods::{PERIOD_BITS, Periods};
use super::rows::{Rows, drop_table, table_names, write_all};
use super::schema::{journal_of, journal_table};
use line::Line;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use store::Result;
use store::commit_log::{self, LogSink, SyncFailed};

/// The timestamp of every row.
const TIMESTAMP: i64 = 1;
/// A row of whole records, each behind its length.
const WHOLE: u8 = 0;
/// A row with a part of a record, behind the part's index and how many there are.
const PART: u8 = 1;

/// Bits of a stretch in a segment's number.
const STRETCH_BITS: u32 = 16;
/// Bits of a life in a writer's number.
const LIFE_BITS: u32 = 32;

/// A stretch of one place's journal; ascending in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    life: u64,
    period: u64,
    stretch: u64,
}

/// The table in which replay from a segment begins; `None` of a place that was never flushed.
pub(super) fn table_of(segment: u64) -> Option<String> {
    let period = Segment::of(segment).period;
    (period > 0).then(|| journal_table(period))
}

impl Segment {
    fn of(number: u64) -> Self {
        let low = |bits: u32| (1 << bits) - 1;
        Self {
            life: number >> (PERIOD_BITS + STRETCH_BITS),
            period: (number >> STRETCH_BITS) & low(PERIOD_BITS),
            stretch: number & low(STRETCH_BITS),
        }
    }

    fn number(self) -> u64 {
        (self.life << (PERIOD_BITS + STRETCH_BITS)) | (self.period << STRETCH_BITS) | self.stretch
    }
}

/// Whose journal: a place, and how many places share the tables.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) place: u16,
    pub(super) places: u16,
    pub(super) periods: Arc<Periods>,
    /// The period where the replay of the place begins.
    pub(super) floor: Arc<AtomicU64>,
    /// The bytes that wait in the journals of all places of the process.
    pub(super) pending_bytes: Arc<AtomicUsize>,
    /// What the journals of all places of the process share.
    pub(super) gathering: Arc<Gathering>,
    /// Is set before this life of the place writes anything.
    pub(super) is_used: Arc<AtomicBool>,
}

impl Whose {
    fn writer(&self, life: u64) -> u64 {
        (u64::from(self.place) << LIFE_BITS) | life
    }
}

/// The journal of this life, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    rows: Arc<dyn Rows>,
    life: u64,
    line: Arc<Line>,
    // One who syncs at a time. Taken first, and held while the database works.
    syncing: Mutex<()>,
}

impl Journal {
    /// A new journal, of a place whose replay begins with a segment; its first table is there when
    /// this returns.
    pub(super) fn open(
        rows: Arc<dyn Rows>,
        whose: Whose,
        life: u64,
        from_segment: u64,
        config: &commit_log::Config,
    ) -> Result<Self> {
        let from = Segment::of(from_segment).period;
        whose.floor.store(from, Ordering::Relaxed);
        if whose.periods.newest() == 0 {
            whose.periods.make_next(&*rows, whose.periods.hour())?;
        }
        let period = whose.periods.newest().max(from);
        if period > whose.periods.newest() {
            whose.periods.make(&*rows, period)?;
        }
        let gathering = Arc::clone(&whose.gathering);
        let line = Arc::new(Line::new(whose, life, period, config.clone()));
        gathering.join(&line);
        Ok(Self { rows, life, line, syncing: Mutex::new(()) })
    }

    /// Writes what could not be written with others', again while it is not known what came of it.
    fn write_alone(&self) -> Result<()> {
        let Some(group) = self.line.take_refused() else { return Ok(()) };
        let done = write_all(&*self.rows, &group.writes, "journal");
        self.line.settle(group, done.is_ok());
        done
    }
}

impl LogSink for Journal {
    fn append(&self, payload: &[u8]) -> Result<u64> {
        self.line.append(payload)
    }

    /// Nothing: what a row holds was acknowledged or not, whatever stands behind it.
    fn mark(&self) -> Option<u64> {
        None
    }

    fn mark_anew(&self) {}

    fn sync(&self) -> Result<u64, SyncFailed> {
        let _alone = self.syncing.lock();
        let (through, _) = self.line.tickets();
        loop {
            match self.line.whose.gathering.reach(&*self.rows, &self.line, through) {
                Some(synced) => return Ok(synced),
                None => self.write_alone().map_err(|error| SyncFailed { through, error })?,
            }
        }
    }

    fn sync_into_reserve(&self) -> Result<u64, SyncFailed> {
        self.sync()
    }

    fn roll(&self) -> u64 {
        self.line.roll().number()
    }

    fn segments_through(&self, last: u64) -> Result<u64> {
        let (last, now) = (Segment::of(last), self.line.period());
        // Those of this life that may hold something; the database is not asked for it.
        Ok(if last.life < self.life { 0 } else { u64::from(last.period >= now) })
    }

    fn remove_through(&self, last: u64) -> Result<()> {
        let from = Segment::of(last.saturating_add(1)).period;
        self.line.whose.floor.store(from, Ordering::Relaxed);
        // The flush that asks is done. A table that stays longer takes room, and the next flush asks again.
        if let Err(error) = sweep(&*self.rows, &self.line.whose, from) {
            tracing::warn!(%error, "tables of journals that nothing needs are not dropped yet");
        }
        Ok(())
    }

    fn synced_sequence(&self) -> u64 {
        self.line.tickets().1
    }

    fn written_bytes(&self) -> u64 {
        self.line.written_bytes()
    }

    fn pending_bytes(&self) -> usize {
        self.line.pending_bytes()
    }
}

/// Drops the tables of periods that no place's replay needs. That of this place begins with period
/// `from`; where those of others begin is asked only if there is something to drop.
fn sweep(rows: &dyn Rows, whose: &Whose, from: u64) -> Result<()> {
    let past: BTreeSet<u64> =
        table_names(rows)?.iter().filter_map(|name| journal_of(name)).collect();
    if past.range(..from).next().is_none() {
        return Ok(());
    }
    let mut floor = from;
    for place in (0..whose.places).filter(|place| *place != whose.place) {
        // A place that was never flushed may have rows in any period.
        let (_, state) = super::manifest::look(rows, place)?;
        floor = floor.min(Segment::of(state.log_from_segment()).period);
    }
    for period in past.range(..floor) {
        drop_table(rows, &journal_table(*period))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
