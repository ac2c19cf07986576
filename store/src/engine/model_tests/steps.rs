//! What is done to the store: steps, and the sequence of them that a seed stands for.

use crate::engine::tests::NOW;
use model::histogram::{Counts, Span};
use model::sample::{SampleKind, stale_marker};
use model::time::DAY_MS;
use model::{
    DeleteRequest, Histogram, LabelSet, METRIC_NAME, MatchOp, Matcher, Retention, RetentionRule,
    RetentionRules, TimeRange, TimestampMs,
};
use std::sync::Arc;

/// `xorshift64`: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.below(2);
        random
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(u64::try_from(to - from).unwrap())).unwrap()
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }
}

/// What a sample says.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Cell {
    pub(super) fn kind(&self) -> SampleKind {
        match self {
            Self::Float(_) => SampleKind::Float,
            Self::Histogram(_) => SampleKind::Histogram,
        }
    }
}

/// A sample of a series.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) series: usize,
    pub(super) timestamp_ms: i64,
    pub(super) cell: Cell,
    pub(super) start_timestamp_ms: i64,
}

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Append {
        rows: Vec<Row>,
        revision: u32,
        by_number: bool,
    },
    Import {
        rows: Vec<Row>,
        revision: u32,
    },
    Delete(DeleteRequest),
    Flush,
    /// The compaction that is due, if one is.
    Compact(u64),
    Seal,
    Purge,
    /// Other rules of retention, or the same once more.
    Retention(usize),
    /// What a change of rules left to do: all of it, or one file.
    Pass {
        is_whole: bool,
    },
    /// What has expired goes.
    Expire,
    /// So many milliseconds pass.
    Later(i64),
    Restore,
    Kill,
    PowerCut,
}

const SERIES: u64 = 6;

/// Two metrics, and a label that not all have.
pub(super) fn series(index: usize) -> LabelSet {
    let (metric, instance) = (["m", "n"][index % 2], ["a", "b", "c"][index % 3]);
    let mut set = LabelSet::from_pairs([(METRIC_NAME, metric), ("instance", instance)]).unwrap();
    if index < 2 {
        set.set("job", "j");
    }
    set
}

/// The rules of retention that there are, by a step's number.
pub(super) fn rules(index: usize) -> RetentionRules {
    let days = |days: u64| Retention::from_ms(days * DAY_MS.unsigned_abs());
    let rule = |name: &str, value: &str, retention| RetentionRule {
        matchers: vec![Matcher::equal(name, value)],
        retention,
    };
    match index {
        0 => RetentionRules::default(),
        1 => RetentionRules::all(days(2)),
        2 => RetentionRules {
            default: Retention::FOR_EVER,
            rules: vec![rule(METRIC_NAME, "m", days(1))],
        },
        3 => RetentionRules { default: days(5), rules: vec![rule("instance", "a", days(3))] },
        4 => RetentionRules::all(days(60)),
        _ => RetentionRules {
            default: days(1),
            rules: vec![rule("job", "j", Retention::FOR_EVER), rule(METRIC_NAME, "n", days(2))],
        },
    }
}

/// How many rules there are.
const RULES: u64 = 6;

pub(super) fn matchers() -> Vec<Vec<Matcher>> {
    vec![
        vec![],
        vec![Matcher::equal(METRIC_NAME, "m")],
        vec![Matcher::equal("instance", "a")],
        vec![Matcher::new("instance", MatchOp::Regex, "a|b"), Matcher::equal(METRIC_NAME, "n")],
        vec![Matcher::new("instance", MatchOp::NotEqual, "a")],
        vec![Matcher::new(METRIC_NAME, MatchOp::NotRegex, "m.*")],
        vec![Matcher::equal("job", "")],
        vec![Matcher::equal(METRIC_NAME, "other")],
    ]
}

pub(super) fn ranges() -> Vec<TimeRange> {
    let range =
        |start: i64, end: i64| TimeRange { start: TimestampMs(start), end: TimestampMs(end) };
    vec![
        TimeRange::ALL,
        range(NOW.0 - DAY_MS, NOW.0 + 60_000),
        range(NOW.0 - 15_000, NOW.0 + 15_001),
        range(NOW.0, NOW.0 + 1),
        range(i64::MIN, NOW.0),
        NOW.day().range(),
    ]
}

/// Mostly one of few moments, so that samples meet; some late, some at the end of time.
fn time(random: &mut Random) -> i64 {
    match random.below(20) {
        0..=12 => NOW.0 + random.between(-4, 8) * 15_000,
        13..=15 => NOW.0 + random.between(0, 400) * 15_000,
        16..=18 => NOW.0 + random.between(-4, 3) * DAY_MS + random.between(0, 3),
        _ => random.pick(&[i64::MIN, i64::MAX - 1, -1, 0, NOW.day().start().0 - 1]),
    }
}

fn histogram(random: &mut Random) -> Histogram {
    let n = random.below(4);
    let spans = vec![Span { offset: 0, length: 2 }];
    #[expect(clippy::cast_precision_loss, reason = "below 4")]
    let float = n as f64;
    match random.below(4) {
        0 => Histogram::stale(),
        1 => Histogram {
            sum: 0.5,
            positive_spans: spans,
            counts: Counts::Float {
                count: float + 1.5,
                zero_count: 0.5,
                positive: vec![float, 1.0],
                negative: vec![],
            },
            ..Histogram::stale()
        },
        _ => Histogram {
            sum: 2.5,
            positive_spans: spans,
            counts: Counts::Integer {
                count: n + 1,
                zero_count: 0,
                positive: vec![n, 1],
                negative: vec![],
            },
            ..Histogram::stale()
        },
    }
}

fn cell(random: &mut Random, floats_only: bool) -> Cell {
    if !floats_only && random.below(5) == 0 {
        return Cell::Histogram(Arc::new(histogram(random)));
    }
    let odd = [-0.0, 0.0, f64::NAN, f64::from_bits(0x7ff8_dead_beef_0001), f64::INFINITY];
    Cell::Float(match random.below(10) {
        0..=2 => random.pick(&odd),
        3 => stale_marker(),
        4 => f64::from_bits(random.below(u64::MAX)),
        5 => 0.1,
        #[expect(clippy::cast_precision_loss, reason = "below 5")]
        _ => random.below(5) as f64,
    })
}

fn rows(random: &mut Random, floats_only: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for _ in 0..=random.below(4) {
        let series = usize::try_from(random.below(SERIES)).unwrap();
        let first = time(random);
        // A run of scrapes, or single samples anywhere.
        let is_run = random.below(3) == 0 && first.checked_add(1 << 32).is_some();
        for number in 0..=i64::try_from(random.below(if is_run { 40 } else { 3 })).unwrap() {
            let timestamp_ms = if is_run { first + number * 15_000 } else { time(random) };
            let start_timestamp_ms = if random.below(5) == 0 { 7 } else { 0 };
            let cell = cell(random, floats_only);
            rows.push(Row { series, timestamp_ms, cell, start_timestamp_ms });
        }
    }
    rows
}

fn delete(random: &mut Random) -> DeleteRequest {
    let matcher_sets = (0..=random.below(2)).map(|_| random.pick(&matchers())).collect();
    let (a, b) = (time(random), time(random));
    let range = match random.below(6) {
        0 => random.pick(&ranges()),
        _ => TimeRange { start: TimestampMs(a.min(b)), end: TimestampMs(a.max(b) + 1) },
    };
    DeleteRequest { matcher_sets, range, revision_max: 0 }
}

fn step(random: &mut Random) -> Step {
    let revision = |random: &mut Random| match random.below(6) {
        0 => 1 + u32::try_from(random.below(2)).unwrap(),
        _ => 0,
    };
    match random.below(34) {
        0..=10 => {
            let (rows, revision) = (rows(random, false), revision(random));
            Step::Append { rows, revision, by_number: random.below(2) == 0 }
        }
        11 => Step::Import { rows: rows(random, true), revision: revision(random) },
        12..=14 => Step::Delete(delete(random)),
        15..=18 => Step::Flush,
        19..=21 => Step::Compact(random.below(u64::MAX)),
        22 => Step::Seal,
        23 => Step::Purge,
        24 => Step::Later(random.pick(&[1_000, 3_600_000, DAY_MS, 3 * DAY_MS])),
        25 => Step::Kill,
        26 => Step::PowerCut,
        27..=29 => Step::Retention(usize::try_from(random.below(RULES)).unwrap()),
        30 | 31 => Step::Pass { is_whole: random.below(2) == 0 },
        32 => Step::Expire,
        _ if random.below(2) == 0 => Step::Restore,
        _ => Step::Kill,
    }
}

/// The steps of a seed: 6 to 17.
pub(super) fn sequence(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    (0..6 + random.below(12)).map(|_| step(&mut random)).collect()
}
