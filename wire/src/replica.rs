//! What a coordinator can ask of a replica, in this process or in another.
//!
//! The distributor and the querier see replicas only through [`Replica`]. `ingester` answers it in
//! memory, `peer` carries it over a socket; `node` decides who gets which. Nothing is serialised
//! when both sides live in one process.

use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer};
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{Context, DeleteAnswer, DeleteRequest, Kind, SeriesColumns, TimeRange, Tombstone};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The answer of a replica, to be awaited.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, ReplicaError>> + Send>>;

/// How many ranges one question about versions may name.
pub const RANGES_MAX: usize = 10_000;

/// One replica of the ring.
pub trait Replica: Send + Sync + fmt::Debug {
    /// Keeps a mutation. The answer comes when it is on this replica's disk.
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer>;
    /// The series and samples of a selection that this replica holds, ascending by labels.
    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>>;
    /// What this replica is likely to return for a selection. One that cannot tell says nothing is
    /// likely: then nobody prepares for much.
    fn estimate(&self, context: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        let _ = (context, selection);
        Box::pin(async { Ok(Estimate::default()) })
    }
    /// As [`Replica::select`], at once and on the calling thread, which may block. `None` from a
    /// replica that is in another process, or has too much to do just now.
    fn select_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, ReplicaError>> {
        let _ = (context, selection);
        None
    }
    /// As [`Replica::estimate`], as [`Replica::select_here`] does it.
    fn estimate_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Estimate, ReplicaError>> {
        let _ = (context, selection);
        None
    }
    /// Answers a question about labels from what this replica holds.
    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> Answer<LabelAnswer>;
    /// The metadata that this replica holds.
    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer>;
    /// The exemplars that this replica holds, ascending by labels, each series' by time.
    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>>;
    /// The version of each range: as long as it is the same, what the ranges hold on this replica
    /// is the same too. It says nothing across two starts of the replica, and differs from that of
    /// any other replica; 0 is a range whose answers must not be kept. At most
    /// [`RANGES_MAX`] ranges.
    ///
    /// A replica that keeps no versions is [`Kind::Unsupported`].
    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        drop((context, ranges));
        Box::pin(std::future::ready(Err(ReplicaError {
            replica: String::new(),
            kind: Kind::Unsupported,
            message: "no versions are kept here".to_owned(),
        })))
    }
    /// What this replica has of the context's tenant just now.
    ///
    /// A replica that does not count is [`Kind::Unsupported`].
    fn activity(&self, context: Arc<Context>) -> Answer<Activity> {
        drop(context);
        Box::pin(std::future::ready(Err(ReplicaError {
            replica: String::new(),
            kind: Kind::Unsupported,
            message: "nothing is counted here".to_owned(),
        })))
    }
    /// The ring of processes over one database, as this replica knows it. Whoever has no part in it learns
    /// from the answer whom to ask for what.
    ///
    /// A replica that is in no such ring is [`Kind::Unsupported`].
    fn ring(&self, context: Arc<Context>) -> Answer<RingAnswer> {
        drop(context);
        Box::pin(std::future::ready(Err(ReplicaError {
            replica: String::new(),
            kind: Kind::Unsupported,
            message: "this process is in no ring over a database".to_owned(),
        })))
    }
    /// Deletes samples of the context's tenant. The answer comes when the tombstones are on this
    /// replica's disk, and its reads leave out what they hide.
    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer>;
    /// Every tombstone of every tenant that this replica has.
    fn tombstones(&self, context: Arc<Context>) -> Answer<Vec<Tombstone>>;
    /// Asks for deleted bytes to leave the disk soon. The answer does not wait for it.
    fn purge(&self, context: Arc<Context>) -> Answer<()>;
}

/// A ring of processes over one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingAnswer {
    /// The ring row's bytes, as they lie in the database.
    pub row: Vec<u8>,
    /// Where each member is found by its peers, as far as it is known: incarnation and `host:port`.
    pub addresses: Vec<(u128, String)>,
}

/// Why a replica did not answer, or answered no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replica {replica}: {message}")]
pub struct ReplicaError {
    /// The replica's name.
    pub replica: String,
    /// What the caller can do about it. `Unavailable` and `Timeout` say nothing about whether a
    /// write was kept.
    pub kind: Kind,
    /// What happened.
    pub message: String,
}
