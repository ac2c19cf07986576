//! What a node of the tree evaluates to: columns over the steps.
//!
//! # Invariants
//! - A column has one value a step. A step without a sample holds [`ABSENT`]: the stale marker's
//!   bits, which no sample that is alive can have, so a column needs no second array.
//! - Native histograms stand in a second column of [`Series`], which most series do not have. Of a
//!   step at most one of both columns has a value.

use crate::histogram::FloatHistogram;
use model::sample::STALE_NAN_BITS;
use model::{LabelSet, METRIC_NAME};
use std::sync::Arc;

/// No sample at this step.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a column's value says "no sample".
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A series of an instant vector, step by step.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its labels. With delayed name removal the metric name is still among them.
    pub(crate) labels: LabelSet,
    /// Whether the metric name goes at the end of the evaluation.
    pub(crate) drop_name: bool,
    /// One value a step, or [`ABSENT`].
    pub(crate) values: Vec<f64>,
    /// One place a step, if there is any histogram.
    pub(crate) histograms: Option<Vec<Point>>,
}

/// A histogram, if there is one at a step. Steps and series share those that are the same.
pub(crate) type Point = Option<Arc<FloatHistogram>>;

impl Series {
    /// A series of floats.
    pub(crate) fn floats(labels: LabelSet, drop_name: bool, values: Vec<f64>) -> Self {
        Self { labels, drop_name, values, histograms: None }
    }

    /// Whether there is a sample at this step.
    #[inline]
    pub(crate) fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step]) || self.histogram(step).is_some()
    }

    /// Whether there is a sample at all.
    pub(crate) fn is_present(&self) -> bool {
        self.values.iter().any(|value| !is_absent(*value)) || self.has_histogram()
    }

    /// Whether there is a histogram at all.
    pub(crate) fn has_histogram(&self) -> bool {
        self.histograms.as_ref().is_some_and(|points| points.iter().any(Option::is_some))
    }

    /// The histogram at this step.
    #[inline]
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.as_ref().and_then(|points| points[step].as_ref())
    }

    /// The histograms with their steps.
    pub(crate) fn histogram_steps(&self) -> impl Iterator<Item = (usize, &Arc<FloatHistogram>)> {
        let points = self.histograms.as_deref().unwrap_or_default().iter().enumerate();
        points.filter_map(|(step, point)| Some((step, point.as_ref()?)))
    }

    /// Sets the histogram of a step, which has no float.
    pub(crate) fn put(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        let len = self.values.len();
        self.histograms.get_or_insert_with(|| vec![None; len])[step] = Some(histogram);
    }

    /// Takes the sample of a step away.
    #[inline]
    pub(crate) fn erase(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if let Some(points) = &mut self.histograms {
            points[step] = None;
        }
    }

    /// Copies the sample of a step from another series of the same steps.
    pub(crate) fn copy_step(&mut self, step: usize, from: &Self) {
        self.values[step] = from.values[step];
        if let Some(histogram) = from.histogram(step) {
            self.put(step, Arc::clone(histogram));
        }
    }

    /// The same series, nothing in it.
    pub(crate) fn emptied(&self) -> Self {
        Self::floats(self.labels.clone(), self.drop_name, vec![ABSENT; self.values.len()])
    }

    /// Changes each histogram; those that follow each other and are one stay one.
    pub(crate) fn map_histograms(&mut self, change: impl Fn(&mut FloatHistogram)) {
        let mut last: Option<(Arc<FloatHistogram>, Arc<FloatHistogram>)> = None;
        for point in self.histograms.iter_mut().flatten().flatten() {
            let changed = match &last {
                Some((old, new)) if Arc::ptr_eq(old, point) => Arc::clone(new),
                _ => {
                    let mut changed = (**point).clone();
                    change(&mut changed);
                    Arc::new(changed)
                }
            };
            let old = std::mem::replace(point, Arc::clone(&changed));
            last = Some((old, changed));
        }
    }

    /// How many samples it holds, histograms by their size.
    pub(crate) fn samples(&self) -> u64 {
        let floats = self.values.iter().filter(|value| !is_absent(**value)).count() as u64;
        floats + self.histogram_steps().map(|(_, histogram)| histogram.samples()).sum::<u64>()
    }

    /// How much memory its columns take; histograms that follow each other and are one count once.
    pub(crate) fn bytes(&self) -> u64 {
        let mut last = None;
        let mut bytes = 8 * self.values.len() as u64;
        bytes += 8 * self.histograms.as_ref().map_or(0, |points| points.len() as u64);
        for (_, histogram) in self.histogram_steps() {
            if last.replace(Arc::as_ptr(histogram)) != Some(Arc::as_ptr(histogram)) {
                bytes += histogram.bytes();
            }
        }
        bytes
    }
}

/// A scalar, step by step.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// The same at each step.
    Same(f64),
    /// One value a step.
    Steps(Vec<f64>),
}

impl Scalar {
    /// Its value at this step.
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::Steps(values) => values[step],
        }
    }

    /// The values over `len` steps; a constant gives one.
    pub(crate) fn distinct(&self) -> &[f64] {
        match self {
            Self::Same(value) => std::slice::from_ref(value),
            Self::Steps(values) => values,
        }
    }
}

/// What a node evaluates to.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    /// A scalar.
    Scalar(Scalar),
    /// An instant vector.
    Vector(Vec<Series>),
    /// A text.
    Text(String),
}

impl Val {
    /// The bytes of its columns, present or not.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Vector(vector) => vector.iter().map(Series::bytes).sum(),
            Self::Scalar(scalar) => 8 * scalar.distinct().len() as u64,
            Self::Text(_) => 0,
        }
    }
}

/// How many samples a vector holds.
pub(crate) fn samples_of(vector: &[Series]) -> u64 {
    vector.iter().map(Series::samples).sum()
}

/// Whether it is the name of a label that goes with the metric's name: itself, type and unit.
pub(crate) fn is_reserved(name: &str) -> bool {
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
}

/// Takes metric name, type and unit away.
pub(crate) fn drop_reserved(labels: &mut LabelSet) {
    labels.retain(|name| !is_reserved(name));
}
