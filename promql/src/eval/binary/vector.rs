//! Arithmetic and comparisons between two vectors: one-to-one, many-to-one, one-to-many, with fill
//! values for partners that are missing.
//!
//! Keys are worked out once a series. What depends on the step is looked at step by step: a
//! duplicate is an error only where both of its samples are there.

use super::arithmetic::{Outcome, apply as compute};
use super::matching::{By, Signatures, by_signature, match_labels, result_labels, signatures};
use crate::ast::{Cardinality, Link, Matching};
use crate::eval::column::Steps;
use crate::eval::error::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::grid::Grid;
use crate::eval::merge;
use crate::eval::value::{ABSENT, Series, is_absent};
use model::LabelSet;
use std::borrow::Cow;
use std::collections::HashMap;

/// The two vectors, the one that may have many partners first.
struct Sides<'a> {
    link: &'a Link,
    by: By<'a>,
    many: &'a [Series],
    one: &'a [Series],
    /// Whether the many side is written on the right.
    is_swapped: bool,
    /// Whether the name goes now because the answer is 0 or 1; dropped late, it goes at the end.
    drops_name: bool,
    numbers: Signatures,
    many_of: Vec<Vec<usize>>,
    one_of: Vec<Vec<usize>>,
    grid: Grid,
}

/// Two columns that make a result, in the order of the many side.
struct Pair<'a> {
    signature: usize,
    labels: LabelSet,
    many: Cow<'a, [f64]>,
    one: Cow<'a, [f64]>,
}

/// Applies an operator.
pub(super) fn apply(
    ctx: &Evaluator<'_>,
    link: &Link,
    matching: &Matching,
    left: Vec<Series>,
    right: Vec<Series>,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let is_swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if is_swapped { (&right, &left) } else { (&left, &right) };
    let is_filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !is_filled && (many.is_empty() || one.is_empty()) {
        return Ok(Vec::new());
    }
    ctx.budget.tick(many.len() + one.len())?;
    let by = By::new(matching);
    let numbers = signatures(&by, many, one);
    let many_of = by_signature(&numbers.left, numbers.count);
    let one_of = by_signature(&numbers.right, numbers.count);
    let drops_name = link.return_bool && !ctx.params.delayed_name_removal;
    let sides =
        Sides { link, by, many, one, is_swapped, drops_name, numbers, many_of, one_of, grid };
    sides.check_one_side(ctx, is_filled)?;
    let pairs = sides.pairs(ctx)?;
    if super::trims(link.op) {
        let meet = pairs.iter().any(|pair| (0..grid.len).any(|step| pair.has(step)));
        super::note_floats(ctx, link, meet);
        return Ok(Vec::new());
    }
    sides.check_pairs(&pairs)?;
    let mut result = Vec::with_capacity(pairs.len());
    for pair in pairs {
        ctx.budget.take_column(grid.len)?;
        let values = sides.compute(&pair);
        let drop_name = link.return_bool;
        result.push(Series { labels: pair.labels, drop_name, values });
    }
    result.retain(Series::is_present);
    if grid.len == 1 && ctx.params.delayed_name_removal {
        return Ok(result);
    }
    merge::same_labels(result)
}

impl<'a> Sides<'a> {
    /// On the one side a signature may be there only once at a step: at any step, matched or not,
    /// at which the operator has something to work on.
    fn check_one_side(&self, ctx: &Evaluator<'_>, is_filled: bool) -> Result<(), EvalError> {
        if self.one_of.iter().all(|series| series.len() < 2) {
            return Ok(());
        }
        let mut is_many_there = Steps::none(self.grid.len);
        self.many.iter().for_each(|series| is_many_there.add_present(&series.values));
        // The one to name is the first at the earliest step.
        let mut first: Option<(usize, usize, usize)> = None;
        for group in self.one_of.iter().filter(|series| series.len() > 1) {
            let mut holder: Vec<Option<usize>> = vec![None; self.grid.len];
            for index in group {
                ctx.budget.tick(self.grid.len)?;
                for (step, holder) in holder.iter_mut().enumerate() {
                    if !self.one[*index].has(step) || !(is_filled || is_many_there.has(step)) {
                        continue;
                    }
                    if let Some(other) = holder.replace(*index) {
                        let found = (step, *index, other);
                        first = Some(first.map_or(found, |first| first.min(found)));
                    }
                }
            }
        }
        first.map_or(Ok(()), |(_, index, other)| Err(self.duplicate(index, other)))
    }

    fn duplicate(&self, index: usize, other: usize) -> EvalError {
        let labels = &self.one[index].labels;
        let matched = match_labels(&self.by, labels);
        let mut two = [labels.to_string(), self.one[other].labels.to_string()];
        two.sort_unstable();
        let side = if self.is_swapped { "left" } else { "right" };
        EvalError::Unexecutable(format!(
            "found duplicate series for the match group {matched} on the {side} hand-side of the \
             operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique \
             on one side",
            two[0], two[1]
        ))
    }

    fn pairs(&self, ctx: &Evaluator<'_>) -> Result<Vec<Pair<'a>>, EvalError> {
        let mut pairs = Vec::new();
        for (many, signature) in self.many.iter().zip(&self.numbers.left) {
            ctx.budget.tick(self.grid.len)?;
            let partners = &self.one_of[*signature];
            for one in partners.iter().map(|index| &self.one[*index]) {
                ctx.budget.tick(self.by.matching.include.len())?;
                pairs.push(self.pair(*signature, many, one));
            }
            // Upstream names the sides of fill values as written, wherever the many side stands.
            if let Some(fill) = self.by.matching.fill_right {
                pairs.extend(self.filled(*signature, many, partners, self.one, fill, true));
            }
        }
        if let Some(fill) = self.by.matching.fill_left {
            for (one, signature) in self.one.iter().zip(&self.numbers.right) {
                let partners = &self.many_of[*signature];
                pairs.extend(self.filled(*signature, one, partners, self.many, fill, false));
            }
        }
        Ok(pairs)
    }

    fn pair(&self, signature: usize, many: &'a Series, one: &'a Series) -> Pair<'a> {
        Pair {
            signature,
            labels: self.labels(&many.labels, &one.labels),
            many: Cow::Borrowed(&many.values),
            one: Cow::Borrowed(&one.values),
        }
    }

    fn labels(&self, many: &LabelSet, one: &LabelSet) -> LabelSet {
        result_labels(&self.by, self.link.op, self.drops_name, many, one)
    }

    /// The series with a fill value in the place of its partner, where it has none.
    fn filled(
        &self,
        signature: usize,
        series: &'a Series,
        partners: &[usize],
        of: &[Series],
        fill: f64,
        is_many: bool,
    ) -> Option<Pair<'a>> {
        let mut taken = Steps::none(self.grid.len);
        partners.iter().for_each(|index| taken.add_present(&of[*index].values));
        let fills: Vec<f64> = (0..self.grid.len)
            .map(|step| if series.has(step) && !taken.has(step) { fill } else { ABSENT })
            .collect();
        if fills.iter().all(|value| is_absent(*value)) {
            return None;
        }
        let partner = match_labels(&self.by, &series.labels);
        let (fills, values) = (Cow::Owned(fills), Cow::Borrowed(&*series.values));
        Some(if is_many {
            let labels = self.labels(&series.labels, &partner);
            Pair { signature, labels, many: values, one: fills }
        } else {
            let labels = self.labels(&partner, &series.labels);
            Pair { signature, labels, many: fills, one: values }
        })
    }

    /// Two results of one signature may not meet: of one-to-one at all, else with equal labels.
    fn check_pairs(&self, pairs: &[Pair<'_>]) -> Result<(), EvalError> {
        let is_one_to_one = self.by.matching.cardinality == Cardinality::OneToOne;
        let mut same: HashMap<(usize, Option<&LabelSet>), Vec<&Pair<'_>>> = HashMap::new();
        for pair in pairs {
            let labels = if is_one_to_one { None } else { Some(&pair.labels) };
            same.entry((pair.signature, labels)).or_default().push(pair);
        }
        let mut taken = vec![false; self.grid.len];
        for pairs in same.values().filter(|pairs| pairs.len() > 1) {
            taken.fill(false);
            let len = taken.len();
            for (pair, step) in pairs.iter().flat_map(|pair| (0..len).map(move |s| (pair, s))) {
                if pair.has(step) && std::mem::replace(&mut taken[step], true) {
                    return Err(EvalError::unexecutable(if is_one_to_one {
                        "multiple matches for labels: many-to-one matching must be explicit \
                         (group_left/group_right)"
                    } else {
                        "multiple matches for labels: grouping labels must ensure unique matches"
                    }));
                }
            }
        }
        Ok(())
    }

    fn compute(&self, pair: &Pair<'_>) -> Vec<f64> {
        let values = pair.many.iter().zip(pair.one.iter()).map(|(many, one)| {
            if is_absent(*many) || is_absent(*one) {
                return ABSENT;
            }
            let (left, right) = if self.is_swapped { (*one, *many) } else { (*many, *one) };
            match compute(self.link.op, left, right) {
                Outcome::Value(value) => value,
                Outcome::Compared(holds) if self.link.return_bool => f64::from(u8::from(holds)),
                Outcome::Compared(true) => left,
                Outcome::Compared(false) => ABSENT,
            }
        });
        values.collect()
    }
}

impl Pair<'_> {
    fn has(&self, step: usize) -> bool {
        !is_absent(self.many[step]) && !is_absent(self.one[step])
    }
}
