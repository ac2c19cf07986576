//! The engine against a plain map, step by step: whatever is done to a store, and in which order,
//! it answers what a map of every sample would, to the last bit, after every step.
//!
//! The map joins samples by a key of its own (D4 as a tuple), cuts by the tombstones as they were
//! asked for and by the rules of retention, and knows of no file or block. A sequence comes from its seed alone; one that
//! fails is made shorter before it is shown. [`SEQUENCES`] of each strategy are run, no two of them
//! the same; the environment may ask for others (`MODEL_SEQUENCES=10000 MODEL_SEED_BASE=1000000`).
//! Seeds that once found a fault are kept ([`KEPT`]).
//!
//! Not here: crashes between the calls of the disk (`crash_rig.rs`), several writers at once.

mod map;
mod steps;

use crate::compaction::scaling::Strategy;
use crate::config::Config;
use crate::engine::compact::tests::eager;
use crate::engine::tests::{NOW, tenant};
use crate::engine::{AppendLimits, Appended, Engine, ImportOptions, Job, Parts};
use crate::error::Error;
use crate::retention::RetentionConfig;
use crate::sim::SimDisk;
use crate::snapshot::{self, Place};
use map::{Answer, Map, answer_of};
use model::mutation::Mutation;
use model::read::{LabelAnswer, LabelQuery, LabelWant, SelectBounds, Selection, Steps, Wanted};
use model::sample::SampleKind;
use model::time::DAY_MS;
use model::{
    Context, LabelSet, Principal, QueryShard, RequestId, RetentionRules, Sample, SeriesColumns,
    SeriesRef, Text, TimeRange, TimestampMs,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use steps::{Cell, Random, Row, Step, matchers, ranges, rules, sequence, series};

/// The first seed.
const SEED_BASE: u64 = 0;
/// Seeds that found a fault: replayed histograms whose revision a delete did not know.
const KEPT: [u64; 1] = [1_003_438];
/// How many sequences of each strategy are run: 10,000 in all.
const SEQUENCES: u64 = 2_500;

/// A store in its life, beside the map it is compared to.
struct Story {
    disk: SimDisk,
    engine: Option<Engine>,
    config: Config,
    map: Map,
    now: TimestampMs,
    /// The numbers that the store has handed out.
    numbers: BTreeMap<usize, (u64, u32)>,
    generations: u64,
    snapshots: u64,
    chance: Random,
}

type Outcome = Result<(), String>;

fn told(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

impl Story {
    fn new(seed: u64, strategy: Strategy) -> Self {
        let mut config = eager(0);
        config.compaction.strategy = strategy;
        config.compaction.base_shards = if seed.is_multiple_of(3) { 4 } else { 1 };
        config.purge_delay_ms = 0;
        // Days go by in a step.
        config.clock_step_max_ms = i64::MAX;
        let mut story = Self {
            disk: SimDisk::new(seed),
            engine: None,
            config,
            map: Map::new(NOW),
            now: NOW,
            numbers: BTreeMap::new(),
            generations: 1,
            snapshots: 0,
            chance: Random::new(seed ^ 0x5151),
        };
        story.open().unwrap();
        story
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn open(&mut self) -> Outcome {
        self.numbers.clear();
        self.generations += 1;
        let parts = Parts {
            disk: Arc::new(self.disk.clone()),
            cluster_name: "model".to_owned(),
            generation_seed: self.generations,
        };
        let (engine, report) = Engine::open(parts, self.config.clone(), self.now).map_err(told)?;
        let is_whole = report.replay.damage.is_empty() && report.sstables_damaged.is_empty();
        self.engine = Some(engine);
        self.keep_for(&self.map.rules().clone())?;
        match is_whole && report.samples_without_series + report.records_damaged == 0 {
            true => Ok(()),
            false => Err(format!("false alarm: {report:?}")),
        }
    }

    fn take(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Append { rows, revision, by_number } => self.append(rows, *revision, *by_number),
            Step::Import { rows, revision } => self.import(rows, *revision),
            Step::Delete(request) => {
                let answer = self.engine().delete(&tenant("t"), request, self.now).map_err(told)?;
                self.map.delete(&tenant("t"), request, answer.revision_max)
            }
            Step::Flush => self.engine().flush(self.now).map(drop).map_err(told),
            Step::Compact(chance) => {
                let due = self.engine().next_compaction(self.now, *chance);
                due.map_or(Ok(()), |due| {
                    self.engine().compact(&due, self.now, &mut |_| true).map(drop).map_err(told)
                })
            }
            Step::Seal => self.seal(),
            Step::Purge => self.purge(),
            Step::Retention(index) => self.keep_for(&rules(*index)),
            Step::Pass { is_whole } => self.pass(*is_whole),
            Step::Expire => self.engine().run(Job::Expire, self.now).map(drop).map_err(told),
            Step::Later(ms) => {
                self.now = self.now.plus_ms(*ms);
                self.map.now = self.now;
                Ok(())
            }
            Step::Restore => self.restore(),
            Step::Kill | Step::PowerCut => {
                self.engine = None;
                match step {
                    Step::Kill => self.disk.kill(),
                    _ => self.disk.power_cut(),
                }
                self.open()
            }
        }
    }

    fn append(&mut self, rows: &[Row], revision: u32, by_number: bool) -> Outcome {
        for kind in [SampleKind::Float, SampleKind::Histogram] {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.cell.kind() == kind).collect();
            for by_number in [by_number, false] {
                let m = self.mutation(&rows, kind, revision, by_number);
                match self.engine().append(&m, AppendLimits::NONE, self.now).map_err(told)? {
                    Appended::NeedLabels if by_number => {}
                    Appended::NeedLabels => return Err("labels were sent".to_owned()),
                    Appended::Queued { ticket, written } => {
                        let synced = self.engine().sync().map_err(told)?;
                        if synced < ticket || !written.refused.is_empty() {
                            return Err("it is not on disk".to_owned());
                        }
                        // Those of a life of the tenant that is over mean nothing in this one.
                        self.numbers.retain(|_, (held, _)| *held == written.generation);
                        for (index, number) in &written.numbers {
                            let series = rows[usize::try_from(*index).unwrap()].series;
                            self.numbers.insert(series, (written.generation, *number));
                        }
                        break;
                    }
                }
            }
        }
        rows.iter().for_each(|row| self.map.keep(row, revision));
        Ok(())
    }

    fn mutation(
        &self,
        rows: &[&Row],
        kind: SampleKind,
        revision: u32,
        by_number: bool,
    ) -> Mutation {
        let mut m = Mutation::empty(Arc::new(Context {
            tenant: tenant("t"),
            principal: Principal::Anonymous,
            request_id: RequestId(1),
            timeout_ms: 0,
            ring_version: 0,
            now: TimestampMs(0),
        }));
        (m.kind, m.revision) = (kind, revision);
        for row in rows {
            m.timestamps_ms.push(row.timestamp_ms);
            m.start_timestamps_ms.push(row.start_timestamp_ms);
            match &row.cell {
                Cell::Float(value) => m.values.push(*value),
                Cell::Histogram(histogram) => m.histograms.push(Arc::clone(histogram)),
            }
            let known = self.numbers.get(&row.series).filter(|_| by_number);
            let named = match known {
                Some((generation, number)) => {
                    m.generation = *generation;
                    SeriesRef::Number(*number)
                }
                None => SeriesRef::Labels(series(row.series)),
            };
            m.end_series(named);
        }
        m
    }

    /// Floats, by an import.
    fn import(&mut self, rows: &[Row], revision: u32) -> Outcome {
        let options = ImportOptions { tenant: tenant("t"), revision };
        let mut import = self.engine.as_ref().unwrap().import(options, self.now);
        for row in rows {
            let Cell::Float(value) = row.cell else { continue };
            let Row { timestamp_ms, start_timestamp_ms, .. } = *row;
            let sample = Sample { timestamp_ms, value, start_timestamp_ms, revision: 0 };
            import.samples(&series(row.series), &[sample]).map_err(told)?;
            self.map.keep(row, revision);
        }
        import.finish().map(drop).map_err(told)
    }

    fn keep_for(&mut self, rules: &RetentionRules) -> Outcome {
        let config = RetentionConfig { default: rules.clone(), ..RetentionConfig::default() };
        self.engine().set_retention(&config, self.now).map_err(told)?;
        self.map.keep_for(rules);
        Ok(())
    }

    fn pass(&self, is_whole: bool) -> Outcome {
        for _ in 0..1000 {
            let Some(due) = self.engine().next_pass(self.now).map_err(told)? else {
                return Ok(());
            };
            self.engine().compact(&due, self.now, &mut |_| true).map_err(told)?;
            if !is_whole {
                return Ok(());
            }
        }
        Err("a pass does not come to rest".to_owned())
    }

    fn seal(&self) -> Outcome {
        let mut refused = 0;
        for window in self.engine().windows_to_seal() {
            match self.engine().seal(window) {
                Ok(due) => due.map_or(Ok(()), |due| {
                    self.engine().compact(&due, self.now, &mut |_| true).map(drop).map_err(told)
                })?,
                // A pass has to come first.
                Err(Error::Busy) => refused += 1,
                Err(error) => return Err(told(error)),
            }
        }
        match self.engine().windows_to_seal() {
            left if left.len() <= refused => Ok(()),
            left => Err(format!("not sealed: {left:?}")),
        }
    }

    fn purge(&self) -> Outcome {
        self.engine().ask_for_purge();
        while let Some(job) = self.engine().next_job(self.now) {
            self.engine().run(job, self.now).map_err(told)?;
        }
        for _ in 0..1000 {
            if self.engine().purge(self.now, &mut |_| true).map_err(told)?.is_none() {
                return Ok(());
            }
        }
        Err("a purge does not come to rest".to_owned())
    }

    /// Goes on with a store made of a snapshot. What happens to the old one meanwhile is not in it.
    fn restore(&mut self) -> Outcome {
        self.snapshots += 1;
        let taken = self.engine().snapshot(&format!("s{}", self.snapshots), self.now);
        let taken = taken.map_err(told)?;
        let kept = self.map.clone();
        let row = Row {
            series: 0,
            timestamp_ms: self.now.0,
            cell: Cell::Float(1e9),
            start_timestamp_ms: 0,
        };
        self.append(&[row], 9, false)?;
        self.seal()?;
        let to = SimDisk::new(self.chance.below(1 << 40));
        snapshot::restore(&self.disk, Place::Store, &taken, &to, "to").map_err(told)?;
        to.power_cut();
        (self.engine, self.disk, self.map) = (None, to, kept);
        self.open()
    }

    /// Everything, and a question drawn at random.
    fn check(&mut self) -> Outcome {
        let tombstones = self.engine().tombstones();
        self.map.forget(&tombstones)?;
        let everything = Selection {
            matchers: Vec::new(),
            range: TimeRange::ALL,
            days: None,
            shard: QueryShard::ALL,
            bounds: SelectBounds::NONE,
            wanted: model::read::Wanted::ALL,
        };
        self.compare(&everything)?;
        let range = self.chance.pick(&ranges());
        let shard = self.chance.pick(&[QueryShard::ALL, part(0, 2), part(1, 2), part(4, 5)]);
        let matchers = self.chance.pick(&matchers());
        let selection = Selection { matchers, range, shard, ..everything };
        self.compare(&selection)?;
        self.compare_wanted(&selection)?;
        let query = LabelQuery {
            want: LabelWant::Series,
            matcher_sets: vec![selection.matchers.clone()],
            range,
            limit: 0,
            tombstones_max: u64::MAX,
        };
        let expected: Vec<LabelSet> =
            self.map.answer(&selection.matchers, range).into_iter().map(|(set, _)| set).collect();
        let found = self.engine().labels(&tenant("t"), &query, self.now).map_err(told)?;
        match found == LabelAnswer::Series(expected.clone()) {
            true => Ok(()),
            false => Err(format!("{query:?}: {found:?} instead of {expected:?}")),
        }
    }

    /// Of what is looked at, nothing is left out; of the rest, all that can be.
    fn compare_wanted(&self, all: &Selection) -> Outcome {
        // What comes later is drawn as if nothing had been here.
        let mut chance = self.chance.clone();
        if chance.below(4) > 0 {
            return Ok(());
        }
        let steps = Steps {
            first_ms: chance.pick(&ranges()).start.0.max(-DAY_MS),
            step_ms: chance.pick(&[0, 60_000, 3_600_000, DAY_MS]),
            last_ms: self.now.0,
            back_ms: chance.pick(&[1, 300_000, 2 * DAY_MS]),
        };
        let labels = chance.pick(&[None, Some(vec![]), Some(vec![Text::from("__name__")])]);
        let presence = chance.pick(&[true, false]);
        let wanted = Wanted { steps: Some(steps), presence, labels };
        let found = Selection { wanted: wanted.clone(), ..all.clone() };
        let found = self.engine().select(&tenant("t"), &found, self.now).map_err(told)?;
        let expected = self.engine().select(&tenant("t"), all, self.now).map_err(told)?;
        let seen = [found, expected].map(|series| {
            let of = |series: SeriesColumns| seen_of(series, &wanted);
            let mut seen: Vec<_> = series.into_iter().map(of).collect();
            seen.retain(|(_, samples)| !samples.is_empty());
            seen.sort();
            seen
        });
        match seen[0] == seen[1] {
            true => Ok(()),
            false => Err(format!("{wanted:?} of {all:?}: {seen:?}")),
        }
    }

    fn compare(&self, selection: &Selection) -> Outcome {
        let found = self.engine().select(&tenant("t"), selection, self.now).map_err(told)?;
        let found = answer_of(&found);
        let mut expected = self.map.answer(&selection.matchers, selection.range);
        expected.retain(|(labels, _)| selection.shard.holds(labels));
        if found == expected {
            return Ok(());
        }
        let (extra, missing) = (without(&found, &expected), without(&expected, &found));
        Err(format!("{selection:?}\n  answers: {extra:?}\n  instead of {missing:?}"))
    }
}

/// What a reader sees who looks at no more than this: the labels, and the time of each step's newest
/// sample, with the value of a float.
fn seen_of(mut series: SeriesColumns, wanted: &Wanted) -> (LabelSet, Vec<(i64, Option<u64>)>) {
    if let Some(names) = &wanted.labels {
        series.labels.retain(|name| names.iter().any(|wanted| **wanted == *name));
    }
    let value = |value: &f64| match wanted.presence {
        true => u64::from(model::sample::is_stale(*value)),
        false => value.to_bits(),
    };
    let floats = series.floats.timestamps_ms.iter().zip(&series.floats.values);
    let floats = floats.map(|(at, float)| (*at, Some(value(float))));
    let histograms = series.histograms.timestamps_ms.iter().map(|at| (*at, None));
    let mut all: Vec<_> = floats.chain(histograms).collect();
    all.sort_unstable();
    let (times, mut seen): (Vec<i64>, _) = (all.iter().map(|(at, _)| *at).collect(), Vec::new());
    let steps = wanted.steps.iter();
    steps.for_each(|steps| steps.pick(&times, |place| seen.push(all[place])));
    (series.labels, seen)
}

fn part(index: u32, count: u32) -> QueryShard {
    QueryShard { index, count }
}

/// What is in `a` and not in `b`.
fn without(a: &Answer, b: &Answer) -> Answer {
    let of = |set: &LabelSet| b.iter().find(|(labels, _)| labels == set).map(|(_, cells)| cells);
    let rest = |(set, cells): &(LabelSet, Vec<map::Point>)| {
        let held = of(set);
        let is_missing = |cell: &&map::Point| held.is_none_or(|held| !held.contains(cell));
        (set.clone(), cells.iter().filter(is_missing).cloned().collect::<Vec<_>>())
    };
    a.iter().map(rest).filter(|(_, cells)| !cells.is_empty()).collect()
}

/// Takes the steps; says what is wrong after the first one that goes wrong.
fn run(seed: u64, strategy: Strategy, steps: &[Step]) -> Outcome {
    let mut story = Story::new(seed, strategy);
    for (number, step) in steps.iter().enumerate() {
        let outcome = story.take(step).and_then(|()| story.check());
        outcome.map_err(|fault| format!("after step {number}: {fault}"))?;
    }
    story.engine().close(story.now).map_err(told)?;
    story.check()?;
    story.take(&Step::PowerCut)?;
    story.check()
}

/// Leaves out what is not needed for it to fail.
fn shortened(seed: u64, strategy: Strategy, mut steps: Vec<Step>) -> Vec<Step> {
    let mut index = steps.len();
    while index > 0 {
        index -= 1;
        let mut fewer = steps.clone();
        fewer.remove(index);
        if run(seed, strategy, &fewer).is_err() {
            steps = fewer;
        }
    }
    steps
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn every_sequence(strategy: Strategy) {
    let base = from_environment("MODEL_SEED_BASE", SEED_BASE);
    let mut kinds = std::collections::BTreeSet::new();
    // No two strategies share a sequence.
    let all = Strategy::ALL;
    let first = all.iter().position(|one| *one == strategy).unwrap() as u64;
    let count = from_environment("MODEL_SEQUENCES", SEQUENCES);
    let seeds = (0..count).map(|number| base + number * all.len() as u64 + first);
    for seed in KEPT.into_iter().chain(seeds) {
        let steps = sequence(seed);
        kinds.extend(steps.iter().map(|step| format!("{:?}", std::mem::discriminant(step))));
        if let Err(fault) = run(seed, strategy, &steps) {
            let steps = shortened(seed, strategy, steps);
            let again = run(seed, strategy, &steps);
            panic!("seed {seed} of {}: {fault}\n{steps:#?}\n{again:?}", strategy.as_str());
        }
    }
    assert_eq!(kinds.len(), 14, "every kind of step is taken");
}

#[test]
fn under_stcs_a_store_answers_as_a_map_does_after_every_step() {
    every_sequence(Strategy::Stcs);
}

#[test]
fn under_lcs_a_store_answers_as_a_map_does_after_every_step() {
    every_sequence(Strategy::Lcs);
}

#[test]
fn under_twcs_a_store_answers_as_a_map_does_after_every_step() {
    every_sequence(Strategy::Twcs);
}

#[test]
fn under_ucs_a_store_answers_as_a_map_does_after_every_step() {
    every_sequence(Strategy::Ucs);
}
