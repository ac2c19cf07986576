//! Writes to several replicas: who has to have what before the sender is told.

use crate::refusal::Item;
use crate::testing::*;
use crate::{Error, PushSeries};
use guard::Limits;
use model::mutation::{MetricMetadata, MetricType};
use model::time::DAY_MS;
use model::{Kind, LabelSet, PartitionKey, Principal, TimestampMs};
use proptest::prelude::*;

fn cluster(members: u16, replication_factor: usize) -> Rig {
    rig(RigConfig { members, replication_factor, ..RigConfig::default() })
}

fn metric(name: &str) -> LabelSet {
    labels(&[("__name__", name), ("job", "a")])
}

impl Rig {
    async fn write(&self, series: &[(&str, &[(i64, f64)])]) -> Result<crate::Refusals, Error> {
        let series: Vec<_> = series
            .iter()
            .map(|(name, samples)| PushSeries { labels: metric(name), samples: samples.to_vec() })
            .collect();
        self.distributor.push(&id("default"), Principal::System, &series, &[]).await
    }

    /// Waits until every late answer was heard: each task gives its share of the pool back.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_known_series_goes_by_its_number() {
    let rig = alone(Limits::default());
    for round in 0..3 {
        rig.write(&[("a", &[(NOW_MS + round, 1.0)]), ("b", &[(NOW_MS + round, 2.0)])])
            .await
            .unwrap();
    }
    assert_eq!(rig.replicas[0].counts(), (4, 2));
    assert_eq!(rig.replicas[0].samples("default", &metric("b")).len(), 3);
}

#[tokio::test]
async fn series_in_another_order_are_still_told_apart() {
    let rig = alone(Limits::default());
    let at = |ms: i64| [(NOW_MS + ms, ms as f64)];
    rig.write(&[("a", &at(0)), ("b", &at(0)), ("c", &at(0))]).await.unwrap();
    rig.write(&[("c", &at(1)), ("a", &at(1)), ("new", &at(1)), ("b", &at(1))]).await.unwrap();
    rig.write(&[("b", &at(2)), ("b", &at(3)), ("c", &at(2)), ("a", &at(2))]).await.unwrap();
    let kept = |name: &str| {
        let samples = rig.replicas[0].samples("default", &metric(name));
        samples.into_iter().map(|(time, value)| (time - NOW_MS, value)).collect::<Vec<_>>()
    };
    assert_eq!(kept("a"), [(0, 0.0), (1, 1.0), (2, 2.0)]);
    assert_eq!(kept("b"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]);
    assert_eq!(kept("c"), [(0, 0.0), (1, 1.0), (2, 2.0)]);
    assert_eq!(kept("new"), [(1, 1.0)]);
}

#[tokio::test]
async fn a_series_whose_labels_begin_like_the_expected_ones_is_another_series() {
    let rig = alone(Limits::default());
    let (short, long) = (metric("m"), labels(&[("__name__", "m"), ("job", "a"), ("z", "1")]));
    let first = metric("first");
    for (round, second) in [&short, &long, &short, &long].into_iter().enumerate() {
        let samples = vec![(NOW_MS + i64::try_from(round).unwrap(), 1.0)];
        let series = [&first, second]
            .map(|labels| PushSeries { labels: labels.clone(), samples: samples.clone() });
        rig.distributor.push(&id("default"), Principal::System, &series, &[]).await.unwrap();
    }
    let times = |labels: &LabelSet| {
        let samples = rig.replicas[0].samples("default", labels);
        samples.into_iter().map(|(time, _)| time - NOW_MS).collect::<Vec<_>>()
    };
    assert_eq!((times(&short), times(&long)), (vec![0, 2], vec![1, 3]));
    assert_eq!(times(&first), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_replica_that_forgot_its_numbers_is_sent_labels_once() {
    let rig = cluster(3, 3);
    rig.write(&[("a", &[(NOW_MS, 1.0)])]).await.unwrap();
    rig.settle().await;
    rig.replicas[1].restart();
    rig.write(&[("a", &[(NOW_MS + 1, 2.0)])]).await.unwrap();
    rig.settle().await;
    rig.write(&[("a", &[(NOW_MS + 2, 3.0)])]).await.unwrap();
    rig.settle().await;

    for replica in &rig.replicas {
        assert_eq!(replica.samples("default", &metric("a")).len(), 3);
    }
    assert_eq!(rig.replicas[0].counts(), (2, 1));
    // By labels, refused numbers and labels again, by number.
    assert_eq!(rig.replicas[1].counts(), (1, 2));
    assert_eq!(counter(&rig.registry, "cumae_distributor_writes_resent_total")[""], 1.0);
}

#[tokio::test]
async fn a_replica_that_asks_for_labels_for_ever_is_a_failed_one() {
    let rig = alone(Limits::default());
    rig.replicas[0].set_mood(Mood::AlwaysNeedsLabels);
    let error = rig.write(&[("a", &[(NOW_MS, 1.0)])]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(rig.replicas[0].writes(), 2);
}

#[tokio::test]
async fn one_of_three_may_be_dead_and_two_may_not() {
    let rig = cluster(3, 3);
    rig.replicas[0].set_mood(Mood::Fails(Kind::Unavailable));
    rig.write(&[("a", &[(NOW_MS, 1.0)])]).await.unwrap();

    rig.replicas[1].set_mood(Mood::Fails(Kind::Unavailable));
    let error = rig.write(&[("a", &[(NOW_MS + 1, 1.0)])]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    assert!(text.starts_with("2 of 3 replicas have to take the write and 1 can"), "{text}");

    rig.replicas[0].set_mood(Mood::Well);
    rig.write(&[("a", &[(NOW_MS + 1, 1.0)])]).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_the_third_replica_and_it_is_heard_all_the_same() {
    let rig = cluster(3, 3);
    rig.replicas[2].set_mood(Mood::Silent);
    rig.write(&[("a", &[(NOW_MS, 1.0)])]).await.unwrap();
    assert_eq!(rig.replicas[0].samples("default", &metric("a")).len(), 1);
    assert_eq!(rig.replicas[1].samples("default", &metric("a")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_silent_replicas_of_three_are_a_timeout() {
    let rig = cluster(3, 3);
    rig.replicas[0].set_mood(Mood::Silent);
    rig.replicas[1].set_mood(Mood::Silent);
    let error = rig.write(&[("a", &[(NOW_MS, 1.0)])]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
}

#[tokio::test]
async fn a_series_that_only_one_of_three_refuses_is_taken() {
    let rig = cluster(3, 3);
    rig.replicas[0].set_mood(Mood::RefusesNewSeries);
    assert_eq!(rig.write(&[("a", &[(NOW_MS, 1.0)])]).await.unwrap().message(), None);
}

#[tokio::test]
async fn a_series_that_two_of_three_refuse_is_refused() {
    let rig = cluster(3, 3);
    rig.write(&[("known", &[(NOW_MS, 1.0)])]).await.unwrap();
    rig.settle().await;
    rig.replicas[0].set_mood(Mood::RefusesNewSeries);
    rig.replicas[2].set_mood(Mood::RefusesNewSeries);
    let refusals =
        rig.write(&[("new", &[(NOW_MS, 1.0)]), ("known", &[(NOW_MS + 1, 1.0)])]).await.unwrap();
    assert_eq!((refusals.received(Item::Float), refusals.refused(Item::Float)), (2, 1));
    let message = refusals.message().unwrap();
    assert!(message.contains("{__name__=\"new\", job=\"a\"}"), "{message}");
}

#[tokio::test]
async fn each_sample_goes_to_the_replicas_of_its_partition_and_to_no_other() {
    let rig = cluster(5, 3);
    let names: Vec<String> = (0..40).map(|number| format!("metric_{number}")).collect();
    // The first and last moment of a day, and a day long ago: three partitions a series.
    let noon = NOW_MS.div_euclid(DAY_MS) * DAY_MS;
    let samples = [(noon - 1, 1.0), (noon, 2.0), (noon + 5, 3.0), (noon - 90 * DAY_MS, 4.0)];
    let series: Vec<_> = names.iter().map(|name| (name.as_str(), &samples[..])).collect();
    // By labels, then by numbers.
    for _ in 0..2 {
        rig.write(&series).await.unwrap();
        rig.settle().await;
    }
    let topology = topology(5, 3);
    for name in &names {
        for (place, replica) in rig.replicas.iter().enumerate() {
            let owns = |time: i64| {
                let day = TimestampMs(time).day();
                let token = PartitionKey::whole(id("default"), name.as_str(), day).token();
                topology.placement.replicas(token).iter().any(|node| node.index() == place)
            };
            let mut expected: Vec<_> =
                samples.iter().copied().filter(|(time, _)| owns(*time)).collect();
            expected.sort_by_key(|(time, _)| *time);
            assert_eq!(replica.samples("default", &metric(name)), expected, "{name} on {place}");
        }
    }
}

#[tokio::test]
async fn a_refused_series_of_two_days_counts_each_sample_once() {
    let rig = cluster(5, 3);
    for replica in &rig.replicas {
        replica.set_mood(Mood::RefusesNewSeries);
    }
    let days: Vec<_> = (0..20).map(|day| (NOW_MS - day * DAY_MS, 1.0)).collect();
    let refusals = rig.write(&[("a", &days)]).await.unwrap();
    assert_eq!((refusals.received(Item::Float), refusals.refused(Item::Float)), (20, 20));
}

#[tokio::test]
async fn metadata_lies_where_its_metric_lies_today() {
    let rig = cluster(5, 3);
    let metadata = MetricMetadata {
        metric: "up".into(),
        metric_type: MetricType::Gauge,
        help: "".into(),
        unit: "".into(),
    };
    rig.distributor.push(&id("default"), Principal::System, &[], &[metadata]).await.unwrap();
    rig.settle().await;
    let topology = topology(5, 3);
    let token = PartitionKey::whole(id("default"), "up", TimestampMs(NOW_MS).day()).token();
    let owners = topology.placement.replicas(token);
    for (place, replica) in rig.replicas.iter().enumerate() {
        let owns = owners.iter().any(|node| node.index() == place);
        assert_eq!(replica.metadata_names().len(), usize::from(owns), "{place}");
    }
}

#[tokio::test]
async fn a_tenant_does_not_get_the_numbers_of_another() {
    let rig = alone(Limits::default());
    for tenant in ["a", "b", "a", "b"] {
        let series = PushSeries { labels: metric("m"), samples: vec![(NOW_MS, 1.0)] };
        rig.distributor.push(&id(tenant), Principal::System, &[series], &[]).await.unwrap();
    }
    assert_eq!(rig.replicas[0].counts(), (2, 2));
    for tenant in ["a", "b"] {
        assert_eq!(rig.replicas[0].samples(tenant, &metric("m")).len(), 1);
    }
}

/// A request: series by their number, each with the number of its samples.
type Script = Vec<Vec<(u8, u8)>>;

fn script() -> impl Strategy<Value = Script> {
    let request = prop::collection::vec((0_u8..12, 0_u8..4), 0..12);
    prop::collection::vec(request, 1..6)
}

/// Series of one length, so that only their hashes tell them apart, and some of others.
fn numbered(number: u8) -> LabelSet {
    let filler = "x".repeat(usize::from(number % 3) * 70);
    labels(&[("__name__", &format!("metric_{number:02}")), ("filler", &filler), ("job", "a")])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_the_order_each_replica_keeps_what_was_sent(
        script in script(),
        restarts in prop::collection::vec(0_usize..4, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let rig = cluster(3, 3);
        let mut sent = std::collections::BTreeMap::<u8, Vec<(i64, f64)>>::new();
        let mut time = NOW_MS;
        for (place, request) in script.into_iter().enumerate() {
            let mut series = Vec::new();
            for (number, count) in request {
                let samples: Vec<_> = (0..i64::from(count)).map(|n| (time + n, n as f64)).collect();
                time += i64::from(count);
                sent.entry(number).or_default().extend(&samples);
                series.push(PushSeries { labels: numbered(number), samples });
            }
            if let Some(replica) = restarts.get(place).and_then(|at| rig.replicas.get(*at)) {
                replica.restart();
            }
            runtime.block_on(async {
                let tenant = id("default");
                let pushed = rig.distributor.push(&tenant, Principal::System, &series, &[]);
                assert_eq!(pushed.await.unwrap().message(), None);
                rig.settle().await;
            });
        }
        for replica in &rig.replicas {
            for (number, samples) in &sent {
                prop_assert_eq!(&replica.samples("default", &numbered(*number)), samples);
            }
        }
    }
}
