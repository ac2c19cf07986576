//! A body out of its packing: one snappy block, or one zstd frame.
//!
//! # Invariants
//! - The length that the packing declares is checked against the limit, and against what its bytes
//!   could ever expand to, before memory is taken; not a byte more is written.
//!
//! Not here: who reserves the memory (`distributor::pool`).

use super::{Encoding, Error};
use guard::Limit;
use zstd::zstd_safe;

/// Three bytes of a snappy block make at most 64: a copy of the longest kind.
const SNAPPY_EXPANSION_MAX: u64 = 22;
/// Four bytes of a zstd frame make at most 128 KiB: a block of one byte again and again.
const ZSTD_EXPANSION_MAX: u64 = 32 << 10;

impl Encoding {
    fn expansion_max(self) -> u64 {
        match self {
            Self::Snappy => SNAPPY_EXPANSION_MAX,
            Self::Zstd => ZSTD_EXPANSION_MAX,
        }
    }

    fn declared_len(self, body: &[u8]) -> Result<u64, Error> {
        match self {
            Self::Snappy => {
                let len = snap::raw::decompress_len(body).map_err(|error| snappy(&error))?;
                Ok(len as u64)
            }
            Self::Zstd => zstd_len(body),
        }
    }

    fn bad(self, text: String) -> Error {
        match self {
            Self::Snappy => Error::Snappy(text),
            Self::Zstd => Error::Zstd(text),
        }
    }
}

/// The length a body declares, checked: it is within the limit, and its bytes could expand to it.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Snappy`] or [`Error::Zstd`]; no memory was taken.
pub fn decoded_len(body: &[u8], encoding: Encoding, limit: Limit) -> Result<usize, Error> {
    let bytes = encoding.declared_len(body)?;
    let limit = limit.get().min(u64::from(u32::MAX));
    if bytes > limit {
        return Err(Error::TooLarge {
            form: "decoded body",
            bytes,
            limit,
            key: "max_decoded_bytes",
        });
    }
    if bytes > (body.len() as u64).saturating_mul(encoding.expansion_max()) {
        let text = format!("{} bytes cannot hold the {bytes} they declare", body.len());
        return Err(encoding.bad(text));
    }
    // It fits: the limit does.
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Decompresses a body into `buffer` and returns how many bytes of it are the message.
///
/// The buffer only grows, so one that is used again costs nothing.
///
/// # Errors
/// As [`decoded_len`], also if the body is damaged.
pub fn decompress(
    body: &[u8],
    encoding: Encoding,
    limit: Limit,
    buffer: &mut Vec<u8>,
) -> Result<usize, Error> {
    let len = decoded_len(body, encoding, limit)?;
    if buffer.len() < len {
        // What it holds is of no use, and bodies of one sender are of about one size.
        buffer.clear();
        buffer.reserve_exact(len + len / 8);
        buffer.resize(len, 0);
    }
    let message = &mut buffer[..len];
    match encoding {
        Encoding::Snappy => {
            snap::raw::Decoder::new().decompress(body, message).map_err(|error| snappy(&error))
        }
        Encoding::Zstd => unpack_zstd(body, message),
    }
}

/// A message as a snappy block.
///
/// # Errors
/// [`Error::Snappy`] if it is longer than a block can say.
pub fn compress(message: &[u8]) -> Result<Vec<u8>, Error> {
    snap::raw::Encoder::new().compress_vec(message).map_err(|error| snappy(&error))
}

fn snappy(error: &snap::Error) -> Error {
    Error::Snappy(error.to_string())
}

/// The length of the content of one frame that is all of `body`.
fn zstd_len(body: &[u8]) -> Result<u64, Error> {
    let bad = |text: &str| Error::Zstd(text.to_owned());
    let len = zstd_safe::get_frame_content_size(body).map_err(|_| bad("not a frame"))?;
    let len = len.ok_or_else(|| bad("the frame does not declare the length of its content"))?;
    let frame = zstd_safe::find_frame_compressed_size(body);
    let frame = frame.map_err(|code| bad(zstd_safe::get_error_name(code)))?;
    if frame == body.len() { Ok(len) } else { Err(bad("bytes behind the frame")) }
}

/// The content of a frame, which has to fill `message`.
fn unpack_zstd(body: &[u8], message: &mut [u8]) -> Result<usize, Error> {
    let mut unpacker = zstd::bulk::Decompressor::new().map_err(|e| Error::Zstd(e.to_string()))?;
    let len = unpacker.decompress_to_buffer(body, message);
    let len = len.map_err(|error| Error::Zstd(error.to_string()))?;
    if len == message.len() { Ok(len) } else { Err(Error::Zstd("the content is cut".to_owned())) }
}
