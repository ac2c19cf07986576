//! A query with `@` on every selector: its value is then the same whenever it is asked.

use promql::ast::{At, VectorSelector};
use promql::{Expr, ParseOptions};

/// Functions whose value depends on the evaluation time.
const LOOKS_AT_TIME: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The query held at `at_ms`, printed; and the moments to ask it at. None if its value depends on
/// the evaluation time.
pub(crate) fn held(query: &str, at_ms: i64) -> Result<Option<(String, Vec<i64>)>, String> {
    let mut expr = promql::parse(query, ParseOptions::ALL).map_err(|error| error.to_string())?;
    if depends_on_time(&expr) {
        return Ok(None);
    }
    hold(&mut expr, at_ms);
    let moments = if at_ms == 0 {
        vec![-1_000, 0, 1_000]
    } else {
        vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms]
    };
    Ok(Some((expr.to_string(), moments)))
}

fn depends_on_time(expr: &Expr) -> bool {
    let own = matches!(expr, Expr::Call(call) if LOOKS_AT_TIME.contains(&call.function.name));
    own || children(expr).into_iter().any(depends_on_time)
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => Vec::new(),
        Expr::Subquery(node) => vec![&node.expr],
        Expr::Call(node) => node.args.iter().collect(),
        Expr::Aggregation(node) => node.param.as_deref().into_iter().chain([&*node.expr]).collect(),
        Expr::Binary(node) => {
            std::iter::once(&*node.first).chain(node.links.iter().map(|link| &link.rhs)).collect()
        }
        Expr::Unary(node) => vec![&node.expr],
        Expr::Paren(node) => vec![&node.expr],
    }
}

fn hold(expr: &mut Expr, at_ms: i64) {
    let at = Some(At::Time(at_ms));
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Vector(node) => hold_selector(node, at),
        Expr::Matrix(node) => hold_selector(&mut node.vector, at),
        // What is inside of a held subquery follows it.
        Expr::Subquery(node) => {
            if !matches!(node.at, Some(At::Time(_))) {
                node.at = at;
            }
        }
        Expr::Call(node) => node.args.iter_mut().for_each(|arg| hold(arg, at_ms)),
        Expr::Aggregation(node) => {
            node.param.iter_mut().for_each(|param| hold(param, at_ms));
            hold(&mut node.expr, at_ms);
        }
        Expr::Binary(node) => {
            hold(&mut node.first, at_ms);
            node.links.iter_mut().for_each(|link| hold(&mut link.rhs, at_ms));
        }
        Expr::Unary(node) => hold(&mut node.expr, at_ms),
        Expr::Paren(node) => hold(&mut node.expr, at_ms),
    }
}

fn hold_selector(node: &mut VectorSelector, at: Option<At>) {
    if !matches!(node.at, Some(At::Time(_))) {
        node.at = at;
    }
}

/// Whether the text asks for the query's own times, which differ in a range query.
pub(crate) fn asks_for_query_times(query: &str) -> bool {
    ["start", "end", "range", "step"].iter().any(|name| {
        query.match_indices(name).any(|(at, _)| {
            let before = query[..at].chars().next_back();
            let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            starts && query[at + name.len()..].trim_start().starts_with('(')
        })
    })
}
