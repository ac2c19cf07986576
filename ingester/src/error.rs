//! What can go wrong when a replica starts or stops.

use model::Kind;

/// What can go wrong when a replica starts or stops. Requests answer `wire::replica::ReplicaError`.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// The store could not be opened, flushed or closed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The operating system gave no thread.
    #[error("failed to start the thread `{name}`: {source}")]
    Thread { name: &'static str, source: std::io::Error },
    /// A metric's name is taken.
    #[error("failed to register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread of ours panicked; its message is in the log.
    #[error("the thread `{name}` panicked")]
    Panicked { name: &'static str },
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Thread { .. } => Kind::Unavailable,
            Self::Metrics(_) | Self::Panicked { .. } => Kind::Internal,
        }
    }
}
