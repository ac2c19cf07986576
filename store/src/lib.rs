//! The LSM engine of one node: no async, no sockets, no thread, no clock of its own.

mod bytes;
mod cache;
pub mod checkpoint;
mod chunk;
pub mod commit_log;
pub mod compaction;
pub mod config;
#[cfg(test)]
mod crash_rig;
mod definitions;
pub mod disk;
pub mod engine;
pub mod error;
mod exemplar;
pub mod format_marker;
mod head;
pub mod inspect;
pub mod manifest;
mod merge;
mod postings;
mod record;
mod retention;
mod select;
pub mod sim;
pub mod snapshot;
mod sstable;
mod tombstone;
pub mod verify;

pub use config::Config;
pub use engine::Engine;
pub use error::{Error, Result};
pub use retention::RetentionConfig;
