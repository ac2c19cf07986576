//! Retention against plain maps: what is hidden, what goes, and when.

use super::*;
use crate::Config;
use crate::engine::tests::{NOW, all, labels, mutation, open, open_with, tenant, write};
use crate::engine::{Engine, Job};
use crate::sim::{Action, SimDisk};
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::time::DAY_MS;
use model::{LabelSet, MatchOp, Matcher, RetentionRule, RetentionRules, SeriesRef, TimeRange};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const DAY: u64 = 86_400_000;

pub(in crate::engine) fn days(days: u64) -> Retention {
    Retention::from_ms(days * DAY)
}

/// `debug_.*` for some days, the rest by default.
pub(in crate::engine) fn rules(debug_days: u64, default_days: u64) -> RetentionConfig {
    let matchers = vec![Matcher::new("__name__", MatchOp::Regex, "debug_.*")];
    let rule = RetentionRule { matchers, retention: days(debug_days) };
    let default = RetentionRules { default: days(default_days), rules: vec![rule] };
    RetentionConfig { default, ..RetentionConfig::default() }
}

pub(in crate::engine) fn keep_all(retention: Retention) -> RetentionConfig {
    let default = RetentionRules::all(retention);
    RetentionConfig { default, ..RetentionConfig::default() }
}

/// An engine whose clock may jump.
pub(in crate::engine) fn open_jumping(disk: &SimDisk) -> Engine {
    open_with(disk, Config { clock_step_max_ms: i64::MAX, ..Config::default() }).0
}

/// Everything that is due after a change of rules.
pub(in crate::engine) fn pass(engine: &Engine, now: i64) -> usize {
    let now = TimestampMs(now);
    let mut compactions = 0;
    while let Some(due) = engine.next_pass(now).unwrap() {
        engine.compact(&due, now, &mut |_| true).unwrap();
        compactions += 1;
    }
    engine.run(Job::Expire, now).unwrap();
    assert!(engine.next_pass(now).unwrap().is_none());
    assert!(engine.stale_ids().is_empty());
    compactions
}

fn series(metric: &str) -> LabelSet {
    labels(&[("__name__", metric), ("job", metric)])
}

pub(in crate::engine) fn push(engine: &Engine, metric: &str, times: &[i64]) {
    let mut mutation = mutation("t");
    mutation.push(SeriesRef::Labels(series(metric)), times.iter().map(|at| (*at, 1.0)));
    write(engine, &mutation);
}

/// What is shown: metric and times.
pub(in crate::engine) fn shown(engine: &Engine, now: i64) -> Vec<(String, Vec<i64>)> {
    let series = engine.select(&tenant("t"), &all(&[]), TimestampMs(now)).unwrap();
    let metric = |labels: &LabelSet| labels.metric_name().to_owned();
    series.into_iter().map(|s| (metric(&s.labels), s.floats.timestamps_ms.to_vec())).collect()
}

fn texts(engine: &Engine, want: LabelWant, now: i64) -> Vec<String> {
    let query = LabelQuery {
        want,
        matcher_sets: Vec::new(),
        range: TimeRange::ALL,
        limit: 0,
        tombstones_max: u64::MAX,
    };
    match engine.labels(&tenant("t"), &query, TimestampMs(now)).unwrap() {
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

#[test]
fn a_shortened_retention_gives_the_space_back_and_a_lengthened_one_brings_nothing_back() {
    let disk = SimDisk::new(3);
    let engine = open_jumping(&disk);
    let at = |day: i64| NOW.0 - day * DAY_MS;
    let month: Vec<i64> = (0..30).rev().map(at).collect();
    push(&engine, "up", &month);
    engine.flush(NOW).unwrap();
    assert_eq!((sstables(&disk), shown(&engine, NOW.0)[0].1.len()), (30, 30));

    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    let kept: Vec<i64> = (0..=3).rev().map(at).collect();
    assert_eq!(shown(&engine, NOW.0), [("up".to_owned(), kept.clone())], "at once");
    assert_eq!(pass(&engine, NOW.0), 0, "what is whole is not rewritten");
    assert_eq!(sstables(&disk), 4, "the space is back");
    assert_eq!(shown(&engine, NOW.0), [("up".to_owned(), kept.clone())]);

    // A minute later the oldest has expired, and is not there again when more is kept.
    let later = TimestampMs(NOW.0 + 60_000);
    let rest = kept[1..].to_vec();
    engine.set_retention(&keep_all(days(30)), later).unwrap();
    assert_eq!(shown(&engine, later.0), [("up".to_owned(), rest.clone())], "before the pass");
    push(&engine, "up", &[at(20)]);
    let with_old: Vec<i64> = [at(20)].into_iter().chain(rest).collect();
    assert_eq!(
        shown(&engine, later.0),
        [("up".to_owned(), with_old.clone())],
        "older data is taken"
    );
    engine.flush(later).unwrap();
    pass(&engine, later.0);
    assert_eq!(shown(&engine, later.0), [("up".to_owned(), with_old.clone())], "after the pass");
    drop(engine);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(30)), later).unwrap();
    assert_eq!(shown(&engine, later.0), [("up".to_owned(), with_old)], "reopened");
}

/// The bytes of all sstables.
fn sstable_bytes(disk: &SimDisk) -> usize {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with("sstables/"));
    paths.filter_map(|path| disk.bytes_of(&path)).map(|bytes| bytes.len()).sum()
}

#[test]
fn retention_shortened_from_for_ever_to_three_days_with_thirty_on_disk_frees_the_space_in_one_pass()
{
    let disk = SimDisk::new(30);
    let engine = open_jumping(&disk);
    let minutes = |first: i64, last: i64| -> Vec<i64> {
        (first / 10..last / 10).map(|tenth| NOW.0 + tenth * 600_000).collect()
    };
    const DAY_MINUTES: i64 = 1440;
    let month = minutes(-30 * DAY_MINUTES, 1);
    for metric in ["debug_x", "up"] {
        push(&engine, metric, &month);
    }
    engine.flush(NOW).unwrap();
    for lot in engine.windows_to_seal() {
        if let Some(due) = engine.seal(lot).unwrap() {
            engine.compact(&due, NOW, &mut |_| true).unwrap();
        }
    }
    let (files, bytes) = (sstables(&disk), sstable_bytes(&disk));
    assert_eq!(files, 31, "30 days touch 31 windows");

    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    pass(&engine, NOW.0);
    let kept: Vec<i64> = month.iter().copied().filter(|at| NOW.0 - 3 * DAY_MS <= *at).collect();
    let rest = [("debug_x".to_owned(), kept.clone()), ("up".to_owned(), kept.clone())];
    assert_eq!(shown(&engine, NOW.0), rest, "the rest is intact");
    assert_eq!(sstables(&disk), 4);
    let left = sstable_bytes(&disk);
    assert!(left * 6 < bytes, "{left} bytes of {bytes} are left");

    engine.set_retention(&RetentionConfig::default(), NOW).unwrap();
    pass(&engine, NOW.0);
    assert_eq!(shown(&engine, NOW.0), rest, "nothing comes back");
    assert!(sstable_bytes(&disk) <= left, "what is hidden of the oldest window goes too");
    drop(engine);
    let engine = open_jumping(&disk);
    engine.set_retention(&RetentionConfig::default(), NOW).unwrap();
    assert_eq!(shown(&engine, NOW.0), rest, "nor after a restart");

    let old = minutes(-20 * DAY_MINUTES, -19 * DAY_MINUTES);
    let options = crate::engine::ImportOptions { tenant: tenant("t"), revision: 0 };
    let mut import = engine.import(options, NOW);
    let sample = |at: &i64| model::Sample {
        timestamp_ms: *at,
        value: 1.0,
        start_timestamp_ms: 0,
        revision: 0,
    };
    import.samples(&series("up"), &old.iter().map(sample).collect::<Vec<_>>()).unwrap();
    assert_eq!(import.finish().unwrap().samples, old.len() as u64);
    let with_old: Vec<i64> = old.into_iter().chain(kept.clone()).collect();
    let expected = [("debug_x".to_owned(), kept), ("up".to_owned(), with_old)];
    assert_eq!(shown(&engine, NOW.0), expected, "an import of older data is taken");
}

#[test]
fn a_flush_writes_nothing_of_a_window_that_has_expired() {
    let disk = SimDisk::new(34);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "up", &[NOW.0 - 9 * DAY_MS, NOW.0]);
    let report = engine.flush(NOW).unwrap();
    assert_eq!((report.samples_expired, report.samples, report.sstables), (1, 1, 1));
}

#[test]
fn expiry_is_due_with_an_empty_head_and_before_a_flush_that_may_find_no_room() {
    let disk = SimDisk::new(32);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "up", &[NOW.0]);
    engine.flush(NOW).unwrap();
    let later = TimestampMs(NOW.0 + 9 * DAY_MS);
    assert_eq!(engine.next_job(later), Some(Job::Expire), "nothing was written since");
    push(&engine, "up", &[later.0]);
    disk.set_hook(|call| match call.action {
        Action::CreateNew => crate::sim::Outcome::Fail(std::io::ErrorKind::StorageFull),
        _ => crate::sim::Outcome::Done,
    });
    assert!(engine.flush(later).is_err(), "no file can be made");
    assert_eq!(engine.next_job(later), Some(Job::Expire));
    assert_eq!(engine.run(Job::Expire, later).unwrap().expired.len(), 1);
    assert_eq!(sstables(&disk), 0);
}

#[test]
fn a_sample_that_waited_for_the_log_when_more_was_kept_does_not_come_back_by_a_replay() {
    for flushes in [false, true] {
        let disk = SimDisk::new(33);
        let engine = open_jumping(&disk);
        engine.set_retention(&keep_all(days(3)), NOW).unwrap();
        push(&engine, "up", &[NOW.0]);
        let mut old = mutation("t");
        old.push(SeriesRef::Labels(series("old")), [(NOW.0 - 4 * DAY_MS, 1.0)]);
        engine.append(&old, crate::engine::AppendLimits::NONE, NOW).unwrap();
        if flushes {
            engine.flush(NOW).unwrap();
        }
        engine.set_retention(&RetentionConfig::default(), NOW).unwrap();
        let expected = [("up".to_owned(), vec![NOW.0])];
        assert_eq!(shown(&engine, NOW.0), expected, "{flushes}");
        engine.sync().unwrap();
        drop(engine);
        disk.kill();
        let engine = open_jumping(&disk);
        engine.set_retention(&RetentionConfig::default(), NOW).unwrap();
        assert_eq!(shown(&engine, NOW.0), expected, "{flushes}, after a restart");
    }
}

#[test]
fn a_compaction_that_holds_what_has_expired_lets_no_job_be_due_over_and_over() {
    let disk = SimDisk::new(31);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "up", &[NOW.0]);
    engine.flush(NOW).unwrap();
    let later = TimestampMs(NOW.0 + 9 * DAY_MS);
    let held = engine.seal(engine.windows_to_seal()[0]).unwrap().unwrap();
    assert_eq!(engine.next_job(later), None);
    assert_eq!(engine.run(Job::Expire, later).unwrap().expired, [], "nor taken away under it");
    drop(held);
    assert_eq!(engine.next_job(later), Some(Job::Expire));
}

#[test]
fn a_new_rule_splits_files_by_class_and_each_part_goes_at_its_time() {
    let disk = SimDisk::new(4);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(30)), NOW).unwrap();
    let old = NOW.0 - 10 * DAY_MS;
    for metric in ["debug_x", "up"] {
        push(&engine, metric, &[old, NOW.0]);
    }
    engine.flush(NOW).unwrap();
    assert_eq!(sstables(&disk), 2);
    engine.set_retention(&rules(3, 30), NOW).unwrap();
    let expected = [("debug_x".to_owned(), vec![NOW.0]), ("up".to_owned(), vec![old, NOW.0])];
    assert_eq!(shown(&engine, NOW.0), expected);
    assert_eq!(pass(&engine, NOW.0), 2);
    assert_eq!(shown(&engine, NOW.0), expected);
    assert_eq!(sstables(&disk), 3, "of the old day only `up` is left");
    engine.run(Job::Expire, TimestampMs(NOW.0 + 5 * DAY_MS)).unwrap();
    assert_eq!(sstables(&disk), 2);
}

#[test]
fn a_clock_that_starts_far_ahead_throws_nothing_away() {
    let disk = SimDisk::new(5);
    let (engine, _) = open(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "up", &[NOW.0]);
    engine.flush(NOW).unwrap();
    push(&engine, "up", &[NOW.0 + 1]);
    let far = TimestampMs(NOW.0 + 27_000 * DAY_MS);
    for minute in 0..59 {
        let now = TimestampMs(far.0 + minute * 60_000);
        assert_ne!(engine.next_job(now), Some(Job::Expire), "minute {minute}");
        engine.flush(now).unwrap();
    }
    assert_eq!(shown(&engine, far.0), []);
    assert_eq!(shown(&engine, NOW.0), [("up".to_owned(), vec![NOW.0, NOW.0 + 1])]);
    assert_eq!(engine.next_job(TimestampMs(far.0 + 60 * 60_000)), Some(Job::Expire));
}

#[test]
fn rules_that_end_while_their_first_samples_are_in_the_head_have_an_end() {
    let disk = SimDisk::new(0);
    let (engine, _) = open(&disk);
    engine.set_retention(&keep_all(days(1)), NOW).unwrap();
    push(&engine, "up", &[NOW.0]);
    engine.set_retention(&RetentionConfig::default(), NOW).unwrap();
    let old = NOW.0 - 2 * DAY_MS;
    push(&engine, "up", &[old]);
    assert_eq!(shown(&engine, NOW.0), [("up".to_owned(), vec![old, NOW.0])]);
}

/// What a life of an engine with retention is made of.
#[derive(Clone, Debug)]
enum Step {
    Push(usize, i64),
    Flush,
    Wait(i64),
    Rules(usize),
    Pass,
    HalfAPass,
    Seal,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 0..12_i64).prop_map(|(metric, half_days)| Step::Push(metric, half_days)),
        2 => Just(Step::Flush),
        2 => (1..5_i64).prop_map(Step::Wait),
        2 => (0..5_usize).prop_map(Step::Rules),
        1 => Just(Step::Pass),
        1 => Just(Step::HalfAPass),
        1 => Just(Step::Seal),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

const METRICS: [&str; 3] = ["debug_a", "debug_b", "up"];

fn some_rules(index: usize) -> RetentionConfig {
    match index {
        0 => RetentionConfig::default(),
        1 => keep_all(days(1)),
        2 => rules(1, 4),
        3 => rules(3, 2),
        _ => rules(2, 0),
    }
}

/// Everything that was pushed and is not hidden for good, and the rules.
struct Model {
    samples: BTreeSet<(&'static str, i64)>,
    rules: RetentionConfig,
    now: i64,
}

impl Model {
    fn first_kept(&self, metric: &str) -> i64 {
        let rules = self.rules.default.compile().unwrap();
        rules.of_labels(&series(metric)).first_kept_ms(TimestampMs(self.now))
    }

    fn set(&mut self, rules: RetentionConfig) {
        if rules != self.rules {
            let shown = |sample: &(&'static str, i64)| self.first_kept(sample.0) <= sample.1;
            self.samples = self.samples.iter().copied().filter(shown).collect();
            self.rules = rules;
        }
    }

    fn shown(&self) -> Vec<(String, Vec<i64>)> {
        let of = |metric: &'static str| {
            let first = self.first_kept(metric);
            let times: Vec<i64> =
                self.samples.range((metric, first)..=(metric, i64::MAX)).map(|s| s.1).collect();
            (metric.to_owned(), times)
        };
        METRICS.into_iter().map(of).filter(|(_, times)| !times.is_empty()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_what_is_shown_is_what_the_rules_keep(steps in steps(), seed in 0..1000_u64) {
        let disk = SimDisk::new(seed);
        let mut engine = open_jumping(&disk);
        let mut model =
            Model { samples: BTreeSet::new(), rules: RetentionConfig::default(), now: NOW.0 };
        for step in steps {
            let now = TimestampMs(model.now);
            match step {
                Step::Push(metric, half_days) => {
                    let at = model.now - half_days * DAY_MS / 2;
                    push(&engine, METRICS[metric], &[at]);
                    // What is too old is refused at the door; here it is hidden, and may go.
                    if model.first_kept(METRICS[metric]) <= at {
                        model.samples.insert((METRICS[metric], at));
                    } else {
                        engine.flush(now).unwrap();
                        engine.set_retention(&model.rules, now).unwrap();
                        prop_assert_eq!(shown(&engine, model.now), model.shown());
                        continue;
                    }
                }
                Step::Flush => drop(engine.flush(now).unwrap()),
                Step::Wait(half_days) => model.now += half_days * DAY_MS / 2 + 1,
                Step::Rules(index) => {
                    engine.set_retention(&some_rules(index), now).unwrap();
                    model.set(some_rules(index));
                }
                Step::Pass => drop(pass(&engine, model.now)),
                Step::HalfAPass => {
                    if let Some(due) = engine.next_pass(now).unwrap() {
                        engine.compact(&due, now, &mut |_| true).unwrap();
                    }
                }
                Step::Seal => {
                    for lot in engine.windows_to_seal() {
                        // While a pass is due it may be refused.
                        if let Ok(Some(due)) = engine.seal(lot) {
                            engine.compact(&due, now, &mut |_| true).unwrap();
                        }
                    }
                }
                Step::Reopen => {
                    drop(engine);
                    engine = open_jumping(&disk);
                    engine.set_retention(&model.rules, now).unwrap();
                }
            }
            prop_assert_eq!(shown(&engine, model.now), model.shown());
            let names: Vec<String> = model.shown().into_iter().map(|(metric, _)| metric).collect();
            prop_assert_eq!(values(&engine, model.now), names);
        }
    }
}
