//! The plain map: the winner of each moment of each series, what was deleted, and how long samples
//! are kept. It knows of no file, block or row.

use super::steps::{Row, series};
use model::matcher::CompiledMatcher;
use model::sample::STALE_NAN_BITS;
use model::{DeleteRequest, LabelSet, Retention, SeriesColumns, TimeRange, TimestampMs};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A sample's value to the last bit: a float's, or a histogram's canonical bytes.
pub(super) type Value = Result<u64, Vec<u8>>;
/// Series by their labels, with their samples ascending.
pub(super) type Answer = Vec<(LabelSet, Vec<(i64, Value)>)>;

/// What one tenant has.
#[derive(Debug)]
pub(super) struct Map {
    samples: BTreeMap<LabelSet, BTreeMap<i64, Value>>,
    deletes: Vec<(Vec<CompiledMatcher>, TimeRange)>,
    retention: Retention,
}

impl Map {
    pub(super) fn new(retention: Retention) -> Self {
        Self { samples: BTreeMap::new(), deletes: Vec::new(), retention }
    }

    pub(super) fn retention(&self) -> Retention {
        self.retention
    }

    pub(super) fn keep(&mut self, row: &Row) {
        let value = match &row.value {
            Ok(value) => Ok(value.to_bits()),
            Err(histogram) => Err(histogram.canonical()),
        };
        let of_series = self.samples.entry(series(row.series)).or_default();
        let stands = of_series.entry(row.timestamp_ms).or_insert_with(|| value.clone());
        if join_order(&value, stands).is_gt() {
            *stands = value;
        }
    }

    /// All samples that came, and that will come, have the revision that is deleted.
    pub(super) fn delete(&mut self, request: &DeleteRequest) {
        for matchers in &request.matcher_sets {
            let compiled = matchers.iter().map(|m| m.compile().expect("a plain matcher"));
            self.deletes.push((compiled.collect(), request.range));
        }
    }

    pub(super) fn answer(&self, now: TimestampMs) -> Answer {
        let first = self.retention.first_kept_ms(now);
        let seen = |labels: &LabelSet, samples: &BTreeMap<i64, Value>| -> Vec<(i64, Value)> {
            let kept = samples.range(first..).filter(|(at, _)| !self.is_deleted(labels, **at));
            kept.map(|(at, value)| (*at, value.clone())).collect()
        };
        let all = self.samples.iter().map(|(labels, samples)| (labels, seen(labels, samples)));
        all.filter(|(_, samples)| !samples.is_empty()).map(|(l, s)| (l.clone(), s)).collect()
    }

    fn is_deleted(&self, labels: &LabelSet, at: i64) -> bool {
        self.deletes.iter().any(|(matchers, range)| {
            range.contains(TimestampMs(at))
                && matchers.iter().all(|matcher| matcher.matches_labels(labels))
        })
    }
}

/// D4 without revisions and start timestamps: no stale marker, a histogram, a number, the greater.
fn join_order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| (!is_stale(value), value.is_err());
    let values = || match (a, b) {
        (Ok(a), Ok(b)) => {
            let (x, y) = (f64::from_bits(*a), f64::from_bits(*b));
            let reals = y.is_nan().cmp(&x.is_nan());
            reals.then(x.partial_cmp(&y).unwrap_or(Ordering::Equal)).then(a.cmp(b))
        }
        (Err(a), Err(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    rank(a).cmp(&rank(b)).then_with(values)
}

fn is_stale(value: &Value) -> bool {
    match value {
        Ok(bits) => *bits == STALE_NAN_BITS,
        // Behind flags and schema, and the zero threshold, the sum.
        Err(bytes) => bytes[10..18] == STALE_NAN_BITS.to_le_bytes(),
    }
}

/// What a store answered, in the map's words.
pub(super) fn answer_of(found: &[SeriesColumns]) -> Answer {
    let of = |series: &SeriesColumns| {
        let floats = (0..series.floats.len()).map(|at| series.floats.sample(at));
        let floats = floats.map(|sample| (sample.timestamp_ms, Ok(sample.value.to_bits())));
        let histograms = (0..series.histograms.len()).map(|at| series.histograms.sample(at));
        let histograms =
            histograms.map(|sample| (sample.timestamp_ms, Err(sample.histogram.canonical())));
        let mut samples: Vec<(i64, Value)> = floats.chain(histograms).collect();
        // Stable: a moment that came twice stays twice.
        samples.sort_by_key(|(at, _)| *at);
        (series.labels.clone(), samples)
    };
    found.iter().map(of).collect()
}
