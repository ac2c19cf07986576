//! Which series a query wants, and from when to when: worked out before anything is fetched, so
//! that each selection is asked for once, however often and with whatever offsets it is written.
//!
//! # Invariants
//! - A range is left-open: of a window of 5m that ends at t, the sample at t - 5m is not wanted.
//! - Selections of equal matchers whose ranges touch are one selection.
//!
//! Not here: evaluation (`eval`), which works the same windows out again and looks them up.

use crate::ast::{At, Call, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use crate::duration::{Allowed, Duration, QueryWindow};
use crate::eval::{EvalError, EvalParams, Grid, Query, shards};
use crate::functions::info;
use model::read::{SelectBounds, Selection};
use model::{Matcher, QueryShard, TimeRange, TimestampMs};
use std::collections::HashMap;

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
        let need = Need { matchers, first_ms, last_ms, shows_hints: false, in_shards: false };
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

/// A selection that a query needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Which series.
    pub(crate) matchers: Vec<Matcher>,
    /// The first moment.
    pub(crate) first_ms: i64,
    /// The last moment.
    pub(crate) last_ms: i64,
    /// Whether the reset hints of its histograms can be seen in the answer.
    pub(crate) shows_hints: bool,
    /// Whether it is of one selector only, and that stands where one series after the other can be
    /// worked through.
    pub(crate) in_shards: bool,
}

impl Need {
    /// The need for what was there just before.
    pub(crate) fn before(&self, back_ms: i64) -> Option<Self> {
        let last_ms = self.first_ms.checked_sub(1)?;
        let first_ms = self.first_ms.checked_sub(back_ms)?;
        (first_ms <= last_ms).then(|| Self { first_ms, last_ms, ..self.clone() })
    }

    /// The question to the source.
    pub(crate) fn selection(&self, shard: QueryShard, bounds: SelectBounds) -> Selection {
        let (first, last) = (TimestampMs(self.first_ms), TimestampMs(self.last_ms));
        let range = TimeRange::inclusive(first, last);
        Selection { matchers: self.matchers.clone(), range, days: None, shard, bounds }
    }
}

/// A selection that an evaluation asks its source for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which series: all of them have to match.
    pub matchers: Vec<Matcher>,
    /// Samples of which times: windows, offsets, `@`, subqueries and the lookback are in it.
    pub range: TimeRange,
    /// Whether the reset hints of its histograms can be seen in the answer. Then the evaluation may
    /// ask too for what was there a lookback earlier.
    pub shows_hints: bool,
    /// Whether it is worked through in parts if it is large.
    pub in_shards: bool,
}

/// Every selection that an evaluation of the query asks its source for: beside the query and its
/// parameters, its answer depends on nothing else.
///
/// # Errors
/// [`EvalError::Invalid`] if a duration makes no sense or the end lies before the start.
pub fn reads(query: Query<'_>, params: &EvalParams) -> Result<Vec<Read>, EvalError> {
    let end_ms = if params.is_instant() { params.start_ms } else { params.end_ms };
    let Some(grid) = Grid::new(params.start_ms, end_ms, params.step_ms) else {
        return Err(EvalError::Invalid("end timestamp must not be before start time".into()));
    };
    let needs = needs(query.expr, grid, &Times::new(params))?;
    let read = |need: Need| Read {
        range: TimeRange::inclusive(TimestampMs(need.first_ms), TimestampMs(need.last_ms)),
        matchers: need.matchers,
        shows_hints: need.shows_hints,
        in_shards: need.in_shards,
    };
    Ok(needs.into_iter().map(read).collect())
}

/// Every selection that the expression needs over the steps of `grid`.
pub(crate) fn needs(expr: &Expr, grid: Grid, times: &Times) -> Result<Vec<Need>, EvalError> {
    let mut found = Vec::new();
    collect(expr, grid, times, true, &mut found)?;
    Ok(united(found))
}

/// Functions in whose results, or in what is said about them, the hints of stored histograms can be
/// seen. All others answer floats or gauges, whatever the hints.
const SHOW_HINTS: &[&str] = &[
    "avg_over_time",
    "first_over_time",
    "histogram_avg",
    "histogram_count",
    "histogram_sum",
    "label_join",
    "label_replace",
    "last_over_time",
    "sort_by_label",
    "sort_by_label_desc",
    "sum_over_time",
];

fn collect(
    expr: &Expr,
    grid: Grid,
    times: &Times,
    shows_hints: bool,
    found: &mut Vec<Need>,
) -> Result<(), EvalError> {
    let in_shards = shards::leaf(expr).is_some();
    let mut need = |node: &VectorSelector, first_ms: i64, last_ms: i64| {
        let matchers = node.matchers.clone();
        found.push(Need { matchers, first_ms, last_ms, shows_hints, in_shards });
    };
    match expr {
        Expr::Number(_) | Expr::String(_) => Ok(()),
        Expr::Vector(node) => {
            let (_, first_ms, last_ms) = times.vector_range(node, grid)?;
            need(node, first_ms, last_ms);
            Ok(())
        }
        Expr::Matrix(node) => {
            let (_, _, first_ms, last_ms) = times.matrix_range(node, grid)?;
            need(&node.vector, first_ms, last_ms);
            Ok(())
        }
        Expr::Subquery(node) => match times.subquery_grid(node, grid)?.0 {
            // A subquery forgets the hints of what it has taken.
            Some(inner) => collect(&node.expr, inner, times, false, found),
            None => Ok(()),
        },
        Expr::Call(node) if node.function.name == "info" => {
            // The second argument only says which labels are wanted: it is no selector.
            let mut base = node.args.iter().take(1);
            base.try_for_each(|arg| collect(arg, grid, times, shows_hints, found))?;
            found.push(times.info_need(node, grid)?.1);
            Ok(())
        }
        Expr::Call(node) => {
            let shows_hints = shows_hints && SHOW_HINTS.contains(&node.function.name);
            let before = found.len();
            let mut args = node.args.iter();
            args.try_for_each(|arg| collect(arg, grid, times, shows_hints, found))?;
            let looks_inside = ["timestamp", "start_timestamp"].contains(&node.function.name);
            if in_shards || looks_inside {
                found[before..].iter_mut().for_each(|need| need.in_shards = in_shards);
            }
            Ok(())
        }
        Expr::Aggregation(node) => {
            let param = node.param.as_deref();
            param.map_or(Ok(()), |param| collect(param, grid, times, false, found))?;
            collect(&node.expr, grid, times, shows_hints, found)
        }
        Expr::Binary(node) => {
            collect(&node.first, grid, times, shows_hints, found)?;
            let mut others = node.links.iter().map(|link| &link.rhs);
            others.try_for_each(|rhs| collect(rhs, grid, times, shows_hints, found))
        }
        Expr::Unary(node) => collect(&node.expr, grid, times, shows_hints, found),
        Expr::Paren(node) => collect(&node.expr, grid, times, shows_hints, found),
    }
}

/// Joins needs of equal matchers whose ranges touch; those that are left ascend in time.
fn united(found: Vec<Need>) -> Vec<Need> {
    let mut places: HashMap<Vec<Matcher>, usize> = HashMap::new();
    let mut groups: Vec<Vec<Need>> = Vec::new();
    for need in found.into_iter().filter(|need| need.first_ms <= need.last_ms) {
        let place = *places.entry(need.matchers.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(need);
    }
    let mut united: Vec<Need> = Vec::new();
    for mut group in groups {
        group.sort_by_key(|need| need.first_ms);
        let start = united.len();
        for need in group {
            match united[start..].last_mut() {
                // Who stand side by side and want the same are each worked through in shards.
                Some(last) if (last.first_ms, last.last_ms) == (need.first_ms, need.last_ms) => {
                    last.shows_hints |= need.shows_hints;
                    last.in_shards &= need.in_shards;
                }
                Some(last) if need.first_ms <= last.last_ms.saturating_add(1) => {
                    last.last_ms = last.last_ms.max(need.last_ms);
                    last.shows_hints |= need.shows_hints;
                    last.in_shards = false;
                }
                _ => united.push(need),
            }
        }
        let is_one = united.len() == start + 1;
        united[start..].iter_mut().for_each(|need| need.in_shards &= is_one);
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(name: &str, first_ms: i64, last_ms: i64) -> Need {
        let matchers = vec![Matcher::equal("__name__", name)];
        Need { matchers, first_ms, last_ms, shows_hints: false, in_shards: true }
    }

    #[test]
    fn what_a_query_reads_is_widened_by_all_that_looks_elsewhere() {
        let read = |text: &str| {
            let expr = crate::parse(text, crate::ParseOptions::default()).unwrap();
            let query = Query { text, expr: &expr };
            let found = reads(query, &EvalParams::range(1_000_000, 1_060_000, 15_000)).unwrap();
            found.iter().map(|read| (read.range.start.0, read.range.end.0)).collect::<Vec<_>>()
        };
        assert_eq!(read("up"), [(700_001, 1_060_001)]);
        assert_eq!(read("up offset 10s"), [(690_001, 1_050_001)]);
        assert_eq!(read("up offset -10s"), [(710_001, 1_070_001)]);
        assert_eq!(read("rate(up[1m])"), [(940_001, 1_060_001)]);
        assert_eq!(read("up @ 100"), [(-199_999, 100_001)]);
        assert_eq!(read("max_over_time(up[1m:10s])"), [(650_001, 1_060_001)]);
        assert_eq!(read("up - rate(up[10m])"), [(400_001, 1_060_001)]);
        assert_eq!(read("up - up offset 1h"), [(-2_899_999, -2_539_999), (700_001, 1_060_001)]);
        assert_eq!(read("1 + time()"), []);
    }

    #[test]
    fn selections_that_touch_are_asked_for_once() {
        let found = vec![need("a", 0, 10), need("b", 0, 10), need("a", 21, 30), need("a", 11, 20)];
        let together = Need { in_shards: false, ..need("a", 0, 30) };
        assert_eq!(united(found), [together, need("b", 0, 10)]);
        assert_eq!(united(vec![need("a", 0, 10), need("a", 0, 10)]), [need("a", 0, 10)]);
    }
}
