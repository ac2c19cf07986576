//! Remote write as bytes, 1.0 and 2.0: which form a body came in, its packing, and the way through it.
//!
//! Nothing is copied and nothing is allocated per series, label or float sample: [`Walk`] goes
//! through the decoded bytes and hands out slices of them. In 2.0 the places of a request's symbols
//! are kept once ([`SymbolTable`]). Native histograms are decoded one by one. What the messages are:
//! CONTRACTS.md 5.4.
//!
//! # Invariants
//! - The length a body declares is checked before memory is taken (`body.rs`).
//! - Any bytes give an answer or an error, never a panic, in time linear in their number.
//!
//! Not here: what labels may look like (`distributor::validate`).

mod body;
mod encode;
mod encode_v2;
mod exemplar;
mod extra;
pub(crate) mod form;
mod histogram;
mod labels;
mod metadata;
mod series;
mod symbols;
mod walk;

pub use crate::protobuf::ProtobufError;
pub use body::{compress, decoded_len, decompress};
pub use encode::{encode_extras, encode_metadata, encode_series};
pub(crate) use encode::{push_float, push_histogram_sample, push_labels};
pub use encode_v2::{RequestV2, SeriesV2};
pub use exemplar::ExemplarView;
pub use extra::{Extra, ExtraIter};
pub use form::{Encoding, Form, Version};
pub use histogram::HistogramView;
pub use labels::{LabelIter, Piece, PieceIter, RawLabels, ReferenceIter};
pub use metadata::{MetadataRefs, MetadataView};
pub use series::{SampleColumns, SeriesView, Tail};
pub use symbols::{SymbolTable, Symbols};
pub use walk::{Field, Walk};

use model::Kind;

/// Why a remote-write body is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// Not a media type of remote write.
    #[error("content type {0:?} is not supported, send application/x-protobuf")]
    ContentType(String),
    /// Neither snappy nor zstd.
    #[error("content encoding {0:?} is not supported, send snappy")]
    ContentEncoding(String),
    /// More bytes than the tenant may send.
    #[error("{form} of {bytes} bytes is over the limit of {limit} ({key})")]
    TooLarge { form: &'static str, bytes: u64, limit: u64, key: &'static str },
    /// Not a snappy block.
    #[error("snappy: {0}")]
    Snappy(String),
    /// Not a zstd frame that says how long its content is.
    #[error("zstd: {0}")]
    Zstd(String),
    /// Not the message it ought to be.
    #[error("protobuf: {0}")]
    Protobuf(#[from] ProtobufError),
    /// The message of the other version under the content type of this one.
    #[error(
        "the body has only fields of the other version of remote write, but its content type says {}",
        .0.message()
    )]
    OtherVersion(Version),
    /// A reference to a symbol that is not there.
    #[error("symbol {reference} does not exist, there are {symbols}")]
    Symbol { reference: u32, symbols: usize },
    /// A label name without a value.
    #[error("an odd number of label references")]
    OddReferences,
    /// A table that does not begin as it has to.
    #[error("the first symbol is not empty")]
    FirstSymbol,
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ContentType(_) | Self::ContentEncoding(_) => Kind::Unsupported,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Snappy(_)
            | Self::Zstd(_)
            | Self::Protobuf(_)
            | Self::OtherVersion(_)
            | Self::Symbol { .. }
            | Self::OddReferences
            | Self::FirstSymbol => Kind::Invalid,
        }
    }
}

#[cfg(test)]
mod tests;
