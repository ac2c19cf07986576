//! A store in rows whose process dies in each of its calls, is taken over while it lives, or stands on
//! nodes that answer too early.

use ingester::cassandra::RowStore;
use ingester::cassandra::fake::{Fake, Faults};
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection};
use model::{
    Context, DeleteRequest, LabelSet, METRIC_NAME, Principal, QueryShard, RequestId, SeriesRef,
    TenantId, TimeRange, TimestampMs,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::engine::{AppendLimits, Appended, Parts};
use store::{Config, Engine, Error};
use tests::store_suite::NOW;

fn open(fake: &Fake, life: u64) -> Result<Engine, Error> {
    let store = RowStore::new(Arc::new(fake.clone()), u128::from(life), false)?;
    let parts =
        Parts { disk: store.disk(), cluster_name: "crash".to_owned(), generation_seed: life };
    Ok(Engine::open_on(&store, parts, Config::default(), NOW)?.0)
}

/// A life that comes up, however often it has to try.
fn up(fake: &Fake, life: u64) -> Engine {
    let mut opened = open(fake, life);
    for _ in 0..50 {
        if opened.is_ok() {
            break;
        }
        opened = open(fake, life);
    }
    opened.unwrap()
}

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

/// The moment of a sample.
fn at(number: i64) -> i64 {
    NOW.0 + number * 1_000
}

fn append(engine: &Engine, number: i64) -> Result<(), String> {
    let mut m = Mutation::empty(Arc::new(Context {
        tenant: tenant(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        ring_version: 0,
        now: TimestampMs(0),
    }));
    // Two series, so that some are new when others are known.
    let instance = if number % 4 == 0 { "a" } else { "b" };
    let labels = LabelSet::from_pairs([(METRIC_NAME, "m"), ("instance", instance)]).unwrap();
    m.push(SeriesRef::Labels(labels), [(at(number), 1.0)]);
    let appended = engine.append(&m, AppendLimits::NONE, NOW).map_err(|e| e.to_string())?;
    let synced = engine.sync().map_err(|failed| failed.to_string())?;
    match appended {
        Appended::Queued { ticket, .. } if synced >= ticket => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn found(engine: &Engine) -> BTreeSet<i64> {
    let selection = Selection {
        matchers: Vec::new(),
        range: TimeRange::ALL,
        days: None,
        shard: QueryShard::ALL,
        wanted: model::read::Wanted::ALL,
        bounds: SelectBounds::NONE,
    };
    let mut answer = engine.select(&tenant(), &selection, NOW);
    for _ in 0..50 {
        if answer.is_ok() {
            break;
        }
        answer = engine.select(&tenant(), &selection, NOW);
    }
    let answer = answer.unwrap();
    let moments = answer.iter().flat_map(|series| series.floats.timestamps_ms.iter());
    moments.map(|ms| (ms - NOW.0) / 1_000).collect()
}

/// What may be said of samples.
#[derive(Debug, Default)]
struct Said {
    acknowledged: BTreeSet<i64>,
    tried: BTreeSet<i64>,
    /// Deleted, and that was acknowledged.
    deleted: BTreeSet<i64>,
    /// Deleted, perhaps.
    perhaps: BTreeSet<i64>,
}

impl Said {
    fn append(&mut self, engine: &Engine, number: i64) {
        self.tried.insert(number);
        if append(engine, number).is_ok() {
            self.acknowledged.insert(number);
        }
    }

    fn delete(&mut self, engine: &Engine, number: i64) {
        let range = TimeRange { start: TimestampMs(at(number)), end: TimestampMs(at(number) + 1) };
        let request = DeleteRequest { matcher_sets: vec![vec![]], range, revision_max: 0 };
        let deleted = engine.delete(&tenant(), &request, NOW).is_ok();
        if deleted { &mut self.deleted } else { &mut self.perhaps }.insert(number);
    }

    fn holds(&self, found: &BTreeSet<i64>, what: &str) {
        let gone = |number: &&i64| !self.deleted.contains(number) && !self.perhaps.contains(number);
        let lost: Vec<_> =
            self.acknowledged.iter().filter(gone).filter(|n| !found.contains(n)).collect();
        assert!(lost.is_empty(), "{what}: {lost:?} are lost");
        assert!(found.is_subset(&self.tried), "{what}: {found:?}");
        assert!(found.is_disjoint(&self.deleted), "{what}: {found:?} of {:?}", self.deleted);
    }
}

/// Appends, flushes, deletes and seals; each may fail from some call on.
fn story(engine: &Engine, said: &mut Said) {
    for number in 0..12 {
        said.append(engine, number);
        match number {
            3 | 6 | 10 => drop(engine.flush(NOW)),
            4 => said.delete(engine, 1),
            8 => {
                for window in engine.windows_to_seal() {
                    if let Ok(Some(due)) = engine.seal(window) {
                        drop(engine.compact(&due, NOW, &mut |_| true));
                    }
                }
            }
            _ => {}
        }
    }
}

fn dies_in_each_call(faults: Faults, seeds: std::ops::Range<u64>) -> u64 {
    let mut stops = 0;
    for seed in seeds {
        for call in 0.. {
            let what = format!("seed {seed}, call {call}");
            let fake = Fake::new(seed * 1_000 + call, faults);
            let mut said = Said::default();
            let engine = up(&fake, 1);
            fake.stop_in(call);
            let before = fake.calls();
            story(&engine, &mut said);
            let is_over = fake.calls() - before <= call;
            drop(engine);
            fake.restart();
            if call % 2 == 0 {
                fake.deliver();
            }
            let engine = up(&fake, 2);
            said.holds(&found(&engine), &what);
            said.append(&engine, 20);
            drop(engine.flush(NOW));
            said.append(&engine, 21);
            drop(engine);
            fake.deliver();
            said.holds(&found(&up(&fake, 3)), &what);
            stops += 1;
            if is_over {
                break;
            }
            assert!(call < 2_000, "the story comes to an end");
        }
    }
    stops
}

#[test]
fn whichever_call_a_process_dies_in_nothing_acknowledged_is_lost() {
    let stops = dies_in_each_call(Faults::default(), 0..4);
    assert!(stops > 100, "{stops} calls");
}

#[test]
fn also_while_the_database_times_out() {
    let faults = Faults { write_unknown: 30, read_unknown: 10, change_unknown: 30, ..Faults::SOME };
    let stops = dies_in_each_call(faults, 0..6);
    assert!(stops > 100, "{stops} calls");
}

#[test]
fn a_life_that_was_taken_over_changes_nothing_any_more() {
    let fake = Fake::new(1, Faults::default());
    let mut said = Said::default();
    let old = up(&fake, 1);
    (0..3).for_each(|number| said.append(&old, number));
    old.flush(NOW).unwrap();
    said.append(&old, 3);
    let new = up(&fake, 2);
    said.holds(&found(&new), "taken over");
    assert!(matches!(old.flush(NOW), Err(Error::Fenced { .. })));
    let request =
        DeleteRequest { matcher_sets: vec![vec![]], range: TimeRange::ALL, revision_max: 0 };
    assert!(matches!(old.delete(&tenant(), &request, NOW), Err(Error::Fenced { .. })));
    said.append(&new, 4);
    new.flush(NOW).unwrap();
    said.holds(&found(&up(&fake, 3)), "the third life");
    assert_eq!(found(&up(&fake, 4)).len(), 5);
}

#[test]
fn nodes_that_answer_before_they_sync_are_refused_and_would_lose_samples() {
    let fake = Fake::new(1, Faults { is_periodic: true, ..Faults::default() });
    let refused = open(&fake, 1).unwrap_err();
    assert!(refused.to_string().contains("commitlog_sync: periodic"), "{refused}");

    let open = |life| {
        let store = RowStore::new(Arc::new(fake.clone()), life, true).unwrap();
        let parts = Parts { disk: store.disk(), cluster_name: "c".into(), generation_seed: 1 };
        Engine::open_on(&store, parts, Config::default(), NOW).unwrap().0
    };
    let engine = open(1);
    append(&engine, 0).unwrap();
    fake.sync();
    append(&engine, 1).unwrap();
    (0..3).for_each(|node| fake.crash(node));
    assert_eq!(found(&open(2)), BTreeSet::from([0]));
}
