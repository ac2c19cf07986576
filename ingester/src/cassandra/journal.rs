//! The journal: the log of one life of a store, as rows keyed by life, bucket and number. The log
//! sink that stands in the place of the commit log.
//!
//! A *row* holds whole records, or a part of one that is too large for a row. Which bucket it goes to
//! is decided by [`cluster::ownership::journal`]; a *segment* of the log sink is a bucket of a life:
//! its number is the life's, times 2^32, and the bucket's.
//!
//! # Invariants
//! - A row never changes: what could not be written is written again with the same key, bytes and
//!   timestamp, in front of what came since. So a write that comes late, or twice, changes nothing.
//! - A record is durable when a quorum has acknowledged all rows of its group and of those before.
//! - What waits is bounded: over the bound an append is refused.
//! - A table of the journal goes when replay begins behind its last bucket; rows are not deleted.
//!
//! Not here: what is in a record; when to sync; who may read a journal (`cluster::ownership`).

use super::rows::{
    Consistency, Key, Read, Rows, Write, create, drop_table, read_all, table_names, write_all,
};
use super::schema::{ints, journal_of, journal_table};
use cluster::ownership::journal::{Position, Reading, Writer};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
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

/// The number of a segment.
fn segment_of(life: u64, bucket: u64) -> u64 {
    (life << 32) | bucket
}

/// The life and the bucket of a segment.
fn bucket_of(segment: u64) -> (u64, u64) {
    (segment >> 32, segment & u64::from(u32::MAX))
}

/// The journal of this life, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    rows: Arc<dyn Rows>,
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
    /// A new journal; its first table is there when this returns.
    pub(super) fn open(
        rows: Arc<dyn Rows>,
        life: u64,
        config: &commit_log::Config,
    ) -> Result<Self> {
        let table = journal_table(life, 0);
        create(&*rows, &table)?;
        let writer = State { places: Writer::new(BUCKET_BYTES_MAX), refused: Vec::new(), table };
        let (writer, pending) = (Mutex::new(writer), Mutex::default());
        Ok(Self { rows, life, config: config.clone(), writer, pending })
    }

    fn write_group(&self, state: &mut State, records: Vec<Vec<u8>>) -> Result<()> {
        let mut group = mem::take(&mut state.refused);
        for data in rows_of(records) {
            let at = state.places.place(data.len() as u64);
            group.push((at, self.row(at, data)));
        }
        let done = self.write_rows(state, &group);
        match &done {
            Ok(()) => group.iter().for_each(|(at, _)| state.places.durable(*at)),
            Err(_) => state.refused = group,
        }
        done
    }

    fn row(&self, at: Position, data: Vec<u8>) -> Write {
        let key = Key { partition: ints([self.life, at.bucket]), row: ints([at.seq]) };
        let table = journal_table(self.life, at.bucket);
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
        // A bucket without a durable row is not left: a successor would take it for the end.
        segment_of(self.life, self.writer.lock().places.roll())
    }

    fn segments_through(&self, last: u64) -> Result<u64> {
        Ok(self.tables_through(last)?.len() as u64)
    }

    fn remove_through(&self, last: u64) -> Result<()> {
        for table in self.tables_through(last)? {
            drop_table(&*self.rows, &table)?;
        }
        Ok(())
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

impl Journal {
    /// The tables all of whose buckets are up to this segment.
    fn tables_through(&self, last: u64) -> Result<Vec<String>> {
        let tables = table_names(&*self.rows)?;
        let is_past = |table: &String| {
            journal_of(table).is_some_and(|(life, bucket)| {
                life < bucket_of(last).0 || segment_of(life, bucket) <= last
            })
        };
        Ok(tables.into_iter().filter(is_past).collect())
    }
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

/// Hands the records of all lives before this one to `visit`, from a segment on, up to the end of
/// each journal: two buckets without a row.
pub(super) fn replay(
    rows: &dyn Rows,
    life: u64,
    from_segment: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ReplayReport> {
    let tables: BTreeSet<String> = table_names(rows)?;
    let (first_life, first_bucket) = bucket_of(from_segment);
    let lives: BTreeSet<u64> =
        tables.iter().filter_map(|table| journal_of(table)).map(|(life, _)| life).collect();
    let mut replay = Replay { visit, parts: Parts::default(), report: ReplayReport::default() };
    for dead in lives.range(first_life..life) {
        let bucket = if *dead == first_life { first_bucket } else { 0 };
        let mut reading = Reading::new(Some(Position { bucket, seq: 0 }));
        while let Some((bucket, _)) = reading.next() {
            reading.read(replay.bucket(rows, &tables, *dead, bucket)?);
        }
        replay.parts = Parts::default();
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
    fn bucket(
        &mut self,
        rows: &dyn Rows,
        tables: &BTreeSet<String>,
        life: u64,
        bucket: u64,
    ) -> Result<usize> {
        let table = journal_table(life, bucket);
        if !tables.contains(&table) {
            return Ok(0);
        }
        let mut count = 0;
        let mut first = ints([0]);
        // By pages, so that a bucket is never in memory whole.
        loop {
            let read = Read {
                table: table.clone(),
                partition: ints([life, bucket]),
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
mod tests {
    use super::*;
    use crate::cassandra::fake::{Fake, Faults};

    fn replayed(fake: &Fake, from_segment: u64) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let report = replay(fake, 9, from_segment, &mut |record| {
            records.push(record.to_vec());
            Ok(())
        });
        assert!(report.unwrap().damage.is_empty());
        records
    }

    fn opened(fake: &Fake, life: u64) -> Journal {
        let config = commit_log::Config::default();
        Journal::open(Arc::new(fake.clone()), life, &config).unwrap()
    }

    #[test]
    fn a_record_that_is_larger_than_a_row_comes_back_whole_and_in_its_place() {
        let fake = Fake::new(1, Faults::default());
        let journal = opened(&fake, 1);
        let large: Vec<u8> =
            (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(2_500_000).collect();
        let records = [vec![1; 10], large, vec![2], vec![3; ROW_BYTES_MAX]];
        for record in &records {
            journal.append(record).unwrap();
        }
        assert_eq!(journal.sync().unwrap(), 4);
        assert_eq!(replayed(&fake, segment_of(1, 0)), records);
    }

    #[test]
    fn what_timed_out_is_written_again_and_comes_once_and_in_order() {
        let mut refused = 0;
        for seed in 0..50 {
            let faults = Faults { write_unknown: 30, write_twice: 50, ..Faults::default() };
            let fake = Fake::new(seed, faults);
            let journal = opened(&fake, 1);
            for number in 0..20_u8 {
                journal.append(&[number]).unwrap();
                refused += u32::from(journal.sync().is_err());
            }
            assert!((0..200).any(|_| journal.sync().is_ok()), "it comes through");
            fake.deliver();
            let expected: Vec<Vec<u8>> = (0..20).map(|number| vec![number]).collect();
            assert_eq!(replayed(&fake, segment_of(1, 0)), expected);
        }
        assert!(refused > 0, "some syncs fail");
    }

    #[test]
    fn a_replay_begins_at_its_segment_and_goes_on_through_later_lives() {
        let fake = Fake::new(1, Faults::default());
        let write = |journal: &Journal, record: u8| {
            journal.append(&[record]).unwrap();
            journal.sync().unwrap();
        };
        let first = opened(&fake, 1);
        write(&first, 1);
        let segment = first.roll();
        assert_eq!(first.roll(), segment, "a bucket without a row is not left");
        write(&first, 2);
        // A life that wrote nothing.
        opened(&fake, 2);
        let third = opened(&fake, 3);
        write(&third, 3);
        assert_eq!(replayed(&fake, segment_of(1, 0)), [[1], [2], [3]]);
        assert_eq!(replayed(&fake, segment), [[2], [3]]);
        third.remove_through(segment_of(3, 0) - 1).unwrap();
        assert_eq!(replayed(&fake, segment_of(1, 0)), [[3]]);
        assert_eq!(fake.tables().unwrap(), [journal_table(3, 0)]);
    }
}
