//! Runs queries: waits for a turn, works off the async threads, stops when nobody waits.
//!
//! # Invariants
//! - A query's ticket is held until the work has really ended, also when its caller has left.
//! - When the caller leaves or the time is up, the evaluation is told, and what it asked of the
//!   source is dropped.

use crate::admission::Ticket;
use crate::cache::VersionedSource;
use crate::error::Error;
use crate::memory::Purse;
use crate::querier::Querier;
use crate::source::{Source, SourceAnswer, VersionAsk};
use crate::turns::Turns;
use guard::QueryLimits;
use model::read::{Estimate, LabelAnswer, LabelQuery, Selection};
use model::{Clock, Context, Kind, Matcher, SeriesColumns, TimeRange};
use promql::{Cancel, EvalError, SeriesSource, SourceError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many bytes one sample takes while it is read: its time and its value.
pub(crate) const SAMPLE_BYTES: u64 = 16;

/// How many bytes the labels of one series take, about.
pub(crate) const SERIES_BYTES: u64 = 256;

/// What is reserved for a selection of which nothing is known; less if there is not much in all.
const UNKNOWN_BYTES: u64 = 16 << 20;

/// The latest deadline: a timer does not reach further.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400 * 365);

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// How long it waited for its turn, in nanoseconds.
    pub(crate) queued_ns: u64,
    /// How long it ran, in nanoseconds.
    pub(crate) ran_ns: u64,
}

/// What a piece of work may use. It is asked to stop when its caller has left.
#[derive(Debug)]
pub(crate) struct Desk {
    /// The tenant's series, within the tenant's limits.
    pub(crate) source: BlockingQuery,
    /// Whether to stop, as the engine asks it.
    pub(crate) cancel: Cancel,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Desk {
    /// Asks whether to stop, and waits for the query's turn if it has gone on for long.
    ///
    /// # Errors
    /// [`Kind::Canceled`] if nobody waits any more.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.source.turns.go_on();
        if *self.source.stopped.borrow() { Err(canceled().into()) } else { Ok(()) }
    }
}

/// The longest that a query of these limits may take; the caller's wish, if it is shorter.
pub(crate) fn timeout(limits: &QueryLimits, wish_ms: Option<u64>) -> Duration {
    let ms = limits.timeout_ms.get().min(wish_ms.unwrap_or(u64::MAX));
    Duration::from_millis(ms).min(TIMEOUT_MAX)
}

/// Asks the source and awaits its answer under the tenant's limits. The purse holds the memory of
/// the answer, which `bytes` tells; some is taken before it is there.
///
/// # Errors
/// What the source says; 429 if too many wait; 503 if it takes too long or there is no memory.
pub(crate) async fn bounded<T>(
    querier: &Querier,
    context: &Arc<Context>,
    ask: impl FnOnce(Arc<Context>) -> SourceAnswer<T>,
    bytes: impl FnOnce(&T) -> u64,
) -> Result<(T, Arc<Purse>), Error> {
    let limits = querier.limits_of(&context.tenant);
    let deadline = Instant::now() + timeout(limits, None);
    let _ticket = enter(querier, context, deadline).await?;
    let purse = querier.inner.memory.purse();
    let reserved = unknown_bytes(&purse);
    purse.take(reserved)?;
    let Ok(answer) = tokio::time::timeout_at(deadline, ask(until(context, deadline))).await else {
        return Err(Error::new(Kind::Timeout, "query timed out in label look-up"));
    };
    let answer = answer?;
    let bytes = bytes(&answer);
    purse.take(bytes.saturating_sub(reserved))?;
    purse.settle(bytes);
    Ok((answer, purse))
}

/// What is reserved for an answer of which nothing is known.
fn unknown_bytes(purse: &Purse) -> u64 {
    UNKNOWN_BYTES.min(purse.bytes_max() / 64)
}

/// The context for replicas: they need not work longer than the caller waits.
fn until(context: &Arc<Context>, deadline: Instant) -> Arc<Context> {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
    Arc::new(Context { timeout_ms, ..Context::clone(context) })
}

/// Runs `work` on a thread of its own, when it is the tenant's turn.
///
/// # Errors
/// What the work says; 429 if too many wait; 503 if it takes longer than `timeout`.
pub(crate) async fn run<T: Send + 'static>(
    querier: &Querier,
    context: &Arc<Context>,
    timeout: Duration,
    work: impl FnOnce(&Desk) -> Result<T, Error> + Send + 'static,
) -> Result<(T, Took), Error> {
    if timeout.is_zero() {
        return Err(queue_timeout());
    }
    let clock = querier.inner.clock.clone();
    let deadline = Instant::now() + timeout;
    let asked_ns = clock.monotonic_ns();
    let ticket = enter(querier, context, deadline).await?;
    let started_ns = clock.monotonic_ns();
    let stop = Stop::default();
    let turns = Arc::new(Turns::new(
        querier.inner.lines.clone(),
        context.tenant.clone(),
        Arc::clone(&clock),
        Handle::current(),
        stop.told.subscribe(),
    ));
    let source = BlockingQuery {
        source: Arc::clone(&querier.inner.source),
        context: until(context, deadline),
        limits: querier.limits_of(&context.tenant).clone(),
        runtime: Handle::current(),
        stopped: stop.told.subscribe(),
        read: ReadSoFar::default(),
        samples_read: Arc::default(),
        purse: querier.inner.memory.purse(),
        estimated: Mutex::default(),
        turns: Arc::clone(&turns),
    };
    let read = Arc::clone(&source.samples_read);
    let cancel = Cancel::new(Arc::clone(&stop.flag)).with_turns(move || turns.go_on());
    let desk = Desk { source, cancel, clock: Arc::clone(&clock) };
    let work = querier.inner.threads.spawn(move || {
        // The right to run goes back when the work has ended, not when its caller leaves.
        let _right = ticket;
        work(&desk)
    });
    let work = work.map_err(|error| {
        tracing::error!(%error, "no thread for a query");
        Error::new(Kind::Unavailable, "there is no thread for the query; ask again later")
    })?;
    let outcome = tokio::time::timeout_at(deadline, work).await;
    let samples_read = read.load(Ordering::Relaxed);
    querier.inner.metrics.samples.inc_by(samples_read);
    let ran_ns = clock.monotonic_ns().saturating_sub(started_ns);
    let took = Took { queued_ns: started_ns.saturating_sub(asked_ns), ran_ns };
    match outcome {
        Ok(Ok(answer)) => Ok((answer?, took)),
        Ok(Err(_)) => Err(Error::new(Kind::Internal, "the evaluation broke off")),
        Err(_) => Err(Error::new(Kind::Timeout, "query timed out in expression evaluation")),
    }
}

async fn enter(querier: &Querier, context: &Context, deadline: Instant) -> Result<Ticket, Error> {
    let limits = querier.limits_of(&context.tenant);
    let enter = querier.inner.admission.enter(&context.tenant, limits);
    tokio::time::timeout_at(deadline, enter).await.unwrap_or_else(|_| Err(queue_timeout()))
}

fn queue_timeout() -> Error {
    Error::new(Kind::Timeout, "query timed out in query queue")
}

/// Tells an evaluation to stop when dropped. One that has ended does not hear it.
#[derive(Debug)]
struct Stop {
    flag: Arc<AtomicBool>,
    told: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { flag: Arc::default(), told: watch::Sender::new(false) }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
        self.told.send_replace(true);
    }
}

/// What is in the message of an error that names its limit by itself.
pub(crate) const NAMED_LIMIT: &str = "limit `max_query_";

/// What an evaluation has read.
#[derive(Debug, Default)]
struct ReadSoFar {
    series: AtomicU64,
    samples: AtomicU64,
    // Of the purse.
    bytes: AtomicU64,
}

/// The source as one query's evaluation sees it: blocking, bounded by what the query has left.
#[derive(Debug)]
pub(crate) struct BlockingQuery {
    source: Arc<dyn Source>,
    context: Arc<Context>,
    limits: QueryLimits,
    runtime: Handle,
    stopped: watch::Receiver<bool>,
    read: ReadSoFar,
    /// How many samples were read, by all evaluations.
    pub(crate) samples_read: Arc<AtomicU64>,
    /// The memory that the query has taken.
    pub(crate) purse: Arc<Purse>,
    /// What was last asked how much it is. A leaf.
    estimated: Mutex<Option<(Vec<Matcher>, TimeRange, Estimate)>>,
    /// When it is this query's turn, if many go on for long.
    turns: Arc<Turns>,
}

impl SeriesSource for BlockingQuery {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        let read = self.read.samples.load(Ordering::Relaxed).saturating_mul(SAMPLE_BYTES);
        let left = self.limits.max_bytes.get().saturating_sub(read);
        let mut reserved = self.likely_bytes(selection).min(left);
        loop {
            self.purse.take(reserved)?;
            let answer = self.select_within(selection, reserved);
            let bytes = answer.as_ref().map_or(0, |series| bytes_of(series));
            self.purse.put_back(reserved.saturating_sub(bytes));
            match answer {
                // It was more than was likely, and not more than is wanted.
                Err(error)
                    if is_too_much(&error)
                        && reserved < left
                        && reserved / SAMPLE_BYTES < selection.bounds.samples_max =>
                {
                    reserved = reserved.saturating_mul(16).min(left);
                }
                Err(error) => return Err(self.name_limits(error)),
                Ok(series) => {
                    self.purse.take(bytes.saturating_sub(reserved))?;
                    self.read.bytes.fetch_add(bytes, Ordering::Relaxed);
                    return Ok(series);
                }
            }
        }
    }

    fn estimate(&self, selection: &Selection) -> Result<Estimate, SourceError> {
        let estimate = match self.source.estimate_here(&self.context, selection) {
            Some(estimate) => estimate?,
            None => {
                self.wait(self.source.estimate(Arc::clone(&self.context), selection.clone()))?
            }
        };
        let of = (selection.matchers.clone(), selection.range, estimate);
        *self.estimated.lock().unwrap_or_else(PoisonError::into_inner) = Some(of);
        Ok(estimate)
    }

    fn begin_shards(&self) -> Result<(), SourceError> {
        self.turns.begin_shards()
    }
}

impl BlockingQuery {
    /// How many bytes a selection is likely to need.
    fn likely_bytes(&self, selection: &Selection) -> u64 {
        let estimated = self.estimated.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, _, estimate)) = estimated.as_ref().filter(|(matchers, range, _)| {
            *matchers == selection.matchers && *range == selection.range
        }) else {
            return unknown_bytes(&self.purse);
        };
        // Of what a step does not look at nothing is sent.
        let seen = selection.wanted.steps.map_or(u64::MAX, |steps| steps.count());
        let samples = estimate.samples.min(estimate.series.saturating_mul(seen));
        let samples = samples.saturating_mul(SAMPLE_BYTES);
        let bytes = samples.saturating_add(estimate.series.saturating_mul(SERIES_BYTES));
        // Shards differ.
        let of_shard = bytes / u64::from(selection.shard.count.max(1));
        of_shard.saturating_add(of_shard / 2).saturating_add(SERIES_BYTES * SAMPLE_BYTES)
    }

    fn select_within(
        &self,
        selection: &Selection,
        reserved: u64,
    ) -> Result<Vec<SeriesColumns>, SourceError> {
        let mut selection = selection.clone();
        let bounds = &mut selection.bounds;
        bounds.series_max = bounds.series_max.min(
            self.limits.max_series.get().saturating_sub(self.read.series.load(Ordering::Relaxed)),
        );
        bounds.samples_max = bounds.samples_max.min(
            (self.limits.max_bytes.get() / SAMPLE_BYTES)
                .saturating_sub(self.read.samples.load(Ordering::Relaxed)),
        );
        bounds.samples_max = bounds.samples_max.min(reserved / SAMPLE_BYTES);
        bounds.tombstones_max = bounds.tombstones_max.min(self.limits.max_tombstones.get());
        let bounds = *bounds;
        let series = match self.source.select_here(&self.context, &selection) {
            Some(series) => series?,
            None => self.wait(self.source.select(Arc::clone(&self.context), selection))?,
        };
        let samples = series.iter().map(SeriesColumns::samples).sum::<u64>();
        let count = to_u64(series.len());
        if count > bounds.series_max {
            return Err(too_much("series"));
        }
        if samples > bounds.samples_max {
            return Err(too_much("samples"));
        }
        let series_read = self.read.series.fetch_add(count, Ordering::Relaxed) + count;
        let samples_read = self.read.samples.fetch_add(samples, Ordering::Relaxed) + samples;
        self.samples_read.fetch_add(samples, Ordering::Relaxed);
        // Shards ask at the same time: each is within the bounds, all together may not be.
        if series_read > self.limits.max_series.get() {
            return Err(self.name_limits(too_much("series")));
        }
        if samples_read > self.limits.max_bytes.get() / SAMPLE_BYTES {
            return Err(self.name_limits(too_much("samples")));
        }
        Ok(series)
    }
}

impl VersionedSource for BlockingQuery {
    fn versions(&self, asks: &[VersionAsk]) -> Option<Vec<u64>> {
        let answer = self.source.versions(Arc::clone(&self.context), asks.to_vec());
        self.wait(answer).inspect_err(|error| tracing::debug!(%error, "no versions")).ok()
    }

    fn reserve(&self, bytes: u64) -> Result<(), SourceError> {
        Ok(self.purse.take(bytes)?)
    }

    fn begin(&self) {
        let ReadSoFar { series, samples, bytes } = &self.read;
        series.store(0, Ordering::Relaxed);
        samples.store(0, Ordering::Relaxed);
        self.purse.put_back(bytes.swap(0, Ordering::Relaxed));
    }
}

impl BlockingQuery {
    /// Asks about labels.
    pub(crate) fn labels(&self, query: LabelQuery) -> Result<LabelAnswer, SourceError> {
        self.wait(self.source.labels(Arc::clone(&self.context), query))
    }

    /// Waits for an answer, or until nobody wants it any more. It is worked out on the runtime's
    /// threads: what they begin is of their rank, and not of this thread's, which falls.
    fn wait<T: Send + 'static>(&self, answer: SourceAnswer<T>) -> Result<T, SourceError> {
        self.turns.pause();
        let mut stopped = self.stopped.clone();
        // Dropping it gives the work up.
        let mut asked = JoinSet::new();
        asked.spawn_on(answer, &self.runtime);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                answer = asked.join_next() => match answer {
                    Some(Ok(answer)) => answer,
                    _ => Err(broke_off()),
                },
                _ = stopped.wait_for(|stopped| *stopped) => Err(canceled()),
            }
        })
    }

    /// The message of an error that comes from one of the tenant's limits.
    pub(crate) fn name_limit(&self, error: &EvalError, key: &str) -> String {
        let limit = match key {
            "max_query_samples" => self.limits.max_samples,
            _ => self.limits.max_bytes,
        };
        format!("{error}: limit `{key}` {} of tenant `{}`", limit.0, self.context.tenant)
    }

    /// A source says that a bound was met; whose limit that was is known here.
    fn name_limits(&self, error: SourceError) -> SourceError {
        if error.kind != Kind::Unexecutable || error.message.contains(NAMED_LIMIT) {
            return error;
        }
        let message = format!(
            "{}: limits `max_query_series` {} and `max_query_bytes` {} of tenant `{}`",
            error.message, self.limits.max_series.0, self.limits.max_bytes.0, self.context.tenant
        );
        SourceError { message, ..error }
    }
}

/// Whether a source had more than it was asked for at most.
fn is_too_much(error: &SourceError) -> bool {
    error.kind == Kind::Unexecutable && !error.message.contains(NAMED_LIMIT)
}

/// How many bytes series take, about.
pub(crate) fn bytes_of(series: &[SeriesColumns]) -> u64 {
    let each = |of: &SeriesColumns| of.samples().saturating_mul(SAMPLE_BYTES) + SERIES_BYTES;
    series.iter().map(each).sum()
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

pub(crate) fn canceled() -> SourceError {
    let message = "query was canceled in query execution".to_owned();
    SourceError { kind: Kind::Canceled, message }
}

fn broke_off() -> SourceError {
    SourceError { kind: Kind::Internal, message: "the source broke off".to_owned() }
}

fn too_much(what: &str) -> SourceError {
    let message = format!("the query selects more {what} than it may");
    SourceError { kind: Kind::Unexecutable, message }
}
