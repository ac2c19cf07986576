//! Retention against plain maps: what is hidden, what goes, and when.

use super::*;
use crate::Config;
use crate::engine::tests::{NOW, all, labels, mutation, open, open_with, tenant, write};
use crate::engine::{Engine, Job};
use crate::sim::{Action, SimDisk};
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::time::DAY_MS;
use model::{LabelSet, MatchOp, Matcher, RetentionRule, RetentionRules, SeriesRef, TimeRange};
use std::sync::atomic::{AtomicU64, Ordering};

const DAY: u64 = 86_400_000;

fn days(days: u64) -> Retention {
    Retention::from_ms(days * DAY)
}

/// `debug_.*` for some days, the rest by default.
fn rules(debug_days: u64, default_days: u64) -> RetentionConfig {
    let matchers = vec![Matcher::new("__name__", MatchOp::Regex, "debug_.*")];
    let rule = RetentionRule { matchers, retention: days(debug_days) };
    let default = RetentionRules { default: days(default_days), rules: vec![rule] };
    RetentionConfig { default, ..RetentionConfig::default() }
}

fn series(metric: &str) -> LabelSet {
    labels(&[("__name__", metric), ("job", metric)])
}

fn push(engine: &Engine, metric: &str, times: &[i64]) {
    let mut mutation = mutation("t");
    mutation.push(SeriesRef::Labels(series(metric)), times.iter().map(|at| (*at, 1.0)));
    write(engine, &mutation);
}

/// What is shown: metric and times.
fn shown(engine: &Engine, now: i64) -> Vec<(String, Vec<i64>)> {
    let series = engine.select_at(&tenant("t"), &all(&[]), TimestampMs(now)).unwrap();
    let metric = |labels: &LabelSet| labels.metric_name().to_owned();
    series.into_iter().map(|s| (metric(&s.labels), s.floats.timestamps_ms)).collect()
}

fn texts(engine: &Engine, want: LabelWant, now: i64) -> Vec<String> {
    let query = LabelQuery { want, matcher_sets: Vec::new(), range: TimeRange::ALL, limit: 0 };
    match engine.labels_at(&tenant("t"), &query, TimestampMs(now)).unwrap() {
        LabelAnswer::Texts(texts) => texts.iter().map(|text| text.to_string()).collect(),
        LabelAnswer::Series(sets) => sets.iter().map(|set| set.metric_name().to_owned()).collect(),
    }
}

fn values(engine: &Engine, now: i64) -> Vec<String> {
    texts(engine, LabelWant::Values("job".into()), now)
}

fn sstables(disk: &SimDisk) -> usize {
    use crate::disk::Disk;
    disk.list(crate::manifest::SSTABLE_DIRECTORY).unwrap().len()
}

#[test]
fn a_millisecond_on_either_side_of_the_border_is_right_in_the_head_and_in_files() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    engine.set_retention(&rules(3, 30), NOW).unwrap();
    let at = NOW.0 - 2 * DAY_MS;
    push(&engine, "debug_x", &[at - 1, at, at + 1]);
    push(&engine, "up", &[at]);
    let border = at + 3 * DAY_MS;
    for place in ["head", "file", "reopened"] {
        if place == "file" {
            engine.flush(NOW).unwrap();
        }
        let shown_at = |now: i64| {
            let shown = shown(&engine, now);
            assert_eq!(shown.last().unwrap().0, "up", "{place}");
            shown.into_iter().find(|(metric, _)| metric == "debug_x").map(|(_, times)| times)
        };
        assert_eq!(shown_at(border - 1), Some(vec![at - 1, at, at + 1]), "{place}");
        assert_eq!(shown_at(border), Some(vec![at, at + 1]), "{place}");
        assert_eq!(shown_at(border + 1), Some(vec![at + 1]), "{place}");
        assert_eq!(shown_at(border + 2), None, "{place}");
        for want in [LabelWant::Values("job".into()), LabelWant::Series] {
            assert_eq!(texts(&engine, want.clone(), border + 1), ["debug_x", "up"], "{place}");
            assert_eq!(texts(&engine, want, border + 2), ["up"], "{place}");
        }
        assert_eq!(texts(&engine, LabelWant::Names, border + 2), ["__name__", "job"]);
        assert_eq!(texts(&engine, LabelWant::Names, NOW.0 + 31 * DAY_MS), Vec::<String>::new());
    }
}

#[test]
fn two_classes_of_a_tenant_go_each_at_its_own_time_and_none_of_their_bytes_is_read() {
    let disk = SimDisk::new(2);
    let config = Config { clock_step_max_ms: i64::MAX, ..Config::default() };
    let (engine, _) = open_with(&disk, config);
    engine.set_retention(&rules(3, 30), NOW).unwrap();
    push(&engine, "debug_x", &[NOW.0]);
    push(&engine, "up", &[NOW.0]);
    assert_eq!(engine.flush(NOW).unwrap().sstables, 2);
    let end = NOW.day().range().end.0;
    let due = |at: i64| engine.is_expiry_due(TimestampMs(at));
    let gone = |retention: u64| end + (retention * DAY).cast_signed() + SLACK_MS;
    assert!(!due(gone(3) - 1) && due(gone(3)));
    let reads = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&reads);
    disk.set_hook(move |call| {
        counted.fetch_add(u64::from(call.action == Action::Read), Ordering::Relaxed);
        crate::sim::Outcome::Done
    });
    let report = engine.run(Job::Expire, TimestampMs(gone(3))).unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    assert_eq!(report.expired.len(), 1);
    assert_eq!((report.expired[0].retention, report.expired[0].samples), (days(3), 1));
    assert_eq!(shown(&engine, NOW.0), [("up".to_owned(), vec![NOW.0])]);
    assert_eq!(values(&engine, NOW.0), ["up"]);
    assert!(!due(gone(30) - 1) && due(gone(30)));
    let before = reads.load(Ordering::Relaxed);
    engine.run(Job::Expire, TimestampMs(gone(30))).unwrap();
    assert_eq!((reads.load(Ordering::Relaxed) - before, sstables(&disk)), (0, 0));
    drop(engine);
    let (engine, _) = open(&disk);
    assert_eq!(shown(&engine, NOW.0), []);
}
