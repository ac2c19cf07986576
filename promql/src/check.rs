//! Static checks: types, numbers of arguments, matching modifiers, empty selectors.
//!
//! The order in which faults are found is upstream's: operands before their operator, a call's
//! number of arguments before its arguments.

use crate::ast::{
    Aggregation, BinaryChain, Call, Cardinality, Expr, Link, ValueType, VectorSelector,
};
use crate::error::{Fault, ParseError};
use crate::parse::selector::Regexes;
use crate::parse::text_at;
use crate::quote::quoted;
use crate::signature::Arity;
use crate::span::Span;
use model::METRIC_NAME;
use std::collections::HashSet;

type Checked<T> = Result<T, Fault>;

/// Checks `expr`, fills in the types of its binary chains and takes the matching away where no two
/// vectors meet.
///
/// # Errors
/// The first fault.
pub(crate) fn check(expr: &mut Expr, text: &str, regexes: &Regexes) -> Checked<()> {
    Checker { text, regexes }.expr(expr).map(|_| ())
}

struct Checker<'t> {
    text: &'t str,
    regexes: &'t Regexes,
}

/// A type as messages of most checks name it.
fn documented(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "instant vector",
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
    }
}

impl ValueType {
    /// The type's name in the HTTP API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }
}

impl Checker<'_> {
    fn fault<T>(&self, span: Span, message: impl Into<String>) -> Checked<T> {
        Err(Box::new(ParseError::new(self.text, span, message)))
    }

    fn expr(&self, expr: &mut Expr) -> Checked<ValueType> {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(node) => self.selector(node, false)?,
            Expr::Matrix(node) => self.selector(&node.vector, false)?,
            Expr::Subquery(node) => {
                let found = self.expr(&mut node.expr)?;
                if found != ValueType::Vector {
                    let found = found.as_str();
                    let message =
                        format!("subquery is only allowed on instant vector, got {found} instead");
                    return self.fault(node.span, message);
                }
            }
            Expr::Call(node) => self.call(node)?,
            Expr::Aggregation(node) => self.aggregation(node)?,
            Expr::Binary(node) => self.chain(node)?,
            Expr::Unary(node) => {
                let found = self.expr(&mut node.expr)?;
                if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                    let found = documented(found);
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got \"{found}\""
                    );
                    return self.fault(node.span, message);
                }
            }
            Expr::Paren(node) => drop(self.expr(&mut node.expr)?),
        }
        Ok(expr.value_type())
    }

    fn expect_type(&self, expr: &mut Expr, want: ValueType, context: &str) -> Checked<()> {
        let found = self.expr(expr)?;
        self.same_type(expr.span(), found, want, context)
    }

    #[inline(never)]
    fn same_type(
        &self,
        span: Span,
        found: ValueType,
        want: ValueType,
        context: &str,
    ) -> Checked<()> {
        if found == want {
            return Ok(());
        }
        let (want, found) = (documented(want), documented(found));
        self.fault(span, format!("expected type {want} in {context}, got {found}"))
    }

    #[inline(never)]
    fn aggregation(&self, node: &mut Aggregation) -> Checked<()> {
        self.expect_type(&mut node.expr, ValueType::Vector, "aggregation expression")?;
        match (&mut node.param, node.op.param_type()) {
            (Some(param), Some(want)) => self.expect_type(param, want, "aggregation parameter"),
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn call(&self, node: &mut Call) -> Checked<()> {
        let (function, span, got) = (node.function, node.span, node.args.len());
        let name = quoted(function.name);
        let wrong = |how: &str, count: usize| {
            self.fault(
                span,
                format!("expected {how}{count} argument(s) in call to {name}, got {got}"),
            )
        };
        let (least, most) = (function.args_min(), function.args_max());
        if function.arity == Arity::Exact && got != least {
            return wrong("", least);
        }
        if got < least {
            return wrong("at least ", least);
        }
        if let Some(most) = most.filter(|&most| got > most) {
            return wrong("at most ", most);
        }
        let context = format!("call to function {name}");
        if function.name == "info" {
            self.info_selector(node, &context)?;
        }
        let last = function.args.len().saturating_sub(1);
        let is_info = function.name == "info";
        for (index, arg) in node.args.iter_mut().enumerate() {
            let Some(&want) = function.args.get(index.min(last)) else { break };
            match arg {
                Expr::Vector(selector) if is_info && index == 1 => self.selector(selector, true)?,
                _ => self.expect_type(arg, want, &context)?,
            }
        }
        Ok(())
    }

    /// The second argument of `info` has to be a selector without a name.
    fn info_selector(&self, node: &Call, context: &str) -> Checked<()> {
        let Some(arg) = node.args.get(1) else { return Ok(()) };
        self.same_type(node.span, arg.value_type(), ValueType::Vector, context)?;
        match arg {
            Expr::Vector(selector) if selector.name.is_none() => Ok(()),
            Expr::Vector(_) => {
                let message = "expected label selectors only, got vector selector instead";
                self.fault(arg.span(), message)
            }
            _ => self.fault(arg.span(), "expected label selectors only"),
        }
    }

    #[inline(never)]
    fn selector(&self, node: &VectorSelector, may_match_all: bool) -> Checked<()> {
        if let Some(name) = &node.name {
            // The name's own matcher is the last.
            let others = node.matchers.split_last().map_or(&[][..], |(_, others)| others);
            let Some(other) = others.iter().find(|other| &*other.name == METRIC_NAME) else {
                return Ok(());
            };
            let (name, other) = (quoted(name), quoted(&other.value));
            let message = format!("metric name must not be set twice: {name} or {other}");
            return self.fault(node.span, message);
        }
        let restricts = |matcher: &model::Matcher| !self.regexes.matches_empty(matcher);
        if may_match_all || node.matchers.iter().any(restricts) {
            return Ok(());
        }
        self.fault(node.span, "vector selector must contain at least one non-empty matcher")
    }

    #[inline(never)]
    fn chain(&self, node: &mut BinaryChain) -> Checked<()> {
        let mut left = Operand { found: self.expr(&mut node.first)?, span: node.first.span() };
        for link in &mut node.links {
            let found = self.expr(&mut link.rhs)?;
            let right = Operand { found, span: link.rhs.span() };
            self.link(link, left, right)?;
            let scalars = left.found == ValueType::Scalar && right.found == ValueType::Scalar;
            let found = if scalars { ValueType::Scalar } else { ValueType::Vector };
            left = Operand { found, span: link.span };
        }
        node.value_type = left.found;
        Ok(())
    }

    #[inline(never)]
    fn link(&self, link: &mut Link, left: Operand, right: Operand) -> Checked<()> {
        let scalars = [left, right].iter().filter(|side| side.found == ValueType::Scalar).count();
        if link.return_bool && !link.op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return self.fault(self.operator_span(left, right), message);
        }
        if link.op.is_comparison() && !link.return_bool && scalars == 2 {
            let message = "comparisons between scalars must use BOOL modifier";
            return self.fault(self.operator_span(left, right), message);
        }
        self.labels_once(link, left, right)?;
        for side in [left, right] {
            if !matches!(side.found, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return self.fault(side.span, message);
            }
        }
        self.matching(link, scalars == 0)?;
        if scalars > 0 && link.op.is_set() {
            let op = link.op.as_str();
            let message = format!("set operator \"{op}\" not allowed in binary scalar expression");
            return self.fault(link.span, message);
        }
        Ok(())
    }

    fn labels_once(&self, link: &Link, left: Operand, right: Operand) -> Checked<()> {
        let Some(matching) = link.matching.as_deref().filter(|matching| matching.on) else {
            return Ok(());
        };
        let include: HashSet<&str> = matching.include.iter().map(|label| &**label).collect();
        let Some(twice) = matching.labels.iter().find(|label| include.contains(&***label)) else {
            return Ok(());
        };
        let label = quoted(twice);
        let message = format!("label {label} must not occur in ON and GROUP clause at once");
        self.fault(self.operator_span(left, right), message)
    }

    /// What a matching may say depends on whether two vectors meet, and by which operator.
    fn matching(&self, link: &mut Link, are_vectors: bool) -> Checked<()> {
        let Some(matching) = &mut link.matching else { return Ok(()) };
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !are_vectors {
            if !matching.labels.is_empty() {
                let message = "vector matching only allowed between instant vectors";
                return self.fault(link.span, message);
            }
            if fills {
                let message = "filling in missing series only allowed between instant vectors";
                return self.fault(link.span, message);
            }
            link.matching = None;
        } else if link.op.is_set() {
            if matching.cardinality != Cardinality::OneToOne {
                let op = link.op.as_str();
                let message = format!("no grouping allowed for \"{op}\" operation");
                return self.fault(link.span, message);
            }
            matching.cardinality = Cardinality::ManyToMany;
            if fills {
                let message = "filling in missing series not allowed for set operators";
                return self.fault(link.span, message);
            }
        }
        Ok(())
    }

    /// Where the operator with its modifiers stands: what is between its operands.
    fn operator_span(&self, left: Operand, right: Operand) -> Span {
        let between = Span::new(left.span.end, right.span.start);
        let text = text_at(self.text, between);
        let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
        let before = text.len() - text.trim_start_matches(blank).len();
        let after = text.len() - text.trim_end_matches(blank).len();
        let cut = |len: usize| u32::try_from(len).unwrap_or(0);
        Span::new(between.start + cut(before), between.end.saturating_sub(cut(after)))
    }
}

#[derive(Clone, Copy)]
struct Operand {
    found: ValueType,
    span: Span,
}
