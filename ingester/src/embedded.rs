//! The replica of this process: the embedded store behind `wire::replica::Replica`.
//!
//! A write is appended to the head and the log's buffer by whoever brings it, and answered when the
//! log thread has it on disk. Reads block threads of their own, so many at once and no more.
//!
//! # Invariants
//! - An answered write is on disk.
//! - Requests in work are bounded: more of them wait, and fail when the replica stops.
//! - After [`Embedded::shutdown`] all threads have ended and the store is flushed and synced.
//!
//! Not here: sockets (`wire::peer`), which partitions are ours (`cluster`), limits but series limits;
//! requests one by one (`embedded/serve.rs`), what an operator asks (`embedded/admin.rs`).

mod admin;
mod entrance;
mod serve;

pub(crate) use entrance::Bounds;

use crate::compaction_thread::{self, CompactionQueue};
use crate::config::Config;
use crate::error::Error;
use crate::job_thread;
use crate::log_thread::{self, LogQueue};
use crate::rates::Rates;
use crate::scrub_pace::ScrubPace;
use crate::telemetry::{StoreSizes, Telemetry};
use cluster::Topology;
use entrance::{Entrance, Entry};
use guard::LimitTable;
use model::{Clock, Context, Kind, TenantId, TimestampMs};
use parking_lot::Mutex;
use prometheus::Registry;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use store::commit_log::Damage;
use store::engine::{Backend, OpenReport, Parts};
use store::{Engine, RetentionConfig};
use wire::replica::ReplicaError;

/// What a replica is made of.
#[derive(Clone, Debug)]
pub struct EmbeddedParts {
    /// The node's name, for errors.
    pub name: String,
    /// The store's disk and chance.
    pub store: Parts,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The tenants' limits; a replica enforces its share of those on series.
    pub limits: Arc<LimitTable>,
    /// How large that share is.
    pub share: Arc<dyn SeriesShare>,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// How many of a tenant's series one store may have open.
pub trait SeriesShare: std::fmt::Debug + Send + Sync {
    /// The share of a limit on all series of a tenant.
    fn series_max(&self, tenant: &TenantId, limit: u64) -> u64;
    /// The share of a limit on the series of one metric.
    fn metric_series_max(&self, limit: u64) -> u64;
}

impl SeriesShare for Topology {
    fn series_max(&self, _: &TenantId, limit: u64) -> u64 {
        self.replica_series_max(limit)
    }

    /// Each replica of a metric's day has all of its series.
    fn metric_series_max(&self, limit: u64) -> u64 {
        limit
    }
}

/// A replica in this process.
#[derive(Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
    // The threads' owner; taken by `shutdown`. No other lock is taken while it is held.
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    log: JoinHandle<()>,
    jobs: JoinHandle<()>,
    jobs_alive: SyncSender<()>,
    compaction: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    limits: Arc<LimitTable>,
    share: Arc<dyn SeriesShare>,
    log: LogQueue,
    compaction: CompactionQueue,
    seal_wait_max: Duration,
    telemetry: Arc<Telemetry>,
    writes: Entrance,
    reads: Entrance,
    tenants_max: u64,
    rates: Rates,
}

impl Embedded {
    /// Opens the store and starts its threads. Blocks while the commit log is replayed.
    ///
    /// # Errors
    /// If the store cannot be opened, or the system gives no thread.
    pub fn open(parts: EmbeddedParts, config: &Config) -> Result<(Arc<Self>, OpenReport), Error> {
        let telemetry = Arc::new(Telemetry::new(&parts.registry)?);
        let now = parts.clock.now();
        let (engine, report) = Engine::open(parts.store.clone(), config.store.clone(), now)?;
        let registry = parts.registry.clone();
        let rules = retention(&parts.limits);
        let own = Self::start(parts, engine, telemetry, (config, None, &rules))?;
        let engine = Arc::clone(&own.inner.engine);
        registry.register(Box::new(StoreSizes::new(move || engine.stats())?))?;
        Ok((own, report))
    }

    /// As [`Embedded::open`], on something else than a directory, and as one of several of a process,
    /// which count together, tell their sizes together, and share `bounds`. Samples are kept by `rules`.
    pub(crate) fn open_on(
        backend: &dyn Backend,
        parts: EmbeddedParts,
        telemetry: Arc<Telemetry>,
        (config, bounds, rules): (&Config, &Bounds, &RetentionConfig),
    ) -> Result<(Arc<Self>, OpenReport), Error> {
        let (store, now) = (parts.store.clone(), parts.clock.now());
        let (engine, report) = Engine::open_on(backend, store, config.store.clone(), now)?;
        Ok((Self::start(parts, engine, telemetry, (config, Some(bounds), rules))?, report))
    }

    fn start(
        parts: EmbeddedParts,
        engine: Engine,
        telemetry: Arc<Telemetry>,
        (config, bounds, rules): (&Config, Option<&Bounds>, &RetentionConfig),
    ) -> Result<Arc<Self>, Error> {
        let EmbeddedParts { name, clock, limits, share, .. } = parts;
        engine.set_retention(rules, clock.now())?;
        let engine = Arc::new(engine);
        let (log, log_thread) = log_thread::start(
            engine.clone(),
            clock.clone(),
            telemetry.clone(),
            config.writes_in_flight_max,
            Duration::from_millis(config.idle_sync_ms),
        )?;
        let (jobs_alive, jobs) = job_thread::start(
            engine.clone(),
            clock.clone(),
            telemetry.clone(),
            Duration::from_millis(config.job_poll_ms),
            series_per_metric_max(limits.clone(), share.clone()),
        )?;
        let (compaction, compaction_thread) = compaction_thread::start(
            engine.clone(),
            clock.clone(),
            telemetry.clone(),
            Duration::from_millis(config.job_poll_ms),
            config.compaction_bytes_per_second,
            ScrubPace::new(config.scrub_cycle_ms, clock.monotonic_ns()),
        )?;
        let inner = Inner {
            name,
            engine,
            clock,
            limits,
            share,
            log,
            compaction,
            seal_wait_max: Duration::from_millis(config.seal_wait_max_ms),
            telemetry,
            writes: Entrance::new(config.writes_in_flight_max, bounds.map(|b| &b.writes)),
            reads: Entrance::new(config.reads_in_flight_max, bounds.map(|b| &b.reads)),
            tenants_max: config.tenants_max,
            rates: Rates::default(),
        };
        let threads = Threads { log: log_thread, jobs, jobs_alive, compaction: compaction_thread };
        Ok(Arc::new(Self { inner: Arc::new(inner), threads: Mutex::new(Some(threads)) }))
    }

    /// The moment by which a request is judged: that of its coordinator, so that replicas agree.
    fn now(&self, context: &Context) -> TimestampMs {
        match context.now {
            TimestampMs(0) => self.inner.clock.now(),
            now => now,
        }
    }

    /// Finishes what is in work, refuses what comes later, ends the threads, flushes and syncs.
    /// A second call does nothing.
    ///
    /// # Errors
    /// If the store could not be flushed; what was acknowledged is in the commit log all the same.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        let inner = self.inner.clone();
        inner.writes.drain().await;
        inner.reads.drain().await;
        let ended = tokio::task::spawn_blocking(move || end(&inner, threads)).await;
        ended.unwrap_or(Err(Error::Panicked { name: "shutdown" }))
    }

    /// The store.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// As [`Embedded::shutdown`], on the calling thread, which may block; what is in work goes on, and
    /// may be answered.
    ///
    /// # Errors
    /// As [`Embedded::shutdown`].
    pub(crate) fn end(&self) -> Result<(), Error> {
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        self.inner.writes.close();
        self.inner.reads.close();
        end(&self.inner, threads)
    }
}

/// Ends the threads, flushes and syncs.
fn end(inner: &Inner, threads: Threads) -> Result<(), Error> {
    inner.log.stop();
    inner.compaction.stop();
    drop(threads.jobs_alive);
    let panicked = |name| move |_| Error::Panicked { name };
    let compaction = threads.compaction.join().map_err(panicked("cumae-compaction"));
    let jobs = threads.jobs.join().map_err(panicked("cumae-jobs"));
    let log = threads.log.join().map_err(panicked("cumae-log"));
    inner.engine.close(inner.clock.now())?;
    compaction.and(jobs).and(log)
}

/// How long everybody's samples are kept.
#[must_use]
pub fn retention(limits: &LimitTable) -> RetentionConfig {
    let tenants = limits.overrides().map(|(id, limits)| (id.clone(), limits.retention()));
    RetentionConfig { default: limits.default_limits().retention(), tenants: tenants.collect() }
}

impl Inner {
    fn error(&self, kind: Kind, message: impl Into<String>) -> ReplicaError {
        ReplicaError { replica: self.name.clone(), kind, message: message.into() }
    }

    fn store_error(&self, error: &store::Error) -> ReplicaError {
        self.error(error.kind(), error.to_string())
    }

    async fn enter(&self, requests: &Entrance) -> Result<Entry, ReplicaError> {
        let entered = requests.enter().await;
        entered.ok_or_else(|| self.error(Kind::Unavailable, "the replica is stopping"))
    }

    /// Runs `work` on a thread that may block. The permit goes with it: work whose caller has left
    /// still counts.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        permit: Option<Entry>,
        work: impl FnOnce() -> store::Result<T> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(permit);
            outcome
        });
        match done.await {
            Ok(outcome) => outcome.map_err(|error| self.store_error(&error)),
            Err(error) => Err(self.error(Kind::Internal, format!("the store failed: {error}"))),
        }
    }
}

/// Says what of a store, or of the store of a place, was damaged when it was opened.
pub fn say_damage(report: &OpenReport, place: Option<usize>) {
    for (path, error) in &report.sstables_damaged {
        tracing::error!(place, path, %error, "an sstable cannot be read; its samples are missing");
    }
    for damage in &report.replay.damage {
        let Damage { path, offset, bytes, sequences } = damage;
        let (first, last) = sequences.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        tracing::error!(
            place,
            path,
            offset,
            bytes,
            first,
            last,
            "records of the commit log that were acknowledged are lost here"
        );
    }
    let (samples, records) = (report.samples_without_series, report.records_damaged);
    if samples + records > 0 {
        tracing::error!(place, samples, records, "the commit log is damaged; these are lost here");
    }
}

/// How many open series a metric of a tenant may have here.
fn series_per_metric_max(
    limits: Arc<LimitTable>,
    share: Arc<dyn SeriesShare>,
) -> impl Fn(&TenantId) -> u64 + Send + 'static {
    move |tenant| {
        let limit = limits.of(tenant).max_series_per_metric;
        serve::share(limit, |max| share.metric_series_max(max))
    }
}

#[cfg(test)]
mod tests;
