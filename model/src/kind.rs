//! What an error asks of its caller: one member per thing a caller can do.

/// What an error asks of its caller. `wire::http_error` maps it to a status, and nobody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Fix the request.
    Invalid,
    /// Show who you are.
    Unauthenticated,
    /// Get rights.
    Denied,
    /// The request is well-formed and cannot be carried out: many-to-many, a guard-rail.
    Unexecutable,
    /// Slow down.
    Limited,
    /// There is no such thing.
    NotFound,
    /// Send less at once.
    TooLarge,
    /// Send it in another form.
    Unsupported,
    /// The caller has left.
    Canceled,
    /// It took too long: ask for less, or again later.
    Timeout,
    /// Try again later: replicas, overload, starting, stopping.
    Unavailable,
    /// Stored bytes do not match their checksum.
    Corrupt,
    /// Our fault.
    Internal,
}
