//! Writing an sstable: from coded chunks to a file that is whole and on disk.
//!
//! Not here: the manifest, by which the file becomes live.

use super::block::{self, BlockKind, BlockRef, Footer};
use super::dense::DenseWriter;
use super::directory::{Directory, PartitionEntry, TenantPart, TimesBlock};
use super::filter::{self, Filter};
use super::partition::Builder;
use super::window::Window;
use crate::bytes::put_uvarint;
use crate::chunk::Chunk;
pub(crate) use crate::compaction::decision::Encoding;
use crate::disk::{ClassWindow, Disk, DiskFile};
use crate::error::{Error, Result};
use crate::manifest::{self, SstableMeta, Stage};
use model::partition::token_of;
use model::{DayBucket, TenantId, Text, TimestampMs};
use xxhash_rust::xxh3::Xxh3;

/// Bytes are handed to the disk in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;
/// A block of columns of times is written when it has this size.
const TIMES_BLOCK_BYTES: usize = 64 << 10;
/// So many neighbours share a symbols block's restart.
pub(crate) const SYMBOLS_PER_RESTART: usize = 16;

/// One series of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Its labels as numbers of the tenant's texts: name and value, in the order of its label set.
    pub(crate) pairs: Vec<(u32, u32)>,
    /// The hash of its target.
    pub(crate) target: u64,
    /// Its chunks of the partition's day, at least one.
    pub(crate) chunks: Vec<Chunk>,
}

/// Which of a tenant's partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionId {
    pub(crate) metric: Text,
    pub(crate) day: DayBucket,
    pub(crate) depth: u8,
    pub(crate) shard: u16,
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
    /// The tenant that was begun and not ended.
    tenant: Option<TenantPart>,
    dense: DenseWriter,
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
        let Window { first_day, days } = window;
        let file = disk.create_sstable(&path, ClassWindow { class, first_day, days })?;
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
            tenant: None,
            dense: DenseWriter::default(),
            filter_keys: Vec::new(),
            meta,
        };
        writer.put(&block::header())?;
        Ok(writer)
    }

    /// Begins a tenant; tenants come ascending by name, each once. `texts` are all its label
    /// strings in this file, ascending; rows name them by their place.
    pub(crate) fn begin_tenant(&mut self, tenant: &TenantId, texts: &[Text]) -> Result<()> {
        assert!(self.tenant.is_none(), "a tenant is ended before the next begins");
        let symbols = self.block(BlockKind::Symbols, &encode_symbols(texts))?;
        let (tenant, times, partitions) = (tenant.clone(), Vec::new(), Vec::new());
        self.tenant = Some(TenantPart { tenant, symbols, times, partitions });
        self.dense = DenseWriter::new(texts);
        Ok(())
    }

    /// Adds a partition of the tenant that was begun; partitions come ascending. Rows come by
    /// target, and within a target in an order that the caller chooses. Nothing of the partition
    /// stays in memory but its entry in the directory.
    pub(crate) fn partition(
        &mut self,
        id: PartitionId,
        mut rows: Vec<Row>,
        encoding: Encoding,
    ) -> Result<()> {
        assert!(rows.is_sorted_by_key(|row| row.target), "rows of a partition come by target");
        if encoding == Encoding::Dense {
            self.dense.encode(&mut rows).map_err(|damaged| damaged.at(&self.path, self.offset))?;
        }
        let mut builder = Builder::default();
        for row in &rows {
            let chunks = row.chunks.iter().map(|chunk| (chunk.head, &*chunk.bytes));
            builder.push(row.pairs.iter().copied(), chunks);
        }
        drop(rows);
        self.built(id, builder)
    }

    /// Adds a partition that was put together, in the place of [`Writer::partition`].
    pub(crate) fn built(&mut self, id: PartitionId, mut builder: Builder) -> Result<()> {
        let block = self.block(BlockKind::Partition, &builder.encode())?;
        for chunks in &builder.blocks {
            self.block(BlockKind::Chunks, chunks)?;
        }
        self.times(TIMES_BLOCK_BYTES)?;
        let PartitionId { metric, day, depth, shard } = id;
        let part = self.tenant.as_mut();
        assert!(part.is_some(), "a partition belongs to a tenant that was begun");
        let Some(part) = part else { return Ok(()) };
        self.filter_keys.push(filter::key(&part.tenant, &metric));
        let entry = PartitionEntry {
            token: token_of(&part.tenant, &metric, day, depth, shard),
            metric,
            day,
            depth,
            shard,
            block,
            series: u64::from(builder.series),
            samples: builder.samples,
            min_ms: builder.min_ms,
            max_ms: builder.max_ms,
        };
        self.meta.series += entry.series;
        self.meta.samples += entry.samples;
        self.meta.min_timestamp_ms = self.meta.min_timestamp_ms.min(entry.min_ms);
        self.meta.max_timestamp_ms = self.meta.max_timestamp_ms.max(entry.max_ms);
        self.meta.partitions += 1;
        self.meta.token_first = self.meta.token_first.min(entry.token.0);
        self.meta.token_last = self.meta.token_last.max(entry.token.0);
        part.partitions.push(entry);
        Ok(())
    }

    /// Ends the tenant that was begun. One without a partition was never there.
    pub(crate) fn end_tenant(&mut self) -> Result<()> {
        self.times(1)?;
        let part = self.tenant.take();
        self.directory.tenants.extend(part.filter(|part| !part.partitions.is_empty()));
        Ok(())
    }

    /// The bytes of the file so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.offset
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

    /// Writes the columns of times that have come together, if they have this many bytes.
    fn times(&mut self, bytes_min: usize) -> Result<()> {
        let Some((payload, columns)) = self.dense.take_times(bytes_min) else { return Ok(()) };
        let block = self.block(BlockKind::Times, &payload)?;
        let times = self.tenant.iter_mut().map(|part| &mut part.times);
        times.for_each(|times| times.push(TimesBlock { block, columns }));
        Ok(())
    }

    fn block(&mut self, kind: BlockKind, payload: &[u8]) -> Result<BlockRef> {
        let offset = self.offset;
        let too_large =
            Error::RecordTooLarge { bytes: payload.len(), bytes_max: u32::MAX as usize };
        let before = self.piece.len();
        block::put_block(&mut self.piece, kind, payload).ok_or(too_large)?;
        let len = (self.piece.len() - before) as u64;
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
