//! The client's side: a replica of another process, behind [`Replica`].
//!
//! Two *lanes*, one for writes and one for reads, each a connection of its own with a task that
//! keeps it up: connect, hand out requests, collect the parts of answers, ping; when it breaks, fail
//! what is out and connect again after a pause.
//!
//! # Invariants
//! - A request is sent at most once. One whose connection broke has failed with `Unavailable`, which
//!   says nothing about whether it was kept.
//! - A lane never has more requests, or more bytes of them, out than [`PeerConfig`] says.
//!
//! Not here: asking somebody else (`querier::select`, `distributor`).

use crate::peer::config::{Entropy, PeerConfig};
use crate::peer::frame::{FRAME_BYTES_MAX, Frame, FrameKind, read_frame, write_frame};
use crate::peer::handshake::{self, HandshakeError, Identity};
use crate::peer::message::{Request, Response};
use crate::replica::{Answer, Replica, ReplicaError};
use cluster::{Member, Topology};
use model::mutation::{Mutation, WriteAnswer};
use model::read::{LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery, Selection};
use model::{Context, Kind, SeriesColumns};
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
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Requests of more bytes than this are encoded, and answers decoded, off the async threads.
const HEAVY_BYTES: usize = 256 << 10;

/// What a peer is made of.
#[derive(Clone, Debug)]
pub struct PeerParts {
    /// How to talk, and as whom.
    pub config: Arc<PeerConfig>,
    /// The cluster as this node sees it.
    pub topology: Arc<Topology>,
    /// Where nonces come from.
    pub entropy: Arc<Entropy>,
}

/// A replica in another process.
#[derive(Debug)]
pub struct PeerClient {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Call>,
    reads: mpsc::Sender<Call>,
    write_budget: Arc<Semaphore>,
    read_budget: Arc<Semaphore>,
    stop: CancellationToken,
    // The owner of the tasks; taken by `close`. No other lock is taken while it is held.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    parts: PeerParts,
    member: Member,
    is_up: [AtomicBool; 2],
}

/// A request on its way, and who waits for it.
#[derive(Debug)]
struct Call {
    payload: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<Vec<u8>>, ReplicaError>>,
    budget: OwnedSemaphorePermit,
}

impl PeerClient {
    /// Starts to keep connections to `member`. Has to be called within a tokio runtime.
    #[must_use]
    pub fn start(parts: PeerParts, member: Member) -> Arc<Self> {
        let shared = Arc::new(Shared {
            parts,
            member,
            is_up: [AtomicBool::new(false), AtomicBool::new(false)],
        });
        let config = &shared.parts.config;
        let stop = CancellationToken::new();
        let (mut senders, mut tasks) = (Vec::new(), Vec::new());
        for place in 0..2 {
            let (calls, inbox) = mpsc::channel(config.in_flight_max);
            let lane = Lane { shared: shared.clone(), place, inbox, stop: stop.clone(), number: 0 };
            senders.push(calls);
            tasks.push(tokio::spawn(lane.run()));
        }
        let budget = || Arc::new(Semaphore::new(config.in_flight_bytes_max));
        let (write_budget, read_budget) = (budget(), budget());
        let reads = senders.remove(1);
        let writes = senders.remove(0);
        let tasks = Mutex::new(tasks);
        Arc::new(Self { shared, writes, reads, write_budget, read_budget, stop, tasks })
    }

    /// Whether both connections are up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.shared.is_up.iter().all(|up| up.load(Ordering::Relaxed))
    }

    /// The member behind it.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.shared.member
    }

    /// Closes the connections and waits for their tasks' end. What is out fails.
    pub async fn close(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // A task that panicked has nothing left to close.
            drop(task.await);
        }
    }

    fn call<T: Send + 'static>(
        &self,
        request: Request,
        pick: impl FnOnce(Response) -> Result<T, Response> + Send + 'static,
    ) -> Answer<T> {
        let is_write = matches!(request, Request::Write(_));
        let (calls, budget) = if is_write {
            (self.writes.clone(), self.write_budget.clone())
        } else {
            (self.reads.clone(), self.read_budget.clone())
        };
        let shared = self.shared.clone();
        Box::pin(async move {
            let timeout_ms = match request.context().timeout_ms {
                0 => shared.parts.config.timeout_ms,
                given => given.into(),
            };
            let work = shared.exchange(request, calls, budget);
            let response = tokio::time::timeout(Duration::from_millis(timeout_ms), work).await;
            let response = response.unwrap_or_else(|_| {
                Err(shared.error(Kind::Timeout, format!("no answer within {timeout_ms} ms")))
            })?;
            match pick(response) {
                Ok(answer) => Ok(answer),
                Err(Response::Failed(kind, message)) => Err(shared.error(kind, message)),
                Err(_) => Err(shared.error(Kind::Internal, "answered another question".to_owned())),
            }
        })
    }
}

impl Drop for PeerClient {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Replica for PeerClient {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        self.call(Request::Write(mutation), |response| match response {
            Response::Write(answer) => Ok(answer),
            other => Err(other),
        })
    }

    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        self.call(Request::Select(context, selection), |response| match response {
            Response::Select(series) => Ok(series),
            other => Err(other),
        })
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> Answer<LabelAnswer> {
        self.call(Request::Labels(context, query), |response| match response {
            Response::Labels(answer) => Ok(answer),
            other => Err(other),
        })
    }

    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer> {
        self.call(Request::Metadata(context, query), |response| match response {
            Response::Metadata(answer) => Ok(answer),
            other => Err(other),
        })
    }
}

impl Shared {
    fn error(&self, kind: Kind, message: impl Into<String>) -> ReplicaError {
        ReplicaError { replica: self.member.name.clone(), kind, message: message.into() }
    }

    async fn exchange(
        &self,
        request: Request,
        calls: mpsc::Sender<Call>,
        budget: Arc<Semaphore>,
    ) -> Result<Response, ReplicaError> {
        let gone = || self.error(Kind::Unavailable, "the connection is closed");
        let payload = request.encode();
        let bytes = payload.len();
        if bytes > self.parts.config.in_flight_bytes_max.min(FRAME_BYTES_MAX - 64) {
            return Err(self.error(Kind::TooLarge, format!("a request of {bytes} bytes")));
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let budget = budget.acquire_many_owned(permits).await.map_err(|_| gone())?;
        let (reply, parts) = oneshot::channel();
        calls.send(Call { payload, reply, budget }).await.map_err(|_| gone())?;
        let parts = parts.await.map_err(|_| gone())??;
        let decoded = if parts.iter().map(Vec::len).sum::<usize>() > HEAVY_BYTES {
            let work = tokio::task::spawn_blocking(move || Response::decode(&parts));
            work.await.map_err(|error| self.error(Kind::Internal, error.to_string()))?
        } else {
            Response::decode(&parts)
        };
        decoded.map_err(|error| self.error(Kind::Internal, error.to_string()))
    }
}

/// The task of one connection.
struct Lane {
    shared: Arc<Shared>,
    place: usize,
    inbox: mpsc::Receiver<Call>,
    stop: CancellationToken,
    number: u64,
}

type Streams = (BufReader<OwnedReadHalf>, BufWriter<OwnedWriteHalf>);

impl Lane {
    async fn run(mut self) {
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
            let connected = if failures.count == 0 {
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
        loop {
            let next = async {
                // Never closed: `slots` lives as long as the connection.
                let slot = slots.clone().acquire_owned().await.ok()?;
                Some((self.inbox.recv().await?, slot))
            };
            let frame = match tokio::time::timeout(ping, next).await {
                Err(_) => Frame::bare(FrameKind::Ping),
                Ok(None) => return io::Error::other("closed by this node"),
                // Whoever asked has left, so nobody needs the answer.
                Ok(Some((call, _))) if call.reply.is_closed() => continue,
                Ok(Some((call, slot))) => {
                    self.number += 1;
                    let waiting = Waiting::new(call.reply, call.budget, slot);
                    pending.lock().insert(self.number, waiting);
                    Frame { kind: FrameKind::Request, number: self.number, payload: call.payload }
                }
            };
            let sent = async {
                write_frame(to, &frame).await?;
                // More may be waiting: they go out together.
                if self.inbox.is_empty() { to.flush().await } else { Ok(()) }
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
        FrameKind::Request | FrameKind::Ping => {
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
    }

    /// 25 ms, doubled with each failure.
    fn pause(&self, max_ms: u64) -> Duration {
        Duration::from_millis((25_u64 << self.count.min(10)).min(max_ms))
    }
}
