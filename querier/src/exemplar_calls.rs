//! `query_exemplars`: the exemplars of the series that a query's selectors name.

use crate::call::Call;
use crate::error::Error;
use crate::language::{self, QueryText};
use crate::querier::Querier;
use crate::query_calls::about_text;
use crate::render::{Annotations, Data, success};
use crate::run::SERIES_BYTES;
use crate::time_param::{TIME_MAX, TIME_MIN};
use crate::{json, number, run};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::exemplar::SeriesExemplars;
use model::read::ExemplarQuery;
use model::{Exemplar, Kind, TimeRange};

pub(crate) async fn query_exemplars(querier: Querier, call: Call) -> Result<Response, Error> {
    let start = call.params.time_or("start", TIME_MIN)?;
    let end = call.params.time_or("end", TIME_MAX)?;
    if end < start {
        return Err(Error::invalid("end timestamp must not be before start timestamp"));
    }
    let selectors = |text: &QueryText| {
        let expr = language::parse(text).map_err(Error::invalid)?;
        Ok(language::selectors(&expr))
    };
    let matcher_sets = about_text(&querier, &call, selectors).await?;
    if matcher_sets.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let limits = querier.limits_of(&call.context.tenant);
    let limit = limits.max_samples;
    let tombstones_max = limits.max_tombstones.get();
    let range = TimeRange::inclusive(start, end);
    let query = ExemplarQuery { matcher_sets, range, exemplars_max: limit.get(), tombstones_max };
    let ask = |context| querier.inner.source.exemplars(context, query);
    let bytes = |answer: &Vec<SeriesExemplars>| bytes_of(answer);
    let answer = run::bounded(&querier, &call.context, ask, bytes).await;
    let (answer, _held) = answer.map_err(|error| match error.kind() {
        Kind::Unexecutable if !error.to_string().contains(run::NAMED_LIMIT) => {
            let tenant = &call.context.tenant;
            let limit = format!("limit `max_query_samples` {} of tenant `{tenant}`", limit.0);
            Error::new(Kind::Unexecutable, format!("{error}: {limit}"))
        }
        _ => error,
    })?;
    Ok(success(Data::Json(exemplars_json(&answer)), &Annotations::default()))
}

/// What the answer takes in memory, about: exemplars have labels, as series do.
fn bytes_of(answer: &[SeriesExemplars]) -> u64 {
    let rows = answer.iter().map(|series| 1 + series.exemplars.len() as u64);
    rows.sum::<u64>().saturating_mul(SERIES_BYTES)
}

/// `[{"seriesLabels":{…},"exemplars":[{"labels":{…},"value":"…","timestamp":…}]}]`
fn exemplars_json(answer: &[SeriesExemplars]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (index, series) in answer.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"seriesLabels\":");
        json::push_labels(&mut out, &series.labels);
        out.extend_from_slice(b",\"exemplars\":[");
        for (index, exemplar) in series.exemplars.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_exemplar(&mut out, exemplar);
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    out
}

fn push_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.extend_from_slice(b"{\"labels\":");
    json::push_labels(out, &exemplar.labels);
    out.extend_from_slice(b",\"value\":\"");
    number::push_sample(out, exemplar.value);
    out.extend_from_slice(b"\",\"timestamp\":");
    number::push_timestamp(out, exemplar.timestamp_ms);
    out.push(b'}');
}
