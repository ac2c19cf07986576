//! How series of two vectors find each other: signatures, and the labels of results.

use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::eval::names::Names;
use crate::eval::value::{Series, drop_reserved};
use model::{LabelSet, METRIC_NAME};
use std::collections::HashMap;

/// The modifiers of an operator, its label names ready to be asked.
pub(super) struct By<'a> {
    pub(super) matching: &'a Matching,
    names: Names<'a>,
}

impl<'a> By<'a> {
    pub(super) fn new(matching: &'a Matching) -> Self {
        Self { matching, names: Names::new(&matching.labels) }
    }
}

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
pub(super) fn signatures(by: &By<'_>, left: &[Series], right: &[Series]) -> Signatures {
    let mut numbers: HashMap<LabelSet, usize> = HashMap::with_capacity(right.len());
    let mut number = |series: &Series| {
        let next = numbers.len();
        *numbers.entry(match_labels(by, &series.labels)).or_insert(next)
    };
    let right = right.iter().map(&mut number).collect();
    let left = left.iter().map(&mut number).collect();
    Signatures { left, right, count: numbers.len() }
}

/// The labels that count for matching: what a missing partner would have.
pub(super) fn match_labels(by: &By<'_>, labels: &LabelSet) -> LabelSet {
    let mut labels = labels.clone();
    if by.matching.on {
        labels.retain(|name| by.names.has(name));
    } else {
        labels.retain(|name| !by.names.has(name) && name != METRIC_NAME);
    }
    labels
}

/// The labels of a result: the many side's, or of one-to-one what both share; with the labels that
/// the grouping modifier takes from the one side.
pub(super) fn result_labels(
    by: &By<'_>,
    op: BinaryOp,
    drops_name: bool,
    many: &LabelSet,
    one: &LabelSet,
) -> LabelSet {
    let mut labels = many.clone();
    if drops_name || super::changes_meaning(op) {
        drop_reserved(&mut labels);
    }
    if by.matching.cardinality == Cardinality::OneToOne {
        labels.retain(|name| by.names.has(name) == by.matching.on);
    }
    for name in &by.matching.include {
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
