//! Operators that pick some series of each group, step by step: topk, bottomk, limitk,
//! limit_ratio. Picked series keep their labels.

use super::bounds;
use super::group::{Groups, groups};
use crate::ast::{AggregateOp, Aggregation};
use crate::eval::error::EvalError;
use crate::eval::evaluator::{Evaluator, bare};
use crate::eval::grid::Grid;
use crate::eval::value::{Scalar, Series, is_absent};
use crate::math::convert::to_index;
use crate::math::format::general;
use model::LabelSet;
use std::cmp::Ordering;
use xxhash_rust::xxh64::Xxh64;

/// i64 ends here.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// Picks series.
pub(super) fn pick(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    param: &Scalar,
    vector: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    if node.op == AggregateOp::LimitRatio {
        return limit_ratio(ctx, node, param, vector);
    }
    // One NaN makes both NaN, which is below no bound: the error comes then.
    let (least, greatest) = bounds(param);
    if greatest < 1.0 {
        return Ok(Vec::new());
    }
    if param.distinct().iter().any(|k| k.is_nan()) {
        return Err(EvalError::unexecutable("Parameter value is NaN"));
    }
    if least <= -I64_END {
        let text = format!("Scalar value {} underflows int64", general(least));
        return Err(EvalError::Unexecutable(text));
    }
    if greatest >= I64_END {
        let text = format!("Scalar value {} overflows int64", general(greatest));
        return Err(EvalError::Unexecutable(text));
    }
    ranked(ctx, node, param, vector, grid)
}

fn ranked(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    param: &Scalar,
    mut vector: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    if !ctx.params.is_instant() {
        // Equal ones are told apart by their labels: what was there at other steps of the range may
        // have put them into any order, and a part of the range has to pick as all of it does.
        vector.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    let groups = groups(&vector, node);
    let members = members(&groups, vector.len());
    let is_limit = node.op == AggregateOp::Limitk;
    let mut picked: Vec<Option<Series>> = vec![None; vector.len()];
    let mut order = Vec::new();
    let mut ranking = Vec::new();
    for members in &members {
        for step in 0..grid.len {
            ctx.budget.tick(members.len())?;
            let k = to_index(param.at(step));
            if k == 0 {
                continue;
            }
            if !is_limit && members.iter().any(|index| vector[*index].histogram(step).is_some()) {
                let op = node.op.as_str();
                ctx.note(|notes| notes.ignored_in_aggregation(op, node.span));
            }
            best(node.op, &vector, members, step, k, &mut ranking);
            for (_, index) in &ranking {
                let of = &vector[*index];
                picked[*index].get_or_insert_with(|| of.emptied()).copy_step(step, of);
                if grid.is_instant {
                    order.push(*index);
                }
            }
        }
    }
    Ok(in_order(picked, order))
}

/// The series of each group, in the order of the vector.
fn members(groups: &Groups, len: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); groups.labels.len()];
    for (index, group) in groups.of_series.iter().enumerate().take(len) {
        members[*group].push(index);
    }
    members
}

/// The k best members at a step, best first. Of equal ones the earlier stays.
fn best(
    op: AggregateOp,
    vector: &[Series],
    members: &[usize],
    step: usize,
    k: usize,
    ranking: &mut Vec<(f64, usize)>,
) {
    ranking.clear();
    if op == AggregateOp::Limitk {
        let present = members.iter().filter(|index| vector[**index].has(step));
        ranking.extend(present.map(|index| (0.0, *index)).take(k));
    } else {
        let present = members.iter().map(|index| (vector[*index].values[step], *index));
        ranking.extend(present.filter(|(value, _)| !is_absent(*value)));
        let greatest = op == AggregateOp::Topk;
        let compare = |a: &(f64, usize), b: &(f64, usize)| {
            nan_last(a.0, b.0, greatest).then_with(|| a.1.cmp(&b.1))
        };
        if ranking.len() > k {
            ranking.select_nth_unstable_by(k - 1, compare);
            ranking.truncate(k);
        }
        ranking.sort_unstable_by(compare);
    }
}

/// The better value first, NaN behind all.
fn nan_last(a: f64, b: f64, greatest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if greatest { order.reverse() } else { order }
        }
        (a, b) => a.cmp(&b),
    }
}

/// The picked series: of an instant in the order they were picked, else in that of the vector.
fn in_order(mut picked: Vec<Option<Series>>, order: Vec<usize>) -> Vec<Series> {
    if order.is_empty() {
        return picked.into_iter().flatten().collect();
    }
    order.into_iter().filter_map(|index| picked[index].take()).collect()
}

fn limit_ratio(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    param: &Scalar,
    mut vector: Vec<Series>,
) -> Result<Vec<Series>, EvalError> {
    let (least, greatest) = bounds(param);
    if least == 0.0 && greatest == 0.0 {
        return Ok(Vec::new());
    }
    if param.distinct().iter().any(|ratio| ratio.is_nan()) {
        return Err(EvalError::unexecutable("Ratio value is NaN"));
    }
    let span = node.param.as_deref().map_or(node.span, |param| bare(param).span());
    if greatest > 1.0 {
        ctx.note(|notes| notes.invalid_ratio(greatest, 1.0, span));
    }
    if least < -1.0 {
        ctx.note(|notes| notes.invalid_ratio(least, -1.0, span));
    }
    for series in &mut vector {
        ctx.budget.tick(series.values.len())?;
        let offset = sample_offset(&series.labels);
        for step in 0..series.values.len() {
            let ratio = param.at(step).clamp(-1.0, 1.0);
            let is_picked = if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
            if !is_picked {
                series.erase(step);
            }
        }
    }
    vector.retain(Series::is_present);
    Ok(vector)
}

/// Where a label set falls between 0 and 1: the same place for ever and everywhere.
fn sample_offset(labels: &LabelSet) -> f64 {
    let mut hasher = Xxh64::new(0);
    for (name, value) in labels.iter() {
        hash_text(&mut hasher, name);
        hash_text(&mut hasher, value);
    }
    hasher.digest() as f64 / u64::MAX as f64
}

/// A text with its length in front: one byte, or 255 and three bytes, little-endian.
fn hash_text(hasher: &mut Xxh64, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len) if len < 255 => hasher.update(&[len]),
        _ => {
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
            hasher.update(&[255, len[0], len[1], len[2]]);
        }
    }
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::value::ABSENT;

    fn series(values: &[f64]) -> Vec<Series> {
        let of = |value: &f64| Series::floats(LabelSet::default(), false, vec![*value]);
        values.iter().map(of).collect()
    }

    fn best_of(op: AggregateOp, values: &[f64], k: usize) -> Vec<usize> {
        let vector = series(values);
        let members: Vec<usize> = (0..values.len()).collect();
        let mut ranking = Vec::new();
        best(op, &vector, &members, 0, k, &mut ranking);
        ranking.into_iter().map(|(_, index)| index).collect()
    }

    #[test]
    fn the_best_come_first_and_nan_last() {
        let values = [1.0, f64::NAN, 3.0, 3.0, ABSENT, 2.0];
        assert_eq!(best_of(AggregateOp::Topk, &values, 2), [2, 3]);
        assert_eq!(best_of(AggregateOp::Topk, &values, 9), [2, 3, 5, 0, 1]);
        assert_eq!(best_of(AggregateOp::Bottomk, &values, 2), [0, 5]);
        assert_eq!(best_of(AggregateOp::Limitk, &values, 2), [0, 1]);
    }
}
