//! Whether two answers to a query are the same.

use model::{LabelSet, SeriesColumns};
use promql::ast::{AggregateOp, Expr};
use promql::{Evaluation, InstantSample, Value};

/// The least difference between two numbers that counts, as a share of them.
const TOLERANCE: f64 = 1e-12;

/// What an evaluator said.
pub type Outcome = Result<Evaluation, String>;

/// Whether two numbers are the same; NaN is the same as NaN.
fn is_same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

/// Whether two failures are the same. A matching may have several faults: which of them is named
/// depends on the order of series, which upstream leaves open for what was computed.
fn is_same_failure(want: &str, have: &str) -> bool {
    let is_match = |text: &str| {
        text.starts_with("found duplicate series for") || text.starts_with("multiple matches")
    };
    want == have || (is_match(want) && is_match(have))
}

/// How two answers to `expr` differ; `None` if they do not.
#[must_use]
pub fn difference(expr: &Expr, want: &Outcome, have: &Outcome) -> Option<String> {
    let (want, have) = match (want, have) {
        (Ok(want), Ok(have)) => (want, have),
        (Err(want), Err(have)) if is_same_failure(want, have) => return None,
        (Err(want), Err(have)) => return Some(format!("fails with\n  {have}\nnot\n  {want}")),
        (Err(want), Ok(_)) => return Some(format!("had to fail: {want}")),
        (Ok(_), Err(have)) => return Some(format!("fails: {have}")),
    };
    if let Some(difference) = values(expr, &want.value, &have.value) {
        return Some(difference);
    }
    let notes = [("warnings", &want.warnings, &have.warnings), ("infos", &want.infos, &have.infos)];
    for (what, want, have) in notes {
        let (mut want, mut have) = (want.clone(), have.clone());
        want.sort();
        have.sort();
        if want != have {
            return Some(format!("{what} are\n  {have:#?}\nnot\n  {want:#?}"));
        }
    }
    None
}

/// Whether the value orders its series: by a function that sorts, on top.
fn is_ordered(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(node) => is_ordered(&node.expr),
        Expr::Call(node) => node.function.name.starts_with("sort"),
        Expr::Aggregation(node) => {
            matches!(node.op, AggregateOp::Topk | AggregateOp::Bottomk)
                && node.grouping.is_empty()
                && !node.without
        }
        _ => false,
    }
}

fn values(expr: &Expr, want: &Value, have: &Value) -> Option<String> {
    match (want, have) {
        (Value::Scalar { value: a, .. }, Value::Scalar { value: b, .. }) if is_same(*a, *b) => None,
        (Value::Vector(want), Value::Vector(have)) => vectors(is_ordered(expr), want, have),
        (Value::Matrix(want), Value::Matrix(have)) => matrices(want, have),
        (want, have) if want == have => None,
        _ => Some(format!("is\n  {have:?}\nnot\n  {want:?}")),
    }
}

fn vectors(is_ordered: bool, want: &[InstantSample], have: &[InstantSample]) -> Option<String> {
    if is_ordered && want.len() == have.len() {
        // Equal values may stand in any order.
        let is_same = want.iter().zip(have).all(|(a, b)| is_same(a.value, b.value));
        if !is_same {
            return Some(format!("is in the order\n  {have:?}\nnot\n  {want:?}"));
        }
    }
    let (mut want, mut have): (Vec<_>, Vec<_>) = (want.iter().collect(), have.iter().collect());
    want.sort_by(|a, b| a.labels.cmp(&b.labels));
    have.sort_by(|a, b| a.labels.cmp(&b.labels));
    let labels = |of: &[&InstantSample]| of.iter().map(|of| of.labels.clone()).collect();
    if let Some(difference) = label_sets(labels(&want), labels(&have)) {
        return Some(difference);
    }
    for (want, have) in want.iter().zip(have) {
        if want.timestamp_ms != have.timestamp_ms || !is_same(want.value, have.value) {
            return Some(format!("{}: {:?}, not {:?}", want.labels, have.value, want.value));
        }
    }
    None
}

fn label_sets(want: Vec<LabelSet>, have: Vec<LabelSet>) -> Option<String> {
    (want != have).then(|| format!("has the series\n  {have:?}\nnot\n  {want:?}"))
}

fn matrices(want: &[SeriesColumns], have: &[SeriesColumns]) -> Option<String> {
    let labels = |of: &[SeriesColumns]| of.iter().map(|of| of.labels.clone()).collect();
    if let Some(difference) = label_sets(labels(want), labels(have)) {
        return Some(difference);
    }
    for (want, have) in want.iter().zip(have) {
        if want.floats.timestamps_ms != have.floats.timestamps_ms {
            let (want_ms, have_ms) = (&want.floats.timestamps_ms, &have.floats.timestamps_ms);
            return Some(format!("{}: samples at {have_ms:?}, not {want_ms:?}", want.labels));
        }
        for (index, time) in want.floats.timestamps_ms.iter().enumerate() {
            let (a, b) = (want.floats.values[index], have.floats.values[index]);
            if !is_same(a, b) {
                return Some(format!("{} at {time}: {b:?}, not {a:?}", want.labels));
            }
        }
    }
    None
}

/// Whether there is any sample in an answer.
#[must_use]
pub fn has_samples(outcome: &Outcome) -> bool {
    match outcome {
        Err(_) => false,
        Ok(evaluation) => match &evaluation.value {
            Value::Vector(vector) => !vector.is_empty(),
            Value::Matrix(matrix) => !matrix.is_empty(),
            _ => true,
        },
    }
}
