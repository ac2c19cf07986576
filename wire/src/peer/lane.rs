//! A lane: one connection to a peer, and the task that keeps it up.
//!
//! # Invariants
//! - A request is sent at most once. When its connection breaks it fails with `Unavailable`.
//! - A question that nobody waits for any more gives its slot back, and the peer is told, once.
//! - While a broken connection is being made again, whoever asks is refused at once.
//!
//! Not here: encoding (`message.rs`), the time limit of a request (`client.rs`).

use crate::peer::client::PeerParts;
use crate::peer::config::PeerConfig;
use crate::peer::frame::{FRAME_BYTES_MAX, Frame, FrameKind, read_frame, write_frame};
use crate::peer::handshake::{self, HandshakeError, Identity};
use crate::replica::ReplicaError;
use cluster::Member;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use model::Kind;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a client and its lanes know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) parts: PeerParts,
    pub(crate) member: Member,
    pub(crate) is_up: [AtomicBool; 2],
}

/// A request on its way, and who waits for it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) payload: Vec<u8>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<u8>>, ReplicaError>>,
    pub(crate) budget: OwnedSemaphorePermit,
    /// Whoever asks has left; nothing if it may not be cancelled.
    pub(crate) gone: Option<CancellationToken>,
}

/// The task of one connection.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: usize,
    pub(crate) inbox: mpsc::Receiver<Call>,
    pub(crate) stop: CancellationToken,
    pub(crate) number: u64,
}

type Streams = (BufReader<OwnedReadHalf>, BufWriter<OwnedWriteHalf>);

impl Lane {
    /// Keeps the connection up until the client stops.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_up() => {}
        }
    }

    async fn keep_up(&mut self) {
        let mut failures = Failures::default();
        loop {
            let shared = self.shared.clone();
            // Only the first connection of all is waited for: nothing is known yet.
            let connected = if failures.last.is_empty() {
                shared.connect().await
            } else {
                tokio::select! {
                    connected = shared.connect() => connected,
                    () = self.refuse(&failures.last) => return,
                }
            };
            match connected {
                Ok(streams) => {
                    let peer = &shared.member.name;
                    tracing::info!(%peer, "connected to peer");
                    failures = Failures::default();
                    shared.is_up[self.place].store(true, Ordering::Relaxed);
                    let end = self.talk(streams).await;
                    shared.is_up[self.place].store(false, Ordering::Relaxed);
                    tracing::warn!(%peer, "connection to peer ended: {end}");
                    failures.last = end.to_string();
                }
                Err(error) => failures.add(&shared.member, &error),
            }
            let pause = failures.pause(shared.parts.config.backoff_max_ms);
            // The end of the pause is the usual end; the end of the inbox means nobody can ask.
            if tokio::time::timeout(pause, self.refuse(&failures.last)).await.is_ok() {
                return;
            }
        }
    }

    /// Tells whoever asks at once that nobody is there. Ends when nobody can ask any more.
    async fn refuse(&mut self, why: &str) {
        while let Some(call) = self.inbox.recv().await {
            let message = format!("not connected: {why}");
            // The caller may have left.
            drop(call.reply.send(Err(self.shared.error(Kind::Unavailable, message))));
        }
    }

    /// Serves requests until the connection ends, and says why it did.
    async fn talk(&mut self, (mut from, mut to): Streams) -> io::Error {
        let pending = Pending::default();
        let config = self.shared.parts.config.clone();
        let slots = Arc::new(Semaphore::new(config.in_flight_max));
        let end = tokio::select! {
            end = self.send_calls(&mut to, &pending, &slots, &config) => end,
            end = receive(&mut from, &pending, &config) => end,
        };
        let left = std::mem::take(&mut *pending.lock());
        for waiting in left.into_values() {
            let message = format!("the connection ended before the answer: {end}");
            drop(waiting.reply.send(Err(self.shared.error(Kind::Unavailable, message))));
        }
        end
    }

    async fn send_calls(
        &mut self,
        to: &mut BufWriter<OwnedWriteHalf>,
        pending: &Pending,
        slots: &Arc<Semaphore>,
        config: &PeerConfig,
    ) -> io::Error {
        let ping = Duration::from_millis(config.ping_ms);
        let mut leaving = FuturesUnordered::new();
        let mut ping_at = Instant::now() + ping;
        loop {
            let next = async {
                // Never closed: `slots` lives as long as the connection.
                let slot = slots.clone().acquire_owned().await.ok()?;
                Some((self.inbox.recv().await?, slot))
            };
            let frame = tokio::select! {
                Some(number) = leaving.next() => match pending.lock().remove(&number) {
                    // It was answered.
                    None => continue,
                    Some(_) => Frame { number, ..Frame::bare(FrameKind::Cancel) },
                },
                next = tokio::time::timeout_at(ping_at, next) => match next {
                    Err(_) => Frame::bare(FrameKind::Ping),
                    Ok(None) => return io::Error::other("closed by this node"),
                    // Whoever asked has left, so nobody needs the answer.
                    Ok(Some((call, _))) if call.reply.is_closed() => {
                        // What was kept for this one to go along.
                        if let Err(error) = to.flush().await {
                            return error;
                        }
                        continue;
                    }
                    Ok(Some((call, slot))) => {
                        self.number += 1;
                        let number = self.number;
                        leaving.extend(call.gone.map(|gone| gone.cancelled_owned().map(move |()| number)));
                        let waiting = Waiting::new(call.reply, call.budget, slot);
                        pending.lock().insert(number, waiting);
                        Frame { kind: FrameKind::Request, number, payload: call.payload }
                    }
                },
            };
            ping_at = Instant::now() + ping;
            let sent = async {
                write_frame(to, &frame).await?;
                // More may be waiting: they go out together, if there is a slot for them.
                let more_follow = frame.kind == FrameKind::Request
                    && slots.available_permits() > 0
                    && !self.inbox.is_empty();
                if more_follow { Ok(()) } else { to.flush().await }
            };
            if let Err(error) = sent.await {
                return error;
            }
        }
    }
}

/// Requests whose answer is not complete, by number. No other lock is taken while it is held.
type Pending = Mutex<HashMap<u64, Waiting>>;

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<Vec<Vec<u8>>, ReplicaError>>,
    parts: Vec<Vec<u8>>,
    bytes: usize,
    _held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Waiting {
    fn new(
        reply: oneshot::Sender<Result<Vec<Vec<u8>>, ReplicaError>>,
        budget: OwnedSemaphorePermit,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        Self { reply, parts: Vec::new(), bytes: 0, _held: (budget, slot) }
    }
}

/// Collects answers until the connection ends, and says why it did.
async fn receive(
    from: &mut BufReader<OwnedReadHalf>,
    pending: &Pending,
    config: &PeerConfig,
) -> io::Error {
    let silence = Duration::from_millis(config.silence_max_ms);
    loop {
        let frame = match tokio::time::timeout(silence, read_frame(from, FRAME_BYTES_MAX)).await {
            Err(_) => return io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"),
            Ok(Err(error)) => return error,
            Ok(Ok(None)) => {
                return io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer");
            }
            Ok(Ok(Some(frame))) => frame,
        };
        if let Err(error) = take_in(frame, pending, config) {
            return error;
        }
    }
}

fn take_in(frame: Frame, pending: &Pending, config: &PeerConfig) -> io::Result<()> {
    let mut pending = pending.lock();
    match frame.kind {
        FrameKind::Pong => return Ok(()),
        FrameKind::Part | FrameKind::Last => {}
        FrameKind::Request | FrameKind::Ping | FrameKind::Cancel => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a server does not ask"));
        }
    }
    // An answer that nobody waits for any more is not kept.
    let Some(waiting) = pending.get_mut(&frame.number) else { return Ok(()) };
    waiting.bytes += frame.payload.len();
    if waiting.bytes > config.answer_bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer is too large"));
    }
    if !waiting.reply.is_closed() {
        waiting.parts.push(frame.payload);
    }
    if frame.kind == FrameKind::Last
        && let Some(done) = pending.remove(&frame.number)
    {
        drop(done.reply.send(Ok(done.parts)));
    }
    Ok(())
}

impl Shared {
    /// An error of this peer.
    pub(crate) fn error(&self, kind: Kind, message: impl Into<String>) -> ReplicaError {
        ReplicaError { replica: self.member.name.clone(), kind, message: message.into() }
    }

    async fn connect(&self) -> Result<Streams, HandshakeError> {
        let PeerParts { config, topology, entropy } = &self.parts;
        let connecting = TcpStream::connect(&self.member.address);
        let stream = tokio::time::timeout(handshake::LIMIT, connecting).await;
        let mut stream = stream.map_err(|_| HandshakeError::Timeout)??;
        stream.set_nodelay(true)?;
        let who = Identity { config, members: &topology.members, topology_hash: topology.hash() };
        handshake::connect(&mut stream, who, &self.member.name, entropy.nonce()).await?;
        let (from, to) = stream.into_split();
        Ok((BufReader::new(from), BufWriter::new(to)))
    }
}

/// Attempts to connect that failed in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: String,
    /// The peer is there and the two do not fit: only a person can change that.
    is_refusal: bool,
}

impl Failures {
    /// Logged when it is news.
    fn add(&mut self, member: &Member, error: &HandshakeError) {
        let text = error.to_string();
        if text != self.last {
            let (peer, address) = (&member.name, &member.address);
            tracing::warn!(%peer, %address, "no connection to peer: {text}");
        }
        self.count = self.count.saturating_add(1);
        self.last = text;
        self.is_refusal = !matches!(error, HandshakeError::Io(_) | HandshakeError::Timeout);
    }

    /// 25 ms, doubled with each failure; longer after a refusal, which both sides log.
    fn pause(&self, max_ms: u64) -> Duration {
        let max_ms = if self.is_refusal { max_ms.saturating_mul(10) } else { max_ms };
        Duration::from_millis((25_u64 << self.count.min(10)).min(max_ms))
    }
}
