//! Load from outside: workloads, a remote-write encoder, a blocking HTTP client.
//!
//! What is measured or tested here is another process behind a socket, so this crate knows no other
//! crate of ours: a mistake in our decoder must not hide behind the same mistake in our encoder.

pub mod http;
mod latency;
mod otlp;
pub mod process;
mod protobuf;
pub mod protocol;
pub mod read;
pub mod remote_write;
mod remote_write_2;
pub mod verify;
pub mod workload;
pub mod write;
