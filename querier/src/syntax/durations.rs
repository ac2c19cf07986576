//! Durations in the tree: milliseconds, and the expression of one that is worked out by each query.
//!
//! As upstream has it a pair of parentheses is a mark on what stands in it, and around a number a sign
//! that changes nothing.

use super::{push_flag, push_integer, push_text};
use crate::number;
use promql::duration::{Duration, DurationExpr, DurationKind};

/// What `key` is followed by: its milliseconds, 0 for one that depends on the query; and what
/// `expr_key` is: its expression if it is one.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], expr_key: &[u8], duration: &Duration) {
    let (ms, expr) = match duration {
        Duration::Fixed(ms) => (*ms, None),
        Duration::Expr(expr) => (0, Some(expr)),
    };
    push_integer(out, key, ms);
    out.extend_from_slice(expr_key);
    match expr {
        Some(expr) => push_expr(out, expr, false),
        None => out.extend_from_slice(b"null"),
    }
}

fn push_expr(out: &mut Vec<u8>, expr: &DurationExpr, is_wrapped: bool) {
    match &expr.kind {
        DurationKind::Number { .. } if is_wrapped => push_node(out, "+", true, [None, Some(expr)]),
        DurationKind::Number { value, is_duration } => {
            out.extend_from_slice(b"{\"type\":\"numberLiteral\",\"val\":\"");
            number::push_plain(out, *value);
            push_flag(out, b"\",\"duration\":", *is_duration);
            out.push(b'}');
        }
        DurationKind::Step => push_node(out, "step", is_wrapped, [None, None]),
        DurationKind::Range => push_node(out, "range", is_wrapped, [None, None]),
        DurationKind::MinOf(pair) => {
            push_node(out, "min_of", is_wrapped, pair.each_ref().map(Some));
        }
        DurationKind::MaxOf(pair) => {
            push_node(out, "max_of", is_wrapped, pair.each_ref().map(Some));
        }
        DurationKind::Minus(inner) => push_node(out, "-", is_wrapped, [None, Some(inner)]),
        DurationKind::Paren(inner) => push_expr(out, inner, true),
        DurationKind::Chain { first, links } => {
            // The last operator is the outermost node.
            let mut is_wrapped = is_wrapped;
            for (op, _) in links.iter().rev() {
                open(out, op.as_str(), is_wrapped);
                is_wrapped = false;
            }
            push_expr(out, first, false);
            for (_, rhs) in links {
                close(out, Some(rhs));
            }
        }
    }
}

fn push_node(out: &mut Vec<u8>, op: &str, is_wrapped: bool, sides: [Option<&DurationExpr>; 2]) {
    let [lhs, rhs] = sides;
    open(out, op, is_wrapped);
    push_side(out, lhs);
    close(out, rhs);
}

/// A node up to its left side.
fn open(out: &mut Vec<u8>, op: &str, is_wrapped: bool) {
    push_text(out, b"{\"type\":\"durationExpr\",\"op\":", op);
    push_flag(out, b",\"wrapped\":", is_wrapped);
    out.extend_from_slice(b",\"lhs\":");
}

/// A node from its right side on.
fn close(out: &mut Vec<u8>, rhs: Option<&DurationExpr>) {
    out.extend_from_slice(b",\"rhs\":");
    push_side(out, rhs);
    out.push(b'}');
}

fn push_side(out: &mut Vec<u8>, side: Option<&DurationExpr>) {
    match side {
        Some(side) => push_expr(out, side, false),
        None => out.extend_from_slice(b"null"),
    }
}
