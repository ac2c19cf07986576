//! The line of one life of a place: records that wait to be written, and the keys of the rows that they become.
//!
//! # Invariants
//! - A row's key is given once. What could not be written is kept, and goes first and the same.
//! - One group is under way at a time.
//! - What waits is bounded, over all places of a process and for each: over a bound an append is refused.
//!
//! Not here: who writes a group, and when (`gathering.rs`, `journal.rs`).

use super::gathering::Shelf;
use super::{PART, STRETCH_BITS, Segment, TIMESTAMP, WHOLE, Whose, replay};
use crate::cassandra::rows::{Key, Write};
use crate::cassandra::schema::{ints, journal_table};
use parking_lot::Mutex;
use std::mem;
use std::sync::atomic::Ordering;
use store::commit_log;
use store::{Error, Result};

/// A row has about so many bytes at most.
pub(super) const ROW_BYTES_MAX: usize = 1 << 20;

/// Records of one life of a place.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) whose: Whose,
    life: u64,
    config: commit_log::Config,
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
    /// Rows that are not known to be written.
    refused: Vec<Write>,
    /// Whether rows are on their way, whose keys are of this period.
    is_under_way: bool,
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

/// Rows that are to be written together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) writes: Vec<Write>,
    through: u64,
}

/// How far a line has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All that was asked for is durable, up to this ticket.
    Reached(u64),
    /// Some of it waits, or is under way.
    Waits,
    /// Rows could not be written: they go alone.
    Refused,
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

impl Line {
    pub(super) fn new(whose: Whose, life: u64, period: u64, config: commit_log::Config) -> Self {
        let writer = Mutex::new(State::of(period));
        Self { whose, life, config, writer, pending: Mutex::default() }
    }

    /// The bytes of records that are not known to be written.
    pub(super) fn pending_bytes(&self) -> usize {
        let pending = self.pending.lock();
        pending.bytes + pending.taken_bytes
    }

    /// The bytes of records that are.
    pub(super) fn written_bytes(&self) -> u64 {
        self.pending.lock().written_bytes
    }

    /// The tickets that were appended and synced last.
    pub(super) fn tickets(&self) -> (u64, u64) {
        let pending = self.pending.lock();
        (pending.appended, pending.synced)
    }

    /// The period of what is written now.
    pub(super) fn period(&self) -> u64 {
        self.writer.lock().period
    }

    /// How far it is on its way to a ticket.
    pub(super) fn progress(&self, through: u64) -> Progress {
        let state = self.writer.lock();
        match self.pending.lock().synced {
            synced if synced >= through => Progress::Reached(synced),
            _ if !state.refused.is_empty() => Progress::Refused,
            _ => Progress::Waits,
        }
    }

    /// Puts a record in line; its ticket.
    pub(super) fn append(&self, payload: &[u8]) -> Result<u64> {
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

    /// A place that is stuck leaves half of the room to the others; one record it may always have.
    fn leaves_room(&self, pending: &Pending, bytes: usize) -> Result<()> {
        let before = pending.bytes + pending.taken_bytes;
        let pending_bytes_max = self.config.pending_bytes_max / 2;
        let pending_bytes = before + bytes;
        let is_fair = self.whose.places < 2 || before == 0 || pending_bytes <= pending_bytes_max;
        if is_fair { Ok(()) } else { Err(Error::LogFull { pending_bytes, pending_bytes_max }) }
    }

    /// What waits, to be written with what other places have; none if rows have to go alone.
    pub(super) fn take(&self) -> Option<Group> {
        let mut state = self.writer.lock();
        let is_free = state.refused.is_empty() && !state.is_under_way;
        let group = is_free.then(|| self.group(&mut state))?;
        (!group.writes.is_empty()).then_some(group)
    }

    /// What could not be written, and what came since.
    pub(super) fn take_refused(&self) -> Option<Group> {
        let mut state = self.writer.lock();
        let is_due = !state.refused.is_empty() && !state.is_under_way;
        is_due.then(|| self.group(&mut state))
    }

    /// Gives each row its key.
    fn group(&self, state: &mut State) -> Group {
        let (records, through) = {
            let mut pending = self.pending.lock();
            pending.taken_bytes += mem::take(&mut pending.bytes);
            (mem::take(&mut pending.records), pending.appended)
        };
        self.turn(state);
        let mut writes = mem::take(&mut state.refused);
        for data in rows_of(records) {
            let shelf = self.whose.gathering.shelf(data.len());
            if state.shelf != Some(shelf) {
                state.end_stretch();
                state.shelf = Some(shelf);
                writes.push(self.signpost(state, shelf));
            }
            state.seq += 1;
            writes.push(self.row(state, shelf, data));
        }
        state.is_under_way = !writes.is_empty();
        if state.is_under_way {
            self.whose.is_used.store(true, Ordering::Relaxed);
        }
        Group { writes, through }
    }

    /// A group was written, or is to be written again.
    pub(super) fn settle(&self, group: Group, is_written: bool) {
        let mut state = self.writer.lock();
        state.is_under_way = false;
        if !is_written {
            state.refused = group.writes;
            return;
        }
        let mut pending = self.pending.lock();
        let bytes = mem::take(&mut pending.taken_bytes);
        self.whose.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        pending.written_bytes += bytes as u64;
        pending.synced = group.through;
    }

    /// Ends a stretch; the segment that begins.
    pub(super) fn roll(&self) -> Segment {
        let mut state = self.writer.lock();
        self.turn(&mut state);
        state.end_stretch();
        Segment { life: self.life, period: state.period, stretch: state.stretch }
    }

    /// Goes on to the newest period, unless there are rows whose keys are given.
    fn turn(&self, state: &mut State) {
        let newest = self.whose.periods.newest();
        if newest > state.period && state.refused.is_empty() && !state.is_under_way {
            *state = State::of(newest);
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
}

/// What still waits is nobody's any more.
impl Drop for Line {
    fn drop(&mut self) {
        let left = self.pending_bytes();
        self.whose.pending_bytes.fetch_sub(left, Ordering::Relaxed);
    }
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
