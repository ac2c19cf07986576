//! Prints a query on one line, in upstream's canonical form. Parsing it again gives the same tree.

use crate::ast::{
    Aggregation, At, BinaryChain, Cardinality, Edges, Expr, Link, MatrixSelector, NumberLiteral,
    Subquery, VectorSelector,
};
use crate::duration::{Duration, DurationExpr, DurationKind, NAN_MS};
use crate::math::format::general;
use crate::number::{format_duration, format_float};
use crate::quote::write_quoted;
use model::{LabelSet, MatchOp, Text};
use std::fmt::{self, Display, Write};

/// A label set as upstream's messages have it: `{a="1", "not.plain"="2"}`.
pub(crate) fn labels_text(labels: &LabelSet) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in labels.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        // Writing to a string cannot fail.
        let _ = write_label(&mut out, name.as_bytes());
        out.push('=');
        let _ = write_quoted(&mut out, value.as_bytes());
    }
    out.push('}');
    out
}

/// A label's name, in quotes if it is not a plain one.
fn write_label(out: &mut impl Write, name: &[u8]) -> fmt::Result {
    let is_plain = !name.is_empty()
        && !name.first().is_some_and(u8::is_ascii_digit)
        && name.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric());
    match std::str::from_utf8(name) {
        Ok(plain) if is_plain => out.write_str(plain),
        _ => write_quoted(out, name),
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { out: f, sorted: true }.expr(self)
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { out: f, sorted: true }.selector(self, true)
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { out: f, sorted: true }.duration(self)
    }
}

pub(crate) struct Printer<'o> {
    pub(crate) out: &'o mut dyn Write,
    /// Whether matchers are printed in order. To measure a length it does not matter.
    pub(crate) sorted: bool,
}

impl Printer<'_> {
    pub(crate) fn expr(&mut self, expr: &Expr) -> fmt::Result {
        match expr {
            Expr::Number(node) => self.out.write_str(&number(node)),
            Expr::String(node) => write_quoted(&mut self.out, &node.bytes),
            Expr::Vector(node) => self.selector(node, true),
            Expr::Matrix(node) => self.matrix(node),
            Expr::Subquery(node) => {
                self.expr(&node.expr)?;
                self.subquery_suffix(node)
            }
            Expr::Call(node) => {
                self.out.write_str(node.function.name)?;
                self.out.write_char('(')?;
                for (index, arg) in node.args.iter().enumerate() {
                    self.out.write_str(if index == 0 { "" } else { ", " })?;
                    self.expr(arg)?;
                }
                self.out.write_char(')')
            }
            Expr::Aggregation(node) => {
                self.aggregation_head(node)?;
                self.out.write_char('(')?;
                if let Some(param) = &node.param {
                    self.expr(param)?;
                    self.out.write_str(", ")?;
                }
                self.expr(&node.expr)?;
                self.out.write_char(')')
            }
            Expr::Binary(node) => self.chain(node),
            Expr::Unary(node) => {
                self.out.write_str(sign(node.sign))?;
                self.expr(&node.expr)
            }
            Expr::Paren(node) => {
                self.out.write_char('(')?;
                self.expr(&node.expr)?;
                self.out.write_char(')')
            }
        }
    }

    /// `sum by (a) `
    pub(crate) fn aggregation_head(&mut self, node: &Aggregation) -> fmt::Result {
        self.out.write_str(node.op.as_str())?;
        if !node.without && node.grouping.is_empty() {
            return Ok(());
        }
        self.out.write_str(if node.without { " without (" } else { " by (" })?;
        self.labels(&node.grouping)?;
        self.out.write_str(") ")
    }

    fn labels(&mut self, labels: &[Text]) -> fmt::Result {
        for (index, label) in labels.iter().enumerate() {
            self.out.write_str(if index == 0 { "" } else { ", " })?;
            write_label(&mut self.out, label.as_bytes())?;
        }
        Ok(())
    }

    fn chain(&mut self, node: &BinaryChain) -> fmt::Result {
        self.expr(&node.first)?;
        for link in &node.links {
            self.out.write_char(' ')?;
            self.link_head(link)?;
            self.out.write_char(' ')?;
            self.expr(&link.rhs)?;
        }
        Ok(())
    }

    /// An operator with its modifiers.
    pub(crate) fn link_head(&mut self, link: &Link) -> fmt::Result {
        self.out.write_str(link.op.as_str())?;
        if link.return_bool {
            self.out.write_str(" bool")?;
        }
        let Some(matching) = &link.matching else { return Ok(()) };
        let group = match matching.cardinality {
            Cardinality::ManyToOne => Some(" group_left ("),
            Cardinality::OneToMany => Some(" group_right ("),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if matching.on || !matching.labels.is_empty() || group.is_some() {
            self.out.write_str(if matching.on { " on (" } else { " ignoring (" })?;
            self.labels(&matching.labels)?;
            self.out.write_char(')')?;
        }
        if let Some(group) = group {
            self.out.write_str(group)?;
            self.labels(&matching.include)?;
            self.out.write_char(')')?;
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(left), Some(right)) if left == right => self.fill("fill", Some(left)),
            (left, right) => {
                self.fill("fill_left", left)?;
                self.fill("fill_right", right)
            }
        }
    }

    fn fill(&mut self, name: &str, value: Option<f64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write!(self.out, " {name} ({})", general(value))
    }

    fn matrix(&mut self, node: &MatrixSelector) -> fmt::Result {
        self.selector(&node.vector, false)?;
        self.out.write_char('[')?;
        self.duration(&node.range)?;
        self.out.write_char(']')?;
        self.edges(node.vector.edges)?;
        self.at(node.vector.at)?;
        self.offset(&node.vector.offset)
    }

    /// `[5m:1m] @ 5.000 offset 5m`
    pub(crate) fn subquery_suffix(&mut self, node: &Subquery) -> fmt::Result {
        self.out.write_char('[')?;
        self.duration(&node.range)?;
        self.out.write_char(':')?;
        if let Some(step) = &node.step {
            self.duration(step)?;
        }
        self.out.write_char(']')?;
        self.at(node.at)?;
        self.offset(&node.offset)
    }

    fn selector(&mut self, node: &VectorSelector, with_modifiers: bool) -> fmt::Result {
        self.out.write_str(node.name.as_deref().unwrap_or(""))?;
        self.matchers(node)?;
        if !with_modifiers {
            return Ok(());
        }
        self.at(node.at)?;
        self.edges(node.edges)?;
        self.offset(&node.offset)
    }

    fn matchers(&mut self, node: &VectorSelector) -> fmt::Result {
        // The name before the braces is not repeated inside of them.
        let shown = node.matchers.len() - usize::from(node.name.is_some());
        if shown == 0 {
            return Ok(());
        }
        self.out.write_char('{')?;
        if self.sorted {
            let mut parts = Vec::with_capacity(shown);
            for index in 0..shown {
                let mut part = String::new();
                Printer { out: &mut part, sorted: true }.matcher(node, index)?;
                parts.push(part);
            }
            parts.sort_unstable();
            self.out.write_str(&parts.join(","))?;
        } else {
            for index in 0..shown {
                self.out.write_str(if index == 0 { "" } else { "," })?;
                self.matcher(node, index)?;
            }
        }
        self.out.write_char('}')
    }

    fn matcher(&mut self, node: &VectorSelector, index: usize) -> fmt::Result {
        let raw = node.raw_matchers.binary_search_by_key(&index, |raw| raw.index);
        let (name, op, value): (&[u8], MatchOp, &[u8]) =
            match (raw.ok().and_then(|at| node.raw_matchers.get(at)), node.matchers.get(index)) {
                (Some(raw), _) => (&raw.name, raw.op, &raw.value),
                (None, Some(plain)) => (plain.name.as_bytes(), plain.op, plain.value.as_bytes()),
                (None, None) => return Ok(()),
            };
        write_label(&mut self.out, name)?;
        self.out.write_str(op.as_str())?;
        write_quoted(&mut self.out, value)
    }

    fn edges(&mut self, edges: Edges) -> fmt::Result {
        self.out.write_str(match edges {
            Edges::Plain => "",
            Edges::Anchored => " anchored",
            Edges::Smoothed => " smoothed",
        })
    }

    fn at(&mut self, at: Option<At>) -> fmt::Result {
        match at {
            None => Ok(()),
            Some(At::Start) => self.out.write_str(" @ start()"),
            Some(At::End) => self.out.write_str(" @ end()"),
            Some(At::Time(ms)) => {
                #[expect(clippy::cast_precision_loss, reason = "upstream prints the float")]
                let seconds = ms as f64 / 1000.0;
                write!(self.out, " @ {seconds:.3}")
            }
        }
    }

    fn offset(&mut self, offset: &Duration) -> fmt::Result {
        if *offset == Duration::ZERO {
            return Ok(());
        }
        self.out.write_str(" offset ")?;
        if *offset == Duration::Fixed(NAN_MS) {
            // What `offset NaN` becomes upstream, sign and all.
            return self.out.write_str("--106751d23h47m16s854ms");
        }
        self.duration(offset)
    }

    fn duration(&mut self, duration: &Duration) -> fmt::Result {
        match duration {
            Duration::Fixed(ms) => self.out.write_str(&format_duration(*ms)),
            Duration::Expr(expr) => self.duration_expr(expr),
        }
    }

    fn duration_expr(&mut self, expr: &DurationExpr) -> fmt::Result {
        match &expr.kind {
            DurationKind::Number { value, is_duration } => {
                let literal =
                    NumberLiteral { value: *value, is_duration: *is_duration, span: expr.span };
                self.out.write_str(&number(&literal))
            }
            DurationKind::Step => self.out.write_str("step()"),
            DurationKind::Range => self.out.write_str("range()"),
            DurationKind::MinOf(pair) => self.duration_pair("min_of", pair),
            DurationKind::MaxOf(pair) => self.duration_pair("max_of", pair),
            DurationKind::Minus(inner) => {
                self.out.write_char('-')?;
                self.duration_expr(inner)
            }
            DurationKind::Paren(inner) => {
                self.out.write_char('(')?;
                self.duration_expr(inner)?;
                self.out.write_char(')')
            }
            DurationKind::Chain { first, links } => {
                self.duration_expr(first)?;
                for (op, rhs) in links {
                    write!(self.out, " {} ", op.as_str())?;
                    self.duration_expr(rhs)?;
                }
                Ok(())
            }
        }
    }

    fn duration_pair(&mut self, name: &str, pair: &[DurationExpr; 2]) -> fmt::Result {
        let [a, b] = pair;
        write!(self.out, "{name}(")?;
        self.duration_expr(a)?;
        self.out.write_str(", ")?;
        self.duration_expr(b)?;
        self.out.write_char(')')
    }
}

pub(crate) fn sign(sign: crate::ast::Sign) -> &'static str {
    match sign {
        crate::ast::Sign::Plus => "+",
        crate::ast::Sign::Minus => "-",
    }
}

fn number(node: &NumberLiteral) -> String {
    if !node.is_duration {
        return format_float(node.value);
    }
    // Cut, not rounded: upstream prints 1001ms as 1s, because the float lies just below 1.001.
    #[expect(clippy::cast_possible_truncation, reason = "a literal is below 2^63 nanoseconds")]
    let nanoseconds = (node.value.abs() * 1e9) as i64;
    let minus = if node.value < 0.0 { "-" } else { "" };
    format!("{minus}{}", format_duration(nanoseconds / 1_000_000))
}

#[cfg(test)]
mod tests {
    use crate::ParseOptions;

    #[test]
    fn fill_values_are_printed_as_go_prints_them() {
        let cases = [
            ("a + fill (1000000) b", "a + fill (1e+06) b"),
            ("a + fill_left (123456789) b", "a + fill_left (1.23456789e+08) b"),
            (
                "a + fill_left (100000) fill_right (-0.00001) b",
                "a + fill_left (100000) fill_right (-1e-05) b",
            ),
            ("a + fill (-Inf) b", "a + fill (-Inf) b"),
        ];
        for (query, canonical) in cases {
            let printed = crate::parse(query, ParseOptions::ALL).unwrap().to_string();
            assert_eq!(printed, canonical, "{query}");
            let again = crate::parse(&printed, ParseOptions::ALL).unwrap().to_string();
            assert_eq!(again, canonical);
        }
    }
}
