//! Files as rows: what is written once, from its start to its end, cut into pieces.
//!
//! A *file* has a number that no other file ever has. Its pieces are rows ((file, part), piece) with
//! their hash in front; so many pieces are a *part*, a partition of the database. Its last row, the
//! *end*, says how long it is: without it the file was never finished.
//!
//! # Invariants
//! - A piece is written once, at one timestamp, and deleted at a later one: to write or delete it
//!   again, or late, changes nothing.
//! - A piece is believed only if its hash, which covers its place, is right. One node is asked; a
//!   quorum, if that one does not have it or has something else.
//!
//! Not here: which table a file is in (`row_disk.rs`); what is kept near (`pieces/near.rs`).

mod near;

use super::rows::{Column, Consistency, Key, Read, Row, Rows, Write, read_all, write_all};
use super::schema::ints;
pub(super) use near::PieceCache;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::disk::{DiskFile, DiskReader};
use store::{Error, Result};
use xxhash_rust::xxh3::Xxh3;

/// The bytes of a piece: what costs the database least a byte, and is not too much for one block.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// So many pieces are a partition of the database: 64 MiB.
const PIECES_PER_PART: u64 = 256;
/// Who reads on from one piece to the next gets so many at once.
const AHEAD: u64 = 8;
/// So many pieces are in flight.
const IN_FLIGHT_MAX: usize = 8;
/// The end's place: a part that holds nothing else.
pub(super) const END: u64 = u32::MAX as u64;
/// The timestamp of every row, and that of its deletion.
const WRITTEN: i64 = 1;
pub(super) const DELETED: i64 = 2;
const HASH_BYTES: usize = 8;

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileAt {
    pub(super) table: String,
    pub(super) file: u64,
}

impl FileAt {
    fn path(&self) -> String {
        format!("{}/{:016x}", self.table, self.file)
    }

    fn partition(&self, piece: u64) -> Vec<Column> {
        ints([self.file, if piece == END { END } else { piece / PIECES_PER_PART }])
    }

    fn row(&self, piece: u64, bytes: &[u8]) -> Write {
        let mut data = self.hash(piece, bytes).to_be_bytes().to_vec();
        data.extend_from_slice(bytes);
        let key = Key { partition: self.partition(piece), row: ints([piece]) };
        Write { table: self.table.clone(), key, data: Some(data.into()), timestamp: WRITTEN }
    }

    /// Of a piece's bytes and its place.
    fn hash(&self, piece: u64, bytes: &[u8]) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.file.to_be_bytes());
        hash.update(&piece.to_be_bytes());
        hash.update(bytes);
        hash.digest()
    }

    /// The bytes of a piece, if the row is it.
    fn checked(&self, piece: u64, row: &Row) -> Option<Arc<[u8]>> {
        let (hash, bytes) = row.data.split_first_chunk::<HASH_BYTES>()?;
        let is_it =
            row.row == ints([piece]) && u64::from_be_bytes(*hash) == self.hash(piece, bytes);
        is_it.then(|| bytes.into())
    }

    fn read(&self, piece: u64) -> Read {
        Read {
            table: self.table.clone(),
            partition: self.partition(piece),
            first: ints([piece]),
            last: Some(ints([piece])),
            rows_max: 1,
        }
    }

    /// Reads a piece.
    fn piece(&self, rows: &dyn Rows, piece: u64) -> Result<Option<Arc<[u8]>>> {
        let read = self.read(piece);
        for consistency in [Consistency::One, Consistency::Quorum] {
            let found = read_all(rows, &read, consistency)?;
            if let Some(bytes) = found.first().and_then(|row| self.checked(piece, row)) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Reads neighbouring pieces of one part with one request; of those that did not come right, `None`.
    fn run(&self, rows: &dyn Rows, first: u64, count: u64) -> Result<Vec<Option<Arc<[u8]>>>> {
        let read = Read {
            table: self.table.clone(),
            partition: self.partition(first),
            first: ints([first]),
            last: Some(ints([first + count - 1])),
            rows_max: usize::try_from(count).unwrap_or(usize::MAX),
        };
        let found = read_all(rows, &read, Consistency::One)?;
        let piece = |piece| found.iter().find_map(|row| self.checked(piece, row));
        Ok((first..first + count).map(piece).collect())
    }

    /// Its length, if it was finished; from what is near, if its end is.
    pub(super) fn known_len(&self, rows: &dyn Rows, cache: &PieceCache) -> Result<Option<u64>> {
        match cache.get((self.file, END)) {
            Some(end) => Ok(Some(u64::from_be_bytes((*end).try_into().unwrap_or_default()))),
            None => self.len(rows),
        }
    }

    /// Its length, if it was finished.
    pub(super) fn len(&self, rows: &dyn Rows) -> Result<Option<u64>> {
        let end = self.piece(rows, END)?;
        Ok(end.and_then(|end| Some(u64::from_be_bytes((*end).try_into().ok()?))))
    }

    /// Which pieces of so many bytes are missing or damaged; of the end, `None`.
    pub(super) fn faults(&self, rows: &dyn Rows, bytes: u64) -> Result<Vec<Option<u64>>> {
        let mut faults = Vec::new();
        if self.len(rows)? != Some(bytes) {
            faults.push(None);
        }
        let pieces = bytes.div_ceil(PIECE_BYTES as u64);
        let mut ahead = VecDeque::new();
        for piece in 0..pieces {
            let rest = bytes - piece * PIECE_BYTES as u64;
            if ahead.is_empty() {
                ahead = self.run(rows, piece, run_of(piece, pieces))?.into();
            }
            let found = match ahead.pop_front().flatten() {
                Some(found) => Some(found),
                None => self.piece(rows, piece)?,
            };
            let is_whole = |found: &Arc<[u8]>| found.len() as u64 == rest.min(PIECE_BYTES as u64);
            if !found.as_ref().is_some_and(is_whole) {
                faults.push(Some(piece));
            }
        }
        Ok(faults)
    }

    /// Deletes so many bytes of it, and its end first: then it was never finished.
    pub(super) fn delete(&self, rows: &dyn Rows, bytes: u64) -> Result<()> {
        let parts = bytes.div_ceil(PIECE_BYTES as u64 * PIECES_PER_PART);
        let gone = |part: u64| Write {
            table: self.table.clone(),
            key: Key { partition: ints([self.file, part]), row: Vec::new() },
            data: None,
            timestamp: DELETED,
        };
        write_all(rows, &[gone(END)], &self.path())?;
        let parts: Vec<Write> = (0..parts).map(gone).collect();
        write_all(rows, &parts, &self.path())
    }
}

/// Brings pieces near. What does not come right is left to who reads it.
pub(super) fn fetch(rows: &dyn Rows, cache: &PieceCache, far: &[(FileAt, u64)]) {
    for some in far.chunks(IN_FLIGHT_MAX) {
        let reads: Vec<Read> = some.iter().map(|(at, piece)| at.read(*piece)).collect();
        let found = rows.read_many(&reads, Consistency::One);
        if found.iter().all(Result::is_err) {
            // The next round could wait as long for a database that does not answer.
            return;
        }
        for ((at, piece), found) in some.iter().zip(found) {
            let row = found.ok().and_then(|rows| rows.into_iter().next());
            if let Some(bytes) = row.and_then(|row| at.checked(*piece, &row)) {
                cache.put((at.file, *piece), bytes);
            }
        }
    }
}

/// How many pieces may be read at once from one on: of its part, and of the file.
fn run_of(piece: u64, pieces: u64) -> u64 {
    let of_part = PIECES_PER_PART - piece % PIECES_PER_PART;
    AHEAD.min(of_part).min(pieces.saturating_sub(piece)).max(1)
}

/// A file that is being written: the segment sink.
#[derive(Debug)]
pub(super) struct Sink {
    rows: Arc<dyn Rows>,
    at: FileAt,
    bytes: Vec<u8>,
    pieces: u64,
    written: u64,
    /// Tells how far it has come, so that a file that is given up can be deleted.
    grown: Arc<AtomicU64>,
    /// Tells that a row could not be written.
    is_refused: Arc<AtomicBool>,
}

impl Sink {
    pub(super) fn new(
        rows: Arc<dyn Rows>,
        at: FileAt,
        (grown, is_refused): (Arc<AtomicU64>, Arc<AtomicBool>),
    ) -> Self {
        Self { rows, at, bytes: Vec::new(), pieces: 0, written: 0, grown, is_refused }
    }

    fn put(&self, rows: &[Write]) -> Result<()> {
        let done = write_all(&*self.rows, rows, &self.at.path());
        self.is_refused.fetch_or(done.is_err(), Ordering::Relaxed);
        done
    }

    /// Writes the pieces that are whole, or all there is.
    fn write(&mut self, is_all: bool) -> Result<()> {
        let whole = match is_all {
            true => self.bytes.len(),
            false => self.bytes.len() / PIECE_BYTES * PIECE_BYTES,
        };
        let rest = self.bytes.split_off(whole);
        let whole = mem::replace(&mut self.bytes, rest);
        let mut group = Vec::new();
        for piece in whole.chunks(PIECE_BYTES) {
            group.push(self.at.row(self.pieces, piece));
            self.pieces += 1;
        }
        for some in group.chunks(IN_FLIGHT_MAX) {
            self.put(some)?;
        }
        Ok(())
    }
}

impl DiskFile for Sink {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        self.grown.store(self.written, Ordering::Relaxed);
        if self.bytes.len() >= IN_FLIGHT_MAX * PIECE_BYTES { self.write(false) } else { Ok(()) }
    }

    fn make_room(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn room_bytes(&self) -> u64 {
        u64::MAX
    }

    fn sync_data(&mut self) -> Result<()> {
        self.write(true)?;
        self.put(&[self.at.row(END, &self.written.to_be_bytes())])
    }

    fn written_bytes(&self) -> u64 {
        self.written
    }
}

/// A file that is being read: the block source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) rows: Arc<dyn Rows>,
    pub(super) at: FileAt,
    pub(super) bytes: u64,
    pub(super) cache: Arc<PieceCache>,
    /// The piece behind that which was read last: who asks for it reads on.
    pub(super) next: AtomicU64,
}

impl Source {
    fn piece(&self, piece: u64) -> Result<Arc<[u8]>> {
        let reads_on = self.next.swap(piece + 1, Ordering::Relaxed) == piece && piece > 0;
        let key = (self.at.file, piece);
        if let Some(bytes) = self.cache.get(key) {
            return Ok(bytes);
        }
        let offset = piece.saturating_mul(PIECE_BYTES as u64);
        let mut found = None;
        if reads_on {
            let count = run_of(piece, self.bytes.div_ceil(PIECE_BYTES as u64));
            let mut run = self.at.run(&*self.rows, piece, count)?.into_iter();
            found = run.next().flatten();
            for (ahead, bytes) in (piece + 1..).zip(run) {
                if let Some(bytes) = bytes {
                    self.cache.put((self.at.file, ahead), bytes);
                }
            }
        }
        if found.is_none() {
            found = self.at.piece(&*self.rows, piece)?;
        }
        let missing = || Error::corrupt(&self.at.path(), offset, "a piece is missing or damaged");
        let bytes = found.ok_or_else(missing)?;
        self.cache.put(key, Arc::clone(&bytes));
        Ok(bytes)
    }
}

impl DiskReader for Source {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset.saturating_add(filled as u64);
            let piece = self.piece(at / PIECE_BYTES as u64)?;
            // Below the size of a piece.
            let from = usize::try_from(at % PIECE_BYTES as u64).unwrap_or(usize::MAX);
            let there = piece.get(from..).filter(|there| !there.is_empty());
            let Some(there) = there else {
                return Err(Error::corrupt(&self.at.path(), at, "it ends here"));
            };
            let len = there.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&there[..len]);
            filled += len;
        }
        Ok(())
    }

    fn file_bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::fake::{Fake, Faults};
    use model::SplitMix64;

    const TABLE: &str = "files";

    fn at(file: u64) -> FileAt {
        FileAt { table: TABLE.to_owned(), file }
    }

    fn written(fake: &Fake, file: u64, bytes: &[u8]) {
        let mut sink = Sink::new(Arc::new(fake.clone()), at(file), Default::default());
        bytes.chunks(100_000).for_each(|some| sink.append(some).unwrap());
        sink.sync_data().unwrap();
    }

    fn source(fake: &Fake, file: u64) -> Source {
        let bytes = at(file).len(fake).unwrap().unwrap();
        let (rows, next) = (Arc::new(fake.clone()), AtomicU64::new(0));
        Source { rows, at: at(file), bytes, cache: Arc::new(cache()), next }
    }

    fn cache() -> PieceCache {
        PieceCache::new(64 * PIECE_BYTES)
    }

    #[test]
    fn who_reads_on_asks_once_for_several_pieces_also_of_nodes_that_lag() {
        for write_late in [0, 80] {
            let fake = Fake::new(1, Faults { write_late, ..Faults::default() });
            fake.create_table(TABLE, 1).unwrap();
            let bytes = vec![7; 33 * PIECE_BYTES + 5];
            written(&fake, 1, &bytes);
            let (source, before) = (source(&fake, 1), fake.reads());
            for piece in 0..34 {
                let from = piece * PIECE_BYTES;
                let mut buffer = vec![0; PIECE_BYTES.min(bytes.len() - from)];
                source.read_at(from as u64, &mut buffer).unwrap();
                assert!(buffer.iter().all(|byte| *byte == 7), "{piece}");
            }
            let asked = fake.reads() - before;
            assert!(write_late > 0 || asked == 1 + 33_u64.div_ceil(AHEAD), "{asked} reads");
        }
    }

    #[test]
    fn any_range_of_a_file_is_read_back_also_from_nodes_that_lag() {
        let fake = Fake::new(1, Faults { write_late: 80, ..Faults::default() });
        fake.create_table(TABLE, 1).unwrap();
        let mut chance = SplitMix64::new(1);
        let bytes: Vec<u8> =
            (0..3 * PIECE_BYTES + 17).map(|_| chance.draw().to_le_bytes()[0]).collect();
        written(&fake, 7, &bytes);
        let source = source(&fake, 7);
        assert_eq!(source.file_bytes(), bytes.len() as u64);
        for _ in 0..200 {
            let from = usize::try_from(chance.draw()).unwrap() % bytes.len();
            let len = usize::try_from(chance.draw()).unwrap() % (bytes.len() - from);
            let mut buffer = vec![0; len];
            source.read_at(from as u64, &mut buffer).unwrap();
            assert!(buffer == bytes[from..from + len], "{from} + {len}");
        }
        assert!(source.read_at(bytes.len() as u64 - 1, &mut [0; 2]).is_err(), "behind its end");
    }

    #[test]
    fn a_file_that_was_not_finished_is_not_there_and_one_that_was_deleted_stays_so() {
        let fake = Fake::new(1, Faults::default());
        fake.create_table(TABLE, 1).unwrap();
        let mut sink = Sink::new(Arc::new(fake.clone()), at(1), Default::default());
        sink.append(&vec![1; 3 * PIECE_BYTES]).unwrap();
        assert_eq!(at(1).len(&fake).unwrap(), None);

        written(&fake, 2, &[7; 1_000]);
        at(2).delete(&fake, 1_000).unwrap();
        // A write that was on its way comes after the delete.
        written(&fake, 2, &[7; 1_000]);
        assert_eq!(at(2).len(&fake).unwrap(), None);
    }

    #[test]
    fn what_is_fetched_ahead_of_a_database_that_does_not_answer_is_given_up_after_one_round() {
        let fake = Fake::new(1, Faults::default());
        fake.create_table(TABLE, 1).unwrap();
        written(&fake, 5, &vec![7; 24 * PIECE_BYTES]);
        let far: Vec<(FileAt, u64)> = (0..24).map(|piece| (at(5), piece)).collect();
        let rounds = |cache: &PieceCache| {
            let before = fake.rounds();
            fetch(&fake, cache, &far);
            fake.rounds() - before
        };
        fake.mute(Some(TABLE));
        assert_eq!(rounds(&cache()), 1);
        fake.mute(None);
        let cache = cache();
        assert_eq!(rounds(&cache), 3);
        assert!(cache.holds((5, 0)) && cache.holds((5, 23)));
    }

    #[test]
    fn a_piece_that_is_another_one_is_not_believed() {
        let fake = Fake::new(1, Faults::default());
        fake.create_table(TABLE, 1).unwrap();
        written(&fake, 3, &[7; 1_000]);
        let mut other = at(4).row(0, &[7; 1_000]);
        other.key = at(3).row(0, &[]).key;
        other.timestamp = WRITTEN + 1;
        fake.write(&[other]).unwrap();
        let error = source(&fake, 3).read_at(0, &mut [0; 10]).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}
