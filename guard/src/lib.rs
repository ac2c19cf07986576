//! May this request go ahead, and who asks: tenants, limits, identity.
//!
//! Everything here decides on plain data: headers come in as bytes, the time as a number. Nothing
//! in this crate knows HTTP, YAML, a clock or a disk.

pub mod error;
pub mod ha;
pub mod identity;
pub mod limits;
pub mod otlp;
pub mod rate;
pub mod relabel;

pub use error::Error;
pub use ha::{HaTracker, HaVerdict, ha_was_delivered};
pub use identity::{Access, Tenancy};
pub use limits::{HaLimits, Limit, LimitTable, Limits, QueryLimits};
pub use otlp::{OtlpSettings, Translation};
pub use rate::{Beginnings, RateLimiter};
pub use relabel::{RelabelRule, Relabeling};
