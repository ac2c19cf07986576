//! What is legal in a query and mostly a mistake: findings for people, each with its place.
//!
//! A finding is said only where the text alone shows it; nothing is asked of data. The engine says
//! in annotations what it met while it evaluated (`annotations.rs`).
//!
//! # Invariants
//! - Findings come in the order of their places.

use crate::ast::{AggregateOp, Aggregation, Call, Expr, VectorSelector};
use crate::span::Span;
use model::{METRIC_NAME, MatchOp, Matcher};

/// One thing that is mostly a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub span: Span,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Endings of names of counters, as the naming rules have them.
const COUNTER_ENDINGS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// Looks for mistakes.
#[must_use]
pub fn lint(expr: &Expr) -> Vec<Finding> {
    let mut findings = Vec::new();
    look(expr, &mut findings);
    findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
    findings
}

fn look(expr: &Expr, out: &mut Vec<Finding>) {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Vector(node) => selector(node, out),
        Expr::Matrix(node) => selector(&node.vector, out),
        Expr::Subquery(node) => look(&node.expr, out),
        Expr::Call(node) => {
            call(node, out);
            node.args.iter().for_each(|arg| look(arg, out));
        }
        Expr::Aggregation(node) => {
            if let (AggregateOp::Quantile, Some(param)) = (node.op, node.param.as_deref()) {
                quantile(param, out);
            }
            node.param.iter().for_each(|param| look(param, out));
            look(&node.expr, out);
        }
        Expr::Binary(node) => {
            look(&node.first, out);
            node.links.iter().for_each(|link| look(&link.rhs, out));
        }
        Expr::Unary(node) => look(&node.expr, out),
        Expr::Paren(node) => look(&node.expr, out),
    }
}

fn selector(node: &VectorSelector, out: &mut Vec<Finding>) {
    let mut found = |rule, message| out.push(Finding { span: node.span, rule, message });
    for matcher in &node.matchers {
        let Matcher { name, op, value } = matcher;
        let (plain, effect) = match op {
            MatchOp::Regex => ("=", "every series, also those without the label"),
            MatchOp::NotRegex => ("!=", "no series"),
            _ => continue,
        };
        if &**value == ".*" {
            found("matches-all", format!("{matcher} matches {effect}"));
        } else if !value.contains(|c: char| r"\.+*?()|[]{}^$".contains(c)) {
            found(
                "literal-regex",
                format!("{matcher} is no pattern: write {name}{plain}{value:?}"),
            );
        } else if value.starts_with('^') || (value.ends_with('$') && !value.ends_with("\\$")) {
            let message = format!("{matcher}: a pattern is anchored by itself, without ^ and $");
            found("anchored-regex", message);
        }
    }
}

fn call(node: &Call, out: &mut Vec<Finding>) {
    let function = node.function.name;
    match (function, &node.args[..]) {
        ("rate" | "irate" | "increase", [arg]) => {
            if let Some(name) = metric_of(arg)
                && !COUNTER_ENDINGS.iter().any(|ending| name.ends_with(ending))
            {
                let message = format!(
                    "{function}() is for counters, and {name} is not named as one ({}); of a native \
                     histogram it is right",
                    COUNTER_ENDINGS.join(", ")
                );
                out.push(Finding { span: node.span, rule: "counter-name", message });
            }
            aggregated_counter(node, arg, out);
        }
        ("delta" | "idelta" | "deriv" | "predict_linear", [arg, ..]) => {
            if let Some(name) = metric_of(arg).filter(|name| name.ends_with("_total")) {
                let message = format!(
                    "{function}() is for gauges, and {name} is named as a counter: it goes wrong at each reset"
                );
                out.push(Finding { span: node.span, rule: "gauge-function", message });
            }
        }
        ("histogram_quantile", [phi, vector]) => {
            quantile(phi, out);
            lost_le(vector, out);
        }
        ("quantile_over_time", [phi, _]) => quantile(phi, out),
        _ => {}
    }
}

/// A counter that was aggregated before its resets were taken out.
fn aggregated_counter(node: &Call, arg: &Expr, out: &mut Vec<Finding>) {
    let Expr::Subquery(subquery) = unwrapped(arg) else { return };
    if let Expr::Aggregation(inner) = unwrapped(&subquery.expr) {
        let (function, op) = (node.function.name, inner.op.as_str());
        let message = format!(
            "{function}() of a {op}: a reset of one counter is taken for one of all; write \
             {op}({function}(…))"
        );
        out.push(Finding { span: node.span, rule: "aggregated-counter", message });
    }
}

/// Buckets that are aggregated without `le`.
fn lost_le(vector: &Expr, out: &mut Vec<Finding>) {
    let Expr::Aggregation(node) = unwrapped(vector) else { return };
    let names_le = node.grouping.iter().any(|label| &**label == "le");
    if names_le == node.without && has_buckets(node) {
        let message = format!(
            "the buckets lose their le in this {}: histogram_quantile() needs it",
            node.op.as_str()
        );
        out.push(Finding { span: node.span, rule: "lost-le", message });
    }
}

/// Whether it is over classic buckets, by their name.
fn has_buckets(node: &Aggregation) -> bool {
    let inner = match unwrapped(&node.expr) {
        Expr::Call(call) => call.args.last().map(unwrapped),
        other => Some(other),
    };
    inner.and_then(metric_of).is_some_and(|name| name.ends_with("_bucket"))
}

fn quantile(phi: &Expr, out: &mut Vec<Finding>) {
    if let Expr::Number(number) = unwrapped(phi)
        && !(0.0..=1.0).contains(&number.value)
    {
        let message = format!("a quantile lies between 0 and 1, not at {}", number.value);
        out.push(Finding { span: number.span, rule: "quantile-range", message });
    }
}

fn unwrapped(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// The metric that a selector names.
fn metric_of(expr: &Expr) -> Option<&str> {
    let selector = match unwrapped(expr) {
        Expr::Vector(node) => node,
        Expr::Matrix(node) => &node.vector,
        _ => return None,
    };
    let is_name = |m: &&Matcher| *m.name == *METRIC_NAME && m.op == MatchOp::Equal;
    selector.matchers.iter().find(is_name).map(|matcher| &*matcher.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse};

    fn rules(text: &str) -> Vec<(&'static str, String)> {
        let expr = parse(text, ParseOptions::ALL).unwrap();
        let of = |span: Span| text[span.start as usize..span.end as usize].to_owned();
        lint(&expr).into_iter().map(|finding| (finding.rule, of(finding.span))).collect()
    }

    #[test]
    fn each_rule_finds_its_mistake_and_names_its_place() {
        for (text, rule, place) in [
            ("1 + rate(up[5m])", "counter-name", "rate(up[5m])"),
            ("deriv(x_total[5m]) > 2", "gauge-function", "deriv(x_total[5m])"),
            ("rate(sum(x_total)[5m:])", "aggregated-counter", "rate(sum(x_total)[5m:])"),
            ("a + b{c=~\"d\"}", "literal-regex", "b{c=~\"d\"}"),
            ("b{c=~\".*\"}", "matches-all", "b{c=~\".*\"}"),
            ("b{c!~\"^d.+\"}", "anchored-regex", "b{c!~\"^d.+\"}"),
            ("quantile(95, x)", "quantile-range", "95"),
            ("quantile_over_time(1.5, x[5m])", "quantile-range", "1.5"),
            (
                "histogram_quantile(0.9, sum by (job) (rate(x_bucket[5m])))",
                "lost-le",
                "sum by (job) (rate(x_bucket[5m]))",
            ),
            (
                "histogram_quantile(.9, sum without (le) (x_bucket))",
                "lost-le",
                "sum without (le) (x_bucket)",
            ),
        ] {
            assert_eq!(rules(text), [(rule, place.to_owned())], "{text}");
        }
    }

    #[test]
    fn what_is_right_is_left_alone() {
        for text in [
            "sum by (job) (rate(x_total{job=~\"a|b\", path!~\"/.+\"}[5m]))",
            "histogram_quantile(0.9, sum by (le, job) (rate(x_bucket[5m])))",
            "histogram_quantile(0.9, sum without (job) (rate(x_bucket[5m])))",
            "histogram_quantile(0.9, sum(rate(x_count[5m])))",
            "delta(temperature[5m]) + quantile(scalar(x), y) + max_over_time(rate(x_total[5m])[1h:])",
            "x{a=~\"cost\\\\$\"}",
        ] {
            assert_eq!(rules(text), [], "{text}");
        }
    }

    #[test]
    fn findings_come_in_the_order_of_their_places() {
        let found = rules("rate(up{a=~\"b\"}[5m]) + quantile(7, x{a=~\".*\"})");
        let rules: Vec<_> = found.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(rules, ["counter-name", "literal-regex", "quantile-range", "matches-all"]);
    }
}
