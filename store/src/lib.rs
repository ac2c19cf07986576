//! The LSM engine of one node: no async, no sockets, no thread, no clock of its own.

pub mod checkpoint;
pub mod commit_log;
pub mod disk;
pub mod error;
pub mod format_marker;
pub mod manifest;
pub mod sim;

pub use error::{Error, Result};
