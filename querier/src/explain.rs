//! `explain`: what a query would read, at which price, in how many parts, and how much of its answer
//! is cached. Reads indices, no samples.

use crate::cache::{self, Question};
use crate::call::Call;
use crate::cost::selector;
use crate::coverage::partitions_of;
use crate::error::Error;
use crate::job::{Job, in_our_words, parse, prepare};
use crate::query_calls::range;
use crate::render::{Annotations, Data, success};
use crate::run::{self, Desk};
use crate::{json, status};
use axum::response::Response;
use model::read::{SelectBounds, Selection, Wanted};
use model::{DayBucket, QueryShard, Text};
use promql::{EvalParams, Expr, Query, Read, SeriesSource as _};
use std::io::Write;

use crate::querier::Querier;

/// How many partitions of a selection are named.
const PARTITIONS_MAX: usize = 100;

pub(crate) async fn explain(querier: Querier, call: Call) -> Result<Response, Error> {
    let is_range = ["start", "end", "step"].iter().any(|key| !call.params.get(key).is_empty());
    let params = if is_range {
        range(&call.params)?
    } else {
        EvalParams::instant(call.params.time_or("time", querier.inner.clock.now())?.0)
    };
    let job = prepare(&querier, &call, params)?;
    let timeout = job.timeout;
    let work = move |desk: &Desk| plan(&job, desk);
    let (out, _) = run::run(&querier, &call.context, timeout, work).await?;
    Ok(success(Data::Json(out), &Annotations::default()))
}

// Writing into memory does not fail.

fn plan(job: &Job, desk: &Desk) -> Result<Vec<u8>, Error> {
    let expr = parse(job)?;
    let query = Query { text: &job.query.text, expr: &expr };
    let reads = promql::reads(query, &job.params).map_err(|error| in_our_words(&error, desk))?;
    let mut out = b"{\"query\":".to_vec();
    json::push_string(&mut out, &expr.to_string());
    let EvalParams { start_ms, end_ms, step_ms, .. } = job.params;
    let steps = (end_ms - start_ms).checked_div(step_ms).unwrap_or(0) + 1;
    let _ = write!(
        out,
        ",\"start\":{start_ms},\"end\":{end_ms},\"step\":{step_ms},\"steps\":{steps},\"reads\":["
    );
    for (index, read) in reads.iter().enumerate() {
        desk.check()?;
        if index > 0 {
            out.push(b',');
        }
        push_read(&mut out, job, desk, read)?;
    }
    out.extend_from_slice(b"],\"cache\":");
    push_cache(&mut out, job, desk, &expr);
    out.push(b'}');
    Ok(out)
}

fn push_read(out: &mut Vec<u8>, job: &Job, desk: &Desk, read: &Read) -> Result<(), Error> {
    let selection = Selection {
        matchers: read.matchers.clone(),
        range: read.range,
        days: None,
        shard: QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: read.wanted.clone(),
    };
    let estimate = desk.source.estimate(&selection)?;
    let shards =
        if read.in_shards { promql::shard_count(estimate, &read.wanted, &job.params) } else { 1 };
    out.extend_from_slice(b"{\"selector\":");
    json::push_string(out, &selector(&read.matchers));
    let _ = write!(
        out,
        ",\"start\":{},\"end\":{},\"estimatedSeries\":{},\"estimatedSamples\":{},\
         \"estimatedPartitions\":{},\"shards\":{shards}",
        read.range.start.0,
        read.range.end.0.saturating_sub(1),
        estimate.series,
        estimate.samples,
        estimate.partitions,
    );
    push_wanted(out, &read.wanted);
    push_partitions(out, partitions_of([&*read.matchers], read.range));
    out.push(b'}');
    Ok(())
}

/// What of the series is looked at: which labels (`null` is all), and which of their samples.
fn push_wanted(out: &mut Vec<u8>, wanted: &Wanted) {
    out.extend_from_slice(b",\"labels\":");
    match &wanted.labels {
        None => out.extend_from_slice(b"null"),
        Some(labels) => json::push_strings(out, labels),
    }
    let samples = if wanted.steps.is_some() { "newest of each step" } else { "all" };
    let values = !wanted.presence;
    let _ = write!(out, ",\"samples\":\"{samples}\",\"values\":{values},\"partitions\":");
}

/// The metrics and days whose replicas are asked; `null` if all replicas are.
fn push_partitions(out: &mut Vec<u8>, partitions: Option<Vec<(Text, DayBucket)>>) {
    let Some(partitions) = partitions else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (index, (metric, day)) in partitions.iter().take(PARTITIONS_MAX).enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"metric\":" } else { b"{\"metric\":" });
        json::push_string(out, metric);
        let day = status::rfc3339(day.start());
        let _ = write!(out, ",\"day\":\"{}\"}}", day.split('T').next().unwrap_or(&day));
    }
    out.push(b']');
}

fn push_cache(out: &mut Vec<u8>, job: &Job, desk: &Desk, expr: &Expr) {
    let (tenant, params) = (&job.tenant, &job.params);
    let query = Query { text: &job.query.text, expr };
    let question = Question { tenant, query, params, cancel: &desk.cancel };
    let cache = job.cache.as_deref();
    let look = cache.and_then(|cache| cache::look(cache, &desk.source, question));
    let reason = match (cache, cache::refusal(expr, params)) {
        (None, _) => "it was told not to",
        (_, Some(reason)) => reason,
        (_, None) if look.is_none() => "there is no cache, nothing is read, or a replica is away",
        _ => "",
    };
    let share = look.unwrap_or_default();
    let _ = write!(
        out,
        "{{\"isCut\":{},\"segments\":{},\"cachedSegments\":{}",
        look.is_some(),
        share.segments,
        share.hits
    );
    if !reason.is_empty() {
        out.extend_from_slice(b",\"reason\":");
        json::push_string(out, reason);
    }
    out.push(b'}');
}
