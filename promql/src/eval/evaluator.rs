//! The walk over the tree: each node to its column over the steps of a grid.

use super::budget::Budget;
use super::error::EvalError;
use super::grid::Grid;
use super::params::{Cancel, EvalParams, Limits, Query};
use super::repeats::Repeats;
use super::shards::{self, Deferred};
use super::value::{Scalar, Series, Val, drop_reserved};
use super::window::moments::SharedSlots;
use super::{aggregate, binary, call, selector, stored};
use crate::annotations::Annotations;
use crate::ast::{BinaryChain, Expr, Sign, Unary};
use crate::plan::{Need, Times, needs, united};
use crate::source::SeriesSource;
use model::{Matcher, QueryShard, SeriesColumns};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// What selectors are to fetch of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BucketsWanted {
    /// All of them.
    #[default]
    Some,
    /// Count and sum: nothing around looks at a bucket.
    None,
    /// All of them, whatever is inside of this.
    All,
}

/// One evaluation: what it was asked, what it fetched, what it has noticed.
pub(crate) struct Evaluator<'a> {
    /// How it was asked.
    pub(crate) params: &'a EvalParams,
    /// The times selectors refer to.
    pub(crate) times: Times,
    /// Memory and the stop signal.
    pub(crate) budget: Budget<'a>,
    notes: RefCell<Annotations>,
    buckets: Cell<BucketsWanted>,
    fetched: Fetched,
    /// What stands in the query more than once.
    repeats: Repeats,
    /// How often something was noted down.
    noted: Cell<u64>,
    /// What is fetched when its selector is evaluated, by matchers.
    deferred: HashMap<Vec<Matcher>, Vec<Deferred>>,
    source: &'a dyn SeriesSource,
    /// Of a shard: what all shards have found of the windows over the one selector in it.
    slots: Option<Arc<SharedSlots>>,
}

/// What was fetched, by matchers; of one matchers' list ascending in time and disjoint.
type Fetched = HashMap<Vec<Matcher>, Vec<(Need, Vec<SeriesColumns>)>>;

impl<'a> Evaluator<'a> {
    /// Fetches what the query needs over the steps of `grid`.
    pub(crate) fn new(
        source: &'a dyn SeriesSource,
        query: Query<'a>,
        params: &'a EvalParams,
        cancel: &'a Cancel,
        grid: Grid,
    ) -> Result<Self, EvalError> {
        let times = Times::new(params);
        let bounds = params.limits.select_bounds();
        let mut deferred: HashMap<_, Vec<Deferred>> = HashMap::new();
        let mut at_once = Vec::new();
        for need in needs(query.expr, grid, &times)? {
            cancel.check()?;
            let whole = need.selection(QueryShard::ALL, bounds);
            if need.in_shards {
                let count = shards::count_for(source.estimate(&whole)?, &need.wanted, params);
                if count > 1 {
                    let of_matchers = deferred.entry(need.matchers.clone()).or_default();
                    of_matchers.push(Deferred { need, count });
                    continue;
                }
            }
            at_once.push(Need { in_shards: false, ..need });
        }
        let mut fetched = Fetched::new();
        for need in united(at_once) {
            cancel.check()?;
            let series = stored::fetch(source, &need, QueryShard::ALL, params)?;
            fetched.entry(need.matchers.clone()).or_default().push((need, series));
        }
        let budget = Budget::new(params.limits, cancel);
        let (notes, buckets) = (RefCell::default(), Cell::default());
        let (repeats, noted) = (Repeats::of(query.text, query.expr), Cell::default());
        Ok(Self {
            params,
            times,
            budget,
            notes,
            buckets,
            fetched,
            repeats,
            noted,
            deferred,
            source,
            slots: None,
        })
    }

    /// What the shards of one leaf of this evaluation need, on whatever thread they are worked through.
    pub(crate) fn parts(&self) -> ShardParts<'a> {
        let (limits, buckets) = (self.budget.left(), self.buckets.get());
        let (times, cancel) = (self.times, self.budget.cancel());
        ShardParts { source: self.source, times, limits, cancel, buckets, slots: Arc::default() }
    }

    /// What other shards have found of the windows.
    pub(crate) fn slots_of_shards(&self) -> Option<Arc<SharedSlots>> {
        self.slots.clone()
    }

    /// Notes something down for the asker.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Annotations)) {
        self.noted.set(self.noted.get() + 1);
        note(&mut self.notes.borrow_mut());
    }

    /// What selectors are to fetch of histograms here.
    pub(crate) fn buckets_wanted(&self) -> BucketsWanted {
        self.buckets.get()
    }

    /// Works something out whose selectors are to fetch this of histograms. Who wants all buckets
    /// wants them of everything inside.
    pub(crate) fn wanting<T>(&self, wanted: BucketsWanted, f: impl FnOnce() -> T) -> T {
        let before = self.buckets.get();
        let now = if before == BucketsWanted::All { before } else { wanted };
        self.buckets.set(now);
        let result = f();
        self.buckets.set(before);
        result
    }

    /// Whether the query has an expression more than once.
    pub(crate) fn is_repeated(&self, expr: &Expr) -> bool {
        self.repeats.has(expr)
    }

    /// What was noted down.
    pub(crate) fn into_notes(self) -> Annotations {
        self.notes.into_inner()
    }

    /// The fetched series of a selector that wants samples from `first_ms` to `last_ms`.
    pub(crate) fn series(
        &self,
        matchers: &[Matcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<&[SeriesColumns], EvalError> {
        if last_ms < first_ms {
            return Ok(&[]);
        }
        let missing = || EvalError::internal("a selector was not planned for");
        let parts = self.fetched.get(matchers).ok_or_else(missing)?;
        let at = parts.partition_point(|(need, _)| need.first_ms <= first_ms);
        match at.checked_sub(1).and_then(|at| parts.get(at)) {
            Some((need, series)) if last_ms <= need.last_ms => Ok(series),
            _ => Err(missing()),
        }
    }

    /// Whether something is so of a series that was fetched.
    pub(crate) fn fetched_any(&self, is_so: impl Fn(&SeriesColumns) -> bool) -> bool {
        self.fetched.values().flatten().any(|(_, series)| series.iter().any(&is_so))
    }

    /// Evaluates a node at each step. What the query has several times is evaluated once.
    pub(crate) fn eval(&self, expr: &Expr, grid: Grid) -> Result<Val, EvalError> {
        self.budget.check()?;
        if !self.repeats.has(expr) {
            return self.eval_anew(expr, grid);
        }
        let (before, buckets) = (self.budget.mark(), self.buckets_wanted());
        let (kept, let_go) = self.repeats.take(expr, grid, buckets);
        self.budget.let_go(let_go);
        if let Some(val) = kept {
            self.budget.settle(before, &val)?;
            return Ok(val);
        }
        let noted = self.noted.get();
        let val = self.eval_anew(expr, grid)?;
        let bytes = val.bytes();
        if self.noted.get() == noted && self.repeats.keep(expr, (grid, buckets), &val, bytes) {
            self.budget.hold(bytes)?;
        }
        Ok(val)
    }

    /// Evaluates a node at each step. What is the same at all steps is evaluated once.
    fn eval_anew(&self, expr: &Expr, grid: Grid) -> Result<Val, EvalError> {
        let before = self.budget.mark();
        let once = !grid.is_instant && !is_leaf(expr) && is_invariant(expr);
        let val = if once {
            let mut val = self.eval_node(expr, grid.first())?;
            self.spread(&mut val, grid.len)?;
            val
        } else {
            self.eval_node(expr, grid)?
        };
        self.budget.settle(before, &val)?;
        Ok(val)
    }

    /// Evaluates a node that is an instant vector by its type.
    pub(crate) fn eval_vector(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        match self.eval(expr, grid)? {
            Val::Vector(vector) => Ok(vector),
            _ => Err(EvalError::internal("an instant vector was expected")),
        }
    }

    /// Evaluates a node that is a scalar by its type.
    pub(crate) fn eval_scalar(&self, expr: &Expr, grid: Grid) -> Result<Scalar, EvalError> {
        match self.eval(expr, grid)? {
            Val::Scalar(scalar) => Ok(scalar),
            _ => Err(EvalError::internal("a scalar was expected")),
        }
    }

    fn eval_node(&self, expr: &Expr, grid: Grid) -> Result<Val, EvalError> {
        if let Some(deferred) = self.deferred_of(expr, grid) {
            return shards::eval(self, expr, deferred, grid);
        }
        match expr {
            Expr::Number(node) => Ok(Val::Scalar(Scalar::Same(node.value))),
            Expr::String(node) => Ok(Val::Text(node.text().into_owned())),
            Expr::Vector(node) => selector::instant(self, node, grid),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(EvalError::internal("a range vector has no value at a step"))
            }
            Expr::Call(node) => call::call(self, node, grid),
            Expr::Aggregation(node) => aggregate::aggregate(self, node, grid),
            Expr::Binary(node) => self.chain(node, grid),
            Expr::Unary(node) => self.unary(node, grid),
            Expr::Paren(node) => self.eval(&node.expr, grid),
        }
    }

    /// The selection of a [leaf](shards::leaf), if it was deferred.
    pub(crate) fn deferred_of(&self, expr: &Expr, grid: Grid) -> Option<&Deferred> {
        if self.deferred.is_empty() {
            return None;
        }
        let of_matchers = self.deferred.get(&shards::leaf(expr)?.matchers)?;
        let (first_ms, last_ms) = shards::leaf_range(expr, grid, &self.times)?;
        // One of a longer range may look at less of its series.
        let is_of = |need: &Need| (need.first_ms, need.last_ms) == (first_ms, last_ms);
        of_matchers.iter().find(|deferred| is_of(&deferred.need))
    }

    fn chain(&self, node: &BinaryChain, grid: Grid) -> Result<Val, EvalError> {
        let before = self.budget.mark();
        // Who trims histograms wants their buckets, of everything on its left.
        let last_trim = node.links.iter().rposition(|link| binary::trims(link.op));
        let wanted = |index: usize| match last_trim {
            Some(last) if index <= last => BucketsWanted::All,
            _ => self.buckets_wanted(),
        };
        let mut left = self.wanting(wanted(0), || self.eval(&node.first, grid))?;
        for (index, link) in node.links.iter().enumerate() {
            let right = self.wanting(wanted(index), || self.eval(&link.rhs, grid))?;
            left = binary::apply(self, link, left, right, grid)?;
            self.budget.settle(before, &left)?;
        }
        Ok(left)
    }

    fn unary(&self, node: &Unary, grid: Grid) -> Result<Val, EvalError> {
        let val = self.eval(&node.expr, grid)?;
        if node.sign == Sign::Plus {
            return Ok(val);
        }
        match val {
            Val::Scalar(Scalar::Same(value)) => Ok(Val::Scalar(Scalar::Same(-value))),
            Val::Scalar(Scalar::Steps(mut values)) => {
                values.iter_mut().for_each(|value| *value = -*value);
                Ok(Val::Scalar(Scalar::Steps(values)))
            }
            Val::Vector(mut vector) => {
                for series in &mut vector {
                    self.drop_name(series);
                    super::column::map(&self.budget, &mut series.values, |_, value| -value)?;
                    series.map_histograms(|histogram| histogram.scale(-1.0));
                }
                // Unlike what is worked out step by step.
                if !self.params.delayed_name_removal {
                    vector = super::merge::same_labels_by_kind(vector)?;
                }
                Ok(Val::Vector(vector))
            }
            Val::Text(_) => Err(EvalError::internal("a string has no sign")),
        }
    }

    /// The metric name goes: now, or at the end of the evaluation if names are dropped late.
    pub(crate) fn drop_name(&self, series: &mut Series) {
        series.drop_name = true;
        if !self.params.delayed_name_removal {
            drop_reserved(&mut series.labels);
        }
    }

    /// After names were dropped: series that have become the same are joined, if they are not
    /// there at the same time. Names that are dropped late make nothing the same yet.
    pub(crate) fn merge_dropped(&self, vector: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        if self.params.delayed_name_removal {
            return Ok(vector);
        }
        super::merge::same_labels(vector)
    }

    /// A value of one step becomes the value of `len` steps.
    fn spread(&self, val: &mut Val, len: usize) -> Result<(), EvalError> {
        match val {
            Val::Vector(vector) => {
                for series in vector {
                    series.values = self.budget.column(series.values[0], len)?;
                    if let Some(points) = &mut series.histograms {
                        *points = vec![points[0].clone(); len];
                    }
                }
            }
            Val::Scalar(Scalar::Steps(values)) => {
                let value = values[0];
                *val = Val::Scalar(Scalar::Same(value));
            }
            Val::Scalar(Scalar::Same(_)) | Val::Text(_) => {}
        }
        Ok(())
    }
}

/// See [`Evaluator::parts`].
#[derive(Clone)]
pub(crate) struct ShardParts<'a> {
    source: &'a dyn SeriesSource,
    times: Times,
    limits: Limits,
    cancel: &'a Cancel,
    buckets: BucketsWanted,
    slots: Arc<SharedSlots>,
}

impl<'a> ShardParts<'a> {
    /// The same within these limits.
    pub(crate) fn within(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// Tells the source that this thread begins to work through shards.
    pub(crate) fn begin(&self) -> Result<(), EvalError> {
        Ok(self.source.begin_shards()?)
    }

    /// Fetches a part of the series and works something out of it.
    pub(crate) fn shard<T>(
        &self,
        params: &'a EvalParams,
        need: &Need,
        shard: QueryShard,
        work_out: impl Fn(&Evaluator<'_>) -> Result<T, EvalError>,
    ) -> Result<(T, Annotations), EvalError> {
        self.cancel.check()?;
        let series = stored::fetch(self.source, need, shard, params)?;
        let part = Evaluator {
            params,
            times: self.times,
            budget: Budget::new(self.limits, self.cancel),
            notes: RefCell::default(),
            buckets: Cell::new(self.buckets),
            fetched: [(need.matchers.clone(), vec![(need.clone(), series)])].into(),
            repeats: Repeats::default(),
            noted: Cell::default(),
            deferred: HashMap::new(),
            source: self.source,
            slots: Some(Arc::clone(&self.slots)),
        };
        let done = work_out(&part)?;
        Ok((done, part.into_notes()))
    }
}

/// Without the parentheses around it.
pub(crate) fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(node) = expr {
        expr = &node.expr;
    }
    expr
}

fn is_leaf(expr: &Expr) -> bool {
    matches!(expr, Expr::Number(_) | Expr::String(_))
}

/// Whether the value is the same at all steps: each selector in it is held by `@`, and no function
/// in it looks at the evaluation time.
fn is_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(node) => node.at.is_some(),
        Expr::Matrix(node) => node.vector.at.is_some(),
        Expr::Subquery(node) => node.at.is_some(),
        Expr::Call(node) => {
            let of_selector = node.function.name == "timestamp"
                && matches!(node.args.first().map(bare), Some(Expr::Vector(_)));
            let depends = LOOKS_AT_TIME.contains(&node.function.name) && !of_selector;
            !depends && node.args.iter().all(is_invariant)
        }
        // Upstream does not look at the parameter: it is taken from the first step then.
        Expr::Aggregation(node) => is_invariant(&node.expr),
        Expr::Binary(node) => {
            is_invariant(&node.first) && node.links.iter().all(|link| is_invariant(&link.rhs))
        }
        Expr::Unary(node) => is_invariant(&node.expr),
        Expr::Paren(node) => is_invariant(&node.expr),
    }
}

/// Functions whose value depends on the evaluation time, whatever their arguments.
const LOOKS_AT_TIME: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];
