//! The PromQL language and engine: asks a SeriesSource, knows no HTTP.

mod annotations;
pub mod ast;
mod check;
pub mod duration;
pub mod error;
pub mod eval;
pub mod features;
mod functions;
pub mod histogram;
mod leaves;
mod lexer;
pub mod lint;
mod math;
mod number;
pub mod operator;
mod parse;
mod plan;
pub mod pretty;
mod print;
mod quote;
pub mod series_desc;
mod series_points;
pub mod signature;
pub mod source;
pub mod span;
mod token;
pub mod value;

pub use annotations::{is_tally, without_place};
pub use ast::{Expr, ValueType};
pub use error::ParseError;
pub use eval::shards::count_for as shard_count;
pub use eval::{Cancel, EvalError, EvalParams, Limits, Memory, Meter, Query, evaluate};
pub use features::Features;
pub use leaves::{Leaf, leaves};
pub use parse::{ParseOptions, parse, parse_selector};
pub use plan::{Read, reads};
pub use pretty::pretty;
pub use series_desc::{SeriesDescription, parse_series};
pub use series_points::{Point, TooManyPoints};
pub use source::{SeriesSource, SourceError};
pub use span::{LineColumn, Span, line_column};
pub use value::{Evaluation, InstantSample, Value};

/// Reads a duration such as `1h30m`, in milliseconds.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    number::parse_duration(text)
}

/// How many nodes deep a query may be.
pub const DEPTH_MAX: usize = 128;

/// The longest query text, in bytes.
pub const LENGTH_MAX: usize = 512 << 10;
