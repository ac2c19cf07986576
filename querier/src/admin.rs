//! `admin/tsdb/delete_series`, `admin/tsdb/clean_tombstones`: what changes the data that is stored.
//!
//! Each is a line in the log that says who asked, for which tenant, and for what.
//!
//! Not here: which replicas have to agree (`delete.rs`).

use crate::call::Call;
use crate::error::Error;
use crate::language;
use crate::querier::Querier;
use crate::time_param::TIME_MIN;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use model::{DeleteRequest, Matcher, Principal, TimeRange};

/// Hides every sample of the selected series between `start` and `end`, both included; `end` is
/// now at the latest.
pub(crate) async fn delete_series(querier: Querier, call: Call) -> Result<Response, Error> {
    if call.params.all("match[]").next().is_none() {
        return Err(Error::invalid("no match[] parameter provided"));
    }
    let matcher_sets = language::matcher_sets(&querier, &call, Some("match[]")).await?;
    let now = querier.inner.clock.now();
    let start = call.params.time_or("start", TIME_MIN)?;
    let end = call.params.time_or("end", now)?;
    if end < start && !call.params.get("end").is_empty() {
        return Err(Error::param("end", "end timestamp must not be before start time"));
    }
    let end = end.min(now);
    let range = TimeRange::inclusive(start, end);
    let matchers = written(&matcher_sets);
    let request = DeleteRequest { matcher_sets, range, revision_max: 0 };
    let outcome = querier.inner.source.delete(call.context.clone(), request).await;
    let (principal, tenant) = (who(&call), call.context.tenant.as_str());
    let request_id = call.context.request_id;
    match outcome {
        Ok(()) => {
            tracing::info!(%principal, tenant, %request_id, %matchers, start_ms = start.0, end_ms = end.0, "series deleted as asked");
            Ok(done())
        }
        Err(error) => {
            tracing::warn!(%principal, tenant, %request_id, %matchers, start_ms = start.0, end_ms = end.0, "delete failed: {}", error.message);
            Err(error.into())
        }
    }
}

/// Asks for deleted bytes to leave the disks soon.
pub(crate) async fn clean_tombstones(querier: Querier, call: Call) -> Result<Response, Error> {
    querier.inner.source.purge(call.context.clone()).await?;
    tracing::info!(principal = %who(&call), tenant = call.context.tenant.as_str(), "purge asked for");
    Ok(done())
}

fn done() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Who asks, for a line in the log.
pub(crate) fn who(call: &Call) -> String {
    match &call.context.principal {
        Principal::Anonymous => "anonymous".to_owned(),
        Principal::System => "system".to_owned(),
        Principal::Named(name) => name.to_string(),
    }
}

/// The matchers for a log line: `{a="1",b="2"} or {c="3"}`.
fn written(matcher_sets: &[Vec<Matcher>]) -> String {
    let set = |matchers: &Vec<Matcher>| {
        let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    };
    matcher_sets.iter().map(set).collect::<Vec<_>>().join(" or ")
}
