//! What a flush takes from a head, a row at a time.
//!
//! First the rows are *listed*: which series has samples of which day, and in which file they
//! belong. Then each file's rows are put in order and written, partition by partition, straight
//! from the series: nothing is copied but the bytes of the partition that is being written.
//! What was taken stays readable in the head until [`Tenant::release`].
//!
//! # Invariants
//! - A sample that was in the head when its series was listed is taken by the row of its day, if
//!   that row is written.
//! - The strings of a file are those of rows that leave something in it.
//!
//! Not here: which files there are, and when they become live (`engine/flush.rs`).

use super::series::{Series, Takes};
use super::symbols::Symbols;
use super::{Shard, Tenant, local_of, lock_next, number_of, shard_of};
use crate::chunk::{Chunk, ChunkHead};
use crate::compaction::cut::Labels;
use crate::error::Result;
use crate::retention::window_days;
use crate::sstable::partition::Builder;
use crate::sstable::window::Window;
use crate::sstable::writer::{PartitionId, Writer};
use crate::tombstone::{Hidden, Touching};
use model::{CompiledRetention, DayBucket, Retention, Text};
use parking_lot::MutexGuard;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a row belongs: how long it is kept, and its window.
pub(crate) type Place = (Retention, Window);

/// What a tenant's head will give.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) tenant: Arc<Tenant>,
    takes: Takes,
    deleted: Touching,
    pub(crate) rows: BTreeMap<Place, Vec<RowRef>>,
}

/// One series' samples of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRef {
    /// The symbol of its metric; after sorting the place of its text. The highest is no metric.
    metric: u32,
    day: DayBucket,
    target: u64,
    number: u32,
}

/// What was written of a tenant's rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gave {
    /// The highest revision of a sample.
    pub(crate) revision: u32,
}

/// No metric name.
const UNNAMED: u32 = u32::MAX;

/// Lists what a tenant's head has, but for rows of which all is `deleted`.
pub(crate) fn list(
    tenant: &Arc<Tenant>,
    takes: Takes,
    deleted: Touching,
    rules: &CompiledRetention,
) -> Listed {
    let rows = BTreeMap::new();
    let mut listed = Listed { tenant: Arc::clone(tenant), takes, deleted, rows };
    for (index, shard) in tenant.shards.iter() {
        // Each symbol of a series is known before the series is.
        let symbols = tenant.symbols.read();
        listed.list(index, &mut shard.lock(), &symbols, rules);
    }
    listed
}

/// Whether all that a series has of a day is deleted; then it is taken.
fn is_gone(
    series: &mut Series,
    day: DayBucket,
    takes: Takes,
    deleted: &Touching,
    symbols: &Symbols,
) -> bool {
    if deleted.is_empty() {
        return false;
    }
    let labels = Arc::clone(&series.labels);
    let hidden = hidden(deleted, symbols, &labels);
    !hidden.is_empty() && series.take(day, takes, |chunks| cut(chunks, &hidden).is_empty())
}

fn hidden(deleted: &Touching, symbols: &Symbols, labels: &[u32]) -> Hidden {
    deleted.hidden(|wanted| {
        let mut pairs = symbols.pairs(labels);
        let value = pairs.find(|(name, _)| **symbols.text(*name) == *wanted);
        value.map_or("", |(_, value)| symbols.text(value))
    })
}

/// Copies of chunks without what is hidden.
fn cut(chunks: &[(ChunkHead, &[u8])], hidden: &Hidden) -> Vec<Chunk> {
    let owned = chunks.iter().map(|(head, bytes)| Chunk { head: *head, bytes: (*bytes).into() });
    owned.filter_map(|chunk| hidden.cut_chunk(chunk)).collect()
}

impl Listed {
    /// Lists the rows of a shard.
    fn list(
        &mut self,
        index: usize,
        shard: &mut Shard,
        symbols: &Symbols,
        rules: &CompiledRetention,
    ) {
        let (shortest, longest) = rules.bounds();
        let (mut pairs, mut days) = (Vec::new(), Vec::new());
        shard.for_each_mut(|series| {
            series.begin_take(self.takes);
            days.clear();
            days.extend(series.days());
            days.sort_unstable();
            days.dedup();
            if days.is_empty() {
                return;
            }
            let mut retention = shortest;
            if shortest != longest {
                pairs.clear();
                pairs.extend(symbols.pairs(&series.labels));
                let labels = Labels::new(symbols.texts(), &pairs);
                retention = rules.of(|name| labels.value(name));
            }
            let metric = symbols.metric(&series.labels).unwrap_or(UNNAMED);
            let (target, number) = (series.target, number_of(index, series.local));
            for day in &days {
                if !is_gone(series, *day, self.takes, &self.deleted, symbols) {
                    let place = (retention, Window::of(*day, window_days(retention)));
                    let row = RowRef { metric, day: *day, target, number };
                    self.rows.entry(place).or_default().push(row);
                }
            }
        });
    }

    /// Whether there is nothing to give.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes rows that nobody wants any more, and returns how many samples they had.
    pub(crate) fn waste(&self, rows: &[RowRef]) -> u64 {
        let mut held = None;
        let mut samples = 0;
        for row in rows {
            self.with_series(row, &mut held, |series| {
                series.take(row.day, self.takes, |chunks| {
                    samples += chunks.iter().map(|(head, _)| u64::from(head.count)).sum::<u64>();
                });
            });
        }
        samples
    }

    /// Writes rows of one file, and takes them.
    pub(crate) fn write(&self, writer: &mut Writer<'_>, mut rows: Vec<RowRef>) -> Result<Gave> {
        let (texts, rank) = self.ranks(&rows);
        for row in &mut rows {
            row.metric = rank.get(row.metric as usize).copied().unwrap_or(UNNAMED);
        }
        let order = |row: &RowRef| (row.metric.wrapping_add(1), row.day, row.target, row.number);
        rows.sort_unstable_by_key(order);
        let mut gave = Gave::default();
        writer.begin_tenant(&self.tenant.id, &texts)?;
        for part in rows.chunk_by(|a, b| (a.metric, a.day) == (b.metric, b.day)) {
            let Some(first) = part.first() else { continue };
            let builder = self.build(part, &rank, &mut gave);
            if builder.series > 0 {
                let metric: Text = texts.get(first.metric as usize).cloned().unwrap_or_default();
                let id = PartitionId { metric, day: first.day, depth: 0, shard: 0 };
                writer.built(id, builder)?;
            }
        }
        writer.end_tenant()?;
        Ok(gave)
    }

    /// Puts a partition together.
    fn build(&self, rows: &[RowRef], rank: &[u32], gave: &mut Gave) -> Builder {
        let symbols = self.tenant.symbols.read();
        let mut builder = Builder::default();
        let mut held = None;
        for row in rows {
            self.with_series(row, &mut held, |series| {
                let labels = Arc::clone(&series.labels);
                let hidden = (!self.deleted.is_empty())
                    .then(|| hidden(&self.deleted, &symbols, &labels))
                    .filter(|hidden| !hidden.is_empty());
                let pairs = symbols.pairs(&labels);
                let pairs = pairs.map(|(n, v)| (rank[n as usize], rank[v as usize]));
                let push = |chunks: &[(ChunkHead, &[u8])]| {
                    let revision = chunks.iter().map(|(head, _)| head.revision).max();
                    gave.revision = gave.revision.max(revision.unwrap_or(0));
                    if !chunks.is_empty() {
                        builder.push(pairs, chunks.iter().copied());
                    }
                };
                series.take(row.day, self.takes, |chunks| match hidden {
                    None => push(chunks),
                    Some(hidden) => {
                        let left = cut(chunks, &hidden);
                        let left: Vec<_> =
                            left.iter().map(|chunk| (chunk.head, &*chunk.bytes)).collect();
                        push(&left);
                    }
                });
            });
        }
        builder
    }

    fn with_series<'t>(
        &'t self,
        row: &RowRef,
        held: &mut Option<(usize, MutexGuard<'t, Shard>)>,
        visit: impl FnOnce(&mut Series),
    ) {
        // Series leave in `release` only, and one flush runs at a time.
        let shard = lock_next(&self.tenant.shards, held, shard_of(row.number));
        if let Some(series) = shard.and_then(|shard| shard.get_mut(local_of(row.number))) {
            visit(series);
        }
    }

    /// The texts that the rows use, ascending, and for each symbol its place among them.
    fn ranks(&self, rows: &[RowRef]) -> (Vec<Text>, Vec<u32>) {
        const UNUSED: u32 = u32::MAX;
        let symbols = self.tenant.symbols.read();
        let mut rank = vec![UNUSED; symbols.len()];
        let mut used = Vec::new();
        let mut held = None;
        for row in rows {
            self.with_series(row, &mut held, |series| {
                for symbol in symbols.pairs(&series.labels).flat_map(|(n, v)| [n, v]) {
                    if rank[symbol as usize] == UNUSED {
                        rank[symbol as usize] = 0;
                        used.push(symbol);
                    }
                }
            });
        }
        used.sort_unstable_by(|a, b| symbols.text(*a).cmp(symbols.text(*b)));
        for (place, symbol) in (0..).zip(&used) {
            rank[*symbol as usize] = place;
        }
        (used.iter().map(|symbol| symbols.text(*symbol).clone()).collect(), rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_lists_24_bytes_for_a_series_and_day() {
        assert_eq!(size_of::<RowRef>(), 24);
    }
}
