//! What an error is called over HTTP: the only place that maps a [`Kind`] to a status.
//!
//! A transient fault on our side is never a 4xx, and a timeout is 503, never 408: senders throw
//! samples away on a 4xx.
//!
//! Not here: the JSON envelope of the query API (`querier`).

use http::{HeaderValue, Response, StatusCode, header};
use model::Kind;
use std::error::Error;
use std::io;

/// The client left before the answer; nginx' number, which the field knows.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The longest error text on the wire, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The status of an error.
#[must_use]
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unexecutable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Canceled => {
            StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST)
        }
        Kind::Timeout | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Corrupt | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What it asks of a sender that its body cannot be read: bytes that are no HTTP are its fault, one that
/// took too long may come again, else it has left.
#[must_use]
pub fn unreadable_body(error: &(dyn Error + 'static)) -> Kind {
    let mut next = Some(error);
    while let Some(one) = next {
        match one.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => return Kind::Invalid,
            Some(io::ErrorKind::TimedOut) => return Kind::Timeout,
            _ => {}
        }
        next = one.source();
    }
    Kind::Canceled
}

/// The `errorType` of the query API.
#[must_use]
pub fn error_type(kind: Kind) -> &'static str {
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

/// Whether an answer of this kind says when to come again.
#[must_use]
pub fn has_retry_after(kind: Kind) -> bool {
    matches!(kind, Kind::Limited | Kind::Timeout | Kind::Unavailable)
}

/// The value of `Retry-After`: whole seconds, at least 1, not before `wait_ms`, and up to half as
/// long again, so that those who were turned away together do not come back together.
///
/// `random` is any number; all of its bits count.
#[must_use]
pub fn retry_after_s(wait_ms: u64, random: u64) -> u64 {
    let least = wait_ms.div_ceil(1000).clamp(1, 3600);
    let spread = least.div_ceil(2) + 1;
    least + random % spread
}

/// An error as one line of text: how write paths answer.
///
/// `wait_ms` is how long the caller had better wait, 0 if nobody knows.
#[must_use]
pub fn text_response(kind: Kind, message: &str, wait_ms: u64, random: u64) -> Response<String> {
    let mut response = Response::new(one_line(message));
    *response.status_mut() = status(kind);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if has_retry_after(kind) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s(wait_ms, random)));
    }
    response
}

/// `text` without control characters, cut at a bound, a line feed at its end.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT_BYTES_MAX) + 1);
    for c in text.chars() {
        if line.len() >= TEXT_BYTES_MAX {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading the body failed")]
    struct Around(#[source] io::Error);

    #[test]
    fn a_body_that_cannot_be_read_is_no_http_or_too_slow_or_its_sender_has_left() {
        for (kind, wanted) in [
            (io::ErrorKind::InvalidInput, Kind::Invalid),
            (io::ErrorKind::InvalidData, Kind::Invalid),
            (io::ErrorKind::TimedOut, Kind::Timeout),
            (io::ErrorKind::UnexpectedEof, Kind::Canceled),
            (io::ErrorKind::ConnectionReset, Kind::Canceled),
        ] {
            let inner = io::Error::new(kind, "inside");
            assert_eq!(unreadable_body(&inner), wanted, "{kind:?}");
            // The server's own error is around it.
            let outer = Around(inner);
            assert_eq!(unreadable_body(&outer), wanted, "{kind:?}");
        }
    }

    #[test]
    fn every_kind_has_the_status_and_the_error_type_of_the_contract() {
        let rows = [
            (Kind::Invalid, 400, "bad_data"),
            (Kind::Unauthenticated, 401, "unauthorized"),
            (Kind::Denied, 403, "forbidden"),
            (Kind::Unexecutable, 422, "execution"),
            (Kind::Limited, 429, "too_many_requests"),
            (Kind::NotFound, 404, "not_found"),
            (Kind::TooLarge, 413, "bad_data"),
            (Kind::Unsupported, 415, "bad_data"),
            (Kind::Canceled, 499, "canceled"),
            (Kind::Timeout, 503, "timeout"),
            (Kind::Unavailable, 503, "unavailable"),
            (Kind::Corrupt, 500, "internal"),
            (Kind::Internal, 500, "internal"),
        ];
        for (kind, code, name) in rows {
            assert_eq!((status(kind).as_u16(), error_type(kind)), (code, name), "{kind:?}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_from_one_on_and_never_too_early() {
        for wait_ms in [0, 1, 999, 1000, 1001, 59_999, u64::MAX] {
            for random in [0, 1, 7, u64::MAX] {
                let seconds = retry_after_s(wait_ms, random);
                let least = wait_ms.div_ceil(1000).clamp(1, 3600);
                assert!(seconds >= least && seconds <= least * 2, "{wait_ms} {random}");
            }
        }
    }

    #[test]
    fn retry_after_is_spread() {
        assert_ne!(retry_after_s(10_000, 0), retry_after_s(10_000, 1));
    }

    #[test]
    fn an_error_text_is_one_line_of_plain_text_whatever_stands_in_it() {
        let response = text_response(Kind::Invalid, "a\r\nSet-Cookie: b\u{0}", 0, 0);
        assert_eq!(response.body(), "a  Set-Cookie: b \n");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn an_error_text_is_bounded() {
        let response = text_response(Kind::Invalid, &"é".repeat(1 << 20), 0, 0);
        assert!(response.body().len() <= TEXT_BYTES_MAX + 3);
    }

    #[test]
    fn who_shall_come_again_is_told_when() {
        for kind in [Kind::Limited, Kind::Timeout, Kind::Unavailable] {
            let response = text_response(kind, "x", 2500, 0);
            assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        }
    }

    #[test]
    fn who_shall_show_who_they_are_is_told_how() {
        let response = text_response(Kind::Unauthenticated, "no org id", 0, 0);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
