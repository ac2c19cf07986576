//! Imports over HTTP: CONTRACTS.md section 8. 204 if everything was taken, 400 that names what was
//! not while the rest is written.

use super::{into_axum, one_value, refusal};
use crate::error::Error;
use crate::import::lines::Lines;
use crate::import::writer::Writer;
use crate::import::{Format, Import};
use crate::service::Distributor;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use guard::Access;
use guard::identity::TENANT_HEADER;
use model::{Kind, RequestId};
use std::collections::HashMap;
use std::time::Duration;
use tracing::Instrument;
use wire::http_error::text_response;
use wire::import::line_protocol::Precision;

/// The parameters of a request; of one that stands there twice the last counts.
type Parameters = HashMap<String, String>;

pub(super) async fn exposition(
    State(distributor): State<Distributor>,
    Query(parameters): Query<Parameters>,
    request: Request<Body>,
) -> Response {
    let now_ms = distributor.parts().clock.now().0;
    let format = match parameters.get("timestamp") {
        None => Ok(Format::Exposition { default_ms: now_ms }),
        Some(text) => match text.parse() {
            Ok(default_ms) => Ok(Format::Exposition { default_ms }),
            Err(_) => Err(parameter("timestamp", text, "milliseconds since 1970")),
        },
    };
    answer(distributor, format, request).await
}

pub(super) async fn json_lines(
    State(distributor): State<Distributor>,
    request: Request<Body>,
) -> Response {
    answer(distributor, Ok(Format::JsonLines), request).await
}

pub(super) async fn line_protocol(
    State(distributor): State<Distributor>,
    Query(parameters): Query<Parameters>,
    request: Request<Body>,
) -> Response {
    let text = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    let default_ms = distributor.parts().clock.now().0;
    let db = if text("db").is_empty() { text("bucket") } else { text("db") }.to_owned();
    let format = match Precision::parse(text("precision")) {
        Some(precision) => Ok(Format::LineProtocol { precision, default_ms, db }),
        None => Err(parameter("precision", text("precision"), "one of ns us ms s m h")),
    };
    answer(distributor, format, request).await
}

fn parameter(name: &'static str, value: &str, wanted: &'static str) -> Error {
    let value = value.chars().take(64).collect();
    Error::Parameter { name, value, wanted }
}

async fn answer(
    distributor: Distributor,
    format: Result<Format, Error>,
    request: Request<Body>,
) -> Response {
    let began_ns = distributor.parts().clock.monotonic_ns();
    let request_id = RequestId(distributor.parts().random());
    let span = tracing::info_span!("import", %request_id, tenant = tracing::field::Empty);
    let outcome = take(&distributor, format, request, request_id).instrument(span.clone()).await;
    let _entered = span.enter();
    let response = match outcome {
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Ok(Some(message)) => into_axum(text_response(Kind::Invalid, &message, 0, 0)),
        Err(error) => refusal(&distributor, &error),
    };
    let took_ns = distributor.parts().clock.monotonic_ns().saturating_sub(began_ns);
    let seconds = Duration::from_nanos(took_ns).as_secs_f64();
    distributor.parts().telemetry.answered(response.status().as_u16(), seconds);
    response
}

async fn take(
    distributor: &Distributor,
    format: Result<Format, Error>,
    request: Request<Body>,
    request_id: RequestId,
) -> Result<Option<String>, Error> {
    let format = format?;
    let parts = distributor.parts();
    let (head, body) = request.into_parts();
    let org_ids = head.headers.get_all(TENANT_HEADER).iter();
    let tenant = parts.tenancy.tenant(org_ids.map(|value| value.as_bytes()), Access::Write)?;
    tracing::Span::current().record("tenant", tenant.as_str());
    let encoding = one_value(&head.headers, header::CONTENT_ENCODING);
    let is_gzip = wire::gzip::is_gzip(encoding.as_deref())?;
    parts.admit_import(&tenant)?;
    let tenant = distributor.tenant(&tenant);
    let silence = Duration::from_millis(parts.config.body_timeout_ms);
    let line_bytes_max = tenant.limits.max_request_bytes;
    let reservation = parts.budget.reserve(&tenant.id);
    let lines = Lines::new((body, is_gzip), line_bytes_max, silence, reservation);
    let writer = Writer::new(distributor.clone(), tenant, request_id);
    Import { format, lines, writer }.run().await
}
