//! A connection that is not held by being slow: a header that trickles in, an answer that nobody reads.
//!
//! # Invariants
//! - From the first byte of a header on, all of it comes within `header_timeout`, or the connection
//!   ends. Waiting for the first byte is waiting idle, and has a time of its own (`server.rs`).
//! - An answer of which the peer takes nothing for `stall_timeout` ends its connection, and what it
//!   held is given back.
//!
//! Not here: the time of a body (`server.rs`, and the routes that read one).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Nothing of the next request has come.
const IDLE: u8 = 0;
/// Some of its header has.
const HEADER: u8 = 1;
/// A request is being answered.
const BUSY: u8 = 2;

/// What a connection is doing, as its service knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// A header is complete.
    pub(super) fn begin(&self) {
        self.0.store(BUSY, Relaxed);
    }

    /// A request is answered.
    pub(super) fn end(&self) {
        self.0.store(IDLE, Relaxed);
    }
}

/// The times of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) header: Duration,
    pub(super) stall: Duration,
}

/// A stream that keeps to its times.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    phase: Phase,
    times: Times,
    header_ends: Option<Pin<Box<Sleep>>>,
    stall_ends: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, phase: Phase, times: Times) -> Self {
        Self { stream, phase, times, header_ends: None, stall_ends: None }
    }
}

/// Whether a time is over; if it is not, whoever asks is woken when it is.
fn is_over(ends: &mut Option<Pin<Box<Sleep>>>, after: Duration, cx: &mut Context<'_>) -> bool {
    let ends = ends.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
    ends.as_mut().poll(cx).is_ready()
}

fn too_slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before
            && this.phase.0.compare_exchange(IDLE, HEADER, Relaxed, Relaxed).is_ok()
        {
            this.header_ends = None;
        }
        if this.phase.0.load(Relaxed) != HEADER {
            this.header_ends = None;
        } else if is_over(&mut this.header_ends, this.times.header, cx) {
            return Poll::Ready(Err(too_slow("the header took too long")));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall_ends = None;
        } else if is_over(&mut self.stall_ends, self.times.stall, cx) {
            return Poll::Ready(Err(too_slow("the peer does not read its answer")));
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watched(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const TIMES: Times = Times { header: Duration::from_secs(10), stall: Duration::from_secs(60) };

    async fn after(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_trickles_ends_ten_seconds_after_its_first_byte() {
        let (mut peer, stream) = duplex(64);
        let mut paced = Paced::new(stream, Phase::default(), TIMES);
        after(1_000).await;
        peer.write_all(b"G").await.unwrap();
        assert_eq!(paced.read_u8().await.unwrap(), b'G');
        for _ in 0..9 {
            after(1).await;
            peer.write_all(b"E").await.unwrap();
            assert_eq!(paced.read_u8().await.unwrap(), b'E');
        }
        after(1).await;
        assert_eq!(paced.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_between_requests_or_for_an_answer_is_not_slow() {
        let (mut peer, stream) = duplex(64);
        let phase = Phase::default();
        let mut paced = Paced::new(stream, phase.clone(), TIMES);
        for _ in 0..3 {
            after(100).await;
            peer.write_all(b"x").await.unwrap();
            paced.read_u8().await.unwrap();
            phase.begin();
            after(100).await;
            // The body has a time of its own.
            peer.write_all(b"x").await.unwrap();
            paced.read_u8().await.unwrap();
            phase.end();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_up_when_nothing_of_it_is_read_for_a_minute() {
        let (mut peer, stream) = duplex(4);
        let mut paced = Paced::new(stream, Phase::default(), TIMES);
        let writing = tokio::spawn(async move { paced.write_all(&[0; 100]).await });
        // Slow is not stalled.
        for _ in 0..10 {
            after(50).await;
            peer.read_u8().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(!writing.is_finished());
        after(61).await;
        let ended = writing.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }
}
