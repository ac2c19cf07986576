//! Which queries may be cut into segments of their steps: those whose answer at a step does not
//! depend on where the query's range begins and ends, nor on what is there at other steps.
//!
//! Refused are, beside `start()`, `end()`, `range()` and `step()` in all their places:
//! - what compares series of the whole range: an operation that drops names refuses two series that
//!   differ in their name only, even if they are never there together. So every selector names its
//!   metric, unless an aggregation that gives no names stands around it, and nothing else makes or
//!   mixes names.
//! - what looks at the first step for all of them: a parameter that moves beside an operand that
//!   `@` holds. And what says another thing about a range of one step: `sort`.
//! - a subquery whose windows leave gaps between them: upstream evaluates it there too.

use model::{METRIC_NAME, MatchOp};
use promql::ast::{Aggregation, At, VectorSelector};
use promql::duration::{Allowed, Duration, QueryWindow};
use promql::operator::{AggregateOp, BinaryOp};
use promql::{EvalParams, Expr};

/// A query of fewer steps is evaluated in about the time in which versions are asked for.
const STEPS_MIN: i64 = 8;

/// Functions that are refused.
const FUNCTIONS_REFUSED: &[&str] = &[
    "end",
    "info",
    "label_join",
    "label_replace",
    "range",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "start",
    "step",
];

/// Functions whose answers have no metric name.
const NAMELESS: &[&str] = &[
    "abs",
    "avg_over_time",
    "ceil",
    "count_over_time",
    "delta",
    "deriv",
    "floor",
    "histogram_quantile",
    "idelta",
    "increase",
    "irate",
    "max_over_time",
    "min_over_time",
    "rate",
    "round",
    "sum_over_time",
    "vector",
];

/// Why a query is not cut, and so neither cached nor answered out of the cache; `None` if it is.
#[must_use]
pub fn refusal(expr: &Expr, params: &EvalParams) -> Option<&'static str> {
    if params.is_instant() {
        return Some("an instant query");
    }
    if params.delayed_name_removal {
        return Some("names are removed late");
    }
    if params.end_ms.saturating_sub(params.start_ms) / params.step_ms < STEPS_MIN - 1 {
        return Some("fewer than 8 steps");
    }
    let (subquery_step_ms, step_ms) = (params.subquery_step_ms, params.step_ms);
    let has_own_steps = Steps { subquery_step_ms }.are_own(expr, step_ms);
    (!has_own_steps).then_some("its answer at one step may depend on other steps")
}

/// Looks at one expression after the other.
struct Steps {
    subquery_step_ms: i64,
}

impl Steps {
    /// Whether the answer at a step is that step's own. The steps are so far from each other; 0 if
    /// they are the same whatever the query's range.
    fn are_own(&self, expr: &Expr, step_ms: i64) -> bool {
        match expr {
            Expr::Number(_) | Expr::String(_) => true,
            Expr::Vector(node) => is_fine_selector(node),
            Expr::Matrix(node) => fixed(&node.range).is_some() && is_fine_selector(&node.vector),
            Expr::Subquery(node) => {
                let (Some(range_ms), Some(_)) = (fixed(&node.range), fixed(&node.offset)) else {
                    return false;
                };
                let inner_ms = match &node.step {
                    Some(step) => fixed(step),
                    None => Some(self.subquery_step_ms),
                };
                let is_held = node.at.is_some() || step_ms == 0;
                match inner_ms {
                    Some(_) if !is_fixed_moment(node.at) => false,
                    Some(_) if is_held => self.are_own(&node.expr, 0),
                    Some(inner_ms) => range_ms >= step_ms && self.are_own(&node.expr, inner_ms),
                    None => false,
                }
            }
            Expr::Call(node) => {
                !FUNCTIONS_REFUSED.contains(&node.function.name)
                    && node.args.iter().all(|arg| self.are_own(arg, step_ms))
            }
            Expr::Aggregation(node) => {
                !makes_names(node)
                    && is_literal(node.param.as_deref())
                    && match bare(&node.expr) {
                        Expr::Vector(of) if is_nameless(expr) => is_held_or_moves(of),
                        operand => self.are_own(operand, step_ms),
                    }
            }
            Expr::Binary(node) => {
                let mut operands =
                    std::iter::once(&*node.first).chain(node.links.iter().map(|link| &link.rhs));
                let is_or = node.links.iter().any(|link| link.op == BinaryOp::Or);
                operands.clone().all(|operand| self.are_own(operand, step_ms))
                    && (!is_or || operands.all(is_nameless))
            }
            Expr::Unary(node) => self.are_own(&node.expr, step_ms),
            Expr::Paren(node) => self.are_own(&node.expr, step_ms),
        }
    }
}

/// The milliseconds of a duration that does not depend on the query's range or step.
fn fixed(duration: &Duration) -> Option<i64> {
    match duration {
        Duration::Fixed(_) => {
            let window = QueryWindow { step_ms: 0, range_ms: 0 };
            duration.resolve(window, Allowed::Any).ok()
        }
        Duration::Expr(_) => None,
    }
}

fn is_fixed_moment(at: Option<At>) -> bool {
    matches!(at, None | Some(At::Time(_)))
}

fn is_literal(param: Option<&Expr>) -> bool {
    match param {
        None | Some(Expr::Number(_) | Expr::String(_)) => true,
        Some(Expr::Paren(node)) => is_literal(Some(&node.expr)),
        Some(Expr::Unary(node)) => is_literal(Some(&node.expr)),
        Some(_) => false,
    }
}

fn is_fine_selector(node: &VectorSelector) -> bool {
    let names_it = |matcher: &model::Matcher| {
        *matcher.name == *METRIC_NAME && matcher.op == MatchOp::Equal && !matcher.value.is_empty()
    };
    is_held_or_moves(node) && node.matchers.iter().any(names_it)
}

/// Whether its moment does not depend on where the query's range begins and ends.
fn is_held_or_moves(node: &VectorSelector) -> bool {
    fixed(&node.offset).is_some() && is_fixed_moment(node.at)
}

/// Whether it gives its groups names: those of the values that it counts.
fn makes_names(node: &Aggregation) -> bool {
    let label = match node.param.as_deref().map(bare) {
        Some(Expr::String(label)) => label.text(),
        _ => return node.op == AggregateOp::CountValues,
    };
    node.op == AggregateOp::CountValues && label == METRIC_NAME
}

/// Without the parentheses around it.
fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(node) = expr {
        expr = &node.expr;
    }
    expr
}

/// Whether no series of the answer has a metric name.
fn is_nameless(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) => true,
        Expr::Paren(node) => is_nameless(&node.expr),
        Expr::Call(node) => NAMELESS.contains(&node.function.name),
        Expr::Aggregation(node) => {
            let keeps = matches!(
                node.op,
                AggregateOp::Topk
                    | AggregateOp::Bottomk
                    | AggregateOp::Limitk
                    | AggregateOp::LimitRatio
                    | AggregateOp::CountValues
            );
            !keeps && (node.without || node.grouping.iter().all(|name| **name != *METRIC_NAME))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::ParseOptions;

    fn is_cut(text: &str) -> bool {
        let expr = promql::parse(text, ParseOptions::ALL).unwrap_or_else(|e| panic!("{text}: {e}"));
        refusal(&expr, &EvalParams::range(0, 3_600_000, 60_000)).is_none()
    }

    #[test]
    fn queries_whose_steps_stand_alone_may_be_cut() {
        for text in [
            "up",
            "sum by (job) (rate(c_total[5m])) / on (job) group_left () sum(up offset 1h)",
            "max_over_time(rate(c_total[5m])[1h:1m] offset 1d) > bool 1",
            "max_over_time(rate(c_total[5m])[10s:5s] @ 100)",
            "sum(up) or vector(0)",
            "topk(3, up)",
            "topk(3, rate(c_total[5m]))",
            "topk(3, sum by (job) (up))",
            "bottomk by (job) (1, -up > 5)",
            "limitk(2, up)",
            "limit_ratio(-0.5, sum by (job) (up))",
            "quantile(0.9, up @ 100)",
            "histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m])))",
            "time() - 5",
            "count_values(\"v\", up)",
            "count by (job) ({env=\"a\"})",
            "sum(({__name__=~\"a|b\"} offset 1m)) / 2",
        ] {
            assert!(is_cut(text), "{text}");
        }
    }

    #[test]
    fn queries_that_look_at_all_steps_are_not_cut() {
        for text in [
            "{job=\"a\"}",
            "{__name__=~\"a|b\"}",
            "up @ start()",
            "rate(up[5m] @ end())",
            "sum_over_time(up[1h:1m] @ end())",
            "rate(up[step()])",
            "up offset (range())",
            "up * step()",
            "label_replace(up, \"a\", \"b\", \"c\", \"d\")",
            "-(a or b)",
            "sum(up) or up",
            "topk(scalar(up), up @ 100)",
            "count_values(\"__name__\", up)",
            "count_values(\"v\", {job=\"a\"})",
            "count by (__name__) ({job=\"a\"})",
            "topk(2, {job=\"a\"})",
            "sum({job=\"a\"} @ end())",
            "sum(-{job=\"a\"})",
            "sort(up)",
            "max_over_time(up[30s:10s])",
            "max_over_time(max_over_time(up[30s:10s])[10m:1m])",
        ] {
            assert!(!is_cut(text), "{text}");
        }
    }

    #[test]
    fn few_steps_and_instants_are_not_cut() {
        let expr = promql::parse("up", ParseOptions::ALL).unwrap();
        assert!(refusal(&expr, &EvalParams::instant(0)).is_some());
        assert!(refusal(&expr, &EvalParams::range(0, 6 * 15, 15)).is_some());
        assert!(refusal(&expr, &EvalParams::range(0, 7 * 15, 15)).is_none());
        let late = EvalParams { delayed_name_removal: true, ..EvalParams::range(0, 700, 15) };
        assert!(refusal(&expr, &late).is_some());
    }
}
