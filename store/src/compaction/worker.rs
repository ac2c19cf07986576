//! Carrying a compaction out: from live sstables to new ones that are whole and on disk.
//!
//! It goes tenant by tenant through the partitions of all inputs in order, twice: first to see
//! which texts each output needs, then to join and write. In memory is what the inputs have of one
//! partition, and each tenant's texts.
//!
//! # Invariants
//! - An output is on disk, file and name, when [`run`] returns it; it is live only after the
//!   manifest says so. When anything fails, what was begun is unlinked.
//! - A partition goes to one output by its token; a file belongs to one retention class and window.
//! - Outputs without a sample are not written.
//!
//! Not here: which sstables (the deciders), the manifest and the inputs' end (`engine/compact.rs`),
//! the pace (whoever runs it).

use super::cut::{Cut, Hidden, Labels, Place, hidden};
use super::input::{self, Input, TenantInput};
use super::merge;
use crate::cache::Cache;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::manifest::{self, SstableMeta, Stage};
use crate::sstable::directory::PartitionEntry;
use crate::sstable::window::Window;
use crate::sstable::writer::{Encoding, PartitionId, Row, Writer};
use crate::tombstone;
use model::partition::token_of;
use model::series::target_hash;
use model::{TenantId, Text, TimestampMs, Token};
use std::collections::{BTreeMap, BTreeSet};

/// What is kept of the inputs' partitions and times while they are read.
const CACHE_BYTES: usize = 16 << 20;

/// What to make of which sstables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Of one retention class and window.
    pub(crate) inputs: Vec<SstableMeta>,
    /// The first token of each output but the first, ascending: where the outputs are cut.
    pub(crate) boundaries: Vec<Token>,
    pub(crate) encoding: Encoding,
    /// What the outputs are called.
    pub(crate) stage: Stage,
}

/// What a compaction needs from outside.
pub(crate) struct Means<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) cut: &'a dyn Cut,
    /// Gives out the number of a new file.
    pub(crate) allocate: &'a dyn Fn() -> u64,
    pub(crate) now: TimestampMs,
    /// Told after each piece of work how many bytes were read and written for it; it may take its
    /// time. After `false` the compaction stops.
    pub(crate) pace: &'a mut dyn FnMut(u64) -> bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// The new files, on disk and not yet live.
    pub(crate) sstables: Vec<SstableMeta>,
    /// Bytes that were read.
    pub(crate) read_bytes: u64,
}

/// Does a task.
pub(crate) fn run(task: &Task, means: &mut Means<'_>) -> Result<Output> {
    let disk = means.disk;
    let mut work = Work::new(task, means);
    let done = work.all().and_then(|()| work.finish());
    if done.is_err() {
        for id in &work.created {
            // What cannot be unlinked now is an orphan at the next start.
            let _ = disk.unlink(&manifest::sstable_path(*id));
        }
    }
    done
}

/// Which output: class, window, and between which boundaries.
type Key = (Place, usize);

struct Work<'a, 'm> {
    task: &'a Task,
    means: &'a mut Means<'m>,
    /// Where series stay that nothing moves.
    home: Place,
    writers: BTreeMap<Key, Writer<'m>>,
    created: Vec<u64>,
    read_bytes: u64,
    /// Of files that are finished.
    finished_bytes: u64,
    /// Written and read bytes that `pace` has been told of.
    told_bytes: u64,
}

/// A tenant's part of the inputs, and of the outputs.
struct Tenant<'a> {
    id: &'a TenantId,
    inputs: Vec<TenantInput<'a>>,
    /// Ascending.
    texts: Vec<Text>,
    /// For each output the number that each text has there.
    ranks: BTreeMap<Key, Vec<u32>>,
}

impl<'a, 'm> Work<'a, 'm> {
    fn new(task: &'a Task, means: &'a mut Means<'m>) -> Self {
        let first = task.inputs.first();
        let (first_day, days) = first.map_or((0, 0), |m| (m.window_first_day, m.window_days));
        let retention_class = first.map_or(0, |meta| meta.retention_class);
        let home = Place { retention_class, window: Window { first_day, days } };
        let (writers, created) = (BTreeMap::new(), Vec::new());
        Self {
            task,
            means,
            home,
            writers,
            created,
            read_bytes: 0,
            finished_bytes: 0,
            told_bytes: 0,
        }
    }

    fn all(&mut self) -> Result<()> {
        let open = |meta: &SstableMeta| {
            Input::open(self.means.disk, meta.id, &manifest::sstable_path(meta.id))
        };
        let inputs = self.task.inputs.iter().map(open).collect::<Result<Vec<_>>>()?;
        let cache = Cache::new(CACHE_BYTES);
        let tenants = inputs.iter().flat_map(|input| &input.directory.tenants);
        let tenants: BTreeSet<&TenantId> = tenants.map(|part| &part.tenant).collect();
        for id in tenants {
            let (parts, texts) = input::tenant(&inputs, &cache, id)?;
            let mut tenant = Tenant { id, inputs: parts, texts, ranks: BTreeMap::new() };
            self.begin_tenant(&mut tenant)?;
            for (id, entries) in partitions(&tenant.inputs) {
                self.partition(&tenant, id, &entries)?;
                self.pace()?;
            }
            self.writers.values_mut().try_for_each(Writer::end_tenant)?;
        }
        Ok(())
    }

    /// Finds out which texts each output needs, and begins the tenant there.
    fn begin_tenant(&mut self, tenant: &mut Tenant<'_>) -> Result<()> {
        let mut used: BTreeMap<Key, Vec<bool>> = BTreeMap::new();
        let texts = tenant.texts.len();
        for (id, entries) in partitions(&tenant.inputs) {
            let shard = self.shard(tenant.id, &id);
            if !self.means.cut.touches(tenant.id, &id.metric, id.day) {
                let used = used.entry((self.home, shard)).or_insert_with(|| vec![false; texts]);
                for (input, entry) in entries {
                    let mark = |text: u32| used[text as usize] = true;
                    tenant.inputs[input].texts(entry, mark)?;
                    self.read_bytes += entry.block.len;
                }
            } else {
                for (input, entry) in entries {
                    self.read_bytes += entry.block.len;
                    for series in tenant.inputs[input].heads(entry)? {
                        let (place, gone) = self.fate(tenant, &id, &series.pairs);
                        let is_left = series.chunks.iter().any(|head| {
                            let gone = gone.ranges(head.revision);
                            hidden(&gone, head.first_ms, head.last_ms) != Hidden::All
                        });
                        if is_left {
                            let key = (place, shard);
                            let used = used.entry(key).or_insert_with(|| vec![false; texts]);
                            let pairs = series.pairs.iter().flat_map(|(n, v)| [*n, *v]);
                            pairs.for_each(|text| used[text as usize] = true);
                        }
                    }
                }
            }
            self.pace()?;
        }
        for (key, used) in used {
            let (texts, rank) = ranks(&tenant.texts, &used);
            self.writer(key)?.begin_tenant(tenant.id, &texts)?;
            tenant.ranks.insert(key, rank);
        }
        Ok(())
    }

    /// Joins and writes a partition.
    fn partition(
        &mut self,
        tenant: &Tenant<'_>,
        id: PartitionId,
        entries: &[(usize, &PartitionEntry)],
    ) -> Result<()> {
        let mut parts = Vec::with_capacity(entries.len());
        for (input, entry) in entries {
            let (series, bytes) = tenant.inputs[*input].series(entry)?;
            parts.push(series);
            self.read_bytes += bytes;
        }
        let Some((first, entry)) = entries.first() else { return Ok(()) };
        let is_touched = self.means.cut.touches(tenant.id, &id.metric, id.day);
        let shard = self.shard(tenant.id, &id);
        let mut rows: BTreeMap<Key, Vec<Row>> = BTreeMap::new();
        for series in merge::series(parts) {
            let (place, gone) = match is_touched {
                true => self.fate(tenant, &id, &series.pairs),
                false => (self.home, tombstone::Hidden::default()),
            };
            let joins = self.task.encoding == Encoding::Fast;
            let canonical = || merge::canonical(series.chunks, &gone, joins);
            let chunks = tenant.inputs[*first].checked(entry, canonical)?;
            if chunks.is_empty() {
                continue;
            }
            let key = (place, shard);
            let Some(rank) = tenant.ranks.get(&key) else {
                let detail = "a series has changed while the file was compacted";
                return Err(Error::corrupt(
                    tenant.inputs[*first].path(),
                    entry.block.offset,
                    detail,
                ));
            };
            let target = target_hash(&Labels::new(&tenant.texts, &series.pairs).to_label_set());
            let pairs = series.pairs.iter().map(|(n, v)| (rank[*n as usize], rank[*v as usize]));
            let row = Row { pairs: pairs.collect(), target, chunks };
            rows.entry(key).or_default().push(row);
        }
        for (key, mut rows) in rows {
            // Stable: within a target the order of arrival stays.
            rows.sort_by_key(|row| row.target);
            let encoding = self.task.encoding;
            self.writer(key)?.partition(id.clone(), rows, encoding)?;
        }
        Ok(())
    }

    /// Where a series goes, and what of it is hidden.
    fn fate(
        &self,
        tenant: &Tenant<'_>,
        id: &PartitionId,
        pairs: &[(u32, u32)],
    ) -> (Place, tombstone::Hidden) {
        let labels = Labels::new(&tenant.texts, pairs);
        let place = self.means.cut.place(tenant.id, &labels, id.day, self.home);
        (place, gone(self.means.cut, tenant.id, &labels))
    }

    fn shard(&self, tenant: &TenantId, id: &PartitionId) -> usize {
        let token = token_of(tenant, &id.metric, id.day, id.depth, id.shard);
        self.task.boundaries.partition_point(|boundary| *boundary <= token)
    }

    fn writer(&mut self, key: Key) -> Result<&mut Writer<'m>> {
        use std::collections::btree_map::Entry;
        match self.writers.entry(key) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(free) => {
                let id = (self.means.allocate)();
                let Place { retention_class, window } = key.0;
                let disk = self.means.disk;
                let writer = Writer::create(disk, id, retention_class, window, self.means.now)?;
                self.created.push(id);
                Ok(free.insert(writer))
            }
        }
    }

    fn pace(&mut self) -> Result<()> {
        let written: u64 = self.writers.values().map(Writer::written_bytes).sum();
        let bytes = self.read_bytes + self.finished_bytes + written;
        let news = bytes - self.told_bytes;
        self.told_bytes = bytes;
        if (self.means.pace)(news) { Ok(()) } else { Err(Error::Stopped) }
    }

    fn finish(&mut self) -> Result<Output> {
        let oldest = self.task.inputs.iter().map(|meta| meta.tombstones_through).min();
        let tombstones_through = self.means.cut.tombstones_through().max(oldest.unwrap_or(0));
        let mut sstables = Vec::new();
        while let Some((_, writer)) = self.writers.pop_first() {
            // What is behind the last tenant, directory and filter, is told with the next piece.
            self.finished_bytes += writer.written_bytes();
            let meta = writer.finish()?;
            if meta.samples == 0 {
                self.means.disk.unlink(&manifest::sstable_path(meta.id))?;
                continue;
            }
            sstables.push(SstableMeta { stage: self.task.stage, tombstones_through, ..meta });
            self.pace()?;
        }
        Ok(Output { sstables, read_bytes: self.read_bytes })
    }
}

/// What is hidden of a series, in the end.
fn gone(cut: &dyn Cut, tenant: &TenantId, labels: &Labels<'_>) -> tombstone::Hidden {
    let mut spans = Vec::new();
    cut.spans(tenant, labels, &mut spans);
    let mut gone = cut.deleted(tenant, labels);
    spans.into_iter().for_each(|span| gone.add_span(span));
    gone
}

/// How much of an sstable is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing: there is nothing to do.
    Nothing,
    /// Part of it: it has to be written anew.
    Part,
    /// All of it: it can go unread.
    All,
}

/// Looks at the series of an sstable, and no sample, to see how much of it is hidden.
pub(crate) fn look(disk: &dyn Disk, meta: &SstableMeta, cut: &dyn Cut) -> Result<Look> {
    let cache = Cache::new(CACHE_BYTES);
    let input = [Input::open(disk, meta.id, &manifest::sstable_path(meta.id))?];
    let (mut stays, mut goes) = (false, false);
    for part in &input[0].directory.tenants {
        let (inputs, texts) = input::tenant(&input, &cache, &part.tenant)?;
        for tenant in &inputs {
            for entry in tenant.partitions() {
                if !cut.touches(&part.tenant, &entry.metric, entry.day) {
                    stays = true;
                    continue;
                }
                for series in tenant.heads(entry)? {
                    let labels = Labels::new(&texts, &series.pairs);
                    let gone = gone(cut, &part.tenant, &labels);
                    for head in series.chunks {
                        match hidden(&gone.ranges(head.revision), head.first_ms, head.last_ms) {
                            Hidden::Nothing => stays = true,
                            Hidden::Part => return Ok(Look::Part),
                            Hidden::All => goes = true,
                        }
                    }
                }
                if stays && goes {
                    return Ok(Look::Part);
                }
            }
        }
    }
    Ok(match (stays, goes) {
        (_, false) => Look::Nothing,
        (false, true) => Look::All,
        (true, true) => Look::Part,
    })
}

/// The partitions of all inputs, ascending, and which inputs have each.
fn partitions<'a>(
    inputs: &[TenantInput<'a>],
) -> BTreeMap<PartitionId, Vec<(usize, &'a PartitionEntry)>> {
    let mut partitions: BTreeMap<PartitionId, Vec<_>> = BTreeMap::new();
    for (input, part) in inputs.iter().enumerate() {
        for entry in part.partitions() {
            let PartitionEntry { metric, day, depth, shard, .. } = entry;
            let (day, depth, shard) = (*day, *depth, *shard);
            let id = PartitionId { metric: metric.clone(), day, depth, shard };
            partitions.entry(id).or_default().push((input, entry));
        }
    }
    partitions
}

/// The texts that are used, ascending, and for each text its place among them.
fn ranks(texts: &[Text], used: &[bool]) -> (Vec<Text>, Vec<u32>) {
    let mut kept = Vec::new();
    let mut rank = Vec::with_capacity(texts.len());
    for (text, is_used) in texts.iter().zip(used) {
        rank.push(u32::try_from(kept.len()).unwrap_or(u32::MAX));
        if *is_used {
            kept.push(text.clone());
        }
    }
    (kept, rank)
}
