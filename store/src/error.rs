//! What can go wrong in the store, and what it asks of the caller.

use model::{Kind, TenantId};
use std::io;
use std::sync::Arc;

/// What can go wrong in the store.
///
/// It can be cloned, because one failed write refuses everybody who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// The operating system refused. What was acknowledged before is still safe.
    #[error("failed to {action} `{path}`: {source}")]
    Io { action: &'static str, path: String, source: Arc<io::Error> },
    /// Who keeps the bytes did not answer, or refused: that says nothing of the bytes. Ask again.
    #[error("failed to reach `{path}`: {why}")]
    Unreachable { path: String, why: String },
    /// Stored bytes are not what was written. Nothing of this file is guessed.
    #[error("`{path}` is damaged at byte {offset}: {detail}")]
    Corrupt { path: String, offset: u64, detail: String },
    /// The file comes from a later release. Nothing was touched.
    #[error(
        "`{path}` has format version {found}, this release knows up to {known}: use the release that wrote it"
    )]
    NewerFormat { path: String, found: u32, known: u32 },
    /// Another process works on the directory. Nothing was touched.
    #[error("the data directory `{directory}` is in use by another process")]
    Locked { directory: String },
    /// Another life of the process, or another process, has taken the store over: this one can
    /// change nothing any more. What was acknowledged is with the other.
    #[error("another process has taken `{path}` over")]
    Fenced { path: String },
    /// More waits for the disk than may wait: come back later.
    #[error("{pending_bytes} bytes wait for the commit log, at most {pending_bytes_max} may")]
    LogFull { pending_bytes: usize, pending_bytes_max: usize },
    /// One record is bigger than the log takes.
    #[error("a log record of {bytes} bytes is over the limit of {bytes_max}")]
    RecordTooLarge { bytes: usize, bytes_max: usize },
    /// The manifest cannot take more. Nothing was changed.
    #[error(
        "the manifest would have {bytes} bytes, at most {bytes_max} may be written: there are too many sstables or deletes"
    )]
    ManifestFull { bytes: u64, bytes_max: u64 },
    /// A matcher of a query cannot be used.
    #[error("matcher {matcher}: {detail}")]
    BadMatcher { matcher: String, detail: String },
    /// The columns of a mutation do not fit its series, or it holds what cannot be stored yet.
    #[error("the mutation cannot be stored: its columns do not fit, or it holds histograms")]
    BadMutation,
    /// A query would return more series than it may.
    #[error("the query hit the limit of {series_max} series")]
    TooManySeries { series_max: u64 },
    /// A query would return more samples than it may.
    #[error("the query hit the limit of {samples_max} samples")]
    TooManySamples { samples_max: u64 },
    /// Whoever ran a compaction stopped it. The files are as they were before.
    #[error("the compaction was stopped")]
    Stopped,
    /// Another job works on the same sstables: come back later.
    #[error("another job works on the same sstables")]
    Busy,
    /// More tombstones touch a query than the tenant's queries may meet.
    #[error(
        "{tombstones} deletes touch the query: limit `max_query_tombstones` {tombstones_max} of tenant `{tenant}`; ask for a shorter range"
    )]
    TooManyReadTombstones { tombstones: u64, tombstones_max: u64, tenant: TenantId },
    /// There are as many tombstones as there may be. Nothing was deleted.
    #[error(
        "nothing was deleted: the deletes kept here have reached the limit of {limit} {unit}; delete by fewer, wider requests"
    )]
    TooManyTombstones { limit: u64, unit: &'static str },
    /// There is a snapshot of that name already.
    #[error("there is a snapshot `{name}` already")]
    SnapshotExists { name: String },
    /// There is no snapshot of that name, or none that is whole.
    #[error("there is no snapshot `{name}`")]
    NoSuchSnapshot { name: String },
    /// A snapshot's name is made of letters, digits, `-` and `_`.
    #[error("`{name}` is not a snapshot's name: 1 to 64 letters, digits, `-` and `_`")]
    BadSnapshotName { name: String },
    /// A restore never mixes with what is there.
    #[error("`{directory}` is not empty: a snapshot is restored into an empty directory only")]
    NotEmpty { directory: String },
    /// The disk is nearly full: writes wait, reads and expiry go on.
    #[error(
        "{free_bytes} bytes free on the data disk, {reserve_bytes} are kept back (disk.reserve)"
    )]
    DiskReserve { free_bytes: u64, reserve_bytes: u64 },
}

impl Error {
    /// The operating system refused to `action` (a verb) the file at `path`.
    #[must_use]
    pub fn io(action: &'static str, path: &str, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// The bytes of `path` from `offset` on are not what was written.
    #[must_use]
    pub fn corrupt(path: &str, offset: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, detail: detail.into() }
    }

    /// Whether the disk has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Whether the process or the machine has run out of open files or memory: that says nothing of
    /// the bytes.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        // The numbers of both on Linux and BSD; only for memory there is a kind.
        const TOO_MANY_FILES: [i32; 2] = [23, 24];
        let is_it = |source: &io::Error| {
            source.kind() == io::ErrorKind::OutOfMemory
                || source.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
        };
        matches!(self, Self::Io { source, .. } if is_it(source))
    }

    /// What the error asks of the caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            // A failing disk is no fault of the sender: it must keep its samples and try again.
            Self::Io { .. }
            | Self::Unreachable { .. }
            | Self::LogFull { .. }
            | Self::DiskReserve { .. } => Kind::Unavailable,
            Self::ManifestFull { .. }
            | Self::Locked { .. }
            | Self::Fenced { .. }
            | Self::Stopped
            | Self::Busy => Kind::Unavailable,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::NewerFormat { .. } => Kind::Unsupported,
            Self::RecordTooLarge { .. } => Kind::TooLarge,
            Self::BadMatcher { .. } | Self::BadMutation => Kind::Invalid,
            Self::TooManySeries { .. }
            | Self::TooManySamples { .. }
            | Self::TooManyReadTombstones { .. }
            | Self::TooManyTombstones { .. } => Kind::Unexecutable,
            Self::SnapshotExists { .. } | Self::BadSnapshotName { .. } | Self::NotEmpty { .. } => {
                Kind::Invalid
            }
            Self::NoSuchSnapshot { .. } => Kind::NotFound,
        }
    }
}

/// What the store's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_are_no_word_of_the_file() {
        let of = |code| Error::io("open", "x", io::Error::from_raw_os_error(code)).is_exhausted();
        // ENOMEM, ENFILE, EMFILE; ENOENT, EIO, EACCES.
        assert_eq!([12, 23, 24, 2, 5, 13].map(of), [true, true, true, false, false, false]);
    }
}
