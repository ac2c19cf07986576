//! Deleting against a model: a map of every sample that ever came, and every delete.

use super::*;
use crate::config::Config;
use crate::engine::{AppendLimits, Appended, OpenReport, Parts, PurgeReport};
use crate::sim::{Outcome, SimDisk};
use model::mutation::Mutation;
use model::read::{ExemplarQuery, LabelAnswer, LabelQuery, LabelWant, SelectBounds, Selection};
use model::sample::join_order;
use model::time::DAY_MS;
use model::{
    Context, LabelSet, METRIC_NAME, MatchOp, Matcher, Principal, RequestId, Sample, SeriesRef,
    Text, TimeRange,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

static STARTS: AtomicU64 = AtomicU64::new(1);
const NOW: TimestampMs = TimestampMs(1_760_000_000_000);

impl Engine {
    /// A fault for the crash rig to find: every tombstone is gone, and the files say nothing.
    pub(crate) fn forget_tombstones(&self) {
        let mut manifest = self.manifest.lock();
        let held: Vec<u64> = manifest.state().tombstones.keys().copied().collect();
        let edits: Vec<Edit> = held.iter().copied().map(Edit::RemoveTombstone).collect();
        if !edits.is_empty() && manifest.apply(&edits).is_ok() {
            *self.tombstones.write() = Arc::default();
        }
    }
}

fn t() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn try_open(disk: &SimDisk) -> Result<(Engine, OpenReport)> {
    let generation_seed = STARTS.fetch_add(1, Ordering::Relaxed);
    let (disk, cluster_name) = (Arc::new(disk.clone()), "test".to_owned());
    Engine::open(Parts { disk, cluster_name, generation_seed }, Config::default(), NOW)
}

fn open(disk: &SimDisk) -> Engine {
    try_open(disk).unwrap().0
}

fn series(index: usize) -> LabelSet {
    let (metric, instance) = (["m", "n"][index % 2], ["a", "b", "c"][index % 3]);
    LabelSet::from_pairs([("__name__", metric), ("instance", instance)]).unwrap()
}

fn context() -> Arc<Context> {
    Arc::new(Context {
        tenant: t(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    })
}

fn append(engine: &Engine, m: &Mutation) -> bool {
    let appended = engine.append(m, AppendLimits::NONE, NOW);
    matches!(appended, Ok(Appended::Queued { .. })) && engine.sync().is_ok()
}

fn write(engine: &Engine, revision: u32, rows: &[(usize, i64, f64)]) -> bool {
    let mut m = Mutation::empty(context());
    m.revision = revision;
    for (index, at, value) in rows {
        m.push(SeriesRef::Labels(series(*index)), [(*at, *value)]);
    }
    append(engine, &m)
}

fn request(matchers: &[Matcher], start: i64, end: i64) -> DeleteRequest {
    let range = TimeRange { start: TimestampMs(start), end: TimestampMs(end) };
    DeleteRequest { matcher_sets: vec![matchers.to_vec()], range, revision_max: 0 }
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

type Answer = Vec<(LabelSet, Vec<(i64, u64)>)>;

fn everything(engine: &Engine, matchers: &[Matcher], range: TimeRange) -> Answer {
    let series = engine.select(&t(), &selection(matchers, range), NOW).unwrap();
    let points = |s: &model::SeriesColumns| {
        let values = s.floats.values.iter().map(|v| v.to_bits());
        s.floats.timestamps_ms.iter().copied().zip(values).collect()
    };
    series.into_iter().map(|s| (s.labels.clone(), points(&s))).collect()
}

/// Every sample that came, the winner of each moment; and what was deleted.
#[derive(Clone, Default)]
struct Model {
    samples: BTreeMap<LabelSet, BTreeMap<i64, Sample>>,
    tombstones: Vec<Tombstone>,
}

impl Model {
    fn keep(&mut self, revision: u32, rows: &[(usize, i64, f64)]) {
        for (index, timestamp_ms, value) in rows.iter().copied() {
            let sample = Sample { timestamp_ms, value, start_timestamp_ms: 0, revision };
            let held = self.samples.entry(series(index)).or_default();
            let winner = held.entry(timestamp_ms).or_insert(sample);
            if join_order(&sample, winner).is_gt() {
                *winner = sample;
            }
        }
    }

    fn delete(&mut self, request: &DeleteRequest, answer: DeleteAnswer) {
        self.tombstones.extend(request.matcher_sets.iter().map(|matchers| Tombstone {
            tenant: t(),
            matchers: matchers.clone(),
            range: request.range,
            revision_max: answer.revision_max,
            created: NOW,
        }));
    }

    /// If the winner is hidden, so are all that lost: their revisions are not higher.
    fn answer(&self, matchers: &[Matcher], range: TimeRange) -> Answer {
        let matches = |matchers: &[Matcher], labels: &LabelSet| {
            matchers.iter().all(|matcher| matcher.compile().unwrap().matches_labels(labels))
        };
        let mut answer = Vec::new();
        for (labels, samples) in &self.samples {
            let hides = |s: &Sample| {
                self.tombstones.iter().any(|stone| {
                    stone.range.contains(TimestampMs(s.timestamp_ms))
                        && s.revision <= stone.revision_max
                        && matches(&stone.matchers, labels)
                })
            };
            let visible = samples.values().filter(|s| !hides(s));
            let wanted = visible.filter(|s| range.contains(TimestampMs(s.timestamp_ms)));
            let points: Vec<_> = wanted.map(|s| (s.timestamp_ms, s.value.to_bits())).collect();
            if matches(matchers, labels) && !points.is_empty() {
                answer.push((labels.clone(), points));
            }
        }
        answer
    }
}

fn matcher_sets() -> Vec<Vec<Matcher>> {
    vec![
        vec![],
        vec![Matcher::equal(METRIC_NAME, "m")],
        vec![Matcher::equal("instance", "a")],
        vec![Matcher::new("instance", MatchOp::Regex, "a|b"), Matcher::equal(METRIC_NAME, "n")],
        vec![Matcher::new("instance", MatchOp::NotEqual, "a")],
        vec![Matcher::equal("none", "")],
        vec![Matcher::equal(METRIC_NAME, "other")],
    ]
}

fn ranges() -> Vec<TimeRange> {
    let around = TimeRange { start: NOW.minus_ms(DAY_MS), end: NOW.plus_ms(60_000) };
    vec![TimeRange::ALL, around, TimeRange { start: NOW, end: NOW.plus_ms(30_000) }]
}

/// Every kind of question, against the model.
fn check(engine: &Engine, model: &Model) {
    for (matchers, range) in matcher_sets().iter().flat_map(|m| ranges().map_with(m)) {
        let want = model.answer(matchers, range);
        assert_eq!(everything(engine, matchers, range), want, "{matchers:?} {range:?}");
        let ask = |want, range| {
            let matcher_sets = vec![matchers.to_vec()];
            engine
                .labels(
                    &t(),
                    &LabelQuery { want, matcher_sets, range, limit: 0, tombstones_max: u64::MAX },
                    NOW,
                )
                .unwrap()
        };
        let labels: Vec<LabelSet> = want.into_iter().map(|(labels, _)| labels).collect();
        assert_eq!(ask(LabelWant::Series, range), LabelAnswer::Series(labels));
        // Names and values may be of whole days, and nothing of a delete may be left in them.
        let days = TimeRange {
            start: range.start.day().start(),
            end: TimestampMs(range.end.0.saturating_sub(1)).day().range().end,
        };
        let least = model.answer(matchers, range);
        let most = model.answer(matchers, if range == TimeRange::ALL { range } else { days });
        for want in [LabelWant::Names, LabelWant::Values("instance".into())] {
            let LabelAnswer::Texts(texts) = ask(want.clone(), range) else { panic!() };
            let texts: BTreeSet<Text> = texts.into_iter().collect();
            let of = |answer: &Answer| -> BTreeSet<Text> {
                let pairs = answer.iter().flat_map(|(labels, _)| labels.iter());
                match &want {
                    LabelWant::Values(of) => {
                        pairs.filter(|(name, _)| *name == of).map(|(_, v)| v.clone()).collect()
                    }
                    _ => pairs.map(|(name, _)| name.clone()).collect(),
                }
            };
            assert!(of(&least).is_subset(&texts) && texts.is_subset(&of(&most)), "{texts:?}");
        }
    }
}

trait MapWith {
    fn map_with(self, matchers: &[Matcher]) -> Vec<(&[Matcher], TimeRange)>;
}

impl MapWith for Vec<TimeRange> {
    fn map_with(self, matchers: &[Matcher]) -> Vec<(&[Matcher], TimeRange)> {
        self.into_iter().map(|range| (matchers, range)).collect()
    }
}

/// Brings every window into its dense form.
fn seal(engine: &Engine) {
    for window in engine.windows_to_seal() {
        if let Some(compaction) = engine.seal(window).unwrap() {
            engine.compact(&compaction, NOW, &mut |_| true).unwrap();
        }
    }
}

/// Lets everything that is deleted leave the disk, and says what was done with files.
fn purge(engine: &Engine) -> Vec<PurgeReport> {
    engine.ask_for_purge();
    while let Some(job) = engine.next_job(NOW) {
        engine.run(job, NOW).unwrap();
    }
    std::iter::from_fn(|| engine.purge(NOW, &mut |_| true).unwrap()).collect()
}

/// The files of the disk that hold these bytes.
fn files_with(disk: &SimDisk, bytes: &[u8]) -> Vec<String> {
    let holds = |path: &String| {
        let held = disk.bytes_of(path).unwrap_or_default();
        held.windows(bytes.len()).any(|window| window == bytes)
    };
    disk.paths().into_iter().filter(holds).collect()
}

#[test]
fn after_a_purge_no_file_holds_a_byte_of_what_was_deleted() {
    const NEEDLE: &str = "needle-9f3ac1";
    let value = f64::from_bits(0x4a5b_6c7d_8e9f_a1b3);
    let deleted =
        LabelSet::from_pairs([("__name__", "m"), ("instance", NEEDLE), ("job", "gone")]).unwrap();
    for seals in [false, true] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        let rows: Vec<_> = (0_usize..6).map(|index| (index, NOW.0, 1.0)).collect();
        let keep: Vec<_> = (0_usize..6).map(|index| (index, NOW.0 - 5 * DAY_MS, 2.0)).collect();
        assert!(write(&engine, 0, &rows) && write(&engine, 0, &keep));
        let mut m = Mutation::empty(context());
        // In windows of its own, beside others, and in the head.
        m.push(SeriesRef::Labels(deleted.clone()), [(NOW.0 - 9 * DAY_MS, value), (NOW.0, value)]);
        assert!(append(&engine, &m));
        engine.flush(NOW).unwrap();
        if seals {
            seal(&engine);
        }
        let mut m = Mutation::empty(context());
        m.push(SeriesRef::Labels(deleted.clone()), [(NOW.0 + 1, value)]);
        assert!(append(&engine, &m));

        let needles =
            [NEEDLE.as_bytes(), &value.to_bits().to_le_bytes(), &value.to_bits().to_be_bytes()];
        let found = |needles: &[&[u8]]| -> Vec<String> {
            needles.iter().flat_map(|needle| files_with(&disk, needle)).collect()
        };
        assert!(!found(&needles[..1]).is_empty() && !found(&needles[1..]).is_empty());
        let job = [Matcher::equal("job", "gone")];
        let others = everything(&engine, &[Matcher::equal("job", "")], TimeRange::ALL);
        assert_eq!(everything(&engine, &[], TimeRange::ALL).len(), others.len() + 1);
        engine.delete(&t(), &request(&job, i64::MIN, i64::MAX), NOW).unwrap();
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);

        let reports = purge(&engine);
        assert_eq!(found(&needles), Vec::<String>::new());
        // Of three windows one goes whole, one is written anew, one is left alone.
        let mut after: Vec<bool> = reports.iter().map(|report| report.bytes_after > 0).collect();
        after.sort_unstable();
        assert_eq!(after, [false, true]);
        assert_eq!(purge(&engine), []);
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);
        // What comes late stays hidden, and goes with the next purge.
        assert!(append(&engine, &m));
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);
        purge(&engine);
        assert_eq!(found(&needles), Vec::<String>::new());
        drop(engine);
        let engine = open(&disk);
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);
        assert_eq!(purge(&engine), []);
    }
}

#[test]
fn after_a_purge_nothing_says_what_a_metric_means_that_is_gone_and_others_are_told() {
    const NEEDLE: &str = "needle-help";
    let described = |engine: &Engine| -> Vec<String> {
        let all = engine.metadata(&t(), &model::read::MetadataQuery { metric: None });
        all.iter().map(|entry| entry.metric.to_string()).collect()
    };
    for (asked, flushes) in [(true, false), (true, true), (false, true)] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        let m = described_series(NEEDLE);
        assert!(append(&engine, &m));
        if flushes {
            engine.flush(NOW).unwrap();
        }
        let names = Matcher::new("__name__", MatchOp::Regex, "gone|left|w.*");
        let gone = [Matcher::equal("job", "x"), names];
        engine.delete(&t(), &request(&gone, i64::MIN, i64::MAX), NOW).unwrap();
        assert_eq!(described(&engine), ["gone", "left", "other", "wide"]);
        if asked {
            purge_as_threads_do(&engine);
            assert_eq!(files_with(&disk, NEEDLE.as_bytes()), Vec::<String>::new());
            assert!(!files_with(&disk, b"kept-help").is_empty());
        } else {
            let later = NOW.plus_ms(20 * 60 * 1000);
            while engine.purge(later, &mut |_| true).unwrap().is_some() {}
            engine.flush(later).unwrap();
        }
        // No delete can mean `other`, and a series of a histogram is left.
        assert_eq!(described(&engine), ["left", "other", "wide"]);
        drop(engine);
        let engine = open(&disk);
        assert_eq!(described(&engine), ["left", "other", "wide"]);
        assert!(append(&engine, &m));
        assert_eq!(described(&engine).len(), 4, "who says it again is heard");
    }
}

/// Series of two jobs, and metadata of them and of a metric without a series.
fn described_series(help: &str) -> Mutation {
    let mut m = Mutation::empty(context());
    for (metric, job) in
        [("gone", "x"), ("left", "x"), ("left", "y"), ("wide_bucket", "y"), ("wide_sum", "x")]
    {
        let labels = LabelSet::from_pairs([("__name__", metric), ("job", job)]).unwrap();
        m.push(SeriesRef::Labels(labels), [(NOW.0 - DAY_MS, 1.0), (NOW.0, 2.0)]);
    }
    for metric in ["gone", "left", "wide", "other"] {
        m.metadata.push(model::mutation::MetricMetadata {
            metric: metric.into(),
            metric_type: model::mutation::MetricType::Gauge,
            help: if metric == "gone" { help } else { "kept-help" }.into(),
            unit: "".into(),
        });
    }
    m
}

/// Jobs and purges, until there is no more of either.
fn purge_as_threads_do(engine: &Engine) {
    engine.ask_for_purge();
    for _ in 0..5 {
        let mut is_idle = true;
        while let Some(job) = engine.next_job(NOW) {
            engine.run(job, NOW).unwrap();
            is_idle = false;
            // What comes in the middle of the flushes makes them begin again.
            while engine.purge(NOW, &mut |_| true).unwrap().is_some() {}
        }
        while engine.purge(NOW, &mut |_| true).unwrap().is_some() {}
        if is_idle {
            return;
        }
    }
    panic!("it comes to an end");
}

/// What is shown of exemplars: series by `instance`, and the traces of each.
fn traces(engine: &Engine) -> Vec<(String, Vec<String>)> {
    let found = engine.exemplars(&t(), &[vec![]], TimeRange::ALL, NOW).unwrap();
    let text = |labels: &LabelSet, name: &str| labels.get(name).unwrap().to_string();
    let of = |series: model::exemplar::SeriesExemplars| {
        let traces = series.exemplars.iter().map(|e| text(&e.labels, "trace_id")).collect();
        (text(&series.labels, "instance"), traces)
    };
    found.into_iter().map(of).collect()
}

/// Writes exemplars of a series: times and traces.
fn write_traces(engine: &Engine, instance: &str, traces: &[(i64, &str)]) {
    let labels = [("__name__", "m"), ("instance", instance)];
    let mut m = Mutation::empty(context());
    m.push(SeriesRef::Labels(LabelSet::from_pairs(labels).unwrap()), [(NOW.0, 1.0)]);
    for (timestamp_ms, trace) in traces.iter().copied() {
        let labels = LabelSet::from_pairs([("trace_id", trace)]).unwrap();
        let value = f64::from_bits(0x4a5b_6c7d_8e9f_a1b3);
        m.exemplars.push((0, model::Exemplar { timestamp_ms, value, labels }));
    }
    assert!(append(engine, &m));
}

#[test]
fn after_a_purge_no_file_holds_a_byte_of_a_deleted_exemplar_and_the_others_are_there() {
    const GONE: &str = "needle-trace";
    let kept = |instance: &str| (instance.to_owned(), vec!["kept-trace".to_owned()]);
    for flushes in [false, true] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        write_traces(&engine, "whole-needle", &[(NOW.0 - 7, GONE)]);
        write_traces(&engine, "part", &[(NOW.0 - 10, GONE), (NOW.0 - 5, "kept-trace")]);
        write_traces(&engine, "other", &[(NOW.0 - 10, "kept-trace")]);
        if flushes {
            // In the checkpoint, and no longer in the log.
            engine.flush(NOW).unwrap();
        }
        assert!(!files_with(&disk, GONE.as_bytes()).is_empty());
        let whole = [Matcher::equal("instance", "whole-needle")];
        engine.delete(&t(), &request(&whole, i64::MIN, i64::MAX), NOW).unwrap();
        let part = [Matcher::equal("instance", "part")];
        engine.delete(&t(), &request(&part, NOW.0 - 10, NOW.0 - 5), NOW).unwrap();
        let left = vec![kept("other"), kept("part")];
        assert_eq!(traces(&engine), left, "hidden at once");
        purge(&engine);
        assert_eq!(files_with(&disk, GONE.as_bytes()), Vec::<String>::new());
        assert!(!files_with(&disk, b"kept-trace").is_empty());
        assert_eq!(traces(&engine), left);
        // What comes late is hidden, and goes with the next purge.
        write_traces(&engine, "part", &[(NOW.0 - 10, GONE)]);
        assert_eq!(traces(&engine), left);
        purge(&engine);
        assert_eq!(files_with(&disk, GONE.as_bytes()), Vec::<String>::new());
        assert_eq!(engine.stats().exemplars, 2);
        drop(engine);
        let engine = open(&disk);
        assert_eq!(traces(&engine), left, "from the checkpoint");
        let stats = engine.stats();
        assert_eq!((stats.exemplars_lost_limit_total, stats.exemplars_lost_idle_total), (0, 0));
    }
}

#[test]
fn nobody_asked_a_delete_is_purged_when_it_is_old_enough_and_only_what_it_hides() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, NOW.0, 1.0), (1, NOW.0, 1.0)]));
    engine.flush(NOW).unwrap();
    let at = |now: TimestampMs| engine.purge(now, &mut |_| true).unwrap();
    engine.delete(&t(), &request(&[Matcher::equal("x", "1")], 0, i64::MAX), NOW).unwrap();
    let later = NOW.plus_ms(20 * 60 * 1000);
    assert_eq!(at(later), None, "nothing is hidden");
    engine.delete(&t(), &request(&[Matcher::equal(METRIC_NAME, "m")], 0, i64::MAX), NOW).unwrap();
    assert_eq!(at(NOW), None);
    let report = at(later).unwrap();
    assert_eq!((report.samples_purged, at(later)), (1, None));
}

#[test]
fn a_delete_that_is_repeated_again_and_again_does_not_put_off_its_purge() {
    const MINUTE_MS: i64 = 60 * 1000;
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, NOW.0, 1.0), (1, NOW.0, 1.0)]));
    engine.flush(NOW).unwrap();
    let mut purged = Vec::new();
    for minute in 0..60 {
        let now = NOW.plus_ms(minute * MINUTE_MS);
        if minute % 5 == 0 {
            let again = request(&[Matcher::equal(METRIC_NAME, "m")], 0, now.0 + 1);
            engine.delete(&t(), &again, now).unwrap();
            assert_eq!(engine.stats().tombstones, 1);
        }
        while let Some(report) = engine.purge(now, &mut |_| true).unwrap() {
            purged.push((minute, report.samples_purged));
        }
    }
    assert_eq!(purged, [(16, 1)]);
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32, Vec<(usize, i64, f64)>),
    Delete(DeleteRequest),
    Flush,
    Seal,
    Purge,
    Kill,
    PowerCut,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (-4_i64..4).prop_map(|i| NOW.0 + i * 15_000),
        2 => (-40_i64..2, 0_i64..2).prop_map(|(day, i)| NOW.0 + day * DAY_MS + i),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![Just(1.0), Just(-0.0), Just(f64::NAN), any::<f64>()];
    let rows = prop::collection::vec((0_usize..6, time(), value), 1..8);
    let sets = prop::collection::vec(
        (0..matcher_sets().len()).prop_map(|i| matcher_sets()[i].clone()),
        1..3,
    );
    let delete = (sets, time(), time()).prop_map(|(matcher_sets, a, b)| {
        let range = TimeRange { start: TimestampMs(a.min(b)), end: TimestampMs(a.max(b) + 1) };
        Step::Delete(DeleteRequest { matcher_sets, range, revision_max: 0 })
    });
    prop_oneof![
        6 => (prop_oneof![4 => Just(0_u32), 1 => 1_u32..4], rows)
            .prop_map(|(revision, rows)| Step::Append(revision, rows)),
        3 => delete,
        2 => Just(Step::Flush),
        1 => Just(Step::Seal),
        1 => Just(Step::Purge),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_is_deleted_stays_hidden_and_nothing_else_does(
        steps in prop::collection::vec(step(), 1..20), seed: u64
    ) {
        let disk = SimDisk::new(seed);
        let mut engine = open(&disk);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(revision, rows) => {
                    prop_assert!(write(&engine, revision, &rows));
                    model.keep(revision, &rows);
                }
                Step::Delete(request) => {
                    let answer = engine.delete(&t(), &request, NOW).unwrap();
                    model.delete(&request, answer);
                    check(&engine, &model);
                }
                Step::Flush => drop(engine.flush(NOW).unwrap()),
                Step::Seal => seal(&engine),
                Step::Purge => drop(purge(&engine)),
                Step::Kill | Step::PowerCut => {
                    drop(engine);
                    match step {
                        Step::Kill => disk.kill(),
                        _ => disk.power_cut(),
                    }
                    engine = open(&disk);
                }
            }
        }
        check(&engine, &model);
        engine.close(NOW).unwrap();
        check(&engine, &model);
        drop(engine);
        disk.power_cut();
        check(&open(&disk), &model);
    }
}

#[test]
fn what_comes_late_into_a_deleted_range_is_hidden_and_a_higher_revision_is_not() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, 5, 1.0), (0, 50, 2.0)]));
    let all = || everything(&engine, &[], TimeRange::ALL);
    let answer = engine.delete(&t(), &request(&[], 0, 10), NOW).unwrap();
    assert_eq!(answer, DeleteAnswer { revision_max: 0 });
    let rest: Answer = vec![(series(0), vec![(50, 2.0_f64.to_bits())])];
    assert_eq!(all(), rest);
    assert!(write(&engine, 0, &[(0, 6, 3.0), (1, 7, 3.0)]));
    assert_eq!(all(), rest);
    engine.flush(NOW).unwrap();
    assert_eq!(all(), rest);
    assert!(write(&engine, 1, &[(0, 6, 4.0)]));
    let again: Answer = vec![(series(0), vec![(6, 4.0_f64.to_bits()), (50, 2.0_f64.to_bits())])];
    assert_eq!(all(), again);
    // Another delete hides also what was brought back.
    let answer = engine.delete(&t(), &request(&[], 0, 10), NOW).unwrap();
    assert_eq!((answer.revision_max, all()), (1, rest));
}

#[test]
fn a_flush_leaves_out_what_is_deleted_and_says_up_to_which_tombstone() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, NOW.0, 1.0), (1, NOW.0, 2.0), (1, NOW.0 + 1, 3.0)]));
    engine.delete(&t(), &request(&[Matcher::equal(METRIC_NAME, "m")], 0, i64::MAX), NOW).unwrap();
    engine.delete(&t(), &request(&[], NOW.0 + 1, NOW.0 + 2), NOW).unwrap();
    assert_eq!(engine.flush(NOW).unwrap().samples, 1);
    let through = *engine.manifest.lock().state().tombstones.keys().next_back().unwrap();
    let state = engine.manifest.lock().state().clone();
    let clean: Vec<u64> = state.sstables.values().map(|meta| meta.tombstones_through).collect();
    assert_eq!((clean, state.tombstones.len()), (vec![through], 2));
}

#[test]
fn the_same_delete_again_costs_nothing_and_one_that_grows_takes_its_own_place() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let up_to = |end| engine.delete(&t(), &request(&[], 0, end), NOW).unwrap();
    up_to(10);
    let calls = disk.calls();
    up_to(10);
    up_to(9);
    assert_eq!(disk.calls(), calls);
    for end in 11..50 {
        up_to(end);
    }
    assert_eq!(engine.tombstones().len(), 1);
}

#[test]
fn a_bad_matcher_and_one_tombstone_too_many_delete_nothing() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, 5, 1.0)]));
    let bad = DeleteRequest {
        matcher_sets: vec![vec![], vec![Matcher::new("a", MatchOp::Regex, "(")]],
        ..request(&[], 0, 10)
    };
    assert!(matches!(engine.delete(&t(), &bad, NOW), Err(Error::BadMatcher { .. })));
    let long = "x".repeat(40 << 20);
    let long = request(&[Matcher::equal("a", long.as_str())], 0, 10);
    assert!(matches!(engine.delete(&t(), &long, NOW), Err(Error::TooManyTombstones { .. })));
    assert_eq!(engine.tombstones(), vec![]);
    assert_eq!(everything(&engine, &[], TimeRange::ALL).len(), 1);
}

#[test]
fn a_read_that_too_many_deletes_touch_fails_by_name_and_others_do_not() {
    let disk = SimDisk::new(1);
    let config = Config { read_tombstones_warn: 1, tombstones_max: 4, ..Config::default() };
    let parts =
        Parts { disk: Arc::new(disk.clone()), cluster_name: "test".to_owned(), generation_seed: 1 };
    let engine = Engine::open(parts, config, NOW).unwrap().0;
    let delete = |i: i64| engine.delete(&t(), &request(&[], i * 10, i * 10 + 5), NOW);
    let until = |end| TimeRange { start: TimestampMs(0), end: TimestampMs(end) };
    let read = |end, tombstones_max| {
        let bounds = SelectBounds { tombstones_max, ..SelectBounds::NONE };
        engine.select(&t(), &Selection { bounds, ..selection(&[], until(end)) }, NOW)
    };
    for i in 0..4 {
        delete(i).unwrap();
    }
    assert!(read(25, 3).is_ok() && read(5, 1).is_ok() && read(40, 4).is_ok());
    assert_eq!(engine.stats().reads_tombstones_warned_total, 2);
    assert_eq!(engine.take_deleted_reads().len(), 1);
    let error = read(100, 3).unwrap_err();
    assert!(matches!(error, Error::TooManyReadTombstones { tombstones: 4, tombstones_max: 3, .. }));
    let text = "limit `max_query_tombstones` 3 of tenant `t`";
    assert!(error.to_string().contains(text), "{error}");
    let named = engine.take_deleted_reads();
    assert_eq!(named.len(), 1, "the worst read of a metric is named");
    assert_eq!((named[0].tombstones, named[0].is_refused), (4, true));
    assert_eq!(engine.take_deleted_reads(), []);
    let stats = engine.stats();
    assert_eq!((stats.reads_tombstones_warned_total, stats.reads_tombstones_refused_total), (3, 1));
    assert!(matches!(delete(4), Err(Error::TooManyTombstones { limit: 4, .. })));
}

#[test]
fn questions_about_labels_and_exemplars_keep_to_the_limit_of_deletes_as_samples_do() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    write(&engine, 0, &[(0, 5, 1.0)]);
    for i in 0..3 {
        engine.delete(&t(), &request(&[], 10 + i * 10, 15 + i * 10), NOW).unwrap();
    }
    let (range, matcher_sets) = (TimeRange::ALL, vec![vec![]]);
    let labels = |want, tombstones_max| {
        let matcher_sets = matcher_sets.clone();
        engine.labels(
            &t(),
            &LabelQuery { want, matcher_sets, range, limit: 0, tombstones_max },
            NOW,
        )
    };
    let exemplars = |tombstones_max| {
        let matcher_sets = matcher_sets.clone();
        let query = ExemplarQuery { matcher_sets, range, exemplars_max: u64::MAX, tombstones_max };
        engine.exemplars_at(&t(), &query, NOW)
    };
    let is_refused = |error| matches!(error, Error::TooManyReadTombstones { tombstones: 3, .. });
    for want in [LabelWant::Names, LabelWant::Series, LabelWant::Values("job".into())] {
        assert!(labels(want.clone(), 3).is_ok());
        assert!(is_refused(labels(want, 2).unwrap_err()));
    }
    assert!(exemplars(3).is_ok());
    assert!(is_refused(exemplars(2).unwrap_err()));
}

#[test]
fn replicas_that_tell_each_other_end_with_the_same_set() {
    let disks = [SimDisk::new(1), SimDisk::new(2)];
    let [a, b] = disks.each_ref().map(open);
    a.delete(&t(), &request(&[], 0, 10), NOW).unwrap();
    b.delete(&t(), &request(&[Matcher::equal("x", "1")], 0, 10), NOW).unwrap();
    b.delete(&t(), &request(&[], 5, 20), NOW.plus_ms(1)).unwrap();
    for _ in 0..2 {
        a.adopt(b.tombstones(), NOW).unwrap();
        b.adopt(a.tombstones(), NOW).unwrap();
    }
    let contents = |engine: &Engine| -> BTreeSet<String> {
        engine.tombstones().iter().map(|stone| format!("{stone:?}")).collect()
    };
    assert_eq!((contents(&a), a.tombstones().len()), (contents(&b), 2));
    assert_eq!(
        (a.adopt(b.tombstones(), NOW).unwrap(), b.adopt(a.tombstones(), NOW).unwrap()),
        (0, 0)
    );
}

/// A life with deletes and flushes; which deletes were answered, and which one was being written.
fn life(disk: &SimDisk, model: &mut Model) -> Option<DeleteRequest> {
    let Ok((engine, _)) = try_open(disk) else { return None };
    for round in 0..3_i64 {
        let rows: Vec<_> = (0_usize..6).map(|index| (index, NOW.0 + round, 1.0)).collect();
        // What was not answered may be there or not: the model does not follow that, so each
        // sample is written before the faults begin, and here once more.
        write(&engine, 0, &rows);
        let set = matcher_sets()[usize::try_from(round).unwrap() + 1].clone();
        let request = request(&set, NOW.0, NOW.0 + round + 1);
        match engine.delete(&t(), &request, NOW) {
            Ok(answer) => model.delete(&request, answer),
            Err(_) => return Some(request),
        }
        if engine.flush(NOW).is_err() {
            return None;
        }
    }
    None
}

#[test]
fn a_delete_that_dies_at_any_call_of_the_disk_is_there_whole_or_not_at_all() {
    let prepare = |seed| {
        let disk = SimDisk::new(seed);
        let engine = open(&disk);
        let mut model = Model::default();
        let rows: Vec<(usize, i64, f64)> = (0_usize..6)
            .flat_map(|index| (0..3_i64).map(move |round| (index, NOW.0 + round, 1.0)))
            .collect();
        assert!(write(&engine, 0, &rows));
        model.keep(0, &rows);
        drop(engine);
        (disk, model)
    };
    let (disk, mut model) = prepare(1);
    let before = disk.calls();
    assert_eq!(life(&disk, &mut model), None);
    let calls = disk.calls() - before;
    assert!(calls > 50, "{calls}");
    for call in 0..calls {
        for dies in [true, false] {
            let (disk, mut model) = prepare(call + 7);
            if dies {
                disk.stop_at(disk.calls() + call);
            } else {
                let mut left = call;
                disk.set_hook(move |_| {
                    let now = left == 0;
                    left = left.wrapping_sub(1);
                    if now { Outcome::Fail(std::io::ErrorKind::Other) } else { Outcome::Done }
                });
            }
            let unsure = life(&disk, &mut model);
            disk.clear_hook();
            disk.power_cut();
            let engine = open(&disk);
            let found = everything(&engine, &[], TimeRange::ALL);
            let without = model.answer(&[], TimeRange::ALL);
            let Some(request) = unsure else {
                assert_eq!(found, without, "call {call}, dies: {dies}");
                continue;
            };
            let mut with = model.clone();
            with.delete(&request, DeleteAnswer { revision_max: 0 });
            let either = found == without || found == with.answer(&[], TimeRange::ALL);
            assert!(either, "call {call}, dies: {dies}");
            // Asked again, it is there.
            let answer = engine.delete(&t(), &request, NOW).unwrap();
            model.delete(&request, answer);
            check(&engine, &model);
        }
    }
}
