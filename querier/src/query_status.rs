//! `status/active_queries`, `status/top_queries`, and stopping a query: of the caller's tenant and
//! of this process.

use crate::active::{Listed, QueryId};
use crate::call::Call;
use crate::error::Error;
use crate::history::Heavy;
use crate::json;
use crate::params::parse_int;
use crate::querier::Querier;
use crate::render::{Annotations, Data, success};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use model::Kind;
use std::cmp::Reverse;
use std::io::Write;
use std::time::Duration;

/// How many queries each list of `top_queries` has, if nothing else is asked for.
const TOP_DEFAULT: i64 = 20;

/// The longest a list of `top_queries` gets.
const TOP_MAX: i64 = 1_000;

/// How far `top_queries` looks back, if nothing else is asked for.
const LIFETIME_DEFAULT_MS: i64 = 600_000;

pub(crate) async fn active(querier: Querier, call: Call) -> Result<Response, Error> {
    let now_ns = querier.inner.clock.monotonic_ns();
    let mut out = vec![b'['];
    for (index, query) in querier.inner.active.of(&call.context.tenant).iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_active(&mut out, query, now_ns);
    }
    out.push(b']');
    Ok(success(Data::Json(out), &Annotations::default()))
}

fn push_active(out: &mut Vec<u8>, query: &Listed, now_ns: u64) {
    let duration = Duration::from_nanos(now_ns.saturating_sub(query.began_ns)).as_secs_f64();
    let state = if query.samples_read.is_some() { "running" } else { "waiting" };
    let samples = query.samples_read.unwrap_or(0);
    let (start_ms, end_ms, step_ms) = query.asked.steps;
    let id = query.id;
    // Writing into memory does not fail.
    let _ = write!(out, "{{\"id\":\"{id}\",\"query\":");
    json::push_string(out, query.asked.text.as_str());
    let _ = write!(
        out,
        ",\"start\":{start_ms},\"end\":{end_ms},\"step\":{step_ms},\"state\":\"{state}\",\
         \"durationSeconds\":{duration},\"samplesRead\":{samples}}}"
    );
}

/// Stops the query that the path names. Its caller gets `canceled`.
pub(crate) async fn cancel(querier: Querier, call: Call) -> Result<Response, Error> {
    let id = QueryId::parse(&call.path_label);
    let tenant = &call.context.tenant;
    match id.filter(|id| querier.inner.active.cancel(tenant, *id)) {
        Some(id) => {
            tracing::info!(tenant = tenant.as_str(), query_id = %id, "query canceled as asked");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        None => {
            let text = format!("no query {:?} of this tenant runs here", call.path_label);
            Err(Error::new(Kind::NotFound, text))
        }
    }
}

pub(crate) async fn top(querier: Querier, call: Call) -> Result<Response, Error> {
    let count = match call.params.get("topN") {
        "" => TOP_DEFAULT,
        text => parse_int(text, "Atoi").map_err(|reason| Error::param("topN", reason))?,
    };
    if !(1..=TOP_MAX).contains(&count) {
        return Err(Error::param("topN", format!("want 1 to {TOP_MAX}")));
    }
    let lifetime_ms = match call.params.get("maxLifetime") {
        "" => LIFETIME_DEFAULT_MS,
        _ => call.params.duration_ms("maxLifetime")?.max(0),
    };
    let lifetime = Duration::from_millis(lifetime_ms.unsigned_abs());
    let lifetime_ns = u64::try_from(lifetime.as_nanos()).unwrap_or(u64::MAX);
    let since_ns = querier.inner.clock.monotonic_ns().saturating_sub(lifetime_ns);
    let mut heavy = querier.inner.history.of(&call.context.tenant, since_ns);
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = write!(out, "{{\"topN\":{count},\"maxLifetimeSeconds\":{}", lifetime.as_secs_f64());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut list = |key: &str, by: fn(&Heavy) -> u128| {
        heavy.sort_by_key(|query| Reverse(by(query)));
        let _ = write!(out, ",\"{key}\":");
        push_heavy(&mut out, heavy.get(..count).unwrap_or(&heavy));
    };
    list("topByCount", |query| query.count.into());
    list("topByAvgDuration", |query| query.took_average().as_nanos());
    list("topBySumDuration", |query| query.took.as_nanos());
    list("topBySamplesRead", |query| query.samples_read.into());
    out.push(b'}');
    Ok(success(Data::Json(out), &Annotations::default()))
}

fn push_heavy(out: &mut Vec<u8>, heavy: &[Heavy]) {
    out.push(b'[');
    for (index, query) in heavy.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"query\":");
        json::push_string(out, query.text.as_str());
        // Writing into memory does not fail.
        let _ = write!(
            out,
            ",\"timeRangeSeconds\":{},\"count\":{},\"avgDurationSeconds\":{},\
             \"maxDurationSeconds\":{},\"sumDurationSeconds\":{},\"samplesRead\":{}}}",
            query.range_ms / 1_000,
            query.count,
            query.took_average().as_secs_f64(),
            query.took_max.as_secs_f64(),
            query.took.as_secs_f64(),
            query.samples_read,
        );
    }
    out.push(b']');
}
