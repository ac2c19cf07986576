//! The server's side: lets peers in and passes their requests to the replica of this process.
//!
//! # Invariants
//! - No more than [`STRANGERS_MAX`] connections are in the handshake at once, and no more than
//!   [`CONNECTIONS_PER_PEER_MAX`] of one peer behind it.
//! - A connection has at most twice `in_flight_max` requests and `in_flight_bytes_max` bytes of them
//!   in work, and no client of ours comes near; what is beyond that is answered `Unavailable` without being kept.
//! - A request that is cancelled counts no longer, and is worked on no further than to its next wait.
//! - Pings are answered whatever else is in work.
//! - When it stops, requests in work are answered before their connection closes.
//! - A peer that has not taken a frame within the time that it may be silent is one that has gone.

use crate::peer::client::PeerParts;
use crate::peer::frame::{FRAME_BYTES_MAX, Frame, FrameKind, read_frame, write_frame};
use crate::peer::handshake::{self, HandshakeError, Identity, Peer};
use crate::peer::message::{Request, Response};
use crate::replica::Replica;
use model::Kind;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The most connections that have not proved themselves.
pub const STRANGERS_MAX: usize = 64;

/// The most connections of one peer: two lanes, and one that replaces a broken one.
pub const CONNECTIONS_PER_PEER_MAX: usize = 3;

/// Frames that wait for the socket, per connection.
const OUTBOX_LEN: usize = 16;

/// Requests of more bytes than this are decoded, and their answers encoded, off the async threads.
const HEAVY_BYTES: usize = 256 << 10;

/// Lets peers in.
#[derive(Debug)]
pub struct PeerServer {
    parts: PeerParts,
    replica: Arc<dyn Replica>,
    // Who is here, by name. No other lock is taken while it is held.
    present: Mutex<HashMap<String, Presence>>,
}

/// A peer that is connected, or was and is in the member list.
#[derive(Debug)]
struct Presence {
    node_id: String,
    connections: usize,
}

/// What is in work for a connection, by number: its task, and what it holds of what a connection may. No
/// other lock is taken while it is held.
type Working = Mutex<HashMap<u64, (AbortHandle, (OwnedSemaphorePermit, OwnedSemaphorePermit))>>;

impl PeerServer {
    /// A server that asks `replica`.
    #[must_use]
    pub fn new(parts: PeerParts, replica: Arc<dyn Replica>) -> Arc<Self> {
        Arc::new(Self { parts, replica, present: Mutex::default() })
    }

    /// Serves until `stop`, then until what is in work has been answered.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let stranger = tokio::select! {
                () = stop.cancelled() => break,
                stranger = strangers.clone().acquire_owned() => stranger,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match (accepted, stranger) {
                (Ok((stream, from)), Ok(stranger)) => {
                    let (server, stop) = (self.clone(), stop.clone());
                    connections.spawn(server.serve(stream, from, stranger, stop));
                }
                (Err(error), _) => {
                    tracing::warn!("failed to accept a peer: {error}");
                    // Out of file handles, most likely: give others the time to close some.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (_, Err(_)) => break,
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn serve(
        self: Arc<Self>,
        mut stream: TcpStream,
        address: SocketAddr,
        stranger: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        let peer = tokio::select! {
            () = stop.cancelled() => return,
            greeted = self.greet(&mut stream) => match greeted {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::warn!(%address, "refused a peer: {error}");
                    return;
                }
            },
        };
        drop(stranger);
        tracing::info!(%peer, %address, "peer connected");
        let end = self.talk(stream, stop).await;
        self.leave(&peer);
        match end {
            Ok(()) => tracing::info!(%peer, %address, "peer left"),
            Err(error) => tracing::warn!(%peer, %address, "connection of peer ended: {error}"),
        }
    }

    async fn greet(&self, stream: &mut TcpStream) -> Result<String, HandshakeError> {
        stream.set_nodelay(true)?;
        let PeerParts { config, topology, entropy } = &self.parts;
        let who = Identity { config, members: &topology.members, topology_hash: topology.hash() };
        let mut entered = None;
        let admit = |peer: &Peer| {
            self.enter(peer)?;
            entered = Some(peer.name.clone());
            Ok(())
        };
        let greeted = handshake::accept(stream, who, entropy.nonce(), admit).await;
        if let (Err(_), Some(name)) = (&greeted, &entered) {
            self.leave(name);
        }
        greeted.map(|peer| peer.name)
    }

    fn enter(&self, peer: &Peer) -> Result<(), HandshakeError> {
        let Peer { name, node_id } = peer.clone();
        let mut present = self.present.lock();
        let presence = present
            .entry(name.clone())
            .or_insert_with(|| Presence { node_id: node_id.clone(), connections: 0 });
        if presence.node_id != node_id && presence.connections > 0 {
            let here = presence.node_id.clone();
            return Err(HandshakeError::NodeId { name, here, theirs: node_id });
        }
        if presence.connections >= CONNECTIONS_PER_PEER_MAX {
            let connections = presence.connections;
            return Err(HandshakeError::Crowded { name, connections });
        }
        if presence.node_id != node_id {
            tracing::warn!(peer = %name, "peer came back with another data directory");
            presence.node_id = node_id;
        }
        presence.connections += 1;
        Ok(())
    }

    fn leave(&self, name: &str) {
        let mut present = self.present.lock();
        let Some(presence) = present.get_mut(name) else { return };
        presence.connections = presence.connections.saturating_sub(1);
        // Where any name is let in, each life of a peer may bring a new one: who has left is forgotten.
        if presence.connections == 0 && self.parts.config.takes_any_name {
            present.remove(name);
        }
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<String> {
        self.present.lock().keys().cloned().collect()
    }

    async fn talk(&self, stream: TcpStream, stop: CancellationToken) -> io::Result<()> {
        let (from, to) = stream.into_split();
        let (outbox, frames) = mpsc::channel(OUTBOX_LEN);
        let silence = Duration::from_millis(self.parts.config.silence_max_ms);
        let writer = tokio::spawn(write_all(BufWriter::new(to), frames, silence));
        let mut requests = JoinSet::new();
        let end = tokio::select! {
            () = stop.cancelled() => None,
            end = self.read_all(BufReader::new(from), &outbox, &mut requests) => Some(end),
        };
        if end.is_some() {
            // Nobody is there to read the answers. A write that began goes on without its waiter.
            requests.abort_all();
        }
        while requests.join_next().await.is_some() {}
        drop(outbox);
        let written = writer.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        end.unwrap_or(written)
    }

    async fn read_all(
        &self,
        mut from: BufReader<OwnedReadHalf>,
        outbox: &mpsc::Sender<Frame>,
        requests: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let config = &self.parts.config;
        let silence = Duration::from_millis(config.silence_max_ms);
        // Twice what a client may have out: it may have an answer before we have let go of the request.
        let slots = Arc::new(Semaphore::new(2 * config.in_flight_max));
        let budget = Arc::new(Semaphore::new(2 * config.in_flight_bytes_max));
        let working = Arc::new(Working::default());
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the peer takes no answers");
        loop {
            while requests.try_join_next().is_some() {}
            let frame = tokio::time::timeout(silence, read_frame(&mut from, FRAME_BYTES_MAX)).await;
            let frame = match frame {
                Err(_) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
                }
                Ok(frame) => frame?,
            };
            let Some(Frame { kind, number, payload }) = frame else { return Ok(()) };
            match kind {
                FrameKind::Ping => {
                    outbox.send(Frame::bare(FrameKind::Pong)).await.map_err(|_| gone())?;
                }
                FrameKind::Request => {
                    let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                    let held = slots
                        .clone()
                        .try_acquire_owned()
                        .and_then(|slot| Ok((slot, budget.clone().try_acquire_many_owned(bytes)?)));
                    let Ok(held) = held else {
                        let full = "too many requests of this peer are in work".to_owned();
                        let full = Response::Failed(Kind::Unavailable, full);
                        send(outbox, number, full.encode()).await.map_err(|()| gone())?;
                        continue;
                    };
                    let (replica, outbox) = (self.replica.clone(), outbox.clone());
                    let (timeout_ms, done) = (config.timeout_ms, Arc::clone(&working));
                    // It is entered before it can be done.
                    let mut entered = working.lock();
                    if entered.contains_key(&number) {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "a number twice"));
                    }
                    let task = requests.spawn(async move {
                        let parts = answer(&*replica, payload, timeout_ms).await;
                        // If the connection is gone, its reader says so.
                        let _gone = send(&outbox, number, parts).await;
                        done.lock().remove(&number);
                    });
                    entered.insert(number, (task, held));
                }
                // What was answered meanwhile is not there.
                FrameKind::Cancel => {
                    if let Some((task, _)) = working.lock().remove(&number) {
                        task.abort();
                    }
                }
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a client only asks")),
            }
        }
    }
}

/// Writes frames until nobody has any more, or the peer does not take one within `silence`.
async fn write_all(
    mut to: BufWriter<OwnedWriteHalf>,
    mut frames: mpsc::Receiver<Frame>,
    silence: Duration,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        let write = async {
            write_frame(&mut to, &frame).await?;
            if frames.is_empty() { to.flush().await } else { Ok(()) }
        };
        tokio::time::timeout(silence, write).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no answers"))
        })?;
    }
    to.shutdown().await
}

async fn send(outbox: &mpsc::Sender<Frame>, number: u64, parts: Vec<Vec<u8>>) -> Result<(), ()> {
    let last = parts.len().saturating_sub(1);
    for (place, payload) in parts.into_iter().enumerate() {
        let kind = if place == last { FrameKind::Last } else { FrameKind::Part };
        outbox.send(Frame { kind, number, payload }).await.map_err(drop)?;
    }
    Ok(())
}

/// Asks the replica, within the time that the request gives.
async fn answer(replica: &dyn Replica, payload: Vec<u8>, timeout_ms: u64) -> Vec<Vec<u8>> {
    let request = if payload.len() > HEAVY_BYTES {
        tokio::task::spawn_blocking(move || Request::decode(&payload)).await.ok()
    } else {
        Some(Request::decode(&payload))
    };
    let response = match request {
        Some(Ok(request)) => {
            let limit_ms = match request.context().timeout_ms {
                0 => timeout_ms,
                given => given.into(),
            };
            let work = ask(replica, request);
            tokio::time::timeout(Duration::from_millis(limit_ms), work).await.unwrap_or_else(|_| {
                Response::Failed(Kind::Timeout, format!("not done within {limit_ms} ms"))
            })
        }
        // It came from one of ours, so nobody's question is wrong: the two differ in their release.
        Some(Err(error)) => {
            let message = format!("the request cannot be read: {error}");
            Response::Failed(Kind::Internal, message)
        }
        None => Response::Failed(Kind::Internal, "failed to decode the request".to_owned()),
    };
    let may_be_long = matches!(
        response,
        Response::Select(_)
            | Response::Labels(_)
            | Response::Exemplars(_)
            | Response::Tombstones(_)
    );
    if !may_be_long {
        return response.encode();
    }
    let encoded = tokio::task::spawn_blocking(move || response.encode()).await;
    encoded.unwrap_or_else(|error| Response::Failed(Kind::Internal, error.to_string()).encode())
}

async fn ask(replica: &dyn Replica, request: Request) -> Response {
    let answer = match request {
        Request::Write(mutation) => replica.write(mutation).await.map(Response::Write),
        Request::Select(context, selection) => {
            replica.select(context, selection).await.map(Response::Select)
        }
        Request::Labels(context, query) => {
            replica.labels(context, query).await.map(Response::Labels)
        }
        Request::Estimate(context, selection) => {
            replica.estimate(context, selection).await.map(Response::Estimate)
        }
        Request::Metadata(context, query) => {
            replica.metadata(context, query).await.map(Response::Metadata)
        }
        Request::Exemplars(context, query) => {
            replica.exemplars(context, query).await.map(Response::Exemplars)
        }
        Request::Versions(context, ranges) => {
            replica.versions(context, ranges).await.map(Response::Versions)
        }
        Request::Activity(context) => replica.activity(context).await.map(Response::Activity),
        Request::Ring(context) => replica.ring(context).await.map(Response::Ring),
        Request::Delete(context, request) => {
            replica.delete(context, request).await.map(Response::Delete)
        }
        Request::Tombstones(context) => replica.tombstones(context).await.map(Response::Tombstones),
        Request::Purge(context) => replica.purge(context).await.map(|()| Response::Purge),
    };
    answer.unwrap_or_else(|error| Response::failed(&error))
}
