//! What one replica of several takes of a tenant's series.

use super::*;
use cluster::{Member, Roles};

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
