//! A request as the handlers see it: for whom, with which parameters.

use crate::error::Error;
use crate::params::{BODY_BYTES_MAX, Params};
use crate::querier::Querier;
use axum::RequestPartsExt;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use bytes::Bytes;
use guard::identity::TENANT_HEADER;
use guard::{Access, Tenancy};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::{Context, Kind, Principal, TenantId};
use std::sync::Arc;
use std::time::Duration;
use wire::http_error::unreadable_body;

/// The longest a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// Whether a request may name tenants that the caller does not have, beside one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Several {
    /// Yes: the answer is the same for all of them.
    Accepted,
    /// No.
    Refused,
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyIs {
    /// Parameters, if it is a form; else nothing.
    Form,
    /// A message, of which the handler knows the form.
    Message,
}

/// The manners of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What the caller wants to do with the tenant.
    pub(crate) access: Access,
    /// Whether several tenants may be named.
    pub(crate) several: Several,
    /// What the body is.
    pub(crate) body: BodyIs,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who asks, for whom.
    pub(crate) context: Arc<Context>,
    /// What is asked.
    pub(crate) params: Params,
    /// The label that the path names, as written there; empty on other paths.
    pub(crate) path_label: String,
    /// The body, where it is a message; else empty.
    pub(crate) message: Bytes,
    /// What the caller says about the request.
    pub(crate) headers: HeaderMap,
}

impl Call {
    /// Settles the tenant, then reads the parameters.
    ///
    /// # Errors
    /// 401, 403 or 400 for the tenant; 400 or 413 for the parameters.
    pub(crate) async fn read(
        querier: &Querier,
        manner: Manner,
        request: Request<Body>,
    ) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let Manner { access, several, .. } = manner;
        let tenant = tenant(&querier.inner.tenancy, access, several, &parts.headers)?;
        let timeout_ms = querier.limits_of(&tenant).timeout_ms.0;
        let context = Context {
            tenant,
            principal: Principal::Anonymous,
            request_id: querier.next_request_id(),
            timeout_ms: u32::try_from(timeout_ms).unwrap_or(u32::MAX),
            now: querier.inner.clock.now(),
            ring_version: 0,
        };
        let (form, message) = match manner.body {
            BodyIs::Form => (read_form(&parts, body).await?, Bytes::new()),
            BodyIs::Message => (None, read_body(body, "request").await?),
        };
        let params = Params::parse(form.as_deref(), parts.uri.query())?;
        let path: Result<Path<String>, PathRejection> = parts.extract().await;
        let path_label = match path {
            Ok(Path(label)) => label,
            Err(PathRejection::FailedToDeserializePathParams(error)) if is_bad_path(&error) => {
                return Err(Error::invalid("the path is not UTF-8"));
            }
            Err(_) => String::new(),
        };
        let (context, headers) = (Arc::new(context), parts.headers);
        Ok(Self { context, params, path_label, message, headers })
    }
}

/// The one tenant that a reader means.
pub(crate) fn tenant_of(tenancy: &Tenancy, headers: &HeaderMap) -> Result<TenantId, guard::Error> {
    tenant_with(tenancy, Access::Read, headers)
}

/// The one tenant that a caller means who wants to do this.
fn tenant_with(
    tenancy: &Tenancy,
    access: Access,
    headers: &HeaderMap,
) -> Result<TenantId, guard::Error> {
    let values = headers.get_all(TENANT_HEADER).iter().map(HeaderValue::as_bytes);
    tenancy.tenant(values, access)
}

/// The tenant of a request, or the first of several where that does not matter.
fn tenant(
    tenancy: &Tenancy,
    access: Access,
    several: Several,
    headers: &HeaderMap,
) -> Result<TenantId, Error> {
    match tenant_with(tenancy, access, headers) {
        Err(guard::Error::Denied | guard::Error::TooManyOrgIds(_))
            if several == Several::Accepted =>
        {
            let values = headers.get_all(TENANT_HEADER).iter().map(HeaderValue::as_bytes);
            let first = values.filter_map(|value| value.split(|byte| *byte == b'|').next());
            Ok(tenancy.tenant(first, Access::Read)?)
        }
        tenant => Ok(tenant?),
    }
}

fn is_bad_path(error: &axum::extract::rejection::FailedToDeserializePathParams) -> bool {
    matches!(error.kind(), axum::extract::path::ErrorKind::InvalidUtf8InPathParam { .. })
}

async fn read_form(parts: &Parts, body: Body) -> Result<Option<Bytes>, Error> {
    let content_type = parts.headers.get(header::CONTENT_TYPE).map_or("", |value| {
        let media_type = value.to_str().unwrap_or("").split(';').next();
        media_type.unwrap_or("").trim()
    });
    if !matches!(parts.method, Method::POST | Method::PUT)
        || !content_type.eq_ignore_ascii_case(FORM_TYPE)
    {
        return Ok(None);
    }
    read_body(body, "form").await.map(Some)
}

/// All of a body. `what` it is stands in the refusals.
async fn read_body(body: Body, what: &str) -> Result<Bytes, Error> {
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect());
    match body.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the {what} has more than {BODY_BYTES_MAX} bytes");
            Err(Error::new(Kind::TooLarge, text))
        }
        Ok(Err(error)) => {
            let kind = unreadable_body(&*error);
            Err(Error::new(kind, format!("the {what} did not arrive whole: {error}")))
        }
        Err(_) => Err(Error::new(Kind::Timeout, format!("the {what} did not arrive in time"))),
    }
}
