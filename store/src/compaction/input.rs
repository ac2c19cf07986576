//! Reading what goes into a compaction: the partitions of an sstable one by one, and their series
//! with all their chunks, in the fast encoding.
//!
//! Nothing here goes through the cache of readers: a compaction reads each byte once, and would
//! only push out what they need. It has a small one of its own.
//!
//! # Invariants
//! - What is read has passed its checksum and makes sense, or the file is named in an error.

use crate::bytes::Damaged;
use crate::cache::Cache;
use crate::chunk::packed;
use crate::chunk::{Chunk, ChunkHead};
use crate::disk::Disk;
use crate::error::Result;
use crate::sstable::block::BLOCK_HEADER_BYTES;
use crate::sstable::columns::Partition;
use crate::sstable::directory::{Directory, PartitionEntry, TenantPart};
use crate::sstable::reader::{Source, Sstable};
use crate::sstable::times::DenseReader;
use crate::sstable::values::NO_VALUE;
use model::{TenantId, Text, TimestampMs};
use std::sync::Arc;

/// An sstable that goes in.
#[derive(Debug)]
pub(crate) struct Input {
    id: u64,
    table: Sstable,
    pub(crate) directory: Directory,
}

/// What a tenant has in an input.
pub(crate) struct TenantInput<'a> {
    source: Source<'a>,
    /// The tenant's index in the directory.
    tenant: usize,
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
    /// Opens the file of a number, which is at `path`.
    pub(crate) fn open(disk: &dyn Disk, id: u64, path: &str) -> Result<Self> {
        let (table, directory) = Sstable::open(disk, path)?;
        Ok(Self { id, table, directory })
    }
}

/// What a tenant has in the inputs, and its texts in all of them, ascending.
pub(crate) fn tenant<'a>(
    inputs: &'a [Input],
    cache: &'a Cache,
    id: &TenantId,
) -> Result<(Vec<TenantInput<'a>>, Vec<Text>)> {
    let mut parts = Vec::new();
    for input in inputs {
        let Some((tenant, part)) = input.directory.tenant(id) else { continue };
        let source = Source { sstable: &input.table, id: input.id, cache };
        let symbols = source.symbols(tenant, part)?;
        parts.push((source, tenant, part, symbols));
    }
    let mut texts: Vec<Text> = parts.iter().flat_map(|part| part.3.iter()).cloned().collect();
    texts.sort_unstable();
    texts.dedup();
    let tenant_input = |(source, tenant, part, symbols): (_, _, _, Arc<Vec<Text>>)| {
        let mut numbers = Vec::with_capacity(symbols.len());
        let mut number = 0_usize;
        for symbol in symbols.iter() {
            // Both ascend, and each symbol is among the texts.
            while texts.get(number).is_some_and(|text| text < symbol) {
                number += 1;
            }
            numbers.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
        TenantInput { source, tenant, part, numbers }
    };
    let tenants = parts.into_iter().map(tenant_input).collect();
    Ok((tenants, texts))
}

impl<'a> TenantInput<'a> {
    /// The file's path.
    pub(crate) fn path(&self) -> &'a str {
        &self.source.sstable.path
    }

    /// The partitions, ascending.
    pub(crate) fn partitions(&self) -> &'a [PartitionEntry] {
        &self.part.partitions
    }

    /// Hands the number of each text that a partition uses to `visit`, some more than once.
    pub(crate) fn texts(&self, entry: &PartitionEntry, mut visit: impl FnMut(u32)) -> Result<()> {
        let partition = self.source.partition(entry, self.numbers.len())?;
        for column in &partition.columns {
            let values = column.values().filter(|value| *value != NO_VALUE);
            values.chain([column.name]).for_each(|symbol| visit(self.number(symbol)));
        }
        Ok(())
    }

    /// The series of a partition, in the file's order, and what is known of their chunks.
    pub(crate) fn heads(&self, entry: &PartitionEntry) -> Result<Vec<Series<ChunkHead>>> {
        let partition = self.source.partition(entry, self.numbers.len())?;
        let heads = |place| partition.chunks(place).iter().map(|chunk| *partition.head(chunk));
        let pairs = self.pairs(&partition);
        let series = |(place, pairs)| Series { pairs, chunks: heads(place).collect() };
        Ok((0..).zip(pairs).map(series).collect())
    }

    /// The series of a partition, in the file's order, with their chunks; and how many bytes of
    /// the file they take.
    pub(crate) fn series(&self, entry: &PartitionEntry) -> Result<(Vec<Series<Chunk>>, u64)> {
        let partition = self.source.partition(entry, self.numbers.len())?;
        let mut chunks = Chunks {
            of: self,
            entry,
            partition: &partition,
            dense: DenseReader::default(),
            held: None,
        };
        let mut all = Vec::with_capacity(partition.series as usize);
        for (place, pairs) in (0..).zip(self.pairs(&partition)) {
            let read = partition.chunk_range(place).map(|index| chunks.at(index));
            all.push(Series { pairs, chunks: read.collect::<Result<_>>()? });
        }
        let chunk_bytes: u64 = partition.blocks.iter().map(|block| block.len).sum();
        Ok((all, entry.block.len + chunk_bytes))
    }

    /// Runs what reads a partition's bytes; what makes no sense is told with the file's name.
    pub(crate) fn checked<T>(
        &self,
        entry: &PartitionEntry,
        read: impl FnOnce() -> Result<T, Damaged>,
    ) -> Result<T> {
        read().map_err(|damaged| self.source.damaged(entry.block.offset, damaged))
    }

    fn number(&self, symbol: u32) -> u32 {
        self.numbers.get(symbol as usize).copied().unwrap_or(u32::MAX)
    }

    /// The label pairs of each place.
    fn pairs(&self, partition: &Partition) -> Vec<Vec<(u32, u32)>> {
        let mut pairs: Vec<_> = (0..partition.series).map(|_| Vec::new()).collect();
        for column in &partition.columns {
            let name = self.number(column.name);
            column.for_each_in(&partition.all(), |value, start, end| {
                let places = pairs.get_mut(start as usize..end as usize).unwrap_or_default();
                if value != NO_VALUE {
                    let value = self.number(value);
                    places.iter_mut().for_each(|pairs| pairs.push((name, value)));
                }
            });
        }
        pairs
    }
}

/// The chunks of a partition, one after the other.
struct Chunks<'a> {
    of: &'a TenantInput<'a>,
    entry: &'a PartitionEntry,
    partition: &'a Partition,
    dense: DenseReader,
    /// The block that was read last.
    held: Option<(u32, Arc<Vec<u8>>)>,
}

impl Chunks<'_> {
    fn at(&mut self, index: usize) -> Result<Chunk> {
        let Some(place) = self.partition.chunk(index) else {
            return self.of.checked(self.entry, || Err(Damaged("a chunk is missing")));
        };
        let (source, head) = (&self.of.source, *self.partition.head(place));
        let is_of_day = |ms: i64| TimestampMs(ms).day() == self.entry.day;
        if !is_of_day(head.first_ms) || !is_of_day(head.last_ms) {
            return self.of.checked(self.entry, || Err(Damaged("a chunk is not of its day")));
        }
        let block = match &self.held {
            Some((number, block)) if *number == place.block => block,
            _ => {
                let at = self.partition.blocks.get(place.block as usize);
                let block = source.chunks(at.copied().unwrap_or_default(), false)?;
                &self.held.insert((place.block, block)).1
            }
        };
        let payload = block.get(BLOCK_HEADER_BYTES..).unwrap_or(&[]);
        let bytes = self.of.checked(self.entry, || place.bytes(payload))?;
        if !head.is_dense() {
            let (head, bytes) = self.of.checked(self.entry, || packed::unpack(&head, bytes))?;
            return Ok(Chunk { head, bytes: bytes.as_ref().into() });
        }
        let (tenant, part) = (self.of.tenant, self.of.part);
        let times = self.dense.times(&head, |number| source.times(tenant, part, number, true))?;
        self.of.checked(self.entry, || self.dense.thaw(&head, &times, bytes))
    }
}
