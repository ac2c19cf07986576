//! The store's conformance suite: the same sequences over whatever a store can lie in.
//!
//! Each sequence is a tenant of its own, and all go on in lockstep in one store: a round is one step
//! of each, and then one step that all share: a flush, a compaction, a seal, a reopening, time that
//! passes, expiry. After each round some tenants are compared with a plain map, to the last bit;
//! after each reopening and each expiry all of them are. One tenant of [`SHORT_LIVED`] is in a class whose windows are dropped on the way.
//!
//! Not here: where the store lies ([`Place`]); what goes wrong there.

mod map;
mod steps;

use map::{Answer, Map, answer_of};
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection};
use model::sample::SampleKind;
use model::time::DAY_MS;
use model::{
    Context, Principal, QueryShard, RequestId, Retention, RetentionRules, SeriesRef, SplitMix64,
    TenantId, TimeRange, TimestampMs,
};
use std::sync::Arc;
use steps::{Row, Shared, Step, shared, step};
use store::compaction::scaling::Scaling;
use store::engine::{AppendLimits, Appended, Job};
use store::{Config, Engine, Error, RetentionConfig};

/// When a suite begins.
pub const NOW: TimestampMs = TimestampMs(1_760_000_000_000);
/// One of so many tenants has samples that expire after [`SHORT_DAYS`].
pub const SHORT_LIVED: usize = 16;
/// How long those are kept.
const SHORT_DAYS: u64 = 2;
/// One of so many tenants is compared after a round; all of them in another life, and at the end.
const CHECKED: usize = 4;
/// How often what could not be made durable is tried again.
const TRIES: usize = 50;

/// Where a store lies, and what becomes of it when its process dies.
pub trait Place {
    /// Opens the store for its next life.
    ///
    /// # Errors
    /// What the store says.
    fn open(&mut self, config: Config, now: TimestampMs) -> Result<Engine, String>;

    /// The process has died.
    fn died(&mut self);
}

/// What happened, so that a suite that did nothing is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Times the store was opened.
    pub lives: u64,
    /// Samples appended.
    pub samples: u64,
    /// Windows that were dropped, all of their files at once.
    pub windows_expired: u64,
    /// Compactions, seals among them.
    pub compactions: u64,
    /// Deletes.
    pub deletes: u64,
}

/// A store beside the maps it is compared with.
struct Suite<'p> {
    place: &'p mut dyn Place,
    engine: Option<Engine>,
    tenants: Vec<(TenantId, Map)>,
    chance: SplitMix64,
    now: TimestampMs,
    done: Done,
}

fn told(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// Runs so many sequences of so many rounds.
///
/// # Errors
/// What the store answered instead of what a map does, or what it refused.
pub fn run(
    place: &mut dyn Place,
    seed: u64,
    sequences: usize,
    rounds: usize,
) -> Result<Done, String> {
    let mut done = run_side_by_side(vec![place], seed, sequences, rounds)?;
    Ok(done.pop().unwrap_or_default())
}

/// Runs so many sequences of so many rounds on each of several stores, which take turns: what they do is
/// not the same, but their clocks are.
///
/// # Errors
/// As [`run`].
pub fn run_side_by_side(
    places: Vec<&mut dyn Place>,
    seed: u64,
    sequences: usize,
    rounds: usize,
) -> Result<Vec<Done>, String> {
    let mut now = NOW;
    let mut suites = Vec::new();
    for (place, seed) in places.into_iter().zip(seed..) {
        suites.push(Suite::begin(place, seed, sequences)?);
    }
    for round in 0..rounds {
        for (number, suite) in suites.iter_mut().enumerate() {
            suite.now = now;
            let outcome = suite.round(round, rounds);
            outcome.map_err(|fault| format!("store {number}, round {round}, {fault}"))?;
            now = suite.now;
        }
    }
    Ok(suites.into_iter().map(|suite| suite.done).collect())
}

impl<'p> Suite<'p> {
    fn begin(place: &'p mut dyn Place, seed: u64, sequences: usize) -> Result<Self, String> {
        let tenants = (0..sequences).map(|number| {
            let retention = match number % SHORT_LIVED {
                0 => Retention::from_ms(SHORT_DAYS * DAY_MS.unsigned_abs()),
                _ => Retention::FOR_EVER,
            };
            (TenantId::parse(&format!("t{number}")).expect("a name"), Map::new(retention))
        });
        let mut suite = Self {
            place,
            engine: None,
            tenants: tenants.collect(),
            chance: SplitMix64::new(seed),
            now: NOW,
            done: Done::default(),
        };
        suite.open()?;
        Ok(suite)
    }

    /// A step of each sequence, and one that all share.
    fn round(&mut self, round: usize, rounds: usize) -> Result<(), String> {
        for tenant in 0..self.tenants.len() {
            let step = step(&mut self.chance, self.now);
            let taken = self.take(tenant, &step);
            taken.map_err(|fault| format!("tenant {tenant}, {step:?}: {fault}"))?;
        }
        let shared = shared(&mut self.chance, round, rounds);
        let is_all = round + 1 == rounds || matches!(shared, Shared::Reopen | Shared::Expire);
        let some = if is_all { None } else { Some(round) };
        let outcome = self.share(shared).and_then(|()| self.check(some));
        outcome.map_err(|fault| format!("{shared:?}: {fault}"))
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("a store is open between its lives")
    }

    fn open(&mut self) -> Result<(), String> {
        self.engine = None;
        self.done.lives += 1;
        let config = Config { clock_step_max_ms: i64::MAX, ..eager() };
        let engine = self.place.open(config, self.now)?;
        let rules = |(tenant, map): &(TenantId, Map)| {
            (tenant.clone(), RetentionRules::all(map.retention()))
        };
        let retention = RetentionConfig {
            tenants: self.tenants.iter().map(rules).collect(),
            ..RetentionConfig::default()
        };
        engine.set_retention(&retention, self.now).map_err(told)?;
        self.engine = Some(engine);
        Ok(())
    }

    fn take(&mut self, tenant: usize, step: &Step) -> Result<(), String> {
        let id = self.tenants[tenant].0.clone();
        match step {
            Step::Rest => {}
            Step::Append(rows) => {
                for kind in [SampleKind::Float, SampleKind::Histogram] {
                    self.append(&mutation(&id, rows, kind))?;
                }
                self.done.samples += rows.len() as u64;
                rows.iter().for_each(|row| self.tenants[tenant].1.keep(row));
            }
            Step::Delete(request) => {
                self.engine().delete(&id, request, self.now).map_err(told)?;
                self.tenants[tenant].1.delete(request);
                self.done.deletes += 1;
            }
        }
        Ok(())
    }

    fn append(&self, mutation: &Mutation) -> Result<(), String> {
        if mutation.series.is_empty() {
            return Ok(());
        }
        let appended = self.engine().append(mutation, AppendLimits::NONE, self.now);
        let Appended::Queued { ticket, .. } = appended.map_err(told)? else {
            return Err("labels were sent".to_owned());
        };
        again(|| self.engine().sync()).and_then(|synced| match synced >= ticket {
            true => Ok(()),
            false => Err("it is not durable".to_owned()),
        })
    }

    fn share(&mut self, shared: Shared) -> Result<(), String> {
        match shared {
            Shared::Flush => again(|| self.engine().flush(self.now)).map(drop),
            Shared::Reopen => {
                self.engine = None;
                self.place.died();
                self.open()
            }
            Shared::Later(ms) => {
                self.now = self.now.plus_ms(ms);
                Ok(())
            }
            Shared::Compact => {
                for _ in 0..20 {
                    let Some(due) = self.engine().next_compaction(self.now, 7) else { break };
                    self.engine().compact(&due, self.now, &mut |_| true).map_err(told)?;
                    self.done.compactions += 1;
                }
                Ok(())
            }
            Shared::Seal => {
                for window in self.engine().windows_to_seal() {
                    let due = match self.engine().seal(window) {
                        // A pass has to come first.
                        Err(Error::Busy) => continue,
                        due => due.map_err(told)?,
                    };
                    if let Some(due) = due {
                        self.engine().compact(&due, self.now, &mut |_| true).map_err(told)?;
                        self.done.compactions += 1;
                    }
                }
                self.pass()
            }
            Shared::Expire => {
                let report = again(|| self.engine().run(Job::Expire, self.now))?;
                self.done.windows_expired += report.expired.len() as u64;
                Ok(())
            }
        }
    }

    /// What a change of rules left to do.
    fn pass(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            let Some(due) = again(|| self.engine().next_pass(self.now))? else { return Ok(()) };
            self.engine().compact(&due, self.now, &mut |_| true).map_err(told)?;
            self.done.compactions += 1;
        }
        Err("a pass does not come to rest".to_owned())
    }

    /// Compares every tenant, or one of [`CHECKED`].
    fn check(&self, some: Option<usize>) -> Result<(), String> {
        let is_due =
            |number: usize| some.is_none_or(|round| (number + round).is_multiple_of(CHECKED));
        let due = self.tenants.iter().enumerate().filter(|(number, _)| is_due(*number));
        for (_, (tenant, map)) in due {
            let selection = Selection {
                matchers: Vec::new(),
                range: TimeRange::ALL,
                days: None,
                shard: QueryShard::ALL,
                wanted: model::read::Wanted::ALL,
                bounds: SelectBounds::NONE,
            };
            let found = again(|| self.engine().select(tenant, &selection, self.now))?;
            let (found, expected) = (answer_of(&found), map.answer(self.now));
            if found != expected {
                return Err(difference(tenant, &found, &expected));
            }
        }
        Ok(())
    }
}

fn difference(tenant: &TenantId, found: &Answer, expected: &Answer) -> String {
    let count = |answer: &Answer| answer.iter().map(|(_, points)| points.len()).sum::<usize>();
    let first = expected.iter().find(|series| !found.contains(series));
    let (found, expected) = (count(found), count(expected));
    format!("{tenant} has {found} samples instead of {expected}; of these {first:?}")
}

/// What is refused for now is tried again: a time-out is no answer.
fn again<T, E: std::fmt::Debug>(mut act: impl FnMut() -> Result<T, E>) -> Result<T, String> {
    let mut outcome = act();
    for _ in 1..TRIES {
        match outcome {
            Ok(value) => return Ok(value),
            Err(_) => outcome = act(),
        }
    }
    outcome.map_err(told)
}

/// Merges whatever overlaps.
fn eager() -> Config {
    let mut config = Config { purge_delay_ms: 0, ..Config::default() };
    config.compaction.scaling_parameters = Scaling::tiered(2);
    config.compaction.sstable_bytes_min = 0;
    config.commit_log.room_bytes = 256;
    config
}

fn mutation(tenant: &TenantId, rows: &[Row], kind: SampleKind) -> Mutation {
    let mut m = Mutation::empty(Arc::new(Context {
        tenant: tenant.clone(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        ring_version: 0,
        now: TimestampMs(0),
    }));
    m.kind = kind;
    for row in rows {
        match (&row.value, kind) {
            (Ok(value), SampleKind::Float) => m.values.push(*value),
            (Err(histogram), SampleKind::Histogram) => m.histograms.push(Arc::clone(histogram)),
            _ => continue,
        }
        m.timestamps_ms.push(row.timestamp_ms);
        m.start_timestamps_ms.push(0);
        m.end_series(SeriesRef::Labels(steps::series(row.series)));
    }
    m
}
