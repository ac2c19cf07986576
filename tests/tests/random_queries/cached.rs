//! The cache of the querier over the real store: asked again and again while samples come late, are
//! deleted, flushed, compacted and sealed, it answers as if it was not there.

use model::read::Selection;
use model::{Column, LabelSet, Matcher, SeriesColumns, TenantId, TimeRange, TimestampMs};
use promql::{Cancel, EvalParams, Expr, ParseOptions, Query, SeriesSource, SourceError, parse};
use querier::VersionAsk;
use querier::cache::{Cache, CacheMetrics, Question, VersionedSource, answer, refusal};
use tests::StoreSource;
use tests::random::judge::{Outcome, difference, has_samples};
use tests::random::{data, queries::Queries};
use tests::random_series::Numbers;

/// What versions tell apart; the data lies around the borders at 0 and at twice this.
const BLOCK_MS: i64 = 7_200_000;
const SEEDS: u64 = 6;
const TEXTS: u32 = 16;
const ASKS: usize = 160;

/// What a bug does to a range before its version is asked for.
pub(super) type Bug = fn(TimeRange) -> TimeRange;

/// The store, with versions as the querier asks for them.
pub(super) struct Versioned<'a> {
    pub(super) store: &'a StoreSource,
    pub(super) bug: Bug,
}

impl SeriesSource for Versioned<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        self.store.select(selection)
    }
}

impl VersionedSource for Versioned<'_> {
    fn versions(&self, asks: &[VersionAsk]) -> Option<Vec<u64>> {
        let ranges: Vec<TimeRange> = asks.iter().map(|ask| (self.bug)(ask.range)).collect();
        Some(self.store.versions(&ranges))
    }
}

/// A query that is asked again and again, each time over other steps.
struct Panel {
    text: String,
    expr: Expr,
    params: EvalParams,
}

/// What has happened in all seeds.
#[derive(Default)]
struct Tally {
    asked: usize,
    cut: usize,
    whole: usize,
    hits: usize,
    segments: usize,
    with_samples: usize,
    with_notes: usize,
    failures: Vec<String>,
}

fn panels(seed: u64, numbers: &mut Numbers) -> Vec<Panel> {
    let mut queries = Queries::new(seed + 9_000);
    let mut panels: Vec<Panel> = Vec::new();
    while panels.len() < TEXTS as usize {
        let question = queries.question();
        let Ok(expr) = parse(&question.text, ParseOptions::ALL) else { continue };
        let is_range = matches!(expr.value_type(), promql::ValueType::Vector);
        let step_ms = i64::from([15_000, 60_000, 137_000, 600_000][numbers.below(4) as usize]);
        let phase_ms = i64::from(numbers.below(3)) * 1_500;
        let params = EvalParams {
            start_ms: phase_ms,
            end_ms: phase_ms + 20 * step_ms,
            step_ms,
            delayed_name_removal: numbers.below(20) == 0,
            ..question.params
        };
        let is_cut = refusal(&expr, &params).is_none();
        // Those that are cut are what this is about; some others see to it that they are let be.
        if is_range && (is_cut || numbers.below(20) == 0) {
            panels.push(Panel { text: question.text, expr, params });
        }
    }
    panels
}

/// Two hours of data: one around 0, one around the second border behind it.
fn two_hours(seed: u64) -> Vec<SeriesColumns> {
    let mut all = Vec::new();
    for (seed, shift_ms) in [(seed, -1_800_000), (seed + 500, 2 * BLOCK_MS - 1_800_000)] {
        for mut of in data::series(seed) {
            let floats = of.floats.timestamps_ms.to_mut().iter_mut();
            for at in floats.chain(&mut of.histograms.timestamps_ms) {
                *at += shift_ms;
            }
            let starts = of.floats.start_timestamps_ms.iter_mut();
            for at in starts.chain(&mut of.histograms.start_timestamps_ms).filter(|at| **at != 0) {
                *at += shift_ms;
            }
            if seed % 4 != 0 {
                // Of what differs in these only, no segment is kept: most seeds do without.
                of.labels.retain(|name| name != "__type__" && name != "__unit__");
            }
            all.push(of);
        }
    }
    all
}

/// A moment with data around it.
fn moment(numbers: &mut Numbers) -> i64 {
    let border_ms = if numbers.below(2) == 0 { 0 } else { 2 * BLOCK_MS };
    border_ms + i64::from(numbers.below(3_600)) * 1_000 - 1_800_000
}

/// Something happens to the store.
fn change(store: &StoreSource, numbers: &mut Numbers) {
    match numbers.below(12) {
        0..=7 => {
            let around_ms = moment(numbers);
            let late: Vec<_> = (0..6).map(|_| late_series(around_ms, numbers)).collect();
            store.append(&late).unwrap();
        }
        8 | 9 => store.flush().unwrap(),
        10 => store.compact_and_seal().unwrap(),
        _ => {
            let job = format!("j{}", numbers.below(4));
            let start = TimestampMs(moment(numbers));
            let range = TimeRange { start, end: start.plus_ms(60_000) };
            store.delete(&Matcher::equal("job", job.as_str()), range).unwrap();
        }
    }
}

/// Some samples of a series that is there, or is not yet.
fn late_series(around_ms: i64, numbers: &mut Numbers) -> SeriesColumns {
    let metric = ["a", "b", "c_total"][numbers.below(3) as usize];
    let pairs = [
        ("__name__", metric.to_string()),
        ("job", format!("j{}", numbers.below(4))),
        ("instance", format!("i{}", numbers.below(3))),
    ];
    let mut floats = Column::default();
    let mut times: Vec<i64> =
        (0..3).map(|_| around_ms + i64::from(numbers.below(300_000))).collect();
    times.sort_unstable();
    times.dedup();
    times.iter().for_each(|at| floats.push(*at, f64::from(numbers.below(1_000))));
    let labels = LabelSet::from_pairs(pairs).unwrap();
    SeriesColumns { labels, floats, ..SeriesColumns::default() }
}

/// Asks the panels of a seed over and over.
fn run_seed(seed: u64, bug: Bug, tally: &mut Tally) {
    let mut numbers = Numbers::new(seed + 77);
    let store = StoreSource::new(seed).unwrap();
    store.append(&two_hours(seed)).unwrap();
    let panels = panels(seed, &mut numbers);
    let metrics = CacheMetrics::new(&prometheus::Registry::new()).unwrap();
    // So small that now and then something has to go.
    let cache = Cache::new(1 << 20, metrics.clone());
    let (tenant, cancel) = (TenantId::parse("t").unwrap(), Cancel::default());
    let source = Versioned { store: &store, bug };
    for _ in 0..ASKS {
        let Panel { text, expr, params } = &panels[numbers.below(TEXTS) as usize];
        let steps = 8 + i64::from(numbers.below(30));
        let around_ms = moment(&mut numbers).div_euclid(600_000) * 600_000;
        let first = (around_ms / params.step_ms - steps / 2) * params.step_ms;
        let start_ms = first + params.start_ms.rem_euclid(params.step_ms);
        let end_ms = start_ms + steps * params.step_ms;
        let params = EvalParams { start_ms, end_ms, ..params.clone() };
        let query = Query { text, expr };
        let inner = 1 + i64::from(numbers.below(6));
        let within = EvalParams {
            start_ms: start_ms + inner * params.step_ms,
            end_ms: end_ms - params.step_ms,
            ..params.clone()
        };
        // The second time it is there, the third time perhaps not all of it any more, the fourth time fewer
        // of its steps are asked for.
        for (time, params) in [&params, &params, &params, &within].into_iter().enumerate() {
            if (time == 0 || time == 2) && numbers.below(2) == 0 {
                change(&store, &mut numbers);
            }
            let question = Question { tenant: &tenant, query, params, cancel: &cancel };
            let want: Outcome = promql::evaluate(&source, query, params, &cancel)
                .map_err(|error| error.to_string());
            let have = answer(Some(&cache), &source, question);
            tally.asked += 1;
            if let Ok((evaluation, share)) = &have {
                tally.cut += usize::from(share.segments > 1);
                tally.whole += usize::from(share.segments == 0);
                tally.hits += share.hits;
                tally.segments += share.segments;
                let notes = evaluation.warnings.len() + evaluation.infos.len();
                tally.with_notes += usize::from(share.hits > 0 && notes > 0);
            }
            let have: Outcome = have.map(|(have, _)| have).map_err(|error| error.to_string());
            tally.with_samples += usize::from(has_samples(&want));
            if let Some(difference) = difference(expr, &want, &have) {
                let EvalParams { start_ms, end_ms, step_ms, .. } = params;
                tally.failures.push(format!(
                    "seed {seed}, {start_ms} to {end_ms} by {step_ms}\n  {text}\n{difference}"
                ));
            }
        }
    }
    assert!(metrics.bytes.get() <= 1 << 20);
}

#[test]
fn with_the_cache_queries_are_answered_as_without_whatever_happens_in_between() {
    let mut tally = Tally::default();
    (0..SEEDS).for_each(|seed| run_seed(seed, |range| range, &mut tally));
    let Tally { asked, cut, whole, hits, segments, with_samples, with_notes, failures } = tally;
    println!(
        "{asked} asks, {with_samples} with samples, {cut} in several segments, {whole} without, \
         {hits} hits of {segments}, {with_notes} hits with annotations"
    );
    let count = failures.len();
    let first: Vec<String> = failures.into_iter().take(20).collect();
    assert!(first.is_empty(), "{count} differ:\n{}", first.join("\n\n"));
    assert!(with_samples > 1_000 && cut > 600 && hits > 1_000 && with_notes > 50 && whole > 50);
}

#[test]
fn a_cache_that_overlooks_a_block_is_caught() {
    let caught = |bug: Bug| {
        let is_wrong = |seed| {
            let mut tally = Tally::default();
            run_seed(seed, bug, &mut tally);
            !tally.failures.is_empty()
        };
        (1..20).any(is_wrong)
    };
    let later = |range: TimeRange| TimeRange { start: range.start.max(TimestampMs(0)), ..range };
    assert!(caught(later), "what lies before a border is overlooked");
    let earlier = |range: TimeRange| TimeRange {
        end: range.end.min(TimestampMs(2 * BLOCK_MS)),
        start: range.start.min(TimestampMs(2 * BLOCK_MS)),
    };
    assert!(caught(earlier), "what lies behind a border is overlooked");
}
