//! Replicated deletes: every replica is asked, and enough of them have to have the tombstones on
//! disk.
//!
//! # Invariants
//! - It succeeds only if, of each range of the ring, as many replicas as a write needs have the
//!   tombstones: a read that asks enough replicas asks one of them. Else it is `Unavailable`; what
//!   some have done stands, and asking again does no harm.
//! - All replicas hide up to the same revision: if one holds a higher one than another said, all
//!   are asked again with it.
//! - A replica that was away takes the tombstones from the others when it is back
//!   (`ingester::exchange`); until it has heard from one, a read that asks it may show what was
//!   deleted meanwhile.
//!
//! Not here: what a tombstone hides (`store`).

use crate::select::{ReplicatedSource, unavailable};
use cluster::{NodeIndex, NodeSet, Unavailable};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::{Context, DeleteRequest, Kind};
use promql::SourceError;
use std::sync::Arc;
use std::time::Duration;
use wire::replica::{Answer, Replica, ReplicaError};

/// Each round all replicas are asked with the highest revision of the round before. Only an import
/// at the same time makes a third one necessary.
const ROUNDS_MAX: usize = 4;

impl ReplicatedSource {
    /// Deletes on every replica.
    ///
    /// # Errors
    /// `Unavailable` if too few replicas have it on disk, or what a replica finds wrong with the
    /// request.
    pub async fn delete(
        &self,
        context: &Arc<Context>,
        request: &DeleteRequest,
    ) -> Result<(), SourceError> {
        let mut request = request.clone();
        for _ in 0..ROUNDS_MAX {
            let ask = |replica: &Arc<dyn Replica>| replica.delete(context.clone(), request.clone());
            let answers = self.ask_all(context, ask).await?;
            let highest = answers.iter().map(|answer| answer.revision_max).max().unwrap_or(0);
            if answers.iter().all(|answer| answer.revision_max == highest) {
                return Ok(());
            }
            request.revision_max = highest;
        }
        let message = "samples are imported into the range meanwhile: ask again".to_owned();
        Err(SourceError { kind: Kind::Unavailable, message })
    }

    /// Asks every replica to let deleted bytes leave its disk.
    ///
    /// # Errors
    /// As [`ReplicatedSource::delete`].
    pub async fn purge(&self, context: &Arc<Context>) -> Result<(), SourceError> {
        self.ask_all(context, |replica| replica.purge(context.clone())).await.map(drop)
    }

    /// Asks every replica, waits for all of them, and returns the answers if they are enough for a
    /// write to every range of the ring.
    async fn ask_all<T: Send + 'static>(
        &self,
        context: &Context,
        ask: impl Fn(&Arc<dyn Replica>) -> Answer<T>,
    ) -> Result<Vec<T>, SourceError> {
        let timeout_ms = match context.timeout_ms {
            0 => self.config.timeout_ms,
            given => u64::from(given).min(self.config.timeout_ms),
        };
        let limit = Duration::from_millis(timeout_ms);
        let send = |(node, replica): (&NodeIndex, &Arc<dyn Replica>)| {
            let (node, answer) = (*node, ask(replica));
            async move { (node, tokio::time::timeout(limit, answer).await) }
        };
        let mut out: FuturesUnordered<_> = self.replicas.iter().map(send).collect();
        let (mut heard, mut answers, mut failures) = (NodeSet::default(), Vec::new(), Vec::new());
        while let Some((node, answer)) = out.next().await {
            match answer {
                Ok(Ok(answer)) => {
                    heard.insert(node);
                    answers.push(answer);
                }
                Ok(Err(error)) if is_of_the_request(error.kind) => {
                    return Err(SourceError { kind: error.kind, message: error.message });
                }
                Ok(Err(error)) => failures.push(error),
                Err(_) => failures.push(ReplicaError {
                    replica: self.topology.members.get(node).map_or("?", |m| &m.name).to_owned(),
                    kind: Kind::Timeout,
                    message: format!("no answer within {timeout_ms} ms"),
                }),
            }
        }
        let placement = &self.topology.placement;
        let required = self.topology.write_consistency.required(placement.replication_factor());
        let alive = placement.fewest_replicas_in(&heard);
        if alive < required {
            return Err(unavailable(Unavailable { required, alive }, &failures));
        }
        for error in &failures {
            tracing::warn!(replica = %error.replica, "did not take a delete, and will from its peers: {}", error.message);
        }
        Ok(answers)
    }
}

/// Whether every replica would say the same.
fn is_of_the_request(kind: Kind) -> bool {
    matches!(kind, Kind::Invalid | Kind::Unexecutable | Kind::TooLarge | Kind::Denied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::ReadConfig;
    use cluster::{Consistency, Member, Roles, Topology, TopologyConfig};
    use model::mutation::{Mutation, WriteAnswer};
    use model::read::{LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery, Selection};
    use model::{
        DeleteAnswer, Principal, RequestId, SeriesColumns, TenantId, TimeRange, Tombstone,
    };
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Keeps the highest revision it was told and holds, or refuses.
    #[derive(Debug)]
    struct Keeper {
        refuses: Option<Kind>,
        revision: AtomicU32,
        asked: AtomicU32,
    }

    fn never<T>() -> Answer<T> {
        unreachable!("nobody asks here")
    }

    impl Replica for Keeper {
        fn write(&self, _: Mutation) -> Answer<WriteAnswer> {
            never()
        }
        fn select(&self, _: Arc<Context>, _: Selection) -> Answer<Vec<SeriesColumns>> {
            never()
        }
        fn labels(&self, _: Arc<Context>, _: LabelQuery) -> Answer<LabelAnswer> {
            never()
        }
        fn metadata(&self, _: Arc<Context>, _: MetadataQuery) -> Answer<MetadataAnswer> {
            never()
        }
        fn exemplars(
            &self,
            _: Arc<Context>,
            _: model::read::ExemplarQuery,
        ) -> Answer<Vec<model::exemplar::SeriesExemplars>> {
            never()
        }
        fn delete(&self, _: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let held = self.revision.fetch_max(request.revision_max, Ordering::Relaxed);
            let answer = match self.refuses {
                None => Ok(DeleteAnswer { revision_max: held.max(request.revision_max) }),
                Some(kind) => {
                    Err(ReplicaError { replica: "n".into(), kind, message: "told to".into() })
                }
            };
            Box::pin(std::future::ready(answer))
        }
        fn tombstones(&self, _: Arc<Context>) -> Answer<Vec<Tombstone>> {
            never()
        }
        fn purge(&self, _: Arc<Context>) -> Answer<()> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn keeper(refuses: Option<Kind>, revision: u32) -> Arc<Keeper> {
        let (revision, asked) = (AtomicU32::new(revision), AtomicU32::new(0));
        Arc::new(Keeper { refuses, revision, asked })
    }

    async fn delete(keepers: &[Arc<Keeper>]) -> Result<(), Kind> {
        let member = |(i, _): (usize, &Arc<Keeper>)| Member {
            name: format!("n{i}"),
            address: format!("127.0.0.1:{}", 1000 + i),
            roles: Roles::ALL,
            rack: String::new(),
        };
        let topology = Topology::new(TopologyConfig {
            members: keepers.iter().enumerate().map(member).collect(),
            replication_factor: 3,
            write_consistency: Consistency::Quorum,
            read_consistency: Consistency::Quorum,
        });
        let replicas: BTreeMap<NodeIndex, Arc<dyn Replica>> = (0..)
            .map(NodeIndex)
            .zip(keepers.iter().map(|keeper| Arc::clone(keeper) as Arc<dyn Replica>))
            .collect();
        let topology = Arc::new(topology.unwrap());
        let source = ReplicatedSource::new(topology, replicas, None, ReadConfig::default());
        let context = Arc::new(Context {
            tenant: TenantId::parse("t").unwrap(),
            principal: Principal::Anonymous,
            request_id: RequestId(1),
            timeout_ms: 0,
            now: model::TimestampMs(0),
            ring_version: 0,
        });
        let request =
            DeleteRequest { matcher_sets: vec![vec![]], range: TimeRange::ALL, revision_max: 0 };
        source.delete(&context, &request).await.map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn a_delete_needs_as_many_replicas_of_each_range_as_a_write() {
        let good = || keeper(None, 0);
        let away = || keeper(Some(Kind::Unavailable), 0);
        assert_eq!(delete(&[good(), good(), good()]).await, Ok(()));
        assert_eq!(delete(&[good(), away(), good()]).await, Ok(()));
        assert_eq!(delete(&[good(), away(), away()]).await, Err(Kind::Unavailable));
        // Of five nodes some range has two replicas that are away.
        let five = [good(), away(), away(), good(), good()];
        assert_eq!(delete(&five).await, Err(Kind::Unavailable));
        assert_eq!(delete(&[good(), away(), good(), good(), good()]).await, Ok(()));
        let bad = keeper(Some(Kind::Invalid), 0);
        assert_eq!(delete(&[good(), good(), bad]).await, Err(Kind::Invalid));
    }

    #[tokio::test]
    async fn replicas_that_hold_other_revisions_end_with_the_highest() {
        let keepers = [keeper(None, 0), keeper(None, 3), keeper(None, 1)];
        assert_eq!(delete(&keepers).await, Ok(()));
        for keeper in &keepers {
            assert_eq!(keeper.revision.load(Ordering::Relaxed), 3);
            assert_eq!(keeper.asked.load(Ordering::Relaxed), 2);
        }
    }
}
