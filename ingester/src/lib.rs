//! One replica: runs the store's jobs and answers the peers.

mod allocator;
mod background;
pub mod cassandra;
mod compaction_thread;
pub mod config;
pub mod embedded;
pub mod error;
pub mod exchange;
mod group;
mod job_thread;
mod log_thread;
mod pace;
mod rates;
mod scrub_pace;
mod telemetry;
mod told;

pub use compaction_thread::Sealed;
pub use config::Config;
pub use embedded::{Embedded, EmbeddedParts, SeriesShare, retention};
pub use error::Error;
pub use exchange::Exchange;
