//! Why an evaluation ended without an answer.

use crate::source::SourceError;
use model::Kind;

/// Why an evaluation ended without an answer. The texts are those of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The query cannot be asked like this: a range query of a string.
    #[error("{0}")]
    Invalid(String),
    /// The query is well-formed and the data does not allow it: many-to-many matching.
    #[error("{0}")]
    Unexecutable(String),
    /// More samples in memory at once than the limit allows.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Columns would need more memory than the limit allows.
    #[error("query processing would need more than {0} bytes of memory in query execution")]
    TooManyBytes(u64),
    /// So would the series of a subquery, which are there at all of its steps at once.
    #[error(
        "query processing would need more than {bytes_max} bytes of memory in query execution: a \
         subquery in it has {steps} steps over the whole query, and each of its series a value at \
         each; a greater step of the subquery or a shorter range of the query needs less"
    )]
    #[expect(missing_docs, reason = "the message names its fields")]
    SubqueryTooLarge { steps: usize, bytes_max: u64 },
    /// All queries together would need more memory than there is for them.
    #[error("the memory for queries is used up, {0} bytes more were needed")]
    OutOfMemory(u64),
    /// The caller has left.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The time is up.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The series could not be had.
    #[error("expanding series: {0}")]
    Source(#[from] SourceError),
    /// A bug of ours.
    #[error("unexpected error: {0}")]
    Internal(String),
}

impl EvalError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Unexecutable(_)
            | Self::TooManySamples
            | Self::TooManyBytes(_)
            | Self::SubqueryTooLarge { .. } => Kind::Unexecutable,
            Self::OutOfMemory(_) => Kind::Unavailable,
            Self::Canceled => Kind::Canceled,
            Self::Timeout => Kind::Timeout,
            Self::Source(error) => error.kind,
            Self::Internal(_) => Kind::Internal,
        }
    }

    /// The error, if it came of a subquery of so many steps.
    pub(crate) fn in_subquery(self, steps: usize) -> Self {
        match self {
            Self::TooManyBytes(bytes_max) => Self::SubqueryTooLarge { steps, bytes_max },
            other => other,
        }
    }

    /// The error of two output series that have the same labels at the same time.
    pub(crate) fn same_labels() -> Self {
        Self::Unexecutable("vector cannot contain metrics with the same labelset".into())
    }

    pub(crate) fn unexecutable(message: impl Into<String>) -> Self {
        Self::Unexecutable(message.into())
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }
}
