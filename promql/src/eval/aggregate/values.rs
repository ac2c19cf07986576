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
            let text = crate::quote::quoted_bytes(&label.bytes);
            return Err(EvalError::Unexecutable(format!("invalid label name {text}")));
        }
    };
    let vector = ctx.eval_vector(bare(&node.expr), grid)?;
    let names = Names::new(&node.grouping);
    let (series, places) = (Vec::new(), HashMap::new());
    let mut counters = Counters { len: grid.len, series, places };
    for series in vector {
        for (step, histogram) in series.histogram_steps() {
            ctx.budget.tick(1)?;
            let text = histogram.to_string();
            ctx.budget.take_bytes(text.len() as u64)?;
            let labels = group_labels((&names, node.without), &series.labels, &label, text);
            let place = counters.place(ctx, labels)?;
            let count = &mut counters.series[place].values[step];
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
                    counters.place(ctx, labels)?
                }
            };
            last = Some((value.to_bits(), place));
            let count = &mut counters.series[place].values[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
        ctx.budget.tick(grid.len)?;
        ctx.budget.check_steps(counters.series.len().saturating_mul(grid.len))?;
    }
    Ok(counters.series)
}

/// A counter for each value that was met, at each step.
struct Counters {
    len: usize,
    series: Vec<Series>,
    places: HashMap<LabelSet, usize>,
}

impl Counters {
    /// Where the counter with these labels is. A series may have another value at each step, so
    /// memory is taken for each counter before it is made.
    fn place(&mut self, ctx: &Evaluator<'_>, labels: LabelSet) -> Result<usize, EvalError> {
        if let Some(place) = self.places.get(&labels) {
            return Ok(*place);
        }
        ctx.budget.check_steps(self.series.len().saturating_mul(self.len))?;
        let values = ctx.budget.column(ABSENT, self.len)?;
        let place = self.series.len();
        self.series.push(Series::floats(labels.clone(), false, values));
        self.places.insert(labels, place);
        Ok(place)
    }
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
