//! The HTTP side of writing: paths, headers, the body and its limits, the answer.
//!
//! In this order: which tenant, which form, is the rate spent, how many bytes, is there memory;
//! then the body is decoded. Answers are one line of text, or 204 and nothing.

mod import;
mod influx;
mod otlp;

use crate::error::Error;
use crate::pool::{Buffer, Reservation};
use crate::refusal::{Item, Refusals};
use crate::service::Distributor;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use guard::identity::TENANT_HEADER;
use guard::{Access, Limits};
use http_body_util::BodyExt;
use model::{Kind, Principal, RequestId, TenantId};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;
use wire::http_error::text_response;
use wire::remote_write::{Encoding, Form, Version};

/// Imports, whose bodies may have any length.
const JSON_LINES: &str = "/api/v1/import";
const EXPOSITION: &str = "/api/v1/import/prometheus";
const LINE_PROTOCOL: [&str; 2] = ["/write", "/api/v2/write"];

/// Whether a body sent to `path` may take as long as it is long. It is read as it comes, is slowed
/// down where its tenant's rate is spent, and is given up when its sender is silent.
#[must_use]
pub fn takes_any_length(path: &str) -> bool {
    [JSON_LINES, EXPOSITION].contains(&path) || LINE_PROTOCOL.contains(&path)
}

/// The write paths.
pub fn router(distributor: Distributor) -> Router {
    let mut router = Router::new();
    for prefix in ["", "/prometheus", "/api/prom"] {
        for path in ["/api/v1/push", "/api/v1/write"] {
            router = router.route(&format!("{prefix}{path}"), post(write));
        }
    }
    router = router
        .route(JSON_LINES, post(import::json_lines))
        .route(EXPOSITION, post(import::exposition))
        .route("/query", get(influx::query).post(influx::query));
    for path in LINE_PROTOCOL {
        router = router.route(path, post(import::line_protocol));
    }
    for path in ["/api/v1/otlp/v1/metrics", "/otlp/v1/metrics", "/v1/metrics"] {
        router = router.route(path, post(otlp::write));
    }
    router.route("/api/prom/push", post(write)).with_state(distributor)
}

async fn write(
    State(distributor): State<Distributor>,
    request: Request<Body>,
) -> axum::response::Response {
    let began_ns = distributor.parts().clock.monotonic_ns();
    let request_id = RequestId(distributor.parts().random());
    let span = tracing::info_span!("write", %request_id, tenant = tracing::field::Empty);
    let version = version_of(request.headers());
    let outcome = take(&distributor, request, request_id).instrument(span.clone()).await;
    let _entered = span.enter();
    let mut response = match &outcome {
        Ok(refusals) => match refusals.message() {
            None if refusals.is_deduplicated() => StatusCode::ACCEPTED.into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
            Some(message) => into_axum(text_response(Kind::Invalid, &message, 0, 0)),
        },
        Err(error) => refusal(&distributor, error),
    };
    if version.is_ok_and(|version| version == Version::Two) {
        tell_written(outcome.as_ref().ok(), response.headers_mut());
    }
    let took_ns = distributor.parts().clock.monotonic_ns().saturating_sub(began_ns);
    let seconds = Duration::from_nanos(took_ns).as_secs_f64();
    distributor.parts().telemetry.answered(response.status().as_u16(), seconds);
    response
}

fn into_axum(response: Response<String>) -> axum::response::Response {
    response.map(Body::from)
}

fn refusal(distributor: &Distributor, error: &Error) -> axum::response::Response {
    let kind = error.kind();
    match kind {
        // There may be very many of them, and each is counted.
        _ if error.is_overload() => tracing::debug!(%error, ?kind, "write refused"),
        Kind::Timeout | Kind::Unavailable | Kind::Internal | Kind::Corrupt => {
            tracing::warn!(%error, ?kind, "write not acknowledged");
        }
        _ => tracing::debug!(%error, ?kind, "write refused"),
    }
    let random = distributor.parts().random();
    into_axum(text_response(kind, &error.to_string(), error.retry_after_ms(), random))
}

fn version_of(headers: &HeaderMap) -> Result<Version, wire::remote_write::Error> {
    Version::of_content_type(one_value(headers, header::CONTENT_TYPE).as_deref())
}

/// Says how much of a 2.0 request is durable: nothing if it failed as a whole.
fn tell_written(refusals: Option<&Refusals>, headers: &mut HeaderMap) {
    for (name, item) in WRITTEN {
        let written = refusals.map_or(0, |refusals| refusals.written(item));
        headers.insert(HeaderName::from_static(name), HeaderValue::from(written));
    }
}

/// The headers that 2.0 counts in.
const WRITTEN: [(&str, Item); 3] = [
    ("x-prometheus-remote-write-samples-written", Item::Float),
    ("x-prometheus-remote-write-histograms-written", Item::Histogram),
    ("x-prometheus-remote-write-exemplars-written", Item::Exemplar),
];

/// Takes one write. What was not refused or dropped of it is durable.
async fn take(
    distributor: &Distributor,
    request: Request<Body>,
    request_id: RequestId,
) -> Result<Refusals, Error> {
    let parts = distributor.parts();
    let (head, body) = request.into_parts();
    let org_ids = head.headers.get_all(TENANT_HEADER).iter();
    let tenant = parts.tenancy.tenant(org_ids.map(|value| value.as_bytes()), Access::Write)?;
    tracing::Span::current().record("tenant", tenant.as_str());
    let encoding = one_value(&head.headers, header::CONTENT_ENCODING);
    let form = Form {
        version: version_of(&head.headers)?,
        encoding: Encoding::of_content_encoding(encoding.as_deref())?,
    };
    let limits = Arc::clone(parts.limits.of(&tenant));
    parts.admit(&tenant, &limits)?;

    let mut reservation = parts.budget.reserve(&tenant);
    let raw = collect(distributor, &tenant, &limits, &head.headers, body, &mut reservation).await?;
    let context = distributor.context(tenant, Principal::Anonymous, request_id);
    distributor.take(context, form, raw, reservation).await
}

/// The value of a header; several are one with commas between, as HTTP has it.
fn one_value(headers: &HeaderMap, name: HeaderName) -> Option<Cow<'_, [u8]>> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.collect();
    if rest.is_empty() {
        return Some(Cow::Borrowed(first));
    }
    Some(Cow::Owned([&[first], &*rest].concat().join(&b", "[..])))
}

/// Collects the body, and gives up as soon as it is too large or too slow.
async fn collect(
    distributor: &Distributor,
    tenant: &TenantId,
    limits: &Limits,
    headers: &HeaderMap,
    body: Body,
    reservation: &mut Reservation,
) -> Result<Buffer, Error> {
    let too_large = || guard::Error::RequestTooLarge {
        tenant: tenant.clone(),
        counted: "bytes",
        limit: limits.max_request_bytes.0,
        key: "max_request_bytes",
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let declared: u64 = declared.and_then(|text| text.parse().ok()).unwrap_or(0);
    if limits.max_request_bytes.is_exceeded_by(declared) {
        return Err(too_large().into());
    }
    reservation.raise_to(declared.min(FIRST_RESERVATION_MAX))?;
    let mut collected = distributor.parts().bodies.take();
    collected.clear();
    // Room that is not written to is not taken; a buffer that is moved as it grows is held twice.
    // Without that room the buffer grows with what comes: a declared length is no reason to fail.
    let room = usize::try_from(declared).unwrap_or(0).min(ROOM_BYTES_MAX);
    let _ = collected.try_reserve_exact(room);
    let timeout_ms = distributor.parts().config.body_timeout_ms;
    let began = tokio::time::Instant::now();
    let ends = began + Duration::from_millis(timeout_ms);
    let mut body = body;
    loop {
        let frame = tokio::time::timeout_at(ends.min(began + due(collected.len())), body.frame());
        let frame = match frame.await {
            Ok(Some(frame)) => frame.map_err(|error| Error::of_body(&error))?,
            Ok(None) => return Ok(collected),
            Err(_) => {
                let timeout_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(timeout_ms);
                return Err(Error::BodyTimeout { timeout_ms });
            }
        };
        let Some(data) = frame.data_ref() else { continue };
        let bytes = (collected.len() + data.len()) as u64;
        if limits.max_request_bytes.is_exceeded_by(bytes) {
            return Err(too_large().into());
        }
        reservation.raise_to(bytes)?;
        collected.extend_from_slice(data);
    }
}

/// When more than so many bytes have to be there: from the tenth second on, 1 KiB for each second.
fn due(bytes: usize) -> Duration {
    let seconds = (bytes as u64 / BODY_BYTES_PER_SECOND + 1).max(BODY_GRACE_SECONDS);
    Duration::from_secs(seconds)
}

/// A body that comes slower than this is given up,
const BODY_BYTES_PER_SECOND: u64 = 1024;
/// but not so soon.
const BODY_GRACE_SECONDS: u64 = 10;
/// A buffer has room for so much of what is declared from the start.
const ROOM_BYTES_MAX: usize = 64 << 20;
/// What a sender only declares does not reserve more than this.
const FIRST_RESERVATION_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests;
