//! `count_values`: one output series for each value that occurs in a group.

use crate::ast::{Aggregation, Expr};
use crate::eval::error::EvalError;
use crate::eval::evaluator::{Evaluator, bare};
use crate::eval::grid::Grid;
use crate::eval::names::Names;
use crate::eval::value::{ABSENT, Series, is_absent};
use crate::math::format::plain;
use model::{LabelSet, METRIC_NAME, Text};
use std::collections::HashMap;

/// Counts how often each value occurs.
pub(super) fn count_values(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let label = match node.param.as_deref().map(bare) {
        Some(Expr::String(label)) => label,
        _ => return Err(EvalError::internal("count_values without a label")),
    };
    let label: Text = match std::str::from_utf8(&label.bytes) {
        Ok(name) if !name.is_empty() => name.into(),
        _ => {
            let text = crate::functions::labels::quoted_bytes(&label.bytes);
            return Err(EvalError::Unexecutable(format!("invalid label name {text}")));
        }
    };
    let vector = ctx.eval_vector(bare(&node.expr), grid)?;
    let names = Names::new(&node.grouping);
    let mut result: Vec<Series> = Vec::new();
    let mut places: HashMap<LabelSet, usize> = HashMap::new();
    for series in vector {
        for (step, histogram) in series.histogram_steps() {
            ctx.budget.tick(1)?;
            let text = histogram.to_string();
            ctx.budget.take_bytes(text.len() as u64)?;
            let labels = group_labels((&names, node.without), &series.labels, &label, text);
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                let values = vec![ABSENT; grid.len];
                result.push(Series::floats(labels.clone(), false, values));
                result.len() - 1
            });
            let count = &mut result[place].values[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
        // Most series keep a value for a while: the place of the last one is tried first.
        let mut last: Option<(u64, usize)> = None;
        for (step, value) in series.values.iter().enumerate() {
            if is_absent(*value) {
                continue;
            }
            let place = match last {
                Some((bits, place)) if bits == value.to_bits() => place,
                _ => {
                    let labels =
                        group_labels((&names, node.without), &series.labels, &label, plain(*value));
                    *places.entry(labels).or_insert_with_key(|labels| {
                        let (labels, values) = (labels.clone(), vec![ABSENT; grid.len]);
                        result.push(Series::floats(labels, false, values));
                        result.len() - 1
                    })
                }
            };
            last = Some((value.to_bits(), place));
            let count = &mut result[place].values[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
        ctx.budget.tick(grid.len)?;
        ctx.budget.check_steps(result.len().saturating_mul(grid.len))?;
    }
    Ok(result)
}

fn group_labels(
    (names, without): (&Names<'_>, bool),
    labels: &LabelSet,
    label: &Text,
    value: String,
) -> LabelSet {
    let mut labels = labels.clone();
    labels.set(label.clone(), value);
    if without {
        labels.retain(|name| !names.has(name) && name != METRIC_NAME);
    } else {
        labels.retain(|name| names.has(name) || name == &**label);
    }
    labels
}
