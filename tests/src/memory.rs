//! A source of series that is a table in memory.

use model::matcher::CompiledMatcher;
use model::read::Selection;
use model::{Column, Kind, LabelSet, SeriesColumns, TimestampMs};
use promql::{SeriesSource, SourceError};
use std::collections::BTreeMap;

/// Series by their labels, samples by their time.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<LabelSet, BTreeMap<i64, f64>>,
}

impl MemorySource {
    /// Adds samples; the newest write of a time wins.
    pub fn add(&mut self, series: &SeriesColumns) {
        let have = self.series.entry(series.labels.clone()).or_default();
        let samples = series.floats.timestamps_ms.iter().zip(&series.floats.values);
        have.extend(samples.map(|(time, value)| (*time, *value)));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }
}

impl SeriesSource for MemorySource {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        let compiled: Result<Vec<CompiledMatcher>, _> =
            selection.matchers.iter().map(model::Matcher::compile).collect();
        let matchers = compiled
            .map_err(|error| SourceError { kind: Kind::Invalid, message: error.to_string() })?;
        let mut found = Vec::new();
        for (labels, samples) in &self.series {
            if !matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                continue;
            }
            let mut floats = Column::default();
            for (time, value) in samples {
                if selection.range.contains(TimestampMs(*time)) {
                    floats.push(*time, *value);
                }
            }
            if !floats.is_empty() {
                found.push(SeriesColumns {
                    labels: labels.clone(),
                    floats,
                    ..SeriesColumns::default()
                });
            }
        }
        Ok(found)
    }
}
