//! Twenty thousand queries, each asked in every way there is: over memory at once and in shards, over the
//! real store before and after samples come late, are deleted, are compacted and sealed; each time with the
//! querier's cache and without.

use super::cached::{Bug, Versioned};
use super::{both, engine, told};
use model::{Matcher, SeriesColumns, TenantId, TimeRange, TimestampMs};
use promql::{Cancel, EvalParams, Expr, ParseOptions, Query, ValueType, parse};
use querier::cache::{Cache, CacheMetrics, Question as CachedQuestion, answer, refusal};
use tests::StoreSource;
use tests::memory::MemorySource;
use tests::naive::{self, Data};
use tests::random::census::Census;
use tests::random::data;
use tests::random::judge::{Outcome, difference, has_samples};
use tests::random::queries::{Queries, Question};

/// So many seeds, each with data of its own …
const SEEDS: u64 = 40;
/// … and so many queries.
const QUERIES: usize = 500;

#[derive(Default)]
struct Tally {
    census: Census,
    /// Of queries that were answered with samples.
    answered: Census,
    refused: usize,
    failed: usize,
    with_samples: usize,
    /// How many answers are others than before, when samples came late or were deleted.
    changed: usize,
    /// How many answers of the cache were made with something that was in it …
    hit: usize,
    /// … and of those, how many before anything was written or deleted.
    hit_at_once: usize,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.census.merge(&other.census);
        self.answered.merge(&other.answered);
        self.refused += other.refused;
        self.failed += other.failed;
        self.with_samples += other.with_samples;
        self.changed += other.changed;
        self.hit += other.hit;
        self.hit_at_once += other.hit_at_once;
        self.failures.extend(other.failures);
    }

    fn count(&mut self, expr: &Expr, want: &Outcome) {
        self.census.count(expr);
        self.failed += usize::from(want.is_err());
        if has_samples(want) {
            self.with_samples += 1;
            self.answered.count(expr);
        }
    }
}

/// A query with what has to be answered now.
struct Asked {
    question: Question,
    expr: Expr,
    want: Outcome,
    /// The same text as it is asked through the cache.
    panel: EvalParams,
}

/// As a query has to be asked for the cache to keep something of it, if it ever does: over some more steps.
fn panel(expr: &Expr, params: &EvalParams) -> EvalParams {
    let step_ms = if params.is_instant() { 60_000 } else { params.step_ms };
    let start_ms = params.start_ms - 5 * step_ms;
    let end_ms = params.start_ms + 10 * step_ms;
    let panel =
        EvalParams { start_ms, end_ms, step_ms, delayed_name_removal: false, ..params.clone() };
    let is_kept = expr.value_type() == ValueType::Vector && refusal(expr, &panel).is_none();
    if is_kept { panel } else { params.clone() }
}

/// The store and what should be in it, with a cache above.
struct World {
    seed: u64,
    store: StoreSource,
    wanted: MemorySource,
    cache: Cache,
    tenant: TenantId,
    bug: Bug,
}

/// The samples whose place in their column, divided by five, leaves one of these remainders.
fn fifths(series: &[SeriesColumns], remainders: &[usize]) -> Vec<SeriesColumns> {
    let part = |of: &SeriesColumns| {
        let mut part = SeriesColumns { labels: of.labels.clone(), ..SeriesColumns::default() };
        for at in (0..of.floats.len()).filter(|at| remainders.contains(&(at % 5))) {
            part.floats.push_sample(&of.floats.sample(at));
        }
        for at in (0..of.histograms.len()).filter(|at| remainders.contains(&(at % 5))) {
            part.histograms.push_sample(of.histograms.sample(at));
        }
        part
    };
    series.iter().map(part).collect()
}

impl World {
    /// Two fifths of the samples are on disk, two in memory.
    fn new(seed: u64, bug: Bug) -> Self {
        let metrics = CacheMetrics::new(&prometheus::Registry::new()).unwrap();
        let mut world = Self {
            seed,
            store: StoreSource::new(seed).unwrap(),
            wanted: MemorySource::default(),
            cache: Cache::new(64 << 20, metrics),
            tenant: TenantId::parse("t").unwrap(),
            bug,
        };
        let series = data::series(seed);
        world.write(&fifths(&series, &[1, 3]));
        world.store.flush().unwrap();
        world.write(&fifths(&series, &[0, 2]));
        world
    }

    fn write(&mut self, series: &[SeriesColumns]) {
        self.store.append(series).unwrap();
        series.iter().for_each(|series| self.wanted.add(series));
    }

    /// The last fifth comes late.
    fn write_late(&mut self) {
        self.write(&fifths(&data::series(self.seed), &[4]));
    }

    /// Something is deleted.
    fn delete(&mut self) {
        let matcher = Matcher::equal("job", "j1");
        let range = TimeRange::inclusive(TimestampMs(900_000), TimestampMs(1_500_000));
        self.store.delete(&matcher, range).unwrap();
        self.wanted.delete(&matcher, range);
    }

    /// Something has changed: asks all again, of the naive evaluator too.
    fn check_again(&self, when: &str, all: &mut [Asked], tally: &mut Tally) {
        let data = Data::new(&self.wanted.all());
        for asked in all {
            let Asked { question, expr, want, .. } = asked;
            let now = naive::evaluate(&data, &question.text, expr, &question.params);
            tally.changed += usize::from(difference(expr, want, &now).is_some());
            *want = now;
            self.check(when, asked, 1, &data, tally);
        }
    }

    /// Asks the store, and the cache as often as is said: it has to say what is said without it.
    fn check(&self, when: &str, asked: &Asked, times: usize, data: &Data, tally: &mut Tally) {
        let Asked { question, expr, want, panel } = asked;
        if difference(expr, want, &engine(&self.store, expr, question)).is_some() {
            let told = told(self.seed, &self.store, data, question);
            tally.failures.push(format!("{when}: {told}"));
        }
        let panel = Question { text: question.text.clone(), params: panel.clone() };
        let want = engine(&self.wanted, expr, &panel);
        for time in 0..times {
            let (have, is_hit) = self.cached(expr, &panel);
            tally.hit += usize::from(is_hit);
            tally.hit_at_once += usize::from(is_hit && time > 0);
            if let Some(difference) = difference(expr, &want, &have) {
                let (seed, Question { text, params }) = (self.seed, &panel);
                tally.failures.push(format!(
                    "{when}, cached: seed {seed}, {params:?}\n  {text}\n{difference}"
                ));
            }
        }
    }

    /// What is answered through the cache, and whether something of it was there.
    fn cached(&self, expr: &Expr, question: &Question) -> (Outcome, bool) {
        let cancel = Cancel::default();
        let source = Versioned { store: &self.store, bug: self.bug };
        let query = Query { text: &question.text, expr };
        let (tenant, params) = (&self.tenant, &question.params);
        let asked = CachedQuestion { tenant, query, params, cancel: &cancel };
        match answer(Some(&self.cache), &source, asked) {
            Ok((evaluation, share)) => (Ok(evaluation), share.hits > 0),
            Err(error) => (Err(error.to_string()), false),
        }
    }
}

/// Asks over memory, at once and in shards, and over the store as it is at first.
fn first_round(world: &World, tally: &mut Tally) -> Vec<Asked> {
    let (source, data) = (&world.wanted, Data::new(&world.wanted.all()));
    let mut sharded = source.clone();
    sharded.says_much = true;
    let mut queries = Queries::new(world.seed);
    let mut all = Vec::new();
    for _ in 0..QUERIES {
        let question = queries.question();
        if parse(&question.text, ParseOptions::ALL).is_err() {
            tally.refused += 1;
            continue;
        }
        let (expr, want, have) = both(source, &data, &question);
        tally.count(&expr, &want);
        if difference(&expr, &want, &have).is_some() {
            tally.failures.push(told(world.seed, source, &data, &question));
        }
        if difference(&expr, &want, &engine(&sharded, &expr, &question)).is_some() {
            let told = told(world.seed, &sharded, &data, &question);
            tally.failures.push(format!("in shards: {told}"));
        }
        let panel = panel(&expr, &question.params);
        let asked = Asked { question, expr, want, panel };
        world.check("at first", &asked, 2, &data, tally);
        all.push(asked);
    }
    all
}

/// Asks the queries of a seed.
fn run_seed(seed: u64, bug: Bug) -> Tally {
    let mut tally = Tally::default();
    let mut world = World::new(seed, bug);
    let mut all = first_round(&world, &mut tally);
    world.write_late();
    world.check_again("samples came late", &mut all, &mut tally);
    world.delete();
    world.check_again("some are deleted", &mut all, &mut tally);
    world.store.compact_and_seal().unwrap();
    world.check_again("all is compacted and sealed", &mut all, &mut tally);
    tally
}

#[test]
fn twenty_thousand_random_queries_are_answered_as_by_the_naive_evaluator_in_every_way() {
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let half = |part: u64| {
            move || {
                let mut tally = Tally::default();
                let seeds = (0..SEEDS).filter(|seed| seed % 2 == part);
                seeds.for_each(|seed| tally.add(run_seed(seed, |range| range)));
                tally
            }
        };
        let threads = [scope.spawn(half(0)), scope.spawn(half(1))];
        threads.into_iter().for_each(|thread| all.add(thread.join().unwrap()));
    });
    let Tally { refused, failed, with_samples, changed, hit, hit_at_once, .. } = &all;
    println!("{refused} do not parse, {failed} fail, {with_samples} have samples");
    println!("{changed} change, {hit} are found in the cache, {hit_at_once} of them at once");
    for (name, count) in all.census.counts() {
        println!("{name:<32}{count:>8}{:>8}", all.answered.counts()[name]);
    }
    let len = all.failures.len();
    let first: Vec<String> = all.failures.into_iter().take(400).collect();
    assert!(first.is_empty(), "{len} differ:\n{}", first.join("\n\n"));
    let rare: Vec<_> = all.census.counts().iter().filter(|(_, count)| **count < 50).collect();
    assert!(rare.is_empty(), "drawn too rarely: {rare:?}");
    let rare: Vec<_> = all.answered.counts().iter().filter(|(_, count)| **count < 20).collect();
    assert!(rare.is_empty(), "answered with samples too rarely: {rare:?}");
    assert!(all.with_samples > 10_000, "{} have samples", all.with_samples);
    assert!(all.changed > 4_000 && all.hit_at_once > 3_000 && all.hit > 6_000);
}

#[test]
fn a_cache_that_overlooks_what_was_written_and_deleted_is_caught() {
    let elsewhere: Bug = |range| TimeRange {
        start: range.start.plus_ms(1_000_000_000),
        end: range.end.plus_ms(1_000_000_000),
    };
    let failures = run_seed(0, elsewhere).failures;
    assert!(failures.iter().all(|failure| failure.contains(", cached: ")), "{failures:?}");
    assert!(failures.len() > 20, "only {}", failures.len());
}
