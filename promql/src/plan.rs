//! When the windows of a query's selectors end, and which moments they want: worked out before
//! anything is fetched, and the same way again when it is evaluated.
//!
//! # Invariants
//! - A range is left-open: of a window of 5m that ends at t, the sample at t - 5m is not wanted.
//!
//! Not here: which selections that makes (`plan/needs.rs`); evaluation (`eval`).

mod needs;

pub(crate) use needs::{Need, needs, united};
pub use needs::{Read, reads};

use crate::ast::{At, Call, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use crate::duration::{Allowed, Duration, QueryWindow};
use crate::eval::{EvalError, EvalParams, Grid};
use crate::functions::info;
use model::read::Wanted;

/// The times of a query that its selectors may refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    start_ms: i64,
    end_ms: i64,
    window: QueryWindow,
    lookback_ms: i64,
    subquery_step_ms: i64,
}

/// The moments that windows end at: one for each step, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The end at the first step.
    pub(crate) first_ms: i64,
    /// How far the end moves with each step; 0 if `@` holds it.
    pub(crate) step_ms: i64,
    /// The end at the last step.
    pub(crate) last_ms: i64,
}

impl Ends {
    /// The end at the step with this index.
    #[inline]
    pub(crate) fn at(self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.first_ms.saturating_add(self.step_ms.saturating_mul(index))
    }
}

impl Times {
    pub(crate) fn new(params: &EvalParams) -> Self {
        let range_ms = params.end_ms.saturating_sub(params.start_ms);
        Self {
            start_ms: params.start_ms,
            end_ms: params.end_ms,
            window: QueryWindow { step_ms: params.step_ms, range_ms },
            lookback_ms: params.lookback_ms,
            subquery_step_ms: params.subquery_step_ms,
        }
    }

    /// The query's step and range.
    pub(crate) fn window(&self) -> QueryWindow {
        self.window
    }

    /// The milliseconds of a duration.
    pub(crate) fn resolve(&self, duration: &Duration, allowed: Allowed) -> Result<i64, EvalError> {
        let resolved = duration.resolve(self.window, allowed);
        // Upstream counts bytes here, not lines and columns: the query has been parsed.
        resolved.map_err(|fault| EvalError::Invalid(fault.to_string()))
    }

    /// When the windows of a selector or subquery end.
    pub(crate) fn ends(
        &self,
        grid: Grid,
        at: Option<At>,
        offset: &Duration,
    ) -> Result<Ends, EvalError> {
        let offset_ms = self.resolve(offset, Allowed::Any)?;
        let fixed = at.map(|at| match at {
            At::Time(ms) => ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        Ok(match fixed {
            Some(ms) => {
                let ms = ms.saturating_sub(offset_ms);
                Ends { first_ms: ms, step_ms: 0, last_ms: ms }
            }
            None => Ends {
                first_ms: grid.start_ms.saturating_sub(offset_ms),
                step_ms: grid.step_ms,
                last_ms: grid.end_ms().saturating_sub(offset_ms),
            },
        })
    }

    /// The first and the last moment whose samples an instant selector wants.
    pub(crate) fn vector_range(
        &self,
        node: &VectorSelector,
        grid: Grid,
    ) -> Result<(Ends, i64, i64), EvalError> {
        let ends = self.ends(grid, node.at, &node.offset)?;
        let after = if node.edges == Edges::Smoothed { self.lookback_ms } else { 0 };
        Ok((ends, left_open(ends, self.lookback_ms), ends.last_ms.saturating_add(after)))
    }

    /// The first and the last moment whose samples a range selector wants, and its range.
    pub(crate) fn matrix_range(
        &self,
        node: &MatrixSelector,
        grid: Grid,
    ) -> Result<(Ends, i64, i64, i64), EvalError> {
        let ends = self.ends(grid, node.vector.at, &node.vector.offset)?;
        let range_ms = self.resolve(&node.range, Allowed::Positive)?;
        let (before, after) = match node.vector.edges {
            Edges::Plain => (0, 0),
            Edges::Anchored => (self.lookback_ms, 0),
            Edges::Smoothed => (self.lookback_ms, self.lookback_ms),
        };
        let first = left_open(ends, range_ms.saturating_add(before));
        Ok((ends, range_ms, first, ends.last_ms.saturating_add(after)))
    }

    /// The info series that a call of `info` wants, and when they are looked at: when its first
    /// argument's first selector is.
    pub(crate) fn info_need(&self, node: &Call, grid: Grid) -> Result<(Ends, Need), EvalError> {
        let held = match node.args.first() {
            Some(expr) => self.first_selector(expr)?,
            None => None,
        };
        let (at, offset_ms) = held.unwrap_or((None, 0));
        let ends = self.ends(grid, at, &Duration::Fixed(offset_ms))?;
        let first_ms = left_open(ends, self.lookback_ms);
        let matchers = info::matchers(node);
        let last_ms = ends.last_ms;
        let (in_shards, shows_hints, wanted) = (false, false, Wanted::ALL);
        let need = Need { matchers, first_ms, last_ms, shows_hints, in_shards, wanted };
        Ok((ends, need))
    }

    /// `@` and offset of the first selector in an expression; enclosing subqueries shift it until
    /// one is held.
    fn first_selector(&self, expr: &Expr) -> Result<Option<(Option<At>, i64)>, EvalError> {
        let first = |children: &mut dyn Iterator<Item = &Expr>| {
            for child in children {
                let found = self.first_selector(child)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        };
        match expr {
            Expr::Number(_) | Expr::String(_) => Ok(None),
            Expr::Vector(node) => self.held(node).map(Some),
            Expr::Matrix(node) => self.held(&node.vector).map(Some),
            Expr::Subquery(node) => match self.first_selector(&node.expr)? {
                Some((None, offset_ms)) => {
                    let own_ms = self.resolve(&node.offset, Allowed::Any)?;
                    Ok(Some((node.at, offset_ms.saturating_add(own_ms))))
                }
                found => Ok(found),
            },
            Expr::Call(node) => first(&mut node.args.iter()),
            Expr::Aggregation(node) => {
                first(&mut std::iter::once(&*node.expr).chain(node.param.as_deref()))
            }
            Expr::Binary(node) => {
                let operands = node.links.iter().map(|link| &link.rhs);
                first(&mut std::iter::once(&*node.first).chain(operands))
            }
            Expr::Unary(node) => self.first_selector(&node.expr),
            Expr::Paren(node) => self.first_selector(&node.expr),
        }
    }

    fn held(&self, node: &VectorSelector) -> Result<(Option<At>, i64), EvalError> {
        Ok((node.at, self.resolve(&node.offset, Allowed::Any)?))
    }

    /// The steps of a subquery, its windows' ends and its range; no steps if none lies in them.
    pub(crate) fn subquery_grid(
        &self,
        node: &Subquery,
        grid: Grid,
    ) -> Result<(Option<Grid>, Ends, i64), EvalError> {
        let range_ms = self.resolve(&node.range, Allowed::Positive)?;
        let step_ms = match &node.step {
            Some(step) => self.resolve(step, Allowed::Positive)?,
            None => self.subquery_step_ms,
        };
        let ends = self.ends(grid, node.at, &node.offset)?;
        let inner = Grid::subquery(ends.first_ms, ends.last_ms, range_ms, 0, step_ms)?;
        Ok((inner, ends, range_ms))
    }
}

fn left_open(ends: Ends, back_ms: i64) -> i64 {
    ends.first_ms.saturating_sub(back_ms).saturating_add(1)
}
