//! Where the engine gets series from.

use model::read::{Estimate, Selection};
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

    /// What a selection is likely to return. By default nothing much: then it is fetched at once.
    ///
    /// # Errors
    /// As [`SeriesSource::select`].
    fn estimate(&self, selection: &Selection) -> Result<Estimate, SourceError> {
        let _ = selection;
        Ok(Estimate::default())
    }

    /// Called on each thread that works through shards, before the first of them; it does nothing
    /// else, and ends with them. May block until there is room for work as heavy as this.
    ///
    /// # Errors
    /// As [`SeriesSource::select`], for whoever is told to stop while waiting.
    fn begin_shards(&self) -> Result<(), SourceError> {
        Ok(())
    }
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
