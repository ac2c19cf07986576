//! Operands: literals, parentheses, calls, aggregations.

use super::{Parsed, Parser};
use crate::ast::{AggregateOp, Aggregation, Call, Expr, NumberLiteral, Paren, StringLiteral};
use crate::number::{parse_duration, parse_number};
use crate::quote::quoted;
use crate::signature::signature;
use crate::span::Span;
use crate::token::{Keyword, Token, TokenKind};
use model::Text;

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
    #[inline(never)]
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

    #[inline(never)]
    fn paren(&mut self) -> Parsed<Expr> {
        let open = self.next()?;
        let expr = self.inner()?;
        let close = self.expect(TokenKind::RightParen)?;
        self.grow(self.height)?;
        Ok(Expr::Paren(Paren { expr, span: open.span().to(close.span()) }))
    }

    /// What starts with a name: a call, an aggregation or a selector.
    #[inline(never)]
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

    #[inline(never)]
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
    #[inline(never)]
    fn call_body(&mut self) -> Parsed<(Vec<Expr>, Token)> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        let mut height = 0;
        let mut close = self.accept(TokenKind::RightParen)?;
        while close.is_none() {
            args.push(*self.inner()?);
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

    #[inline(never)]
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

    #[inline(never)]
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
    #[inline(never)]
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
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a duration is below 2^53 milliseconds")]
fn seconds(ms: u64) -> f64 {
    // As upstream: whole seconds and the rest apart, so that both are exact.
    (ms / 1000) as f64 + (ms % 1000) as f64 / 1000.0
}
