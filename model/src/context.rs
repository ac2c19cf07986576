//! Who asks, under which id, and for how long: carried by every request and internal message.

use crate::label::Text;
use crate::tenant::TenantId;
use crate::time::TimestampMs;
use std::fmt;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody proved who they are, and nobody had to: authentication is off.
    Anonymous,
    /// This process itself: its own metrics.
    System,
    /// Somebody who proved their name.
    Named(Text),
}

/// Names one request in logs, on the wire and in the commit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What every request and every internal message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Whose data.
    pub tenant: TenantId,
    /// Who asks.
    pub principal: Principal,
    /// The request's name.
    pub request_id: RequestId,
    /// How long the caller still waits, in milliseconds; 0 is "no limit was given".
    pub timeout_ms: u32,
    /// When the request began, by the clock of the process that took it: what has expired is judged
    /// by it, so that replicas agree. 0 is "not told": each by its own clock.
    pub now: TimestampMs,
    /// The version of the ring the sender decided by; 0 while the member list is static.
    pub ring_version: u64,
}
