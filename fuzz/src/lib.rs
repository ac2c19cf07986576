//! What a fuzz target asks of a decoder, one module each; the targets only call these.
//!
//! A new decoder gets a module here, a file of three lines in `fuzz_targets/`, an entry in `Cargo.toml` and, if it
//! has inputs worth beginning with, a folder `seeds/<target>`.

pub mod import;
pub mod otlp;
pub mod remote_read;
pub mod remote_write;
