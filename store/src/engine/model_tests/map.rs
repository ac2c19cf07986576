//! The plain map: every sample that came, the winner of each moment, what was deleted, and how long
//! what is kept. What rules hide when others take their place is taken out of it.

use super::steps::{Cell, Row, series};
use model::matcher::CompiledMatcher;
use model::sample::STALE_NAN_BITS;
use model::{
    CompiledRetention, DeleteRequest, LabelSet, Matcher, RetentionRules, SeriesColumns, TenantId,
    TimeRange, TimestampMs, Tombstone,
};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A sample as it is answered: every bit of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    timestamp_ms: i64,
    /// The bits of a float, or a histogram's canonical bytes.
    value: Result<u64, Vec<u8>>,
    start_timestamp_ms: i64,
    revision: u32,
}

pub(super) type Answer = Vec<(LabelSet, Vec<Point>)>;

impl Point {
    fn new(row: &Row, revision: u32) -> Self {
        let value = match &row.cell {
            Cell::Float(value) => Ok(value.to_bits()),
            Cell::Histogram(histogram) => Err(histogram.canonical()),
        };
        let Row { timestamp_ms, start_timestamp_ms, .. } = *row;
        Self { timestamp_ms, value, start_timestamp_ms, revision }
    }

    fn is_stale(&self) -> bool {
        match &self.value {
            Ok(bits) => *bits == STALE_NAN_BITS,
            // Flags and schema, the zero threshold, the sum.
            Err(bytes) => bytes[10..18] == STALE_NAN_BITS.to_le_bytes(),
        }
    }

    /// D4, in its order.
    fn wins(&self, other: &Self) -> bool {
        let rank = |point: &Self| (point.revision, !point.is_stale(), point.value.is_err());
        let values = || match (&self.value, &other.value) {
            (Ok(a), Ok(b)) => {
                let (x, y) = (f64::from_bits(*a), f64::from_bits(*b));
                let reals = y.is_nan().cmp(&x.is_nan());
                reals.then(x.partial_cmp(&y).unwrap_or(Ordering::Equal)).then(a.cmp(b))
            }
            (Err(a), Err(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        let starts = self.start_timestamp_ms.cmp(&other.start_timestamp_ms);
        rank(self).cmp(&rank(other)).then_with(values).then(starts).is_gt()
    }
}

/// Matchers that all must match. Shared: to compile one takes longer than all else here.
type Compiled = Arc<Vec<CompiledMatcher>>;

/// An hour after the last sample of its range has expired a tombstone may go.
const SLACK_MS: i64 = 60 * 60 * 1000;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    samples: BTreeMap<LabelSet, BTreeMap<i64, Point>>,
    deletes: Vec<(Compiled, Tombstone)>,
    kept: CompiledRetention,
    /// The moment it is.
    pub(super) now: TimestampMs,
}

impl Map {
    pub(super) fn new(now: TimestampMs) -> Self {
        Self { now, ..Self::default() }
    }

    pub(super) fn keep(&mut self, row: &Row, revision: u32) {
        let point = Point::new(row, revision);
        let held = self.samples.entry(series(row.series)).or_default();
        let winner = held.entry(row.timestamp_ms).or_insert_with(|| point.clone());
        if point.wins(winner) {
            *winner = point;
        }
    }

    /// What is kept how long.
    pub(super) fn rules(&self) -> &RetentionRules {
        self.kept.rules()
    }

    /// Other rules: they bring nothing back of what those before hid.
    pub(super) fn keep_for(&mut self, rules: &RetentionRules) {
        if rules != self.rules() {
            for (labels, points) in &mut self.samples {
                let first = self.kept.of_labels(labels).first_kept_ms(self.now);
                points.retain(|at, _| first <= *at);
            }
            self.kept = rules.compile().unwrap();
        }
    }

    /// The store said up to which revision it deletes: all that can be seen.
    pub(super) fn delete(
        &mut self,
        tenant: &TenantId,
        request: &DeleteRequest,
        revision_max: u32,
    ) -> Result<(), String> {
        for matchers in &request.matcher_sets {
            let stone = Tombstone {
                tenant: tenant.clone(),
                matchers: matchers.clone(),
                range: request.range,
                revision_max,
                created: self.now,
            };
            self.deletes.push((compiled(matchers), stone));
            let left = self.answer(matchers, request.range);
            if !left.is_empty() {
                return Err(format!("up to revision {revision_max} leaves {left:?}"));
            }
        }
        Ok(())
    }

    /// The store holds these tombstones. It may have forgotten those of which all that they can
    /// hide expired more than an hour ago, whatever the series.
    pub(super) fn forget(&mut self, held: &[Tombstone]) -> Result<(), String> {
        let longest = self.kept.bounds().1;
        let first_kept_ms = longest.first_kept_ms(self.now.minus_ms(SLACK_MS));
        let is_held = |stone: &Tombstone| held.iter().any(|other| other.covers(stone));
        let mut gone = self.deletes.iter().filter(|(_, stone)| !is_held(stone));
        if let Some((_, stone)) = gone.find(|(_, stone)| stone.range.end.0 > first_kept_ms) {
            return Err(format!("forgot too early: {stone:?}"));
        }
        self.deletes.retain(|(_, stone)| is_held(stone));
        Ok(())
    }

    /// A winner that is hidden leaves nothing: those that lost to it have no higher revision.
    fn is_hidden(&self, labels: &LabelSet, point: &Point) -> bool {
        self.deletes.iter().any(|(matchers, stone)| {
            point.revision <= stone.revision_max
                && stone.range.contains(TimestampMs(point.timestamp_ms))
                && matches(matchers, labels)
        })
    }

    pub(super) fn answer(&self, matchers: &[Matcher], range: TimeRange) -> Answer {
        let matchers = compiled(matchers);
        let mut answer = Vec::new();
        for (labels, points) in &self.samples {
            if !matches(&matchers, labels) {
                continue;
            }
            let first = self.kept.of_labels(labels).first_kept_ms(self.now);
            let kept = points.range(first..).map(|(_, point)| point);
            let wanted = kept.filter(|p| range.contains(TimestampMs(p.timestamp_ms)));
            let seen: Vec<Point> = wanted.filter(|p| !self.is_hidden(labels, p)).cloned().collect();
            if !seen.is_empty() {
                answer.push((labels.clone(), seen));
            }
        }
        answer
    }
}

thread_local! {
    static COMPILED: RefCell<HashMap<Vec<Matcher>, Compiled>> = RefCell::default();
}

fn compiled(matchers: &[Matcher]) -> Compiled {
    let compile = || Arc::new(matchers.iter().map(|m| m.compile().unwrap()).collect());
    COMPILED.with_borrow_mut(|held| held.entry(matchers.to_vec()).or_insert_with(compile).clone())
}

fn matches(matchers: &[CompiledMatcher], labels: &LabelSet) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

/// What a store answered, in the map's words.
pub(super) fn answer_of(found: &[SeriesColumns]) -> Answer {
    let of = |series: &SeriesColumns| {
        let floats = (0..series.floats.len()).map(|index| {
            let sample = series.floats.sample(index);
            Point {
                timestamp_ms: sample.timestamp_ms,
                value: Ok(sample.value.to_bits()),
                start_timestamp_ms: sample.start_timestamp_ms,
                revision: sample.revision,
            }
        });
        let histograms = (0..series.histograms.len()).map(|index| {
            let sample = series.histograms.sample(index);
            Point {
                timestamp_ms: sample.timestamp_ms,
                value: Err(sample.histogram.canonical()),
                start_timestamp_ms: sample.start_timestamp_ms,
                revision: sample.revision,
            }
        });
        // Each kind must come sorted: a stable merge by time hides no disorder within a kind.
        let (floats, histograms): (Vec<_>, Vec<_>) = (floats.collect(), histograms.collect());
        (series.labels.clone(), merged(floats, histograms))
    };
    found.iter().map(of).collect()
}

fn merged(floats: Vec<Point>, histograms: Vec<Point>) -> Vec<Point> {
    let mut merged = Vec::with_capacity(floats.len() + histograms.len());
    let (mut floats, mut histograms) =
        (floats.into_iter().peekable(), histograms.into_iter().peekable());
    loop {
        let takes_float = match (floats.peek(), histograms.peek()) {
            (Some(float), Some(histogram)) => float.timestamp_ms <= histogram.timestamp_ms,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return merged,
        };
        merged.extend(if takes_float { floats.next() } else { histograms.next() });
    }
}
