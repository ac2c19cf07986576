//! What a node of the tree evaluates to: columns over the steps.
//!
//! # Invariants
//! - A column has one value a step. A step without a sample holds [`ABSENT`]: the stale marker's
//!   bits, which no sample that is alive can have, so a column needs no second array.
//!
//! Native histograms will stand in a second column of [`Series`], beside the floats.

use model::sample::STALE_NAN_BITS;
use model::{LabelSet, METRIC_NAME};

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
}

impl Series {
    /// Whether there is a sample at this step.
    #[inline]
    pub(crate) fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step])
    }

    /// Whether there is a sample at all.
    pub(crate) fn is_present(&self) -> bool {
        self.values.iter().any(|value| !is_absent(*value))
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

/// How many samples a vector holds.
pub(crate) fn samples_of(vector: &[Series]) -> u64 {
    let count = |series: &Series| series.values.iter().filter(|value| !is_absent(**value)).count();
    vector.iter().map(|series| count(series) as u64).sum()
}

/// Takes metric name, type and unit away.
pub(crate) fn drop_reserved(labels: &mut LabelSet) {
    labels.retain(|name| name != METRIC_NAME && name != "__type__" && name != "__unit__");
}
