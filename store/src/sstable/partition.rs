//! A partition's own block: the postings of its series, and where their chunks are.
//!
//! Series are known by their place, from 0. For each label name and value stand the runs of places
//! that have it; read the other way round, they are the series' labels, so these are stored once.
//! The table of chunks goes through the series in order. Chunks lie one behind the other in the
//! blocks that follow, none across the border of two.
//!
//! Not here: reading and matching (`reader.rs`), the order of series (`writer.rs`).

use super::block::BLOCK_HEADER_BYTES;
use crate::bytes::{Damaged, Input, put_ivarint, put_uvarint};
use crate::chunk::ChunkHead;
use crate::postings::{List, decode_runs};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::ops::Range;

/// A block of chunks ends behind the chunk that brings it to this size.
pub(crate) const CHUNK_BLOCK_BYTES: usize = 32 << 10;

/// The chunk has the times and count of the chunk before it in the table.
const IS_LIKE_BEFORE: u8 = 1;
const HAS_REVISION: u8 = 2;
const ENCODING_SHIFT: u8 = 4;

/// A partition that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    lists: Vec<((u32, u32), List)>,
    by_pair: HashMap<(u32, u32), u32, FixedState>,
    /// The series before: for each of its label pairs the pair and its list.
    before: Vec<((u32, u32), u32)>,
    table: Vec<u8>,
    last: Option<ChunkHead>,
    columns: Columns,
    pub(crate) series: u32,
    pub(crate) samples: u64,
    /// The payloads of the blocks of chunks.
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

impl Builder {
    /// Adds the next series: its label pairs as the file's symbols, and its chunks, at least one.
    pub(crate) fn push<'a>(
        &mut self,
        pairs: impl Iterator<Item = (u32, u32)>,
        chunks: impl ExactSizeIterator<Item = (ChunkHead, &'a [u8])>,
    ) {
        let place = self.series;
        for (index, pair) in pairs.enumerate() {
            // Neighbours have most pairs in common, at the same index.
            let list = match self.before.get(index) {
                Some((before, list)) if *before == pair => *list,
                _ => self.list(pair),
            };
            self.lists[list as usize].1.push(place);
            self.before.truncate(index.max(self.before.len()));
            match self.before.get_mut(index) {
                Some(slot) => *slot = (pair, list),
                None => self.before.push((pair, list)),
            }
        }
        put_uvarint(&mut self.table, chunks.len() as u64);
        chunks.for_each(|(head, bytes)| self.push_chunk(&head, bytes));
        self.series += 1;
    }

    fn list(&mut self, pair: (u32, u32)) -> u32 {
        let lists = &mut self.lists;
        *self.by_pair.entry(pair).or_insert_with(|| {
            lists.push((pair, List::default()));
            u32::try_from(lists.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn push_chunk(&mut self, head: &ChunkHead, bytes: &[u8]) {
        match self.last {
            None => (self.min_ms, self.max_ms) = (head.first_ms, head.last_ms),
            Some(_) => {
                self.min_ms = self.min_ms.min(head.first_ms);
                self.max_ms = self.max_ms.max(head.last_ms);
            }
        }
        self.samples += u64::from(head.count);
        self.columns.put_head(&mut self.table, head, self.last.as_ref());
        put_uvarint(&mut self.table, bytes.len() as u64);
        self.last = Some(*head);
        if self.blocks.last().is_none_or(|block| block.len() >= CHUNK_BLOCK_BYTES) {
            self.blocks.push(Vec::new());
        }
        if let Some(block) = self.blocks.last_mut() {
            block.extend_from_slice(bytes);
        }
    }

    /// The payload of the partition's own block.
    pub(crate) fn encode(&mut self) -> Vec<u8> {
        self.lists.sort_unstable_by_key(|(pair, _)| *pair);
        let mut out = Vec::new();
        put_uvarint(&mut out, u64::from(self.series));
        put_uvarint(&mut out, self.blocks.len() as u64);
        self.blocks.iter().for_each(|block| put_uvarint(&mut out, block.len() as u64));
        let names = || self.lists.chunk_by(|a, b| a.0.0 == b.0.0);
        put_uvarint(&mut out, names().count() as u64);
        let mut name_before = 0;
        for values in names() {
            let name = values.first().map_or(0, |((name, _), _)| *name);
            put_uvarint(&mut out, u64::from(name - name_before));
            name_before = name;
            let mut lists = Vec::new();
            put_uvarint(&mut lists, values.len() as u64);
            let mut value_before = 0;
            for ((_, value), list) in values {
                put_uvarint(&mut lists, u64::from(value - value_before));
                value_before = *value;
                list.encode(&mut lists);
            }
            put_uvarint(&mut out, lists.len() as u64);
            out.extend_from_slice(&lists);
        }
        out.extend_from_slice(&self.table);
        out
    }
}

/// The columns of times that chunks have used so far, in the order of their first use.
#[derive(Debug, Default)]
struct Columns {
    used: Vec<ChunkHead>,
    by_number: HashMap<u32, u32, FixedState>,
}

impl Columns {
    fn put_head(&mut self, out: &mut Vec<u8>, head: &ChunkHead, before: Option<&ChunkHead>) {
        let is_like = before.is_some_and(|before| before.has_times_of(head));
        let like = if is_like { IS_LIKE_BEFORE } else { 0 };
        let revision = if head.revision == 0 { 0 } else { HAS_REVISION };
        out.push(head.encoding << ENCODING_SHIFT | like | revision);
        if head.revision != 0 {
            put_uvarint(out, u64::from(head.revision));
        }
        if is_like {
            return;
        }
        if head.is_dense() {
            let place = self.by_number.get(&head.column).copied();
            put_uvarint(out, place.map_or(0, |place| u64::from(place) + 1));
            if place.is_some() {
                return;
            }
            let base = self.used.last().map_or(0, |last| i64::from(last.column));
            put_ivarint(out, i64::from(head.column) - base);
            self.by_number.insert(head.column, u32::try_from(self.used.len()).unwrap_or(u32::MAX));
            self.used.push(*head);
        }
        let base = before.map_or(0, |before| before.first_ms);
        put_ivarint(out, head.first_ms.wrapping_sub(base));
        put_uvarint(out, head.last_ms.wrapping_sub(head.first_ms).cast_unsigned());
        put_uvarint(out, u64::from(head.count));
    }

    fn read_head(
        &mut self,
        input: &mut Input<'_>,
        before: Option<&ChunkHead>,
    ) -> Result<ChunkHead, Damaged> {
        let flags = input.u8()?;
        let encoding = flags >> ENCODING_SHIFT;
        let revision = if flags & HAS_REVISION != 0 { input.uvarint32()? } else { 0 };
        let like = |other: &ChunkHead| {
            let head = ChunkHead { encoding, revision, ..*other };
            let fits = other.is_dense() == head.is_dense();
            fits.then_some(head).ok_or(Damaged("a chunk has no times"))
        };
        if flags & IS_LIKE_BEFORE != 0 {
            return like(before.ok_or(Damaged("the first chunk has none before it"))?);
        }
        let (first_ms, last_ms, count, column) = (0, 0, 0, 0);
        let mut head = ChunkHead { encoding, revision, count, first_ms, last_ms, column };
        if head.is_dense() {
            if let Some(place) = input.uvarint32()?.checked_sub(1) {
                return like(self.used.get(place as usize).ok_or(Damaged("a column is missing"))?);
            }
            let base = self.used.last().map_or(0, |last| i64::from(last.column));
            let column = u32::try_from(base.wrapping_add(input.ivarint()?));
            head.column = column.map_err(|_| Damaged("a column is out of range"))?;
        }
        head.first_ms = before.map_or(0, |b| b.first_ms).wrapping_add(input.ivarint()?);
        head.last_ms = head.first_ms.wrapping_add(input.uvarint()?.cast_signed());
        head.count = input.uvarint32()?;
        if head.last_ms < head.first_ms {
            return Err(Damaged("a chunk ends before it begins"));
        }
        if head.is_dense() {
            self.used.push(head);
        }
        Ok(head)
    }
}

/// A partition's block, cut into its parts; postings are read when they are asked for.
#[derive(Debug)]
pub(crate) struct PartitionIndex<'a> {
    pub(crate) series: u32,
    /// The payload lengths of the blocks of chunks.
    pub(crate) block_bytes: Vec<u64>,
    /// Ascending by name.
    pub(crate) names: Vec<NamePostings<'a>>,
    table: Input<'a>,
}

/// The postings of one label name.
#[derive(Debug)]
pub(crate) struct NamePostings<'a> {
    pub(crate) name: u32,
    lists: &'a [u8],
    series: u32,
    symbols: usize,
}

/// Where a chunk lies among all bytes of the partition's chunks.
#[derive(Clone, Debug)]
pub(crate) struct ChunkPlace {
    pub(crate) series: u32,
    pub(crate) head: ChunkHead,
    pub(crate) bytes: Range<u64>,
}

impl<'a> PartitionIndex<'a> {
    /// Reads a payload. `symbols` is how many symbols the tenant has in the file.
    pub(crate) fn decode(payload: &'a [u8], symbols: usize) -> Result<Self, Damaged> {
        let mut input = Input::new(payload);
        let series = input.uvarint32()?;
        // Each series has a count of chunks in the table.
        if series as usize > input.len() {
            return Err(Damaged("a partition names more series than it holds"));
        }
        let block_bytes =
            (0..input.count(1)?).map(|_| input.uvarint()).collect::<Result<Vec<_>, _>>()?;
        let (mut names, mut name) = (Vec::new(), 0_u32);
        for index in 0..input.count(3)? {
            name = next_symbol(&mut input, name, index, symbols)?;
            let len = input.count(1)?;
            names.push(NamePostings { name, lists: input.take(len)?, series, symbols });
        }
        Ok(Self { series, block_bytes, names, table: input })
    }

    /// The chunks, in order.
    pub(crate) fn chunks(&self, mut visit: impl FnMut(ChunkPlace)) -> Result<(), Damaged> {
        let mut input = self.table;
        let (mut before, mut at, mut columns) = (None, 0_u64, Columns::default());
        for series in 0..self.series {
            for _ in 0..input.count(2)? {
                let head = columns.read_head(&mut input, before.as_ref())?;
                let len = input.uvarint()?;
                let end = at.checked_add(len).ok_or(Damaged("a chunk is out of range"))?;
                visit(ChunkPlace { series, head, bytes: at..end });
                (before, at) = (Some(head), end);
            }
        }
        let total = self.block_bytes.iter().try_fold(0_u64, |sum, len| sum.checked_add(*len));
        if input.is_empty() && total == Some(at) {
            Ok(())
        } else {
            Err(Damaged("a table of chunks does not fit its blocks"))
        }
    }
}

impl NamePostings<'_> {
    /// Hands each run of each value to `visit`: symbol, first place, place after the last.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u32, u32, u32)) -> Result<(), Damaged> {
        let mut input = Input::new(self.lists);
        let mut value = 0;
        // A series has a name once, so all runs together are no longer than the partition.
        let mut left = self.series;
        for index in 0..input.count(2)? {
            value = next_symbol(&mut input, value, index, self.symbols)?;
            let mut too_long = false;
            decode_runs(&mut input, self.series, |start, end| {
                match left.checked_sub(end - start) {
                    Some(rest) => left = rest,
                    None => too_long = true,
                }
                if !too_long {
                    visit(value, start, end);
                }
            })?;
            if too_long {
                return Err(Damaged("a series has a label twice"));
            }
        }
        if input.is_empty() { Ok(()) } else { Err(Damaged("postings go on behind their end")) }
    }
}

/// A symbol above the one before it.
fn next_symbol(
    input: &mut Input<'_>,
    before: u32,
    index: usize,
    symbols: usize,
) -> Result<u32, Damaged> {
    let step = input.uvarint32()?;
    let symbol = before.checked_add(step).filter(|_| step > 0 || index == 0);
    let symbol = symbol.ok_or(Damaged("symbols do not ascend"))?;
    if symbol as usize >= symbols { Err(Damaged("a symbol is out of range")) } else { Ok(symbol) }
}

/// Which blocks of chunks hold these bytes of the partition's chunks, as (index, payload's range);
/// and where those blocks lie, behind the partition's own block.
pub(crate) fn block_ranges(block_bytes: &[u64], first_offset: u64) -> Vec<(Range<u64>, u64)> {
    let (mut logical, mut offset) = (0_u64, first_offset);
    block_bytes
        .iter()
        .map(|len| {
            let block = (logical..logical.saturating_add(*len), offset);
            logical = block.0.end;
            offset = offset.saturating_add(len.saturating_add(BLOCK_HEADER_BYTES as u64));
            block
        })
        .collect()
}
