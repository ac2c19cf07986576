//! A source of series that is a table in memory.

use model::matcher::CompiledMatcher;
use model::read::{Estimate, SelectBounds, Selection, Wanted};
use model::sample::{HistogramSample, Sample, is_stale};
use model::{Column, Kind, LabelSet, Matcher, QueryShard, SeriesColumns, TimeRange, TimestampMs};
use promql::{SeriesSource, SourceError};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Stored {
    Float(Sample),
    Histogram(HistogramSample),
}

/// Series by their labels, samples by their time.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<LabelSet, BTreeMap<i64, Stored>>,
    /// Whether it says of every selection that it returns much, and returns nothing that nobody looks
    /// at.
    pub says_much: bool,
}

impl MemorySource {
    /// Adds samples; the newest write of a time wins.
    pub fn add(&mut self, series: &SeriesColumns) {
        let have = self.series.entry(series.labels.clone()).or_default();
        for index in 0..series.floats.len() {
            let sample = series.floats.sample(index);
            have.insert(sample.timestamp_ms, Stored::Float(sample));
        }
        for index in 0..series.histograms.len() {
            let sample = series.histograms.sample(index);
            have.insert(sample.timestamp_ms, Stored::Histogram(sample));
        }
    }

    /// Takes the samples of a time range away, of series that the matcher matches.
    pub fn delete(&mut self, matcher: &Matcher, range: TimeRange) {
        let Ok(matcher) = matcher.compile() else { return };
        for (labels, samples) in &mut self.series {
            if matcher.matches_labels(labels) {
                samples.retain(|time, _| !range.contains(TimestampMs(*time)));
            }
        }
    }

    /// All series with all samples, as a selection gives them.
    #[must_use]
    pub fn all(&self) -> Vec<SeriesColumns> {
        let range = TimeRange::inclusive(TimestampMs(i64::MIN / 2), TimestampMs(i64::MAX / 2));
        let bounds = SelectBounds::NONE;
        let selection = Selection {
            matchers: Vec::new(),
            range,
            days: None,
            shard: QueryShard::ALL,
            bounds,
            wanted: Wanted::ALL,
        };
        self.select(&selection).unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }
}

impl SeriesSource for MemorySource {
    fn estimate(&self, _: &Selection) -> Result<Estimate, SourceError> {
        let much = Estimate { samples: u64::MAX, series: u64::MAX, partitions: 1 };
        Ok(if self.says_much { much } else { Estimate::default() })
    }

    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        let compiled: Result<Vec<CompiledMatcher>, _> =
            selection.matchers.iter().map(model::Matcher::compile).collect();
        let matchers = compiled
            .map_err(|error| SourceError { kind: Kind::Invalid, message: error.to_string() })?;
        let mut found = Vec::new();
        for (labels, samples) in &self.series {
            let is_in = selection.shard.holds(labels);
            if !is_in || !matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                continue;
            }
            let mut series = SeriesColumns { labels: labels.clone(), ..SeriesColumns::default() };
            for (time, stored) in samples {
                match stored {
                    _ if !selection.range.contains(TimestampMs(*time)) => {}
                    Stored::Float(sample) => series.floats.push_sample(sample),
                    Stored::Histogram(sample) => series.histograms.push_sample(sample.clone()),
                }
            }
            if !series.is_empty() {
                found.push(series);
            }
        }
        if self.says_much {
            spare(&mut found, &selection.wanted);
        }
        Ok(found)
    }
}

/// Takes away what nobody looks at, as far as a source may.
fn spare(found: &mut Vec<SeriesColumns>, wanted: &Wanted) {
    for series in found.iter_mut() {
        if let Some(steps) = &wanted.steps {
            let (all, mut seen) = (std::mem::take(&mut series.floats), Column::default());
            steps.pick(&all.timestamps_ms, |place| seen.push_sample(&all.sample(place)));
            series.floats = seen;
        }
        let values = series.floats.values.iter_mut().filter(|value| !is_stale(**value));
        values.filter(|_| wanted.presence).for_each(|value| *value = 0.0);
        if let Some(names) = &wanted.labels {
            series.labels.retain(|name| names.iter().any(|wanted| **wanted == *name));
        }
    }
    found.retain(|series| !series.is_empty());
    if wanted.labels.is_some() {
        found.reverse();
    }
}
