//! Binary and unary expressions.

use super::{Parsed, Parser};
use crate::ast::{
    BinaryChain, BinaryOp, Cardinality, Expr, Link, Matching, Sign, Unary, ValueType,
};
use crate::span::Span;
use crate::token::{Keyword, Token, TokenKind};
use model::Text;

/// How tightly an operator binds: a higher level binds tighter.
fn level(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => POW_LEVEL,
    }
}

const POW_LEVEL: u8 = 6;

/// What stands between an operator and its right operand.
struct Modifiers {
    return_bool: bool,
    matching: Matching,
}

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.binary(0)
    }

    /// An expression on the heap, one level deeper.
    #[inline(never)]
    pub(super) fn inner(&mut self) -> Parsed<Box<Expr>> {
        self.nest(Self::expr).map(Box::new)
    }

    /// An expression of operators that bind at least as tightly as `level_min`.
    #[inline(never)]
    fn binary(&mut self, level_min: u8) -> Parsed<Expr> {
        let mut left = self.unary()?;
        let mut height = self.height;
        while let TokenKind::Op(op) = self.peek()?.kind {
            if level(op) < level_min {
                break;
            }
            height = self.operator(&mut left, height, op)?;
        }
        self.height = height;
        Ok(left)
    }

    /// The operator ahead, its modifiers and its right operand, put behind `left`; answers the
    /// new height of `left`.
    #[inline(never)]
    fn operator(&mut self, left: &mut Expr, height: usize, op: BinaryOp) -> Parsed<usize> {
        self.next()?;
        let modifiers = self.modifiers()?;
        // `^` groups to the right: its right operand may hold further ones.
        let right_level = if op == BinaryOp::Pow { level(op) } else { level(op) + 1 };
        let rhs = self.nest(|parser| parser.binary(right_level))?;
        self.join(left, height, op, modifiers, rhs)
    }

    /// Puts `op rhs` behind `left`; answers the new height of `left`.
    #[inline(never)]
    fn join(
        &mut self,
        left: &mut Expr,
        left_height: usize,
        op: BinaryOp,
        modifiers: Modifiers,
        rhs: Expr,
    ) -> Parsed<usize> {
        let span = left.span().to(rhs.span());
        let Modifiers { return_bool, matching } = modifiers;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.binop_fill_modifiers {
            return self.fault(span, "binop fill modifiers are experimental and not enabled");
        }
        let link = Link { op, return_bool, matching: Some(Box::new(matching)), rhs, span };
        match left {
            Expr::Binary(chain) if continues(chain, op) => {
                self.grow(self.height.max(left_height - 1))?;
                chain.links.push(link);
                chain.span = span;
            }
            _ => {
                self.grow(self.height.max(left_height))?;
                let placeholder = Expr::Binary(BinaryChain {
                    first: Box::new(Expr::empty()),
                    links: vec![link],
                    value_type: ValueType::Vector,
                    span,
                });
                let first = std::mem::replace(left, placeholder);
                if let Expr::Binary(chain) = left {
                    *chain.first = first;
                }
            }
        }
        Ok(self.height)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        match self.peek()?.kind {
            TokenKind::Op(BinaryOp::Add) => self.signed(Sign::Plus),
            TokenKind::Op(BinaryOp::Sub) => self.signed(Sign::Minus),
            _ => self.postfix(),
        }
    }

    #[inline(never)]
    fn signed(&mut self, sign: Sign) -> Parsed<Expr> {
        let token = self.next()?;
        let mut expr = Box::new(self.nest(|parser| parser.binary(POW_LEVEL))?);
        if let Expr::Number(number) = &mut *expr {
            if sign == Sign::Minus {
                number.value = -number.value;
            }
            number.span.start = token.start;
            return Ok(*expr);
        }
        self.grow(self.height)?;
        let span = token.span().to(expr.span());
        Ok(Expr::Unary(Unary { sign, expr, span }))
    }

    #[inline(never)]
    fn modifiers(&mut self) -> Parsed<Modifiers> {
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool))?.is_some();
        let mut matching = Matching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let token = self.peek()?.kind;
        if let TokenKind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = token {
            self.next()?;
            matching.on = word == Keyword::On;
            matching.labels = self.grouping_labels()?.0;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok(Modifiers { return_bool, matching })
    }

    fn group_modifier(&mut self, matching: &mut Matching) -> Parsed<()> {
        matching.cardinality = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.next()?;
        let next = self.peek()?.kind;
        if next == TokenKind::LeftParen || !next.starts_expr() {
            matching.include = self.grouping_labels()?.0;
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Parsed<()> {
        const FILL: TokenKind = TokenKind::Keyword(Keyword::Fill);
        const LEFT: TokenKind = TokenKind::Keyword(Keyword::FillLeft);
        const RIGHT: TokenKind = TokenKind::Keyword(Keyword::FillRight);
        if self.accept(FILL)?.is_some() {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
        } else if self.accept(LEFT)?.is_some() {
            matching.fill_left = Some(self.fill_value()?);
            if self.accept(RIGHT)?.is_some() {
                matching.fill_right = Some(self.fill_value()?);
            }
        } else if self.accept(RIGHT)?.is_some() {
            matching.fill_right = Some(self.fill_value()?);
            if self.accept(LEFT)?.is_some() {
                matching.fill_left = Some(self.fill_value()?);
            }
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen)?;
        let sign = self.accept_sign()?;
        let Some(literal) = self.accept_number()? else { return self.unexpected() };
        self.expect(TokenKind::RightParen)?;
        Ok(signed(sign, literal.value))
    }

    /// Takes a `+` or `-`, if there is one.
    pub(super) fn accept_sign(&mut self) -> Parsed<Option<(Sign, Token)>> {
        if let Some(token) = self.accept(TokenKind::Op(BinaryOp::Add))? {
            return Ok(Some((Sign::Plus, token)));
        }
        Ok(self.accept(TokenKind::Op(BinaryOp::Sub))?.map(|token| (Sign::Minus, token)))
    }

    /// The labels of `by`, `without`, `on`, `ignoring` and the group modifiers, in parentheses.
    /// Answers the closing one too.
    pub(super) fn grouping_labels(&mut self) -> Parsed<(Vec<Text>, Token)> {
        let mut labels = Vec::new();
        if self.accept(TokenKind::LeftParen)?.is_none() {
            return self.unexpected_in(" in grouping opts, expected \"(\"");
        }
        loop {
            if let Some(close) = self.accept(TokenKind::RightParen)? {
                return Ok((labels, close));
            }
            labels.push(self.grouping_label()?);
            match self.peek()?.kind {
                TokenKind::Comma => drop(self.next()?),
                TokenKind::RightParen => {}
                _ => return self.unexpected_in(" in grouping opts, expected \",\" or \")\""),
            }
        }
    }

    fn grouping_label(&mut self) -> Parsed<Text> {
        let token = self.peek()?;
        if token.kind.is_label_name() {
            self.next()?;
            return Ok(self.token_text(token).into());
        }
        if token.kind != TokenKind::String {
            return self.unexpected_in(" in grouping opts, expected label");
        }
        self.next()?;
        let bytes = self.string_bytes(token);
        match std::str::from_utf8(&bytes) {
            Ok(name) if !name.is_empty() => Ok(name.into()),
            _ => {
                let mut name = String::new();
                let _ = crate::quote::write_quoted(&mut name, &bytes);
                self.fault(token.span(), format!("invalid label name for grouping: {name}"))
            }
        }
    }
}

/// Whether `op` at the end of `chain` groups to the left with what is there.
fn continues(chain: &BinaryChain, op: BinaryOp) -> bool {
    op != BinaryOp::Pow && chain.links.first().is_some_and(|link| level(link.op) == level(op))
}

/// `value` with a sign before it.
pub(super) fn signed(sign: Option<(Sign, Token)>, value: f64) -> f64 {
    if matches!(sign, Some((Sign::Minus, _))) { -value } else { value }
}

impl Expr {
    /// Something to stand in while a node is moved.
    fn empty() -> Self {
        Self::String(crate::ast::StringLiteral { bytes: Vec::new(), span: Span::default() })
    }
}
