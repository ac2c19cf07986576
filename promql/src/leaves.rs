//! The selectors of a query, and which samples each step of the query looks at through them. For
//! those who count; the engine works the same windows out for itself.

use crate::ast::{At, Expr};
use crate::duration::{Allowed, Duration};
use crate::eval::{EvalError, EvalParams, Query};
use crate::plan::Times;
use model::Matcher;

/// A selector. At its i-th step a query looks at the samples after `end - back_ms`, up to `end`,
/// which is `first_end_ms + i * step_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// The last moment of the first step.
    pub first_end_ms: i64,
    /// How far that moves with each step; 0 if `@` holds it.
    pub step_ms: i64,
    /// How far back a step looks.
    pub back_ms: i64,
    /// Whether it takes all samples there, or the newest.
    pub takes_all: bool,
}

/// Every selector of a query. Through a subquery a step looks at all samples that some inner step
/// looks at.
///
/// # Errors
/// [`EvalError::Invalid`] if a duration makes no sense.
pub fn leaves(query: Query<'_>, params: &EvalParams) -> Result<Vec<Leaf>, EvalError> {
    let times = Times::new(params);
    let steps = Steps { first_ms: params.start_ms, step_ms: params.step_ms, back_ms: 0 };
    let mut found = Vec::new();
    collect(query.expr, steps, &times, params, &mut found)?;
    Ok(found)
}

#[derive(Clone, Copy)]
struct Steps {
    first_ms: i64,
    step_ms: i64,
    back_ms: i64,
}

impl Steps {
    fn at(
        self,
        at: Option<At>,
        offset: &Duration,
        times: &Times,
        params: &EvalParams,
    ) -> Result<Self, EvalError> {
        let offset_ms = times.resolve(offset, Allowed::Any)?;
        let held = match at {
            None => None,
            Some(At::Time(ms)) => Some(ms),
            Some(At::Start) => Some(params.start_ms),
            Some(At::End) => Some(params.end_ms),
        };
        Ok(match held {
            Some(ms) => Self { first_ms: ms.saturating_sub(offset_ms), step_ms: 0, back_ms: 0 },
            None => Self { first_ms: self.first_ms.saturating_sub(offset_ms), ..self },
        })
    }

    fn leaf(self, matchers: &[Matcher], back_ms: i64, takes_all: bool) -> Leaf {
        Leaf {
            matchers: matchers.to_vec(),
            first_end_ms: self.first_ms,
            step_ms: self.step_ms,
            back_ms: self.back_ms.saturating_add(back_ms),
            takes_all,
        }
    }
}

fn collect(
    expr: &Expr,
    steps: Steps,
    times: &Times,
    params: &EvalParams,
    found: &mut Vec<Leaf>,
) -> Result<(), EvalError> {
    match expr {
        Expr::Number(_) | Expr::String(_) => Ok(()),
        Expr::Vector(node) => {
            let steps = steps.at(node.at, &node.offset, times, params)?;
            let takes_all = steps.back_ms > 0;
            found.push(steps.leaf(&node.matchers, params.lookback_ms, takes_all));
            Ok(())
        }
        Expr::Matrix(node) => {
            let steps = steps.at(node.vector.at, &node.vector.offset, times, params)?;
            let range_ms = times.resolve(&node.range, Allowed::Positive)?;
            found.push(steps.leaf(&node.vector.matchers, range_ms, true));
            Ok(())
        }
        Expr::Subquery(node) => {
            let steps = steps.at(node.at, &node.offset, times, params)?;
            let range_ms = times.resolve(&node.range, Allowed::Positive)?;
            let back_ms = steps.back_ms.saturating_add(range_ms);
            collect(&node.expr, Steps { back_ms, ..steps }, times, params, found)
        }
        // The second argument of `info` only says which labels are wanted.
        Expr::Call(node) if node.function.name == "info" => {
            let mut base = node.args.iter().take(1);
            base.try_for_each(|arg| collect(arg, steps, times, params, found))
        }
        Expr::Call(node) => {
            node.args.iter().try_for_each(|arg| collect(arg, steps, times, params, found))
        }
        Expr::Aggregation(node) => {
            let mut parts = node.param.as_deref().into_iter().chain([&*node.expr]);
            parts.try_for_each(|part| collect(part, steps, times, params, found))
        }
        Expr::Binary(node) => {
            let operands = node.links.iter().map(|link| &link.rhs);
            let mut operands = std::iter::once(&*node.first).chain(operands);
            operands.try_for_each(|operand| collect(operand, steps, times, params, found))
        }
        Expr::Unary(node) => collect(&node.expr, steps, times, params, found),
        Expr::Paren(node) => collect(&node.expr, steps, times, params, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_says_what_each_step_looks_at() {
        let of = |text: &str| {
            let expr = crate::parse(text, crate::ParseOptions::default()).unwrap();
            let params = EvalParams::range(1_000_000, 1_060_000, 15_000);
            let found = leaves(Query { text, expr: &expr }, &params).unwrap();
            let of = |leaf: &Leaf| (leaf.first_end_ms, leaf.step_ms, leaf.back_ms, leaf.takes_all);
            found.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(of("up offset 10s"), [(990_000, 15_000, 300_000, false)]);
        assert_eq!(of("rate(up[1m] @ 100)"), [(100_000, 0, 60_000, true)]);
        assert_eq!(of("max_over_time(up[1m:10s])"), [(1_000_000, 15_000, 360_000, true)]);
        assert_eq!(of("up + 1 - up").len(), 2);
    }
}
