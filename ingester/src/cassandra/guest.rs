//! A process that keeps no data among those that do: it learns from them who has what.
//!
//! A *guest* holds no lease and does not reach the database. It asks members for the ring row, and sends its
//! requests by the version that it knows; who knows another one says so, and the guest asks again.
//!
//! # Invariants
//! - It forgets a version of the ring row for a lower one only when nobody has told that or a higher one for
//!   many looks: then the database was restored. An old one does no harm: whoever is asked by it for what is not
//!   theirs refuses (`member/serve.rs`).
//! - Two are asked at a time, whoever else may be away, so what is asked does not grow with the guests' doubts.
//!
//! Not here: sending requests by what is known (`fleet.rs`).

use super::agreement;
use super::member::Placing;
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::RingRow;
use guard::identity::SYSTEM_TENANT;
use model::{Context, Principal, RequestId, TenantId, TimestampMs};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wire::replica::{Replica, RingAnswer};

/// How long a member may take to tell the ring.
const TIMEOUT_MS: u32 = 2_000;
/// So many are asked at once.
const ASKED: usize = 2;
/// After so many looks to which nobody answered what is known is not relied upon.
const SILENT_MAX: usize = 10;

/// After so many answers in a row that all told a lower version than the known one, that is what there is.
const LOWER_MAX: usize = 20;

/// What a guest knows of the ring.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) row: RingRow,
    pub(super) placing: Placing,
    pub(super) addresses: BTreeMap<Incarnation, String>,
}

/// A process without places.
#[derive(Debug)]
pub struct Guest {
    // Who is asked while no member is known, or none of those that are answers.
    seeds: Vec<Arc<dyn Replica>>,
    // Replaced whole. A leaf.
    known: RwLock<Option<Arc<Known>>>,
    looks: AtomicUsize,
    silent: AtomicUsize,
    /// How many answers in a row told a lower version.
    lower: AtomicUsize,
}

impl Guest {
    /// One that knows nothing but some processes that may be members.
    #[must_use]
    pub fn new(seeds: Vec<Arc<dyn Replica>>) -> Self {
        let zero = || AtomicUsize::new(0);
        let (looks, silent, lower) = (zero(), zero(), zero());
        Self { seeds, known: RwLock::new(None), looks, silent, lower }
    }

    pub(super) fn known(&self) -> Option<Arc<Known>> {
        self.known.read().clone()
    }

    /// Why requests cannot be sent by what is known, if they cannot.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        if self.known.read().is_none() {
            return Some(
                "the ring is not known: no process of cluster.ingesters tells it".to_owned(),
            );
        }
        let silent = self.silent.load(Ordering::Relaxed);
        (silent >= SILENT_MAX).then(|| "no ingester answers".to_owned())
    }

    /// Asks some of those that may know, in turn: `members` are those that are known.
    pub(super) async fn look(&self, members: Vec<Arc<dyn Replica>>) {
        let Some(context) = context() else { return };
        let all: Vec<_> = members.into_iter().chain(self.seeds.iter().cloned()).collect();
        let turn = self.looks.fetch_add(ASKED, Ordering::Relaxed);
        let some = (turn..turn + ASKED.min(all.len())).filter_map(|at| all.get(at % all.len()));
        let mut asked = tokio::task::JoinSet::new();
        some.for_each(|one| drop(asked.spawn(one.ring(Arc::clone(&context)))));
        let mut is_answered = false;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(ring)) => is_answered |= self.hear(&ring),
                Ok(Err(error)) => tracing::debug!(%error, "a member does not tell the ring"),
                Err(error) => tracing::error!(%error, "a question about the ring died"),
            }
        }
        match is_answered {
            true => self.silent.store(0, Ordering::Relaxed),
            false => _ = self.silent.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Takes what a member told; whether it was a ring.
    pub(super) fn hear(&self, ring: &RingAnswer) -> bool {
        let Some(row) = agreement::ring_of(&ring.row) else { return false };
        let mut known = self.known.write();
        let mut before = known.as_deref();
        if let Some(held) = before.filter(|before| before.row.version() > row.version()) {
            if self.lower.fetch_add(1, Ordering::Relaxed) + 1 < LOWER_MAX {
                return true;
            }
            let (from, to) = (held.row.version(), row.version());
            tracing::warn!(from, to, "the ring row is an older one: the database was restored");
            before = None;
        }
        self.lower.store(0, Ordering::Relaxed);
        let mut addresses = before.map_or_else(BTreeMap::new, |before| before.addresses.clone());
        addresses.extend(ring.addresses.iter().map(|(who, at)| (Incarnation(*who), at.clone())));
        addresses.retain(|who, _| row.members().contains_key(who));
        if before.is_none_or(|before| before.row != row || before.addresses != addresses) {
            let places = u16::try_from(row.ring().vnodes().len()).unwrap_or(u16::MAX);
            *known = Some(Arc::new(Known { placing: Placing::new(places), row, addresses }));
        }
        true
    }
}

fn context() -> Option<Arc<Context>> {
    Some(Arc::new(Context {
        tenant: TenantId::parse(SYSTEM_TENANT).ok()?,
        principal: Principal::System,
        request_id: RequestId(0),
        timeout_ms: TIMEOUT_MS,
        now: TimestampMs(0),
        ring_version: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Incarnation = Incarnation(1);
    const B: Incarnation = Incarnation(2);

    fn told(row: &RingRow, addresses: &[(Incarnation, &str)]) -> RingAnswer {
        let addresses = addresses.iter().map(|(who, at)| (who.0, (*at).to_owned())).collect();
        RingAnswer { row: agreement::ring_bytes(row), addresses }
    }

    #[test]
    fn a_guest_keeps_the_highest_version_and_the_addresses_of_its_members() {
        let guest = Guest::new(Vec::new());
        assert!(guest.why_not_ready().is_some());
        let first = RingRow::first(A, 8);
        let mut second = first.next();
        second.join(B);
        assert!(guest.hear(&told(&second, &[(A, "a:1")])));
        assert!(guest.hear(&told(&first, &[(A, "old:1")])));
        assert!(guest.hear(&told(&second, &[(B, "b:1")])));
        let known = guest.known().unwrap();
        assert_eq!((known.row.version(), known.placing.all().len()), (second.version(), 8));
        assert_eq!(known.addresses, BTreeMap::from([(A, "a:1".to_owned()), (B, "b:1".to_owned())]));
        assert_eq!(guest.why_not_ready(), None);
        assert!(!guest.hear(&RingAnswer { row: vec![1, 2], addresses: Vec::new() }));
    }

    #[test]
    fn a_guest_takes_an_older_ring_when_nobody_knows_the_newer_one_any_more() {
        let guest = Guest::new(Vec::new());
        let (old, mut new) = (RingRow::first(A, 8), RingRow::first(B, 8).next());
        new.join(A);
        let version = || guest.known().unwrap().row.version();
        guest.hear(&told(&new, &[]));
        for _ in 0..3 * LOWER_MAX {
            // A member that lags behind, among others.
            guest.hear(&told(&old, &[]));
            guest.hear(&told(&new, &[]));
        }
        assert_eq!(version(), new.version());
        for _ in 1..LOWER_MAX {
            guest.hear(&told(&old, &[]));
        }
        assert_eq!(version(), new.version());
        guest.hear(&told(&old, &[(A, "a:1")]));
        assert_eq!(version(), old.version());
    }

    #[tokio::test]
    async fn a_guest_that_nobody_answers_is_not_ready_and_is_again_once_somebody_does() {
        let guest = Guest::new(Vec::new());
        assert!(guest.hear(&told(&RingRow::first(A, 8), &[])));
        for _ in 0..SILENT_MAX {
            assert_eq!(guest.why_not_ready(), None);
            guest.look(Vec::new()).await;
        }
        assert!(guest.why_not_ready().is_some_and(|why| why.contains("no ingester")));
    }
}
