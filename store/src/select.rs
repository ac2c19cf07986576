//! Selecting: what a reader asks, and what several sources found for it, put together.
//!
//! Each source (the head, an sstable) adds the series that match, named by texts, with the samples
//! it holds. A series that several sources hold is one in the end, its samples joined by D4.
//!
//! Not here: how a source finds its series (`head/read.rs`, `sstable/scan.rs`).

mod first;
mod gather;
mod query;

pub(crate) use first::First;
pub(crate) use gather::Gather;
pub use gather::Together;
pub(crate) use query::Query;

use crate::error::{Error, Result};
use model::Matcher;
use model::matcher::CompiledMatcher;

/// What of a series is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its samples.
    Samples,
    /// Only that there is a sample in the range.
    Presence,
    /// Only that there may be one.
    Possibility,
}

/// Makes matchers ready to be asked.
pub(crate) fn compile<'a>(
    matchers: impl IntoIterator<Item = &'a Matcher>,
) -> Result<Vec<CompiledMatcher>> {
    let bad = |matcher: &Matcher, detail: String| Error::BadMatcher {
        matcher: matcher.to_string(),
        detail,
    };
    matchers.into_iter().map(|m| m.compile().map_err(|error| bad(m, error.to_string()))).collect()
}
