//! The small page at `/`: clients probe it, people read it.

use crate::call::tenant_of;
use crate::querier::Querier;
use axum::http::HeaderMap;
use axum::response::Html;

/// Paths worth knowing, for anybody: a request that names no tenant, or not its own, reads that.
/// Tenant names hold no character that HTML would read as its own.
pub(crate) fn page(querier: &Querier, headers: &HeaderMap) -> Html<String> {
    let version = &querier.inner.version;
    let tenant = match tenant_of(&querier.inner.tenancy, headers) {
        Ok(tenant) => format!("Tenant: <code>{tenant}</code>"),
        Err(_) => "No tenant of yours is named: send the header <code>X-Scope-OrgID</code>".into(),
    };
    Html(format!(
        "<!doctype html><title>Cumae</title><h1>Cumae {version}</h1><p>{tenant}</p><ul>\
         <li><code>POST /api/v1/write</code>, <code>/api/v1/push</code>: remote write</li>\
         <li><code>/api/v1/query</code>, <code>/api/v1/query_range</code>: PromQL</li>\
         <li><a href=\"/api/v1/labels\">/api/v1/labels</a></li>\
         <li><a href=\"/api/v1/status/buildinfo\">/api/v1/status/buildinfo</a></li>\
         <li><a href=\"/metrics\">/metrics</a>, <a href=\"/-/ready\">/-/ready</a></li></ul>\n"
    ))
}
