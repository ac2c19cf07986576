//! What stands behind an operand: ranges, `offset`, `@`, `anchored`, `smoothed`.

use super::expr::signed;
use super::{Parsed, Parser};
use crate::ast::{At, Edges, Expr, MatrixSelector, Subquery};
use crate::duration::Duration;
use crate::number::format_float;
use crate::span::Span;
use crate::token::{Keyword, TokenKind, Word};

const BAD_OFFSET: &str = "offset modifier must be preceded by an instant vector selector or range \
                          vector selector or a subquery";
const BAD_AT: &str = "@ modifier must be preceded by an instant vector selector or range vector \
                      selector or a subquery";

impl Parser<'_> {
    /// `[range]` or `[range:step]` behind `expr`.
    #[inline(never)]
    pub(super) fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.next()?;
        let range = self.positive_duration(
            " in subquery or range selector, expected number, duration, step(), or range()",
        )?;
        if let Some(close) = self.accept(TokenKind::RightBracket)? {
            return self.matrix(expr, range, open.span().to(close.span()));
        }
        if self.accept(TokenKind::Colon)?.is_none() {
            return self.unexpected_in(" in subquery or range, expected \":\" or \"]\"");
        }
        let mut step = None;
        let mut close = self.accept(TokenKind::RightBracket)?;
        if close.is_none() {
            step = Some(self.positive_duration(
                " in subquery selector, expected number, duration, step(), range(), or \"]\"",
            )?);
            close = self.accept(TokenKind::RightBracket)?;
        }
        let Some(close) = close else {
            return self.unexpected_in(" in subquery selector, expected \"]\"");
        };
        self.grow(self.height)?;
        let span = expr.span().to(close.span());
        let expr = Box::new(expr);
        Ok(Expr::Subquery(Subquery { expr, range, step, offset: Duration::ZERO, at: None, span }))
    }

    fn matrix(&mut self, expr: Expr, range: Duration, brackets: Span) -> Parsed<Expr> {
        let Expr::Vector(vector) = expr else {
            return self.fault(brackets, "ranges only allowed for vector selectors");
        };
        if vector.offset != Duration::ZERO {
            return self.fault(brackets, "no offset modifiers allowed before range");
        }
        if vector.at.is_some() {
            return self.fault(brackets, "no @ modifiers allowed before range");
        }
        let span = vector.span.to(brackets);
        Ok(Expr::Matrix(MatrixSelector { vector, range, span }))
    }

    #[inline(never)]
    pub(super) fn offset_modifier(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.next()?;
        let (duration, end) = self.offset_duration()?;
        let before = expr.span();
        let (slot, span) = match expr {
            Expr::Vector(node) => (&mut node.offset, &mut node.span),
            Expr::Matrix(node) => (&mut node.vector.offset, &mut node.span),
            Expr::Subquery(node) => (&mut node.offset, &mut node.span),
            _ => return self.fault(before, BAD_OFFSET),
        };
        if *slot != Duration::ZERO {
            return self.fault(before, "offset may not be set multiple times");
        }
        *slot = duration;
        span.end = end;
        Ok(())
    }

    #[inline(never)]
    pub(super) fn at_modifier(&mut self, expr: &mut Expr) -> Parsed<()> {
        const EXPECTED: &str = " in @, expected timestamp";
        self.next()?;
        let before = expr.span();
        let token = self.peek()?;
        let (at, end) = if let TokenKind::Word(word @ (Word::Start | Word::End)) = token.kind {
            self.next()?;
            if self.accept(TokenKind::LeftParen)?.is_none() {
                return self.unexpected_in(EXPECTED);
            }
            let Some(close) = self.accept(TokenKind::RightParen)? else {
                return self.unexpected_in(EXPECTED);
            };
            (if word == Word::Start { At::Start } else { At::End }, close.end)
        } else {
            let sign = self.accept_sign()?;
            let Some(literal) = self.accept_number()? else {
                return self.unexpected_in(EXPECTED);
            };
            let time = self.timestamp(signed(sign, literal.value), before)?;
            (At::Time(time), literal.span.end)
        };
        let (slot, span) = match expr {
            Expr::Vector(node) => (&mut node.at, &mut node.span),
            Expr::Matrix(node) => (&mut node.vector.at, &mut node.span),
            Expr::Subquery(node) => (&mut node.at, &mut node.span),
            _ => return self.fault(before, BAD_AT),
        };
        if slot.is_some() {
            return self.fault(before, "@ <timestamp> may not be set multiple times");
        }
        *slot = Some(at);
        span.end = end;
        Ok(())
    }

    /// Seconds as the milliseconds of an `@`.
    fn timestamp(&self, seconds: f64, span: Span) -> Parsed<i64> {
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        if seconds.is_nan() || seconds.abs() >= LIMIT {
            let shown =
                if seconds.is_finite() { format!("{seconds:.6}") } else { format_float(seconds) };
            let message = format!("timestamp out of bounds for @ modifier: {shown}");
            return self.fault(span, message);
        }
        #[expect(clippy::cast_possible_truncation, reason = "beyond the range it stays at its end")]
        let ms = (seconds * 1000.0).round() as i64;
        // Upstream's conversion gives the least number for everything it cannot hold.
        Ok(if ms == i64::MAX { i64::MIN } else { ms })
    }

    #[inline(never)]
    pub(super) fn edges_modifier(&self, expr: &mut Expr, word: Keyword) -> Parsed<()> {
        let (name, edges) = match word {
            Keyword::Anchored => ("anchored", Edges::Anchored),
            _ => ("smoothed", Edges::Smoothed),
        };
        let span = expr.span();
        if !self.options.extended_range_selectors {
            let message = format!("{name} modifier is experimental and not enabled");
            return self.fault(span, message);
        }
        let slot = match expr {
            Expr::Vector(node) => &mut node.edges,
            Expr::Matrix(node) => &mut node.vector.edges,
            Expr::Subquery(_) => {
                return self
                    .fault(span, format!("{name} modifier is not supported for subqueries"));
            }
            _ => return self.fault(span, format!("{name} modifier not implemented")),
        };
        if *slot != Edges::Plain && *slot != edges {
            let message = "anchored and smoothed modifiers cannot be used together";
            return self.fault(span, message);
        }
        *slot = edges;
        Ok(())
    }
}
