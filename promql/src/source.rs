//! Where the engine gets series from.

use model::read::Selection;
use model::{Kind, SeriesColumns};

/// A store, a cluster or a test's table, asked for series. Called off the async threads: it may
/// block.
pub trait SeriesSource: Sync {
    /// The series that match, each label set once, with their samples in the range (stale markers
    /// included), ascending by labels.
    ///
    /// # Errors
    /// [`SourceError`] if not every sample could be had: never a silent cut.
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError>;
}

/// Why a source could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What the caller can do about it.
    pub kind: Kind,
    /// What happened.
    pub message: String,
}
