//! Series that come and go: what stays of them in memory.

use super::tests::{NOW, all, labels, mutation, open, tenant};
use super::*;
use crate::sim::SimDisk;
use model::mutation::{Mutation, SeriesRefusal};
use model::{LabelSet, MatchOp, Matcher, SeriesRef};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

const HOUR_MS: i64 = 3_600_000;
const STEADY: usize = 50;
const PODS: usize = 1_500;

fn steady(index: usize) -> LabelSet {
    labels(&[("__name__", "steady"), ("instance", &format!("i{index}"))])
}

fn pod(number: usize) -> LabelSet {
    let name = format!("metric{}", number % 7);
    labels(&[
        ("__name__", &name),
        ("instance", &format!("10.0.{number}")),
        ("pod", &format!("pod-{number}")),
    ])
}

fn append(engine: &Engine, some: &Mutation, now: TimestampMs) -> Appended {
    let appended = engine.append(some, AppendLimits::NONE, now).unwrap();
    engine.sync().unwrap();
    appended
}

/// The instances that a read of the steady series shows, and how many samples each has.
fn read(engine: &Engine) -> BTreeMap<LabelSet, usize> {
    let selection = all(&[
        Matcher::equal("__name__", "steady"),
        Matcher::new("instance", MatchOp::NotEqual, ""),
    ]);
    let series = engine.select(&tenant("t"), &selection, NOW).unwrap();
    series.into_iter().map(|one| (one.labels, one.floats.len())).collect()
}

/// A metric has as many series as have not left.
fn limits_count_what_is_there(engine: &Engine) {
    let count = |name: &str| {
        let limits = AppendLimits { series_per_metric_max: 0, ..AppendLimits::NONE };
        let mut more = mutation("t");
        more.push(SeriesRef::Labels(labels(&[("__name__", name), ("new", "1")])), [(NOW.0, 1.0)]);
        let appended = engine.append(&more, limits, NOW);
        let Ok(Appended::Queued { written, .. }) = appended else { panic!() };
        written.refused.len()
    };
    assert_eq!((count("steady"), count("metric1")), (1, 1));
    let limits = AppendLimits { series_per_metric_max: STEADY as u64 + 1, ..AppendLimits::NONE };
    let mut more = mutation("t");
    for new in ["1", "2"] {
        let new = labels(&[("__name__", "steady"), ("new", new)]);
        more.push(SeriesRef::Labels(new), [(NOW.0, 1.0)]);
    }
    let Appended::Queued { written, .. } = engine.append(&more, limits, NOW).unwrap() else {
        panic!()
    };
    let limit = STEADY as u64 + 1;
    assert_eq!(written.refused, [(1, SeriesRefusal::MetricSeriesLimit { limit })]);
}

#[test]
fn texts_of_series_that_left_leave_too_and_what_reads_and_writes_beside_it_is_right() {
    let disk = SimDisk::new(1);
    let engine = open(&disk).0;
    let head = engine.tenant(&tenant("t"));
    let every: BTreeSet<LabelSet> = (0..STEADY).map(steady).collect();
    let mut first = mutation("t");
    (0..STEADY).for_each(|i| first.push(SeriesRef::Labels(steady(i)), [(NOW.0, 1.0)]));
    let Appended::Queued { written, .. } = append(&engine, &first, NOW) else { panic!() };
    let (over, mut most, mut all_texts) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Acquire) {
                let found = read(&engine);
                assert!(found.keys().eq(&every), "{found:?}");
                reads += 1;
            }
            reads
        });
        for hour in 1..15 {
            let now = NOW.plus_ms(i64::try_from(hour).unwrap() * HOUR_MS);
            let mut some = mutation("t");
            for i in 0..PODS {
                some.push(SeriesRef::Labels(pod(hour * PODS + i)), [(now.0, 1.0)]);
            }
            all_texts += 2 * PODS;
            append(&engine, &some, now);
            // By their numbers, which stay.
            let mut again = mutation("t");
            again.generation = written.generation;
            for (_, number) in &written.numbers {
                again.push(SeriesRef::Number(*number), [(now.0, 2.0)]);
            }
            assert!(matches!(append(&engine, &again, now), Appended::Queued { .. }));
            engine.flush(now.plus_ms(1)).unwrap();
            most = most.max(head.symbols.read().len());
        }
        over.store(true, Ordering::Release);
        assert!(reader.join().unwrap() > 0);
    });
    let series = engine.stats().series;
    assert!(series <= (STEADY + 2 * PODS) as u64, "{series} series are left");
    // As many dead as live, or the floor, and what left since they were counted.
    assert!(most < all_texts / 2 && most <= 5 * 2 * PODS, "{most} of {all_texts} texts");
    assert!(read(&engine).values().all(|samples| *samples == 15));

    limits_count_what_is_there(&engine);

    // And what is on disk names the same series.
    drop(head);
    drop(engine);
    let engine = open(&disk).0;
    assert!(read(&engine).keys().eq(&every) && read(&engine).values().all(|count| *count == 15));
}

#[test]
fn sets_of_names_of_series_that_left_leave_too() {
    let disk = SimDisk::new(1);
    let engine = open(&disk).0;
    let head = engine.tenant(&tenant("t"));
    let names: Vec<String> = (0..20).map(|bit| format!("n{bit:02}")).collect();
    let hours = 14;
    let mut most = 0;
    for hour in 0..hours {
        let now = NOW.plus_ms(i64::try_from(hour).unwrap() * HOUR_MS);
        let mut some = mutation("t");
        for number in hour * PODS + 1..=(hour + 1) * PODS {
            let of_it = names.iter().enumerate().filter(|(bit, _)| number >> bit & 1 == 1);
            let mut pairs: Vec<(&str, &str)> = of_it.map(|(_, name)| (&**name, "1")).collect();
            pairs.push(("__name__", "m"));
            some.push(SeriesRef::Labels(labels(&pairs)), [(now.0, 1.0)]);
        }
        append(&engine, &some, now);
        engine.flush(now.plus_ms(1)).unwrap();
        most = most.max(head.symbols.read().shapes().len());
    }
    assert!(most < hours * PODS / 2, "{most} of {}", hours * PODS);
}

#[test]
fn texts_of_series_that_are_refused_are_not_kept() {
    let engine = open(&SimDisk::new(1)).0;
    let mut first = mutation("t");
    (0..2).for_each(|number| first.push(SeriesRef::Labels(pod(number)), [(NOW.0, 1.0)]));
    append(&engine, &first, NOW);
    let head = engine.tenant(&tenant("t"));
    let texts = head.symbols.read().len();
    let mut flood = mutation("t");
    (7..1_000).for_each(|number| flood.push(SeriesRef::Labels(pod(number)), [(NOW.0, 1.0)]));
    for limits in [
        AppendLimits { series_max: 2, ..AppendLimits::NONE },
        AppendLimits { series_per_metric_max: 0, ..AppendLimits::NONE },
    ] {
        let appended = engine.append(&flood, limits, NOW).unwrap();
        let Appended::Queued { written, .. } = appended else { panic!() };
        assert_eq!(written.refused.len(), 993);
        assert_eq!(head.symbols.read().len(), texts);
    }
}
