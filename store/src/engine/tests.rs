//! The engine against a model: a map of every sample, joined by D4.

use super::*;
use crate::commit_log as log;
use crate::error::Error;
use crate::sim::SimDisk;
use model::mutation::{MetricMetadata, MetricType, Mutation, SeriesRefusal, Written};
use model::read::{LabelAnswer, LabelQuery, LabelWant, MetadataQuery, SelectBounds, Selection};
use model::sample::{join_order, stale_marker};
use model::time::DAY_MS;
use model::{
    Context, DayBucket, LabelSet, Matcher, Principal, RequestId, Sample, SeriesRef, Text, TimeRange,
};
use proptest::prelude::*;
use std::cmp::Ordering as Order;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Each start draws another seed.
static STARTS: AtomicU64 = AtomicU64::new(1);

pub(super) const NOW: TimestampMs = TimestampMs(1_760_000_000_000);

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

pub(super) fn mutation(name: &str) -> Mutation {
    Mutation::empty(Arc::new(Context {
        tenant: tenant(name),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    }))
}

/// The default, with a log whose files are short.
pub(super) fn small_room() -> Config {
    let commit_log = log::Config { room_bytes: 256, ..log::Config::default() };
    Config { commit_log, ..Config::default() }
}

pub(super) fn open_with(disk: &SimDisk, config: Config) -> (Engine, OpenReport) {
    let parts = Parts {
        disk: Arc::new(disk.clone()),
        cluster_name: "test".to_owned(),
        generation_seed: STARTS.fetch_add(1, Ordering::Relaxed),
    };
    Engine::open(parts, config, NOW).unwrap()
}

pub(super) fn open(disk: &SimDisk) -> (Engine, OpenReport) {
    open_with(disk, small_room())
}

/// Appends and syncs; the mutation must be taken.
pub(super) fn write(engine: &Engine, mutation: &Mutation) -> Written {
    match engine.append(mutation, AppendLimits::NONE, NOW).unwrap() {
        Appended::Queued { ticket, written } => {
            assert!(engine.sync().unwrap() >= ticket);
            written
        }
        Appended::NeedLabels => panic!("labels are needed"),
    }
}

pub(super) fn all(matchers: &[Matcher]) -> Selection {
    Selection {
        matchers: matchers.to_vec(),
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    }
}

pub(super) type Answer = Vec<(LabelSet, Vec<(i64, u64)>)>;

pub(super) fn answer(engine: &Engine, name: &str, selection: &Selection) -> Answer {
    let series = engine.select(&tenant(name), selection, NOW).unwrap();
    series
        .into_iter()
        .map(|s| {
            let values = s.floats.values.iter().map(|v| v.to_bits());
            (s.labels, s.floats.timestamps_ms.iter().copied().zip(values).collect())
        })
        .collect()
}

pub(super) fn up(instance: &str) -> LabelSet {
    labels(&[("__name__", "up"), ("instance", instance), ("job", "j")])
}

#[test]
fn what_was_synced_is_there_after_a_restart_before_and_after_a_flush() {
    let disk = SimDisk::new(1);
    let expected: Answer =
        vec![(up("a"), vec![(1000, 1.0_f64.to_bits()), (2000, 2.0_f64.to_bits())])];
    {
        let (engine, _) = open(&disk);
        let mut first = mutation("t");
        first.push(SeriesRef::Labels(up("a")), [(1000, 1.0)]);
        let written = write(&engine, &first);
        let mut second = mutation("t");
        second.generation = written.generation;
        second.push(SeriesRef::Number(written.numbers[0].1), [(2000, 2.0)]);
        write(&engine, &second);
        assert_eq!(answer(&engine, "t", &all(&[])), expected);
    }
    {
        let (engine, report) = open(&disk);
        assert_eq!((report.samples, report.series, report.sstables), (2, 1, 0));
        assert_eq!(answer(&engine, "t", &all(&[])), expected);
        let flushed = engine.close(NOW).unwrap();
        assert_eq!((flushed.samples, flushed.sstables), (2, 1));
        assert_eq!(engine.stats().head_samples, 0);
        assert_eq!(answer(&engine, "t", &all(&[])), expected);
    }
    let (engine, report) = open(&disk);
    assert_eq!((report.samples, report.series, report.sstables), (0, 1, 1));
    assert_eq!(answer(&engine, "t", &all(&[Matcher::equal("__name__", "up")])), expected);
    assert_eq!(answer(&engine, "other", &all(&[])), vec![]);
}

#[test]
fn a_number_of_another_life_needs_labels_and_writes_nothing() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let mut first = mutation("t");
    first.push(SeriesRef::Labels(up("a")), [(1000, 1.0)]);
    let written = write(&engine, &first);
    for (generation, number) in
        [(written.generation ^ 1, written.numbers[0].1), (written.generation, 999)]
    {
        let mut bad = mutation("t");
        bad.generation = generation;
        bad.push(SeriesRef::Number(written.numbers[0].1), [(2000, 2.0)]);
        bad.push(SeriesRef::Number(number), [(2000, 2.0)]);
        let answer = engine.append(&bad, AppendLimits::NONE, NOW).unwrap();
        assert_eq!(answer, Appended::NeedLabels);
    }
    assert_eq!(answer(&engine, "t", &all(&[])), vec![(up("a"), vec![(1000, 1.0_f64.to_bits())])]);
}

#[test]
fn known_series_keep_flowing_at_the_limit_and_new_ones_are_refused_one_by_one() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let limits = AppendLimits { series_max: 2, series_per_metric_max: 1, ..AppendLimits::NONE };
    let other = |name: &str| labels(&[("__name__", name)]);
    let mut m = mutation("t");
    for series in [up("a"), up("b"), other("x"), other("y"), up("a")] {
        m.push(SeriesRef::Labels(series), [(1000, 1.0)]);
    }
    let Appended::Queued { written, .. } = engine.append(&m, limits, NOW).unwrap() else {
        panic!()
    };
    assert_eq!(
        written.refused,
        vec![
            (1, SeriesRefusal::MetricSeriesLimit { limit: 1 }),
            (3, SeriesRefusal::SeriesLimit { limit: 2 }),
        ]
    );
    assert_eq!(written.numbers.iter().map(|n| n.0).collect::<Vec<_>>(), vec![0, 2, 4]);
    assert_eq!(answer(&engine, "t", &all(&[])).len(), 2);
}

#[test]
fn a_series_older_than_ten_truncations_survives() {
    let disk = SimDisk::new(1);
    let mut number = None;
    {
        let (engine, _) = open(&disk);
        for round in 0..12_i64 {
            let mut m = mutation("t");
            let series = match number {
                None => SeriesRef::Labels(up("a")),
                Some((generation, number)) => {
                    m.generation = generation;
                    SeriesRef::Number(number)
                }
            };
            m.push(series, [(round * 1000, 1.0)]);
            let written = write(&engine, &m);
            number.get_or_insert_with(|| (written.generation, written.numbers[0].1));
            if round < 11 {
                assert!(engine.flush(NOW).unwrap().segments_removed <= 1);
            }
        }
        assert!(engine.stats().log_segments <= 2);
    }
    let (engine, report) = open(&disk);
    assert_eq!((report.samples, report.samples_without_series), (1, 0));
    assert_eq!(answer(&engine, "t", &all(&[]))[0].1.len(), 12);
}

#[test]
fn an_idle_series_leaves_the_head_and_its_number_is_not_known_any_more() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let mut m = mutation("t");
    m.push(SeriesRef::Labels(up("a")), [(1000, 1.0)]);
    let written = write(&engine, &m);
    engine.flush(NOW).unwrap();
    assert_eq!(engine.stats().series, 1);
    let later = NOW.plus_ms(2 * 60 * 60 * 1000);
    // Of another series something goes on: the tenant stays.
    let mut other = mutation("t");
    other.push(SeriesRef::Labels(up("b")), [(later.0, 1.0)]);
    engine.append(&other, AppendLimits::NONE, later).unwrap();
    assert_eq!(engine.flush(later).unwrap().series_dropped, 1);
    assert_eq!(engine.stats().series, 1);
    let mut again = mutation("t");
    again.generation = written.generation;
    again.push(SeriesRef::Number(written.numbers[0].1), [(2000, 1.0)]);
    assert_eq!(engine.append(&again, AppendLimits::NONE, later).unwrap(), Appended::NeedLabels);
    let renewed = write(&engine, &m);
    assert_eq!(renewed.generation, written.generation);
    assert_ne!(renewed.numbers[0].1, written.numbers[0].1);
    assert_eq!(answer(&engine, "t", &all(&[]))[0].1.len(), 1);
}

#[test]
fn metadata_lasts_and_the_last_one_wins() {
    let disk = SimDisk::new(1);
    let entry = |help: &str| MetricMetadata {
        metric: "up".into(),
        metric_type: MetricType::Gauge,
        help: help.into(),
        unit: Text::default(),
    };
    for (help, close) in [("one", false), ("two", false), ("three", true)] {
        let (engine, _) = open(&disk);
        let mut m = mutation("t");
        m.metadata.push(entry(help));
        write(&engine, &m);
        if close {
            engine.close(NOW).unwrap();
        }
        drop(engine);
        let (engine, _) = open(&disk);
        assert_eq!(engine.metadata(&tenant("t"), &MetadataQuery::default()), vec![entry(help)]);
    }
}

#[test]
fn a_job_is_due_at_a_border_and_when_the_tail_is_long() {
    let disk = SimDisk::new(1);
    let config = Config { tail_samples_max: 3, tail_samples_per_series: 0, ..Config::default() };
    let (engine, _) = open_with(&disk, config);
    assert_eq!(engine.next_job(NOW.plus_ms(DAY_MS)), None);
    let mut m = mutation("t");
    m.push(SeriesRef::Labels(up("a")), (0..3).map(|i| (i * 1000, 1.0)));
    write(&engine, &m);
    assert_eq!(engine.next_job(NOW), None);
    let border = engine.next_job(NOW.plus_ms(3 * 60 * 60 * 1000));
    assert_eq!(border, Some(Job::Flush(FlushReason::BlockBorder)));
    let mut m = mutation("t");
    m.push(SeriesRef::Labels(up("a")), [(5000, 1.0)]);
    write(&engine, &m);
    let due = engine.next_job(NOW).unwrap();
    assert_eq!(due, Job::Flush(FlushReason::LongTail));
    engine.run(due, NOW).unwrap();
    assert_eq!(engine.next_job(NOW), None);
}

#[test]
fn a_reader_gets_an_error_and_never_a_cut() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let mut m = mutation("t");
    for instance in ["a", "b"] {
        m.push(SeriesRef::Labels(up(instance)), (0..5).map(|i| (i * 1000, 1.0)));
    }
    write(&engine, &m);
    let bounded = |series_max, samples_max| Selection {
        bounds: SelectBounds { series_max, samples_max, ..SelectBounds::NONE },
        ..all(&[])
    };
    let select = |selection: &Selection| engine.select(&tenant("t"), selection, NOW);
    assert!(matches!(select(&bounded(1, 99)), Err(Error::TooManySeries { series_max: 1 })));
    assert!(matches!(select(&bounded(2, 9)), Err(Error::TooManySamples { samples_max: 9 })));
    assert_eq!(select(&bounded(2, 10)).unwrap().len(), 2);
}

/// Samples: time, value, start.
type Rows = Vec<(i64, f64, i64)>;

/// A step of a story.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(usize, Rows)>, u32, bool),
    Flush,
    /// Compacts some sstables of a window, cut at a token.
    Compact(u64, u8),
    Seal,
    Kill,
    PowerCut,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(1.0),
        Just(0.1),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::from_bits(0x7ff8_dead_beef_0001)),
        Just(stale_marker()),
        any::<u64>().prop_map(f64::from_bits),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0_i64..200).prop_map(|i| NOW.0 + i * 15_000),
        2 => (-3_i64..3, 0_i64..5).prop_map(|(d, i)| NOW.0 + d * DAY_MS + i),
        1 => (-5_i64..5).prop_map(|i| i * DAY_MS - 1),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX - 1), any::<i64>()],
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let rows =
        prop::collection::vec((time(), value(), prop_oneof![4 => Just(0_i64), 1 => Just(7)]), 0..8);
    let series = prop::collection::vec((0_usize..6, rows), 1..5);
    prop_oneof![
        8 => (series, prop_oneof![6 => Just(0_u32), 1 => Just(1)], any::<bool>())
            .prop_map(|(series, revision, by_number)| Step::Append(series, revision, by_number)),
        2 => Just(Step::Flush),
        1 => (any::<u64>(), any::<u8>()).prop_map(|(token, pick)| Step::Compact(token, pick)),
        1 => Just(Step::Seal),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
    ]
}

fn series(index: usize) -> LabelSet {
    let metric = if index < 4 { "m" } else { "n" };
    let instance = (index % 3).to_string();
    let mut set = labels(&[("__name__", metric), ("job", "j"), ("instance", &instance)]);
    if index.is_multiple_of(2) {
        set.set("even", "yes");
    }
    set
}

type Model = BTreeMap<LabelSet, BTreeMap<i64, Sample>>;

fn append(engine: &Engine, known: &BTreeMap<usize, (u64, u32)>, step: &Step) -> Mutation {
    let Step::Append(rows, revision, by_number) = step else { panic!() };
    let _ = engine;
    let mut m = mutation("t");
    m.revision = *revision;
    for (index, samples) in rows {
        let named = match known.get(index).filter(|_| *by_number) {
            Some((generation, number)) => {
                m.generation = *generation;
                SeriesRef::Number(*number)
            }
            None => SeriesRef::Labels(series(*index)),
        };
        m.push(named, samples.iter().map(|s| (s.0, s.1)));
        m.start_timestamps_ms.extend(samples.iter().map(|s| s.2));
    }
    m
}

fn keep(model: &mut Model, step: &Step) {
    let Step::Append(rows, revision, _) = step else { return };
    for (index, samples) in rows {
        let held = model.entry(series(*index)).or_default();
        for (timestamp_ms, value, start_timestamp_ms) in samples.iter().copied() {
            let sample = Sample { timestamp_ms, value, start_timestamp_ms, revision: *revision };
            let winner = held.entry(timestamp_ms).or_insert(sample);
            if join_order(&sample, winner) == Order::Greater {
                *winner = sample;
            }
        }
    }
}

fn expected(model: &Model, selection: &Selection) -> Answer {
    let compiled: Vec<_> = selection.matchers.iter().map(|m| m.compile().unwrap()).collect();
    let in_days =
        |at: i64| selection.days.as_ref().is_none_or(|days| days.contains(&TimestampMs(at).day()));
    let wanted = |at: i64| selection.range.contains(TimestampMs(at)) && in_days(at);
    model
        .iter()
        .filter(|(labels, _)| compiled.iter().all(|m| m.matches_labels(labels)))
        .map(|(labels, samples)| {
            let samples = samples.values().filter(|s| wanted(s.timestamp_ms));
            (
                labels.clone(),
                samples.map(|s| (s.timestamp_ms, s.value.to_bits())).collect::<Vec<_>>(),
            )
        })
        .filter(|(_, samples)| !samples.is_empty())
        .collect()
}

fn selections() -> Vec<Selection> {
    use model::MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value);
    let range = |start, end| TimeRange { start: TimestampMs(start), end: TimestampMs(end) };
    let recent = range(NOW.0, NOW.0 + 600_000);
    let today = NOW.day();
    vec![
        all(&[]),
        all(&[matcher("__name__", Equal, "m")]),
        all(&[matcher("__name__", Equal, "m"), matcher("even", Equal, "")]),
        all(&[matcher("instance", Regex, "1|2"), matcher("even", Equal, "yes")]),
        all(&[matcher("__name__", Regex, ".+"), matcher("instance", NotEqual, "1")]),
        all(&[matcher("none", NotRegex, ".+"), matcher("job", Regex, "j.*")]),
        all(&[matcher("none", Equal, "x")]),
        Selection { range: recent, ..all(&[matcher("__name__", Equal, "n")]) },
        Selection { days: Some(vec![today, DayBucket(today.0 - 2), DayBucket(-1)]), ..all(&[]) },
        Selection { range: recent, days: Some(vec![DayBucket(today.0 + 1)]), ..all(&[]) },
        Selection { range: range(i64::MIN, 0), ..all(&[]) },
    ]
}

fn check(engine: &Engine, model: &Model) {
    for selection in selections() {
        assert_eq!(answer(engine, "t", &selection), expected(model, &selection), "{selection:?}");
        let query = LabelQuery {
            want: LabelWant::Series,
            matcher_sets: vec![selection.matchers.clone()],
            range: selection.range,
            limit: 0,
            tombstones_max: u64::MAX,
        };
        if selection.days.is_none() {
            let series =
                expected(model, &selection).into_iter().map(|(labels, _)| labels).collect();
            let found = engine.labels(&tenant("t"), &query, NOW).unwrap();
            assert_eq!(found, LabelAnswer::Series(series), "{query:?}");
        }
        if selection.range == TimeRange::ALL && selection.days.is_none() {
            let mut values: Vec<Text> = expected(model, &selection)
                .iter()
                .filter_map(|(labels, _)| labels.get("instance").cloned())
                .collect();
            values.sort();
            values.dedup();
            let query = LabelQuery { want: LabelWant::Values("instance".into()), ..query };
            assert_eq!(
                engine.labels(&tenant("t"), &query, NOW).unwrap(),
                LabelAnswer::Texts(values)
            );
            let labels = expected(model, &selection).into_iter().map(|(labels, _)| labels);
            let names: BTreeSet<Text> = labels
                .flat_map(|set| set.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>())
                .collect();
            let query = LabelQuery { want: LabelWant::Names, ..query };
            let names = LabelAnswer::Texts(names.into_iter().collect());
            assert_eq!(engine.labels(&tenant("t"), &query, NOW).unwrap(), names);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_every_sample_is_answered_once_and_joined(
        steps in prop::collection::vec(step(), 1..25), seed: u64
    ) {
        let disk = SimDisk::new(seed);
        let open = |disk: &SimDisk| open_with(disk, compact::tests::eager(seed));
        let (mut engine, _) = open(&disk);
        let mut model = Model::new();
        let mut known: BTreeMap<usize, (u64, u32)> = BTreeMap::new();
        for step in &steps {
            match step {
                Step::Append(rows, ..) => {
                    let written = write(&engine, &append(&engine, &known, step));
                    for (index, number) in &written.numbers {
                        known.insert(rows[*index as usize].0, (written.generation, *number));
                    }
                    keep(&mut model, step);
                }
                Step::Flush => drop(engine.flush(NOW).unwrap()),
                Step::Compact(token, pick) => {
                    compact::tests::some(&engine, *token, *pick);
                    compact::tests::due(&engine, NOW, *token);
                }
                Step::Seal => compact::tests::seal(&engine),
                Step::Kill | Step::PowerCut => {
                    drop(engine);
                    match step {
                        Step::Kill => disk.kill(),
                        _ => disk.power_cut(),
                    }
                    known.clear();
                    let (opened, report) = open(&disk);
                    engine = opened;
                    prop_assert_eq!(report.samples_without_series + report.records_damaged, 0);
                    prop_assert!(report.replay.damage.is_empty() && report.sstables_damaged.is_empty());
                }
            }
        }
        check(&engine, &model);
        engine.close(NOW).unwrap();
        check(&engine, &model);
        drop(engine);
        disk.power_cut();
        check(&open(&disk).0, &model);
    }
}
