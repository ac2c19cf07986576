//! Replicas tell each other what is deleted: one that was away learns it from its peers.
//!
//! At the start, as soon as a peer answers, and every [`EVERY`] from then on, it asks each peer for
//! all of its tombstones and keeps what it does not have. They are a set, so order and repetition
//! do not matter, and all replicas end with the same.
//!
//! Until the first answer this replica may show what was deleted while it was away.
//!
//! Not here: the delete itself, which asks all replicas at once (`querier`).

use crate::embedded::Embedded;
use guard::identity::SYSTEM_TENANT;
use model::{Context, Principal, RequestId, TenantId};
use std::sync::Arc;
use std::time::Duration;
use wire::replica::Replica;

/// How often peers are asked.
pub const EVERY: Duration = Duration::from_secs(10);
/// The pause while some peer has not answered since the start.
const EVERY_AT_START: Duration = Duration::from_millis(250);
/// The most rounds with that pause: ten minutes.
const ROUNDS_AT_START: u32 = 2_400;
/// The longest that a peer may take to answer.
const TIMEOUT_MS: u32 = 10_000;

/// A replica and the peers it learns from.
#[derive(Debug)]
pub struct Exchange {
    own: Arc<Embedded>,
    peers: Vec<Arc<dyn Replica>>,
}

impl Exchange {
    /// An exchange of `own` with `peers`.
    #[must_use]
    pub fn new(own: Arc<Embedded>, peers: Vec<Arc<dyn Replica>>) -> Self {
        Self { own, peers }
    }

    /// Asks again and again; ends when its task is aborted.
    pub async fn run(self) {
        let mut at_start = 0;
        loop {
            let everybody_answered = self.round().await;
            at_start = if everybody_answered { ROUNDS_AT_START } else { at_start + 1 };
            let pause = if at_start < ROUNDS_AT_START { EVERY_AT_START } else { EVERY };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks each peer once; says whether all of them answered, and what they said is on disk.
    pub async fn round(&self) -> bool {
        let Ok(tenant) = TenantId::parse(SYSTEM_TENANT) else { return false };
        let context = Arc::new(Context {
            tenant,
            principal: Principal::System,
            request_id: RequestId(0),
            timeout_ms: TIMEOUT_MS,
            now: model::TimestampMs(0),
            ring_version: 0,
        });
        let mut everybody = true;
        for peer in &self.peers {
            let learned = match peer.tombstones(context.clone()).await {
                Ok(tombstones) => self.own.adopt(tombstones).await,
                Err(error) => Err(error),
            };
            match learned {
                Ok(0) => {}
                Ok(news) => tracing::info!(news, "learned from a peer what was deleted"),
                Err(error) => {
                    tracing::debug!("no tombstones of a peer: {error}");
                    everybody = false;
                }
            }
        }
        everybody
    }
}
