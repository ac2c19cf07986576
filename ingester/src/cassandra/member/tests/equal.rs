//! What places answer together is what one store in a directory answers.

use super::super::Places;
use super::Plant;
use super::world::{World, context};
use crate::cassandra::fake::Faults;
use crate::config::Config;
use crate::embedded::{Embedded, EmbeddedParts};
use cluster::{Topology, TopologyConfig};
use guard::{LimitTable, Limits};
use model::mutation::{MetricMetadata, MetricType, Mutation, WriteAnswer};
use model::read::{
    ExemplarQuery, LabelQuery, LabelWant, MetadataQuery, SelectBounds, Selection, Wanted,
};
use model::{
    DeleteRequest, Exemplar, LabelSet, METRIC_NAME, Matcher, QueryShard, SeriesRef, TimeRange,
    TimestampMs,
};
use std::sync::Arc;
use store::disk::FileDisk;
use store::engine::Parts;
use wire::replica::Replica;

const AT_MS: i64 = 1_700_000_000_000;

fn labels(metric: usize, instance: usize) -> LabelSet {
    let pairs = [(METRIC_NAME, format!("m{metric}")), ("instance", format!("i{instance}"))];
    LabelSet::from_pairs(pairs).unwrap()
}

/// Series of ten metrics, some without a name, with samples of two days, exemplars and metadata.
fn mutation() -> Mutation {
    let mut whole = Mutation::empty(context());
    for series in 0..40 {
        let (metric, instance) = (series % 10, series / 10);
        let moments = [AT_MS - 86_400_000, AT_MS + 1_000 * i64::try_from(series).unwrap()];
        let rows = moments.map(|at| (at, 0.5));
        let labels = match metric {
            9 => LabelSet::from_pairs([("instance", format!("i{instance}"))]).unwrap(),
            _ => labels(metric, instance),
        };
        whole.push(SeriesRef::Labels(labels), rows);
        let trace = LabelSet::from_pairs([("trace_id", format!("t{series}"))]).unwrap();
        let exemplar = Exemplar { labels: trace, timestamp_ms: moments[1], value: 1.0 };
        whole.exemplars.push((u32::try_from(series).unwrap(), exemplar));
    }
    for metric in 0..10 {
        whole.metadata.push(MetricMetadata {
            metric: format!("m{metric}").as_str().into(),
            metric_type: MetricType::Gauge,
            help: "h".into(),
            unit: "".into(),
        });
    }
    whole
}

fn embedded(dir: &std::path::Path, world: &World) -> Arc<Embedded> {
    let parts = EmbeddedParts {
        name: "n0".into(),
        store: Parts {
            disk: Arc::new(FileDisk::open(dir).unwrap()),
            cluster_name: "c".into(),
            generation_seed: 7,
        },
        clock: Arc::new(world.time.clone()),
        limits: Arc::new(LimitTable::new(Limits::default())),
        share: Arc::new(Topology::new(TopologyConfig::alone("n0")).unwrap()),
        registry: prometheus::Registry::new(),
    };
    // No job runs by itself: a purge between two questions would let go of metadata.
    let config = Config { job_poll_ms: 60_000, ..Config::default() };
    Embedded::open(parts, &config).unwrap().0
}

/// Everything that can be asked, as text.
async fn answers(of: &dyn Replica) -> Vec<String> {
    let mut all = Vec::new();
    let regex =
        |value: &str| vec![Matcher::new(METRIC_NAME, model::matcher::MatchOp::Regex, value)];
    let one = vec![Matcher::equal(METRIC_NAME, "m3")];
    let instance = vec![Matcher::equal("instance", "i1")];
    let nameless = vec![Matcher::equal(METRIC_NAME, "")];
    let sets = [vec![], one, instance, nameless, regex("m1|m2|m7"), regex("m.*"), regex("m[")];
    for matchers in &sets {
        for samples_max in [u64::MAX, 9] {
            let selection = Selection {
                matchers: matchers.clone(),
                range: TimeRange::ALL,
                days: None,
                shard: QueryShard::ALL,
                bounds: SelectBounds { samples_max, ..SelectBounds::NONE },
                wanted: Wanted::ALL,
            };
            let found = of.select(context(), selection).await;
            all.push(format!("{:?}", found.map_err(|error| (error.kind, error.message))));
        }
        let wants = [LabelWant::Names, LabelWant::Values("instance".into()), LabelWant::Series];
        for (want, limit) in wants.into_iter().flat_map(|want| [(want.clone(), 0), (want, 3)]) {
            let matcher_sets = vec![matchers.clone()];
            let range = TimeRange::ALL;
            let query = LabelQuery { want, matcher_sets, range, limit, tombstones_max: u64::MAX };
            all.push(format!("{:?}", of.labels(context(), query).await.map_err(|e| e.message)));
        }
        let query = ExemplarQuery {
            matcher_sets: vec![matchers.clone()],
            range: TimeRange::ALL,
            exemplars_max: u64::MAX,
            tombstones_max: u64::MAX,
        };
        all.push(format!("{:?}", of.exemplars(context(), query).await.map_err(|e| e.message)));
    }
    for metric in [None, Some("m4".into()), Some("none".into())] {
        all.push(format!("{:?}", of.metadata(context(), MetadataQuery { metric }).await));
    }
    let activity = of.activity(context()).await.unwrap();
    all.push(format!("{}", activity.series));
    all
}

#[test]
fn places_together_answer_as_one_store_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(1, 1, Faults::default(), Plant::Nothing);
    world.run(5_000);
    let member = Arc::clone(&world.processes[0].as_ref().unwrap().member);
    let (places, one) = (Places::new(member), embedded(dir.path(), &world));
    world.runtime.block_on(async {
        let WriteAnswer::Written(first) = places.write(mutation()).await.unwrap() else {
            panic!("labels were sent")
        };
        assert_eq!(first.numbers.len(), 40);
        one.write(mutation()).await.unwrap();
        // The same series again, by the numbers that they were given.
        let mut again = mutation();
        again.generation = first.generation;
        for (index, number) in &first.numbers {
            again.series[*index as usize].series = SeriesRef::Number(*number);
        }
        again.timestamps_ms.iter_mut().for_each(|at| *at += 100);
        let mut by_labels = mutation();
        by_labels.timestamps_ms.clone_from(&again.timestamps_ms);
        assert!(matches!(places.write(again.clone()).await, Ok(WriteAnswer::Written(_))));
        one.write(by_labels).await.unwrap();
        again.generation += 1;
        assert_eq!(places.write(again).await, Ok(WriteAnswer::NeedLabels));
        for step in 0..3 {
            let (ours, theirs) = (answers(&places).await, answers(&*one).await);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "step {step}");
            }
            let matcher_sets = vec![vec![Matcher::equal("instance", "i2")]];
            let end = TimestampMs(AT_MS - 1_000);
            let range = TimeRange { end, ..TimeRange::ALL };
            let request = DeleteRequest { matcher_sets, range, revision_max: 0 };
            let deleted = places.delete(context(), request.clone()).await;
            assert_eq!(deleted, one.delete(context(), request).await);
            places.flush().await.unwrap();
            one.flush().await.unwrap();
        }
    });
}
