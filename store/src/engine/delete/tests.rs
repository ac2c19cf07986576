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

mod limits;

mod purge;

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
