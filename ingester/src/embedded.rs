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
//! Not here: sockets (`wire::peer`), which partitions are ours (`cluster`), limits but series limits.

use crate::compaction_thread::{self, CompactionQueue, Sealed};
use crate::config::Config;
use crate::error::Error;
use crate::job_thread;
use crate::log_thread::{self, LogQueue};
use crate::scrub_pace::ScrubPace;
use crate::telemetry::{StoreSizes, Telemetry};
use cluster::Topology;
use guard::LimitTable;
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer};
use model::read::{
    Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery, Selection,
};
use model::{
    Clock, Context, DeleteAnswer, DeleteRequest, Kind, SeriesColumns, TenantId, TimeRange,
    TimestampMs, Tombstone,
};
use parking_lot::Mutex;
use prometheus::Registry;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use store::engine::{AppendLimits, Appended, JobReport, OpenReport, Parts, Stats};
use store::snapshot::{self, Snapshot};
use store::{Engine, RetentionConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::replica::{Answer, Replica, ReplicaError};

/// Mutations of more samples than this are appended off the async threads.
const HEAVY_SAMPLES: usize = 2_000;

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
    /// The cluster, for that share.
    pub topology: Arc<Topology>,
    /// Where metrics are registered.
    pub registry: Registry,
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
    topology: Arc<Topology>,
    log: LogQueue,
    compaction: CompactionQueue,
    seal_wait_max: Duration,
    telemetry: Arc<Telemetry>,
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    writes_max: usize,
    reads_max: usize,
}

impl Embedded {
    /// Opens the store and starts its threads. Blocks while the commit log is replayed.
    ///
    /// # Errors
    /// If the store cannot be opened, or the system gives no thread.
    pub fn open(parts: EmbeddedParts, config: &Config) -> Result<(Arc<Self>, OpenReport), Error> {
        let EmbeddedParts { name, store, clock, limits, topology, registry } = parts;
        let telemetry = Arc::new(Telemetry::new(&registry)?);
        let (engine, report) = Engine::open(store, config.store.clone(), clock.now())?;
        engine.set_retention(&retention(&limits), clock.now())?;
        let engine = Arc::new(engine);
        registry.register(Box::new(StoreSizes::new(engine.clone())?))?;
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
        )?;
        let (compaction, compaction_thread) = compaction_thread::start(
            engine.clone(),
            clock.clone(),
            telemetry.clone(),
            Duration::from_millis(config.job_poll_ms),
            config.compaction_bytes_per_second,
            ScrubPace::new(config.scrub_cycle_ms, clock.monotonic_ns()),
        )?;
        let (writes_max, reads_max) = (config.writes_in_flight_max, config.reads_in_flight_max);
        let writes = Arc::new(Semaphore::new(writes_max));
        let reads = Arc::new(Semaphore::new(reads_max));
        let inner = Inner {
            name,
            engine,
            clock,
            limits,
            topology,
            log,
            compaction,
            seal_wait_max: Duration::from_millis(config.seal_wait_max_ms),
            telemetry,
            writes,
            reads,
            writes_max,
            reads_max,
        };
        let threads = Mutex::new(Some(Threads {
            log: log_thread,
            jobs,
            jobs_alive,
            compaction: compaction_thread,
        }));
        Ok((Arc::new(Self { inner: Arc::new(inner), threads }), report))
    }

    /// Brings everything in memory into sstables.
    ///
    /// # Errors
    /// As [`Replica::write`].
    pub async fn flush(&self) -> Result<JobReport, ReplicaError> {
        let inner = self.inner.clone();
        let work = move || {
            let begin = inner.clock.monotonic_ns();
            let report = inner.engine.flush(inner.clock.now())?;
            let ns = inner.clock.monotonic_ns().saturating_sub(begin);
            inner.telemetry.flushed(&report, ns);
            Ok(report)
        };
        self.inner.clone().blocking(None, work).await
    }

    /// The moment by which a request is judged: that of its coordinator, so that replicas agree.
    fn now(&self, context: &Context) -> TimestampMs {
        match context.now {
            TimestampMs(0) => self.inner.clock.now(),
            now => now,
        }
    }

    /// Keeps tombstones that a peer has, on disk; returns how many were news.
    ///
    /// # Errors
    /// As [`Replica::write`].
    pub async fn adopt(&self, tombstones: Vec<Tombstone>) -> Result<u64, ReplicaError> {
        if tombstones.is_empty() {
            return Ok(0);
        }
        let permit = self.inner.enter(&self.inner.writes).await?;
        let inner = self.inner.clone();
        let work = move || inner.engine.adopt(tombstones);
        self.inner.clone().blocking(Some(permit), work).await
    }

    /// Takes a snapshot of everything that was answered before, and names it after the time and
    /// `random` bits.
    ///
    /// # Errors
    /// As [`Replica::write`].
    pub async fn snapshot(&self, random: u64) -> Result<Snapshot, ReplicaError> {
        let inner = self.inner.clone();
        let work = move || {
            let now = inner.clock.now();
            inner.engine.snapshot(&snapshot::name(now, random), now)
        };
        self.inner.clone().blocking(None, work).await
    }

    /// Brings everything in memory into sstables, and all sstables into their dense form.
    ///
    /// # Errors
    /// As [`Replica::write`], and [`Kind::Unavailable`] if it takes longer than
    /// [`Config::seal_wait_max_ms`]; then it goes on.
    pub async fn seal(&self) -> Result<Sealed, ReplicaError> {
        self.flush().await?;
        let inner = &self.inner;
        let unavailable = |why: &str| inner.error(Kind::Unavailable, why);
        let answer = inner.compaction.seal().map_err(unavailable)?;
        match tokio::time::timeout(inner.seal_wait_max, answer).await {
            Ok(Ok(outcome)) => outcome.map_err(|error| inner.store_error(&error)),
            Ok(Err(_)) => Err(unavailable("compaction has stopped")),
            Err(_) => Err(unavailable("sealing takes long; it goes on")),
        }
    }

    /// The store's sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.engine.stats()
    }

    /// Tenants with data, ascending.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.inner.engine.tenants()
    }

    /// Finishes what is in work, refuses what comes later, ends the threads, flushes and syncs.
    /// A second call does nothing.
    ///
    /// # Errors
    /// If the store could not be flushed; what was acknowledged is in the commit log all the same.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        let inner = self.inner.clone();
        for (requests, max) in [(&inner.writes, inner.writes_max), (&inner.reads, inner.reads_max)]
        {
            // Whoever comes later waits behind this, and is refused by the close.
            let all = requests.acquire_many(u32::try_from(max).unwrap_or(u32::MAX)).await;
            requests.close();
            drop(all);
        }
        let end = move || {
            inner.log.stop();
            inner.compaction.stop();
            drop(threads.jobs_alive);
            let panicked = |name| move |_| Error::Panicked { name };
            let compaction = threads.compaction.join().map_err(panicked("cumae-compaction"));
            let jobs = threads.jobs.join().map_err(panicked("cumae-jobs"));
            let log = threads.log.join().map_err(panicked("cumae-log"));
            inner.engine.close(inner.clock.now())?;
            compaction.and(jobs).and(log)
        };
        let ended = tokio::task::spawn_blocking(end).await;
        ended.unwrap_or(Err(Error::Panicked { name: "shutdown" }))
    }
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

    async fn enter(&self, requests: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ReplicaError> {
        let entered = requests.clone().acquire_owned().await;
        entered.map_err(|_| self.error(Kind::Unavailable, "the replica is stopping"))
    }

    /// Runs `work` on a thread that may block. The permit goes with it: work whose caller has left
    /// still counts.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
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

    async fn write(self: Arc<Self>, mutation: Mutation) -> Result<WriteAnswer, ReplicaError> {
        let permit = self.enter(&self.writes).await?;
        let inner = self.clone();
        // A histogram is worth some floats, by its buckets.
        let weight = mutation.values.len() + 16 * mutation.histograms.len();
        let heavy = weight + mutation.exemplars.len() > HEAVY_SAMPLES;
        let append = move || {
            let limits = inner.append_limits(&mutation.context.tenant);
            inner.engine.append(&mutation, limits, inner.clock.now())
        };
        let appended = if heavy {
            self.clone().blocking(None, append).await?
        } else {
            append().map_err(|error| self.store_error(&error))?
        };
        let answer = match appended {
            Appended::NeedLabels => WriteAnswer::NeedLabels,
            Appended::Queued { ticket, written } => {
                if ticket > 0 {
                    let durable = self.log.durable(ticket).await;
                    durable.map_err(|why| self.error(Kind::Unavailable, why))?;
                }
                WriteAnswer::Written(written)
            }
        };
        drop(permit);
        Ok(answer)
    }

    async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Engine) -> store::Result<T> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let permit = self.enter(&self.reads).await?;
        self.telemetry.reads.inc();
        let engine = self.engine.clone();
        self.blocking(Some(permit), move || work(&engine)).await
    }

    /// A delete counts as a write: what is in work is finished before the replica stops.
    async fn delete(
        self: Arc<Self>,
        context: Arc<Context>,
        request: DeleteRequest,
    ) -> Result<DeleteAnswer, ReplicaError> {
        let permit = self.enter(&self.writes).await?;
        let inner = self.clone();
        let work = move || inner.engine.delete(&context.tenant, &request, inner.clock.now());
        let answer = self.clone().blocking(Some(permit), work).await?;
        self.telemetry.deletes.inc();
        Ok(answer)
    }

    /// This replica's share of the tenant's limits.
    fn append_limits(&self, tenant: &TenantId) -> AppendLimits {
        let limits = self.limits.of(tenant);
        let share = |limit: guard::Limit| match limit.0 {
            0 => u64::MAX,
            max => self.topology.replica_series_max(max),
        };
        AppendLimits {
            series_max: share(limits.max_series),
            series_per_metric_max: share(limits.max_series_per_metric),
            exemplars_max: limits.max_exemplars.get(),
        }
    }
}

impl Replica for Embedded {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        Box::pin(self.inner.clone().write(mutation))
    }

    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.select(&context.tenant, &selection, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.estimate(&context.tenant, &selection, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> Answer<LabelAnswer> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.labels(&context.tenant, &query, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer> {
        let work = move |engine: &Engine| Ok(engine.metadata(&context.tenant, &query));
        Box::pin(self.inner.clone().read(work))
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.exemplars_at(&context.tenant, &query, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        // A look at a map in memory: it needs no thread of its own.
        let now = self.now(&context);
        let versions = self.inner.engine.versions(&context.tenant, &ranges, now);
        Box::pin(std::future::ready(Ok(versions)))
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        Box::pin(self.inner.clone().delete(context, request))
    }

    fn tombstones(&self, _: Arc<Context>) -> Answer<Vec<Tombstone>> {
        Box::pin(self.inner.clone().read(|engine| Ok(engine.tombstones())))
    }

    fn purge(&self, _: Arc<Context>) -> Answer<()> {
        self.inner.engine.ask_for_purge();
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::TopologyConfig;
    use guard::{Limit, Limits};
    use model::mutation::{SeriesRefusal, Written};
    use model::read::{LabelWant, SelectBounds};
    use model::{LabelSet, Matcher, Principal, RequestId, SeriesRef, TimeRange, TimestampMs};
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use store::disk::FileDisk;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[derive(Debug, Default)]
    struct Ticking(AtomicU64);
    impl Clock for Ticking {
        fn now(&self) -> TimestampMs {
            TimestampMs(NOW_MS)
        }
        fn monotonic_ns(&self) -> u64 {
            self.0.fetch_add(1_000, Ordering::Relaxed)
        }
    }

    fn open(dir: &Path, max_series: u64) -> Arc<Embedded> {
        open_as(dir, max_series, &Config::default())
    }

    fn open_as(dir: &Path, max_series: u64, config: &Config) -> Arc<Embedded> {
        let limits = Limits { max_series: Limit(max_series), ..Limits::default() };
        let parts = EmbeddedParts {
            name: "n0".into(),
            store: Parts {
                disk: Arc::new(FileDisk::open(dir).unwrap()),
                cluster_name: "c".into(),
                generation_seed: 7,
            },
            clock: Arc::new(Ticking::default()),
            limits: Arc::new(LimitTable::new(limits)),
            topology: Arc::new(Topology::new(TopologyConfig::alone("n0")).unwrap()),
            registry: Registry::new(),
        };
        Embedded::open(parts, config).unwrap().0
    }

    fn context(tenant: &str) -> Arc<Context> {
        Arc::new(Context {
            tenant: TenantId::parse(tenant).unwrap(),
            principal: Principal::Anonymous,
            request_id: RequestId(1),
            timeout_ms: 0,
            now: model::TimestampMs(0),
            ring_version: 0,
        })
    }

    fn mutation(tenant: &str, metric: &str, value: f64) -> Mutation {
        let mut mutation = Mutation::empty(context(tenant));
        let labels = LabelSet::from_pairs([("__name__", metric), ("job", "a")]).unwrap();
        mutation.push(SeriesRef::Labels(labels), [(NOW_MS, value)]);
        mutation
    }

    async fn values(replica: &Embedded, tenant: &str) -> Vec<f64> {
        let selection = Selection {
            matchers: vec![Matcher::equal("job", "a")],
            range: TimeRange::ALL,
            days: None,
            shard: model::QueryShard::ALL,
            bounds: SelectBounds::NONE,
        };
        let series = replica.select(context(tenant), selection).await.unwrap();
        series.into_iter().flat_map(|series| series.floats.values).collect()
    }

    fn written(answer: WriteAnswer) -> Written {
        match answer {
            WriteAnswer::Written(written) => written,
            WriteAnswer::NeedLabels => panic!("labels were sent"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_answered_is_there_after_a_shutdown_and_only_for_its_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let replica = open(dir.path(), 0);
        let writes: Vec<_> = (0..64_u8)
            .map(|i| tokio::spawn(replica.write(mutation("a", &format!("m{i:02}"), i.into()))))
            .collect();
        for write in writes {
            assert_eq!(written(write.await.unwrap().unwrap()).numbers.len(), 1);
        }
        let want: Vec<f64> = (0..64_u8).map(f64::from).collect();
        assert_eq!(values(&replica, "a").await, want);
        assert_eq!(values(&replica, "b").await, Vec::<f64>::new());
        replica.flush().await.unwrap();
        assert_eq!(values(&replica, "a").await, want);
        replica.shutdown().await.unwrap();
        // The store holds its directory until nobody has it any more.
        drop(replica);

        let again = open(dir.path(), 0);
        assert_eq!(values(&again, "a").await, want);
        assert_eq!(again.tenants(), [TenantId::parse("a").unwrap()]);
        again.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_replica_that_has_stopped_refuses_and_stopping_it_again_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let replica = open(dir.path(), 0);
        replica.shutdown().await.unwrap();
        replica.shutdown().await.unwrap();
        let refused = replica.write(mutation("a", "m", 1.0)).await.unwrap_err();
        assert_eq!((refused.kind, refused.replica.as_str()), (Kind::Unavailable, "n0"));
        let query = LabelQuery {
            want: LabelWant::Names,
            matcher_sets: Vec::new(),
            range: TimeRange::ALL,
            limit: 0,
        };
        let refused = replica.labels(context("a"), query).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn beyond_the_limit_a_new_series_is_refused_by_name_and_a_known_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let replica = open(dir.path(), 1);
        assert!(written(replica.write(mutation("a", "m", 1.0)).await.unwrap()).refused.is_empty());
        let second = written(replica.write(mutation("a", "n", 2.0)).await.unwrap());
        assert_eq!(second.refused, [(0, SeriesRefusal::SeriesLimit { limit: 1 })]);
        assert!(written(replica.write(mutation("a", "m", 3.0)).await.unwrap()).refused.is_empty());
        // Another tenant has a limit of its own.
        assert!(written(replica.write(mutation("b", "n", 4.0)).await.unwrap()).refused.is_empty());
        assert_eq!(values(&replica, "a").await, [3.0]);
        replica.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_replica_that_was_away_learns_from_its_peer_what_was_deleted() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [here, away] = dirs.each_ref().map(|dir| open(dir.path(), 0));
        for replica in [&here, &away] {
            replica.write(mutation("a", "m", 1.0)).await.unwrap();
            replica.write(mutation("a", "n", 2.0)).await.unwrap();
        }
        let request = DeleteRequest {
            matcher_sets: vec![vec![Matcher::equal("__name__", "m")]],
            range: TimeRange::ALL,
            revision_max: 0,
        };
        here.delete(context("a"), request).await.unwrap();
        assert_eq!(
            (values(&here, "a").await, values(&away, "a").await),
            (vec![2.0], vec![1.0, 2.0])
        );
        let peer = here.clone() as Arc<dyn Replica>;
        let exchange = crate::exchange::Exchange::new(away.clone(), vec![peer]);
        assert!(exchange.round().await);
        assert_eq!(values(&away, "a").await, [2.0]);
        // Back again after the peer has gone, it still knows.
        here.shutdown().await.unwrap();
        assert!(!exchange.round().await, "a peer that does not answer is asked again soon");
        away.shutdown().await.unwrap();
        drop((away, exchange));
        let away = open(dirs[1].path(), 0);
        assert_eq!(values(&away, "a").await, [2.0]);
        away.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_write_whose_caller_leaves_is_kept_and_the_next_one_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let replica = open(dir.path(), 0);
        let mut left = replica.write(mutation("a", "m", 1.0));
        let polled =
            std::future::poll_fn(|cx| std::task::Poll::Ready(left.as_mut().poll(cx).is_ready()));
        polled.await;
        drop(left);
        assert!(replica.write(mutation("a", "n", 2.0)).await.is_ok());
        assert_eq!(values(&replica, "a").await, [1.0, 2.0]);
        replica.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sealing_leaves_one_dense_sstable_for_each_window_and_the_same_answers() {
        let dir = tempfile::tempdir().unwrap();
        let replica = open(dir.path(), 0);
        for value in 1..=3_u8 {
            let metric = format!("m{value}");
            replica.write(mutation("a", &metric, f64::from(value))).await.unwrap();
            replica.flush().await.unwrap();
        }
        assert_eq!(replica.stats().sstables, 3);
        replica.write(mutation("a", "m4", 4.0)).await.unwrap();
        let sealed = replica.seal().await.unwrap();
        assert_eq!((sealed.windows, sealed.written_bytes > 0), (1, true));
        assert_eq!((replica.stats().sstables, replica.stats().head_samples), (1, 0));
        assert_eq!(values(&replica, "a").await, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(replica.seal().await.unwrap().windows, 0);
        let files = std::fs::read_dir(dir.path().join("sstables")).unwrap().count();
        assert_eq!(files, 1);
        replica.shutdown().await.unwrap();
        assert_eq!(replica.seal().await.unwrap_err().kind, Kind::Unavailable);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_damaged_window_is_told_and_holds_up_the_sealing_of_no_other() {
        const DAY_MS: i64 = 86_400_000;
        let dir = tempfile::tempdir().unwrap();
        // Nothing is compacted that nobody asks for.
        let config = Config { job_poll_ms: 60_000, ..Config::default() };
        let replica = open_as(dir.path(), 0, &config);
        let write = async |replica: &Embedded, day: i64, metric: &str| {
            let mut mutation = Mutation::empty(context("a"));
            let labels = LabelSet::from_pairs([("__name__", metric)]).unwrap();
            mutation.push(SeriesRef::Labels(labels), [(NOW_MS - day * DAY_MS, 1.0)]);
            replica.write(mutation).await.unwrap();
            replica.flush().await.unwrap();
        };
        let files = || {
            let names = std::fs::read_dir(dir.path().join("sstables")).unwrap();
            names.map(|entry| entry.unwrap().path()).collect::<BTreeSet<_>>()
        };
        write(&replica, 1, "m1").await;
        let damaged = files().pop_first().unwrap();
        write(&replica, 1, "m2").await;
        for (day, metric) in [(0, "m1"), (0, "m2"), (2, "m1"), (2, "m2")] {
            write(&replica, day, metric).await;
        }
        let mut bytes = std::fs::read(&damaged).unwrap();
        // In the first block: the file can be opened, and read only in part.
        bytes[26] ^= 1;
        replica.shutdown().await.unwrap();
        // Nothing is in a cache.
        drop(replica);
        std::fs::write(&damaged, bytes).unwrap();
        let replica = open_as(dir.path(), 0, &config);

        assert!(replica.seal().await.is_err());
        assert_eq!(replica.stats().sstables, 4, "two windows are sealed, one is as it was");
        // Now the damage is known from the start.
        write(&replica, 0, "m3").await;
        write(&replica, 2, "m3").await;
        assert!(replica.seal().await.is_err());
        assert_eq!(replica.stats().sstables, 4);
        assert!(files().contains(&damaged));
        replica.shutdown().await.unwrap();
    }
}
