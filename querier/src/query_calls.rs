//! `query`, `query_range` and the calls about a query's text.

use crate::call::Call;
use crate::error::Error;
use crate::job::{Job, is_yes, prepare};
use crate::language::QueryText;
use crate::params::Params;
use crate::querier::Querier;
use crate::render::{Annotations, Data, QueryAnswer, TRUNCATED, success};
use crate::run::{self, Desk};
use crate::trace::Trace;
use crate::watched::{own, watched};
use crate::{json, language, stats, syntax};
use axum::response::Response;
use model::Kind;
use promql::{EvalParams, Value};
use std::sync::Arc;

/// The most steps that a range has beside its first.
const STEPS_MAX: i64 = 11_000;

pub(crate) async fn query(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = call.params.limit()?;
    let time = call.params.time_or("time", querier.inner.clock.now())?;
    let job = prepare(&querier, &call, EvalParams::instant(time.0))?;
    answer(&querier, &call, job, limit).await
}

pub(crate) async fn query_range(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = call.params.limit()?;
    let job = prepare(&querier, &call, range(&call.params)?)?;
    answer(&querier, &call, job, limit).await
}

/// `start`, `end` and `step`, checked in this order.
pub(crate) fn range(params: &Params) -> Result<EvalParams, Error> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    if end < start {
        return Err(Error::param("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration_ms("step")?;
    if step_ms <= 0 {
        return Err(Error::param(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let too_many = match end.0.checked_sub(start.0) {
        Some(length_ms) => length_ms / step_ms > STEPS_MAX,
        None => true,
    };
    if too_many {
        return Err(Error::invalid(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    Ok(EvalParams::range(start.0, end.0, step_ms))
}

async fn answer(querier: &Querier, call: &Call, job: Job, limit: u64) -> Result<Response, Error> {
    let (answered, took) = watched(querier, call, job).await?;
    let answered = own(answered).await?;
    let evaluation = answered.evaluation;
    let (stats, deprecated) = stats::render(call.params.get("stats"), &took, &answered.spent);
    let mut annotations = Annotations { warnings: evaluation.warnings, infos: evaluation.infos };
    let mut value = evaluation.value;
    if truncate(&mut value, limit) {
        annotations.warnings.insert(0, TRUNCATED.to_owned());
    }
    annotations.warnings.extend(deprecated);
    let trace = is_yes(call.params.get("trace"))
        .then(|| Trace::new(Arc::clone(&querier.inner.clock), &took, &answered.spent));
    let answer = QueryAnswer { value, stats, trace, purse: Some(answered.purse) };
    Ok(success(Data::Query(Box::new(answer)), &annotations))
}

/// Cuts series, never samples. True if there were more than `limit`; a `limit` of 0 is none.
fn truncate(value: &mut Value, limit: u64) -> bool {
    let limit = match usize::try_from(limit) {
        Ok(0) | Err(_) => return false,
        Ok(limit) => limit,
    };
    match value {
        Value::Vector(samples) if samples.len() > limit => samples.truncate(limit),
        Value::Matrix(series) if series.len() > limit => series.truncate(limit),
        _ => return false,
    }
    true
}

pub(crate) async fn format_query(querier: Querier, call: Call) -> Result<Response, Error> {
    let format = |text: &QueryText| {
        let expr = language::parse(text).map_err(|reason| Error::param("query", reason))?;
        let mut out = Vec::new();
        let pretty = promql::pretty(&expr)
            .map_err(|error| Error::new(Kind::Unexecutable, error.to_string()))?;
        json::push_string(&mut out, &pretty);
        Ok(out)
    };
    let out = about_text(&querier, &call, format).await?;
    Ok(success(Data::Json(out), &Annotations::default()))
}

pub(crate) async fn parse_query(querier: Querier, call: Call) -> Result<Response, Error> {
    let tree = |text: &QueryText| {
        let expr = language::parse(text).map_err(|reason| Error::param("query", reason))?;
        let mut out = Vec::new();
        syntax::push(&mut out, &expr);
        Ok(out)
    };
    let out = about_text(&querier, &call, tree).await?;
    Ok(success(Data::Json(out), &Annotations::default()))
}

/// Works on a query's text under the rules of a query: in turn, off the async threads.
pub(crate) async fn about_text<T: Send + 'static>(
    querier: &Querier,
    call: &Call,
    work: impl FnOnce(&QueryText) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let limits = querier.limits_of(&call.context.tenant);
    let features = querier.inner.settings.features;
    let text = language::query_text(&call.params, limits, features)?;
    let timeout = run::timeout(limits, None);
    let (answer, _) =
        run::run(querier, &call.context, timeout, move |_: &Desk| work(&text)).await?;
    Ok(answer)
}
