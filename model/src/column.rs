//! Result columns: a series' samples as parallel arrays.

use crate::histogram::Histogram;
use crate::label::LabelSet;
use crate::sample::{HistogramSample, Sample, histogram_wins};
use crate::timestamps::Timestamps;
use std::cmp::Ordering;
use std::sync::Arc;

/// What is known of values without a look at each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// None is a NaN, and so none is a stale marker.
    NoNan,
    /// That, and none is less than the one before.
    Ascends,
}

/// Samples of one series as columns, ascending in time, each timestamp once.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// When, in milliseconds since 1970.
    pub timestamps_ms: Timestamps,
    /// What, by position; stale markers included.
    pub values: Vec<f64>,
    /// Since when values count up, in milliseconds since 1970, 0 if unknown; empty if all are.
    pub start_timestamps_ms: Vec<i64>,
    /// By position; empty if all are 0.
    pub revisions: Vec<u32>,
    /// What is known of the values; who changes them has to see to it that it holds.
    pub known: Known,
}

/// Whether the samples are equal, whatever is known of them.
impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        let Self { timestamps_ms, values, start_timestamps_ms, revisions, known: _ } = self;
        (timestamps_ms, values, start_timestamps_ms, revisions)
            == (&other.timestamps_ms, &other.values, &other.start_timestamps_ms, &other.revisions)
    }
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
        self.known = Known::Nothing;
        pad(&mut self.start_timestamps_ms, self.values.len());
        pad(&mut self.revisions, self.values.len());
    }

    /// Adds a sample with its start and revision. Its time has to be after the last one's.
    pub fn push_sample(&mut self, sample: &Sample) {
        self.push(sample.timestamp_ms, sample.value);
        set_last(&mut self.start_timestamps_ms, sample.start_timestamp_ms, self.values.len());
        set_last(&mut self.revisions, sample.revision, self.values.len());
    }

    /// Adds samples that all are after the last one.
    pub fn append(&mut self, mut later: Self) {
        let (len, more) = (self.len(), later.len());
        append(&mut self.start_timestamps_ms, later.start_timestamps_ms, len, more);
        append(&mut self.revisions, later.revisions, len, more);
        match len {
            0 => self.timestamps_ms = later.timestamps_ms,
            _ => self.timestamps_ms.to_mut().extend_from_slice(&later.timestamps_ms),
        }
        self.values.append(&mut later.values);
        self.know_from(len, later.known);
    }

    /// Notes what is known of the values from a place on, which were added last.
    pub fn know_from(&mut self, place: usize, of_added: Known) {
        if place == self.values.len() {
            return;
        }
        let seam = place.checked_sub(1).and_then(|last| self.values.get(last..=place));
        self.known = match seam {
            None if place == 0 => of_added,
            Some([before, first]) if before <= first => self.known.min(of_added),
            _ => self.known.min(of_added).min(Known::NoNan),
        };
    }

    /// The sample at a position, which has to be one.
    #[must_use]
    pub fn sample(&self, index: usize) -> Sample {
        Sample {
            timestamp_ms: self.timestamps_ms[index],
            value: self.values[index],
            start_timestamp_ms: self.start_timestamps_ms.get(index).copied().unwrap_or(0),
            revision: self.revisions.get(index).copied().unwrap_or(0),
        }
    }
}

/// A series' native histograms as columns, ascending in time, each timestamp once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramColumn {
    /// When, in milliseconds since 1970.
    pub timestamps_ms: Vec<i64>,
    /// What, by position; stale markers included.
    pub values: Vec<Arc<Histogram>>,
    /// Since when values count up, in milliseconds since 1970, 0 if unknown; empty if all are.
    pub start_timestamps_ms: Vec<i64>,
    /// By position; empty if all are 0.
    pub revisions: Vec<u32>,
}

impl HistogramColumn {
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
    pub fn push_sample(&mut self, sample: HistogramSample) {
        self.timestamps_ms.push(sample.timestamp_ms);
        self.values.push(sample.histogram);
        let len = self.values.len();
        pad(&mut self.start_timestamps_ms, len);
        pad(&mut self.revisions, len);
        set_last(&mut self.start_timestamps_ms, sample.start_timestamp_ms, len);
        set_last(&mut self.revisions, sample.revision, len);
    }

    /// Adds samples that all are after the last one.
    pub fn append(&mut self, mut later: Self) {
        let (len, more) = (self.len(), later.len());
        append(&mut self.start_timestamps_ms, later.start_timestamps_ms, len, more);
        append(&mut self.revisions, later.revisions, len, more);
        self.timestamps_ms.append(&mut later.timestamps_ms);
        self.values.append(&mut later.values);
    }

    /// The sample at a position, which has to be one.
    #[must_use]
    pub fn sample(&self, index: usize) -> HistogramSample {
        HistogramSample {
            timestamp_ms: self.timestamps_ms[index],
            histogram: Arc::clone(&self.values[index]),
            start_timestamp_ms: self.start_timestamps_ms.get(index).copied().unwrap_or(0),
            revision: self.revisions.get(index).copied().unwrap_or(0),
        }
    }
}

impl SeriesColumns {
    /// Keeps one sample of each moment that both kinds have, by the join of DESIGN.md D4.
    pub fn settle(&mut self) {
        let Self { floats, histograms, .. } = self;
        if floats.is_empty() || histograms.is_empty() {
            return;
        }
        let (mut i, mut j) = (0, 0);
        let (mut kept_floats, mut kept) = (Column::default(), HistogramColumn::default());
        let mut is_shared = false;
        while i < floats.len() && j < histograms.len() {
            let order = floats.timestamps_ms[i].cmp(&histograms.timestamps_ms[j]);
            let is_histogram = match order {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal => {
                    is_shared = true;
                    histogram_wins(&histograms.sample(j), &floats.sample(i))
                }
            };
            match is_histogram {
                true => kept.push_sample(histograms.sample(j)),
                false => kept_floats.push_sample(&floats.sample(i)),
            }
            i += usize::from(order != Ordering::Greater);
            j += usize::from(order != Ordering::Less);
        }
        if is_shared {
            (i..floats.len()).for_each(|at| kept_floats.push_sample(&floats.sample(at)));
            (j..histograms.len()).for_each(|at| kept.push_sample(histograms.sample(at)));
            (*floats, *histograms) = (kept_floats, kept);
        }
    }

    /// How many samples they count as where samples are limited: a histogram by its size.
    #[must_use]
    pub fn samples(&self) -> u64 {
        let histograms = self.histograms.values.iter().map(|histogram| histogram.samples());
        self.floats.len() as u64 + histograms.sum::<u64>()
    }

    /// Whether there is no sample of either kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }
}

/// Brings a column that is not left out to its length.
fn pad<T: Clone + Default>(column: &mut Vec<T>, len: usize) {
    if !column.is_empty() {
        column.resize(len, T::default());
    }
}

/// Sets the last place of a column that may be left out while all are 0.
fn set_last<T: Clone + Default + PartialEq>(column: &mut Vec<T>, value: T, len: usize) {
    if value != T::default() {
        column.resize(len, T::default());
        if let Some(last) = column.last_mut() {
            *last = value;
        }
    }
}

/// Puts two columns together, either of which may be left out.
fn append<T: Clone + Default>(column: &mut Vec<T>, mut later: Vec<T>, len: usize, more: usize) {
    if column.is_empty() && later.is_empty() {
        return;
    }
    column.resize(len, T::default());
    later.resize(more, T::default());
    column.append(&mut later);
}

/// A series and its samples in the asked range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesColumns {
    /// The series' labels.
    pub labels: LabelSet,
    /// Its float samples.
    pub floats: Column,
    /// Its native histograms; no timestamp is in both.
    pub histograms: HistogramColumn,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A column of values, and what can be known of them.
    fn column(values: &[f64]) -> Column {
        let mut column = Column::default();
        (0..).zip(values).for_each(|(at, value)| column.push(at, *value));
        column.known = match values {
            _ if values.iter().any(|value| value.is_nan()) => Known::Nothing,
            _ if values.is_sorted() => Known::Ascends,
            _ => Known::NoNan,
        };
        column
    }

    proptest! {
        #[test]
        fn what_is_known_of_two_columns_holds_of_both_together(
            values in prop::collection::vec(prop_oneof![Just(f64::NAN), (0..4).prop_map(f64::from)], 1..6),
            cut in 0_usize..6,
        ) {
            let (first, later) = values.split_at(cut.min(values.len()));
            let mut joined = column(first);
            joined.append(column(later));
            prop_assert_eq!(joined.known, column(&values).known);
            joined.push(9, 9.0);
            prop_assert_eq!(joined.known, Known::Nothing);
        }
    }
}
