//! What can go wrong with a query, and how the caller reads it.
//!
//! Not here: which status and `errorType` a [`Kind`] has (`wire::http_error`).

use crate::json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use model::Kind;
use promql::SourceError;
use wire::http_error;

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of this kind.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The caller has to fix the request.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The caller has to fix this parameter.
    pub(crate) fn param(key: &str, reason: impl std::fmt::Display) -> Self {
        Self::invalid(format!("invalid parameter {key:?}: {reason}"))
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The envelope. `random` spreads the retries of those who were turned away together.
    pub(crate) fn into_response(self, random: u64) -> Response {
        let mut body = b"{\"status\":\"error\",\"errorType\":".to_vec();
        json::push_string(&mut body, http_error::error_type(self.kind));
        body.extend_from_slice(b",\"error\":");
        json::push_string(&mut body, &self.message);
        body.push(b'}');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = http_error::status(self.kind);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if http_error::has_retry_after(self.kind) {
            let wait = http_error::retry_after_s(0, random);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}

impl Error {
    /// One line of text: how the routes answer that have no envelope.
    pub(crate) fn into_text(self, random: u64) -> Response {
        http_error::text_response(self.kind, &self.message, 0, random).map(Body::from)
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

impl From<guard::Error> for Error {
    fn from(error: guard::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}
