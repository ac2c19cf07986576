//! Bytes between processes: remote write, peer frames, error to status. The only crate that opens a socket to a peer.

pub mod http_error;
pub mod peer;
mod protobuf;
pub mod remote_read;
pub mod remote_write;
pub mod replica;
