//! Frames of the streamed answer: a length, a checksum, and chunks of one series.
//!
//! # Invariants
//! - A frame has chunks of one series; a series that is too long for one goes on in the next.
//! - A frame's payload has at most 1 MiB: it takes no chunk more once it has [`FRAME_BYTES`], and a
//!   chunk is far below the rest.

use super::chunk::{Chunk, Chunks};
use crate::protobuf::write::{push_bytes, push_number, push_varint};
use crate::remote_write::push_labels;
use model::SeriesColumns;

/// A frame that has so many bytes is sent.
const FRAME_BYTES: usize = 64 << 10;

/// One series on its way out.
#[derive(Debug)]
pub struct SeriesFrames {
    query_index: u64,
    /// The labels of the series, as they begin each of its frames.
    labels: Vec<u8>,
    chunks: Chunks,
}

impl SeriesFrames {
    /// The frames of a series that answers the question of this number.
    #[must_use]
    pub fn new(query_index: u64, series: SeriesColumns) -> Self {
        let mut labels = Vec::new();
        push_labels(&series.labels, &mut labels);
        Self { query_index, labels, chunks: Chunks::of(series) }
    }

    /// Appends the next frame. False if there is none.
    pub fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let mut series = self.labels.clone();
        let mut is_empty = true;
        while series.len() < FRAME_BYTES || is_empty {
            let Some(chunk) = self.chunks.next() else { break };
            push_chunk(&chunk, &mut series);
            is_empty = false;
        }
        if is_empty {
            return false;
        }
        let mut payload = Vec::with_capacity(series.len() + 16);
        push_bytes(1, &series, &mut payload);
        if self.query_index > 0 {
            push_number(2, self.query_index, &mut payload);
        }
        push_varint(payload.len() as u64, out);
        out.extend_from_slice(&crc32c::crc32c(&payload).to_be_bytes());
        out.extend_from_slice(&payload);
        true
    }
}

fn push_chunk(chunk: &Chunk, into: &mut Vec<u8>) {
    let mut message = Vec::with_capacity(chunk.data.len() + 32);
    push_number(1, chunk.min_ms.cast_unsigned(), &mut message);
    push_number(2, chunk.max_ms.cast_unsigned(), &mut message);
    push_number(3, chunk.encoding as u64, &mut message);
    push_bytes(4, &chunk.data, &mut message);
    push_bytes(2, &message, into);
}
