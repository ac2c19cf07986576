//! Lines of the formats that are imported as a stream: CONTRACTS.md section 8. One line is read at a
//! time, and says a few series or why it cannot be read.
//!
//! # Invariants
//! - Any bytes are an answer, never a panic, in time linear in their number.
//! - What is held of a line is bound by [`LineBounds`]: a label or a sample can be a few bytes in a
//!   line and many times as much when it is read.
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

/// How much one line may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineBounds {
    /// Labels of a series.
    pub labels: usize,
    /// Series: fields, where one line has several.
    pub series: usize,
    /// Samples of a series.
    pub samples: usize,
}

impl LineBounds {
    /// No bound at all.
    pub const NONE: Self = Self { labels: usize::MAX, series: usize::MAX, samples: usize::MAX };

    fn too_many_labels(self) -> BadLine {
        BadLine(Cow::Owned(format!("more than {} labels", self.labels)))
    }

    fn too_many_fields(self) -> BadLine {
        BadLine(Cow::Owned(format!("more than {} fields (max_request_series)", self.series)))
    }

    fn too_many_samples(self) -> BadLine {
        BadLine(Cow::Owned(format!("more than {} samples (max_request_samples)", self.samples)))
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

#[cfg(test)]
mod tests;
