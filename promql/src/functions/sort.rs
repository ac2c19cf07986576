//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: the order of an instant query.

use super::{Args, natural};
use crate::eval::{EvalError, Series};
use model::LabelSet;
use std::cmp::Ordering;

/// Puts the vector in order; in a range query it says that this has no effect.
pub(super) fn sort(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let mut labels = Vec::new();
    for index in 1..args.len() {
        labels.push(args.text(index)?);
    }
    let mut vector = args.vector(0)?;
    // After what the argument has to say: of a text said twice the last place stays.
    if !args.grid.is_instant {
        args.ctx.note(|notes| notes.sort_in_range_query(args.node.span));
    }
    if matches!(args.node.function.name, "sort" | "sort_desc") {
        vector = super::floats_of(vector);
    }
    if !args.grid.is_instant {
        return Ok(vector);
    }
    let value = |series: &Series| series.values.first().copied().unwrap_or(f64::NAN);
    match args.node.function.name {
        "sort" => vector.sort_by(|a, b| by_value(value(a), value(b), false)),
        "sort_desc" => vector.sort_by(|a, b| by_value(value(a), value(b), true)),
        "sort_by_label" => vector.sort_by(|a, b| by_labels(&a.labels, &b.labels, &labels)),
        _ => vector.sort_by(|a, b| by_labels(&b.labels, &a.labels, &labels)),
    }
    Ok(vector)
}

/// NaN comes last either way.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
        (a, b) => a.cmp(&b),
    }
}

fn by_labels(a: &LabelSet, b: &LabelSet, names: &[String]) -> Ordering {
    let of = |name: &String| natural::compare(a.value(name), b.value(name));
    names.iter().map(of).find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b))
}
