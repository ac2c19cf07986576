//! What is done to a store: by each sequence, and by all of them at once.

use model::histogram::{Counts, Span};
use model::sample::stale_marker;
use model::time::DAY_MS;
use model::{
    DeleteRequest, Histogram, LabelSet, METRIC_NAME, Matcher, SplitMix64, TimeRange, TimestampMs,
};
use std::sync::Arc;

/// A sample of a series: a float, or a histogram.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) series: u64,
    pub(super) timestamp_ms: i64,
    pub(super) value: Result<f64, Arc<Histogram>>,
}

/// A step of one sequence.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Rest,
    Append(Vec<Row>),
    Delete(DeleteRequest),
}

/// A step of all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shared {
    Flush,
    Reopen,
    Later(i64),
    Compact,
    Seal,
    Expire,
}

/// One of few series: two metrics of three instances.
pub(super) fn series(number: u64) -> LabelSet {
    let pick = |names: &[&'static str]| names[usize::try_from(number).unwrap_or(0) % names.len()];
    let (metric, instance) = (pick(&["m", "n"]), pick(&["a", "b", "c"]));
    LabelSet::from_pairs([(METRIC_NAME, metric), ("instance", instance)]).expect("two labels")
}

fn below(chance: &mut SplitMix64, bound: u64) -> u64 {
    chance.draw() % bound
}

fn below_ms(chance: &mut SplitMix64, bound: u64) -> i64 {
    i64::try_from(below(chance, bound)).unwrap_or(0)
}

/// The next step of a sequence: mostly samples.
pub(super) fn step(chance: &mut SplitMix64, now: TimestampMs) -> Step {
    match below(chance, 12) {
        0 => Step::Rest,
        1 => Step::Delete(delete(chance, now)),
        _ => Step::Append(rows(chance, now)),
    }
}

/// A run of scrapes in order, samples of one moment once more, or some that come late.
fn rows(chance: &mut SplitMix64, now: TimestampMs) -> Vec<Row> {
    let number = below(chance, 6);
    let first = match below(chance, 4) {
        // Late, and in the window of another day.
        0 => now.0 - below_ms(chance, 3) * DAY_MS - below_ms(chance, 40) * 15_000,
        _ => now.0 / 15_000 * 15_000 - below_ms(chance, 20) * 15_000,
    };
    let mut rows: Vec<Row> = (0..=below_ms(chance, 12))
        .map(|at| Row { series: number, timestamp_ms: first + at * 15_000, value: value(chance) })
        .collect();
    match below(chance, 4) {
        0 => rows.reverse(),
        1 => rows.extend(rows.clone()),
        _ => {}
    }
    rows
}

fn value(chance: &mut SplitMix64) -> Result<f64, Arc<Histogram>> {
    let small = u32::try_from(below(chance, 5)).unwrap_or(0);
    match below(chance, 16) {
        0 => Ok(stale_marker()),
        1 => Ok(f64::NAN),
        2 => Ok(f64::from_bits(chance.draw())),
        3 => Ok(-0.0),
        4 => Err(Arc::new(Histogram::stale())),
        5 | 6 => Err(Arc::new(Histogram {
            sum: 2.5,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            counts: Counts::Integer {
                count: u64::from(small) + 1,
                zero_count: 0,
                positive: vec![u64::from(small), 1],
                negative: vec![],
            },
            ..Histogram::stale()
        })),
        _ => Ok(f64::from(small)),
    }
}

fn delete(chance: &mut SplitMix64, now: TimestampMs) -> DeleteRequest {
    let matchers = match below(chance, 3) {
        0 => vec![Matcher::equal(METRIC_NAME, "m")],
        1 => vec![Matcher::equal("instance", "a")],
        _ => vec![Matcher::equal(METRIC_NAME, "n"), Matcher::equal("instance", "b")],
    };
    let end = now.0 - below_ms(chance, 60) * 60_000;
    let start = end - below_ms(chance, 120) * 60_000 - 1;
    let range = TimeRange { start: TimestampMs(start), end: TimestampMs(end) };
    DeleteRequest { matcher_sets: vec![matchers], range, revision_max: 0 }
}

/// What all share after a round: whatever the seed says, with expiry at the end of a time in which
/// windows of short-lived tenants have gone by.
pub(super) fn shared(chance: &mut SplitMix64, round: usize, rounds: usize) -> Shared {
    match round * 8 / rounds.max(1) {
        // A week by, in steps, so that a table whose windows are all over is dropped …
        4 if round.is_multiple_of(2) => return Shared::Later(3 * DAY_MS),
        // … and what is left is read by another life.
        5 if round.is_multiple_of(3) => return Shared::Expire,
        5 if round % 3 == 1 => return Shared::Reopen,
        _ => {}
    }
    match below(chance, 8) {
        0..=2 => Shared::Flush,
        3 => Shared::Compact,
        4 => Shared::Seal,
        5 => Shared::Expire,
        6 => Shared::Later(2 * 3_600_000),
        _ => Shared::Reopen,
    }
}
