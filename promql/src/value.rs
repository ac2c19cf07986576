//! What a query evaluates to.

use model::histogram::Histogram;
use model::{LabelSet, SeriesColumns};
use std::sync::Arc;

/// A finished evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The result.
    pub value: Value,
    /// `PromQL warning: … (line:column)`, each text once, all of them.
    pub warnings: Vec<String>,
    /// `PromQL info: … (line:column)`, each text once, all of them.
    pub infos: Vec<String>,
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A scalar at the evaluation time; of instant queries only.
    Scalar {
        /// The evaluation time.
        timestamp_ms: i64,
        /// The number.
        value: f64,
    },
    /// A string at the evaluation time; of instant queries only.
    String {
        /// The evaluation time.
        timestamp_ms: i64,
        /// The text.
        text: String,
    },
    /// One sample a series, in the engine's order; of instant queries only.
    Vector(Vec<InstantSample>),
    /// Samples of series, sorted by labels: every range query, and `x[5m]` at an instant.
    Matrix(Vec<SeriesColumns>),
}

/// A series' sample in an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// The series' labels.
    pub labels: LabelSet,
    /// The time it is answered for.
    pub timestamp_ms: i64,
    /// The value; NaN if it is a histogram.
    pub value: f64,
    /// The native histogram, if it is one.
    pub histogram: Option<Arc<Histogram>>,
}
