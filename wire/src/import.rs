//! Lines of the formats that are imported as a stream: CONTRACTS.md section 8. One line is read at a
//! time, and says a few series or why it cannot be read.
//!
//! # Invariants
//! - Any bytes are an answer, never a panic, in time and memory linear in their number.
//!
//! Not here: where lines come from and where their samples go (`distributor::import`).

pub mod exposition;
pub mod json_lines;
pub mod line_protocol;

use std::borrow::Cow;

/// Labels in the order sent.
pub type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Why a line cannot be read: what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLine(pub Cow<'static, str>);

impl From<&'static str> for BadLine {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// One series and samples of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// Its labels, the metric's name among them.
    pub labels: Labels<'a>,
    /// Milliseconds since 1970, and value.
    pub samples: Vec<(i64, f64)>,
}
