//! Why a write was not taken as a whole. What was refused sample by sample: `refusal.rs`.

use crate::config::Fault;
use model::{Kind, TenantId};
use wire::http_error::unreadable_body;

/// Why a write was not taken: nothing of it was acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// Not this tenant, or not so much.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// Not a remote-write body.
    #[error(transparent)]
    Body(#[from] wire::remote_write::Error),
    /// Not an OTLP request.
    #[error(transparent)]
    Otlp(#[from] wire::otlp::Error),
    /// Not a compressed body, or one that grows too large.
    #[error(transparent)]
    Gzip(#[from] wire::gzip::Error),
    /// A parameter that cannot be.
    #[error("{name} is {value:?}, wanted {wanted}")]
    Parameter { name: &'static str, value: String, wanted: &'static str },
    /// One line of an import is longer than a whole request may be.
    #[error("it is longer than {limit} bytes (max_request_bytes)")]
    LongLine { limit: u64 },
    /// An import ended in the middle.
    #[error("line {line}: {error}; what stands before line {open_line} is written")]
    Import { line: u64, open_line: u64, error: Box<Error> },
    /// The sender stopped in the middle of its body, or what it sends is no HTTP.
    #[error("the body cannot be read: {text}")]
    BodyRead { text: String, kind: Kind },
    /// The sender takes too long to send its body.
    #[error("the body did not arrive within {timeout_ms} ms")]
    BodyTimeout { timeout_ms: u64 },
    /// Too much is under way.
    #[error("{inflight_bytes_max} bytes of writes are under way, which is the most; try again")]
    Overloaded { inflight_bytes_max: u64 },
    /// Too much of this tenant is under way.
    #[error(
        "tenant {tenant} has {bytes_max} bytes of writes under way, which is the most for one tenant; try again"
    )]
    TenantOverloaded { tenant: TenantId, bytes_max: u64 },
    /// It takes more memory than there is when nothing else is under way.
    #[error(
        "the write takes {bytes} bytes of memory and {whose} may have {bytes_max} (write.memory)"
    )]
    NeverFits { bytes: u64, whose: &'static str, bytes_max: u64 },
    /// Too few replicas have it.
    #[error("{required} of {replicas} replicas have to take the write and {alive} can: {cause}")]
    Consistency { required: usize, replicas: usize, alive: usize, cause: String, kind: Kind },
    /// The series cache was replaced under the request again and again.
    #[error("the series cache did not come to rest; try again")]
    Restless,
    /// A task ended without an answer.
    #[error("{0}")]
    Internal(String),
    /// The settings or parts do not fit together.
    #[error("distributor: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config { faults: Vec<Fault> },
}

impl Error {
    /// That a body cannot be read.
    pub(crate) fn of_body(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::BodyRead { text: error.to_string(), kind: unreadable_body(error) }
    }

    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Guard(error) => error.kind(),
            Self::Body(error) => error.kind(),
            Self::Otlp(error) => error.kind(),
            Self::Gzip(error) => error.kind(),
            Self::Parameter { .. } => Kind::Invalid,
            Self::LongLine { .. } | Self::NeverFits { .. } => Kind::TooLarge,
            Self::Import { error, .. } => error.kind(),
            Self::BodyTimeout { .. } => Kind::Timeout,
            Self::Overloaded { .. } | Self::TenantOverloaded { .. } | Self::Restless => {
                Kind::Unavailable
            }
            Self::Consistency { kind, .. } | Self::BodyRead { kind, .. } => *kind,
            Self::Internal(_) => Kind::Internal,
            Self::Config { .. } => Kind::Invalid,
        }
    }

    /// Whether it was refused because too much is under way.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. }
                | Self::TenantOverloaded { .. }
                | Self::Guard(
                    guard::Error::TooManyTenants { .. } | guard::Error::NewTenants { .. }
                )
        )
    }

    /// How long the caller had better wait, in milliseconds; 0 if nobody knows.
    #[must_use]
    pub fn retry_after_ms(&self) -> u64 {
        match self {
            Self::Guard(error) => error.retry_after_ms().unwrap_or(0),
            Self::Import { error, .. } => error.retry_after_ms(),
            _ => 0,
        }
    }
}
