//! The small page at `/`: clients probe it, people read it.

use crate::call::Call;
use crate::error::Error;
use crate::querier::Querier;
use axum::response::{Html, IntoResponse, Response};

/// Paths worth knowing. Tenant names hold no character that HTML would read as its own.
pub(crate) async fn page(querier: Querier, call: Call) -> Result<Response, Error> {
    let version = &querier.inner.version;
    let tenant = &call.context.tenant;
    let text = format!(
        "<!doctype html><title>Cumae</title><h1>Cumae {version}</h1>\
         <p>Tenant: <code>{tenant}</code></p><ul>\
         <li><code>POST /api/v1/write</code>, <code>/api/v1/push</code>: remote write</li>\
         <li><code>/api/v1/query</code>, <code>/api/v1/query_range</code>: PromQL</li>\
         <li><a href=\"/api/v1/labels\">/api/v1/labels</a></li>\
         <li><a href=\"/api/v1/status/buildinfo\">/api/v1/status/buildinfo</a></li>\
         <li><a href=\"/metrics\">/metrics</a>, <a href=\"/-/ready\">/-/ready</a></li></ul>\n"
    );
    Ok(Html(text).into_response())
}
