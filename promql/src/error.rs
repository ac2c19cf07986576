//! What is wrong with a query text.

use crate::span::{LineColumn, Span, line_column};
use std::fmt;

/// A query text that is not a query: the first thing wrong with it, in upstream's words.
///
/// Displayed as `line:column: parse error: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Where it starts as line and column; `None` if the text is empty.
    pub position: Option<LineColumn>,
}

impl ParseError {
    /// `message` about the part of `text` at `span`.
    pub(crate) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let position = (!text.is_empty()).then(|| line_column(text, span.start));
        Self { message: message.into(), span, position }
    }
}

/// An error on its way out of a recursion: boxed, so that no frame has to hold room for it.
pub(crate) type Fault = Box<ParseError>;

impl From<Fault> for ParseError {
    fn from(fault: Fault) -> Self {
        *fault
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{position}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}
