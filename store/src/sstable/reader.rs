//! Reading an sstable: which of its series match, and their samples.

use super::block::{self, BLOCK_HEADER_BYTES, BlockKind, BlockRef, Footer};
use super::directory::{Directory, PartitionEntry, TenantPart};
use super::filter::{self, Filter};
use super::partition::{self, ChunkPlace, PartitionIndex};
use crate::bytes::{Damaged, Input};
use crate::chunk::ChunkHead;
use crate::compaction::cut::{self, Cut, Labels};
use crate::disk::{Disk, DiskReader};
use crate::error::{Error, Result};
use crate::merge::Run;
use crate::select::{Gather, Query, Want};
use model::{METRIC_NAME, TenantId, Text};

/// What is kept of an sstable while it is live.
#[derive(Debug)]
pub(crate) struct Sstable {
    pub(crate) path: String,
    footer: Footer,
    filter: Filter,
    pub(crate) tenants: Vec<TenantId>,
}

impl Sstable {
    /// Opens a file: its header, footer and filter; the directory is read to see that it is whole.
    pub(crate) fn open(disk: &dyn Disk, path: &str) -> Result<(Self, Directory)> {
        let reader = disk.open(path)?;
        let footer = Footer::read(&*reader, path)?;
        let filter = match footer.filter.len {
            0 => Filter::yes(),
            _ => {
                let bytes = block::read(&*reader, path, footer.filter, BlockKind::Filter)?;
                let payload = &bytes[BLOCK_HEADER_BYTES..];
                Filter::decode(payload).map_err(|damaged| damaged.at(path, footer.filter.offset))?
            }
        };
        let mut table = Self { path: path.to_owned(), footer, filter, tenants: Vec::new() };
        let directory = table.directory(&*reader)?;
        table.tenants = directory.tenants.iter().map(|part| part.tenant.clone()).collect();
        Ok((table, directory))
    }

    /// Whether a metric of a tenant may be here.
    pub(crate) fn may_hold(&self, tenant: &TenantId, metric: &str) -> bool {
        self.filter.may_contain(filter::key(tenant, metric))
    }

    /// Reads the directory.
    pub(crate) fn directory(&self, reader: &dyn DiskReader) -> Result<Directory> {
        let at = self.footer.directory;
        let bytes = block::read(reader, &self.path, at, BlockKind::Directory)?;
        Directory::decode(&bytes[BLOCK_HEADER_BYTES..]).map_err(|d| d.at(&self.path, at.offset))
    }

    /// Reads the label strings of a tenant, ascending.
    pub(crate) fn symbols(&self, reader: &dyn DiskReader, at: BlockRef) -> Result<Vec<Text>> {
        let bytes = block::read(reader, &self.path, at, BlockKind::Symbols)?;
        decode_symbols(&bytes[BLOCK_HEADER_BYTES..]).map_err(|d| d.at(&self.path, at.offset))
    }
}

fn decode_symbols(payload: &[u8]) -> Result<Vec<Text>, Damaged> {
    let mut input = Input::new(payload);
    let count = input.count(2)?;
    let mut texts: Vec<Text> = Vec::with_capacity(count);
    let mut text: Vec<u8> = Vec::new();
    // A shared start is long in memory and short in the file.
    let mut bytes_left = payload.len().saturating_mul(256);
    for _ in 0..count {
        let shared = input.uvarint32()? as usize;
        if shared > text.len() {
            return Err(Damaged("a symbol shares more than there is"));
        }
        text.truncate(shared);
        let rest = input.count(1)?;
        text.extend_from_slice(input.take(rest)?);
        let too_much = Damaged("symbols are too large");
        bytes_left = bytes_left.checked_sub(text.len()).ok_or(too_much)?;
        let read = std::str::from_utf8(&text).map_err(|_| Damaged("a symbol is not UTF-8"))?;
        if texts.last().is_some_and(|before| **before >= *read) {
            return Err(Damaged("symbols are not in order"));
        }
        texts.push(read.into());
    }
    if input.is_empty() { Ok(texts) } else { Err(Damaged("symbols go on behind their end")) }
}

/// One question to one tenant's part of one sstable.
pub(crate) struct Scan<'a> {
    table: &'a Sstable,
    reader: &'a dyn DiskReader,
    query: &'a Query,
    symbols: &'a [Text],
    /// For each matcher, its name's symbol and whether it matches a missing label.
    names: Vec<(Option<u32>, bool)>,
    /// For each matcher and symbol: not tried yet, matches, does not.
    tried: Vec<Vec<Option<bool>>>,
    /// For each symbol its number in the answer.
    texts: Vec<u32>,
    /// What is not shown.
    cut: Option<(&'a TenantId, &'a dyn Cut)>,
}

/// For each series of a partition, the question to it if some of it is hidden.
type Narrowed = Vec<Option<Query>>;

impl<'a> Scan<'a> {
    pub(crate) fn new(
        table: &'a Sstable,
        reader: &'a dyn DiskReader,
        query: &'a Query,
        symbols: &'a [Text],
    ) -> Self {
        let symbol = |name: &str| {
            let place = symbols.binary_search_by(|text| (**text).cmp(name)).ok();
            place.and_then(|place| u32::try_from(place).ok())
        };
        let names = query.matchers.iter().map(|m| (symbol(&m.name), m.matches(""))).collect();
        let tried = query.matchers.iter().map(|_| vec![None; symbols.len()]).collect();
        let texts = vec![u32::MAX; symbols.len()];
        Self { table, reader, query, symbols, names, tried, texts, cut: None }
    }

    /// Shows nothing of what a tenant's cut hides.
    pub(crate) fn hiding(mut self, tenant: &'a TenantId, cut: &'a dyn Cut) -> Self {
        self.cut = Some((tenant, cut));
        self
    }

    /// Adds the matching series of all partitions.
    pub(crate) fn run(&mut self, part: &TenantPart, gather: &mut Gather) -> Result<()> {
        let metric_matchers = || self.query.matchers.iter().filter(|m| *m.name == *METRIC_NAME);
        let equal = metric_matchers().find_map(|matcher| matcher.equal_to());
        let entries = equal.map_or(&*part.partitions, |metric| part.metric(metric));
        let wanted: Vec<&PartitionEntry> = entries
            .iter()
            .filter(|entry| self.query.overlaps(entry.min_ms, entry.max_ms))
            .filter(|entry| metric_matchers().all(|matcher| matcher.matches(&entry.metric)))
            .collect();
        for entry in wanted {
            let at = entry.block;
            let bytes = block::read(self.reader, &self.table.path, at, BlockKind::Partition)?;
            let payload = &bytes[BLOCK_HEADER_BYTES..];
            let damaged = |damaged: Damaged| damaged.at(&self.table.path, at.offset);
            let index = PartitionIndex::decode(payload, self.symbols.len()).map_err(damaged)?;
            let mut alive = self.alive(&index).map_err(damaged)?;
            let narrowed = self.narrowed(entry, &index, &alive).map_err(damaged)?;
            let is_cut = narrowed.iter().any(Option::is_some);
            if self.query.want == Want::Possibility && !is_cut {
                self.mark(entry, &index, alive, gather).map_err(damaged)?;
                continue;
            }
            let places = places(&index, &alive, self.query, &narrowed).map_err(damaged)?;
            let Some(places) = places else { continue };
            let chunks_at = at.offset.saturating_add(at.len);
            if self.query.want == Want::Possibility {
                let runs = self.runs(&index, &places, &narrowed, chunks_at)?;
                for (alive, slot) in alive.iter_mut().zip(&places.slots) {
                    *alive &= runs.get(*slot as usize).is_some_and(|runs| !runs.is_empty());
                }
                self.mark(entry, &index, alive, gather).map_err(damaged)?;
                continue;
            }
            let keys = self.keys(&index, &places, gather).map_err(damaged)?;
            let runs = self.runs(&index, &places, &narrowed, chunks_at)?;
            for (key, runs) in keys.iter().zip(runs) {
                gather.add(key, runs)?;
            }
        }
        Ok(())
    }

    /// For each series whether it matches.
    fn alive(&mut self, index: &PartitionIndex<'_>) -> Result<Vec<bool>, Damaged> {
        let len = index.series as usize;
        let mut alive = vec![true; len];
        for (matcher, ((name, matches_empty), tried)) in
            self.query.matchers.iter().zip(self.names.iter().zip(&mut self.tried))
        {
            let mut keeps = vec![*matches_empty; len];
            let at = name.and_then(|name| index.names.binary_search_by_key(&name, |n| n.name).ok());
            if let Some(postings) = at.and_then(|at| index.names.get(at)) {
                postings.for_each(|value, start, end| {
                    let text = &self.symbols[value as usize];
                    let is_match =
                        *tried[value as usize].get_or_insert_with(|| matcher.matches(text));
                    keeps[start as usize..end as usize].fill(is_match);
                })?;
            }
            alive.iter_mut().zip(keeps).for_each(|(alive, keeps)| *alive &= keeps);
        }
        Ok(alive)
    }

    /// The questions to the living series that are hidden in part; empty if there is none.
    fn narrowed(
        &self,
        entry: &PartitionEntry,
        index: &PartitionIndex<'_>,
        alive: &[bool],
    ) -> Result<Narrowed, Damaged> {
        let touching = self.cut.filter(|(id, cut)| cut.touches(id, &entry.metric, entry.day));
        let Some((tenant, cut)) = touching else { return Ok(Vec::new()) };
        let mut pairs: Vec<Vec<(u32, u32)>> = vec![Vec::new(); alive.len()];
        for postings in &index.names {
            postings.for_each(|value, start, end| {
                let range = start as usize..end as usize;
                for (pairs, _) in pairs[range.clone()].iter_mut().zip(&alive[range]).filter(|p| *p.1) {
                    pairs.push((postings.name, value));
                }
            })?;
        }
        let mut hidden = Vec::new();
        let narrow = |(pairs, alive): (Vec<(u32, u32)>, &bool)| {
            hidden.clear();
            if *alive {
                cut.spans(tenant, &Labels::new(self.symbols, &pairs), &mut hidden);
            }
            let hidden = cut::normalized(hidden.clone());
            (!hidden.is_empty()).then(|| self.query.without(&hidden))
        };
        Ok(pairs.into_iter().zip(alive).map(narrow).collect())
    }

    /// The label pairs of the series that `places` names, as texts of the answer.
    fn keys(
        &mut self,
        index: &PartitionIndex<'_>,
        places: &Places,
        gather: &mut Gather,
    ) -> Result<Vec<Vec<u32>>, Damaged> {
        let capacity = 2 * index.names.len().min(64);
        let mut keys: Vec<Vec<u32>> =
            (0..places.series).map(|_| Vec::with_capacity(capacity)).collect();
        for postings in &index.names {
            let name = self.text(postings.name, gather);
            postings.for_each(|value, start, end| {
                let slots = &places.slots[start as usize..end as usize];
                if slots.iter().all(|slot| *slot == NO_SLOT) {
                    return;
                }
                let value = self.text(value, gather);
                for slot in slots.iter().filter(|slot| **slot != NO_SLOT) {
                    keys[*slot as usize].extend_from_slice(&[name, value]);
                }
            })?;
        }
        Ok(keys)
    }

    /// Marks the label names of living series, or their values of the wanted name.
    fn mark(
        &self,
        entry: &PartitionEntry,
        index: &PartitionIndex<'_>,
        mut alive: Vec<bool>,
        gather: &mut Gather,
    ) -> Result<(), Damaged> {
        if entry.min_ms < self.query.start_ms || entry.max_ms >= self.query.end_ms {
            let mut overlaps = vec![false; alive.len()];
            index.chunks(|chunk| {
                let ChunkHead { first_ms, last_ms, .. } = chunk.head;
                overlaps[chunk.series as usize] |= self.query.overlaps(first_ms, last_ms);
            })?;
            alive.iter_mut().zip(overlaps).for_each(|(alive, overlaps)| *alive &= overlaps);
        }
        let values_of = gather.values_of().cloned();
        for postings in &index.names {
            let name = &self.symbols[postings.name as usize];
            if values_of.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            let mut marked = u32::MAX;
            postings.for_each(|value, start, end| {
                let symbol = if values_of.is_some() { value } else { postings.name };
                if symbol != marked && alive[start as usize..end as usize].contains(&true) {
                    gather.mark(&self.symbols[symbol as usize]);
                    marked = symbol;
                }
            })?;
        }
        Ok(())
    }

    fn text(&mut self, symbol: u32, gather: &mut Gather) -> u32 {
        let text = &mut self.texts[symbol as usize];
        if *text == u32::MAX {
            *text = gather.text(&self.symbols[symbol as usize]);
        }
        *text
    }

    /// The samples of the series that `places` names.
    fn runs(
        &self,
        index: &PartitionIndex<'_>,
        places: &Places,
        narrowed: &Narrowed,
        chunks_at: u64,
    ) -> Result<Vec<Vec<Run>>> {
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); places.series];
        let path = &self.table.path;
        let mut blocks = Blocks::new(self.reader, path, &index.block_bytes, chunks_at);
        for (slot, chunk) in &places.chunks {
            let runs = &mut runs[*slot as usize];
            let bytes = blocks.chunk(chunk)?;
            let query = question(self.query, narrowed, chunk.series);
            let decoded = query.decode(&chunk.head, bytes, runs);
            decoded.map_err(|damaged| damaged.at(path, chunks_at))?;
        }
        Ok(runs)
    }
}

const NO_SLOT: u32 = u32::MAX;

/// The chunks to be read of one partition.
struct Places {
    /// How many series they are of.
    series: usize,
    /// For each series of the partition its place in the answer, or [`NO_SLOT`].
    slots: Vec<u32>,
    /// Ascending by where they lie: slot and chunk.
    chunks: Vec<(u32, ChunkPlace)>,
}

/// The question to a series of a partition.
fn question<'q>(query: &'q Query, narrowed: &'q Narrowed, series: u32) -> &'q Query {
    narrowed.get(series as usize).and_then(Option::as_ref).unwrap_or(query)
}

/// The chunks of living series that may hold what is asked for; `None` if there is none.
fn places(
    index: &PartitionIndex<'_>,
    alive: &[bool],
    query: &Query,
    narrowed: &Narrowed,
) -> Result<Option<Places>, Damaged> {
    if !alive.iter().any(|alive| *alive) {
        return Ok(None);
    }
    let mut places = Places { series: 0, slots: vec![NO_SLOT; alive.len()], chunks: Vec::new() };
    index.chunks(|chunk| {
        let series = chunk.series as usize;
        let query = question(query, narrowed, chunk.series);
        let is_wanted = alive[series] && query.overlaps(chunk.head.first_ms, chunk.head.last_ms);
        if !is_wanted {
            return;
        }
        if places.slots[series] == NO_SLOT {
            places.slots[series] = u32::try_from(places.series).unwrap_or(NO_SLOT);
            places.series += 1;
        }
        places.chunks.push((places.slots[series], chunk));
    })?;
    Ok(Some(places).filter(|places| places.series > 0))
}

/// The blocks of a partition's chunks, read one after the other as chunks ask for them.
#[derive(Debug)]
pub(crate) struct Blocks<'a> {
    reader: &'a dyn DiskReader,
    path: &'a str,
    ranges: Vec<(std::ops::Range<u64>, u64)>,
    /// One more than the block that is held; 0 if none is.
    next: usize,
    held: Vec<u8>,
}

impl<'a> Blocks<'a> {
    /// The blocks of these payload lengths, behind one another from `chunks_at` on.
    pub(crate) fn new(
        reader: &'a dyn DiskReader,
        path: &'a str,
        block_bytes: &[u64],
        chunks_at: u64,
    ) -> Self {
        let ranges = partition::block_ranges(block_bytes, chunks_at);
        Self { reader, path, ranges, next: 0, held: Vec::new() }
    }

    /// The bytes of a chunk; chunks are asked for in ascending order.
    pub(crate) fn chunk(&mut self, chunk: &ChunkPlace) -> Result<&[u8]> {
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
