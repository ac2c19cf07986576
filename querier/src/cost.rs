//! What an evaluation costs, counted while it runs: for `stats`, `trace`, and whoever looks on.
//!
//! # Invariants
//! - Only who asked for it pays for details: selections by name, samples by step, partitions.

use crate::cache::{Share, VersionedSource};
use crate::coverage::partitions_of;
use crate::flights::State;
use crate::run::{BlockingQuery, SAMPLE_BYTES};
use crate::source::VersionAsk;
use crate::tally::Tally;
use model::read::{Estimate, Selection};
use model::{Clock, Matcher, QueryShard, SeriesColumns, TimeRange};
use promql::{SeriesSource, SourceError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many selections are told apart.
const FETCHES_MAX: usize = 100;

/// What an evaluation did, in nanoseconds and counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    /// The text became a tree.
    pub(crate) parse_ns: u64,
    /// The query was cut, and versions were asked for.
    pub(crate) plan_ns: u64,
    /// It was asked how much a selection is likely to return.
    pub(crate) estimate_ns: u64,
    /// At least one thread waited for samples; replicas decode them in this time.
    pub(crate) fetch_ns: u64,
    /// All of it, on its thread.
    pub(crate) work_ns: u64,
    /// How many selections were asked for.
    pub(crate) selections: u64,
    /// How many series they returned.
    pub(crate) series: u64,
    /// How many samples, histograms by their size.
    pub(crate) samples: u64,
    /// The metrics and days that they lay in; only if details were asked for.
    pub(crate) partitions: u64,
    /// The selections, in the order in which they were answered; only if details were asked for.
    pub(crate) fetches: Vec<Fetch>,
    /// The most samples that were held at once.
    pub(crate) samples_peak: u64,
    /// The samples that each step has looked at; only if details were asked for.
    pub(crate) samples_by_step: Vec<(i64, u64)>,
    /// How much came out of the cache.
    pub(crate) share: Share,
}

impl Spent {
    /// The bytes of the samples.
    pub(crate) fn bytes(&self) -> u64 {
        self.samples.saturating_mul(SAMPLE_BYTES)
    }

    /// Neither waiting nor reading.
    pub(crate) fn evaluate_ns(&self) -> u64 {
        let other = self.parse_ns + self.plan_ns + self.estimate_ns + self.fetch_ns;
        self.work_ns.saturating_sub(other)
    }
}

/// One selection that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) selector: String,
    pub(crate) range: TimeRange,
    pub(crate) shard: QueryShard,
    pub(crate) ns: u64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
}

/// Counts.
#[derive(Debug)]
pub(crate) struct Cost {
    clock: Arc<dyn Clock>,
    began_ns: u64,
    /// Counts what each step looks at, if details are wanted.
    tally: Option<Tally>,
    // A leaf; held for a few instructions.
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    spent: Spent,
    fetching: u32,
    fetching_since_ns: u64,
}

/// The phases that follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Parse,
    Plan,
    Estimate,
}

impl Cost {
    /// Counts from now on.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let began_ns = clock.monotonic_ns();
        Self { clock, began_ns, tally: None, counted: Mutex::default() }
    }

    /// Details are wanted.
    pub(crate) fn with_details(self, tally: Tally) -> Self {
        Self { tally: Some(tally), ..self }
    }

    /// Does something of a phase.
    pub(crate) fn time<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let began_ns = self.clock.monotonic_ns();
        let result = work();
        let ns = self.clock.monotonic_ns().saturating_sub(began_ns);
        let spent = &mut self.lock().spent;
        *match phase {
            Phase::Parse => &mut spent.parse_ns,
            Phase::Plan => &mut spent.plan_ns,
            Phase::Estimate => &mut spent.estimate_ns,
        } += ns;
        result
    }

    /// What was spent, at the end.
    pub(crate) fn finish(self, share: Share, samples_peak: u64) -> Spent {
        let work_ns = self.clock.monotonic_ns().saturating_sub(self.began_ns);
        let spent = self.counted.into_inner().unwrap_or_else(PoisonError::into_inner).spent;
        let samples_by_step = self.tally.map(Tally::into_steps).unwrap_or_default();
        Spent { work_ns, share, samples_peak, samples_by_step, ..spent }
    }

    fn fetch(
        &self,
        selection: &Selection,
        fetch: impl FnOnce() -> Result<Vec<SeriesColumns>, SourceError>,
    ) -> Result<Vec<SeriesColumns>, SourceError> {
        let began_ns = self.clock.monotonic_ns();
        {
            let mut counted = self.lock();
            if counted.fetching == 0 {
                counted.fetching_since_ns = began_ns;
            }
            counted.fetching += 1;
        }
        let answer = fetch();
        let now_ns = self.clock.monotonic_ns();
        if let (Some(tally), Ok(series)) = (&self.tally, &answer) {
            tally.add(selection, series);
        }
        let mut counted = self.lock();
        counted.fetching -= 1;
        if counted.fetching == 0 {
            counted.spent.fetch_ns += now_ns.saturating_sub(counted.fetching_since_ns);
        }
        let spent = &mut counted.spent;
        spent.selections += 1;
        let series = answer?;
        let samples = series.iter().map(SeriesColumns::samples).sum::<u64>();
        spent.series += series.len() as u64;
        spent.samples += samples;
        if self.tally.is_some() {
            let Selection { matchers, range, shard, .. } = selection;
            if shard.index == 0 {
                let partitions = partitions_of([&**matchers], *range);
                spent.partitions += partitions.map_or(0, |all| all.len() as u64);
            }
            if spent.fetches.len() < FETCHES_MAX {
                let (selector, ns) = (selector(matchers), now_ns.saturating_sub(began_ns));
                let (range, shard, series) = (*range, *shard, series.len() as u64);
                spent.fetches.push(Fetch { selector, range, shard, ns, series, samples });
            }
        }
        drop(counted);
        Ok(series)
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Matchers as they are written in a query.
pub(crate) fn selector(matchers: &[Matcher]) -> String {
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", texts.join(","))
}

/// A source that counts what is asked of it, and says under which versions it is read.
pub(crate) struct Counting<'a> {
    pub(crate) source: &'a BlockingQuery,
    pub(crate) state: &'a State,
    pub(crate) cost: &'a Cost,
}

impl SeriesSource for Counting<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        self.cost.fetch(selection, || self.source.select(selection))
    }

    fn estimate(&self, selection: &Selection) -> Result<Estimate, SourceError> {
        self.cost.time(Phase::Estimate, || self.source.estimate(selection))
    }

    fn begin_shards(&self) -> Result<(), SourceError> {
        self.source.begin_shards()
    }
}

impl VersionedSource for Counting<'_> {
    fn versions(&self, asks: &[VersionAsk]) -> Option<Vec<u64>> {
        let versions = self.cost.time(Phase::Plan, || self.source.versions(asks))?;
        self.state.read_under(asks, &versions);
        Some(versions)
    }

    fn reserve(&self, bytes: u64) -> Result<(), SourceError> {
        self.source.reserve(bytes)
    }
}
