//! Selectors that return much are worked through in shards: parts of the series by their labels,
//! fetched, put through the function around the selector, and let go, on several threads. What is
//! left is a column a series, in the order it would have had at once, or what they were folded into.
//!
//! # Invariants
//! - A vector is the same as without shards, bit for bit. What an aggregation folds out of it comes as
//!   near as `aggregate/folding.rs` says.
//!
//! Not here: which selectors are worked through so (`plan/needs.rs`).

use super::aggregate::Folding;
use super::budget::Kept;
use super::error::EvalError;
use super::evaluator::{Evaluator, bare};
use super::grid::Grid;
use super::merge;
use super::params::{Cancel, EvalParams, Limits};
use super::value::{Series, Val, drop_reserved, samples_of};
use crate::annotations::Annotations;
use crate::ast::{Aggregation, Expr, VectorSelector};
use crate::plan::{Need, Times};
use model::QueryShard;
use model::read::{Estimate, Wanted};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How many samples a shard should have: some that a core's cache can hold. Moments that series share
/// are shared within a shard only.
const SAMPLES_WANTED: u64 = 200_000;
/// How many samples the labels of a series are worth.
const SERIES_WORTH: u64 = 16;
/// Each shard costs a walk over all series that match.
const SHARDS_MAX: u64 = 64;

/// Into how many shards a selection goes that is likely to return this; 1 is not worth a thread.
#[must_use]
pub fn count_for(estimate: Estimate, wanted: &Wanted, params: &EvalParams) -> u32 {
    let seen = wanted.steps.map_or(u64::MAX, |steps| steps.count());
    let samples = estimate.samples.min(estimate.series.saturating_mul(seen));
    let work = estimate.series.saturating_mul(SERIES_WORTH).saturating_add(samples);
    let workers = params.workers.max(1) as u64;
    // Half of what one shard may have pays for a thread each, and for standing behind those that need
    // but one; who has more than two waits less for the slowest.
    let count = match work {
        _ if work < SAMPLES_WANTED / 2 => 1,
        _ if work < SAMPLES_WANTED => workers,
        _ => (work / SAMPLES_WANTED).max(2 * workers).next_multiple_of(workers),
    };
    u32::try_from(count.min(SHARDS_MAX)).unwrap_or(1)
}

/// The selector of an expression that looks at one series at a time: a selector, or a function of
/// the samples in the windows of one.
pub(crate) fn leaf(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::Vector(node) => Some(node),
        Expr::Call(node) if node.function.name != "absent_over_time" => {
            let args = node.args.iter().map(bare);
            let is_other = |arg: &&Expr| !matches!(arg, Expr::Number(_) | Expr::Matrix(_));
            if args.clone().any(|arg| is_other(&arg)) {
                return None;
            }
            args.filter_map(|arg| match arg {
                Expr::Matrix(matrix) => Some(&matrix.vector),
                _ => None,
            })
            .next()
        }
        _ => None,
    }
}

/// From when to when a [`leaf`] looks at samples over the steps of `grid`.
pub(crate) fn leaf_range(expr: &Expr, grid: Grid, times: &Times) -> Option<(i64, i64)> {
    if let Expr::Vector(node) = expr {
        let (_, first_ms, last_ms) = times.vector_range(node, grid).ok()?;
        return Some((first_ms, last_ms));
    }
    let Expr::Call(node) = expr else { return None };
    let matrix = node.args.iter().map(bare).find_map(|arg| match arg {
        Expr::Matrix(matrix) => Some(matrix),
        _ => None,
    })?;
    let (_, _, first_ms, last_ms) = times.matrix_range(matrix, grid).ok()?;
    Some((first_ms, last_ms))
}

/// A selection that was not fetched yet, because it is worked through in shards.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) need: Need,
    pub(crate) count: u32,
}

/// What the shards gave: by shard, so that it comes out in an order that does not depend on threads.
struct Gathered<T> {
    done: Vec<(u32, T, Annotations)>,
    error: Option<(u32, EvalError)>,
}

/// Evaluates a [`leaf`] whose selection was deferred.
pub(crate) fn eval(
    ctx: &Evaluator<'_>,
    expr: &Expr,
    deferred: &Deferred,
    grid: Grid,
) -> Result<Val, EvalError> {
    let together = Together::new(ctx);
    let parts = each(ctx, deferred, &together, |part| {
        let vector = part.eval_vector(expr, grid)?;
        let bytes = vector.iter().map(Series::bytes).sum();
        let kept = together.keep(samples_of(&vector), bytes)?;
        Ok((vector, kept))
    })?;
    let mut vector = Vec::new();
    for ((part, kept), notes) in parts {
        vector.extend(part);
        ctx.budget.adopt(kept);
        ctx.note(|all| all.absorb(notes));
    }
    finish(ctx, vector, grid)
}

/// Folds the series of an aggregation's leaf whose selection was deferred: of each shard only its
/// groups are kept. `None` if it can not be folded so.
pub(crate) fn fold<'n>(
    ctx: &Evaluator<'_>,
    node: &'n Aggregation,
    deferred: &Deferred,
    grid: Grid,
) -> Result<Option<Folding<'n>>, EvalError> {
    let (together, is_spoiled, params) = (Together::new(ctx), AtomicBool::new(false), ctx.params);
    let parts = each(ctx, deferred, &together, |part| {
        let mut folding = Folding::new(params, node, grid);
        if is_spoiled.load(Ordering::Relaxed) || folding.is_spoiled_by(part, true) {
            is_spoiled.store(true, Ordering::Relaxed);
            return Ok((folding, None));
        }
        folding.add_leaf(part, grid)?;
        let kept = together.keep(folding.samples(), folding.bytes())?;
        Ok((folding, Some(kept)))
    })?;
    if is_spoiled.into_inner() {
        return Ok(None);
    }
    let mut all = Folding::new(params, node, grid);
    for ((folding, kept), notes) in parts {
        all.absorb(ctx, folding)?;
        ctx.note(|all| all.absorb(notes));
        drop(kept);
    }
    Ok(Some(all))
}

/// What is left of the shards that are done: all of it together has to fit.
struct Together<'a> {
    limits: Limits,
    cancel: &'a Cancel,
    samples: AtomicU64,
    bytes: AtomicU64,
}

impl<'a> Together<'a> {
    fn new(ctx: &Evaluator<'a>) -> Self {
        let (limits, cancel) = (ctx.budget.left(), ctx.budget.cancel());
        Self { limits, cancel, samples: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Takes the memory of what is left of a shard.
    fn keep(&self, samples: u64, bytes: u64) -> Result<Kept<'a>, EvalError> {
        let add = |to: &AtomicU64, own| to.fetch_add(own, Ordering::Relaxed).saturating_add(own);
        let samples = add(&self.samples, samples);
        if samples > self.limits.samples_max {
            return Err(EvalError::TooManySamples);
        }
        if let Some(meter) = self.cancel.meter() {
            meter.see_samples(samples);
        }
        if add(&self.bytes, bytes) > self.limits.bytes_max {
            return Err(EvalError::TooManyBytes(self.limits.bytes_max));
        }
        Kept::new(self.cancel, bytes)
    }

    /// What the next shard may use.
    fn left(&self) -> Limits {
        let bytes = self.bytes.load(Ordering::Relaxed);
        Limits { bytes_max: self.limits.bytes_max.saturating_sub(bytes), ..self.limits }
    }
}

/// Works out something of each shard, on several threads; what comes of all and what is to be said of
/// them, in their order.
fn each<T: Send>(
    ctx: &Evaluator<'_>,
    deferred: &Deferred,
    together: &Together<'_>,
    work_out: impl Fn(&Evaluator<'_>) -> Result<T, EvalError> + Sync,
) -> Result<Vec<(T, Annotations)>, EvalError> {
    // Names are dropped behind the shards: with their own labels series come back into order.
    let params = EvalParams { delayed_name_removal: true, ..ctx.params.clone() };
    let gathered = Mutex::new(Gathered { done: Vec::new(), error: None });
    let next = AtomicU32::new(0);
    let parts = ctx.parts();
    let work = || {
        let mut begun = Some(parts.begin());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= deferred.count {
                return;
            }
            let shard = QueryShard { index, count: deferred.count };
            let begun = begun.take().unwrap_or(Ok(()));
            let parts = parts.within(together.left());
            let done = begun.and_then(|()| parts.shard(&params, &deferred.need, shard, &work_out));
            let Ok(mut gathered) = gathered.lock() else { return };
            match done {
                Ok((part, notes)) => gathered.done.push((index, part, notes)),
                Err(error) => {
                    // The others end before they begin another one.
                    next.store(deferred.count, Ordering::Relaxed);
                    if gathered.error.as_ref().is_none_or(|(first, _)| index < *first) {
                        gathered.error = Some((index, error));
                    }
                }
            }
        }
    };
    let threads = ctx.params.workers.max(1).min(deferred.count as usize);
    // None of them is this one: they may be of less right to a processor.
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let gathered = gathered.into_inner();
    let broke_off = |_| EvalError::internal("a shard broke off");
    let Gathered { mut done, error } = gathered.map_err(broke_off)?;
    match error {
        // A shard has what the query and the others have left of it.
        Some((_, EvalError::TooManyBytes(_))) => {
            return Err(EvalError::TooManyBytes(ctx.params.limits.bytes_max));
        }
        Some((_, error)) => return Err(error),
        None => {}
    }
    done.sort_by_key(|(index, ..)| *index);
    Ok(done.into_iter().map(|(_, part, notes)| (part, notes)).collect())
}

/// All series in their order, as if there had been no shards.
fn finish(ctx: &Evaluator<'_>, mut vector: Vec<Series>, grid: Grid) -> Result<Val, EvalError> {
    // Each shard is in order, and a stable sort takes such runs as they are.
    vector.sort_by(|a, b| a.labels.cmp(&b.labels));
    for series in &vector {
        ctx.budget.take_column(grid.len)?;
        ctx.budget.fits(series.samples())?;
    }
    // Who keep their names are as different as they were fetched; nobody looks at what is not.
    if !ctx.params.delayed_name_removal && vector.iter().any(|series| series.drop_name) {
        let drops = vector.iter_mut().filter(|series| series.drop_name);
        drops.for_each(|series| drop_reserved(&mut series.labels));
        if merge::has_same_labels(&vector) {
            return Err(EvalError::same_labels());
        }
    }
    Ok(Val::Vector(vector))
}
