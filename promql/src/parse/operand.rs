//! Operands: literals, parentheses, calls, aggregations, and the modifiers behind them.

use super::expr::signed;
use super::{Parsed, Parser};
use crate::ast::{
    AggregateOp, Aggregation, At, Call, Edges, Expr, MatrixSelector, NumberLiteral, Paren,
    StringLiteral, Subquery,
};
use crate::duration::Duration;
use crate::number::{format_float, parse_duration, parse_number};
use crate::quote::quoted;
use crate::signature::signature;
use crate::span::Span;
use crate::token::{Keyword, Token, TokenKind, Word};
use model::Text;

const BAD_OFFSET: &str = "offset modifier must be preceded by an instant vector selector or range \
                          vector selector or a subquery";
const BAD_AT: &str = "@ modifier must be preceded by an instant vector selector or range vector \
                      selector or a subquery";

/// `by (…)` or `without (…)`.
#[derive(Default)]
struct Grouping {
    labels: Vec<Text>,
    without: bool,
}

impl Parser<'_> {
    /// An operand with everything that may stand behind it.
    pub(super) fn postfix(&mut self) -> Parsed<Expr> {
        let mut expr = self.operand()?;
        loop {
            match self.peek()?.kind {
                TokenKind::LeftBracket => expr = self.brackets(expr)?,
                TokenKind::At => self.at_modifier(&mut expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset_modifier(&mut expr)?,
                TokenKind::Keyword(word @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    self.next()?;
                    self.edges_modifier(&mut expr, word)?;
                }
                _ => return Ok(expr),
            }
        }
    }

    fn operand(&mut self) -> Parsed<Expr> {
        self.height = 0;
        let token = self.peek()?;
        match token.kind {
            TokenKind::LeftParen => self.paren(),
            TokenKind::String => {
                self.next()?;
                let bytes = self.string_bytes(token);
                Ok(Expr::String(StringLiteral { bytes, span: token.span() }))
            }
            TokenKind::Number | TokenKind::Duration => match self.accept_number()? {
                Some(number) => Ok(Expr::Number(number)),
                None => self.unexpected(),
            },
            TokenKind::LeftBrace => Ok(Expr::Vector(self.vector_selector()?)),
            kind if kind.is_metric_name() => self.name_or_call(),
            _ => self.unexpected(),
        }
    }

    /// A number or duration literal, if the next token is one.
    pub(super) fn accept_number(&mut self) -> Parsed<Option<NumberLiteral>> {
        let token = self.peek()?;
        let text = self.token_text(token);
        let (value, is_duration) = match token.kind {
            TokenKind::Number => match parse_number(text) {
                Ok(value) => (value, false),
                Err(reason) => {
                    return self.fault(token.span(), format!("error parsing number: {reason}"));
                }
            },
            TokenKind::Duration => match parse_duration(text) {
                Ok(ms) => (seconds(ms), true),
                Err(reason) => return self.fault(token.span(), reason),
            },
            _ => return Ok(None),
        };
        self.next()?;
        Ok(Some(NumberLiteral { value, is_duration, span: token.span() }))
    }

    fn paren(&mut self) -> Parsed<Expr> {
        let open = self.next()?;
        let expr = Box::new(self.nest(Self::expr)?);
        let close = self.expect(TokenKind::RightParen)?;
        self.grow(self.height)?;
        Ok(Expr::Paren(Paren { expr, span: open.span().to(close.span()) }))
    }

    /// What starts with a name: a call, an aggregation or a selector.
    fn name_or_call(&mut self) -> Parsed<Expr> {
        let name = self.next()?;
        let next = self.peek()?.kind;
        match name.kind {
            TokenKind::Aggregate(op)
                if matches!(
                    next,
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without)
                ) =>
            {
                self.aggregation(name, op)
            }
            TokenKind::Identifier | TokenKind::Word(_) if next == TokenKind::LeftParen => {
                self.call(name)
            }
            _ => Ok(Expr::Vector(self.named_selector(name)?)),
        }
    }

    fn call(&mut self, name: Token) -> Parsed<Expr> {
        let (args, close) = self.call_body()?;
        let text = self.token_text(name);
        let Some(function) = signature(text) else {
            let message = format!("unknown function with name {}", quoted(text));
            return self.fault(name.span(), message);
        };
        if function.experimental && !self.options.experimental_functions {
            return self.fault(name.span(), format!("function {} is not enabled", quoted(text)));
        }
        Ok(Expr::Call(Call { function, args, span: name.span().to(close.span()) }))
    }

    /// Arguments in parentheses, and the closing one.
    fn call_body(&mut self) -> Parsed<(Vec<Expr>, Token)> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        let mut height = 0;
        let mut close = self.accept(TokenKind::RightParen)?;
        while close.is_none() {
            args.push(self.nest(Self::expr)?);
            height = height.max(self.height);
            if let Some(comma) = self.accept(TokenKind::Comma)? {
                if !self.peek()?.kind.starts_expr() {
                    let message = "trailing commas not allowed in function call args";
                    return self.fault(comma.span(), message);
                }
            } else {
                close = Some(self.expect(TokenKind::RightParen)?);
            }
        }
        self.grow(height)?;
        match close {
            Some(close) => Ok((args, close)),
            None => self.unexpected(),
        }
    }

    fn aggregation(&mut self, name: Token, op: AggregateOp) -> Parsed<Expr> {
        self.aggregations_open += 1;
        let before = self.grouping()?;
        let (args, mut close) = self.call_body()?;
        self.aggregations_open -= 1;
        let grouping = match before {
            Some((grouping, _)) => grouping,
            None => match self.grouping()? {
                Some((grouping, end)) => {
                    close = end;
                    grouping
                }
                None => Grouping::default(),
            },
        };
        let span = name.span().to(close.span());
        let (expr, param) = self.aggregation_args(op, args, span)?;
        let Grouping { labels, without } = grouping;
        Ok(Expr::Aggregation(Aggregation { op, expr, param, grouping: labels, without, span }))
    }

    fn grouping(&mut self) -> Parsed<Option<(Grouping, Token)>> {
        let without = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.next()?;
        let (labels, close) = self.grouping_labels()?;
        Ok(Some((Grouping { labels, without }, close)))
    }

    /// The expression and the parameter of an aggregation.
    fn aggregation_args(
        &self,
        op: AggregateOp,
        args: Vec<Expr>,
        span: Span,
    ) -> Parsed<(Box<Expr>, Option<Box<Expr>>)> {
        if args.is_empty() {
            return self.fault(span, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let name = op.as_str();
            let message = format!(
                "{name}() is experimental and must be enabled with \
                 --enable-feature=promql-experimental-functions"
            );
            return self.fault(span, message);
        }
        let (got, expected) = (args.len(), 1 + usize::from(op.param_type().is_some()));
        let mut args = args.into_iter().map(Box::new);
        let taken = match expected {
            1 => (args.next(), None),
            _ => {
                let param = args.next();
                (args.next(), param)
            }
        };
        match (taken, args.next()) {
            ((Some(expr), param), None) => Ok((expr, param)),
            _ => self.fault(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected \
                     {expected}, got {got}"
                ),
            ),
        }
    }

    /// `[range]` or `[range:step]` behind `expr`.
    fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
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

    fn offset_modifier(&mut self, expr: &mut Expr) -> Parsed<()> {
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

    fn at_modifier(&mut self, expr: &mut Expr) -> Parsed<()> {
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

    fn edges_modifier(&self, expr: &mut Expr, word: Keyword) -> Parsed<()> {
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

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a duration is below 2^53 milliseconds")]
fn seconds(ms: u64) -> f64 {
    // As upstream: whole seconds and the rest apart, so that both are exact.
    (ms / 1000) as f64 + (ms % 1000) as f64 / 1000.0
}
