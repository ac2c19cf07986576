//! Durations in brackets and behind `offset`.
//!
//! Behind `offset` an operator is not part of the duration unless it is in parentheses:
//! `a offset 5m - 3` subtracts 3 from `a offset 5m`.

use super::expr::signed;
use super::{Parsed, Parser};
use crate::ast::{BinaryOp, Sign};
use crate::duration::{Duration, DurationExpr, DurationKind, DurationOp, SECONDS_MAX};
use crate::span::Span;
use crate::token::{Token, TokenKind, Word};

const OUT_OF_RANGE: &str = "duration out of range";
const IN_OFFSET: &str = " in offset, expected number, duration, step(), or range()";
const POW_LEVEL: u8 = 3;

fn level(op: DurationOp) -> u8 {
    match op {
        DurationOp::Add | DurationOp::Sub => 1,
        DurationOp::Mul | DurationOp::Div | DurationOp::Mod => 2,
        DurationOp::Pow => POW_LEVEL,
    }
}

fn duration_op(kind: TokenKind) -> Option<DurationOp> {
    Some(match kind {
        TokenKind::Op(BinaryOp::Add) => DurationOp::Add,
        TokenKind::Op(BinaryOp::Sub) => DurationOp::Sub,
        TokenKind::Op(BinaryOp::Mul) => DurationOp::Mul,
        TokenKind::Op(BinaryOp::Div) => DurationOp::Div,
        TokenKind::Op(BinaryOp::Mod) => DurationOp::Mod,
        TokenKind::Op(BinaryOp::Pow) => DurationOp::Pow,
        _ => return None,
    })
}

impl Parser<'_> {
    /// A range or a step. `context` ends the message if something else stands here.
    pub(super) fn positive_duration(&mut self, context: &str) -> Parsed<Duration> {
        let expr = self.duration_binary(0, context)?;
        match expr.kind {
            DurationKind::Number { value, .. } if value <= 0.0 => {
                self.fault(expr.span, "duration must be greater than 0")
            }
            _ => Ok(finished(expr)),
        }
    }

    /// What stands behind `offset`, and where it ends.
    pub(super) fn offset_duration(&mut self) -> Parsed<(Duration, u32)> {
        let expr = match self.peek()?.kind {
            TokenKind::Number | TokenKind::Duration => self.duration_operand(IN_OFFSET)?,
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => self.signed_offset()?,
            TokenKind::Word(Word::Step | Word::Range | Word::MaxOf | Word::MinOf) => {
                self.duration_operand(IN_OFFSET)?
            }
            _ => self.duration_binary(0, IN_OFFSET)?,
        };
        Ok((finished(expr), self.last_end))
    }

    fn signed_offset(&mut self) -> Parsed<DurationExpr> {
        let Some((sign, token)) = self.accept_sign()? else {
            return self.unexpected_in(IN_OFFSET);
        };
        match self.peek()?.kind {
            TokenKind::Number | TokenKind::Duration => {
                let Some(literal) = self.accept_number()? else {
                    return self.unexpected_in(IN_OFFSET);
                };
                let value = signed(Some((sign, token)), literal.value);
                if value.abs() > SECONDS_MAX {
                    return self.fault(token.span(), OUT_OF_RANGE);
                }
                let kind = DurationKind::Number { value, is_duration: literal.is_duration };
                Ok(DurationExpr { kind, span: token.span().to(literal.span) })
            }
            TokenKind::Word(_) => {
                let inner = self.duration_word(IN_OFFSET)?;
                let span = token.span().to(inner.span);
                self.need_expressions(span)?;
                self.apply_sign(sign, token, inner)
            }
            TokenKind::LeftParen => {
                let inner = self.duration_paren(IN_OFFSET)?;
                self.apply_sign(sign, token, inner)
            }
            _ => {
                let inner = self.nest(|parser| parser.duration_binary(POW_LEVEL, IN_OFFSET))?;
                let left = self.apply_sign(sign, token, inner)?;
                self.duration_binary_from(left, 0, IN_OFFSET)
            }
        }
    }

    fn duration_binary(&mut self, level_min: u8, context: &str) -> Parsed<DurationExpr> {
        let left = self.duration_operand(context)?;
        self.duration_binary_from(left, level_min, context)
    }

    fn duration_binary_from(
        &mut self,
        mut left: DurationExpr,
        level_min: u8,
        context: &str,
    ) -> Parsed<DurationExpr> {
        while let Some(op) = duration_op(self.peek()?.kind) {
            let level = level(op);
            if level < level_min {
                break;
            }
            let token = self.next()?;
            let right_level = if op == DurationOp::Pow { level } else { level + 1 };
            let rhs = self.nest(|parser| parser.duration_binary(right_level, context))?;
            self.need_expressions(left.span)?;
            let divisor_is_zero = matches!(rhs.kind, DurationKind::Number { value: 0.0, .. });
            match op {
                DurationOp::Div if divisor_is_zero => {
                    return self.fault(token.span(), "division by zero");
                }
                DurationOp::Mod if divisor_is_zero => {
                    return self.fault(token.span(), "modulo by zero");
                }
                _ => join(&mut left, op, rhs),
            }
        }
        Ok(left)
    }

    fn duration_operand(&mut self, context: &str) -> Parsed<DurationExpr> {
        let token = self.peek()?;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let Some(literal) = self.accept_number()? else {
                    return self.unexpected_in(context);
                };
                if literal.value.abs() > SECONDS_MAX {
                    return self.fault(literal.span, OUT_OF_RANGE);
                }
                let (value, is_duration) = (literal.value, literal.is_duration);
                let kind = DurationKind::Number { value, is_duration };
                Ok(DurationExpr { kind, span: literal.span })
            }
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = if token.kind == TokenKind::Op(BinaryOp::Sub) {
                    Sign::Minus
                } else {
                    Sign::Plus
                };
                self.next()?;
                let inner = self.nest(|parser| parser.duration_binary(POW_LEVEL, context))?;
                self.apply_sign(sign, token, inner)
            }
            TokenKind::LeftParen => {
                let expr = self.duration_paren(context)?;
                let DurationKind::Paren(inner) = &expr.kind else { return Ok(expr) };
                self.need_expressions(inner.span)?;
                Ok(expr)
            }
            TokenKind::Word(Word::Step | Word::Range | Word::MaxOf | Word::MinOf) => {
                let expr = self.duration_word(context)?;
                self.need_expressions(expr.span)?;
                Ok(expr)
            }
            _ => self.unexpected_in(context),
        }
    }

    /// `(a)`. Parentheses in parentheses are one pair.
    fn duration_paren(&mut self, context: &str) -> Parsed<DurationExpr> {
        let open = self.next()?;
        let inner = self.nest(|parser| parser.duration_binary(0, context))?;
        if self.accept(TokenKind::RightParen)?.is_none() {
            return self.unexpected_in(context);
        }
        Ok(match inner.kind {
            DurationKind::Paren(_) => inner,
            DurationKind::Number { .. } => {
                let span = open.span().to(inner.span);
                DurationExpr { kind: DurationKind::Paren(Box::new(inner)), span }
            }
            _ => {
                let span = inner.span;
                DurationExpr { kind: DurationKind::Paren(Box::new(inner)), span }
            }
        })
    }

    /// `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`.
    fn duration_word(&mut self, context: &str) -> Parsed<DurationExpr> {
        let token = self.peek()?;
        let TokenKind::Word(word) = token.kind else { return self.unexpected_in(context) };
        if matches!(word, Word::Start | Word::End) {
            return self.unexpected_in(context);
        }
        self.next()?;
        if self.accept(TokenKind::LeftParen)?.is_none() {
            return self.unexpected_in(context);
        }
        let kind = match word {
            Word::MaxOf => DurationKind::MaxOf(self.duration_pair(context)?),
            Word::MinOf => DurationKind::MinOf(self.duration_pair(context)?),
            Word::Step => DurationKind::Step,
            _ => DurationKind::Range,
        };
        let Some(close) = self.accept(TokenKind::RightParen)? else {
            return self.unexpected_in(context);
        };
        let span = match &kind {
            DurationKind::MaxOf(pair) | DurationKind::MinOf(pair) => pair[0].span.to(pair[1].span),
            _ => token.span().to(close.span()),
        };
        Ok(DurationExpr { kind, span })
    }

    fn duration_pair(&mut self, context: &str) -> Parsed<Box<[DurationExpr; 2]>> {
        let first = self.nest(|parser| parser.duration_binary(0, context))?;
        if self.accept(TokenKind::Comma)?.is_none() {
            return self.unexpected_in(context);
        }
        let second = self.nest(|parser| parser.duration_binary(0, context))?;
        Ok(Box::new([first, second]))
    }

    fn apply_sign(&self, sign: Sign, token: Token, expr: DurationExpr) -> Parsed<DurationExpr> {
        let span = token.span().to(expr.span);
        match expr.kind {
            DurationKind::Number { value, is_duration } => {
                let value = if sign == Sign::Minus { -value } else { value };
                Ok(DurationExpr { kind: DurationKind::Number { value, is_duration }, span })
            }
            _ if sign == Sign::Plus => Ok(expr),
            _ => Ok(DurationExpr { kind: DurationKind::Minus(Box::new(expr)), span }),
        }
    }

    /// What stands at `span` needs arithmetic in durations switched on.
    fn need_expressions(&self, span: Span) -> Parsed<()> {
        if self.options.duration_expressions {
            return Ok(());
        }
        self.fault(span, "experimental duration expression is not enabled")
    }
}

fn finished(expr: DurationExpr) -> Duration {
    match expr.kind {
        DurationKind::Number { value, .. } => Duration::literal(value),
        _ => Duration::Expr(Box::new(expr)),
    }
}

/// Puts `op rhs` behind `left`.
fn join(left: &mut DurationExpr, op: DurationOp, rhs: DurationExpr) {
    let span = left.span.to(rhs.span);
    match &mut left.kind {
        DurationKind::Chain { links, .. }
            if op != DurationOp::Pow
                && links.first().is_some_and(|(first, _)| level(*first) == level(op)) =>
        {
            links.push((op, rhs));
            left.span = span;
        }
        _ => {
            let number = DurationKind::Number { value: 0.0, is_duration: false };
            let placeholder = DurationExpr { kind: number, span };
            let first = Box::new(std::mem::replace(left, placeholder));
            left.kind = DurationKind::Chain { first, links: vec![(op, rhs)] };
        }
    }
}
