//! The series that match in a partition, and their samples; of each only what is not hidden.
//!
//! Not here: which partitions and places match (`scan.rs`).

use super::Scan;
use super::keys::{Keys, text};
use crate::compaction::cut::{self, Cut, Labels};
use crate::error::Result;
use crate::select::{Gather, Query};
use crate::sstable::chunks::Chunks;
use crate::sstable::columns::{ChunkAt, Partition, Places};
use crate::sstable::directory::PartitionEntry;
use model::{TenantId, Text};

impl<'a> Scan<'a> {
    /// The questions to the series of a partition.
    pub(super) fn questions<'p>(
        &self,
        entry: &PartitionEntry,
        partition: &'p Partition,
    ) -> Questions<'p>
    where
        'a: 'p,
    {
        let cut = self.touching(entry).map(|cut| (&self.part.tenant, cut, Keys::new(partition)));
        Questions { query: self.query, symbols: self.symbols, cut }
    }

    /// Whether the series at a place of the partition is of the query's shard.
    fn in_shard<'p>(&self, partition: &'p Partition) -> impl Fn(u32) -> bool + use<'p> {
        let shard = self.query.shard;
        let hashes = (!shard.is_all()).then(|| partition.hashes(self.symbols));
        move |place| {
            let hash = hashes.and_then(|hashes| hashes.get(place as usize));
            hash.is_none_or(|hash| shard.holds_hash(*hash))
        }
    }

    /// Adds the label sets of series with a sample in the range.
    pub(super) fn presence(
        &mut self,
        entry: &PartitionEntry,
        partition: &Partition,
        places: &Places,
        gather: &mut Gather,
    ) -> Result<()> {
        let is_cut = self.is_cut(entry);
        let mut keys = Keys::new(partition);
        let in_shard = self.in_shard(partition);
        let mut questions = self.questions(entry, partition);
        let origin = (self.source, self.tenant, self.part);
        let mut chunks = Chunks::new(origin, partition, self.query, &mut self.dense);
        for place in places.iter().flat_map(|(start, end)| *start..*end) {
            if !in_shard(place) {
                continue;
            }
            let narrowed = questions.narrowed(place);
            let query = narrowed.as_ref().unwrap_or(self.query);
            if !is_cut || is_present(query, partition, place, &mut chunks)? {
                let key =
                    keys.at(place, |symbol| text(&mut self.texts, self.symbols, symbol, gather));
                gather.add_present(key)?;
            }
        }
        Ok(())
    }

    /// Adds series and their samples.
    pub(super) fn samples(
        &mut self,
        entry: &PartitionEntry,
        partition: &Partition,
        places: &Places,
        gather: &mut Gather,
    ) -> Result<()> {
        let mut keys = Keys::new(partition);
        let in_shard = self.in_shard(partition);
        let mut questions = self.questions(entry, partition);
        let origin = (self.source, self.tenant, self.part);
        let chunks = Chunks::new(origin, partition, self.query, &mut self.dense);
        let mut chunks = chunks.seen_by(gather.steps());
        for place in places.iter().flat_map(|(start, end)| *start..*end) {
            if !in_shard(place) {
                continue;
            }
            let narrowed = questions.narrowed(place);
            let query = narrowed.as_ref().unwrap_or(self.query);
            let overlaps = |chunk: &ChunkAt| {
                let head = partition.head(chunk);
                query.overlaps(head.first_ms, head.last_ms)
            };
            if !partition.chunks(place).iter().any(overlaps) {
                continue;
            }
            let key = keys.at(place, |symbol| text(&mut self.texts, self.symbols, symbol, gather));
            gather.extend(key, |runs| {
                partition.chunk_range(place).try_for_each(|index| chunks.decode(query, index, runs))
            })?;
        }
        Ok(())
    }
}

/// Whether the series at a place has a sample that is asked for.
pub(super) fn is_present(
    query: &Query,
    partition: &Partition,
    place: u32,
    chunks: &mut Chunks<'_>,
) -> Result<bool> {
    let heads = || partition.chunks(place).iter().map(|chunk| partition.head(chunk));
    if heads().any(|head| query.keeps(head.first_ms) || query.keeps(head.last_ms)) {
        return Ok(true);
    }
    for index in partition.chunk_range(place) {
        if chunks.is_present(query, index)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The questions to one series after the other: the query, or less where something is hidden.
pub(super) struct Questions<'a> {
    query: &'a Query,
    symbols: &'a [Text],
    cut: Option<(&'a TenantId, &'a dyn Cut, Keys<'a>)>,
}

impl Questions<'_> {
    /// The question to the series at a place, which is behind the one before, if some of it is
    /// hidden.
    pub(super) fn narrowed(&mut self, place: u32) -> Option<Query> {
        let (tenant, cut, keys) = self.cut.as_mut()?;
        let key = keys.at(place, |symbol| symbol);
        let pairs: Vec<(u32, u32)> = key.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let mut hidden = Vec::new();
        cut.spans(tenant, &Labels::new(self.symbols, &pairs), &mut hidden);
        let hidden = cut::normalized(hidden);
        (!hidden.is_empty()).then(|| self.query.without(&hidden))
    }
}
