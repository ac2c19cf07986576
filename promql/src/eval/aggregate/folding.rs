//! Groups into which one series after the other is folded.
//!
//! The series of a leaf (a selector, or a function of the windows of one) are folded as they come: no
//! more than one of them is in memory. A leaf whose selection is worked through in shards is folded
//! shard by shard, on several threads, and what came of the shards is put together in their order.
//!
//! # Invariants
//! - Groups are in the order of their first series, however many shards there were; those that count
//!   series, which may come without their labels, in the order of their own labels.
//! - Without shards each digit is what it would be had the vector been kept. With them the last digit
//!   of a sum or a mean of fractions may be another (`docs/adr/0009`), the same each time for the same
//!   number of shards.
//! - What cannot be folded so is seen before a series is worked out, and then the vector is kept: series that may become the same when they lose their names; histograms in sums and means of
//!   several shards.

use super::fold::Column;
use super::group::{Grouper, NameDrop};
use super::histograms;
use super::note_ignored;
use crate::ast::{AggregateOp, Aggregation, Expr};
use crate::eval::call;
use crate::eval::error::EvalError;
use crate::eval::evaluator::{Evaluator, bare};
use crate::eval::grid::Grid;
use crate::eval::params::EvalParams;
use crate::eval::selector;
use crate::eval::shards;
use crate::eval::value::{ABSENT, Series, is_reserved};
use crate::span::Span;
use model::{LabelSet, METRIC_NAME, MatchOp};

/// Groups of an aggregation while series are folded into them.
#[derive(Debug)]
pub(crate) struct Folding<'a> {
    node: &'a Aggregation,
    span: Span,
    len: usize,
    grouper: Grouper<'a>,
    groups: Vec<Group>,
    /// Samples of the series so far.
    samples: u64,
    /// Names are to be lost, but were not yet.
    loses_names: bool,
    /// Whether its groups came from several foldings.
    is_joined: bool,
}

/// One of them.
#[derive(Debug)]
struct Group {
    /// The labels of its first series.
    first: LabelSet,
    drops: NameDrop,
    column: Column,
    histograms: Option<histograms::Histograms>,
}

/// Folds the series of a vector.
pub(super) fn folded(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    vector: &[Series],
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let mut folding = Folding::new(ctx.params, node, grid);
    vector.iter().try_for_each(|series| folding.add(ctx, series))?;
    folding.finish(ctx)
}

/// Folds the series of a [leaf](shards::leaf) as they come. `None` if they have to be kept.
pub(super) fn as_they_come(
    ctx: &Evaluator<'_>,
    node: &Aggregation,
    grid: Grid,
) -> Result<Option<Vec<Series>>, EvalError> {
    let inner = bare(&node.expr);
    // What the query has several times is worked out once, as a whole.
    if !can_fold(ctx, node, grid) || ctx.is_repeated(inner) {
        return Ok(None);
    }
    let folding = match ctx.deferred_of(inner, grid) {
        Some(deferred) => shards::fold(ctx, node, deferred, grid)?,
        None => {
            let mut folding = Folding::new(ctx.params, node, grid);
            if folding.is_spoiled_by(ctx, false) {
                return Ok(None);
            }
            folding.add_leaf(ctx, grid)?;
            Some(folding)
        }
    };
    let Some(folding) = folding else { return Ok(None) };
    // What came in and what goes out has to fit together.
    ctx.budget.take_samples(folding.samples)?;
    folding.finish(ctx).map(Some)
}

/// Whether it takes one series' column after the other, and those of a leaf whose series stay apart.
fn can_fold(ctx: &Evaluator<'_>, node: &Aggregation, grid: Grid) -> bool {
    let folds = match node.op {
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Count
        | AggregateOp::Group => true,
        AggregateOp::Stddev | AggregateOp::Stdvar => {
            ctx.deferred_of(bare(&node.expr), grid).is_none()
        }
        _ => false,
    };
    let Some(leaf) = shards::leaf(bare(&node.expr)).filter(|_| folds) else { return false };
    if !loses_names(ctx.params, node) {
        return true;
    }
    let is_one_metric = |matcher: &model::Matcher| {
        matcher.op == MatchOp::Equal && &*matcher.name == METRIC_NAME && !matcher.value.is_empty()
    };
    // By a name that is lost they would be told apart.
    let by_lost = !node.without && node.grouping.iter().any(|name| is_reserved(name));
    leaf.matchers.iter().any(is_one_metric) && !by_lost
}

/// Whether its series lose their names before they are put into groups.
fn loses_names(params: &EvalParams, node: &Aggregation) -> bool {
    let drops = matches!(bare(&node.expr), Expr::Call(call) if call::drops_name(call));
    drops && !params.delayed_name_removal
}

impl<'a> Folding<'a> {
    /// No group yet.
    pub(crate) fn new(params: &EvalParams, node: &'a Aggregation, grid: Grid) -> Self {
        Self {
            node,
            span: bare(&node.expr).span(),
            len: grid.len,
            grouper: Grouper::new(&node.grouping, node.without),
            groups: Vec::new(),
            samples: 0,
            loses_names: loses_names(params, node),
            is_joined: false,
        }
    }

    /// Whether it can not be folded as it comes because of what was fetched, all of it or a shard.
    pub(crate) fn is_spoiled_by(&self, ctx: &Evaluator<'_>, is_shard: bool) -> bool {
        let sums = matches!(self.node.op, AggregateOp::Sum | AggregateOp::Avg);
        ctx.fetched_any(|series| {
            (is_shard && sums && !series.histograms.is_empty())
                || (self.loses_names && series.labels.iter().any(|(name, _)| is_kind(name)))
        })
    }

    /// How many samples the series had.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Adds the series of the aggregation's leaf, none of which is kept.
    pub(crate) fn add_leaf(&mut self, ctx: &Evaluator<'_>, grid: Grid) -> Result<(), EvalError> {
        ctx.budget.check()?;
        let inner = bare(&self.node.expr);
        let add = &mut |series: Series| {
            self.samples = self.samples.saturating_add(series.samples());
            ctx.budget.fits(self.samples)?;
            self.add(ctx, &series)?;
            Ok(series.values)
        };
        match inner {
            Expr::Vector(node) => selector::each_instant(ctx, node, grid, add),
            Expr::Call(node) => call::each(ctx, node, grid, add),
            _ => Err(EvalError::internal("this is no leaf")),
        }
    }

    fn add(&mut self, ctx: &Evaluator<'_>, series: &Series) -> Result<(), EvalError> {
        ctx.budget.tick(self.len)?;
        let place = self.grouper.place(&series.labels);
        if place == self.groups.len() {
            let column = Column::new(self.node.op, self.len)?;
            ctx.budget.take_bytes(column.bytes())?;
            let first = series.labels.clone();
            self.groups.push(Group { first, drops: NameDrop::default(), column, histograms: None });
        }
        let group = &mut self.groups[place];
        let before = group.column.bytes();
        group.add(ctx, self.node, series, self.span)?;
        ctx.budget.take_bytes(group.column.bytes() - before)
    }

    /// The memory that its columns take.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups.iter().map(|group| group.column.bytes()).sum()
    }

    /// Adds what was folded of other series.
    pub(crate) fn absorb(&mut self, ctx: &Evaluator<'_>, other: Self) -> Result<(), EvalError> {
        self.samples = self.samples.saturating_add(other.samples);
        self.is_joined = true;
        for (labels, group) in other.grouper.labels.iter().zip(other.groups) {
            ctx.budget.tick(self.len)?;
            let place = self.grouper.place(labels);
            let Some(into) = self.groups.get_mut(place) else {
                ctx.budget.take_bytes(group.column.bytes())?;
                self.groups.push(group);
                continue;
            };
            let before = into.column.bytes();
            into.drops.absorb(group.drops);
            into.column.absorb(group.column);
            ctx.budget.take_bytes(into.column.bytes() - before)?;
            if group.first < into.first {
                into.first = group.first;
            }
        }
        Ok(())
    }

    /// The groups in which there is something.
    fn finish(self, ctx: &Evaluator<'_>) -> Result<Vec<Series>, EvalError> {
        let mut result = Vec::with_capacity(self.groups.len());
        for (labels, group) in self.grouper.labels.into_iter().zip(self.groups) {
            let values = group.column.finish(self.len);
            let mut series = Series::floats(labels, group.drops.is_due(), values);
            if let Some(histograms) = group.histograms {
                let points = histograms.finish(ctx, self.span, &mut series.values)?;
                series.histograms = Some(points);
            }
            if series.is_present() {
                result.push((group.first, series));
            }
        }
        if matches!(self.node.op, AggregateOp::Count | AggregateOp::Group) {
            result.sort_by(|(_, a), (_, b)| a.labels.cmp(&b.labels));
        } else if self.is_joined {
            result.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        Ok(result.into_iter().map(|(_, series)| series).collect())
    }
}

/// Whether a label goes with the metric's name and is not it.
fn is_kind(name: &str) -> bool {
    is_reserved(name) && name != METRIC_NAME
}

impl Group {
    fn add(
        &mut self,
        ctx: &Evaluator<'_>,
        node: &Aggregation,
        series: &Series,
        span: Span,
    ) -> Result<(), EvalError> {
        self.drops.add(node.op, series);
        let fold = match node.op {
            AggregateOp::Sum => histograms::Fold::Sum,
            AggregateOp::Avg => histograms::Fold::Avg,
            _ => {
                self.column.add(&series.values);
                let mut is_counted = true;
                for (step, _) in series.histogram_steps() {
                    is_counted &= self.column.count(step);
                }
                if !is_counted {
                    note_ignored(ctx, node, std::slice::from_ref(series), span);
                }
                return Ok(());
            }
        };
        match &self.histograms {
            // Floats count no more where histograms have failed to come together.
            Some(histograms) => {
                let mut floats = series.values.clone();
                let steps = (0..floats.len()).filter(|step| histograms.is_incompatible(*step));
                steps.for_each(|step| floats[step] = ABSENT);
                self.column.add(&floats);
            }
            None => self.column.add(&series.values),
        }
        if series.has_histogram() {
            let len = series.values.len();
            let new = || histograms::Histograms::new(fold, len);
            let column = &self.column;
            let histograms = self.histograms.get_or_insert_with(new);
            histograms.add(ctx, series, span, |step| column.has(step))?;
        }
        Ok(())
    }
}
