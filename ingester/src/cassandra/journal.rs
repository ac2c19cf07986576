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
//!   timestamp, in front of what came since. So a write that comes late, or twice, changes nothing.
//! - A record is durable when a quorum has acknowledged all rows of its group and of those before.
//! - What waits is bounded: over the bound an append is refused.
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
mod replay;

pub(super) use gathering::Gathering;
pub(super) use replay::replay;

use super::periods::{PERIOD_BITS, Periods};
use super::rows::{Key, Rows, Write, drop_table, table_names, write_all};
use super::schema::{ints, journal_of, journal_table};
use gathering::Shelf;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use store::commit_log::{self, LogSink, SyncFailed};
use store::{Error, Result};

/// A row has about so many bytes at most.
const ROW_BYTES_MAX: usize = 1 << 20;
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
    whose: Whose,
    life: u64,
    config: commit_log::Config,
    // One group at a time. Taken first, by who syncs, and held while the database works.
    syncing: Mutex<()>,
    // Guards the order of the rows. Taken before `pending`, for a moment.
    writer: Mutex<State>,
    // Guards what waits. Held for the copying of one record.
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct State {
    period: u64,
    /// The last row's number in this period; never used twice.
    seq: u64,
    stretch: u64,
    /// Where the rows of this stretch go; `None` before the first of them.
    shelf: Option<Shelf>,
    /// Rows that are not known to be written; they go in front of the next group.
    refused: Vec<Write>,
    /// Whether rows are on their way, whose keys are of this period.
    is_under_way: bool,
}

impl State {
    fn of(period: u64) -> Self {
        Self { period, ..Self::default() }
    }

    /// Ends a stretch that has rows. The last one of a period is not left: it only grows.
    fn end_stretch(&mut self) {
        if self.shelf.take().is_some() {
            self.stretch = (self.stretch + 1).min((1 << STRETCH_BITS) - 1);
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    records: Vec<Vec<u8>>,
    bytes: usize,
    appended: u64,
    synced: u64,
    taken_bytes: usize,
    written_bytes: u64,
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
        Ok(Self {
            rows,
            whose,
            life,
            config: config.clone(),
            syncing: Mutex::new(()),
            writer: Mutex::new(State::of(period)),
            pending: Mutex::default(),
        })
    }

    /// Goes on to the newest period, unless there are rows whose keys are given.
    fn turn(&self, state: &mut State) {
        let newest = self.whose.periods.newest();
        if newest > state.period && state.refused.is_empty() && !state.is_under_way {
            *state = State::of(newest);
        }
    }

    /// Gives each row its key: what is to be written now, and whether alone.
    fn begin_group(&self, records: Vec<Vec<u8>>) -> (Vec<Write>, bool) {
        let mut state = self.writer.lock();
        self.turn(&mut state);
        let mut group = mem::take(&mut state.refused);
        let is_alone = !group.is_empty();
        for data in rows_of(records) {
            let shelf = self.whose.gathering.shelf(data.len());
            if state.shelf != Some(shelf) {
                state.end_stretch();
                state.shelf = Some(shelf);
                group.push(self.signpost(&state, shelf));
            }
            state.seq += 1;
            group.push(self.row(&state, shelf, data));
        }
        state.is_under_way = true;
        (group, is_alone)
    }

    fn end_group(&self, group: Vec<Write>, is_written: bool) {
        let mut state = self.writer.lock();
        state.is_under_way = false;
        if !is_written {
            state.refused = group;
        }
    }

    fn row(&self, state: &State, shelf: Shelf, data: Vec<u8>) -> Write {
        let row = ints([self.whose.writer(self.life), state.seq]);
        write_at(state.period, Key { partition: ints([shelf.process, shelf.bucket]), row }, data)
    }

    /// Says on which shelf a stretch lies, and with which row it begins.
    fn signpost(&self, state: &State, shelf: Shelf) -> Write {
        let row = ints([state.stretch, state.seq + 1]);
        let partition = ints([self.whose.writer(self.life), 0]);
        write_at(state.period, Key { partition, row }, replay::signpost_of(shelf))
    }

    fn write_group(&self, records: Vec<Vec<u8>>) -> Result<()> {
        let (group, is_alone) = self.begin_group(records);
        self.whose.is_used.store(true, Ordering::Relaxed);
        let is_written = !is_alone && self.whose.gathering.write(&*self.rows, &group).is_ok();
        let done = if is_written { Ok(()) } else { write_all(&*self.rows, &group, "journal") };
        self.end_group(group, done.is_ok());
        done
    }

    /// A place that is stuck leaves half of the room to the others; one record it may always have.
    fn leaves_room(&self, pending: &Pending, bytes: usize) -> Result<()> {
        let before = pending.bytes + pending.taken_bytes;
        let pending_bytes_max = self.config.pending_bytes_max / 2;
        let pending_bytes = before + bytes;
        let is_fair = self.whose.places < 2 || before == 0 || pending_bytes <= pending_bytes_max;
        if is_fair { Ok(()) } else { Err(Error::LogFull { pending_bytes, pending_bytes_max }) }
    }

    fn has_refused(&self) -> bool {
        !self.writer.lock().refused.is_empty()
    }
}

/// What still waits is nobody's any more.
impl Drop for Journal {
    fn drop(&mut self) {
        let left = self.pending_bytes();
        self.whose.pending_bytes.fetch_sub(left, Ordering::Relaxed);
    }
}

impl LogSink for Journal {
    fn append(&self, payload: &[u8]) -> Result<u64> {
        let bytes_max = usize::try_from(self.config.record_bytes_max).unwrap_or(usize::MAX);
        if payload.len() > bytes_max {
            return Err(Error::RecordTooLarge { bytes: payload.len(), bytes_max });
        }
        let mut pending = self.pending.lock();
        self.leaves_room(&pending, payload.len())?;
        let shared = &self.whose.pending_bytes;
        let pending_bytes = shared.fetch_add(payload.len(), Ordering::Relaxed) + payload.len();
        let pending_bytes_max = self.config.pending_bytes_max;
        if pending_bytes > pending_bytes_max {
            shared.fetch_sub(payload.len(), Ordering::Relaxed);
            return Err(Error::LogFull { pending_bytes, pending_bytes_max });
        }
        pending.records.push(payload.to_vec());
        pending.bytes += payload.len();
        pending.appended += 1;
        Ok(pending.appended)
    }

    /// Nothing: what a row holds was acknowledged or not, whatever stands behind it.
    fn mark(&self) -> Option<u64> {
        None
    }

    fn mark_anew(&self) {}

    fn sync(&self) -> Result<u64, SyncFailed> {
        let _alone = self.syncing.lock();
        let (records, through) = {
            let mut pending = self.pending.lock();
            pending.taken_bytes += pending.bytes;
            pending.bytes = 0;
            (mem::take(&mut pending.records), pending.appended)
        };
        if records.is_empty() && !self.has_refused() {
            return Ok(through);
        }
        self.write_group(records).map_err(|error| SyncFailed { through, error })?;
        let mut pending = self.pending.lock();
        self.whose.pending_bytes.fetch_sub(pending.taken_bytes, Ordering::Relaxed);
        pending.written_bytes += pending.taken_bytes as u64;
        pending.taken_bytes = 0;
        pending.synced = through;
        Ok(through)
    }

    fn sync_into_reserve(&self) -> Result<u64, SyncFailed> {
        self.sync()
    }

    fn roll(&self) -> u64 {
        let mut state = self.writer.lock();
        self.turn(&mut state);
        state.end_stretch();
        Segment { life: self.life, period: state.period, stretch: state.stretch }.number()
    }

    fn segments_through(&self, last: u64) -> Result<u64> {
        let (last, now) = (Segment::of(last), self.writer.lock().period);
        // Those of this life that may hold something; the database is not asked for it.
        Ok(if last.life < self.life { 0 } else { u64::from(last.period >= now) })
    }

    fn remove_through(&self, last: u64) -> Result<()> {
        let from = Segment::of(last.saturating_add(1)).period;
        self.whose.floor.store(from, Ordering::Relaxed);
        sweep(&*self.rows, &self.whose, from)
    }

    fn synced_sequence(&self) -> u64 {
        self.pending.lock().synced
    }

    fn written_bytes(&self) -> u64 {
        self.pending.lock().written_bytes
    }

    fn pending_bytes(&self) -> usize {
        let pending = self.pending.lock();
        pending.bytes + pending.taken_bytes
    }
}

/// Drops the tables of periods that no place's replay needs. That of this place begins with period
/// `from`; where those of others begin is asked only if there is something to drop.
fn sweep(rows: &dyn Rows, whose: &Whose, from: u64) -> Result<()> {
    let tables = table_names(rows)?;
    let past: BTreeSet<u64> = tables.iter().filter_map(|name| journal_of(name)).collect();
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

fn write_at(period: u64, key: Key, data: Vec<u8>) -> Write {
    let table = journal_table(period);
    Write { table, key, data: Some(data.into()), timestamp: TIMESTAMP }
}

/// Puts records into rows.
fn rows_of(records: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let (mut rows, mut row) = (Vec::new(), begin(WHOLE));
    for record in records {
        let is_full = row.len() > HEADER_BYTES && row.len() + record.len() > ROW_BYTES_MAX;
        if is_full || record.len() > ROW_BYTES_MAX {
            end(&mut rows, mem::replace(&mut row, begin(WHOLE)));
        }
        if record.len() <= ROW_BYTES_MAX {
            // A record is far below 4 GiB.
            row.extend(u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
            row.extend(record);
            continue;
        }
        let count = u32::try_from(record.len().div_ceil(ROW_BYTES_MAX)).unwrap_or(u32::MAX);
        for (index, piece) in (0_u32..).zip(record.chunks(ROW_BYTES_MAX)) {
            let mut part = begin(PART);
            part.extend(index.to_le_bytes());
            part.extend(count.to_le_bytes());
            part.extend(piece);
            end(&mut rows, part);
        }
    }
    end(&mut rows, row);
    rows
}

/// Checksum and kind.
const HEADER_BYTES: usize = 5;

fn begin(kind: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, kind]
}

/// Ends a row; one without anything in it was never begun.
fn end(rows: &mut Vec<Vec<u8>>, mut row: Vec<u8>) {
    if row.len() > HEADER_BYTES {
        let checksum = crc32c::crc32c(&row[4..]);
        row[..4].copy_from_slice(&checksum.to_le_bytes());
        rows.push(row);
    }
}

#[cfg(test)]
mod tests;
