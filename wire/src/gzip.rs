//! Gzip bodies, decompressed within a bound: what a body claims to become is never believed.

use guard::Limit;
use model::Kind;
use std::io::{Read, Write};

/// Why a body cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// Compressed in another way.
    #[error("content encoding {0:?} is not supported, send gzip or none")]
    ContentEncoding(String),
    /// Not gzip, or cut off, or its checksum is wrong.
    #[error("gzip: {0}")]
    Damaged(String),
    /// It grows beyond the limit.
    #[error("body is over the limit of {limit} bytes once decompressed (max_decoded_bytes)")]
    TooLarge { limit: u64 },
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ContentEncoding(_) => Kind::Unsupported,
            Self::Damaged(_) => Kind::Invalid,
            Self::TooLarge { .. } => Kind::TooLarge,
        }
    }
}

/// Whether a body is compressed, by its content encoding.
///
/// # Errors
/// [`Error::ContentEncoding`] if it is in any other way than gzip.
pub fn is_gzip(content_encoding: Option<&[u8]>) -> Result<bool, Error> {
    let value = content_encoding.unwrap_or_default().trim_ascii();
    if value.eq_ignore_ascii_case(b"gzip") {
        return Ok(true);
    }
    match value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
        true => Ok(false),
        false => Err(Error::ContentEncoding(crate::remote_write::form::shown(value))),
    }
}

/// So much is decompressed at once.
const STEP_BYTES: usize = 64 << 10;
/// A buffer up to this size grows as any vector does,
const SMALL_BYTES: usize = 1 << 20;
/// a larger one at once by so many times.
const GROWTH: usize = 64;
/// Each member has its price, also an empty one: a body may have so many,
const MEMBERS_MAX: u64 = 10_000;
/// and one more for so many bytes that come out of it.
const BYTES_PER_MEMBER: u64 = 4 << 10;

/// The members of a body and what they became so far.
#[derive(Debug, Default)]
struct Members {
    count: u64,
    bytes: u64,
}

impl Members {
    fn begin_one(&mut self) -> Result<(), Error> {
        self.count += 1;
        let most = MEMBERS_MAX + self.bytes / BYTES_PER_MEMBER;
        match self.count > most {
            true => Err(Error::Damaged(format!("more than {most} members with little in them"))),
            false => Ok(()),
        }
    }
}

/// Decompresses a whole body, all of its members. `grow` is told how many bytes it has become,
/// before memory is taken for them.
///
/// # Errors
/// [`Error`], or what `grow` says.
pub fn decompress<E: From<Error>>(
    body: &[u8],
    limit: Limit,
    mut grow: impl FnMut(usize) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut members = Members::default();
    let mut decoder = flate2::bufread::GzDecoder::new(body);
    let mut decoded = Vec::new();
    let mut step = vec![0; STEP_BYTES];
    loop {
        let read = decoder.read(&mut step).map_err(|error| Error::Damaged(error.to_string()))?;
        if read == 0 {
            let rest = decoder.into_inner();
            if rest.is_empty() {
                return Ok(decoded);
            }
            members.begin_one()?;
            decoder = flate2::bufread::GzDecoder::new(rest);
        }
        let bytes = decoded.len() + read;
        if limit.is_exceeded_by(bytes as u64) {
            return Err(Error::TooLarge { limit: limit.0 }.into());
        }
        members.bytes = bytes as u64;
        grow(bytes)?;
        if bytes > decoded.capacity() && bytes > SMALL_BYTES {
            // By steps that are large, so that little is held twice; what is not written to is not taken.
            let most = usize::try_from(limit.get()).unwrap_or(usize::MAX);
            decoded.reserve_exact(most.min(GROWTH * bytes).max(bytes) - decoded.len());
        }
        decoded.extend_from_slice(&step[..read]);
    }
}

/// A body that is decompressed as it comes, step by step, all of its members.
#[derive(Debug)]
pub struct Inflater {
    decoder: flate2::write::GzDecoder<Vec<u8>>,
    members: Members,
}

impl Default for Inflater {
    fn default() -> Self {
        let decoder = flate2::write::GzDecoder::new(Vec::new());
        Self { decoder, members: Members::default() }
    }
}

/// So much of the input is taken at most in one step: it becomes a thousand times as much at most.
const STEP_INPUT_BYTES: usize = 256;

impl Inflater {
    /// Decompresses from the front of `input` and appends to `out`, at most some 256 KiB. Returns
    /// how much of the input was taken: at least a byte, unless there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        let input = &input[..input.len().min(STEP_INPUT_BYTES)];
        let mut taken = self.write(input)?;
        if taken == 0 && !input.is_empty() {
            self.finish(out)?;
            self.members.begin_one()?;
            self.decoder = flate2::write::GzDecoder::new(Vec::new());
            taken = self.write(input)?;
        }
        // What is decompressed is handed on at once, not when the decoder's buffer is full.
        self.decoder.flush().map_err(|error| Error::Damaged(error.to_string()))?;
        self.hand_on(out);
        Ok(taken)
    }

    /// Takes the rest, and checks that the input was whole.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.decoder.try_finish().map_err(|error| Error::Damaged(error.to_string()))?;
        self.hand_on(out);
        Ok(())
    }

    fn write(&mut self, input: &[u8]) -> Result<usize, Error> {
        self.decoder.write(input).map_err(|error| Error::Damaged(error.to_string()))
    }

    fn hand_on(&mut self, out: &mut Vec<u8>) {
        self.members.bytes += self.decoder.get_ref().len() as u64;
        out.append(self.decoder.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What a body becomes step by step, fed in pieces of `piece` bytes, and the largest step.
    fn inflated(body: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Error> {
        let (mut inflater, mut all, mut largest) = (Inflater::default(), Vec::new(), 0);
        for mut rest in body.chunks(piece) {
            while !rest.is_empty() {
                let before = all.len();
                rest = &rest[inflater.step(rest, &mut all)?..];
                largest = largest.max(all.len() - before);
            }
        }
        inflater.finish(&mut all)?;
        Ok((all, largest))
    }

    #[test]
    fn a_body_in_pieces_and_in_members_becomes_what_it_was() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let body = [gzipped(&text[..70_000]), gzipped(b""), gzipped(&text[70_000..])].concat();
        for piece in [1, 7, 1000, body.len()] {
            assert!(inflated(&body, piece).unwrap().0 == text, "{piece}");
        }
        let whole: Result<_, Error> = decompress(&body, Limit(0), |_| Ok(()));
        assert!(whole.unwrap() == text);
    }

    #[test]
    fn a_body_has_so_many_members_and_more_only_if_there_is_something_in_them() {
        let whole = |body: &[u8]| decompress::<Error>(body, Limit(0), |_| Ok(()));
        let (empty, most) = (gzipped(b""), usize::try_from(MEMBERS_MAX).unwrap());
        let told = format!("more than {most} members with little in them");
        for (count, is_taken) in [(most + 1, true), (most + 2, false)] {
            let body = empty.repeat(count);
            let wanted = if is_taken { Ok(vec![]) } else { Err(Error::Damaged(told.clone())) };
            assert_eq!(whole(&body), wanted);
            assert_eq!(inflated(&body, body.len()).map(|(all, _)| all), wanted);
        }
        let full = gzipped(&vec![b'x'; 4 << 10]);
        let body = full.repeat(2 * most);
        assert_eq!(whole(&body).unwrap().len(), 2 * most * (4 << 10));
        assert_eq!(inflated(&body, 1 << 20).unwrap().0.len(), 2 * most * (4 << 10));
    }

    #[test]
    fn a_bomb_goes_off_in_small_steps() {
        let (all, largest) = inflated(&gzipped(&vec![0; 64 << 20]), 1 << 20).unwrap();
        assert_eq!(all.len(), 64 << 20);
        assert!(largest <= 512 << 10, "{largest}");
    }

    #[test]
    fn a_body_that_is_cut_off_or_damaged_is_refused() {
        let body = gzipped(b"some text that is worth compressing, some text");
        for len in 1..body.len() {
            assert!(inflated(&body[..len], 1000).is_err(), "{len}");
        }
        let mut damaged = body.clone();
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        assert!(inflated(&damaged, 1000).is_err());
        assert!(inflated(&[&body[..], b"garbage behind it"].concat(), 1000).is_err());
    }

    #[test]
    fn a_body_that_becomes_too_large_is_given_up_at_the_limit() {
        let mut told = 0;
        let outcome: Result<_, Error> =
            decompress(&gzipped(&vec![0; 64 << 20]), Limit(1 << 20), |bytes| {
                told = bytes;
                Ok(())
            });
        assert_eq!(outcome, Err(Error::TooLarge { limit: 1 << 20 }));
        assert!(told <= 1 << 20, "{told}");
    }
}
