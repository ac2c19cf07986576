//! Reading what goes into a compaction: the partitions of an sstable one by one, and their series
//! with all their chunks.
//!
//! Nothing here goes through the caches of readers: a compaction reads each byte once, and would
//! only push out what they need.
//!
//! # Invariants
//! - What is read has passed its checksum and makes sense, or the file is named in an error.

use crate::bytes::Damaged;
use crate::chunk::Chunk;
use crate::disk::{Disk, DiskReader};
use crate::error::{Error, Result};
use crate::sstable::block::{self, BLOCK_HEADER_BYTES, BlockKind, BlockRef};
use crate::sstable::directory::{Directory, PartitionEntry, TenantPart};
use crate::sstable::partition::{self, ChunkPlace, PartitionIndex};
use crate::sstable::reader::Sstable;
use model::{TenantId, Text, TimestampMs};
use std::sync::Arc;

/// An sstable that goes in.
#[derive(Debug)]
pub(crate) struct Input {
    table: Sstable,
    reader: Arc<dyn DiskReader>,
    pub(crate) directory: Directory,
}

/// What a tenant has in an input.
#[derive(Debug)]
pub(crate) struct TenantInput<'a> {
    input: &'a Input,
    part: &'a TenantPart,
    /// For each of the file's symbols its number among those of all inputs.
    numbers: Vec<u32>,
}

/// A series of a partition as an input has it.
#[derive(Debug)]
pub(crate) struct Series<C> {
    /// Name and value, as numbers of the texts of all inputs, ascending by name.
    pub(crate) pairs: Vec<(u32, u32)>,
    /// Its chunks, in the file's order.
    pub(crate) chunks: Vec<C>,
}

impl Input {
    /// Opens the file at `path`.
    pub(crate) fn open(disk: &dyn Disk, path: &str) -> Result<Self> {
        let (table, directory) = Sstable::open(disk, path)?;
        Ok(Self { table, reader: disk.open(path)?, directory })
    }
}

/// What a tenant has in the inputs, and its texts in all of them, ascending.
pub(crate) fn tenant<'a>(
    inputs: &'a [Input],
    id: &TenantId,
) -> Result<(Vec<TenantInput<'a>>, Vec<Text>)> {
    let mut parts = Vec::new();
    for input in inputs {
        let Some((_, part)) = input.directory.tenant(id) else { continue };
        let symbols = input.table.symbols(part.symbols)?;
        parts.push((input, part, symbols));
    }
    let mut texts: Vec<Text> = parts.iter().flat_map(|(_, _, symbols)| symbols).cloned().collect();
    texts.sort_unstable();
    texts.dedup();
    let tenant_input = |(input, part, symbols): (&'a Input, &'a TenantPart, Vec<Text>)| {
        let mut numbers = Vec::with_capacity(symbols.len());
        let mut number = 0_usize;
        for symbol in &symbols {
            // Both ascend, and each symbol is among the texts.
            while texts.get(number).is_some_and(|text| text < symbol) {
                number += 1;
            }
            numbers.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
        TenantInput { input, part, numbers }
    };
    let tenants = parts.into_iter().map(tenant_input).collect();
    Ok((tenants, texts))
}

impl<'a> TenantInput<'a> {
    /// The file's path.
    pub(crate) fn path(&self) -> &'a str {
        &self.input.table.path
    }

    /// The partitions, ascending.
    pub(crate) fn partitions(&self) -> &'a [PartitionEntry] {
        &self.part.partitions
    }

    /// Hands the number of each text that a partition uses to `visit`, some more than once.
    /// Returns how many bytes were read.
    pub(crate) fn texts(&self, entry: &PartitionEntry, mut visit: impl FnMut(u32)) -> Result<u64> {
        let bytes = self.index_block(entry)?;
        let number = |symbol: u32| self.numbers.get(symbol as usize).copied();
        let mut visit = |symbol: u32| number(symbol).into_iter().for_each(&mut visit);
        self.checked(entry, || {
            let index = PartitionIndex::decode(&bytes[BLOCK_HEADER_BYTES..], self.numbers.len())?;
            for postings in &index.names {
                visit(postings.name);
                postings.for_each(|value, _, _| visit(value))?;
            }
            Ok(())
        })?;
        Ok(bytes.len() as u64)
    }

    /// The series of a partition, in the file's order, and where their chunks are.
    pub(crate) fn heads(&self, entry: &PartitionEntry) -> Result<Vec<Series<ChunkPlace>>> {
        let bytes = self.index_block(entry)?;
        self.checked(entry, || {
            let index = PartitionIndex::decode(&bytes[BLOCK_HEADER_BYTES..], self.numbers.len())?;
            self.series_of(entry, &index)
        })
    }

    /// The series of a partition, in the file's order, and their chunks.
    pub(crate) fn series(&self, entry: &PartitionEntry) -> Result<Vec<Series<Chunk>>> {
        let bytes = self.index_block(entry)?;
        let (blocks, series) = self.checked(entry, || {
            let index = PartitionIndex::decode(&bytes[BLOCK_HEADER_BYTES..], self.numbers.len())?;
            let series = self.series_of(entry, &index)?;
            Ok((index.block_bytes, series))
        })?;
        let chunks_at = entry.block.offset.saturating_add(entry.block.len);
        let input = self.input;
        let mut blocks = Blocks::new(&*input.reader, &input.table.path, &blocks, chunks_at);
        let mut read = |place: ChunkPlace| {
            let bytes = blocks.chunk(&place)?;
            Ok(Chunk { head: place.head, bytes: bytes.into() })
        };
        let whole = |series: Series<ChunkPlace>| {
            let chunks = series.chunks.into_iter().map(&mut read).collect::<Result<_>>()?;
            Ok(Series { pairs: series.pairs, chunks })
        };
        series.into_iter().map(whole).collect()
    }

    /// Runs what reads a partition's bytes; what makes no sense is told with the file's name.
    pub(crate) fn checked<T>(
        &self,
        entry: &PartitionEntry,
        read: impl FnOnce() -> Result<T, Damaged>,
    ) -> Result<T> {
        read().map_err(|damaged| damaged.at(&self.input.table.path, entry.block.offset))
    }

    fn index_block(&self, entry: &PartitionEntry) -> Result<Vec<u8>> {
        let input = self.input;
        block::read(&*input.reader, &input.table.path, entry.block, BlockKind::Partition)
    }

    fn series_of(
        &self,
        entry: &PartitionEntry,
        index: &PartitionIndex<'_>,
    ) -> Result<Vec<Series<ChunkPlace>>, Damaged> {
        let empty = || Series { pairs: Vec::new(), chunks: Vec::new() };
        let mut series: Vec<_> = (0..index.series).map(|_| empty()).collect();
        let number = |symbol: u32| self.numbers.get(symbol as usize).copied().unwrap_or(u32::MAX);
        for postings in &index.names {
            let name = number(postings.name);
            postings.for_each(|value, start, end| {
                let value = number(value);
                let places = series.get_mut(start as usize..end as usize).unwrap_or_default();
                places.iter_mut().for_each(|series| series.pairs.push((name, value)));
            })?;
        }
        let is_of_day = |ms: i64| TimestampMs(ms).day() == entry.day;
        let mut all_of_day = true;
        index.chunks(|place| {
            all_of_day &= is_of_day(place.head.first_ms) && is_of_day(place.head.last_ms);
            if let Some(series) = series.get_mut(place.series as usize) {
                series.chunks.push(place);
            }
        })?;
        if all_of_day { Ok(series) } else { Err(Damaged("a chunk lies outside of its day")) }
    }
}

/// The blocks of a partition's chunks, read one after the other as chunks ask for them.
#[derive(Debug)]
struct Blocks<'a> {
    reader: &'a dyn DiskReader,
    path: &'a str,
    ranges: Vec<(std::ops::Range<u64>, u64)>,
    /// One more than the block that is held; 0 if none is.
    next: usize,
    held: Vec<u8>,
}

impl<'a> Blocks<'a> {
    /// The blocks of these payload lengths, behind one another from `chunks_at` on.
    fn new(reader: &'a dyn DiskReader, path: &'a str, block_bytes: &[u64], chunks_at: u64) -> Self {
        let ranges = partition::block_ranges(block_bytes, chunks_at);
        Self { reader, path, ranges, next: 0, held: Vec::new() }
    }

    /// The bytes of a chunk; chunks are asked for in ascending order.
    fn chunk(&mut self, chunk: &ChunkPlace) -> Result<&[u8]> {
        let holds = |index: usize| {
            let range = self.ranges.get(index).map(|(range, _)| range);
            range.is_some_and(|r| r.start <= chunk.bytes.start && chunk.bytes.end <= r.end)
        };
        let current = self.next.checked_sub(1).filter(|index| holds(*index));
        let index = match current {
            Some(index) => index,
            None => {
                let after =
                    self.ranges.partition_point(|(range, _)| range.start <= chunk.bytes.start);
                let index = after.checked_sub(1).filter(|index| holds(*index));
                let across = || Error::corrupt(self.path, 0, "a chunk lies across two blocks");
                let index = index.ok_or_else(across)?;
                let (range, offset) = &self.ranges[index];
                let len = range.end - range.start + BLOCK_HEADER_BYTES as u64;
                let at = BlockRef { offset: *offset, len };
                self.held = block::read(self.reader, self.path, at, BlockKind::Chunks)?;
                self.next = index + 1;
                index
            }
        };
        let base = self.ranges[index].0.start;
        let start = usize::try_from(chunk.bytes.start - base).unwrap_or(usize::MAX);
        let end = usize::try_from(chunk.bytes.end - base).unwrap_or(usize::MAX);
        let payload = self.held.get(BLOCK_HEADER_BYTES..).unwrap_or(&[]);
        payload
            .get(start..end)
            .ok_or_else(|| Error::corrupt(self.path, 0, "a chunk is out of range"))
    }
}
