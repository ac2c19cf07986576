//! Pages of numbers in pco's wrapped format: one description of the bins, and pages that each can
//! be decoded by itself.
//!
//! pco keeps every bit and has no checksum: what is decoded here lies in a block that was checked.
//!
//! # Invariants
//! - A chunk holds [`PAGE`] numbers a page, but for the last.
//! - What is allocated is bounded by the count that the caller gives: dictionaries and windows,
//!   whose size the bytes would choose, are refused. The writer makes neither.
//!
//! Not here: what the numbers mean (`ints.rs`, `dense.rs`).

use crate::bytes::{Damaged, Input, put_uvarint};
use pco::data_types::Number;
use pco::metadata::{DeltaEncoding, Mode};
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec, PagingSpec};
use std::ops::Range;

/// Numbers of a page: two of pco's batches.
pub(crate) const PAGE: usize = 512;

/// The version of pco's format, as it would stand in a file's header.
const HEADER: [u8; 2] = [4, 1];

/// pco's variant of a dictionary, in the low bits of its first byte.
const DICTIONARY: u8 = 4;

/// Which pages hold the numbers of a range.
pub(crate) fn pages_of(range: &Range<usize>) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE..range.end.div_ceil(PAGE)
}

/// Where a page begins and ends among `count` numbers.
pub(crate) fn page_range(page: usize, count: usize) -> Range<usize> {
    let start = page.saturating_mul(PAGE).min(count);
    start..start.saturating_add(PAGE).min(count)
}

/// How pco is to look for structure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Model {
    /// The numbers are differences already.
    Plain,
    /// Floats of any kind.
    Floats,
}

/// Appends numbers: the lengths of all pages but the last, the bins, the pages. `None` if pco
/// refuses; then `out` is as it was.
pub(crate) fn put<T: Number>(
    numbers: &[T],
    model: Model,
    level: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let before = out.len();
    let done = try_put(numbers, model, level, out);
    if done.is_none() {
        out.truncate(before);
    }
    done
}

fn try_put<T: Number>(numbers: &[T], model: Model, level: usize, out: &mut Vec<u8>) -> Option<()> {
    let pages: Vec<usize> =
        pages_of(&(0..numbers.len())).map(|page| page_range(page, numbers.len()).len()).collect();
    let config = |mode: ModeSpec, delta: DeltaSpec| {
        ChunkConfig::default()
            .with_compression_level(level)
            .with_mode_spec(mode)
            .with_delta_spec(delta)
            .with_paging_spec(PagingSpec::Exact(pages.clone()))
    };
    let files = FileCompressor::default();
    let plain = || config(ModeSpec::Classic, DeltaSpec::NoOp);
    let first = match model {
        Model::Plain => plain(),
        Model::Floats => config(ModeSpec::Auto, DeltaSpec::Auto),
    };
    let mut chunk = files.chunk_compressor(numbers, &first).ok()?;
    if !is_bounded(&chunk.meta().mode, &chunk.meta().delta_encoding) {
        chunk = files.chunk_compressor(numbers, &plain()).ok()?;
    }
    let mut body = chunk.write_meta(Vec::new()).ok()?;
    for page in 0..pages.len() {
        let before = body.len();
        body = chunk.write_page(page, body).ok()?;
        if page + 1 < pages.len() {
            put_uvarint(out, (body.len() - before) as u64);
        }
    }
    out.extend_from_slice(&body);
    Some(())
}

/// Whether decoding allocates no more than the numbers themselves ask for.
fn is_bounded(mode: &Mode, delta: &DeltaEncoding) -> bool {
    !matches!(mode, Mode::Dict(_))
        && matches!(delta, DeltaEncoding::NoOp | DeltaEncoding::Consecutive { .. })
}

/// pco copies what it reads into a buffer that it makes and clears for each page, unless so many bytes
/// lie behind where it begins: as many as it could need for a batch of the widest numbers.
const BYTES_BEHIND: usize = 8 << 10;

/// Buffers of decoding, kept from chunk to chunk.
#[derive(Default)]
pub(crate) struct Buffers {
    scratch: DecompressorScratch,
    /// A chunk's bytes, and [`BYTES_BEHIND`] that mean nothing.
    body: Vec<u8>,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// Decodes the pages of `range` out of what [`put`] wrote for `count` numbers: all of `bytes`.
/// `visit` gets each page's number and its numbers.
pub(crate) fn read<T: Number + Default>(
    bytes: &[u8],
    count: usize,
    range: Range<usize>,
    buffers: &mut Buffers,
    mut visit: impl FnMut(usize, &[T]),
) -> Result<(), Damaged> {
    const BAD: Damaged = Damaged("numbers of a chunk cannot be decoded");
    let pages = pages_of(&(0..count)).len();
    let mut input = Input::new(bytes);
    let mut lens = Vec::new();
    for _ in 1..pages {
        lens.push(input.count(1)?);
    }
    let body = input.take(input.len())?;
    if body.first().is_none_or(|first| first & 0x0f == DICTIONARY) {
        return Err(BAD);
    }
    let Buffers { scratch, body: padded } = buffers;
    let body_bytes = body.len();
    if padded.len() < body_bytes + BYTES_BEHIND {
        padded.resize(body_bytes + BYTES_BEHIND, 0);
    }
    padded[..body_bytes].copy_from_slice(body);
    let padded = &padded[..body_bytes + BYTES_BEHIND];
    let (files, _) = FileDecompressor::new(&HEADER[..]).map_err(|_| BAD)?;
    let (chunk, mut rest) = files.chunk_decompressor::<T, &[u8]>(padded).map_err(|_| BAD)?;
    if !is_bounded(&chunk.meta().mode, &chunk.meta().delta_encoding) {
        return Err(BAD);
    }
    let mut numbers = [T::default(); PAGE];
    for page in 0..range.end.min(pages) {
        let of_body = rest.len().checked_sub(BYTES_BEHIND).ok_or(BAD)?;
        let page_bytes = lens.get(page).copied().unwrap_or(of_body);
        if page_bytes > of_body {
            return Err(BAD);
        }
        let (bytes, behind) = (rest, &rest[page_bytes..]);
        rest = behind;
        if page < range.start {
            continue;
        }
        let len = page_range(page, count).len();
        let decoder = chunk.page_decompressor_with_scratch(bytes, len, scratch);
        let mut decoder = decoder.map_err(|_| BAD)?;
        let numbers = &mut numbers[..len];
        let progress = decoder.read(numbers).map_err(|_| BAD)?;
        // It may not have read beyond the page.
        if progress.n_processed != len || decoder.into_src().len() < behind.len() {
            return Err(BAD);
        }
        visit(page, numbers);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pco_still_writes_the_version_that_files_are_read_as() {
        let header = FileCompressor::default().write_header(Vec::new()).unwrap();
        assert_eq!(header, HEADER);
    }

    proptest! {
        #[test]
        fn any_page_of_floats_comes_back_bit_for_bit(
            bits in prop::collection::vec(any::<u64>(), 1..1500),
            page in 0_usize..3,
        ) {
            let floats: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
            let mut bytes = Vec::new();
            put(&floats, Model::Floats, 8, &mut bytes).unwrap();
            let wanted = page_range(page, floats.len());
            let mut back: Vec<u64> = Vec::new();
            read::<f64>(&bytes, floats.len(), page..page + 1, &mut Buffers::default(), |at, numbers| {
                assert_eq!(at, page);
                back.extend(numbers.iter().map(|number| number.to_bits()));
            }).unwrap();
            prop_assert_eq!(&back, &bits[wanted]);
        }

        #[test]
        fn any_bytes_are_numbers_or_refused(bytes: Vec<u8>, count in 0_usize..2000) {
            let mut seen = 0;
            let _ = read::<u32>(&bytes, count, 0..9, &mut Buffers::default(), |_, numbers| {
                seen += numbers.len();
            });
            prop_assert!(seen <= count);
        }
    }
}
