//! Frames: how bytes between peers are cut, numbered and checked.
//!
//! ```text
//! length u32   bytes after this field and the next
//! crc32c u32   of those bytes
//! kind   u8    request, part, last part, ping, pong, cancel
//! number u64   which request
//! payload
//! ```
//! All little-endian. During the handshake a frame is only `length u32` and the bytes.
//!
//! # Invariants
//! - Nothing is reserved by a declared length alone: memory grows with the bytes that arrive.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most bytes of a frame before the peer has proved itself.
pub const HELLO_BYTES_MAX: usize = 4 << 10;

/// The most bytes of a frame after that.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Bytes of a frame that are not payload, its length and checksum left out.
const HEAD_BYTES: usize = 9;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A question.
    Request,
    /// A part of an answer; more follow.
    Part,
    /// The last or only part of an answer.
    Last,
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// Nobody waits for the answer any more.
    Cancel,
}

impl FrameKind {
    const ALL: [Self; 6] =
        [Self::Request, Self::Part, Self::Last, Self::Ping, Self::Pong, Self::Cancel];
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Which request it belongs to; 0 for pings.
    pub number: u64,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without a payload.
    #[must_use]
    pub fn bare(kind: FrameKind) -> Self {
        Self { kind, number: 0, payload: Vec::new() }
    }

    fn head(&self) -> [u8; HEAD_BYTES] {
        let place = FrameKind::ALL.iter().position(|kind| *kind == self.kind).unwrap_or_default();
        let mut head = [0; HEAD_BYTES];
        head[0] = u8::try_from(place).unwrap_or_default();
        head[1..].copy_from_slice(&self.number.to_le_bytes());
        head
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Sends a frame; not flushed.
///
/// # Errors
/// Those of the socket, and a payload that is too large.
pub async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let len = frame.payload.len() + HEAD_BYTES;
    if len > FRAME_BYTES_MAX {
        return Err(broken("a frame is too large to send"));
    }
    let head = frame.head();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &frame.payload);
    to.write_u32_le(u32::try_from(len).unwrap_or(u32::MAX)).await?;
    to.write_u32_le(crc).await?;
    to.write_all(&head).await?;
    to.write_all(&frame.payload).await
}

/// Receives a frame of at most `bytes_max` bytes; `None` at the end of the stream.
///
/// # Errors
/// Those of the socket; `InvalidData` for a frame that is too large or damaged.
pub async fn read_frame(
    from: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<Frame>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..]).await?;
    let len = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if len < HEAD_BYTES || len > bytes_max.min(FRAME_BYTES_MAX) {
        return Err(broken("a frame is too large or too small"));
    }
    let crc = from.read_u32_le().await?;
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).await?;
    let payload = read_bytes(from, len - HEAD_BYTES).await?;
    if crc32c::crc32c_append(crc32c::crc32c(&head), &payload) != crc {
        return Err(broken("a frame does not match its checksum"));
    }
    let [kind, number @ ..] = head;
    let Some(kind) = FrameKind::ALL.get(usize::from(kind)).copied() else {
        return Err(broken("a frame of an unknown kind"));
    };
    Ok(Some(Frame { kind, number: u64::from_le_bytes(number), payload }))
}

/// Sends a short message before the proof.
///
/// # Errors
/// Those of the socket, and a message that is too long.
pub async fn write_hello(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > HELLO_BYTES_MAX {
        return Err(broken("a hello is too large to send"));
    }
    to.write_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

/// Receives a short message before the proof.
///
/// # Errors
/// Those of the socket; `InvalidData` for a message that is too long.
pub async fn read_hello(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let len = usize::try_from(from.read_u32_le().await?).unwrap_or(usize::MAX);
    if len > HELLO_BYTES_MAX {
        return Err(broken("a hello is too large"));
    }
    read_bytes(from, len).await
}

/// Reads just `len` bytes into memory that grows as they arrive.
async fn read_bytes(from: &mut (impl AsyncRead + Unpin), len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len.min(64 << 10));
    let read = from.take(len as u64).read_to_end(&mut bytes).await?;
    if read < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bytes_of(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, frame).await.unwrap();
        bytes
    }

    fn frame() -> Frame {
        Frame { kind: FrameKind::Last, number: 7, payload: b"samples".to_vec() }
    }

    #[tokio::test]
    async fn a_frame_arrives_as_it_was_sent_and_the_end_is_the_end() {
        let bytes = bytes_of(&frame()).await;
        let mut from = &bytes[..];
        assert_eq!(read_frame(&mut from, FRAME_BYTES_MAX).await.unwrap(), Some(frame()));
        assert_eq!(read_frame(&mut from, FRAME_BYTES_MAX).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_frame_with_any_broken_or_missing_byte_is_refused() {
        let bytes = bytes_of(&frame()).await;
        for place in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[place] ^= 0x10;
            assert!(read_frame(&mut &broken[..], FRAME_BYTES_MAX).await.is_err(), "byte {place}");
            if place > 0 {
                let cut = read_frame(&mut &bytes[..place], FRAME_BYTES_MAX).await;
                assert!(cut.is_err(), "cut at {place}");
            }
        }
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_a_byte_of_it_is_read() {
        let mut from = &[0xff, 0xff, 0xff, 0x7f][..];
        assert!(read_frame(&mut from, FRAME_BYTES_MAX).await.is_err());
        let mut from = &4097_u32.to_le_bytes()[..];
        let error = read_hello(&mut from).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
