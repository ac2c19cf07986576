//! OTLP metrics over HTTP as bytes: which form a request came in, the way through its message, and
//! the answer in the same form. What is accepted: CONTRACTS.md section 6.
//!
//! There is one way through a message: over its protobuf bytes, in place (`view.rs`, `point.rs`). JSON is
//! rewritten into those first (`json.rs`), so nothing after it knows which form was sent.
//!
//! # Invariants
//! - Any bytes give an answer or an error, never a panic, in time linear in their number, and
//!   without taking memory that they only claim to need.
//!
//! Not here: what the metrics are called here (`distributor::otlp`).

mod answer;
mod any_value;
mod fields;
mod json;
mod point;
mod view;

pub use answer::{empty_answer, error_answer, partial_answer};
pub use any_value::{AnyValue, Attributes, KeyValue, NoText, TEXT_BYTES_MAX};
pub use fields::{Numbers, Repeated};
pub use json::from_json;
pub use point::{ExemplarPoint, ExponentialBuckets, Point, PointValue};
pub use view::{Data, Metric, Request, ResourceMetrics, ScopeMetrics, Temporality};

use crate::protobuf::ProtobufError;
use model::Kind;

/// Why an OTLP request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither of the two forms.
    #[error("content type {0:?} is not supported, send application/x-protobuf or application/json")]
    ContentType(String),
    /// Not an `ExportMetricsServiceRequest`.
    #[error("protobuf: {0}")]
    Protobuf(#[from] ProtobufError),
    /// Not its JSON.
    #[error("json: {0}")]
    Json(String),
    /// Attributes inside of attributes, without an end.
    #[error("attribute values nest deeper than {0}")]
    Depth(usize),
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ContentType(_) => Kind::Unsupported,
            Self::Protobuf(_) | Self::Json(_) | Self::Depth(_) => Kind::Invalid,
        }
    }
}

/// The form of a request, and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Form {
    /// The form that a content type names; parameters are allowed.
    ///
    /// # Errors
    /// [`Error::ContentType`], also if there is none.
    pub fn of(content_type: Option<&[u8]>) -> Result<Self, Error> {
        let value = content_type.unwrap_or_default();
        let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if media_type.eq_ignore_ascii_case(b"application/x-protobuf") {
            Ok(Self::Protobuf)
        } else if media_type.eq_ignore_ascii_case(b"application/json") {
            Ok(Self::Json)
        } else {
            Err(Error::ContentType(crate::remote_write::form::shown(value)))
        }
    }

    /// The content type of an answer in this form.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

#[cfg(test)]
mod tests;
