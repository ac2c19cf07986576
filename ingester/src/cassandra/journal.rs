//! The journal: the log of one life of a place, as rows keyed by writer, bucket and number. The log
//! sink that stands in the place of the commit log.
//!
//! A *writer* is a place and a life of it. A *row* holds whole records, or a part of one that is too
//! large for a row. A *period* is a table that all writers share; which bucket of it a row goes to is
//! decided by [`cluster::ownership::journal`]. A *segment* of the log sink is a bucket of a period of a
//! life.
//!
//! # Invariants
//! - A row never changes: what could not be written is written again with the same key, bytes and
//!   timestamp, in front of what came since. So a write that comes late, or twice, changes nothing.
//! - A record is durable when a quorum has acknowledged all rows of its group and of those before.
//! - What waits is bounded: over the bound an append is refused.
//! - A writer's periods rise, and begin with the one where the replay of its place begins. So a table
//!   goes when the replay of every place begins behind its period; rows are not deleted.
//! - No table is made when a row is written, and nobody waits for the database but who syncs: a record is
//!   put in line, and a segment ended, while a group is under way.
//!
//! Not here: what is in a record; when to sync; who may read a journal (`cluster::ownership`); which
//! periods there are (`periods.rs`).

mod replay;

pub(super) use replay::replay;

use super::periods::{PERIOD_BITS, Periods};
use super::rows::{Key, Rows, Write, create, drop_table, table_names, write_all};
use super::schema::{ints, journal_of, journal_table};
use cluster::ownership::journal::{Position, Writer};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use store::commit_log::{self, LogSink, SyncFailed};
use store::{Error, Result};

/// A row has about so many bytes at most.
const ROW_BYTES_MAX: usize = 1 << 20;
/// A bucket is a partition of the database: it ends about here.
const BUCKET_BYTES_MAX: u64 = 64 << 20;
/// So many rows are read at once.
const PAGE_ROWS: usize = 32;
/// The timestamp of every row.
const TIMESTAMP: i64 = 1;
/// A row of whole records, each behind its length.
const WHOLE: u8 = 0;
/// A row with a part of a record, behind the part's index and how many there are.
const PART: u8 = 1;

/// Bits of a bucket in a segment's number.
const BUCKET_BITS: u32 = 16;
/// Bits of a life in a writer's number.
const LIFE_BITS: u32 = 32;

/// A bucket of one place's journal; ascending in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    life: u64,
    period: u64,
    bucket: u64,
}

impl Segment {
    fn of(number: u64) -> Self {
        let low = |bits: u32| (1 << bits) - 1;
        Self {
            life: number >> (PERIOD_BITS + BUCKET_BITS),
            period: (number >> BUCKET_BITS) & low(PERIOD_BITS),
            bucket: number & low(BUCKET_BITS),
        }
    }

    fn number(self) -> u64 {
        (self.life << (PERIOD_BITS + BUCKET_BITS)) | (self.period << BUCKET_BITS) | self.bucket
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

#[derive(Debug)]
struct State {
    places: Writer,
    period: u64,
    /// Rows that are not known to be written; they go in front of the next group.
    refused: Vec<(Position, Write)>,
    /// Whether rows are on their way, whose places are of this period.
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
            create(&*rows, &journal_table(period))?;
            whose.periods.is_there(period);
        }
        let places = Writer::new(BUCKET_BYTES_MAX);
        let state = State { places, period, refused: Vec::new(), is_under_way: false };
        Ok(Self {
            rows,
            whose,
            life,
            config: config.clone(),
            syncing: Mutex::new(()),
            writer: Mutex::new(state),
            pending: Mutex::default(),
        })
    }

    /// Goes on to the newest period, unless there are rows whose place is given.
    fn turn(&self, state: &mut State) {
        let newest = self.whose.periods.newest();
        if newest > state.period && state.refused.is_empty() && !state.is_under_way {
            state.period = newest;
            state.places = Writer::new(BUCKET_BYTES_MAX);
        }
    }

    /// Gives each row its place: those that are to be written now.
    fn begin_group(&self, records: Vec<Vec<u8>>) -> Vec<(Position, Write)> {
        let mut state = self.writer.lock();
        self.turn(&mut state);
        let mut group = mem::take(&mut state.refused);
        for data in rows_of(records) {
            let at = state.places.place(data.len() as u64);
            group.push((at, self.row(state.period, at, data)));
        }
        state.is_under_way = true;
        group
    }

    fn end_group(&self, group: Vec<(Position, Write)>, is_written: bool) {
        let mut state = self.writer.lock();
        state.is_under_way = false;
        match is_written {
            true => group.iter().for_each(|(at, _)| state.places.durable(*at)),
            false => state.refused = group,
        }
    }

    fn row(&self, period: u64, at: Position, data: Vec<u8>) -> Write {
        let partition = ints([self.whose.writer(self.life), at.bucket]);
        let key = Key { partition, row: ints([at.seq]) };
        let table = journal_table(period);
        Write { table, key, data: Some(data.into()), timestamp: TIMESTAMP }
    }

    fn write_group(&self, records: Vec<Vec<u8>>) -> Result<()> {
        let group = self.begin_group(records);
        self.whose.is_used.store(true, Ordering::Relaxed);
        let writes: Vec<Write> = group.iter().map(|(_, write)| write.clone()).collect();
        let done = write_all(&*self.rows, &writes, "journal");
        self.end_group(group, done.is_ok());
        done
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
        let before = state.period;
        self.turn(&mut state);
        // A bucket without a durable row is not left: a successor would take it for the end.
        let bucket = if state.period > before { 0 } else { state.places.roll() };
        Segment { life: self.life, period: state.period, bucket }.number()
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
