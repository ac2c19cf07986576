//! One query as it is evaluated: what is asked, within which limits, and the evaluation itself.
//!
//! Not here: waiting for a turn (`run.rs`), who waits for the answer (`watched.rs`).

use crate::cache::{self, Cache, Question};
use crate::call::Call;
use crate::cost::{Cost, Counting, Phase};
use crate::error::Error;
use crate::flights::{self, Answered, State};
use crate::language::{self, QueryText};
use crate::name_stats::NameStats;
use crate::querier::Querier;
use crate::run::{self, Desk, SERIES_BYTES, bytes_of};
use crate::tally::Tally;
use crate::time_param::parse_duration;
use guard::QueryLimits;
use model::TenantId;
use promql::{EvalError, EvalParams, Expr, Query, Value, ValueType};
use std::sync::Arc;
use std::time::Duration;

/// What to evaluate, and how long its caller waits.
#[derive(Debug)]
pub(crate) struct Job {
    /// The query.
    pub(crate) query: QueryText,
    /// Its steps, and how to evaluate them.
    pub(crate) params: EvalParams,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// Whose series.
    pub(crate) tenant: TenantId,
    /// Where parts of the answer may lie.
    pub(crate) cache: Option<Arc<Cache>>,
    /// Whether it is to be told what it cost.
    pub(crate) has_details: bool,
    /// Where the metrics that it names are counted.
    pub(crate) names: Arc<NameStats>,
}

impl Job {
    /// First step, last step and step in milliseconds.
    pub(crate) fn steps(&self) -> (i64, i64, i64) {
        (self.params.start_ms, self.params.end_ms, self.params.step_ms)
    }

    /// What others have to ask to be answered with it.
    pub(crate) fn key(&self) -> flights::Key {
        flights::Key {
            tenant: self.tenant.clone(),
            text: self.query.text.clone(),
            steps: self.steps(),
            lookback_ms: self.params.lookback_ms,
            timeout: self.timeout,
            is_cached: self.cache.is_some(),
            has_details: self.has_details,
        }
    }
}

/// What a request asks for; `params` has the steps.
///
/// # Errors
/// [`Kind::Invalid`] for a parameter that makes no sense.
pub(crate) fn prepare(querier: &Querier, call: &Call, params: EvalParams) -> Result<Job, Error> {
    let limits = querier.limits_of(&call.context.tenant);
    let timeout_ms = match call.params.get("timeout") {
        "" => None,
        _ => Some(u64::try_from(call.params.duration_ms("timeout")?).unwrap_or(0)),
    };
    let settings = &querier.inner.settings;
    let lookback_ms = match call.params.get("lookback_delta") {
        "" => 0,
        text => parse_duration(text).map_err(|reason| {
            Error::invalid(format!("error parsing lookback delta duration: {reason}"))
        })?,
    };
    let params = EvalParams {
        lookback_ms: if lookback_ms > 0 { lookback_ms } else { settings.lookback_delta_ms },
        subquery_step_ms: settings.evaluation_interval_ms,
        workers: settings.workers,
        limits: engine_limits(limits),
        ..settings.features.applied(params)
    };
    let query = language::query_text(&call.params, limits, settings.features)?;
    let cache = (!is_yes(call.params.get("nocache"))).then(|| Arc::clone(&querier.inner.cache));
    let (timeout, tenant) = (run::timeout(limits, timeout_ms), call.context.tenant.clone());
    let has_details = !call.params.get("stats").is_empty() || is_yes(call.params.get("trace"));
    let names = Arc::clone(&querier.inner.names);
    Ok(Job { query, params, timeout, tenant, cache, has_details, names })
}

/// Whether a switch is set: by anything but `0` and `false`.
pub(crate) fn is_yes(param: &str) -> bool {
    !matches!(param, "" | "0" | "false")
}

/// Parses, and refuses what a range query cannot answer.
///
/// # Errors
/// [`Kind::Invalid`] with line and column.
pub(crate) fn parse(job: &Job) -> Result<Expr, Error> {
    let expr = language::parse(&job.query).map_err(|reason| Error::param("query", reason))?;
    let value_type = expr.value_type();
    if !job.params.is_instant() && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        let reason = format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            type_text(value_type)
        );
        return Err(Error::param("query", reason));
    }
    Ok(expr)
}

/// Parses and evaluates; blocks.
///
/// # Errors
/// What is wrong with the query, the data, or what it may use.
pub(crate) fn evaluate(job: &Job, desk: &Desk, state: &State) -> Result<Answered, Error> {
    state.progress.runs(&desk.source.samples_read);
    state.begin();
    let (tenant, params, purse) = (&job.tenant, &job.params, &desk.source.purse);
    let cost = Cost::new(Arc::clone(&desk.clock));
    let expr = cost.time(Phase::Parse, || parse(job))?;
    job.names.note(tenant, &expr, desk.clock.now());
    let query = Query { text: &job.query.text, expr: &expr };
    let cost = match promql::leaves(query, params) {
        Ok(leaves) if job.has_details => cost.with_details(Tally::new(params, leaves)),
        _ => cost,
    };
    let memory = Arc::clone(purse) as Arc<dyn promql::Memory>;
    let meter = Arc::new(promql::Meter::new(Some(memory)));
    let cancel = desk.cancel.clone().with_meter(Arc::clone(&meter));
    let question = Question { tenant, query, params, cancel: &cancel };
    let source = Counting { source: &desk.source, state, cost: &cost };
    let answer = cache::answer(job.cache.as_deref(), &source, question);
    let (evaluation, share) = answer.map_err(|error| in_our_words(&error, desk))?;
    // From now on only the answer is held.
    purse.settle(answer_bytes(&evaluation.value));
    let spent = cost.finish(share, meter.samples_peak());
    Ok(Answered { evaluation, spent, purse: Arc::clone(purse) })
}

/// The error with the limit that was met, or the parameter that is wrong.
pub(crate) fn in_our_words(error: &EvalError, desk: &Desk) -> Error {
    let message = match error {
        EvalError::TooManySamples => desk.source.name_limit(error, "max_query_samples"),
        EvalError::TooManyBytes(_) | EvalError::SubqueryTooLarge { .. } => {
            desk.source.name_limit(error, "max_query_bytes")
        }
        EvalError::OutOfMemory(more) => return desk.source.purse.refusal(*more),
        // What only the query's step and range show.
        EvalError::Invalid(reason) => return Error::param("query", reason),
        _ => error.to_string(),
    };
    Error::new(error.kind(), message)
}

/// What an answer takes in memory, about.
pub(crate) fn answer_bytes(value: &Value) -> u64 {
    match value {
        Value::Matrix(series) => bytes_of(series),
        Value::Vector(samples) => samples.len() as u64 * SERIES_BYTES,
        Value::Scalar { .. } | Value::String { .. } => 0,
    }
}

fn engine_limits(limits: &QueryLimits) -> promql::Limits {
    promql::Limits {
        samples_max: limits.max_samples.get(),
        series_max: limits.max_series.get(),
        fetched_samples_max: u64::MAX,
        bytes_max: limits.max_bytes.get(),
    }
}

/// The type as Prometheus spells it out.
fn type_text(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "instant vector",
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
    }
}
