//! HA pairs: of replicas that all send the same series, one is *elected*, and only its samples are
//! kept. When it has been silent for a while, another one is.
//!
//! A *cluster* is what the replicas send about; replicas of one cluster stand for each other.
//!
//! # Invariants
//! - At each moment at most one replica of a cluster is elected.
//! - Who is elected stays so until it has been silent for `failover`, and somebody else speaks.
//! - What one replica has covered is taken from no later one: a sample at or shortly before the *floor* of
//!   an election was delivered by those before. One that is hours older is of no pair: somebody sends it late.
//! - Of those that wait one is the *heir*, as long as it speaks: what it sends meanwhile is worth
//!   keeping, since nobody else is elected before it.
//!
//! Not here: which labels name cluster and replica (`limits.rs`); what becomes of samples
//! (`distributor`). Each distributor elects for itself.

use crate::limits::Limit;
use model::{Text, TimestampMs};
use std::collections::HashMap;

/// Replicas of one cluster that are remembered.
const REPLICAS_MAX: usize = 16;
/// Clusters of a tenant whose limit is switched off.
const CLUSTERS_MAX: u64 = 100_000;
/// A cluster that was silent for so long is forgotten.
const FORGET_NS: u64 = 3_600 * 1_000_000_000;

/// So far before the floor of an election a sample may be one that was delivered before: who takes over sends
/// what its log still holds, which of a Prometheus is two hours. What is older is not the other's.
const DELIVERED_MS: i64 = 2 * 3_600_000;

/// Whether a sample of this time was delivered by those who were elected before that floor.
#[must_use]
pub fn ha_was_delivered(floor_ms: i64, timestamp_ms: i64) -> bool {
    timestamp_ms <= floor_ms && timestamp_ms > floor_ms.saturating_sub(DELIVERED_MS)
}

/// What a replica's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaVerdict {
    /// Kept, but for those that another replica has delivered ([`ha_was_delivered`]).
    Elected {
        /// Milliseconds since 1970; the least number there is if nobody was elected before.
        floor_ms: i64,
        /// Whether it was elected just now, in the place of another.
        took_over: bool,
    },
    /// Not kept: another replica is elected.
    Waits {
        /// Whether this one is elected next.
        is_heir: bool,
    },
}

/// More clusters than the tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} HA clusters (ha_max_clusters)")]
pub struct TooManyClusters {
    /// The tenant's limit.
    pub limit: u64,
}

/// The elections of one tenant.
#[derive(Debug)]
pub struct HaTracker {
    failover_ns: u64,
    clusters_max: u64,
    clusters: HashMap<Text, Cluster>,
}

#[derive(Debug)]
struct Cluster {
    elected: Text,
    /// When the elected replica spoke last.
    heard_ns: u64,
    floor_ms: i64,
    /// The time up to which the elected replica has delivered.
    covered_ms: i64,
    elections: u64,
    /// Who is elected next.
    heir: Option<Text>,
    /// The others, and when they spoke last.
    waiting: Vec<(Text, u64)>,
}

/// A cluster, for those who operate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its name.
    pub cluster: Text,
    /// The elected replica.
    pub elected: Text,
    /// For how long it has been silent, in milliseconds.
    pub silent_ms: u64,
    /// How often a replica was elected, the first time included.
    pub elections: u64,
    /// The other replicas, and for how long each has been silent.
    pub waiting: Vec<(Text, u64)>,
}

impl HaTracker {
    /// Nobody is elected yet. The elected replica may be silent for `failover_ms`.
    #[must_use]
    pub fn new(failover_ms: u64, clusters_max: Limit) -> Self {
        let failover_ns = failover_ms.saturating_mul(1_000_000);
        let clusters_max = clusters_max.get().min(CLUSTERS_MAX);
        Self { failover_ns, clusters_max, clusters: HashMap::new() }
    }

    /// A replica speaks at `now_ns`: elects it if there is nobody else.
    ///
    /// # Errors
    /// [`TooManyClusters`] if the cluster is new and one too many.
    pub fn hear(
        &mut self,
        cluster: &str,
        replica: &str,
        now_ns: u64,
    ) -> Result<HaVerdict, TooManyClusters> {
        let Some(known) = self.clusters.get_mut(cluster) else {
            self.begin(cluster, replica, now_ns)?;
            return Ok(HaVerdict::Elected { floor_ms: i64::MIN, took_over: false });
        };
        let mut took_over = false;
        if *known.elected == *replica {
            known.heard_ns = known.heard_ns.max(now_ns);
        } else {
            let is_heir = known.is_heir(replica, now_ns, self.failover_ns);
            if !is_heir || now_ns.saturating_sub(known.heard_ns) < self.failover_ns {
                known.note(replica, now_ns);
                return Ok(HaVerdict::Waits { is_heir });
            }
            known.elect(replica, now_ns);
            took_over = true;
        }
        Ok(HaVerdict::Elected { floor_ms: known.floor_ms, took_over })
    }

    /// Whether this replica is the elected one.
    #[must_use]
    pub fn is_elected(&self, cluster: &str, replica: &str) -> bool {
        self.clusters.get(cluster).is_some_and(|known| *known.elected == *replica)
    }

    /// Who is elected counts as heard at `now_ns`, though it does not speak. Of another replica this says
    /// nothing.
    pub fn keep(&mut self, cluster: &str, replica: &str, now_ns: u64) {
        let elected = self.clusters.get_mut(cluster).filter(|known| *known.elected == *replica);
        if let Some(known) = elected {
            known.heard_ns = known.heard_ns.max(now_ns);
        }
    }

    fn begin(&mut self, cluster: &str, replica: &str, now_ns: u64) -> Result<(), TooManyClusters> {
        if self.clusters.len() as u64 >= self.clusters_max {
            let is_fresh = |known: &Cluster| now_ns.saturating_sub(known.heard_ns) < FORGET_NS;
            self.clusters.retain(|_, known| is_fresh(known));
        }
        if self.clusters.len() as u64 >= self.clusters_max {
            return Err(TooManyClusters { limit: self.clusters_max });
        }
        let new = Cluster {
            elected: replica.into(),
            heard_ns: now_ns,
            floor_ms: i64::MIN,
            covered_ms: i64::MIN,
            elections: 1,
            heir: None,
            waiting: Vec::new(),
        };
        self.clusters.insert(cluster.into(), new);
        Ok(())
    }

    /// The samples of a replica up to `newest` are durable at `now`. A clock of theirs that runs ahead
    /// covers nothing that has not been yet. Returns the time up to which the cluster is covered, if it
    /// is this replica that covers it.
    pub fn cover(
        &mut self,
        cluster: &str,
        replica: &str,
        newest: TimestampMs,
        now: TimestampMs,
    ) -> Option<TimestampMs> {
        let known = self.clusters.get_mut(cluster).filter(|known| *known.elected == *replica)?;
        known.covered_ms = known.covered_ms.max(newest.0.min(now.0));
        Some(TimestampMs(known.covered_ms))
    }

    /// Every cluster, by name.
    #[must_use]
    pub fn status(&self, now_ns: u64) -> Vec<ClusterStatus> {
        let silent_ms = |heard_ns: u64| now_ns.saturating_sub(heard_ns) / 1_000_000;
        let mut all: Vec<ClusterStatus> = self
            .clusters
            .iter()
            .map(|(name, known)| ClusterStatus {
                cluster: name.clone(),
                elected: known.elected.clone(),
                silent_ms: silent_ms(known.heard_ns),
                elections: known.elections,
                waiting: known
                    .waiting
                    .iter()
                    .map(|(replica, heard_ns)| (replica.clone(), silent_ms(*heard_ns)))
                    .collect(),
            })
            .collect();
        all.sort_unstable_by(|a, b| a.cluster.cmp(&b.cluster));
        all
    }
}

impl Cluster {
    fn elect(&mut self, replica: &str, now_ns: u64) {
        let (before, heard_ns) = (self.elected.clone(), self.heard_ns);
        self.waiting.retain(|(name, _)| **name != *replica);
        self.elected = replica.into();
        self.heard_ns = now_ns;
        self.floor_ms = self.covered_ms;
        self.elections += 1;
        self.heir = None;
        self.note(&before, heard_ns);
    }

    /// Whether a replica that waits is elected next: if there is no heir, or it has fallen silent,
    /// who speaks becomes it.
    fn is_heir(&mut self, replica: &str, now_ns: u64, failover_ns: u64) -> bool {
        let spoke = |name: &Text| {
            let mut waiting = self.waiting.iter();
            waiting
                .find(|(known, _)| known == name)
                .is_some_and(|(_, heard_ns)| now_ns.saturating_sub(*heard_ns) < failover_ns)
        };
        match &self.heir {
            Some(heir) if **heir == *replica => true,
            Some(heir) if spoke(heir) => false,
            _ => {
                self.heir = Some(replica.into());
                true
            }
        }
    }

    /// Remembers a replica that waits; of too many the one that was silent for longest is forgotten.
    fn note(&mut self, replica: &str, now_ns: u64) {
        if let Some((_, heard_ns)) = self.waiting.iter_mut().find(|(name, _)| **name == *replica) {
            *heard_ns = now_ns;
            return;
        }
        if self.waiting.len() + 1 >= REPLICAS_MAX {
            let oldest = self.waiting.iter().enumerate().min_by_key(|(_, (_, heard))| *heard);
            if let Some((place, _)) = oldest {
                self.waiting.swap_remove(place);
            }
        }
        self.waiting.push((replica.into(), now_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const FIRST: Result<HaVerdict, TooManyClusters> =
        Ok(HaVerdict::Elected { floor_ms: i64::MIN, took_over: false });
    const WAITS: Result<HaVerdict, TooManyClusters> = Ok(HaVerdict::Waits { is_heir: true });
    const STANDS_BACK: Result<HaVerdict, TooManyClusters> = Ok(HaVerdict::Waits { is_heir: false });

    fn tracker() -> HaTracker {
        HaTracker::new(30_000, Limit(2))
    }

    #[test]
    fn who_comes_first_is_elected_and_stays_so_while_it_speaks() {
        let mut tracker = tracker();
        for round in 0..100 {
            assert_eq!(tracker.hear("c", "a", round * 10 * S), FIRST);
            assert_eq!(tracker.hear("c", "b", round * 10 * S + 1), WAITS);
        }
        assert_eq!(tracker.status(0)[0].elections, 1);
    }

    #[test]
    fn after_thirty_seconds_of_silence_and_no_sooner_the_other_is_elected() {
        let mut tracker = tracker();
        tracker.hear("c", "a", 0).unwrap();
        assert_eq!(tracker.hear("c", "b", 30 * S - 1), WAITS);
        let took_over = Ok(HaVerdict::Elected { floor_ms: i64::MIN, took_over: true });
        assert_eq!(tracker.hear("c", "b", 30 * S), took_over);
        assert_eq!(tracker.hear("c", "b", 30 * S), FIRST);
        assert_eq!(tracker.hear("c", "a", 30 * S + 1), WAITS, "who comes back waits");
        assert_eq!(tracker.status(0)[0].elections, 2);
    }

    #[test]
    fn what_a_replica_has_covered_is_the_floor_of_the_next() {
        let mut tracker = tracker();
        let (newest, now) = (TimestampMs(5_000), TimestampMs(6_000));
        tracker.hear("c", "a", 0).unwrap();
        tracker.cover("c", "a", newest, now);
        tracker.cover("c", "a", TimestampMs(4_000), now);
        tracker.cover("c", "b", TimestampMs(9_000), TimestampMs(9_000));
        assert_eq!(
            tracker.hear("c", "b", 40 * S),
            Ok(HaVerdict::Elected { floor_ms: 5_000, took_over: true })
        );
        assert_eq!(
            tracker.hear("c", "a", 80 * S),
            Ok(HaVerdict::Elected { floor_ms: 5_000, took_over: true })
        );
    }

    #[test]
    fn what_is_hours_older_than_a_floor_was_not_delivered_by_those_before() {
        let floor_ms = 10 * 3_600_000;
        let told =
            [floor_ms + 1, floor_ms, floor_ms - DELIVERED_MS + 1, floor_ms - DELIVERED_MS, 0];
        assert_eq!(
            told.map(|at| ha_was_delivered(floor_ms, at)),
            [false, true, true, false, false]
        );
        assert!(!ha_was_delivered(i64::MIN, i64::MIN + 1) && !ha_was_delivered(i64::MIN, i64::MIN));
    }

    #[test]
    fn a_sender_whose_clock_runs_ahead_does_not_cover_what_is_to_come() {
        let mut tracker = tracker();
        tracker.hear("c", "a", 0).unwrap();
        tracker.cover("c", "a", TimestampMs(900_000), TimestampMs(6_000));
        assert_eq!(
            tracker.hear("c", "b", 40 * S),
            Ok(HaVerdict::Elected { floor_ms: 6_000, took_over: true })
        );
    }

    #[test]
    fn of_those_that_wait_the_first_is_elected_next_unless_it_falls_silent_too() {
        let mut tracker = tracker();
        let took_over = Ok(HaVerdict::Elected { floor_ms: i64::MIN, took_over: true });
        tracker.hear("c", "a", 0).unwrap();
        assert_eq!(tracker.hear("c", "b", 10 * S), WAITS);
        assert_eq!(tracker.hear("c", "d", 11 * S), STANDS_BACK);
        assert_eq!(tracker.hear("c", "d", 31 * S), STANDS_BACK, "b spoke 21 s ago");
        assert_eq!(tracker.hear("c", "b", 32 * S), took_over);
        assert_eq!(tracker.hear("c", "d", 33 * S), WAITS);
        assert_eq!(tracker.hear("c", "a", 34 * S), STANDS_BACK);
        assert_eq!(tracker.hear("c", "a", 63 * S), took_over, "d was silent for 30 s, and b");
    }

    #[test]
    fn who_is_elected_and_kept_is_not_replaced_and_who_waits_gains_nothing_by_it() {
        let mut tracker = tracker();
        tracker.hear("c", "a", 0).unwrap();
        tracker.keep("c", "a", 20 * S);
        tracker.keep("c", "b", 90 * S);
        tracker.keep("d", "a", 90 * S);
        assert_eq!(tracker.hear("c", "b", 50 * S - 1), WAITS);
        let took_over = Ok(HaVerdict::Elected { floor_ms: i64::MIN, took_over: true });
        assert_eq!(tracker.hear("c", "b", 50 * S), took_over);
        assert_eq!(tracker.status(90 * S).len(), 1);
    }

    #[test]
    fn clusters_do_not_stand_for_each_other() {
        let mut tracker = tracker();
        assert_eq!(tracker.hear("c", "a", 0), FIRST);
        assert_eq!(tracker.hear("d", "b", 0), FIRST);
    }

    #[test]
    fn one_cluster_too_many_is_refused_until_one_has_been_silent_for_an_hour() {
        let mut tracker = tracker();
        tracker.hear("c", "a", 0).unwrap();
        tracker.hear("d", "a", S).unwrap();
        assert_eq!(tracker.hear("e", "a", S), Err(TooManyClusters { limit: 2 }));
        assert_eq!(tracker.hear("d", "b", S), WAITS, "known ones go on");
        assert_eq!(tracker.hear("e", "a", 3_600 * S), FIRST);
        assert_eq!(tracker.status(3_600 * S).len(), 2);
    }

    #[test]
    fn replicas_that_come_and_go_take_no_memory() {
        let mut tracker = tracker();
        for number in 0..1_000 {
            tracker.hear("c", &format!("pod-{number}"), number).unwrap();
        }
        let status = tracker.status(1_000);
        assert_eq!(status[0].waiting.len(), REPLICAS_MAX - 1);
        assert!(status[0].waiting.iter().any(|(name, _)| &**name == "pod-999"));
    }

    #[test]
    fn the_status_tells_who_is_elected_and_who_has_been_silent_for_how_long() {
        let mut tracker = tracker();
        tracker.hear("c", "a", 0).unwrap();
        tracker.hear("c", "b", 10 * S).unwrap();
        tracker.hear("c", "b", 31 * S).unwrap();
        let wanted = ClusterStatus {
            cluster: "c".into(),
            elected: "b".into(),
            silent_ms: 2_000,
            elections: 2,
            waiting: vec![("a".into(), 33_000)],
        };
        assert_eq!(tracker.status(33 * S), [wanted]);
    }
}
