//! A snapshot under load, asked fifty questions: whatever prefix of each writer's requests it holds,
//! it answers as a plain list of just those.

use crate::engine::Engine;
use crate::engine::compact::tests::eager;
use crate::engine::tests::{Answer, NOW, answer, labels, mutation, open_with, tenant, write};
use crate::sim::SimDisk;
use crate::snapshot::{self, Place};
use model::read::{LabelAnswer, LabelQuery, LabelWant, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{LabelSet, MatchOp, Matcher, SeriesRef, TimeRange, TimestampMs};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

const WRITERS: i64 = 3;
const SERIES: i64 = 4;

fn series(writer: i64, index: i64) -> LabelSet {
    let (metric, job) = (format!("m{}", index % 2), format!("j{writer}"));
    labels(&[("__name__", &metric), ("instance", &index.to_string()), ("job", &job)])
}

/// Of request `number`: every third one is two days late.
fn sample(writer: i64, index: i64, number: i64) -> (i64, f64) {
    let days_late = if number % 3 == 2 { 2 } else { 0 };
    let value = i32::try_from(number * 100 + writer * 10 + index).unwrap();
    (NOW.0 + number * 15_000 - days_late * DAY_MS, f64::from(value))
}

/// One request after the other until it is told to stop; says how many were answered.
fn send(engine: &Engine, writer: i64, answered: &AtomicI64, stop: &AtomicBool) {
    for number in 0..3_000 {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut m = mutation("t");
        for index in 0..SERIES {
            let rows = [sample(writer, index, number)];
            m.push(SeriesRef::Labels(series(writer, index)), rows);
        }
        write(engine, &m);
        answered.store(number + 1, Ordering::Release);
    }
}

fn questions() -> Vec<(Vec<Matcher>, TimeRange)> {
    let range =
        |start: i64, end: i64| TimeRange { start: TimestampMs(start), end: TimestampMs(end) };
    let of = |name: &str, op, value: &str| Matcher::new(name, op, value);
    let matchers = [
        vec![],
        vec![of("__name__", MatchOp::Equal, "m0")],
        vec![of("__name__", MatchOp::NotEqual, "m0")],
        vec![of("job", MatchOp::Equal, "j1")],
        vec![of("job", MatchOp::Regex, "j0|j2"), of("__name__", MatchOp::Equal, "m1")],
        vec![of("job", MatchOp::NotRegex, "j[01]")],
        vec![of("instance", MatchOp::Regex, "[0-2]")],
        vec![of("instance", MatchOp::Equal, "3"), of("job", MatchOp::NotEqual, "j2")],
        vec![of("none", MatchOp::Equal, "")],
        vec![of("__name__", MatchOp::Equal, "other")],
    ];
    let ranges = [
        TimeRange::ALL,
        range(i64::MIN, NOW.0),
        range(NOW.0, NOW.0 + 150_000),
        range(NOW.0 - 2 * DAY_MS, NOW.0 - 2 * DAY_MS + 600_001),
        range(NOW.0 + 75_000, NOW.0 + 75_001),
    ];
    let with = |matchers: &Vec<Matcher>| ranges.map(|range| (matchers.clone(), range));
    matchers.iter().flat_map(with).collect()
}

/// What a list of the first requests of each writer answers.
fn expected(counts: &[i64], matchers: &[Matcher], range: TimeRange) -> Answer {
    let compiled: Vec<_> = matchers.iter().map(|matcher| matcher.compile().unwrap()).collect();
    let mut found = BTreeMap::new();
    for (writer, count) in (0..).zip(counts) {
        for index in 0..SERIES {
            let labels = series(writer, index);
            let samples = (0..*count).map(|number| sample(writer, index, number));
            let wanted = samples.filter(|(at, _)| range.contains(TimestampMs(*at)));
            let points: BTreeMap<i64, u64> = wanted.map(|(at, v)| (at, v.to_bits())).collect();
            let is_asked = compiled.iter().all(|matcher| matcher.matches_labels(&labels));
            if is_asked && !points.is_empty() {
                found.insert(labels, points.into_iter().collect());
            }
        }
    }
    found.into_iter().collect()
}

fn selection(matchers: &[Matcher], range: TimeRange) -> Selection {
    Selection {
        matchers: matchers.to_vec(),
        range,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    }
}

/// Takes snapshots while others write, flush, compact and seal; how much was answered before each.
fn snapshots_under_load(disk: &SimDisk, seed: u64) -> Vec<(String, Vec<i64>)> {
    let (engine, _) = open_with(disk, eager(seed));
    let (stop, answered) = (AtomicBool::new(false), [const { AtomicI64::new(0) }; 3]);
    let counts = || answered.iter().map(|count| count.load(Ordering::Acquire)).collect::<Vec<_>>();
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        for (writer, answered) in (0..WRITERS).zip(&answered) {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || send(engine, writer, answered, stop));
        }
        scope.spawn(|| {
            for turn in 0..400 {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                engine.flush(NOW).unwrap();
                if let Some(due) = engine.next_compaction(NOW, turn) {
                    engine.compact(&due, NOW, &mut |_| true).unwrap();
                }
                for window in engine.windows_to_seal().into_iter().filter(|_| turn % 5 == 4) {
                    if let Ok(Some(due)) = engine.seal(window) {
                        engine.compact(&due, NOW, &mut |_| true).unwrap();
                    }
                }
            }
        });
        for number in 1..4 {
            // Each one later than the one before.
            while counts().iter().any(|count| *count < number * 40) {
                std::thread::yield_now();
            }
            let (name, floor) = (format!("s{number}"), counts());
            engine.snapshot(&name, NOW).unwrap();
            taken.push((name, floor));
        }
        stop.store(true, Ordering::Relaxed);
    });
    taken
}

#[test]
fn a_snapshot_under_load_answers_fifty_questions_as_of_its_moment() {
    for seed in 0..4 {
        let disk = SimDisk::new(seed);
        for (name, floor) in snapshots_under_load(&disk, seed) {
            let to = SimDisk::new(seed);
            let taken = snapshot::load(&disk, &name).unwrap();
            snapshot::restore(&disk, Place::Store, &taken, &to, "to").unwrap();
            to.power_cut();
            let (engine, _) = open_with(&to, eager(seed));
            let everything = answer(&engine, "t", &selection(&[], TimeRange::ALL));
            let of_writer = |writer: i64| {
                let labels = series(writer, 0);
                let held = everything.iter().find(|(held, _)| *held == labels).unwrap();
                i64::try_from(held.1.len()).unwrap()
            };
            let counts: Vec<i64> = (0..WRITERS).map(of_writer).collect();
            let holds_all = counts.iter().zip(&floor).all(|(count, floor)| count >= floor);
            assert!(holds_all, "{name}: {counts:?} of {floor:?}");
            let questions = questions();
            assert_eq!(questions.len(), 50);
            for (matchers, range) in questions {
                let want = expected(&counts, &matchers, range);
                let found = answer(&engine, "t", &selection(&matchers, range));
                assert_eq!(found, want, "{name}: {matchers:?} {range:?}");
                let query = LabelQuery {
                    want: LabelWant::Series,
                    matcher_sets: vec![matchers],
                    range,
                    limit: 0,
                    tombstones_max: u64::MAX,
                };
                let want = want.into_iter().map(|(labels, _)| labels).collect();
                let found = engine.labels(&tenant("t"), &query, NOW).unwrap();
                assert_eq!(found, LabelAnswer::Series(want), "{name}: {query:?}");
            }
        }
    }
}
