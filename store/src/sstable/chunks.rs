//! Decoding the chunks of a partition, one after the other as they are asked for.
//!
//! Not here: which series match (`scan.rs`).

use super::block::BLOCK_HEADER_BYTES;
use super::columns::{ChunkAt, Partition};
use super::dense::CHAIN_MAX;
use super::directory::TenantPart;
use super::reader::Source;
use super::times::{DenseReader, Seen, check};
use crate::bytes::Damaged;
use crate::chunk::dense::odd_values;
use crate::chunk::times::Times;
use crate::chunk::{ChunkHead, DIFFERENCE, packed};
use crate::error::Result;
use crate::merge::{self, Run};
use crate::select::Query;
use model::column::Known;
use model::read::Steps;
use std::ops::Range;
use std::sync::Arc;

/// See the module.
pub(crate) struct Chunks<'a> {
    source: &'a Source<'a>,
    /// The tenant's index in the directory.
    tenant: usize,
    part: &'a TenantPart,
    partition: &'a Partition,
    dense: &'a mut DenseReader,
    /// Whether what is read is to be kept: not by a scan that is longer than a dashboard's.
    keeps: bool,
    /// The steps, if nothing but what they see is looked at.
    steps: Option<Steps>,
    /// What of a chunk was decoded, for those of it that are seen.
    scratch: Vec<f64>,
    held: Option<(u32, Arc<Vec<u8>>)>,
    /// The dense chunk that was decoded last, and what of it.
    decoded: Option<(usize, Range<usize>)>,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(
        (source, tenant, part): (&'a Source<'a>, usize, &'a TenantPart),
        partition: &'a Partition,
        query: &Query,
        dense: &'a mut DenseReader,
    ) -> Self {
        let keeps = !query.is_long();
        let (steps, scratch, held, decoded) = (None, Vec::new(), None, None);
        Self { source, tenant, part, partition, dense, keeps, steps, scratch, held, decoded }
    }

    /// With nothing but what these steps see.
    pub(crate) fn seen_by(self, steps: Option<Steps>) -> Self {
        Self { steps, ..self }
    }

    /// Adds the samples of a chunk that a question to its series wants.
    pub(crate) fn decode(
        &mut self,
        query: &Query,
        index: usize,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let Some((chunk, head)) = self.wanted(query, index) else { return Ok(()) };
        if head.is_dense() {
            return self.decode_dense(query, index, head, runs);
        }
        self.with_bytes(chunk, |_, bytes| {
            let (head, bytes) = packed::unpack(head, bytes)?;
            query.decode(&head, &bytes, runs)
        })
    }

    /// Whether a chunk has a sample that a question to its series wants.
    pub(crate) fn is_present(&mut self, query: &Query, index: usize) -> Result<bool> {
        let Some((chunk, head)) = self.wanted(query, index) else { return Ok(false) };
        if head.is_dense() {
            return Ok(!self.places(query, chunk, head)?.1.is_empty());
        }
        self.with_bytes(chunk, |_, bytes| {
            let (head, bytes) = packed::unpack(head, bytes)?;
            query.is_present(&head, &bytes)
        })
    }

    /// A chunk that may have a wanted sample.
    fn wanted(&self, query: &Query, index: usize) -> Option<(&'a ChunkAt, &'a ChunkHead)> {
        let chunk = self.partition.chunk(index)?;
        let head = self.partition.head(chunk);
        query.overlaps(head.first_ms, head.last_ms).then_some((chunk, head))
    }

    /// The times of a dense chunk, and which of them are wanted.
    fn places(
        &mut self,
        query: &Query,
        chunk: &ChunkAt,
        head: &ChunkHead,
    ) -> Result<(Arc<Times>, Range<usize>)> {
        let (source, tenant, part, keeps) = (self.source, self.tenant, self.part, self.keeps);
        let load = |number| source.times(tenant, part, number, keeps);
        let times = self.dense.times(head, load)?;
        check(head, &times).map_err(|damaged| self.damaged(chunk, damaged))?;
        let places = query.places(&times);
        Ok((times, places))
    }

    fn decode_dense(
        &mut self,
        query: &Query,
        index: usize,
        head: &ChunkHead,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let Some(chunk) = self.partition.chunk(index) else { return Ok(()) };
        let (times, places) = self.places(query, chunk, head)?;
        let seen = self.steps.as_ref().map(|steps| self.dense.seen(&times, &places, steps));
        let seen = seen.as_deref();
        if places.is_empty() || seen.is_some_and(|seen| seen.places.is_empty()) {
            return Ok(());
        }
        if query.wanted.presence && self.mark_dense(chunk, (head, &times), &places, seen, runs)? {
            return Ok(());
        }
        self.decode_before(index, head, &places)?;
        let run = merge::run_for(head, runs);
        let before = run.column.values.len();
        let mut starts = Vec::new();
        let (values, asked) = (&mut run.column.values, places.clone());
        let known = if let Some(seen) = seen {
            let mut all = std::mem::take(&mut self.scratch);
            all.clear();
            let known = self.with_bytes(chunk, |dense, bytes| {
                dense.decode(head, bytes, asked, &mut all, &mut starts)
            })?;
            values.extend(seen.places.iter().filter_map(|place| all.get(*place)));
            let picked = seen.places.iter().filter_map(|place| starts.get(*place).copied());
            starts = picked.collect();
            self.scratch = all;
            known
        } else {
            if values.capacity() == 0 {
                values.reserve_exact(query.room(head, times.len()).max(places.len()));
            }
            self.with_bytes(chunk, |dense, bytes| {
                dense.decode(head, bytes, asked, values, &mut starts)
            })?
        };
        run.column.know_from(before, known);
        let moments = &mut run.column.timestamps_ms;
        self.dense.extend_moments(&times, (places.clone(), seen), moments);
        if !starts.is_empty() || !run.starts.is_empty() {
            run.starts.resize(before, 0);
            run.starts.append(&mut starts);
            run.starts.resize(run.column.values.len(), 0);
        }
        self.decoded = Some((index, places));
        Ok(())
    }

    /// Adds that the samples of a dense chunk are there, if this is known without their values.
    fn mark_dense(
        &mut self,
        chunk: &ChunkAt,
        (head, times): (&ChunkHead, &Arc<Times>),
        places: &Range<usize>,
        seen: Option<&Seen>,
        runs: &mut Vec<Run>,
    ) -> Result<bool> {
        let count = head.count as usize;
        let odd = self.with_bytes(chunk, |_, bytes| odd_values(bytes, count))?;
        let Some(odd) = odd else { return Ok(false) };
        let run = merge::run_for(head, runs);
        let before = run.column.values.len();
        let len = seen.map_or(places.len(), |seen| seen.places.len());
        run.column.values.resize(before + len, 0.0);
        run.column.known = Known::Nothing;
        for (place, bits) in odd.iter().filter(|(place, _)| places.contains(place)) {
            let place = place - places.start;
            let at = seen.map_or(Ok(place), |seen| seen.places.binary_search(&place));
            if let Some(value) = at.ok().and_then(|at| run.column.values.get_mut(before + at)) {
                *value = f64::from_bits(*bits);
            }
        }
        let moments = &mut run.column.timestamps_ms;
        self.dense.extend_moments(times, (places.clone(), seen), moments);
        if !run.starts.is_empty() {
            run.starts.resize(run.column.values.len(), 0);
        }
        Ok(true)
    }

    /// Decodes the chunks that one is a difference to, as far as this has not just been done.
    fn decode_before(
        &mut self,
        index: usize,
        head: &ChunkHead,
        places: &Range<usize>,
    ) -> Result<()> {
        let decoded = self.decoded.take().filter(|(_, held)| held == places);
        let mut first = index;
        let mut is_difference = head.encoding == DIFFERENCE;
        while is_difference {
            if decoded.as_ref().is_some_and(|(at, _)| *at + 1 == first) {
                break;
            }
            let before = first.checked_sub(1).filter(|_| index - first < CHAIN_MAX as usize);
            let chunk = before.and_then(|before| self.partition.chunk(before));
            let (Some(before), Some(chunk)) = (before, chunk) else {
                let damaged = Damaged("a chunk is a difference to one that is not there");
                return Err(self.source.damaged(self.part.symbols.offset, damaged));
            };
            first = before;
            is_difference = self.partition.head(chunk).encoding == DIFFERENCE;
        }
        for at in first..index {
            let Some(chunk) = self.partition.chunk(at) else { continue };
            let (other, asked) = (self.partition.head(chunk), places.clone());
            let is_alike = other.has_times_of(head);
            self.with_bytes(chunk, |dense, bytes| match is_alike {
                true => {
                    dense.decode(other, bytes, asked, &mut Vec::new(), &mut Vec::new()).map(drop)
                }
                false => Err(Damaged("a chunk is a difference to one with other times")),
            })?;
        }
        Ok(())
    }

    /// Hands a chunk's bytes to `decode`.
    fn with_bytes<T>(
        &mut self,
        chunk: &ChunkAt,
        decode: impl FnOnce(&mut DenseReader, &[u8]) -> Result<T, Damaged>,
    ) -> Result<T> {
        let at = self.partition.blocks.get(chunk.block as usize).copied().unwrap_or_default();
        let block = match &self.held {
            Some((index, block)) if *index == chunk.block => block,
            _ => {
                let block = self.source.chunks(at, self.keeps)?;
                &self.held.insert((chunk.block, block)).1
            }
        };
        let payload = block.get(BLOCK_HEADER_BYTES..).unwrap_or(&[]);
        let decoded = chunk.bytes(payload).and_then(|bytes| decode(self.dense, bytes));
        decoded.map_err(|damaged| self.source.damaged(at.offset, damaged))
    }

    fn damaged(&self, chunk: &ChunkAt, damaged: Damaged) -> crate::Error {
        let at = self.partition.blocks.get(chunk.block as usize).copied().unwrap_or_default();
        self.source.damaged(at.offset, damaged)
    }
}
