//! What can go wrong with a query, and how the caller reads it.
//!
//! The status of a [`Kind`] is `wire::http_error`'s business; the `errorType` beside it is ours.

use crate::json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::Kind;
use promql::SourceError;

/// A query that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The caller has to fix the request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The caller has to fix this parameter.
    pub fn param(key: &str, reason: impl std::fmt::Display) -> Self {
        Self::invalid(format!("invalid parameter {key:?}: {reason}"))
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

/// The word that the envelope has for a kind.
pub(crate) fn error_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::TooLarge | Kind::Unsupported => "bad_data",
        Kind::Unauthenticated => "unauthorized",
        Kind::Denied => "forbidden",
        Kind::Unexecutable => "execution",
        Kind::Limited => "too_many_requests",
        Kind::NotFound => "not_found",
        Kind::Canceled => "canceled",
        Kind::Timeout => "timeout",
        Kind::Unavailable => "unavailable",
        Kind::Corrupt | Kind::Internal => "internal",
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut body = b"{\"status\":\"error\",\"errorType\":".to_vec();
        json::push_string(&mut body, error_type(self.kind));
        body.extend_from_slice(b",\"error\":");
        json::push_string(&mut body, &self.message);
        body.push(b'}');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status(self.kind);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

fn status(kind: Kind) -> axum::http::StatusCode {
    use axum::http::StatusCode;
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
