//! Durations of ranges, steps and offsets: fixed, or arithmetic over the query's step and range.

use crate::span::Span;

/// A duration, or how to work it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// This many milliseconds.
    Fixed(i64),
    /// An expression that may ask for the query's step or range.
    Expr(Box<DurationExpr>),
}

/// An expression that gives seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Its place.
    pub span: Span,
}

/// The forms of a [`DurationExpr`].
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// `5m` or `300`, in seconds.
    Number {
        /// Seconds.
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// `step()`: the query's step.
    Step,
    /// `range()`: the query's end minus its start.
    Range,
    /// `min_of(a, b)`
    MinOf(Box<[DurationExpr; 2]>),
    /// `max_of(a, b)`
    MaxOf(Box<[DurationExpr; 2]>),
    /// `-a`
    Minus(Box<DurationExpr>),
    /// `(a)`
    Paren(Box<DurationExpr>),
    /// Operators of one precedence level, applied from left to right, as in
    /// [`crate::ast::BinaryChain`].
    Chain {
        /// The leftmost operand.
        first: Box<DurationExpr>,
        /// The operators, each with its right operand; at least one.
        links: Vec<(DurationOp, DurationExpr)>,
    },
}

/// An operator between durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the language names them")]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl DurationOp {
    /// As written in a query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }
}

/// What a duration may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryWindow {
    /// The query's step in milliseconds; 0 for an instant query.
    pub step_ms: i64,
    /// The query's end minus its start in milliseconds; 0 for an instant query.
    pub range_ms: i64,
}

/// Whether a duration may be zero or negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Any: offsets.
    Any,
    /// Above zero only: ranges and steps.
    Positive,
}

/// A duration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {reason}", span.start, span.end)]
pub struct DurationError {
    /// What is wrong with it.
    pub reason: &'static str,
    /// The place of the expression, in bytes; of `min_of` and `max_of` it is that of their arguments.
    pub span: Span,
}

impl Duration {
    /// The milliseconds it stands for in a query with this step and range.
    ///
    /// # Errors
    /// [`DurationError`] if an expression divides by zero, gives a value that is not `allowed`, or
    /// one that no duration can hold.
    pub fn resolve(&self, window: QueryWindow, allowed: Allowed) -> Result<i64, DurationError> {
        let expr = match self {
            Self::Fixed(ms) => return Ok(*ms),
            Self::Expr(expr) => expr,
        };
        let seconds = expr.seconds(window)?;
        let fault = |reason| Err(DurationError { reason, span: expr.span });
        if !seconds.is_finite() {
            return fault("duration is NaN or infinite");
        }
        if allowed == Allowed::Positive && seconds <= 0.0 {
            return fault("duration must be greater than 0");
        }
        match seconds_to_ms(seconds) {
            Some(ms) => Ok(ms),
            None => fault("duration is out of range"),
        }
    }
}

/// The longest duration there is, in seconds: what 64-bit nanoseconds hold, some 292 years.
pub(crate) const SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// What `offset NaN` stands for: upstream makes the least 64-bit number of nanoseconds of it. One
/// below what any other literal can give.
pub(crate) const NAN_MS: i64 = -9_223_372_036_855;

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self::Fixed(0);

    /// A literal of so many seconds, rounded to nanoseconds and cut to milliseconds.
    pub(crate) fn literal(seconds: f64) -> Self {
        if seconds.is_nan() {
            return Self::Fixed(NAN_MS);
        }
        #[expect(clippy::cast_possible_truncation, reason = "beyond the range it stays at its end")]
        let nanoseconds = (seconds * 1e9).round() as i64;
        Self::Fixed(nanoseconds / 1_000_000)
    }
}

/// Whole milliseconds, toward zero; `None` beyond [`SECONDS_MAX`] or if not a number.
pub(crate) fn seconds_to_ms(seconds: f64) -> Option<i64> {
    if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "its magnitude is checked above")]
    let ms = (seconds * 1000.0) as i64;
    Some(ms)
}

impl DurationExpr {
    /// Its value in seconds.
    ///
    /// # Errors
    /// [`DurationError`] if it divides by zero.
    fn seconds(&self, window: QueryWindow) -> Result<f64, DurationError> {
        Ok(match &self.kind {
            DurationKind::Number { value, .. } => *value,
            DurationKind::Step => ms_to_seconds(window.step_ms),
            DurationKind::Range => ms_to_seconds(window.range_ms),
            DurationKind::MinOf(pair) => {
                let [a, b] = &**pair;
                go_min(a.seconds(window)?, b.seconds(window)?)
            }
            DurationKind::MaxOf(pair) => {
                let [a, b] = &**pair;
                -go_min(-a.seconds(window)?, -b.seconds(window)?)
            }
            DurationKind::Paren(expr) => expr.seconds(window)?,
            DurationKind::Minus(expr) => -expr.seconds(window)?,
            DurationKind::Chain { first, links } => {
                let mut value = first.seconds(window)?;
                for (op, rhs) in links {
                    let span = self.span.to(rhs.span);
                    value = apply(*op, value, rhs.seconds(window)?, span)?;
                }
                value
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a query are far below 2^53")]
fn ms_to_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The smaller one; NaN if either is.
fn go_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn apply(op: DurationOp, a: f64, b: f64, span: Span) -> Result<f64, DurationError> {
    match op {
        DurationOp::Div if b == 0.0 => Err(DurationError { reason: "division by zero", span }),
        DurationOp::Mod if b == 0.0 => Err(DurationError { reason: "modulo by zero", span }),
        DurationOp::Add => Ok(a + b),
        DurationOp::Sub => Ok(a - b),
        DurationOp::Mul => Ok(a * b),
        DurationOp::Div => Ok(a / b),
        DurationOp::Mod => Ok(a % b),
        DurationOp::Pow => Ok(a.powf(b)),
    }
}
