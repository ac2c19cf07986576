//! The series a query is asked of.

use model::{LabelSet, Matcher, SeriesColumns};

/// A sample as stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) time: i64,
    pub(super) value: f64,
}

/// A series as stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) labels: LabelSet,
    /// Ascending in time, stale markers included.
    pub(super) points: Vec<Point>,
}

/// All series, ascending by labels.
#[derive(Clone, Debug, Default)]
pub struct Data {
    series: Vec<Stored>,
}

impl Data {
    /// Takes series.
    #[must_use]
    pub fn new(series: &[SeriesColumns]) -> Self {
        let mut data = Self::default();
        series.iter().for_each(|series| data.add(series));
        data
    }

    /// Takes samples; the newest write of a time wins.
    pub fn add(&mut self, series: &SeriesColumns) {
        let place = match self.series.binary_search_by(|of| of.labels.cmp(&series.labels)) {
            Ok(place) => place,
            Err(place) => {
                let labels = series.labels.clone();
                self.series.insert(place, Stored { labels, points: Vec::new() });
                place
            }
        };
        let points = &mut self.series[place].points;
        for (time, value) in series.floats.timestamps_ms.iter().zip(&series.floats.values) {
            let point = Point { time: *time, value: *value };
            match points.binary_search_by_key(time, |point| point.time) {
                Ok(at) => points[at] = point,
                Err(at) => points.insert(at, point),
            }
        }
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
