//! A store's files over the fake.

use crate::cassandra::fake::{Fake, Faults};
use crate::cassandra::{Database, RowStore};
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection, Wanted};
use model::{
    Context, LabelSet, METRIC_NAME, Matcher, Principal, QueryShard, RequestId, SeriesRef, TenantId,
    TimeRange, TimestampMs,
};
use std::sync::Arc;
use store::Engine;
use store::engine::{AppendLimits, Parts};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const FILES: i64 = 100;

fn open(fake: &Fake, incarnation: u128) -> Engine {
    let database = Database::new(Arc::new(fake.clone()), incarnation, 1, false).unwrap();
    let store: RowStore = database.place(0, 0);
    let parts = Parts { disk: store.disk(), cluster_name: "c".to_owned(), generation_seed: 1 };
    Engine::open_on(&store, parts, store::Config::default(), NOW).unwrap().0
}

fn sample(at_ms: i64) -> Mutation {
    let context = Context {
        tenant: TenantId::parse("t").unwrap(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: TimestampMs(0),
        ring_version: 0,
    };
    let mut mutation = Mutation::empty(Arc::new(context));
    let up = LabelSet::from_pairs([(METRIC_NAME, "up")]).unwrap();
    mutation.push(SeriesRef::Labels(up), [(at_ms, 1.0)]);
    mutation
}

#[test]
fn what_several_files_hold_is_asked_for_at_once() {
    let fake = Fake::new(1, Faults::default());
    let engine = open(&fake, 1);
    for file in 0..FILES {
        engine.append(&sample(NOW.0 + file), AppendLimits::NONE, NOW).unwrap();
        engine.sync().unwrap();
        engine.flush(NOW).unwrap();
    }
    drop(engine);
    let before = fake.rounds();
    let engine = open(&fake, 2);
    let opening = fake.rounds() - before;
    let selection = Selection {
        matchers: vec![Matcher::equal(METRIC_NAME, "up")],
        range: TimeRange::ALL,
        days: None,
        shard: QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: Wanted::ALL,
    };
    let before = fake.rounds();
    let series = engine.select(&TenantId::parse("t").unwrap(), &selection, NOW).unwrap();
    let reading = fake.rounds() - before;
    assert_eq!(series[0].floats.len(), usize::try_from(FILES).unwrap());
    assert!(opening < 60, "{opening} round trips to open {FILES} files");
    assert!(reading < 40, "{reading} round trips to read {FILES} files");
}
