//! What nodes evaluate to.

use super::histogram::Hist;
use model::LabelSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why there is no answer: upstream's text.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

pub(super) fn fail<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure(text.into()))
}

pub(super) fn same_labels<T>() -> Result<T, Failure> {
    fail("vector cannot contain metrics with the same labelset")
}

/// A float or a native histogram.
#[derive(Clone, Debug)]
pub(super) enum Val {
    Float(f64),
    Histogram(Arc<Hist>),
}

impl Val {
    pub(super) fn histogram(of: Hist) -> Self {
        Self::Histogram(Arc::new(of))
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }
}

/// A sample of an instant vector.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) labels: LabelSet,
    /// Whether the name is to go at the end of the query.
    pub(super) drop_name: bool,
    pub(super) value: Val,
}

/// A series of samples at steps.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) labels: LabelSet,
    pub(super) drop_name: bool,
    pub(super) points: BTreeMap<i64, Val>,
}

pub(super) type Vector = Vec<Sample>;
pub(super) type Matrix = Vec<Series>;

/// What a node evaluates to, over the steps asked for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number for each step.
    Scalar(Vec<f64>),
    Vector(Matrix),
    Text(String),
}

/// The samples that series have at a step.
pub(super) fn at(matrix: &Matrix, time: i64) -> Vector {
    let sample = |series: &Series| {
        let value = series.points.get(&time)?.clone();
        Some(Sample { labels: series.labels.clone(), drop_name: series.drop_name, value })
    };
    matrix.iter().filter_map(sample).collect()
}

/// Takes the labels away that say what a metric is.
pub(super) fn drop_reserved(labels: &mut LabelSet) {
    for name in ["__name__", "__type__", "__unit__"] {
        labels.remove(name);
    }
}

fn has_same_labels<'a>(labels: impl Iterator<Item = &'a LabelSet>) -> bool {
    let mut all: Vec<_> = labels.collect();
    all.sort();
    all.windows(2).any(|two| two[0] == two[1])
}

/// The vectors of all steps as series. Two samples of the same labels at a step are an error, unless
/// they stay apart for now.
pub(super) fn collect(vectors: Vec<(i64, Vector)>, stay_apart: bool) -> Result<Matrix, Failure> {
    let mut matrix = Matrix::new();
    for (time, vector) in vectors {
        let is_same = has_same_labels(vector.iter().map(|sample| &sample.labels));
        if is_same && !stay_apart {
            return same_labels();
        }
        for Sample { labels, drop_name, value } in vector {
            let have = matrix.iter_mut().find(|series| !stay_apart && series.labels == labels);
            match have {
                Some(series) => drop(series.points.insert(time, value)),
                None => matrix.push(Series { labels, drop_name, points: [(time, value)].into() }),
            }
        }
    }
    Ok(matrix)
}

/// Makes one series of those with the same labels, unless two floats or two histograms of theirs meet at
/// a step. Of a float and a histogram the histogram stays.
pub(super) fn merged(matrix: Matrix) -> Result<Matrix, Failure> {
    let mut merged = Matrix::new();
    let mut seen = BTreeSet::new();
    for mut series in matrix {
        for (time, value) in &series.points {
            let is_float = value.float().is_some();
            if !seen.insert((series.labels.clone(), *time, is_float)) {
                return same_labels();
            }
        }
        match merged.iter_mut().find(|have| have.labels == series.labels) {
            None => merged.push(series),
            Some(have) => {
                let is_hidden = |time: &i64, value: &Val| {
                    value.float().is_some() && have.points.contains_key(time)
                };
                series.points.retain(|time, value| !is_hidden(time, value));
                have.points.extend(series.points);
            }
        }
    }
    Ok(merged)
}

/// As [`merged`], but any two series of the same labels are an error.
pub(super) fn distinct(matrix: Matrix) -> Result<Matrix, Failure> {
    if has_same_labels(matrix.iter().map(|series| &series.labels)) {
        return same_labels();
    }
    Ok(matrix)
}
