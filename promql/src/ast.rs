//! The tree of a query: what the parser makes and the engine evaluates.
//!
//! # Invariants
//! - Every node has a [`Span`] by upstream's rules: a selector's ends behind its last modifier, a
//!   binary expression's goes from its first operand to its last.
//! - Operators of one precedence level that group to the left form one flat [`BinaryChain`]:
//!   `a or b or c` is three operands in a list, not two nested pairs. So the tree is never deeper
//!   than [`crate::DEPTH_MAX`] nodes, whatever the text, and a recursive walk over it (printing,
//!   evaluating, dropping) needs a bounded stack.
//! - Types are right: what came out of [`crate::parse`] has passed every static check.
//!
//! Not here: operators (`operator.rs`), durations (`duration.rs`), signatures of functions
//! (`signature.rs`), printing (`print.rs`, `pretty.rs`).

pub use crate::operator::{AggregateOp, BinaryOp};

use crate::duration::Duration;
use crate::signature::Signature;
use crate::span::Span;
use model::{Matcher, Text};
use std::borrow::Cow;

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One float.
    Scalar,
    /// One sample a series at one time.
    Vector,
    /// Many samples a series.
    Matrix,
    /// A text.
    String,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `5`, `0x1f`, `+Inf`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `name{a="b"} @ 5 offset 5m`
    Vector(VectorSelector),
    /// `name{a="b"}[5m]`
    Matrix(MatrixSelector),
    /// `expr[5m:1m]`
    Subquery(Subquery),
    /// `rate(x[5m])`
    Call(Call),
    /// `sum by (a) (x)`
    Aggregation(Aggregation),
    /// `a + b - c`
    Binary(BinaryChain),
    /// `-x`
    Unary(Unary),
    /// `(x)`
    Paren(Paren),
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Its value; seconds if it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration (`5m`).
    pub is_duration: bool,
    /// Its place.
    pub span: Span,
}

/// A text. Escapes can make bytes that are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    /// The bytes the literal stands for.
    pub bytes: Vec<u8>,
    /// Its place.
    pub span: Span,
}

impl StringLiteral {
    /// The text; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// When a selector or subquery is evaluated, other than at the evaluation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At this time, in milliseconds since 1970.
    Time(i64),
    /// At the query's first step.
    Start,
    /// At the query's last step.
    End,
}

/// What a window does at its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// Samples in the window only.
    Plain,
    /// `anchored`: the last sample before the window counts as one at its left edge.
    Anchored,
    /// `smoothed`: values at both edges are interpolated.
    Smoothed,
}

/// A selector of series.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name written before the braces, if there is one. It is among `matchers` too.
    pub name: Option<Text>,
    /// All conditions, in the order written, the name's last. They can be executed as they are: a
    /// condition whose text is not UTF-8 stands here as one with the same effect.
    pub matchers: Vec<Matcher>,
    /// The matchers that are not UTF-8 as written, by their index in `matchers`; for printing.
    pub raw_matchers: Vec<RawMatcher>,
    /// `offset`: how far back; negative: ahead. Zero if none is written.
    pub offset: Duration,
    /// `@`
    pub at: Option<At>,
    /// `anchored`, `smoothed`
    pub edges: Edges,
    /// Its place.
    pub span: Span,
}

/// A matcher as written, where name or value is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMatcher {
    /// Its index in [`VectorSelector::matchers`].
    pub index: usize,
    /// How it compares.
    pub op: model::MatchOp,
    /// The label's name.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// A selector with a range. Modifiers (`offset`, `@`, edges) are the inner selector's.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series, and when the range ends.
    pub vector: VectorSelector,
    /// How far the range goes back.
    pub range: Duration,
    /// Its place.
    pub span: Span,
}

/// An instant query evaluated over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated: an instant vector.
    pub expr: Box<Expr>,
    /// How far the range goes back.
    pub range: Duration,
    /// The step; `None`: the server's evaluation interval.
    pub step: Option<Duration>,
    /// `offset`: how far back; negative: ahead. Zero if none is written.
    pub offset: Duration,
    /// `@`
    pub at: Option<At>,
    /// Its place.
    pub span: Span,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: &'static Signature,
    /// The arguments as written; optional ones may be missing.
    pub args: Vec<Expr>,
    /// Its place.
    pub span: Span,
}

/// An aggregation over the series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// How.
    pub op: AggregateOp,
    /// Over what: an instant vector.
    pub expr: Box<Expr>,
    /// `k`, a quantile or a label name; there exactly if [`AggregateOp::param_type`] says so.
    pub param: Option<Box<Expr>>,
    /// The labels of `by` or `without`, as written.
    pub grouping: Vec<Text>,
    /// Whether `grouping` is what is left out.
    pub without: bool,
    /// Its place.
    pub span: Span,
}

/// Operators of one precedence level, applied from left to right:
/// `((first links[0]) links[1]) …`. `^`, which groups to the right, has one link only.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryChain {
    /// The leftmost operand.
    pub first: Box<Expr>,
    /// The operators, each with its right operand; at least one.
    pub links: Vec<Link>,
    /// Scalar if all operands are, else vector.
    pub value_type: ValueType,
    /// Its place.
    pub span: Span,
}

/// An operator of a [`BinaryChain`] and its right operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The operator.
    pub op: BinaryOp,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series find each other; there exactly if what is on the left and the right operand are
    /// both instant vectors.
    pub matching: Option<Box<Matching>>,
    /// The right operand.
    pub rhs: Expr,
    /// The place of the binary expression that ends with this operand: from the chain's start to
    /// the end of `rhs`.
    pub span: Span,
}

/// How many series of one side match how many of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// No grouping modifier.
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two instant vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// One or many, on which side.
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`, as written.
    pub labels: Vec<Text>,
    /// Whether `labels` are the ones that count (`on`), not the ones that don't (`ignoring`).
    pub on: bool,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<Text>,
    /// The value for a series that is missing on the left.
    pub fill_left: Option<f64>,
    /// The value for a series that is missing on the right.
    pub fill_right: Option<f64>,
}

/// A sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// A signed expression; of a number literal the sign is part of the literal instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// The sign.
    pub sign: Sign,
    /// A scalar or an instant vector.
    pub expr: Box<Expr>,
    /// Its place.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Box<Expr>,
    /// Its place.
    pub span: Span,
}

impl Expr {
    /// The node's place in the query text.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(node) => node.span,
            Self::String(node) => node.span,
            Self::Vector(node) => node.span,
            Self::Matrix(node) => node.span,
            Self::Subquery(node) => node.span,
            Self::Call(node) => node.span,
            Self::Aggregation(node) => node.span,
            Self::Binary(node) => node.span,
            Self::Unary(node) => node.span,
            Self::Paren(node) => node.span,
        }
    }

    /// What the expression evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregation(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(node) => node.function.returns,
            Self::Binary(node) => node.value_type,
            Self::Unary(node) => node.expr.value_type(),
            Self::Paren(node) => node.expr.value_type(),
        }
    }
}
