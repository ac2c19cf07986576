//! Snapshots of a store at work: as of one moment, whole or not there, and readable elsewhere.

use crate::disk::{Disk, FileDisk};
use crate::engine::{AppendLimits, Appended, Engine, Parts};
use crate::sim::SimDisk;
use crate::snapshot::{self, Place};
use crate::{Config, Error};
use model::mutation::{MetricMetadata, MetricType, Mutation};
use model::read::{MetadataQuery, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{
    Context, LabelSet, MatchOp, Matcher, Principal, RequestId, SeriesRef, TenantId, TimeRange,
    TimestampMs,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static STARTS: AtomicU64 = AtomicU64::new(1);
const NOW: TimestampMs = TimestampMs(1_760_000_000_000);

fn open(disk: Arc<dyn Disk>) -> Result<Engine, Error> {
    let parts = Parts {
        disk,
        cluster_name: "c".to_owned(),
        generation_seed: STARTS.fetch_add(1, Ordering::Relaxed),
    };
    let (engine, report) = Engine::open(parts, Config::default(), NOW)?;
    assert_eq!(report.replay.damage, Vec::new());
    assert!(report.sstables_damaged.is_empty());
    Ok(engine)
}

fn request(number: i64) -> Mutation {
    wide_request(number, 10)
}

/// One request: the same number into each of some series, at a moment of its own.
fn wide_request(number: i64, series: u32) -> Mutation {
    let mut mutation = Mutation::empty(Arc::new(Context {
        tenant: TenantId::parse("t").unwrap(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    }));
    for series in 0..series {
        let name = format!("m{series}");
        let job = format!("j{series}");
        let labels = LabelSet::from_pairs([("__name__", name.as_str()), ("job", &job)]).unwrap();
        // Some of them a day back: several windows.
        let at = NOW.0 + number - DAY_MS * (number % 3);
        mutation.push(SeriesRef::Labels(labels), [(at, f64::from(i32::try_from(number).unwrap()))]);
    }
    let metadata = MetricMetadata {
        metric: "m0".into(),
        metric_type: MetricType::Gauge,
        help: "help".into(),
        unit: "".into(),
    };
    mutation.metadata.push(metadata);
    mutation
}

fn send(engine: &Engine, number: i64) -> Result<(), Error> {
    let appended = engine.append(&request(number), AppendLimits::NONE, NOW)?;
    assert!(matches!(appended, Appended::Queued { .. }));
    engine.sync().map(drop).map_err(|failed| failed.error)
}

/// For each series the numbers it holds, ascending.
fn numbers(engine: &Engine) -> Vec<Vec<i64>> {
    let selection = Selection {
        matchers: vec![Matcher::new("job", MatchOp::NotEqual, "")],
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    };
    let answer = engine.select(&TenantId::parse("t").unwrap(), &selection, NOW).unwrap();
    let sorted = |values: Vec<f64>| {
        #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
        let mut numbers: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
        numbers.sort_unstable();
        numbers
    };
    answer.into_iter().map(|series| sorted(series.floats.values)).collect()
}

fn restored(from: &dyn Disk, place: Place, name: &str) -> Engine {
    let target = SimDisk::new(0);
    let snapshot = snapshot::load(from, name).unwrap();
    snapshot::restore(from, place, &snapshot, &target, "target").unwrap();
    open(Arc::new(target)).unwrap()
}

#[test]
fn a_restored_snapshot_is_the_store_as_it_was_with_metadata_and_goes_on() {
    let disk = SimDisk::new(0);
    let engine = open(Arc::new(disk.clone())).unwrap();
    (0..20).for_each(|number| send(&engine, number).unwrap());
    engine.flush(NOW).unwrap();
    (20..40).for_each(|number| send(&engine, number).unwrap());
    let as_of = numbers(&engine);
    let taken = engine.snapshot("one", NOW).unwrap();
    (40..60).for_each(|number| send(&engine, number).unwrap());
    assert!(matches!(engine.snapshot("one", NOW), Err(Error::SnapshotExists { .. })));
    assert!(matches!(engine.snapshot("../x", NOW), Err(Error::BadSnapshotName { .. })));

    assert_eq!(snapshot::list(&disk).unwrap(), [taken]);
    let again = restored(&disk, Place::Store, "one");
    assert_eq!(numbers(&again), as_of);
    let query = MetadataQuery { metric: None };
    let tenant = TenantId::parse("t").unwrap();
    assert_eq!(again.metadata(&tenant, &query), engine.metadata(&tenant, &query));
    assert_eq!(again.metadata(&tenant, &query).len(), 1);
    send(&again, 99).unwrap();
    assert_eq!(numbers(&again)[0].last(), Some(&99));
    assert_eq!(numbers(&engine).len(), 10);
    assert_eq!(numbers(&engine)[0].len(), 60);
}

#[test]
fn a_snapshot_under_concurrent_appends_holds_whole_requests_and_all_that_were_answered() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
    let engine = open(disk.clone()).unwrap();
    let (stop, answered) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let mut floors = Vec::new();
    std::thread::scope(|scope| {
        for (writer, answered) in (0..).zip(&answered) {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                for turn in 0..20_000_i32 {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let request = wide_request(i64::from(turn) * 3 + writer, 100);
                    engine.append(&request, AppendLimits::NONE, NOW).unwrap();
                    // Mostly somebody is between log and head, not waiting for the disk.
                    if turn % 10 == 9 {
                        engine.sync().unwrap();
                        answered.store(u64::from(turn.unsigned_abs()) + 1, Ordering::Release);
                    }
                }
            });
        }
        for name in NAMES {
            while answered.iter().any(|a| a.load(Ordering::Acquire) < 20) {
                std::thread::yield_now();
            }
            floors.push(answered.each_ref().map(|a| a.load(Ordering::Acquire)));
            engine.snapshot(name, NOW).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (name, floor) in NAMES.iter().zip(floors) {
        let again = restored(&*disk, Place::Store, name);
        let series = numbers(&again);
        assert_eq!(series.len(), 100);
        assert!(series.iter().all(|one| *one == series[0]), "{name} cuts a request in two");
        for (writer, floor) in (0..).zip(floor) {
            let own: Vec<i64> = series[0].iter().filter(|n| *n % 3 == writer).copied().collect();
            assert!(own.len() as u64 >= floor, "{name} lost what was answered");
            // A writer's requests come one after the other: there is no gap among those it has.
            assert!(own.iter().zip(0..).all(|(n, turn)| *n == turn * 3 + writer), "{name}");
        }
    }
}

#[test]
fn stopped_at_every_call_a_snapshot_is_whole_or_not_there_and_the_store_is_right() {
    let prepare = |disk: &SimDisk| {
        let engine = open(Arc::new(disk.clone())).unwrap();
        (0..6).for_each(|number| send(&engine, number).unwrap());
        engine.flush(NOW).unwrap();
        (6..12).for_each(|number| send(&engine, number).unwrap());
        engine
    };
    let whole = SimDisk::new(0);
    let engine = prepare(&whole);
    let expected = numbers(&engine);
    let first = whole.calls();
    engine.snapshot("s", NOW).unwrap();
    let made = whole.calls();
    snapshot::delete(&whole, "s").unwrap();
    let (mut kept, mut gone) = (0, 0);
    for stop_at in first..=whole.calls() {
        for seed in 0..6 {
            let disk = SimDisk::new(seed);
            let engine = prepare(&disk);
            disk.stop_at(stop_at);
            let taken = engine.snapshot("s", NOW);
            let deleted = taken.is_ok() && snapshot::delete(&disk, "s").is_ok();
            drop(engine);
            if seed == 0 {
                disk.kill()
            } else {
                disk.power_cut()
            }
            let engine = open(Arc::new(disk.clone())).unwrap();
            assert_eq!(numbers(&engine), expected, "{stop_at} {seed}");
            let left = snapshot::list(&disk).unwrap();
            let names = disk.list(snapshot::DIRECTORY).unwrap();
            assert_eq!(names.len(), left.len(), "leftovers at {stop_at} {seed}: {names:?}");
            if stop_at == made && !deleted {
                assert!(taken.is_ok());
                assert_eq!(left.len(), 1, "an answered snapshot is gone at {stop_at} {seed}");
            }
            assert!(!deleted || left.is_empty(), "a deleted snapshot is back: {stop_at} {seed}");
            match left.first() {
                Some(found) => {
                    kept += 1;
                    let verified = snapshot::verify(&disk, Place::Store, found).unwrap();
                    assert!(verified.damage.is_empty(), "{stop_at} {seed}: {verified:?}");
                    assert_eq!(numbers(&restored(&disk, Place::Store, "s")), expected);
                }
                None => gone += 1,
            }
            // What the crash left is no obstacle.
            engine.snapshot("t", NOW).unwrap();
        }
    }
    assert!(kept > 5 && gone > 5, "{kept} {gone}");
}

#[test]
fn a_restore_that_is_cut_off_is_no_store() {
    let disk = SimDisk::new(0);
    let engine = open(Arc::new(disk.clone())).unwrap();
    (0..6).for_each(|number| send(&engine, number).unwrap());
    let expected = numbers(&engine);
    let taken = engine.snapshot("s", NOW).unwrap();
    let whole = SimDisk::new(0);
    snapshot::restore(&disk, Place::Store, &taken, &whole, "t").unwrap();
    for stop_at in 0..=whole.calls() {
        for seed in 0..4 {
            let target = SimDisk::new(seed);
            target.stop_at(stop_at);
            let done = snapshot::restore(&disk, Place::Store, &taken, &target, "t").is_ok();
            target.power_cut();
            match open(Arc::new(target)) {
                // An empty directory is an empty store.
                Ok(engine) if numbers(&engine).is_empty() => assert!(!done, "{stop_at} {seed}"),
                Ok(engine) => assert_eq!(numbers(&engine), expected, "{stop_at} {seed}"),
                Err(error) => assert!(!done, "{stop_at} {seed}: {error}"),
            }
        }
    }
}
