//! The PromQL language and engine: asks a SeriesSource, knows no HTTP.

pub mod ast;
pub mod duration;
pub mod eval;
mod math;
pub mod signature;
pub mod source;
pub mod span;
pub mod value;

pub use ast::{Expr, ValueType};
pub use eval::{Cancel, EvalError, EvalParams, Limits, Query, evaluate};
pub use source::{SeriesSource, SourceError};
pub use span::{LineColumn, Span, line_column};
pub use value::{Evaluation, InstantSample, Value};

/// How many nodes deep a query may be.
pub const DEPTH_MAX: usize = 128;
