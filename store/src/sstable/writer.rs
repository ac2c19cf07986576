//! Writing an sstable: from coded chunks to a file that is whole and on disk.
//!
//! Not here: the manifest, by which the file becomes live.

use super::block::{self, BLOCK_HEADER_BYTES, BlockKind, BlockRef, Footer};
use super::directory::{Directory, PartitionEntry, TenantPart};
use super::filter::{self, Filter};
use super::partition::Builder;
use super::window::Window;
use crate::bytes::put_uvarint;
use crate::chunk::Chunk;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::head::symbols::{LabelIds, Symbols};
use crate::manifest::{self, SstableMeta, Stage};
use model::partition::token_of;
use model::{DayBucket, TenantId, Text, TimestampMs};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// Bytes are handed to the disk in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;
/// So many neighbours share a symbols block's restart.
pub(crate) const SYMBOLS_PER_RESTART: usize = 16;

/// One series' chunks of one day.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) labels: &'a LabelIds,
    pub(crate) day: DayBucket,
    pub(crate) target: u64,
    /// The series' chunks; those of the day are neighbours.
    pub(crate) chunks: &'a [Chunk],
}

/// Writes one file.
pub(crate) struct Writer<'a> {
    disk: &'a dyn Disk,
    path: String,
    file: Box<dyn DiskFile>,
    piece: Vec<u8>,
    offset: u64,
    hash: Xxh3,
    directory: Directory,
    filter_keys: Vec<u64>,
    meta: SstableMeta,
}

impl<'a> Writer<'a> {
    /// Begins the file of a number and window.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        id: u64,
        class: u32,
        window: Window,
        now: TimestampMs,
    ) -> Result<Self> {
        let path = manifest::sstable_path(id);
        let file = disk.create_new(&path)?;
        let directory = Directory { retention_class: class, window, tenants: Vec::new() };
        let meta = SstableMeta {
            id,
            retention_class: class,
            window_first_day: window.first_day,
            window_days: window.days,
            file_bytes: 0,
            file_hash: 0,
            series: 0,
            samples: 0,
            min_timestamp_ms: i64::MAX,
            max_timestamp_ms: i64::MIN,
            partitions: 0,
            token_first: u64::MAX,
            token_last: 0,
            created_ms: now.0,
            stage: Stage::Flushed,
            tombstones_through: 0,
            retention_version: 0,
        };
        let mut writer = Self {
            disk,
            path,
            file,
            piece: Vec::new(),
            offset: 0,
            hash: Xxh3::new(),
            directory,
            filter_keys: Vec::new(),
            meta,
        };
        writer.put(&block::header())?;
        Ok(writer)
    }

    /// Adds a tenant. Tenants come ascending by name, each once; rows come in order of arrival
    /// within each target.
    pub(crate) fn tenant(
        &mut self,
        tenant: &TenantId,
        symbols: &Symbols,
        mut rows: Vec<Row<'_>>,
    ) -> Result<()> {
        let (texts, rank) = ranks(symbols, &rows);
        let metric = |row: &Row<'_>| symbols.metric(row.labels).map(|id| rank[id as usize]);
        rows.sort_by_cached_key(|row| (metric(row), row.day, row.target));
        let symbols_block = self.block(BlockKind::Symbols, &encode_symbols(&texts))?;
        let mut partitions = Vec::new();
        for part in rows.chunk_by(|a, b| metric(a) == metric(b) && a.day == b.day) {
            let Some(first) = part.first() else { continue };
            let name = metric(first).map_or(Text::default(), |rank| texts[rank as usize].clone());
            self.filter_keys.push(filter::key(tenant, &name));
            let mut builder = Builder::default();
            for row in part {
                let pairs = symbols.pairs(row.labels);
                let pairs = pairs.map(|(n, v)| (rank[n as usize], rank[v as usize]));
                builder.push(pairs, row.chunks.iter());
            }
            partitions.push(self.partition(tenant, name, first.day, builder)?);
        }
        let tenant = tenant.clone();
        self.directory.tenants.push(TenantPart { tenant, symbols: symbols_block, partitions });
        Ok(())
    }

    fn partition(
        &mut self,
        tenant: &TenantId,
        metric: Text,
        day: DayBucket,
        mut builder: Builder,
    ) -> Result<PartitionEntry> {
        let block = self.block(BlockKind::Partition, &builder.encode())?;
        for chunks in &builder.blocks {
            self.block(BlockKind::Chunks, chunks)?;
        }
        let (min_ms, max_ms) = (builder.min_ms, builder.max_ms);
        self.meta.series += u64::from(builder.series);
        self.meta.samples += builder.samples;
        self.meta.min_timestamp_ms = self.meta.min_timestamp_ms.min(min_ms);
        self.meta.max_timestamp_ms = self.meta.max_timestamp_ms.max(max_ms);
        let token = token_of(tenant, &metric, day, 0, 0);
        self.meta.partitions += 1;
        self.meta.token_first = self.meta.token_first.min(token.0);
        self.meta.token_last = self.meta.token_last.max(token.0);
        Ok(PartitionEntry {
            token,
            metric,
            day,
            depth: 0,
            shard: 0,
            block,
            series: u64::from(builder.series),
            samples: builder.samples,
            min_ms,
            max_ms,
        })
    }

    /// Ends the file. When this returns it is on disk under its name.
    pub(crate) fn finish(mut self) -> Result<SstableMeta> {
        let directory = self.directory.encode();
        let directory = self.block(BlockKind::Directory, &directory)?;
        let filter = match Filter::of(std::mem::take(&mut self.filter_keys)).encode() {
            Some(payload) => self.block(BlockKind::Filter, &payload)?,
            None => BlockRef::default(),
        };
        self.put(&Footer { directory, filter }.encode())?;
        self.write_piece()?;
        self.file.sync_data()?;
        self.disk.sync_dir(crate::disk::parent(&self.path))?;
        self.meta.file_bytes = self.offset;
        self.meta.file_hash = self.hash.digest();
        Ok(self.meta)
    }

    fn block(&mut self, kind: BlockKind, payload: &[u8]) -> Result<BlockRef> {
        let offset = self.offset;
        let too_large =
            Error::RecordTooLarge { bytes: payload.len(), bytes_max: u32::MAX as usize };
        block::put_block(&mut self.piece, kind, payload).ok_or(too_large)?;
        let len = (BLOCK_HEADER_BYTES + payload.len()) as u64;
        self.offset += len;
        if self.piece.len() >= PIECE_BYTES {
            self.write_piece()?;
        }
        Ok(BlockRef { offset, len })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.piece.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn write_piece(&mut self) -> Result<()> {
        self.hash.update(&self.piece);
        self.file.append(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).field("offset", &self.offset).finish()
    }
}

/// The texts that the rows use, ascending, and for each symbol its place among them.
fn ranks(symbols: &Symbols, rows: &[Row<'_>]) -> (Vec<Text>, Vec<u32>) {
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

/// The payload of a symbols block: count; each text as the bytes it shares with the one before,
/// and the rest; every sixteenth shares none.
fn encode_symbols(texts: &[Text]) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, texts.len() as u64);
    let mut before: &str = "";
    for (index, text) in texts.iter().enumerate() {
        let shared = match index % SYMBOLS_PER_RESTART {
            0 => 0,
            _ => before.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count(),
        };
        put_uvarint(&mut out, shared as u64);
        let rest: &[u8] = &text.as_bytes()[shared..];
        put_uvarint(&mut out, rest.len() as u64);
        out.extend_from_slice(rest);
        before = text;
    }
    out
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
