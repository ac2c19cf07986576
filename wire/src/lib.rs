//! Bytes between processes: remote write, peer frames, error to status. The only crate that opens a socket to a peer.

pub mod gzip;
pub mod http_error;
pub mod import;
pub mod otlp;
pub mod peer;
mod protobuf;
pub mod remote_read;
pub mod remote_write;
pub mod replica;
