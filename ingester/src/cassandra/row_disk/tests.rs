//! A store's files over the fake.

use crate::cassandra::fake::{Fake, Faults};
use crate::cassandra::rows::Rows;
use crate::cassandra::schema;
use crate::cassandra::{Database, RowStore};
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection, Wanted};
use model::{
    Context, LabelSet, METRIC_NAME, Matcher, Principal, QueryShard, RequestId, Retention,
    RetentionRules, SeriesRef, TenantId, TimeRange, TimestampMs,
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

fn append(engine: &Engine, at_ms: i64) -> store::Result<()> {
    engine.append(&sample(at_ms), AppendLimits::NONE, NOW).unwrap();
    engine.sync().unwrap();
    engine.flush(NOW).map(drop)
}

#[test]
fn a_table_of_segments_that_somebody_dropped_is_made_again_for_what_comes() {
    let fake = Fake::new(1, Faults::default());
    let engine = open(&fake, 1);
    append(&engine, NOW.0).unwrap();
    let table = || fake.tables().unwrap().into_iter().find(|name| name.starts_with("segments_"));
    let dropped = table().unwrap();
    fake.drop_table(&dropped).unwrap();
    assert!(append(&engine, NOW.0 + 1).is_err());
    append(&engine, NOW.0 + 2).unwrap();
    assert_eq!(table(), Some(dropped));
}

#[test]
fn a_file_whose_table_is_gone_is_deleted() {
    let fake = Fake::new(1, Faults::default());
    let database = Database::new(Arc::new(fake.clone()), 1, 1, false).unwrap();
    let disk = database.place(0, 0).disk();
    let path = "sstables/000000000000002a.sst";
    let mut file = disk.create_new(path).unwrap();
    file.append(b"x").unwrap();
    file.sync_data().unwrap();
    fake.drop_table(schema::DEFINITIONS).unwrap();
    disk.unlink(path).unwrap();
    assert!(disk.open(path).is_err(), "it is not known any more");
}

#[test]
fn a_manifest_that_somebody_dropped_is_not_made_anew() {
    let fake = Fake::new(1, Faults::default());
    let engine = open(&fake, 1);
    append(&engine, NOW.0).unwrap();
    drop(engine);
    fake.drop_table(schema::MANIFEST).unwrap();
    let database = Database::new(Arc::new(fake.clone()), 2, 1, false).unwrap();
    let store = database.place(0, 0);
    let parts = Parts { disk: store.disk(), cluster_name: "c".to_owned(), generation_seed: 1 };
    let opened = Engine::open_on(&store, parts, store::Config::default(), NOW);
    let error = opened.map(drop).unwrap_err().to_string();
    assert!(error.contains("table `manifest` is not there: somebody dropped it"), "{error}");
    assert!(!fake.tables().unwrap().contains(&schema::MANIFEST.to_owned()));
}

#[test]
fn a_clock_that_is_ahead_of_the_nodes_throws_nothing_away() {
    const DAY_MS: i64 = 86_400_000;
    let default = RetentionRules::all(Retention::from_ms(30 * 86_400_000));
    let kept = store::RetentionConfig { default, ..store::RetentionConfig::default() };
    let expired = |node_ms: Option<i64>| {
        let fake = Fake::new(1, Faults::default());
        let database = Database::new(Arc::new(fake.clone()), 1, 1, false).unwrap();
        let store = database.place(0, 0);
        let parts = Parts { disk: store.disk(), cluster_name: "c".to_owned(), generation_seed: 1 };
        let engine = Engine::open_on(&store, parts, store::Config::default(), NOW).unwrap().0;
        engine.set_retention(&kept, NOW).unwrap();
        append(&engine, NOW.0).unwrap();
        // A year ahead, and that for more than an hour.
        for minute in 0..90 {
            let now = TimestampMs(NOW.0 + 365 * DAY_MS + minute * 60_000);
            if let Some(node_ms) = node_ms {
                fake.set_clock(node_ms + minute * 60_000);
            }
            assert!(database.look_at_clock(now.0).unwrap() >= 0);
            while let Some(job) = engine.next_job(now) {
                engine.run(job, now).unwrap();
            }
        }
        let tables = fake.tables().unwrap();
        !tables.iter().any(|name| name.starts_with("segments_"))
    };
    assert!(expired(None), "without a word of theirs the clock is believed after an hour");
    assert!(expired(Some(NOW.0 + 365 * DAY_MS)), "they say the same");
    assert!(!expired(Some(NOW.0)), "they say that it is ahead");
}
