//! The syntax tree of a query as JSON: what `parse_query` answers.
//!
//! A chain of operators is written as the nested pairs it stands for, without recursion along the
//! chain; other nodes lie no deeper than the parser allows.
//!
//! Not here: durations (`syntax/durations.rs`).

mod durations;

use crate::{json, number};
use model::{MatchOp, Matcher, Text};
use promql::ValueType;
use promql::ast::{
    Aggregation, At, BinaryChain, BinaryOp, Call, Cardinality, Edges, Expr, Link, Matching,
    MatrixSelector, Sign, Subquery, VectorSelector,
};
use promql::duration::Duration;
use promql::signature::{Arity, Signature};
use std::io::Write;

/// The tree, as JSON.
#[must_use]
pub fn tree(expr: &Expr) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, expr);
    out
}

/// Appends the tree.
pub(crate) fn push(out: &mut Vec<u8>, expr: &Expr) {
    match expr {
        Expr::Number(node) => {
            out.extend_from_slice(b"{\"type\":\"numberLiteral\",\"val\":\"");
            number::push_plain(out, node.value);
            out.extend_from_slice(b"\"}");
        }
        Expr::String(node) => {
            out.extend_from_slice(b"{\"type\":\"stringLiteral\",\"val\":");
            json::push_string(out, &node.text());
            out.push(b'}');
        }
        Expr::Vector(node) => {
            out.extend_from_slice(b"{\"type\":\"vectorSelector\"");
            push_selector(out, node);
            out.push(b'}');
        }
        Expr::Matrix(node) => push_matrix(out, node),
        Expr::Subquery(node) => push_subquery(out, node),
        Expr::Call(node) => push_call(out, node),
        Expr::Aggregation(node) => push_aggregation(out, node),
        Expr::Binary(node) => push_chain(out, node),
        Expr::Unary(node) => {
            let op = match node.sign {
                Sign::Plus => "+",
                Sign::Minus => "-",
            };
            push_text(out, b"{\"type\":\"unaryExpr\",\"op\":", op);
            push_child(out, b",\"expr\":", &node.expr);
            out.push(b'}');
        }
        Expr::Paren(node) => {
            push_child(out, b"{\"type\":\"parenExpr\",\"expr\":", &node.expr);
            out.push(b'}');
        }
    }
}

fn push_child(out: &mut Vec<u8>, key: &[u8], expr: &Expr) {
    out.extend_from_slice(key);
    push(out, expr);
}

fn push_text(out: &mut Vec<u8>, key: &[u8], text: &str) {
    out.extend_from_slice(key);
    json::push_string(out, text);
}

fn push_texts(out: &mut Vec<u8>, key: &[u8], texts: &[Text]) {
    out.extend_from_slice(key);
    json::push_strings(out, texts);
}

fn push_flag(out: &mut Vec<u8>, key: &[u8], flag: bool) {
    out.extend_from_slice(key);
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn push_integer(out: &mut Vec<u8>, key: &[u8], integer: i64) {
    out.extend_from_slice(key);
    // Writing into memory does not fail.
    let _ = write!(out, "{integer}");
}

/// `timestamp` and `startOrEnd`.
fn push_at(out: &mut Vec<u8>, at: Option<At>) {
    let timestamp = |out: &mut Vec<u8>| out.extend_from_slice(b",\"timestamp\":null");
    match at {
        Some(At::Time(ms)) => push_integer(out, b",\"timestamp\":", ms),
        _ => timestamp(out),
    }
    out.extend_from_slice(match at {
        Some(At::Start) => b",\"startOrEnd\":\"start\"",
        Some(At::End) => b",\"startOrEnd\":\"end\"",
        _ => b",\"startOrEnd\":null",
    });
}

/// What selectors have in common, a comma in front.
fn push_selector(out: &mut Vec<u8>, node: &VectorSelector) {
    push_text(out, b",\"name\":", node.name.as_deref().unwrap_or(""));
    durations::push(out, b",\"offset\":", b",\"offsetExpr\":", &node.offset);
    out.extend_from_slice(b",\"matchers\":[");
    for (index, matcher) in node.matchers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_matcher(out, matcher);
    }
    out.push(b']');
    push_at(out, node.at);
    push_flag(out, b",\"anchored\":", node.edges == Edges::Anchored);
    push_flag(out, b",\"smoothed\":", node.edges == Edges::Smoothed);
}

fn push_matcher(out: &mut Vec<u8>, matcher: &Matcher) {
    let op: MatchOp = matcher.op;
    push_text(out, b"{\"name\":", &matcher.name);
    push_text(out, b",\"value\":", &matcher.value);
    push_text(out, b",\"type\":", op.as_str());
    out.push(b'}');
}

fn push_matrix(out: &mut Vec<u8>, node: &MatrixSelector) {
    out.extend_from_slice(b"{\"type\":\"matrixSelector\"");
    durations::push(out, b",\"range\":", b",\"rangeExpr\":", &node.range);
    push_selector(out, &node.vector);
    out.push(b'}');
}

fn push_subquery(out: &mut Vec<u8>, node: &Subquery) {
    push_child(out, b"{\"type\":\"subquery\",\"expr\":", &node.expr);
    durations::push(out, b",\"range\":", b",\"rangeExpr\":", &node.range);
    durations::push(out, b",\"offset\":", b",\"offsetExpr\":", &node.offset);
    let step = node.step.as_ref().unwrap_or(&Duration::Fixed(0));
    durations::push(out, b",\"step\":", b",\"stepExpr\":", step);
    push_at(out, node.at);
    out.push(b'}');
}

fn push_call(out: &mut Vec<u8>, node: &Call) {
    out.extend_from_slice(b"{\"type\":\"call\",\"func\":");
    push_function(out, node.function);
    out.extend_from_slice(b",\"args\":[");
    for (index, arg) in node.args.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, arg);
    }
    out.extend_from_slice(b"]}");
}

fn push_function(out: &mut Vec<u8>, function: &Signature) {
    push_text(out, b"{\"name\":", function.name);
    let types: Vec<&str> = function.args.iter().map(|one| type_word(*one)).collect();
    out.extend_from_slice(b",\"argTypes\":");
    json::push_strings(out, &types);
    let variadic = match function.arity {
        Arity::Exact => 0,
        Arity::LastOptional => 1,
        Arity::UpTo(times) => i64::try_from(times).unwrap_or(i64::MAX),
        Arity::AnyNumber => -1,
    };
    push_integer(out, b",\"variadic\":", variadic);
    push_text(out, b",\"returnType\":", type_word(function.returns));
    out.push(b'}');
}

fn type_word(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

fn push_aggregation(out: &mut Vec<u8>, node: &Aggregation) {
    push_text(out, b"{\"type\":\"aggregation\",\"op\":", node.op.as_str());
    push_child(out, b",\"expr\":", &node.expr);
    match &node.param {
        Some(param) => push_child(out, b",\"param\":", param),
        None => out.extend_from_slice(b",\"param\":null"),
    }
    push_texts(out, b",\"grouping\":", &node.grouping);
    push_flag(out, b",\"without\":", node.without);
    out.push(b'}');
}

/// The last operator is the outermost node: open all from the last to the first, then close them
/// from the first to the last.
fn push_chain(out: &mut Vec<u8>, chain: &BinaryChain) {
    for link in chain.links.iter().rev() {
        push_link(out, link);
    }
    push(out, &chain.first);
    for link in &chain.links {
        push_child(out, b",\"rhs\":", &link.rhs);
        out.push(b'}');
    }
}

fn push_link(out: &mut Vec<u8>, link: &Link) {
    let op: BinaryOp = link.op;
    push_text(out, b"{\"type\":\"binaryExpr\",\"op\":", op.as_str());
    push_flag(out, b",\"bool\":", link.return_bool);
    out.extend_from_slice(b",\"matching\":");
    match &link.matching {
        Some(matching) => push_matching(out, matching),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"lhs\":");
}

fn push_matching(out: &mut Vec<u8>, matching: &Matching) {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    push_text(out, b"{\"card\":", card);
    push_texts(out, b",\"labels\":", &matching.labels);
    push_flag(out, b",\"on\":", matching.on);
    push_texts(out, b",\"include\":", &matching.include);
    push_fill(out, b",\"fillValues\":{\"lhs\":", matching.fill_left);
    push_fill(out, b",\"rhs\":", matching.fill_right);
    out.extend_from_slice(b"}}");
}

/// A number that JSON has, or `null`.
fn push_fill(out: &mut Vec<u8>, key: &[u8], value: Option<f64>) {
    out.extend_from_slice(key);
    match value.filter(|value| value.is_finite()) {
        Some(value) => number::push_sample(out, value),
        None => out.extend_from_slice(b"null"),
    }
}
