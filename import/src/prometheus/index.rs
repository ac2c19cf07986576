//! The index of a block: which series it has, and where their chunks lie.
//!
//! The symbols are held in memory; the series are read one after the other.

use super::file::Source;
use crate::bytes::{Bad, Input};
use crate::{Error, Result};
use model::{LabelSet, Text};
use std::path::Path;

const MAGIC: u32 = 0xBAAA_D700;
const HEADER_BYTES: u64 = 5;
/// The table of contents at the end: six offsets and a checksum.
const CONTENTS_BYTES: u64 = 52;
/// Series begin at multiples of this.
const SERIES_ALIGN: u64 = 16;
/// The series section is read in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// An index that is open.
#[derive(Debug)]
pub(super) struct Index {
    source: Source,
    symbols: Vec<Text>,
    /// Where the series lie.
    series: (u64, u64),
}

/// A series of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Series {
    /// Its number in the block.
    pub(super) reference: u64,
    pub(super) labels: LabelSet,
    pub(super) chunks: Vec<ChunkRef>,
}

/// A chunk in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkRef {
    pub(super) min_ms: i64,
    /// The number of its file in the higher half, the offset in it in the lower.
    pub(super) place: u64,
}

impl Index {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let mut bytes = Vec::new();
        source.read(0, HEADER_BYTES, &mut bytes)?;
        let mut input = Input::new(&bytes);
        let header = input.u32().and_then(|magic| Ok((magic, input.u8()?)));
        match header {
            Ok((MAGIC, 2)) => {}
            Ok((MAGIC, version)) => {
                let what = format!("version {version} of an index");
                return Err(Error::Unsupported { path: path.to_owned(), offset: 4, what });
            }
            _ => return Err(source.damaged(0, Bad("not an index"))),
        }
        let at = source.bytes.saturating_sub(CONTENTS_BYTES);
        source.read(at, CONTENTS_BYTES, &mut bytes)?;
        let sections = contents(&bytes).map_err(|bad| source.damaged(at, bad))?;
        let [symbols_at, series_at, ..] = sections;
        let end = sections.into_iter().filter(|other| *other > series_at).min().unwrap_or(at);
        let symbols = Self::read_symbols(&source, symbols_at)?;
        let series = if series_at == 0 { (0, 0) } else { (series_at, end.min(at)) };
        Ok(Self { source, symbols, series })
    }

    fn read_symbols(source: &Source, at: u64) -> Result<Vec<Text>> {
        if at == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        source.read(at, 4, &mut bytes)?;
        let len = Input::new(&bytes).u32().map_err(|bad| source.damaged(at, bad))?;
        source.read(at + 4, u64::from(len) + 4, &mut bytes)?;
        symbols(&bytes).map_err(|bad| source.damaged(at, bad))
    }

    /// Hands every series to `visit`. A damaged one ends it, unless `skip` takes the error: then
    /// the next place where a series begins is tried.
    pub(super) fn each(
        &self,
        skip: &mut dyn FnMut(Error) -> Result<()>,
        visit: &mut dyn FnMut(Series) -> Result<()>,
    ) -> Result<()> {
        let (mut at, end) = self.series;
        let (mut piece, mut piece_at) = (Vec::new(), 0);
        at = at.next_multiple_of(SERIES_ALIGN);
        while at < end {
            let offset = usize::try_from(at - piece_at).unwrap_or(usize::MAX);
            let mut rest = piece.get(offset..).unwrap_or_default();
            let needed = entry_bytes(rest);
            if needed.is_none_or(|needed| rest.len() < needed) {
                let len = needed.unwrap_or(0).max(10) as u64;
                piece_at = at;
                self.source.read_some(at, len.max(PIECE_BYTES).min(end - at), &mut piece)?;
                rest = &piece;
                if needed.is_none() && entry_bytes(rest).is_some_and(|needed| rest.len() < needed) {
                    let len = entry_bytes(rest).unwrap_or(0) as u64;
                    self.source.read_some(at, len.min(end - at), &mut piece)?;
                    rest = &piece;
                }
            }
            if rest.first() == Some(&0) {
                break;
            }
            match self.series(at / SERIES_ALIGN, rest) {
                Ok((series, len)) => {
                    at = (at + len).next_multiple_of(SERIES_ALIGN);
                    visit(series)?;
                }
                Err(bad) => {
                    skip(self.source.damaged(at, bad))?;
                    at += SERIES_ALIGN;
                }
            }
        }
        Ok(())
    }

    /// The series at the front of `bytes`, and how many of them are its.
    fn series(&self, reference: u64, bytes: &[u8]) -> Result<(Series, u64), Bad> {
        let mut outer = Input::new(bytes);
        let len = outer.count()?;
        let entry = outer.take(len)?;
        if outer.u32()? != crc32c::crc32c(entry) {
            return Err(Bad("checksum mismatch"));
        }
        let taken = (bytes.len() - outer.len()) as u64;
        let mut input = Input::new(entry);
        let mut pairs = Vec::new();
        for _ in 0..input.count()? {
            pairs.push((self.symbol(&mut input)?, self.symbol(&mut input)?));
        }
        let labels = LabelSet::from_pairs(pairs).map_err(|_| Bad("a label occurs twice"))?;
        let mut chunks = Vec::new();
        let (mut max_ms, mut place) = (0_i64, 0_u64);
        for index in 0..input.count()? {
            let min_ms = match index {
                0 => input.varint()?,
                _ => max_ms.wrapping_add(input.uvarint()?.cast_signed()),
            };
            max_ms = min_ms.wrapping_add(input.uvarint()?.cast_signed());
            place = match index {
                0 => input.uvarint()?,
                _ => place.wrapping_add_signed(input.varint()?),
            };
            chunks.push(ChunkRef { min_ms, place });
        }
        Ok((Series { reference, labels, chunks }, taken))
    }

    fn symbol(&self, input: &mut Input<'_>) -> Result<Text, Bad> {
        let index = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
        self.symbols.get(index).cloned().ok_or(Bad("a label has no text"))
    }
}

/// How many bytes the entry at the front takes, if its length can be read.
fn entry_bytes(bytes: &[u8]) -> Option<usize> {
    let mut input = Input::new(bytes);
    let len = usize::try_from(input.uvarint().ok()?).ok()?;
    (bytes.len() - input.len()).checked_add(len)?.checked_add(4)
}

/// The offsets of the sections.
fn contents(bytes: &[u8]) -> Result<[u64; 6], Bad> {
    let mut input = Input::new(bytes);
    let body = input.clone().take(bytes.len().saturating_sub(4))?;
    let mut sections = [0; 6];
    for section in &mut sections {
        *section = input.u64()?;
    }
    match input.u32()? == crc32c::crc32c(body) {
        true => Ok(sections),
        false => Err(Bad("checksum mismatch")),
    }
}

fn symbols(bytes: &[u8]) -> Result<Vec<Text>, Bad> {
    let (body, sum) = bytes.split_at(bytes.len().saturating_sub(4));
    if Input::new(sum).u32()? != crc32c::crc32c(body) {
        return Err(Bad("checksum mismatch"));
    }
    let mut input = Input::new(body);
    let count = input.u32()? as usize;
    let mut texts = Vec::with_capacity(count.min(input.len()));
    for _ in 0..count {
        texts.push(Text::from(input.text()?));
    }
    Ok(texts)
}
