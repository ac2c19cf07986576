//! How series of two vectors find each other: signatures, and the labels of results.

use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::eval::value::{Series, drop_reserved};
use model::{LabelSet, METRIC_NAME};
use std::collections::HashMap;

/// The signature of each series, as a small number: equal numbers match.
#[derive(Debug)]
pub(super) struct Signatures {
    /// Of the left vector's series.
    pub(super) left: Vec<usize>,
    /// Of the right vector's series.
    pub(super) right: Vec<usize>,
    /// How many different ones there are.
    pub(super) count: usize,
}

/// Numbers the signatures of both vectors' series.
pub(super) fn signatures(matching: &Matching, left: &[Series], right: &[Series]) -> Signatures {
    let mut numbers: HashMap<LabelSet, usize> = HashMap::with_capacity(right.len());
    let mut number = |series: &Series| {
        let next = numbers.len();
        *numbers.entry(signature(matching, &series.labels)).or_insert(next)
    };
    let right = right.iter().map(&mut number).collect();
    let left = left.iter().map(&mut number).collect();
    Signatures { left, right, count: numbers.len() }
}

/// The labels that count for matching.
pub(super) fn signature(matching: &Matching, labels: &LabelSet) -> LabelSet {
    let mut labels = labels.clone();
    let is_named = |name: &str| matching.labels.iter().any(|have| &**have == name);
    if matching.on {
        labels.retain(is_named);
    } else {
        labels.retain(|name| !is_named(name) && name != METRIC_NAME);
    }
    labels
}

/// The labels of a result: the many side's, or of one-to-one what both share; with the labels that
/// the grouping modifier takes from the one side.
pub(super) fn result_labels(
    matching: &Matching,
    op: BinaryOp,
    drops_name: bool,
    many: &LabelSet,
    one: &LabelSet,
) -> LabelSet {
    let mut labels = many.clone();
    if drops_name || super::changes_meaning(op) {
        drop_reserved(&mut labels);
    }
    if matching.cardinality == Cardinality::OneToOne {
        let is_named = |name: &str| matching.labels.iter().any(|have| &**have == name);
        labels.retain(|name| is_named(name) == matching.on);
    }
    for name in &matching.include {
        labels.set(name.clone(), one.value(name));
    }
    labels
}

/// Which series of a vector carry each signature.
pub(super) fn by_signature(signatures: &[usize], count: usize) -> Vec<Vec<usize>> {
    let mut series = vec![Vec::new(); count];
    for (index, signature) in signatures.iter().enumerate() {
        series[*signature].push(index);
    }
    series
}
