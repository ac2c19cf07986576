//! A partition's index as a reader wants it: decoded and checked once, and kept.
//!
//! The file has, for each label, the runs of places of each value. Here they stand in the order of
//! places: a *column* of runs for each label name. One walk along a column tells which places
//! match, whatever the matcher; a binary search tells a place's value.
//!
//! # Invariants
//! - The runs of a column are complete: the last one ends where the partition ends.
//! - Places are below `series`, chunks lie within their block, symbols within the tenant's.
//!
//! Not here: the bytes (`partition.rs`), which values match (`values.rs`).

use super::block::{BLOCK_HEADER_BYTES, BlockRef};
use super::partition::{PartitionIndex, block_ranges};
use super::values::NO_VALUE;
use crate::bytes::Damaged;
use crate::chunk::ChunkHead;
use model::Text;
use model::query_shard::{pair_hash, text_hash};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Places of a partition: runs that ascend and are apart, as (first, after the last).
pub(crate) type Places = Vec<(u32, u32)>;

/// Adds a run behind all others.
pub(crate) fn push_run(places: &mut Places, start: u32, end: u32) {
    match places.last_mut() {
        Some((_, last_end)) if *last_end == start => *last_end = end,
        _ => places.push((start, end)),
    }
}

/// The values of one label.
#[derive(Debug)]
pub(crate) struct Column {
    /// The label's name.
    pub(crate) name: u32,
    /// Where each run ends, ascending; shared with other columns that change at the same places.
    ends: Arc<[u32]>,
    /// The value of each run, or [`NO_VALUE`].
    values: Box<[u32]>,
}

/// A chunk, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkAt {
    /// Index in the distinct heads.
    head: u32,
    /// Index of the block of chunks.
    pub(crate) block: u32,
    start: u32,
    len: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) series: u32,
    /// Ascending by name.
    pub(crate) columns: Vec<Column>,
    heads: Vec<ChunkHead>,
    chunks: Vec<ChunkAt>,
    /// For each series where its chunks end; empty if each has just one.
    chunk_ends: Vec<u32>,
    /// The blocks of chunks.
    pub(crate) blocks: Vec<BlockRef>,
    /// The hash of each series, once a shard of them was asked for.
    hashes: OnceLock<Box<[u64]>>,
}

impl Partition {
    /// Reads a partition block's payload. `symbols` is how many symbols the tenant has in the
    /// file, `chunks_at` where the blocks of chunks begin.
    pub(crate) fn decode(payload: &[u8], symbols: usize, chunks_at: u64) -> Result<Self, Damaged> {
        let index = PartitionIndex::decode(payload, symbols)?;
        let mut columns: Vec<Column> = Vec::with_capacity(index.names.len());
        for postings in &index.names {
            let mut runs: Vec<(u32, u32, u32)> = Vec::new();
            postings.for_each(|value, start, end| runs.push((start, end, value)))?;
            let column = Column::of(postings.name, runs, index.series, columns.last())?;
            columns.push(column);
        }
        let ranges = block_ranges(&index.block_bytes, chunks_at);
        let mut partition = Self {
            series: index.series,
            columns,
            heads: Vec::new(),
            chunks: Vec::new(),
            chunk_ends: Vec::new(),
            blocks: ranges.iter().map(block_ref).collect(),
            hashes: OnceLock::new(),
        };
        partition.place_chunks(&index, &ranges)?;
        Ok(partition)
    }

    fn place_chunks(
        &mut self,
        index: &PartitionIndex<'_>,
        ranges: &[(Range<u64>, u64)],
    ) -> Result<(), Damaged> {
        let (mut block, mut fits) = (0_usize, true);
        let mut ends = vec![0_u32; self.series as usize];
        index.chunks(|chunk| {
            if self.heads.last() != Some(&chunk.head) {
                self.heads.push(chunk.head);
            }
            while ranges.get(block).is_some_and(|(range, _)| range.end <= chunk.bytes.start) {
                block += 1;
            }
            let at = ranges.get(block).filter(|(range, _)| chunk.bytes.end <= range.end);
            let at = at.and_then(|(range, _)| {
                Some(ChunkAt {
                    head: u32::try_from(self.heads.len() - 1).ok()?,
                    block: u32::try_from(block).ok()?,
                    start: u32::try_from(chunk.bytes.start - range.start).ok()?,
                    len: u32::try_from(chunk.bytes.end - chunk.bytes.start).ok()?,
                })
            });
            match at {
                Some(at) => self.chunks.push(at),
                None => fits = false,
            }
            if let Some(end) = ends.get_mut(chunk.series as usize) {
                *end = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
            }
        })?;
        if !fits {
            return Err(Damaged("a chunk lies across two blocks"));
        }
        if ends.iter().zip(1..).any(|(end, one_each)| *end != one_each) {
            // A series without a chunk ends where the one before does.
            let mut before = 0;
            for end in &mut ends {
                *end = (*end).max(before);
                before = *end;
            }
            self.chunk_ends = ends;
        }
        self.heads.shrink_to_fit();
        self.chunks.shrink_to_fit();
        Ok(())
    }

    /// The column of a name, if a series has that label.
    pub(crate) fn column(&self, name: u32) -> Option<&Column> {
        let at = self.columns.binary_search_by_key(&name, |column| column.name).ok()?;
        self.columns.get(at)
    }

    /// All places.
    pub(crate) fn all(&self) -> Places {
        if self.series == 0 { Vec::new() } else { vec![(0, self.series)] }
    }

    /// For each place the hash that tells its series' shard (`model::query_shard`). All shards of a
    /// question ask for it.
    pub(crate) fn hashes(&self, symbols: &[Text]) -> &[u64] {
        self.hashes.get_or_init(|| {
            let hash = |symbol: u32| symbols.get(symbol as usize).map_or(0, |text| text_hash(text));
            let mut known = vec![None; symbols.len()];
            let mut hashes = vec![0_u64; self.series as usize];
            for column in &self.columns {
                let name = hash(column.name);
                column.for_each_in(&self.all(), |value, start, end| {
                    let Some(known) = known.get_mut(value as usize) else { return };
                    let pair = pair_hash(name, *known.get_or_insert_with(|| hash(value)));
                    let of_run = hashes.get_mut(start as usize..end as usize).unwrap_or_default();
                    of_run.iter_mut().for_each(|sum| *sum = sum.wrapping_add(pair));
                });
            }
            hashes.into()
        })
    }

    /// The chunks of the series at a place.
    pub(crate) fn chunks(&self, place: u32) -> &[ChunkAt] {
        self.chunks.get(self.chunk_range(place)).unwrap_or(&[])
    }

    /// A chunk of the partition.
    pub(crate) fn chunk(&self, index: usize) -> Option<&ChunkAt> {
        self.chunks.get(index)
    }

    /// Which of the partition's chunks are of the series at a place.
    pub(crate) fn chunk_range(&self, place: u32) -> Range<usize> {
        let place = place as usize;
        match self.chunk_ends.get(place) {
            None => place..place + 1,
            Some(end) => {
                let before = place.checked_sub(1).and_then(|before| self.chunk_ends.get(before));
                before.map_or(0, |end| *end as usize)..*end as usize
            }
        }
    }

    /// What is known of a chunk.
    pub(crate) fn head(&self, chunk: &ChunkAt) -> &ChunkHead {
        // A chunk's head is pushed before the chunk.
        &self.heads[chunk.head as usize]
    }

    /// The bytes it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let mut bytes = size_of::<Self>()
            + self.heads.len() * size_of::<ChunkHead>()
            + self.chunks.len() * size_of::<ChunkAt>()
            + self.chunk_ends.len() * 4
            + self.blocks.len() * size_of::<BlockRef>()
            // The hashes, which may come later.
            + self.series as usize * 8;
        for (index, column) in self.columns.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|before| self.columns.get(before));
            let is_shared = before.is_some_and(|b| Arc::ptr_eq(&b.ends, &column.ends));
            let ends = if is_shared { 0 } else { column.ends.len() * 4 + 16 };
            bytes += size_of::<Column>() + column.values.len() * 4 + ends;
        }
        bytes
    }
}

fn block_ref((range, offset): &(Range<u64>, u64)) -> BlockRef {
    BlockRef { offset: *offset, len: range.end - range.start + BLOCK_HEADER_BYTES as u64 }
}

impl ChunkAt {
    /// The chunk's bytes in the payload of its block.
    pub(crate) fn bytes<'b>(&self, payload: &'b [u8]) -> Result<&'b [u8], Damaged> {
        let start = self.start as usize;
        let bytes = payload.get(start..start.saturating_add(self.len as usize));
        bytes.ok_or(Damaged("a chunk is out of range"))
    }
}

impl Column {
    /// The column of runs (first, after the last, value) in any order.
    fn of(
        name: u32,
        mut runs: Vec<(u32, u32, u32)>,
        series: u32,
        before: Option<&Self>,
    ) -> Result<Self, Damaged> {
        if !runs.is_sorted() {
            runs.sort_unstable();
        }
        let mut ends = Vec::with_capacity(runs.len());
        let mut values = Vec::with_capacity(runs.len());
        let mut at = 0;
        for (start, end, value) in runs {
            if start < at {
                return Err(Damaged("a series has a label twice"));
            }
            if start > at {
                ends.push(start);
                values.push(NO_VALUE);
            }
            ends.push(end);
            values.push(value);
            at = end;
        }
        if at < series {
            ends.push(series);
            values.push(NO_VALUE);
        }
        let ends = match before.filter(|before| *before.ends == *ends) {
            Some(before) => Arc::clone(&before.ends),
            None => ends.into(),
        };
        Ok(Self { name, ends, values: values.into() })
    }

    /// Hands each run of a value that lies in `places` to `visit`: value or [`NO_VALUE`], first
    /// place, place after the last.
    #[inline]
    pub(crate) fn for_each_in(&self, places: &[(u32, u32)], mut visit: impl FnMut(u32, u32, u32)) {
        let mut run = 0;
        for (start, end) in places {
            let mut at = *start;
            run = self.run_at(at, run);
            while at < *end {
                let Some(run_end) = self.ends.get(run) else { return };
                let until = (*run_end).min(*end);
                visit(self.values[run], at, until);
                at = until;
                run += usize::from(*run_end == at);
            }
        }
    }

    /// The run that a place lies in; it is `from` or behind it.
    #[inline]
    pub(crate) fn run_at(&self, place: u32, from: usize) -> usize {
        let mut run = from;
        // Mostly it is one of the next.
        for _ in 0..8 {
            match self.ends.get(run) {
                Some(end) if *end <= place => run += 1,
                _ => return run,
            }
        }
        run + self.ends.get(run..).unwrap_or(&[]).partition_point(|end| *end <= place)
    }

    /// Where a run ends, and its value.
    #[inline]
    pub(crate) fn run(&self, run: usize) -> (u32, u32) {
        match (self.ends.get(run), self.values.get(run)) {
            (Some(end), Some(value)) => (*end, *value),
            _ => (u32::MAX, NO_VALUE),
        }
    }

    /// The values of all runs, in the order of places; one may occur many times.
    pub(crate) fn values(&self) -> impl Iterator<Item = u32> + '_ {
        self.values.iter().copied().filter(|value| *value != NO_VALUE)
    }
}

/// The places among `places` whose value of a label is one that `matches`.
pub(crate) fn narrow(
    column: Option<&Column>,
    places: Places,
    mut matches: impl FnMut(u32) -> bool,
) -> Places {
    let Some(column) = column else {
        return if matches(NO_VALUE) { places } else { Vec::new() };
    };
    let mut kept = Vec::new();
    column.for_each_in(&places, |value, start, end| {
        if matches(value) {
            push_run(&mut kept, start, end);
        }
    });
    kept
}
