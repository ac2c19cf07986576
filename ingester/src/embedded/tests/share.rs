//! What one replica of several takes of a tenant's series.

use super::*;
use cluster::{Member, NodeIndex, Roles};
use model::DayBucket;
use model::partition::token_of;

const DAY_MS: i64 = 86_400_000;

/// Six ingesters, three copies.
fn six() -> Topology {
    let member = |i: u16| Member {
        name: format!("n{i}"),
        address: format!("127.0.0.1:{}", 1_000 + i),
        roles: Roles::ALL,
        rack: String::new(),
    };
    let members = (0..6).map(member).collect();
    Topology::new(TopologyConfig { members, replication_factor: 3, ..TopologyConfig::alone("") })
        .unwrap()
}

fn series(metric: &str, job: &str, time_ms: i64) -> Mutation {
    let mut mutation = Mutation::empty(context("a"));
    let labels = LabelSet::from_pairs([("__name__", metric), ("job", job)]).unwrap();
    mutation.push(SeriesRef::Labels(labels), [(time_ms, 1.0)]);
    mutation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_replica_of_a_metric_takes_as_many_series_of_it_as_the_limit_says() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_series_per_metric: Limit(12), ..Limits::default() };
    let replica = open_among(dir.path(), limits, &Config::default(), six());
    for job in 0..12 {
        let answer = replica.write(series("m", &job.to_string(), NOW_MS)).await.unwrap();
        assert_eq!(written(answer).refused, [], "series {job}");
    }
    let beyond = written(replica.write(series("m", "12", NOW_MS)).await.unwrap());
    assert_eq!(beyond.refused, [(0, SeriesRefusal::MetricSeriesLimit { limit: 12 })]);
    replica.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_midnight_a_tenant_far_below_its_limit_has_no_series_refused_on_any_replica() {
    let today = TimestampMs(NOW_MS).day();
    let days = [today, DayBucket(today.0 + 1)];
    let metrics: Vec<String> = (0..700).map(|i| format!("m{i}")).collect();
    let tenant = TenantId::parse("a").unwrap();
    for node in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { max_series: Limit(1_000), ..Limits::default() };
        let topology = six();
        let placement = topology.placement.clone();
        let replica = open_among(dir.path(), limits, &Config::default(), topology);
        for (place, day) in days.into_iter().enumerate() {
            let mut mutation = Mutation::empty(context("a"));
            for metric in &metrics {
                let token = token_of(&tenant, metric, day, 0, 0);
                if placement.replicas(token).contains(&NodeIndex(node)) {
                    let labels = LabelSet::from_pairs([("__name__", metric.as_str())]).unwrap();
                    let time_ms = NOW_MS + DAY_MS * i64::try_from(place).unwrap();
                    mutation.push(SeriesRef::Labels(labels), [(time_ms, 1.0)]);
                }
            }
            let refused = written(replica.write(mutation).await.unwrap()).refused;
            assert_eq!(refused, [], "node {node}, day {place}");
        }
        replica.shutdown().await.unwrap();
    }
}
