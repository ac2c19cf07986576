//! Arithmetic and comparisons between two vectors: one-to-one, many-to-one, one-to-many, with fill
//! values for partners that are missing.
//!
//! Keys are worked out once a series. What depends on the step is looked at step by step: a
//! duplicate is an error only where both of its samples are there.

use super::arithmetic::{Outcome, apply as compute};
use super::elements::{self, Element, Failed, Operand, StepNotes};
use super::matching::{By, Signatures, by_signature, match_labels, result_labels, signatures};
use crate::ast::{Cardinality, Link, Matching};
use crate::eval::column::Steps;
use crate::eval::error::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::grid::Grid;
use crate::eval::merge;
use crate::eval::value::{ABSENT, Point, Series, is_absent};
use crate::print::labels_text;
use model::LabelSet;
use std::collections::HashMap;
use std::sync::Arc;

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
    one_of: Vec<Vec<usize>>,
    grid: Grid,
}

/// Two series that make a result, in the order of the many side.
struct Pair<'a> {
    signature: usize,
    labels: LabelSet,
    many: Side<'a>,
    one: Side<'a>,
}

/// A series, or fill values in its place.
enum Side<'a> {
    Series(&'a Series),
    Fill(Vec<f64>),
}

impl Side<'_> {
    fn values(&self) -> &[f64] {
        match self {
            Self::Series(series) => &series.values,
            Self::Fill(values) => values,
        }
    }

    fn has_histograms(&self) -> bool {
        matches!(self, Self::Series(series) if series.histograms.is_some())
    }

    fn operand(&self, step: usize) -> Option<Operand<'_>> {
        if let Self::Series(series) = self
            && let Some(histogram) = series.histogram(step)
        {
            return Some(Operand::Histogram(histogram));
        }
        Some(self.values()[step]).filter(|value| !is_absent(*value)).map(Operand::Float)
    }
}

/// What comes of a pair.
struct Computed {
    values: Vec<f64>,
    histograms: Option<Vec<Point>>,
    failed: Failed,
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
    let one_of = by_signature(&numbers.right, numbers.count);
    let drops_name = link.return_bool && !ctx.params.delayed_name_removal;
    let sides = Sides { link, by, many, one, is_swapped, drops_name, numbers, one_of, grid };
    sides.check_one_side(ctx, is_filled)?;
    let mut notes = StepNotes::default();
    let mut pairs = Vec::new();
    for pair in sides.pairs(ctx)? {
        let computed = sides.compute(ctx, &pair, &mut notes)?;
        pairs.push((pair, computed));
    }
    for pair in sides.left_filled(&pairs) {
        let computed = sides.compute(ctx, &pair, &mut notes)?;
        pairs.push((pair, computed));
    }
    sides.check_pairs(&pairs)?;
    notes.tell(ctx, link.op, link.span);
    let mut result = Vec::with_capacity(pairs.len());
    for (pair, Computed { values, histograms, .. }) in pairs {
        let drop_name = link.return_bool;
        result.push(Series { labels: pair.labels, drop_name, values, histograms });
    }
    result.retain(Series::is_present);
    if grid.is_instant && ctx.params.delayed_name_removal {
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
        self.many.iter().for_each(|series| is_many_there.add(series));
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
        let matched = labels_text(&match_labels(&self.by, labels));
        let mut two = [labels_text(labels), labels_text(&self.one[other].labels)];
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
        let presence = self.presence(ctx)?;
        for (many, signature) in self.many.iter().zip(&self.numbers.left) {
            ctx.budget.tick(self.grid.len)?;
            let partners = &self.one_of[*signature];
            let mut is_many_there = Steps::none(self.grid.len);
            if partners.len() > 1 {
                is_many_there.add(many);
            }
            for index in partners {
                ctx.budget.tick(self.by.matching.include.len() + self.grid.len / 64)?;
                let is_there = |steps: &Steps| steps.meets(&is_many_there);
                if presence[*index].as_ref().is_none_or(is_there) {
                    pairs.push(self.pair(*signature, many, &self.one[*index]));
                }
            }
            // Upstream names the sides of fill values as written, wherever the many side stands.
            if let Some(fill) = self.by.matching.fill_right {
                let mut taken = Steps::none(self.grid.len);
                partners.iter().for_each(|index| taken.add(&self.one[*index]));
                pairs.extend(self.filled(*signature, many, &taken, fill, true));
            }
        }
        Ok(pairs)
    }

    /// Of the series of the one side that share a signature, at which steps each is there: those that come and go
    /// one after the other make no pair with each that ever was on the other side.
    fn presence(&self, ctx: &Evaluator<'_>) -> Result<Vec<Option<Steps>>, EvalError> {
        let mut presence = vec![None; self.one.len()];
        for index in self.one_of.iter().filter(|series| series.len() > 1).flatten() {
            ctx.budget.take_column(self.grid.len.div_ceil(64))?;
            ctx.budget.tick(self.grid.len)?;
            let mut steps = Steps::none(self.grid.len);
            steps.add(&self.one[*index]);
            presence[*index] = Some(steps);
        }
        Ok(presence)
    }

    /// The pairs that the one side makes with the left fill value where nothing came of a partner.
    fn left_filled(&self, pairs: &[(Pair<'a>, Computed)]) -> Vec<Pair<'a>> {
        let Some(fill) = self.by.matching.fill_left else { return Vec::new() };
        let mut taken: Vec<Option<Steps>> = vec![None; self.numbers.count];
        for (pair, computed) in pairs {
            let of_signature = &mut taken[pair.signature];
            let steps = of_signature.get_or_insert_with(|| Steps::none(self.grid.len));
            let is_done = |step: &usize| pair.has(*step) && !computed.failed.has(*step);
            (0..self.grid.len).filter(is_done).for_each(|step| steps.put(step));
        }
        let none = Steps::none(self.grid.len);
        let ones = self.one.iter().zip(&self.numbers.right);
        let filled = ones.filter_map(|(one, signature)| {
            let taken = taken[*signature].as_ref().unwrap_or(&none);
            self.filled(*signature, one, taken, fill, false)
        });
        filled.collect()
    }

    fn pair(&self, signature: usize, many: &'a Series, one: &'a Series) -> Pair<'a> {
        Pair {
            signature,
            labels: self.labels(&many.labels, &one.labels),
            many: Side::Series(many),
            one: Side::Series(one),
        }
    }

    fn labels(&self, many: &LabelSet, one: &LabelSet) -> LabelSet {
        result_labels(&self.by, self.link.op, self.drops_name, many, one)
    }

    /// The series with a fill value in the place of its partner, where that is not taken.
    fn filled(
        &self,
        signature: usize,
        series: &'a Series,
        taken: &Steps,
        fill: f64,
        is_many: bool,
    ) -> Option<Pair<'a>> {
        let fills: Vec<f64> = (0..self.grid.len)
            .map(|step| if series.has(step) && !taken.has(step) { fill } else { ABSENT })
            .collect();
        if fills.iter().all(|value| is_absent(*value)) {
            return None;
        }
        let partner = match_labels(&self.by, &series.labels);
        let (fills, series_side) = (Side::Fill(fills), Side::Series(series));
        Some(if is_many {
            let labels = self.labels(&series.labels, &partner);
            Pair { signature, labels, many: series_side, one: fills }
        } else {
            let labels = self.labels(&partner, &series.labels);
            Pair { signature, labels, many: fills, one: series_side }
        })
    }

    /// Two results of one signature may not meet: of one-to-one at all, else with equal labels.
    fn check_pairs(&self, pairs: &[(Pair<'_>, Computed)]) -> Result<(), EvalError> {
        let is_one_to_one = self.by.matching.cardinality == Cardinality::OneToOne;
        let mut same: HashMap<(usize, Option<&LabelSet>), Vec<_>> = HashMap::new();
        for of in pairs {
            let labels = if is_one_to_one { None } else { Some(&of.0.labels) };
            same.entry((of.0.signature, labels)).or_default().push(of);
        }
        let mut taken = vec![false; self.grid.len];
        for pairs in same.values().filter(|pairs| pairs.len() > 1) {
            taken.fill(false);
            let len = taken.len();
            for ((pair, computed), step) in
                pairs.iter().flat_map(|pair| (0..len).map(move |step| (pair, step)))
            {
                let is_there = pair.has(step) && !computed.failed.has(step);
                if is_there && std::mem::replace(&mut taken[step], true) {
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

    fn compute(
        &self,
        ctx: &Evaluator<'_>,
        pair: &Pair<'_>,
        notes: &mut StepNotes,
    ) -> Result<Computed, EvalError> {
        if super::trims(self.link.op) || pair.many.has_histograms() || pair.one.has_histograms() {
            ctx.budget.take_column(self.grid.len)?;
            return self.compute_mixed(ctx, pair, notes);
        }
        let values = pair.many.values().iter().zip(pair.one.values()).map(|(many, one)| {
            if is_absent(*many) || is_absent(*one) { ABSENT } else { self.float(*many, *one) }
        });
        let values = ctx.budget.column_of(values)?;
        Ok(Computed { values, histograms: None, failed: Failed::default() })
    }

    #[inline]
    fn float(&self, many: f64, one: f64) -> f64 {
        let (left, right) = if self.is_swapped { (one, many) } else { (many, one) };
        match compute(self.link.op, left, right) {
            Outcome::Value(value) => value,
            Outcome::Compared(holds) if self.link.return_bool => f64::from(u8::from(holds)),
            Outcome::Compared(true) => left,
            Outcome::Compared(false) => ABSENT,
        }
    }

    /// Step by step, as there may be histograms.
    fn compute_mixed(
        &self,
        ctx: &Evaluator<'_>,
        pair: &Pair<'_>,
        notes: &mut StepNotes,
    ) -> Result<Computed, EvalError> {
        let len = self.grid.len;
        let mut result = Series::floats(LabelSet::default(), false, vec![ABSENT; len]);
        let mut failed = Failed::default();
        for step in 0..len {
            let (many, one) = match (pair.many.operand(step), pair.one.operand(step)) {
                (Some(many), Some(one)) => (many, one),
                _ => continue,
            };
            ctx.budget.tick(1)?;
            if let (Operand::Float(many), Operand::Float(one)) = (many, one)
                && !super::trims(self.link.op)
            {
                result.values[step] = self.float(many, one);
                continue;
            }
            let (left, right) = if self.is_swapped { (one, many) } else { (many, one) };
            let (element, note) = elements::apply(self.link.op, left, right);
            note.into_iter().for_each(|note| notes.put(step, note));
            match (element, left) {
                (Element::Histogram(histogram), _) => {
                    ctx.budget.take_bytes(histogram.bytes())?;
                    result.put(step, Arc::new(histogram));
                }
                (Element::Compared(holds), _) if self.link.return_bool => {
                    result.values[step] = f64::from(u8::from(holds));
                }
                (Element::Compared(true), Operand::Histogram(left)) => {
                    result.put(step, Arc::clone(left));
                }
                (Element::Compared(_), _) => {}
                (Element::Failed, _) => failed.put(step, len),
            }
        }
        Ok(Computed { values: result.values, histograms: result.histograms, failed })
    }
}

impl Pair<'_> {
    fn has(&self, step: usize) -> bool {
        let has = |side: &Side<'_>| match side {
            Side::Series(series) => series.has(step),
            Side::Fill(values) => !is_absent(values[step]),
        };
        has(&self.many) && has(&self.one)
    }
}
