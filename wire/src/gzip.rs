//! Gzip bodies, decompressed within a bound: what a body claims to become is never believed.

use guard::Limit;
use model::Kind;
use std::io::Read;

/// Why a body cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
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
            Self::Damaged(_) => Kind::Invalid,
            Self::TooLarge { .. } => Kind::TooLarge,
        }
    }
}

/// So much is decompressed at once.
const STEP_BYTES: usize = 64 << 10;

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
    let mut decoder = flate2::read::MultiGzDecoder::new(body);
    let mut decoded = Vec::new();
    let mut step = vec![0; STEP_BYTES];
    loop {
        let read = decoder.read(&mut step).map_err(|error| Error::Damaged(error.to_string()))?;
        if read == 0 {
            return Ok(decoded);
        }
        let bytes = decoded.len() + read;
        if limit.is_exceeded_by(bytes as u64) {
            return Err(Error::TooLarge { limit: limit.0 }.into());
        }
        grow(bytes)?;
        decoded.extend_from_slice(&step[..read]);
    }
}
