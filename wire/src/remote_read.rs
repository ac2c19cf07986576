//! Remote read as bytes: the question, and the answer in either of its forms.
//!
//! `SAMPLES` is one protobuf message in a snappy block; `STREAMED_XOR_CHUNKS` is a row of frames,
//! each a length, a checksum and some chunks of one series, in the encoding of Prometheus' blocks.
//! What the messages are: CONTRACTS.md section 7.
//!
//! # Invariants
//! - The length that a snappy block declares is checked before memory is taken.
//! - Any bytes give a question or an error, never a panic.
//! - A histogram that a chunk calls no reset is none: the chunk ends before one that is.
//!
//! Not here: which series are answered (`querier`).

mod bits;
mod chunk;
mod frame;
mod histogram;
mod request;
mod samples;
#[cfg(test)]
mod tests;
mod xor;

pub use chunk::{Chunk, Chunks, Encoding};
pub use frame::SeriesFrames;
pub use request::{Error, ReadQuery, ReadRequest, ResponseType, decode};
pub use samples::{push_series, response};

/// What the answer in the form `SAMPLES` is called.
pub const SAMPLES_TYPE: &str = "application/x-protobuf";

/// What the answer in the form `STREAMED_XOR_CHUNKS` is called.
pub const STREAMED_TYPE: &str =
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
