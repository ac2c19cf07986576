//! The log's segments: pages of 32 KiB with fragments of records, and the records out of them.

use super::file::Source;
use super::numbered;
use crate::bytes::{Bad, Input};
use crate::{Error, Options, Report, Result};
use std::path::{Path, PathBuf};

const PAGE_BYTES: u64 = 32 << 10;
const HEADER_BYTES: usize = 7;
/// A record is not larger than this, unpacked.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// Snappy makes of a byte this many at most.
const SNAPPY_RATIO_MAX: usize = 64;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const IS_SNAPPY: u8 = 1 << 3;
const IS_ZSTD: u8 = 1 << 4;

/// The segments to be read, in order: those of the last checkpoint, then those behind it.
pub(super) fn segments(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut checkpoint: Option<(u64, PathBuf)> = None;
    for path in super::file::entries(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("checkpoint.").and_then(|number| number.parse().ok());
        if let Some(number) = number.filter(|_| path.is_dir()) {
            checkpoint = checkpoint.max(Some((number, path)));
        }
    }
    let mut segments = Vec::new();
    if let Some((_, path)) = &checkpoint {
        segments.extend(numbered(path)?.into_iter().map(|(_, path)| path));
    }
    let from = checkpoint.map_or(0, |(number, _)| number.saturating_add(1));
    let behind = numbered(directory)?.into_iter().filter(|(number, _)| *number >= from);
    segments.extend(behind.map(|(_, path)| path));
    Ok(segments)
}

/// Hands each record of the segments to `visit`. A torn end of the last segment is where its
/// writer was stopped; other damage is noted, and the page left out; of a record whose checksum is
/// right only what comes behind the fault.
pub(super) fn read(
    segments: &[PathBuf],
    options: Options,
    report: &mut Report,
    visit: &mut dyn FnMut(&[u8]) -> std::result::Result<(), Fault>,
) -> Result<()> {
    for (index, path) in segments.iter().enumerate() {
        let source = Source::open(path)?;
        let is_last = index + 1 == segments.len();
        let mut segment = Segment { source, record: Vec::new(), started: false };
        let mut page = Vec::new();
        let mut at = 0;
        while at < segment.source.bytes {
            segment.source.read_some(at, PAGE_BYTES, &mut page)?;
            let is_last_page = is_last && at + PAGE_BYTES >= segment.source.bytes;
            match segment.page(at, &page, visit, &mut |error| report.note(error, options)) {
                Ok(()) => {}
                Err(Stop::For(error)) => return Err(error),
                // What was being written when the process ended.
                Err(Stop::Damaged(_)) if is_last_page => break,
                Err(Stop::Damaged(error)) => {
                    report.note(error, options)?;
                    segment.started = false;
                }
            }
            at += PAGE_BYTES;
        }
    }
    Ok(())
}

/// Why a record cannot be taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// It makes no sense.
    Bad(Bad),
    /// Its kind is not known.
    Kind(u8),
    /// The sink refused its samples.
    Sink(store::Error),
}

impl From<Bad> for Fault {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

enum Stop {
    /// The rest of the page cannot be read.
    Damaged(Error),
    /// Nothing more is to be read.
    For(Error),
}

struct Segment {
    source: Source,
    /// What has been read of the record.
    record: Vec<u8>,
    started: bool,
}

impl Segment {
    fn page(
        &mut self,
        page_at: u64,
        page: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> std::result::Result<(), Fault>,
        note: &mut dyn FnMut(Error) -> Result<()>,
    ) -> std::result::Result<(), Stop> {
        let mut input = Input::new(page);
        while input.len() >= HEADER_BYTES {
            let at = page_at + (page.len() - input.len()) as u64;
            let damaged = |bad: Bad| Stop::Damaged(self.source.damaged(at, bad));
            let Some((kind, data)) = fragment(&mut input).map_err(damaged)? else { break };
            match (kind & 7, self.started) {
                (FULL | FIRST, false) => self.record.clear(),
                (MIDDLE | LAST, true) => {}
                _ => return Err(damaged(Bad("the parts of a record are not in order"))),
            }
            if self.record.len() + data.len() > RECORD_BYTES_MAX {
                return Err(damaged(Bad("a record is larger than 256 MiB")));
            }
            self.record.extend_from_slice(data);
            self.started = matches!(kind & 7, FIRST | MIDDLE);
            if self.started {
                continue;
            }
            let visited = match unpack(kind, &self.record).map_err(damaged)? {
                Some(unpacked) => visit(&unpacked),
                None => visit(&self.record),
            };
            match visited {
                Ok(()) => {}
                Err(Fault::Sink(error)) => return Err(Stop::For(error.into())),
                Err(Fault::Bad(bad)) => note(self.source.damaged(at, bad)).map_err(Stop::For)?,
                Err(Fault::Kind(kind)) => {
                    let (path, offset) = (self.source.path.clone(), at);
                    let what = format!("a record of type {kind}");
                    note(Error::Unsupported { path, offset, what }).map_err(Stop::For)?;
                }
            }
        }
        Ok(())
    }
}

/// The next fragment of a page; `None` if the rest of it is empty.
fn fragment<'a>(input: &mut Input<'a>) -> Result<Option<(u8, &'a [u8])>, Bad> {
    let kind = input.u8()?;
    if kind == 0 {
        return Ok(None);
    }
    let (len, sum) = (input.u16()?, input.u32()?);
    let data = input.take(usize::from(len))?;
    match sum == crc32c::crc32c(data) {
        true => Ok(Some((kind, data))),
        false => Err(Bad("checksum mismatch")),
    }
}

/// The record as it was before it was packed; `None` if it was not.
fn unpack(kind: u8, record: &[u8]) -> Result<Option<Vec<u8>>, Bad> {
    match kind & (IS_SNAPPY | IS_ZSTD) {
        0 => Ok(None),
        IS_SNAPPY => {
            let len = snap::raw::decompress_len(record).map_err(|_| Bad("not snappy"))?;
            if len > record.len().saturating_mul(SNAPPY_RATIO_MAX).min(RECORD_BYTES_MAX) {
                return Err(Bad("a record claims to be larger than it can be"));
            }
            let unpacked = snap::raw::Decoder::new().decompress_vec(record);
            unpacked.map(Some).map_err(|_| Bad("not snappy"))
        }
        IS_ZSTD => {
            let mut unpacked = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(record).map_err(|_| Bad("not zstd"))?;
            let mut bounded = std::io::Read::take(decoder, RECORD_BYTES_MAX as u64);
            std::io::Read::read_to_end(&mut bounded, &mut unpacked).map_err(|_| Bad("not zstd"))?;
            Ok(Some(unpacked))
        }
        _ => Err(Bad("a record is packed twice")),
    }
}
