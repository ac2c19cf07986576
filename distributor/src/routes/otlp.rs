//! OTLP over HTTP: CONTRACTS.md section 6. The answer has the form of the request.
//!
//! What is refused of a request is told in a partial success, so that the sender does not send the
//! rest again. A fault of ours is 503, never 500: OTLP's senders do not come back after that one.

use super::{collect, into_axum, one_value};
use crate::batch::Batch;
use crate::error::Error;
use crate::otlp::{Growth, Translated, translate};
use crate::plan::Plan;
use crate::pool::{Buffer, Reservation};
use crate::refusal::{Item, Refusals};
use crate::service::{Distributor, INLINE_BYTES_MAX};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use guard::Access;
use guard::identity::TENANT_HEADER;
use model::{Context, Kind, Principal, RequestId, TimestampMs};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;
use wire::http_error::{self, text_response};
use wire::otlp::{self, Form};

/// Translating a byte costs some ten times what decoding it costs.
const INLINE_RAW_BYTES_MAX: usize = INLINE_BYTES_MAX / 16;

pub(super) async fn write(
    State(distributor): State<Distributor>,
    request: Request<Body>,
) -> axum::response::Response {
    let began_ns = distributor.parts().clock.monotonic_ns();
    let request_id = RequestId(distributor.parts().random());
    let span = tracing::info_span!("otlp", %request_id, tenant = tracing::field::Empty);
    let content_type = one_value(request.headers(), header::CONTENT_TYPE);
    let response = match Form::of(content_type.as_deref()) {
        Err(error) => into_axum(text_response(error.kind(), &error.to_string(), 0, 0)),
        Ok(form) => {
            drop(content_type);
            let outcome =
                take(&distributor, request, form, request_id).instrument(span.clone()).await;
            let _entered = span.enter();
            match outcome {
                Ok(taken) => answer(form, StatusCode::OK, taken.answer(form)),
                Err(error) => refusal(&distributor, form, &error),
            }
        }
    };
    let took_ns = distributor.parts().clock.monotonic_ns().saturating_sub(began_ns);
    let seconds = Duration::from_nanos(took_ns).as_secs_f64();
    distributor.parts().telemetry.answered(response.status().as_u16(), seconds);
    response
}

fn answer(form: Form, status: StatusCode, body: Vec<u8>) -> axum::response::Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(form.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

pub(super) fn refusal(
    distributor: &Distributor,
    form: Form,
    error: &Error,
) -> axum::response::Response {
    let kind = match error.kind() {
        Kind::Internal | Kind::Corrupt => {
            tracing::error!(%error, "OTLP write not acknowledged");
            Kind::Unavailable
        }
        kind @ (Kind::Timeout | Kind::Unavailable) => {
            tracing::warn!(%error, ?kind, "OTLP write not acknowledged");
            kind
        }
        kind => {
            tracing::debug!(%error, ?kind, "OTLP write refused");
            kind
        }
    };
    let body = otlp::error_answer(form, kind, &error.to_string());
    let mut response = answer(form, http_error::status(kind), body);
    let headers = response.headers_mut();
    if kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if http_error::has_retry_after(kind) {
        let random = distributor.parts().random();
        let seconds = http_error::retry_after_s(error.retry_after_ms(), random);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What became of a request.
#[derive(Debug, Default)]
struct Taken {
    points: u64,
    refusals: Refusals,
}

impl Taken {
    /// A point may have become many samples, so those refused may be more than there were points.
    fn answer(&self, form: Form) -> Vec<u8> {
        let samples = self.refusals.refused(Item::Float) + self.refusals.refused(Item::Histogram);
        match self.refusals.message() {
            Some(message) => otlp::partial_answer(form, samples.min(self.points), &message),
            None => otlp::empty_answer(form),
        }
    }
}

async fn take(
    distributor: &Distributor,
    request: Request<Body>,
    form: Form,
    request_id: RequestId,
) -> Result<Taken, Error> {
    let parts = distributor.parts();
    let (head, body) = request.into_parts();
    let org_ids = head.headers.get_all(TENANT_HEADER).iter();
    let tenant = parts.tenancy.tenant(org_ids.map(|value| value.as_bytes()), Access::Write)?;
    tracing::Span::current().record("tenant", tenant.as_str());
    let encoding = one_value(&head.headers, header::CONTENT_ENCODING);
    let is_gzip = wire::gzip::is_gzip(encoding.as_deref())?;
    let limits = Arc::clone(parts.limits.of(&tenant));
    parts.admit(&tenant, &limits)?;

    let mut reservation = parts.budget.reserve(&tenant);
    let raw = collect(distributor, &tenant, &limits, &head.headers, body, &mut reservation).await?;
    let context = Arc::new(distributor.context(tenant.clone(), Principal::Anonymous, request_id));
    let is_small = raw.len() <= INLINE_RAW_BYTES_MAX && !is_gzip;
    let decode =
        Decode { distributor: distributor.clone(), context, raw, form, is_gzip, reservation };
    let (translated, planned) = if is_small {
        decode.run()?
    } else {
        let task = tokio::task::spawn_blocking(|| decode.run());
        task.await.map_err(|error| Error::Internal(error.to_string()))??
    };
    let Translated { points, refusals: untranslated, .. } = translated;
    let mut refusals = Refusals::default();
    if let Some((batch, plan, now)) = planned {
        let items = batch.refusals.charged();
        if items > 0 {
            parts.charge(&batch.tenant, items)?;
        }
        refusals = distributor.send(batch, plan, now).await?;
    }
    // It may have begun just now.
    let tenant = distributor.tenant(&tenant);
    parts.telemetry.receive(&tenant, &untranslated);
    parts.telemetry.refused(&tenant, &untranslated);
    refusals.follow(untranslated);
    Ok(Taken { points, refusals })
}

/// The CPU work of one request.
struct Decode {
    distributor: Distributor,
    context: Arc<Context>,
    raw: Buffer,
    form: Form,
    is_gzip: bool,
    reservation: Reservation,
}

/// A batch and where it goes; none if nothing is left of the request.
type Planned = Option<(Batch, Plan, TimestampMs)>;

impl Decode {
    fn run(self) -> Result<(Translated, Planned), Error> {
        let Self { distributor, context, raw, form, is_gzip, mut reservation } = self;
        let tenant = distributor.tenant(&context.tenant);
        let limit = tenant.limits.max_decoded_bytes;
        // What a body was made of is let go before it is made into something else: two at a time.
        let mut body = Bytes::Sent(raw);
        if is_gzip {
            let sent = body.len() as u64;
            let grow = |bytes: usize| reservation.raise_to(sent + bytes as u64);
            body = Bytes::Made(wire::gzip::decompress(&body, limit, grow)?);
        }
        if limit.is_exceeded_by(body.len() as u64) {
            return Err(tenant.too_many_bytes_decoded().into());
        }
        if form == Form::Json {
            body = Bytes::Made(from_json(&body, &tenant, &mut reservation)?);
        }
        let growth = Growth { base_bytes: body.len() as u64, reservation: &mut reservation };
        let mut translated = translate(&body, &tenant, context.now, growth)?;
        drop(body);
        let message = std::mem::take(&mut translated.message);
        if message.request.is_empty() {
            return Ok((translated, None));
        }
        let planned = distributor.resolve_translated(context, message, reservation)?;
        Ok((translated, Some(planned)))
    }
}

/// A body as it was sent, or as something was made of it.
enum Bytes {
    Sent(Buffer),
    Made(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Sent(buffer) => buffer,
            Self::Made(bytes) => bytes,
        }
    }
}

/// How far bytes out of JSON grow between two questions.
const STEP_BYTES: u64 = 64 << 10;

/// The protobuf bytes of a JSON body, within the tenant's limit and paid for.
fn from_json(
    body: &[u8],
    tenant: &crate::tenant::Tenant,
    reservation: &mut Reservation,
) -> Result<Vec<u8>, Error> {
    let (mut unpaid, held) = (None, body.len() as u64);
    let bytes = otlp::from_json(body, &mut |bytes| {
        let bytes = bytes as u64;
        let paid = match tenant.limits.max_decoded_bytes.is_exceeded_by(bytes) {
            true => Err(tenant.too_many_bytes_decoded().into()),
            // They may grow so much before the next question.
            false => reservation.raise_to(held + bytes + STEP_BYTES),
        };
        paid.map_err(|error| unpaid = Some(error)).is_ok()
    });
    match unpaid {
        Some(error) => Err(error),
        None => Ok(bytes?),
    }
}
