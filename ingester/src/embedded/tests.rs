//! Whole replicas on a directory of their own.

mod share;

use super::*;
use cluster::TopologyConfig;
use guard::{Limit, Limits};
use model::mutation::{MetricMetadata, MetricType, Mutation, SeriesRefusal, WriteAnswer, Written};
use model::read::{LabelQuery, LabelWant, MetadataQuery, SelectBounds, Selection};
use model::{
    DeleteRequest, LabelSet, Matcher, Principal, RequestId, Retention, RetentionRule, SeriesRef,
    TenantId, TimeRange, TimestampMs,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use store::disk::FileDisk;
use wire::replica::Replica;

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
    open_with(dir, Limits { max_series: Limit(max_series), ..Limits::default() }, config)
}

fn open_with(dir: &Path, limits: Limits, config: &Config) -> Arc<Embedded> {
    open_among(dir, limits, config, Topology::new(TopologyConfig::alone("n0")).unwrap())
}

fn open_among(dir: &Path, limits: Limits, config: &Config, topology: Topology) -> Arc<Embedded> {
    let parts = EmbeddedParts {
        name: "n0".into(),
        store: Parts {
            disk: Arc::new(FileDisk::open(dir).unwrap()),
            cluster_name: "c".into(),
            generation_seed: 7,
        },
        clock: Arc::new(Ticking::default()),
        limits: Arc::new(LimitTable::new(limits)),
        share: Arc::new(topology),
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
        wanted: model::read::Wanted::ALL,
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
        tombstones_max: u64::MAX,
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
async fn a_tenant_has_metadata_of_no_more_metrics_than_its_limit_and_the_oldest_goes_and_is_counted()
 {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_metadata: Limit(2), ..Limits::default() };
    let replica = open_with(dir.path(), limits, &Config::default());
    for (tenant, metric) in [("a", "m1"), ("a", "m2"), ("a", "m3"), ("b", "m3")] {
        let mut mutation = mutation(tenant, metric, 1.0);
        let (help, unit) = ("what it is".into(), "".into());
        let metric = metric.into();
        mutation.metadata.push(MetricMetadata {
            metric,
            metric_type: MetricType::Gauge,
            help,
            unit,
        });
        written(replica.write(mutation).await.unwrap());
    }
    let stats = replica.stats();
    assert_eq!((stats.metadata, stats.metadata_lost_limit_total), (3, 1));
    let known = replica.metadata(context("a"), MetadataQuery::default()).await.unwrap();
    let known: Vec<&str> = known.iter().map(|entry| &*entry.metric).collect();
    assert_eq!(known, ["m2", "m3"]);
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
    assert_eq!((values(&here, "a").await, values(&away, "a").await), (vec![2.0], vec![1.0, 2.0]));
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

/// Flips a byte in the first block of a file: it can be opened, and read only in part.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[26] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The live sstables' files, the oldest first.
fn sstables(dir: &Path) -> BTreeSet<PathBuf> {
    let names = std::fs::read_dir(dir.join("sstables")).unwrap();
    names.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_window_holds_up_no_other_when_the_rules_of_retention_have_changed() {
    const DAY_MS: i64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    // Nothing is compacted that nobody asks for.
    let config = Config { job_poll_ms: 60_000, ..Config::default() };
    let replica = open_as(dir.path(), 0, &config);
    for day in 0..3 {
        let mut mutation = Mutation::empty(context("a"));
        for job in ["a", "b"] {
            let labels = LabelSet::from_pairs([("__name__", "m"), ("job", job)]).unwrap();
            mutation.push(SeriesRef::Labels(labels), [(NOW_MS - day * DAY_MS, 1.0)]);
        }
        replica.write(mutation).await.unwrap();
        replica.flush().await.unwrap();
    }
    let damaged = sstables(dir.path()).pop_first().unwrap();
    replica.shutdown().await.unwrap();
    drop(replica);
    damage(&damaged);
    let rule = RetentionRule {
        matchers: vec![Matcher::equal("job", "b")],
        retention: Retention::from_ms(20 * DAY_MS.unsigned_abs()),
    };
    let limits = Limits {
        retention_ms: Limit(10 * DAY_MS.unsigned_abs()),
        retention_rules: vec![rule],
        ..Limits::default()
    };
    let replica = open_with(dir.path(), limits, &config);

    assert_eq!(replica.stats().sstables, 3);
    assert!(replica.seal().await.is_err(), "the damage is told");
    assert_eq!(replica.stats().sstables, 5, "two are split by class, one is as it was");
    assert!(sstables(dir.path()).contains(&damaged));
    replica.shutdown().await.unwrap();
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
    let files = || sstables(dir.path());
    write(&replica, 1, "m1").await;
    let damaged = files().pop_first().unwrap();
    write(&replica, 1, "m2").await;
    for (day, metric) in [(0, "m1"), (0, "m2"), (2, "m1"), (2, "m2")] {
        write(&replica, day, metric).await;
    }
    replica.shutdown().await.unwrap();
    // Nothing is in a cache.
    drop(replica);
    damage(&damaged);
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
