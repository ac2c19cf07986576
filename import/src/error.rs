//! What can go wrong with a source.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with a source.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Bytes that make no sense, or do not match their checksum.
    #[error("`{path}` is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    /// Bytes that a later release wrote, or another program.
    #[error("`{path}` at byte {offset}: {what} is not supported")]
    Unsupported { path: PathBuf, offset: u64, what: String },
    /// A line of a text that is not OpenMetrics.
    #[error("`{path}` line {line}: {detail}")]
    Line { path: PathBuf, line: u64, detail: String },
    /// It does not look like what it should be.
    #[error("`{path}` is not {what}")]
    NotASource { path: PathBuf, what: &'static str },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, detail: detail.into() }
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
