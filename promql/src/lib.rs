//! The PromQL language and engine: asks a SeriesSource, knows no HTTP.

pub mod source;
pub mod value;

pub use source::{SeriesSource, SourceError};
pub use value::{Evaluation, InstantSample, Value};
