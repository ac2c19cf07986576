//! Packed chunks: what has no dense form of its own goes through zstd when it is sealed.
//!
//! A chunk whose type tag has the bit 8 is packed if it has the bit 4 too: the varint of its length
//! without that, and a zstd frame.

use super::{Chunk, ChunkHead};
use crate::bytes::{Damaged, Input, put_uvarint};
use std::borrow::Cow;

const MAY_BE_PACKED: u8 = 8;
const IS_PACKED: u8 = 4;
/// Nothing larger is packed, so that nothing larger is unpacked.
const UNPACKED_BYTES_MAX: usize = 16 << 20;
const ZSTD_LEVEL: i32 = 3;

/// The chunk, packed if that makes it smaller.
pub(crate) fn pack(chunk: Chunk) -> Chunk {
    let tag = chunk.head.encoding;
    let may_be = tag & MAY_BE_PACKED != 0 && tag & IS_PACKED == 0;
    if !may_be || chunk.bytes.len() > UNPACKED_BYTES_MAX {
        return chunk;
    }
    let mut bytes = Vec::new();
    put_uvarint(&mut bytes, chunk.bytes.len() as u64);
    let Ok(frame) = zstd::bulk::compress(&chunk.bytes, ZSTD_LEVEL) else { return chunk };
    bytes.extend_from_slice(&frame);
    if bytes.len() >= chunk.bytes.len() {
        return chunk;
    }
    let head = ChunkHead { encoding: tag | IS_PACKED, ..chunk.head };
    Chunk { head, bytes: bytes.into() }
}

/// A chunk as it was before it was packed, if it was.
pub(crate) fn unpack<'b>(
    head: &ChunkHead,
    bytes: &'b [u8],
) -> Result<(ChunkHead, Cow<'b, [u8]>), Damaged> {
    const PACKED: u8 = MAY_BE_PACKED | IS_PACKED;
    if head.encoding & PACKED != PACKED {
        return Ok((*head, Cow::Borrowed(bytes)));
    }
    let mut input = Input::new(bytes);
    let len = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
    if len > UNPACKED_BYTES_MAX {
        return Err(Damaged("a packed chunk is too large"));
    }
    let frame = input.take(input.len())?;
    let unpacked = zstd::bulk::decompress(frame, len).ok().filter(|bytes| bytes.len() == len);
    let unpacked = unpacked.ok_or(Damaged("a packed chunk cannot be unpacked"))?;
    Ok((ChunkHead { encoding: head.encoding & !IS_PACKED, ..*head }, Cow::Owned(unpacked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(encoding: u8, bytes: &[u8]) -> Chunk {
        let (first_ms, last_ms) = (5, 9);
        let head = ChunkHead { encoding, revision: 1, count: 2, first_ms, last_ms, column: 0 };
        Chunk { head, bytes: bytes.into() }
    }

    proptest! {
        #[test]
        fn a_chunk_of_any_tag_comes_back(tag in prop_oneof![0_u8..4, 8_u8..12], run in 0_usize..900, tail: Vec<u8>) {
            let before = chunk(tag, &[vec![3; run], tail].concat());
            let packed = pack(before.clone());
            prop_assert!(packed.bytes.len() <= before.bytes.len());
            let (head, bytes) = unpack(&packed.head, &packed.bytes).unwrap();
            prop_assert_eq!((head, &*bytes), (before.head, &*before.bytes));
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>) {
            let packed = chunk(MAY_BE_PACKED | IS_PACKED, &bytes);
            let _ = unpack(&packed.head, &packed.bytes);
        }
    }

    #[test]
    fn only_what_has_no_dense_form_is_packed() {
        assert!(pack(chunk(8, &[7; 900])).bytes.len() < 100);
        assert_eq!(pack(chunk(super::super::FAST, &[7; 900])).bytes.len(), 900);
    }
}
