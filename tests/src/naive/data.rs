//! The series a query is asked of.

use super::histogram::Hist;
use super::value::Val;
use model::histogram::ResetHint;
use model::{LabelSet, Matcher, SeriesColumns};
use std::sync::Arc;

/// A float as stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) time: i64,
    /// Since when it counts up; 0 if unknown.
    pub(super) start: i64,
    pub(super) value: f64,
}

/// A native histogram as stored.
#[derive(Clone, Debug)]
pub(super) struct HPoint {
    pub(super) time: i64,
    /// Since when it counts up; 0 if unknown.
    pub(super) start: i64,
    pub(super) value: Arc<Hist>,
}

/// A series as stored: ascending in time, stale markers included.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) labels: LabelSet,
    pub(super) floats: Vec<Point>,
    pub(super) histograms: Vec<HPoint>,
}

/// A sample of either kind: when it was taken, since when it counts, and what.
pub(super) type Newest = (i64, i64, Val);

impl Stored {
    /// The newest sample not after `moment`, and after `from`.
    pub(super) fn newest(&self, from: i64, moment: i64) -> Option<Newest> {
        let is_seen = |time: i64| time <= moment && time > from;
        let float = self.floats.iter().rev().find(|point| is_seen(point.time));
        let histogram = self.histograms.iter().rev().find(|point| is_seen(point.time));
        let float = float.map(|p| (p.time, p.start, Val::Float(p.value)));
        let histogram = histogram.map(|p| (p.time, p.start, Val::Histogram(Arc::clone(&p.value))));
        match (float, histogram) {
            (Some(a), Some(b)) => Some(if a.0 > b.0 { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}

/// All series, ascending by labels.
#[derive(Clone, Debug, Default)]
pub struct Data {
    series: Vec<Stored>,
}

impl Data {
    /// Takes series as a source gives them, each label set once; reset hints are those they are read
    /// with.
    #[must_use]
    pub fn new(series: &[SeriesColumns]) -> Self {
        let stored = |of: &SeriesColumns| {
            let floats = (0..of.floats.len()).map(|index| {
                let sample = of.floats.sample(index);
                let (time, start) = (sample.timestamp_ms, sample.start_timestamp_ms);
                Point { time, start, value: sample.value }
            });
            let histograms = (0..of.histograms.len()).map(|index| {
                let sample = of.histograms.sample(index);
                let (time, start) = (sample.timestamp_ms, sample.start_timestamp_ms);
                let mut of = Hist::new(&sample.histogram);
                if of.hint == ResetHint::Yes {
                    // A store does not tell that: it is found out.
                    of.hint = ResetHint::Unknown;
                }
                HPoint { time, start, value: Arc::new(of) }
            });
            let (floats, histograms) = (floats.collect(), histograms.collect());
            Stored { labels: of.labels.clone(), floats, histograms }
        };
        let mut all: Vec<Stored> = series.iter().map(stored).collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Self { series: all }
    }

    /// The series that match.
    pub(super) fn select(&self, matchers: &[Matcher]) -> Vec<&Stored> {
        let compiled: Vec<_> =
            matchers.iter().map(|matcher| matcher.compile().expect("was parsed")).collect();
        let is_match = |series: &&Stored| compiled.iter().all(|m| m.matches_labels(&series.labels));
        self.series.iter().filter(is_match).collect()
    }
}

/// Whether it is the marker of a series' end: one bit pattern, not any NaN.
pub(super) fn is_stale(value: f64) -> bool {
    value.to_bits() == 0x7ff0_0000_0000_0002
}

/// Whether it is the marker of a series' end.
pub(super) fn is_end(value: &Val) -> bool {
    match value {
        Val::Float(value) => is_stale(*value),
        Val::Histogram(of) => is_stale(of.sum),
    }
}
