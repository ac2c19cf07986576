//! Reading the journals of a place: every row of its earlier lives, as the signposts of each lead to them.

use super::gathering::Shelf;
use super::line::ROW_BYTES_MAX;
use super::{PART, Segment, WHOLE, Whose};
use crate::cassandra::rows::{Column, Consistency, Read, Row, Rows, read_all, table_names};
use crate::cassandra::schema::{ints, journal_of, journal_table};
use std::collections::BTreeSet;
use std::mem;
use store::Result;
use store::commit_log::{Damage, ReplayReport};

/// So many rows are read at once, if they are small.
const PAGE_ROWS_MAX: usize = 64;
/// So many bytes of rows are read at once, or one row.
const PAGE_BYTES: usize = 4 * ROW_BYTES_MAX;

/// Hands the records of all lives of a place before this one to `visit`, from a segment on.
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
    let mut replay =
        Replay { rows, visit, parts: Parts::default(), report: ReplayReport::default() };
    // Nobody drops the one that replay begins with, nor the newest that was there.
    let newest = Some(whose.periods.newest()).filter(|newest| *newest >= from.period.max(1));
    let needed = Some(from.period).filter(|period| *period > 0 && from.life < life);
    let expected: BTreeSet<u64> = needed.into_iter().chain(newest).collect();
    for gone in expected.difference(&periods) {
        replay.gone(&journal_table(*gone));
    }
    for dead in from.life.max(1)..life {
        for period in periods.range(from.period..) {
            let is_first = (dead, *period) == (from.life, from.period);
            let stretch = if is_first { from.stretch } else { 0 };
            replay.period(*period, whose.writer(dead), stretch)?;
            // A record's parts go with one group, so they are in one period.
            replay.parts = Parts::default();
        }
    }
    Ok(replay.report)
}

/// What stands at the beginning of a stretch: its shelf, behind a checksum.
pub(super) fn signpost_of(shelf: Shelf) -> Vec<u8> {
    let mut words = shelf.process.to_le_bytes().to_vec();
    words.extend(shelf.bucket.to_le_bytes());
    let mut bytes = crc32c::crc32c(&words).to_le_bytes().to_vec();
    bytes.append(&mut words);
    bytes
}

/// `None` if it is damaged.
fn read_signpost(bytes: &[u8]) -> Option<Shelf> {
    let (checksum, words) = bytes.split_first_chunk()?;
    let (process, bucket) = words.split_first_chunk()?;
    let is_sound = u32::from_le_bytes(*checksum) == crc32c::crc32c(words);
    let bucket = u64::from_le_bytes(bucket.try_into().ok()?);
    is_sound.then_some(Shelf { process: u64::from_le_bytes(*process), bucket })
}

struct Replay<'a> {
    rows: &'a dyn Rows,
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
    /// Reads what a writer has in a period, from a stretch on.
    fn period(&mut self, period: u64, writer: u64, stretch: u64) -> Result<()> {
        let table = journal_table(period);
        let mut last = None;
        let mut signposts = Pages::new(&table, ints([writer, 0]), ints([stretch, 0]), None);
        while let Some(page) = signposts.next(self.rows)? {
            for row in page {
                let Some(shelf) = read_signpost(&row.data) else {
                    self.damaged(&table, &row);
                    continue;
                };
                // All stretches on a shelf are read with the first of them.
                if last.replace(shelf) == Some(shelf) {
                    continue;
                }
                let [_, Column::Int(first)] = row.row[..] else { continue };
                self.shelf(&table, shelf, (writer, first))?;
            }
        }
        Ok(())
    }

    /// Reads what a writer has on a shelf, from a row on.
    fn shelf(&mut self, table: &str, shelf: Shelf, (writer, first): (u64, i64)) -> Result<()> {
        let from = ints([writer, u64::try_from(first).unwrap_or(0)]);
        let to = ints([writer, u64::MAX]);
        let partition = ints([shelf.process, shelf.bucket]);
        // By pages, so that a shelf is never in memory whole.
        let mut pages = Pages::new(table, partition, from, Some(to));
        while let Some(page) = pages.next(self.rows)? {
            for row in page {
                let [_, Column::Int(seq)] = row.row[..] else { continue };
                if self.row(seq, &row.data)?.is_none() {
                    self.damaged(table, &row);
                }
            }
        }
        Ok(())
    }

    /// A table is not there that had rows of this place, or may have had.
    fn gone(&mut self, table: &str) {
        tracing::error!(
            table,
            "a table of journals was dropped: what was acknowledged and not flushed is lost"
        );
        let path = format!("{table}: it is not there");
        self.report.damage.push(Damage { path, offset: 0, bytes: 0, sequences: None });
    }

    fn damaged(&mut self, table: &str, row: &Row) {
        let number = |column: Option<&Column>| match column {
            Some(Column::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => 0,
        };
        let (part, sequence) = (number(row.row.first()), number(row.row.last()));
        self.report.damage.push(Damage {
            path: format!("{table} part {part}"),
            offset: sequence,
            bytes: row.data.len() as u64,
            sequences: Some((sequence, sequence)),
        });
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

/// A reading of rows of a partition, a page at a time.
struct Pages {
    read: Read,
}

impl Pages {
    fn new(
        table: &str,
        partition: Vec<Column>,
        first: Vec<Column>,
        last: Option<Vec<Column>>,
    ) -> Self {
        // Any of them may be as large as a row can be, as long as nothing is known.
        let rows_max = PAGE_BYTES / ROW_BYTES_MAX;
        Self { read: Read { table: table.to_owned(), partition, first, last, rows_max } }
    }

    /// The next rows; `None` when there are no more.
    fn next(&mut self, rows: &dyn Rows) -> Result<Option<Vec<Row>>> {
        let page = read_all(rows, &self.read, Consistency::Quorum)?;
        let Some([part, Column::Int(seq)]) = page.last().map(|row| &row.row[..]) else {
            return Ok(None);
        };
        self.read.first = vec![part.clone(), Column::Int(seq.saturating_add(1))];
        let bytes: usize = page.iter().map(|row| row.data.len()).sum();
        let rows_max = PAGE_BYTES / (bytes / page.len()).max(1);
        self.read.rows_max = rows_max.clamp(1, PAGE_ROWS_MAX);
        Ok(Some(page))
    }
}
