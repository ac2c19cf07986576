//! The languages in which samples can be sent.

use crate::remote_write::{self, HEADERS, HEADERS_V2};
use crate::{otlp, remote_write_2};

/// How samples are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Remote write 1.0.
    #[default]
    RemoteWrite1,
    /// Remote write 2.0.
    RemoteWrite2,
    /// OTLP over HTTP, protobuf, not compressed.
    Otlp,
}

impl Protocol {
    /// The headers of a request.
    #[must_use]
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::RemoteWrite1 => &HEADERS,
            Self::RemoteWrite2 => &HEADERS_V2,
            Self::Otlp => {
                &[("Content-Type", "application/x-protobuf"), ("User-Agent", "cumae-bench")]
            }
        }
    }

    /// The path that a server of ours takes it at.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::RemoteWrite1 | Self::RemoteWrite2 => "/api/v1/write",
            Self::Otlp => "/otlp/v1/metrics",
        }
    }

    /// A body without samples.
    pub(crate) fn body(self) -> Body {
        match self {
            Self::RemoteWrite1 => Body::RemoteWrite1(Vec::new()),
            Self::RemoteWrite2 => Body::RemoteWrite2(remote_write_2::Request::default()),
            Self::Otlp => Body::Otlp(otlp::Request::default()),
        }
    }
}

/// A request's body in the making.
#[derive(Debug)]
pub(crate) enum Body {
    RemoteWrite1(Vec<u8>),
    RemoteWrite2(remote_write_2::Request),
    Otlp(otlp::Request),
}

impl Body {
    /// Adds samples of the series whose labels [`remote_write::push_label`] has encoded.
    pub(crate) fn push(&mut self, labels: &[u8], samples: &[(i64, f64)]) {
        match self {
            Self::RemoteWrite1(message) => remote_write::push_series(message, labels, samples),
            Self::RemoteWrite2(request) => request.push(labels, samples),
            Self::Otlp(request) => request.push(labels, samples),
        }
    }

    /// The bytes to send.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::RemoteWrite1(message) => remote_write::compress(&message),
            Self::RemoteWrite2(request) => remote_write::compress(&request.finish()),
            Self::Otlp(request) => request.finish(),
        }
    }
}
