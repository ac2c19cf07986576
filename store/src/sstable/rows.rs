//! What a head gives to a file: rows put in the order of partitions, their strings ranked.

use super::writer::{Encoding, PartitionId, Row, Writer};
use crate::chunk::Chunk;
use crate::error::Result;
use crate::head::symbols::{LabelIds, Symbols};
use model::{DayBucket, TenantId, Text};
use std::ops::Range;

/// One series' chunks of one day, by the head's symbols.
#[derive(Clone, Debug)]
pub(crate) struct HeadRow<'a> {
    pub(crate) labels: &'a LabelIds,
    pub(crate) day: DayBucket,
    pub(crate) target: u64,
    /// The series' chunks of that day.
    pub(crate) chunks: &'a [Chunk],
}

/// Writes a tenant, whole. Rows come in order of arrival within each target.
pub(crate) fn write_tenant(
    writer: &mut Writer<'_>,
    tenant: &TenantId,
    symbols: &Symbols,
    mut rows: Vec<HeadRow<'_>>,
    encoding: Encoding,
) -> Result<()> {
    let (texts, rank) = ranks(symbols, &rows);
    let metric = |row: &HeadRow<'_>| symbols.metric(row.labels).map(|id| rank[id as usize]);
    rows.sort_by_cached_key(|row| (metric(row), row.day, row.target));
    writer.begin_tenant(tenant, &texts)?;
    for part in rows.chunk_by(|a, b| metric(a) == metric(b) && a.day == b.day) {
        let Some(first) = part.first() else { continue };
        let name = metric(first).map_or(Text::default(), |rank| texts[rank as usize].clone());
        let id = PartitionId { metric: name, day: first.day, depth: 0, shard: 0 };
        let row = |row: &HeadRow<'_>| {
            let pairs = symbols.pairs(row.labels);
            let pairs = pairs.map(|(n, v)| (rank[n as usize], rank[v as usize])).collect();
            Row { pairs, target: row.target, chunks: row.chunks.to_vec() }
        };
        writer.partition(id, part.iter().map(row).collect(), encoding)?;
    }
    writer.end_tenant()
}

/// The texts that the rows use, ascending, and for each symbol its place among them.
fn ranks(symbols: &Symbols, rows: &[HeadRow<'_>]) -> (Vec<Text>, Vec<u32>) {
    const UNUSED: u32 = u32::MAX;
    let mut rank = vec![UNUSED; symbols.len()];
    let mut used = Vec::new();
    for symbol in rows.iter().flat_map(|row| symbols.pairs(row.labels)).flat_map(|(n, v)| [n, v]) {
        if rank[symbol as usize] == UNUSED {
            rank[symbol as usize] = 0;
            used.push(symbol);
        }
    }
    used.sort_unstable_by(|a, b| symbols.text(*a).cmp(symbols.text(*b)));
    for (place, symbol) in (0..).zip(&used) {
        rank[*symbol as usize] = place;
    }
    (used.iter().map(|symbol| symbols.text(*symbol).clone()).collect(), rank)
}

/// Cuts a series' chunks into those of each day; chunks are neighbours by day afterwards.
pub(crate) fn by_day(chunks: &mut [Chunk]) -> Vec<(DayBucket, Range<usize>)> {
    let day = |chunk: &Chunk| model::TimestampMs(chunk.head.first_ms).day();
    chunks.sort_by_key(|chunk| (day(chunk), chunk.head.first_ms));
    let mut start = 0;
    let days = chunks.chunk_by(|a, b| day(a) == day(b)).map(|part| {
        let range = start..start + part.len();
        start = range.end;
        (day(&part[0]), range)
    });
    days.collect()
}
