//! The client's side: a replica of another process, behind [`Replica`].
//!
//! Two *lanes* (`lane.rs`), one for writes and one for reads, each a connection of its own.
//!
//! # Invariants
//! - A request is sent at most once. One whose connection broke has failed with `Unavailable`, which
//!   says nothing about whether it was kept.
//! - A lane never has more requests, or more bytes of them, out than [`PeerConfig`] says.
//! - A question whose asker has left, or whose time is over, is cancelled at the peer. What changes
//!   anything is not: it may be half done.
//!
//! Not here: asking somebody else (`querier::select`, `distributor`).

use crate::peer::config::{Entropy, PeerConfig};
use crate::peer::frame::FRAME_BYTES_MAX;
use crate::peer::lane::{Call, Lane, Shared};
use crate::peer::message::{Request, Response};
use crate::replica::{Answer, Replica, ReplicaError, RingAnswer};
use cluster::{Member, Topology};
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer};
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{Context, DeleteAnswer, DeleteRequest, Kind, SeriesColumns, TimeRange, Tombstone};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

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
            // Left with this future, however it ends: the lane looks whether there was an answer.
            let (gone, _asks) = gone_with_asker(&request);
            let work = shared.exchange(request, calls, budget, gone);
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

/// Says when the asker of a question has left: when the guard is dropped. Nothing for what may not be
/// cancelled.
fn gone_with_asker(request: &Request) -> (Option<CancellationToken>, Option<DropGuard>) {
    if matches!(request, Request::Write(_) | Request::Delete(..) | Request::Purge(_)) {
        return (None, None);
    }
    let gone = CancellationToken::new();
    (Some(gone.clone()), Some(gone.drop_guard()))
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

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        self.call(Request::Estimate(context, selection), |response| match response {
            Response::Estimate(estimate) => Ok(estimate),
            other => Err(other),
        })
    }

    fn activity(&self, context: Arc<Context>) -> Answer<Activity> {
        self.call(Request::Activity(context), |response| match response {
            Response::Activity(activity) => Ok(activity),
            other => Err(other),
        })
    }

    fn ring(&self, context: Arc<Context>) -> Answer<RingAnswer> {
        self.call(Request::Ring(context), |response| match response {
            Response::Ring(ring) => Ok(ring),
            other => Err(other),
        })
    }

    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer> {
        self.call(Request::Metadata(context, query), |response| match response {
            Response::Metadata(answer) => Ok(answer),
            other => Err(other),
        })
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>> {
        self.call(Request::Exemplars(context, query), |response| match response {
            Response::Exemplars(series) => Ok(series),
            other => Err(other),
        })
    }

    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        let asked = ranges.len();
        self.call(Request::Versions(context, ranges), move |response| match response {
            Response::Versions(versions) if versions.len() == asked => Ok(versions),
            other => Err(other),
        })
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        self.call(Request::Delete(context, request), |response| match response {
            Response::Delete(answer) => Ok(answer),
            other => Err(other),
        })
    }

    fn tombstones(&self, context: Arc<Context>) -> Answer<Vec<Tombstone>> {
        self.call(Request::Tombstones(context), |response| match response {
            Response::Tombstones(list) => Ok(list),
            other => Err(other),
        })
    }

    fn purge(&self, context: Arc<Context>) -> Answer<()> {
        self.call(Request::Purge(context), |response| match response {
            Response::Purge => Ok(()),
            other => Err(other),
        })
    }
}

impl Shared {
    async fn exchange(
        &self,
        request: Request,
        calls: mpsc::Sender<Call>,
        budget: Arc<Semaphore>,
        gone: Option<CancellationToken>,
    ) -> Result<Response, ReplicaError> {
        let closed = || self.error(Kind::Unavailable, "the connection is closed");
        let payload = request.encode();
        let bytes = payload.len();
        if bytes > self.parts.config.in_flight_bytes_max.min(FRAME_BYTES_MAX - 64) {
            return Err(self.error(Kind::TooLarge, format!("a request of {bytes} bytes")));
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let budget = budget.acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (reply, parts) = oneshot::channel();
        calls.send(Call { payload, reply, budget, gone }).await.map_err(|_| closed())?;
        let parts = parts.await.map_err(|_| closed())??;
        let decoded = if parts.iter().map(Vec::len).sum::<usize>() > HEAVY_BYTES {
            let work = tokio::task::spawn_blocking(move || Response::decode(&parts));
            work.await.map_err(|error| self.error(Kind::Internal, error.to_string()))?
        } else {
            Response::decode(&parts)
        };
        decoded.map_err(|error| self.error(Kind::Internal, error.to_string()))
    }
}
