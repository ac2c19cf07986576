//! Result columns: a series' samples as parallel arrays.

use crate::label::LabelSet;

/// Samples of one series as columns, ascending in time, each timestamp once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// When, in milliseconds since 1970.
    pub timestamps_ms: Vec<i64>,
    /// What, by position; stale markers included.
    pub values: Vec<f64>,
}

impl Column {
    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Adds a sample. Its time has to be after the last one's.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }
}

/// A series and its samples in the asked range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesColumns {
    /// The series' labels.
    pub labels: LabelSet,
    /// Its float samples.
    pub floats: Column,
}
