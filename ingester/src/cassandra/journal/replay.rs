//! Reading the journals of a place: every row of its earlier lives, to the end of each.

use super::{PAGE_ROWS, PART, Segment, WHOLE, Whose};
use crate::cassandra::rows::{Column, Consistency, Read, Rows, read_all, table_names};
use crate::cassandra::schema::{ints, journal_of, journal_table};
use cluster::ownership::journal::{Position, Reading};
use std::collections::BTreeSet;
use std::mem;
use store::Result;
use store::commit_log::{Damage, ReplayReport};

/// Hands the records of all lives of a place before this one to `visit`, from a segment on, up to the
/// end of each period of each journal: two buckets without a row.
pub(in crate::cassandra) fn replay(
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
                let [Column::Int(seq)] = row.row[..] else { continue };
                first = vec![Column::Int(seq.saturating_add(1))];
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
