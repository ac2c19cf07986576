//! One replica: runs the store's jobs and answers the peers.

pub mod config;
pub mod embedded;
pub mod error;
pub mod exchange;
mod group;
mod job_thread;
mod log_thread;
mod telemetry;

pub use config::Config;
pub use embedded::{Embedded, EmbeddedParts};
pub use error::Error;
pub use exchange::Exchange;
