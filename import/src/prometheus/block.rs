//! A block: what Prometheus cut off its head, or compacted from such.

use super::chunk;
use super::file::Source;
use super::index::{ChunkRef, Index};
use super::numbered;
use super::rows::Rows;
use super::tombstones::Tombstones;
use crate::bytes::{Bad, Input};
use crate::{Error, Options, Report, Result, Sink};
use model::time::DAY_MS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const CHUNKS_MAGIC: u32 = 0x85BD_40DD;
/// In front of a chunk: its length (five bytes at most) and encoding; behind it a checksum.
const CHUNK_FRAME_BYTES: u64 = 5 + 1 + 4;
/// Most chunks are smaller.
const CHUNK_BYTES_USUAL: u64 = 1024;

/// A block that is open.
#[derive(Debug)]
pub(super) struct Block {
    path: PathBuf,
    pub(super) meta: Meta,
    index: Index,
    chunks: Vec<Source>,
    tombstones: Tombstones,
}

/// What `meta.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) min_ms: i64,
    /// The moment behind its last.
    pub(super) max_ms: i64,
    /// The names of blocks that it was made of.
    pub(super) parents: Vec<String>,
    /// Whether it was made of samples that came out of order.
    pub(super) is_out_of_order: bool,
}

impl Meta {
    fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let json: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|_| Bad("not a block's meta.json"))?;
        let time = |key: &str| json[key].as_i64().ok_or(Bad("a block's time is missing"));
        let compaction = &json["compaction"];
        let list = |list: &serde_json::Value| list.as_array().cloned().unwrap_or_default();
        let parents = list(&compaction["parents"]);
        let ulid = |parent: serde_json::Value| parent["ulid"].as_str().map(str::to_owned);
        let is_out_of_order = list(&compaction["hints"]).iter().any(|h| h == "from-out-of-order");
        Ok(Self {
            min_ms: time("minTime")?,
            max_ms: time("maxTime")?,
            parents: parents.into_iter().filter_map(ulid).collect(),
            is_out_of_order,
        })
    }
}

impl Block {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let meta = path.join("meta.json");
        let bytes = fs::read(&meta).map_err(Error::io("read", &meta))?;
        let meta = Meta::decode(&bytes).map_err(|bad| Error::damaged(&meta, 0, bad.0))?;
        let mut chunks = Vec::new();
        for (_, path) in numbered(&path.join("chunks"))? {
            let source = Source::open(&path)?;
            let mut header = Vec::new();
            source.read(0, 8, &mut header)?;
            if Input::new(&header).u32() != Ok(CHUNKS_MAGIC) || header.get(4) != Some(&1) {
                return Err(source.damaged(0, Bad("not a file of chunks of version 1")));
            }
            chunks.push(source);
        }
        Ok(Self {
            index: Index::open(&path.join("index"))?,
            tombstones: Tombstones::open(&path.join("tombstones"))?,
            path: path.to_owned(),
            meta,
            chunks,
        })
    }

    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The days that its chunks begin in.
    pub(super) fn days(&self) -> Result<BTreeSet<i64>> {
        let mut days = BTreeSet::new();
        self.index.each(&mut |_| Ok(()), &mut |series| {
            days.extend(series.chunks.iter().map(|chunk| day_of(chunk.min_ms)));
            Ok(())
        })?;
        Ok(days)
    }

    /// Hands over the chunks that begin in these days.
    pub(super) fn read(
        &self,
        days: (i64, i64),
        options: Options,
        sink: &mut dyn Sink,
        report: &mut Report,
    ) -> Result<()> {
        let (mut rows, mut bytes) = (Rows::default(), Vec::new());
        let mut damaged = Vec::new();
        let mut skip = |error| match options.skip_damaged {
            true => {
                damaged.push(error);
                Ok(())
            }
            false => Err(error),
        };
        self.index.each(&mut skip, &mut |series| {
            rows.clear();
            for chunk in &series.chunks {
                if !(days.0..=days.1).contains(&day_of(chunk.min_ms)) {
                    continue;
                }
                let before = rows.mark();
                if let Err(error) = self.chunk(*chunk, &mut bytes, &mut rows) {
                    rows.truncate(before);
                    report.note(error, options)?;
                }
                self.tombstones.apply(series.reference, &mut rows, before);
                // Histograms are large: no more of them at once than a chunk has.
                if !rows.histograms.is_empty() {
                    report.samples += rows.hand_over(&series.labels, sink)?;
                    rows.clear();
                }
            }
            report.samples += rows.hand_over(&series.labels, sink)?;
            Ok(())
        })?;
        damaged.into_iter().try_for_each(|error| report.note(error, options))
    }

    /// Reads a chunk; its samples come behind those that are there.
    fn chunk(&self, chunk: ChunkRef, bytes: &mut Vec<u8>, rows: &mut Rows) -> Result<()> {
        let (file, at) = (chunk.place >> 32, chunk.place & 0xFFFF_FFFF);
        let source = usize::try_from(file).ok().and_then(|file| self.chunks.get(file));
        let source = source.ok_or_else(|| {
            let detail = format!("a chunk lies in its file {}, which is missing", file + 1);
            Error::damaged(&self.path.join("chunks"), at, detail)
        })?;
        source.read_some(at, CHUNK_BYTES_USUAL, bytes)?;
        let len = Input::new(bytes).uvarint().map_err(|bad| source.damaged(at, bad))?;
        let whole = len.saturating_add(CHUNK_FRAME_BYTES);
        if whole > bytes.len() as u64 {
            source.read_some(at, whole, bytes)?;
        }
        let (encoding, data) = checked(bytes).map_err(|bad| source.damaged(at, bad))?;
        match chunk::decode(encoding, data, rows).map_err(|bad| source.damaged(at, bad))? {
            true => Ok(()),
            false => {
                let what = format!("a chunk of encoding {encoding}");
                Err(Error::Unsupported { path: source.path.clone(), offset: at, what })
            }
        }
    }
}

/// A chunk's encoding and data, out of its frame.
fn checked(bytes: &[u8]) -> Result<(u8, &[u8]), Bad> {
    let mut input = Input::new(bytes);
    let len = input.count()?;
    let summed = input.clone().take(len + 1)?;
    let encoding = input.u8()?;
    let data = input.take(len)?;
    match input.u32()? == crc32c::crc32c(summed) {
        true => Ok((encoding, data)),
        false => Err(Bad("checksum mismatch")),
    }
}

fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}
