//! `query`, `query_range` and the calls about a query's text.

use crate::active::{Asked, QueryId};
use crate::cache::{self, Cache, Question, VersionedSource};
use crate::call::Call;
use crate::error::Error;
use crate::flights::{self, Answered, Seat, State};
use crate::history::{self, Ended, Text};
use crate::language::QueryText;
use crate::params::Params;
use crate::querier::Querier;
use crate::render::{Annotations, Data, TRUNCATED, success};
use crate::run::{self, BlockingQuery, Desk};
use crate::source::VersionAsk;
use crate::time_param::parse_duration;
use crate::{json, language, stats, syntax};
use axum::response::Response;
use guard::QueryLimits;
use model::read::{Estimate, Selection};
use model::{Kind, SeriesColumns, TenantId};
use promql::{EvalError, EvalParams, Query, SeriesSource, SourceError, Value, ValueType};
use std::sync::Arc;
use std::time::Duration;

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

/// The type as Prometheus spells it out.
fn type_text(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "instant vector",
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
    }
}

/// `start`, `end` and `step`, checked in this order.
fn range(params: &Params) -> Result<EvalParams, Error> {
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

/// What to evaluate, and how long its caller waits.
#[derive(Debug)]
struct Job {
    query: QueryText,
    params: EvalParams,
    timeout: Duration,
    tenant: TenantId,
    /// Where parts of the answer may lie.
    cache: Option<Arc<Cache>>,
}

impl Job {
    /// First step, last step and step in milliseconds.
    fn steps(&self) -> (i64, i64, i64) {
        (self.params.start_ms, self.params.end_ms, self.params.step_ms)
    }

    /// What others have to ask to be answered with it.
    fn key(&self) -> flights::Key {
        flights::Key {
            tenant: self.tenant.clone(),
            text: self.query.text.clone(),
            steps: self.steps(),
            lookback_ms: self.params.lookback_ms,
            timeout: self.timeout,
            is_cached: self.cache.is_some(),
        }
    }
}

/// A source that says under which versions it is read.
struct Told<'a> {
    source: &'a BlockingQuery,
    state: &'a State,
}

impl SeriesSource for Told<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        self.source.select(selection)
    }

    fn estimate(&self, selection: &Selection) -> Result<Estimate, SourceError> {
        self.source.estimate(selection)
    }
}

impl VersionedSource for Told<'_> {
    fn versions(&self, asks: &[VersionAsk]) -> Option<Vec<u64>> {
        let versions = self.source.versions(asks)?;
        self.state.read_under(asks, &versions);
        Some(versions)
    }
}

fn prepare(querier: &Querier, call: &Call, params: EvalParams) -> Result<Job, Error> {
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
    Ok(Job { query, params, timeout, tenant, cache })
}

/// Whether a switch is set: by anything but `0` and `false`.
fn is_yes(param: &str) -> bool {
    !matches!(param, "" | "0" | "false")
}

/// Parses and evaluates; blocks.
fn evaluate(job: &Job, desk: &Desk, state: &State) -> Result<Answered, Error> {
    state.progress.runs(&desk.source.samples_read);
    state.begin();
    let expr = language::parse(&job.query).map_err(|reason| Error::param("query", reason))?;
    let value_type = expr.value_type();
    if !job.params.is_instant() && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        let reason = format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            type_text(value_type)
        );
        return Err(Error::param("query", reason));
    }
    let query = Query { text: &job.query.text, expr: &expr };
    let (tenant, params) = (&job.tenant, &job.params);
    let question = Question { tenant, query, params, cancel: &desk.cancel };
    let source = Told { source: &desk.source, state };
    let answer = cache::answer(job.cache.as_deref(), &source, question);
    answer.map(|(evaluation, _)| Answered { evaluation }).map_err(|error| {
        let message = match &error {
            EvalError::TooManySamples => desk.source.name_limit(&error, "max_query_samples"),
            EvalError::TooManyBytes(_) => desk.source.name_limit(&error, "max_query_bytes"),
            _ => error.to_string(),
        };
        Error::new(error.kind(), message)
    })
}

fn engine_limits(limits: &QueryLimits) -> promql::Limits {
    promql::Limits {
        samples_max: limits.max_samples.get(),
        series_max: limits.max_series.get(),
        fetched_samples_max: u64::MAX,
        bytes_max: limits.max_bytes.get(),
    }
}

/// Evaluates where everybody can see it: in the table of active queries, in the history when it has
/// ended, in the log if it was slow. Who asks what is being answered waits for that answer.
async fn watched(querier: &Querier, call: &Call, job: Job) -> flights::Outcome {
    let inner = &querier.inner;
    let began_ns = inner.clock.monotonic_ns();
    let waited = || Duration::from_nanos(inner.clock.monotonic_ns().saturating_sub(began_ns));
    let asked =
        Asked { tenant: job.tenant.clone(), text: Text::of(&job.query.text), steps: job.steps() };
    let (key, job) = (job.key(), Arc::new(job));
    let ask = |asks| inner.source.versions(Arc::clone(&call.context), asks);
    let seat = inner.flights.join(&key, ask).await;
    let mut seat = match seat {
        Some(seat) => seat,
        None => take_off(querier, call, &job, job.timeout),
    };
    let mut outcome = seated(querier, call, &asked, began_ns, &seat).await;
    let is_late = outcome.as_ref().is_err_and(|error| error.kind() == Kind::Timeout);
    if seat.is_joined && is_late {
        // The time of who came first is up, not ours.
        seat = take_off(querier, call, &job, job.timeout.saturating_sub(waited()));
        outcome = seated(querier, call, &asked, began_ns, &seat).await;
    }
    if seat.is_joined {
        inner.metrics.joined.inc();
    }
    let (ended_ns, took) = (inner.clock.monotonic_ns(), waited());
    let queued = outcome.as_ref().map_or(0, |(_, took)| took.queued_ns);
    let samples_read = seat.state.progress.samples_read();
    let ended = Ended { asked, ended_ns, took, samples_read };
    let slow_ms = inner.settings.slow_query_ms;
    history::log_slow(slow_ms, &ended, Duration::from_nanos(queued), outcome.as_ref().err());
    inner.history.push(ended);
    outcome
}

/// Starts to answer a query, for whoever will wait for it.
fn take_off(querier: &Querier, call: &Call, job: &Arc<Job>, timeout: Duration) -> Seat {
    let (querier, context, job) = (querier.clone(), Arc::clone(&call.context), Arc::clone(job));
    let flights = Arc::clone(&querier.inner.flights);
    flights.start(job.key(), move |state| async move {
        let work = move |desk: &Desk| evaluate(&job, desk, &state);
        let (answered, took) = run::run(&querier, &context, timeout, work).await?;
        Ok((Arc::new(answered), took))
    })
}

/// Waits for the answer, or until somebody stops the query of who waits.
async fn seated(
    querier: &Querier,
    call: &Call,
    asked: &Asked,
    began_ns: u64,
    seat: &Seat,
) -> flights::Outcome {
    let id = QueryId(call.context.request_id.0);
    let progress = Arc::clone(&seat.state.progress);
    let running = querier.inner.active.begin(id, asked.clone(), began_ns, progress);
    tokio::select! {
        outcome = seat.answer.clone() => outcome,
        () = running.stopped() => Err(run::canceled().into()),
    }
}

/// The answer as one's own. Others may have asked for the same one.
async fn own(answered: Arc<Answered>) -> Result<Answered, Error> {
    match Arc::try_unwrap(answered) {
        Ok(answered) => Ok(answered),
        Err(shared) => tokio::task::spawn_blocking(move || Answered::clone(&shared))
            .await
            .map_err(|_| Error::new(Kind::Internal, "the answer could not be copied")),
    }
}

async fn answer(querier: &Querier, call: &Call, job: Job, limit: u64) -> Result<Response, Error> {
    let (answered, took) = watched(querier, call, job).await?;
    let Answered { evaluation } = own(answered).await?;
    let (stats, deprecated) = stats::render(call.params.get("stats"), &took);
    let mut annotations = Annotations { warnings: evaluation.warnings, infos: evaluation.infos };
    let mut value = evaluation.value;
    if truncate(&mut value, limit) {
        annotations.warnings.insert(0, TRUNCATED.to_owned());
    }
    annotations.warnings.extend(deprecated);
    Ok(success(Data::Query(value, stats), &annotations))
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
