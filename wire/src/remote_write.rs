//! Remote write 1.0 as bytes: which form it came in, its snappy block, and the way through it.
//!
//! Nothing is copied and nothing is allocated per series, label or float sample: [`Walk`] goes
//! through the decoded bytes and hands out slices of them. Native histograms are decoded one by one. What the messages are: CONTRACTS.md 5.4.
//!
//! # Invariants
//! - The length a snappy block declares is checked against the limit, and against what its bytes
//!   could ever expand to, before memory is taken.
//! - Any bytes give an answer or an error, never a panic, in time linear in their number.
//!
//! Not here: what labels may look like (`distributor::validate`).

mod encode;
mod exemplar;
mod histogram;
mod walk;

pub use crate::protobuf::ProtobufError;
pub use encode::{encode_extras, encode_metadata, encode_series};
pub(crate) use encode::{push_float, push_histogram_sample, push_labels};
pub use exemplar::ExemplarView;
pub use histogram::HistogramView;
pub use walk::{
    Extra, ExtraIter, Field, LabelIter, MetadataView, SampleColumns, SeriesView, Tail, Walk,
};

use guard::Limit;
use model::Kind;

/// Why a remote-write body is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// Not a media type of remote write.
    #[error("content type {0:?} is not supported, send application/x-protobuf")]
    ContentType(String),
    /// Remote write 2.0.
    #[error(
        "remote write 2.0 (io.prometheus.write.v2.Request) is not supported yet, send prometheus.WriteRequest"
    )]
    Version2,
    /// Not snappy.
    #[error("content encoding {0:?} is not supported, send snappy")]
    ContentEncoding(String),
    /// More bytes than the tenant may send.
    #[error("{form} body of {bytes} bytes is over the limit of {limit} ({key})")]
    TooLarge { form: &'static str, bytes: u64, limit: u64, key: &'static str },
    /// Not a snappy block.
    #[error("snappy: {0}")]
    Snappy(String),
    /// Not a `WriteRequest`.
    #[error("protobuf: {0}")]
    Protobuf(#[from] ProtobufError),
    /// The message of the other version under the content type of this one.
    #[error(
        "the body has only fields of remote write 2.0, but its content type says prometheus.WriteRequest"
    )]
    OnlyVersion2Fields,
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ContentType(_) | Self::Version2 | Self::ContentEncoding(_) => Kind::Unsupported,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Snappy(_) | Self::Protobuf(_) | Self::OnlyVersion2Fields => Kind::Invalid,
        }
    }
}

/// Checks that a request is remote write 1.0 in snappy, by its headers alone.
///
/// # Errors
/// [`Error`] of kind `Unsupported` names what came.
pub fn check_headers(
    content_type: Option<&[u8]>,
    content_encoding: Option<&[u8]>,
) -> Result<(), Error> {
    if let Some(value) = content_type {
        check_content_type(value)?;
    }
    match content_encoding {
        // Without the header snappy is meant: old senders leave it out.
        None => Ok(()),
        Some(value) if value.trim_ascii().eq_ignore_ascii_case(b"snappy") => Ok(()),
        Some(value) => Err(Error::ContentEncoding(shown(value))),
    }
}

fn check_content_type(value: &[u8]) -> Result<(), Error> {
    let unknown = || Error::ContentType(shown(value));
    let text = std::str::from_utf8(value).map_err(|_| unknown())?;
    let mut parts = text.split(';');
    let media_type = parts.next().unwrap_or_default().trim();
    if media_type.is_empty() && parts.next().is_none() {
        return Ok(());
    }
    if !media_type.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(unknown());
    }
    for parameter in text.split(';').skip(1) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("proto") {
            return match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Ok(()),
                "io.prometheus.write.v2.Request" => Err(Error::Version2),
                _ => Err(unknown()),
            };
        }
    }
    Ok(())
}

/// The start of a header's value, fit for an error text.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned()
}

/// Three bytes of a snappy block make at most 64: a copy of the longest kind.
const EXPANSION_MAX: u64 = 22;

/// The length a snappy block declares, checked: it is within the limit, and its bytes could
/// expand to it.
///
/// # Errors
/// [`Error::TooLarge`] or [`Error::Snappy`]; no memory was taken.
pub fn decoded_len(body: &[u8], limit: Limit) -> Result<usize, Error> {
    let declared = snap::raw::decompress_len(body).map_err(|error| snappy(&error))?;
    let bytes = declared as u64;
    if limit.is_exceeded_by(bytes) || bytes > u64::from(u32::MAX) {
        let limit = limit.get().min(u64::from(u32::MAX));
        return Err(Error::TooLarge { form: "decoded", bytes, limit, key: "max_decoded_bytes" });
    }
    if bytes > (body.len() as u64).saturating_mul(EXPANSION_MAX) {
        let text = format!("{} bytes cannot hold the {bytes} they declare", body.len());
        return Err(Error::Snappy(text));
    }
    Ok(declared)
}

/// Decompresses a body into `buffer` and returns how many bytes of it are the message.
///
/// The buffer only grows, so one that is used again costs nothing.
///
/// # Errors
/// As [`decoded_len`], and [`Error::Snappy`] if the block is damaged.
pub fn decompress(body: &[u8], limit: Limit, buffer: &mut Vec<u8>) -> Result<usize, Error> {
    let len = decoded_len(body, limit)?;
    if buffer.len() < len {
        // What it holds is of no use, and bodies of one sender are of about one size.
        buffer.clear();
        buffer.reserve_exact(len + len / 8);
        buffer.resize(len, 0);
    }
    snap::raw::Decoder::new().decompress(body, &mut buffer[..len]).map_err(|error| snappy(&error))
}

fn snappy(error: &snap::Error) -> Error {
    Error::Snappy(error.to_string())
}

#[cfg(test)]
mod tests;
