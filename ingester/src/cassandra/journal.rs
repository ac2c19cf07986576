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
//!
//! Not here: what is in a record; when to sync; who may read a journal (`cluster::ownership`); when a
//! period begins ([`super::Database::set_period`]).

use super::rows::{
    Consistency, Key, Read, Rows, Write, create, drop_table, read_all, table_names, write_all,
};
use super::schema::{ints, journal_of, journal_table};
use cluster::ownership::journal::{Position, Reading, Writer};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::commit_log::{self, Damage, LogSink, ReplayReport, SyncFailed};
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

/// Bits of a bucket in a segment's number, and of a period.
const BUCKET_BITS: u32 = 16;
const PERIOD_BITS: u32 = 24;
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
    /// The period that has begun.
    pub(super) period: Arc<AtomicU64>,
    /// The period where the replay of the place begins.
    pub(super) floor: Arc<AtomicU64>,
}

impl Whose {
    fn writer(&self, life: u64) -> u64 {
        (u64::from(self.place) << LIFE_BITS) | life
    }

    fn now(&self) -> u64 {
        self.period.load(Ordering::Relaxed).min((1 << PERIOD_BITS) - 1)
    }
}

/// The journal of this life, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    rows: Arc<dyn Rows>,
    whose: Whose,
    life: u64,
    config: commit_log::Config,
    // Guards the order of the rows. Taken before `pending`, and held while the database works.
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
    /// The table that is known to be there.
    table: String,
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
        let period = whose.now().max(from);
        whose.floor.store(from, Ordering::Relaxed);
        let table = journal_table(period);
        create(&*rows, &table)?;
        let places = Writer::new(BUCKET_BYTES_MAX);
        let writer = Mutex::new(State { places, period, refused: Vec::new(), table });
        Ok(Self { rows, whose, life, config: config.clone(), writer, pending: Mutex::default() })
    }

    /// Goes on to the period that has begun, unless there are rows whose place is given.
    fn turn(&self, state: &mut State) {
        let now = self.whose.now();
        if now > state.period && state.refused.is_empty() {
            state.period = now;
            state.places = Writer::new(BUCKET_BYTES_MAX);
        }
    }

    fn write_group(&self, state: &mut State, records: Vec<Vec<u8>>) -> Result<()> {
        self.turn(state);
        let mut group = mem::take(&mut state.refused);
        for data in rows_of(records) {
            let at = state.places.place(data.len() as u64);
            group.push((at, self.row(state.period, at, data)));
        }
        let done = self.write_rows(state, &group);
        match &done {
            Ok(()) => group.iter().for_each(|(at, _)| state.places.durable(*at)),
            Err(_) => state.refused = group,
        }
        done
    }

    fn row(&self, period: u64, at: Position, data: Vec<u8>) -> Write {
        let partition = ints([self.whose.writer(self.life), at.bucket]);
        let key = Key { partition, row: ints([at.seq]) };
        let table = journal_table(period);
        Write { table, key, data: Some(data.into()), timestamp: TIMESTAMP }
    }

    fn write_rows(&self, state: &mut State, group: &[(Position, Write)]) -> Result<()> {
        let mut writes = Vec::with_capacity(group.len());
        for (_, write) in group {
            if write.table != state.table {
                create(&*self.rows, &write.table)?;
                state.table.clone_from(&write.table);
            }
            writes.push(write.clone());
        }
        write_all(&*self.rows, &writes, "journal")
    }
}

impl LogSink for Journal {
    fn append(&self, payload: &[u8]) -> Result<u64> {
        let bytes_max = usize::try_from(self.config.record_bytes_max).unwrap_or(usize::MAX);
        if payload.len() > bytes_max {
            return Err(Error::RecordTooLarge { bytes: payload.len(), bytes_max });
        }
        let mut pending = self.pending.lock();
        let pending_bytes = pending.bytes + pending.taken_bytes + payload.len();
        let pending_bytes_max = self.config.pending_bytes_max;
        if pending_bytes > pending_bytes_max {
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
        let mut state = self.writer.lock();
        let (records, through) = {
            let mut pending = self.pending.lock();
            pending.taken_bytes += pending.bytes;
            pending.bytes = 0;
            (mem::take(&mut pending.records), pending.appended)
        };
        if records.is_empty() && state.refused.is_empty() {
            return Ok(through);
        }
        self.write_group(&mut state, records).map_err(|error| SyncFailed { through, error })?;
        let mut pending = self.pending.lock();
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

/// Hands the records of all lives of a place before this one to `visit`, from a segment on, up to the
/// end of each period of each journal: two buckets without a row.
pub(super) fn replay(
    rows: &dyn Rows,
    whose: &Whose,
    life: u64,
    from_segment: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ReplayReport> {
    let from = Segment::of(from_segment);
    let tables = table_names(rows)?;
    let periods: BTreeSet<u64> = tables.iter().filter_map(|name| journal_of(name)).collect();
    let mut replay = Replay { visit, parts: Parts::default(), report: ReplayReport::default() };
    for dead in from.life.max(1)..life {
        for period in periods.range(from.period..) {
            let is_first = (dead, *period) == (from.life, from.period);
            let bucket = if is_first { from.bucket } else { 0 };
            let mut reading = Reading::new(Some(Position { bucket, seq: 0 }));
            while let Some((bucket, _)) = reading.next() {
                reading.read(replay.bucket(rows, *period, whose.writer(dead), bucket)?);
            }
            // A record's parts go with one group, so they are in one period.
            replay.parts = Parts::default();
        }
    }
    Ok(replay.report)
}

struct Replay<'a> {
    visit: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    parts: Parts,
    report: ReplayReport,
}

/// The parts of a large record that have come so far.
#[derive(Debug, Default)]
struct Parts {
    next_seq: i64,
    came: u32,
    bytes: Vec<u8>,
}

impl Replay<'_> {
    /// Reads a bucket; how many rows it has.
    fn bucket(&mut self, rows: &dyn Rows, period: u64, writer: u64, bucket: u64) -> Result<usize> {
        let table = journal_table(period);
        let mut count = 0;
        let mut first = ints([0]);
        // By pages, so that a bucket is never in memory whole.
        loop {
            let read = Read {
                table: table.clone(),
                partition: ints([writer, bucket]),
                last: None,
                first: first.clone(),
                rows_max: PAGE_ROWS,
            };
            let page = read_all(rows, &read, Consistency::Quorum)?;
            for row in &page {
                let [super::Column::Int(seq)] = row.row[..] else { continue };
                first = vec![super::Column::Int(seq.saturating_add(1))];
                count += 1;
                if self.row(seq, &row.data)?.is_none() {
                    let sequence = u64::try_from(seq).unwrap_or(0);
                    self.report.damage.push(Damage {
                        path: format!("{table} bucket {bucket}"),
                        offset: sequence,
                        bytes: row.data.len() as u64,
                        sequences: Some((sequence, sequence)),
                    });
                }
            }
            if page.is_empty() {
                return Ok(count);
            }
        }
    }

    /// Visits what a row holds; `None` if it is damaged.
    fn row(&mut self, seq: i64, data: &[u8]) -> Result<Option<()>> {
        let Some((checksum, rest)) = data.split_first_chunk() else { return Ok(None) };
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(rest) {
            return Ok(None);
        }
        match rest.split_first() {
            Some((&WHOLE, records)) => self.whole(records),
            Some((&PART, part)) => self.part(seq, part),
            _ => Ok(None),
        }
    }

    fn whole(&mut self, mut rest: &[u8]) -> Result<Option<()>> {
        while !rest.is_empty() {
            let Some((len, behind)) = rest.split_first_chunk() else { return Ok(None) };
            let Some((record, behind)) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)
            else {
                return Ok(None);
            };
            self.visit(record)?;
            rest = behind;
        }
        Ok(Some(()))
    }

    /// Parts that do not follow each other belong to a record that was never acknowledged.
    fn part(&mut self, seq: i64, part: &[u8]) -> Result<Option<()>> {
        let Some((index, rest)) = part.split_first_chunk() else { return Ok(None) };
        let Some((count, bytes)) = rest.split_first_chunk() else { return Ok(None) };
        let (index, count) = (u32::from_le_bytes(*index), u32::from_le_bytes(*count));
        if index == 0 {
            self.parts = Parts::default();
        } else if (self.parts.came, self.parts.next_seq) != (index, seq) {
            self.parts = Parts::default();
            return Ok(Some(()));
        }
        self.parts.came = index + 1;
        self.parts.next_seq = seq.saturating_add(1);
        self.parts.bytes.extend_from_slice(bytes);
        if self.parts.came == count {
            let record = mem::take(&mut self.parts).bytes;
            self.visit(&record)?;
        }
        Ok(Some(()))
    }

    fn visit(&mut self, record: &[u8]) -> Result<()> {
        self.report.records += 1;
        self.report.payload_bytes += record.len() as u64;
        (self.visit)(record)
    }
}

#[cfg(test)]
mod tests;
