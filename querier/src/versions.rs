//! Versions of what a read would touch, from every replica that holds a copy.
//!
//! # Invariants
//! - All copies are asked, not only enough of them: a write that is acknowledged between two asks
//!   with equal answers was on a quorum before the first. So whichever replicas a read between them
//!   hears, it has what was acknowledged before the second.
//! - Whoever does not tell at once costs the answer its version, and nobody waits for it: what has
//!   no version is read as ever. Who is suspected is not asked, unless nobody else has a copy: then the
//!   read itself has to wait for it.
//!
//! Not here: what a version is (`store`), what is kept under it (`cache`).

use crate::select::ReplicatedSource;
use crate::source::VersionAsk;
use cluster::{NodeIndex, NodeSet};
use futures_util::future::try_join_all;
use model::{Context, Kind, TimeRange};
use promql::SourceError;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;
use wire::replica::Replica;

/// What takes longer costs more than it can save.
const PATIENCE: Duration = Duration::from_millis(50);

impl ReplicatedSource {
    /// The version of each of these: as long as it is the same, whichever replicas are read give
    /// everything that was acknowledged. 0 is one whose answers must not be kept.
    ///
    /// # Errors
    /// `Unavailable` if not each replica tells at once.
    pub async fn versions(
        &self,
        context: &Arc<Context>,
        asks: &[VersionAsk],
    ) -> Result<Vec<u64>, SourceError> {
        let mut of_node: BTreeMap<NodeIndex, Vec<usize>> = BTreeMap::new();
        for (index, ask) in asks.iter().enumerate() {
            for node in self.cover(context, [&*ask.matchers], ask.range).nodes().iter() {
                of_node.entry(node).or_default().push(index);
            }
        }
        let suspects = match self.topology.placement.replication_factor() {
            1 => NodeSet::default(),
            _ => self.suspects.now(),
        };
        let asked = of_node.into_iter().map(|(node, places)| {
            let replica = self.replicas.get(&node).filter(|_| !suspects.contains(node));
            ask_one(replica.cloned(), Arc::clone(context), asks, places)
        });
        let answers = tokio::time::timeout(PATIENCE, try_join_all(asked));
        let answers = answers.await.unwrap_or_else(|_| Err(silent()))?;
        // In order of nodes, so that equal answers give equal versions.
        let mut hashes: Vec<Option<DefaultHasher>> = vec![Some(DefaultHasher::new()); asks.len()];
        for (places, versions) in answers {
            for (place, version) in places.into_iter().zip(versions) {
                match &mut hashes[place] {
                    Some(hash) if version != 0 => version.hash(hash),
                    hash => *hash = None,
                }
            }
        }
        Ok(hashes.into_iter().map(|hash| hash.map_or(0, |hash| hash.finish().max(1))).collect())
    }
}

/// The places that one replica is asked about, and their versions there.
async fn ask_one(
    replica: Option<Arc<dyn Replica>>,
    context: Arc<Context>,
    asks: &[VersionAsk],
    places: Vec<usize>,
) -> Result<(Vec<usize>, Vec<u64>), SourceError> {
    let ranges: Vec<TimeRange> = places.iter().map(|place| asks[*place].range).collect();
    let answer = replica.ok_or_else(silent)?.versions(context, ranges).await;
    let error = |error: wire::replica::ReplicaError| SourceError {
        kind: error.kind,
        message: error.to_string(),
    };
    let versions = answer.map_err(error)?;
    if versions.len() == places.len() { Ok((places, versions)) } else { Err(silent()) }
}

fn silent() -> SourceError {
    let message = "not every replica tells its version".to_owned();
    SourceError { kind: Kind::Unavailable, message }
}
