//! The LSM engine of one node: no async, no sockets, no thread, no clock of its own.

mod bytes;
pub mod checkpoint;
mod chunk;
pub mod commit_log;
pub mod config;
pub mod disk;
pub mod engine;
pub mod error;
pub mod format_marker;
pub mod manifest;
pub mod sim;

pub use config::Config;
pub use engine::Engine;
pub use error::{Error, Result};
