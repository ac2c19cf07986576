//! Samples that several replicas send, kept once: who sends a series, and whether it is kept.
//!
//! # Invariants
//! - A series without one of the two labels is nobody's replica, and kept.
//! - The labels of a series do not say which replica sent it.
//! - Who is elected counts as speaking while what it sent as the heir is not written: whoever came
//!   next would take it for delivered. This ends with what is held.
//!
//! Not here: who is elected (`guard::ha`); what who waits has sent (`held.rs`).

use crate::held::{Held, HeldBody, Owed};
use guard::ha::{ClusterStatus, TooManyClusters};
use guard::{HaLimits, HaTracker, HaVerdict};
use model::{LabelSet, Text, TimestampMs};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use wire::remote_write::RawLabels;

/// The elections of one tenant.
#[derive(Debug)]
pub(crate) struct HaGate {
    cluster_label: Text,
    replica_label: Text,
    /// A pair with a longer name is nobody's.
    name_bytes_max: u64,
    // Guards the elections; held for one question. Only `held` is taken under it.
    tracker: Mutex<HaTracker>,
    // Guards what is held; taken for one change, after the elections if both are.
    held: Mutex<Held>,
    hold_ns: u64,
}

/// No cluster or replica has a longer name, whatever the limit of labels.
const NAME_BYTES_MAX: u64 = 4 << 10;

/// What is held is of use to one election. After so many times the silence that it takes there is
/// none.
const HOLD_TIMES: u64 = 4;

/// A replica that a request has samples of, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) cluster: Text,
    pub(crate) replica: Text,
    pub(crate) verdict: Result<HaVerdict, TooManyClusters>,
    /// The newest time of its samples: of those that are kept, or of those that wait.
    pub(crate) newest_ms: i64,
}

impl Heard {
    /// Whether its samples are kept.
    pub(crate) fn is_elected(&self) -> bool {
        matches!(self.verdict, Ok(HaVerdict::Elected { .. }))
    }

    /// Whether it is the heir of who is elected.
    pub(crate) fn is_heir(&self) -> bool {
        self.verdict == Ok(HaVerdict::Waits { is_heir: true })
    }
}

/// The replicas that a request has samples of, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    all: Vec<Heard>,
    /// By cluster and replica. A cluster's name is held once: in 2.0 many series may refer to one text.
    places: HashMap<Text, HashMap<Text, usize>>,
}

impl Hearing {
    /// Where a replica is.
    fn place(&self, cluster: &str, replica: &str) -> Option<usize> {
        let is_it = |one: &Heard| *one.cluster == *cluster && *one.replica == *replica;
        // The series before is mostly of the same replica.
        if self.all.last().is_some_and(is_it) {
            return Some(self.all.len() - 1);
        }
        self.places.get(cluster)?.get(replica).copied()
    }

    /// Adds one that is not there.
    fn push(
        &mut self,
        cluster: &str,
        replica: &str,
        verdict: Result<HaVerdict, TooManyClusters>,
    ) -> usize {
        let known = self.places.get_key_value(cluster).map(|(known, _)| known.clone());
        let (cluster, replica) = (known.unwrap_or_else(|| cluster.into()), Text::from(replica));
        let place = self.all.len();
        self.places.entry(cluster.clone()).or_default().insert(replica.clone(), place);
        self.all.push(Heard { cluster, replica, verdict, newest_ms: i64::MIN });
        place
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.places.clear();
    }
}

impl Deref for Hearing {
    type Target = [Heard];

    fn deref(&self) -> &[Heard] {
        &self.all
    }
}

impl DerefMut for Hearing {
    fn deref_mut(&mut self) -> &mut [Heard] {
        &mut self.all
    }
}

impl HaGate {
    /// Of a tenant whose labels have values of so many bytes at most.
    pub(crate) fn new(limits: &HaLimits, value_bytes_max: u64) -> Self {
        Self {
            name_bytes_max: value_bytes_max.min(NAME_BYTES_MAX),
            cluster_label: limits.cluster_label.as_str().into(),
            replica_label: limits.replica_label.as_str().into(),
            tracker: Mutex::new(HaTracker::new(limits.failover_ms, limits.max_clusters)),
            held: Mutex::default(),
            hold_ns: limits.failover_ms.saturating_mul(HOLD_TIMES * 1_000_000),
        }
    }

    /// The place in `heard` of the replica that sends a series with these raw labels, a new one if it
    /// was not heard in this request before. `None` if it is nobody's.
    pub(crate) fn hear(
        &self,
        raw: RawLabels<'_>,
        now_ns: u64,
        heard: &mut Hearing,
    ) -> Option<usize> {
        let (cluster, replica) = self.pair(raw)?;
        // What is no text, or too long, is refused as a series.
        if cluster.len().max(replica.len()) as u64 > self.name_bytes_max {
            return None;
        }
        let (cluster, replica) =
            (std::str::from_utf8(cluster).ok()?, std::str::from_utf8(replica).ok()?);
        if let Some(place) = heard.place(cluster, replica) {
            return Some(place);
        }
        Some(heard.push(cluster, replica, self.elect(cluster, replica, now_ns)))
    }

    /// What a replica that speaks is. One that was elected owes from now on what was held of it.
    fn elect(
        &self,
        cluster: &str,
        replica: &str,
        now_ns: u64,
    ) -> Result<HaVerdict, TooManyClusters> {
        let mut tracker = self.tracker.lock();
        let mut held = self.held.lock();
        if let Some(owing) = held.owing(cluster, now_ns.saturating_sub(self.hold_ns)) {
            tracker.keep(cluster, owing, now_ns);
        }
        let verdict = tracker.hear(cluster, replica, now_ns);
        if let Ok(HaVerdict::Elected { took_over: true, .. }) = verdict {
            held.elect(cluster, replica, now_ns);
        }
        verdict
    }

    /// The values of the two labels, if raw labels have both.
    fn pair<'r>(&self, raw: RawLabels<'r>) -> Option<(&'r [u8], &'r [u8])> {
        let (mut cluster, mut replica) = (&[][..], &[][..]);
        for (name, value) in raw.into_iter().map_while(Result::ok) {
            if name == self.replica_label.as_bytes() {
                replica = value;
            } else if name == self.cluster_label.as_bytes() {
                cluster = value;
            }
        }
        (!cluster.is_empty() && !replica.is_empty()).then_some((cluster, replica))
    }

    /// The labels that a series is stored under.
    pub(crate) fn without_replica(&self, mut labels: LabelSet) -> LabelSet {
        if labels.get(&self.cluster_label).is_some() {
            labels.remove(&self.replica_label);
        }
        labels
    }

    /// What was heard is durable at `now`.
    pub(crate) fn cover(&self, heard: &[Heard], now: TimestampMs) {
        for Heard { cluster, replica, newest_ms, .. } in heard.iter().filter(|one| one.is_elected())
        {
            if *newest_ms > i64::MIN {
                let newest = TimestampMs(*newest_ms);
                let covered = self.tracker.lock().cover(cluster, replica, newest, now);
                if let Some(up_to) = covered {
                    self.held.lock().cover(cluster, replica, up_to);
                }
            }
        }
    }

    /// Holds a request of the heir until it is elected, or what it says is covered.
    pub(crate) fn hold(&self, heir: &Heard, body: HeldBody) {
        let tracker = self.tracker.lock();
        let mut held = self.held.lock();
        held.expire(body.at_ns.saturating_sub(self.hold_ns));
        let is_elected = tracker.is_elected(&heir.cluster, &heir.replica);
        held.put((&heir.cluster, &heir.replica), is_elected, body);
    }

    /// Takes out what is owed in the cluster of who was heard, whoever of it that was: who owes may
    /// speak no more.
    pub(crate) fn take_owed(&self, heard: &Heard) -> Option<Owed> {
        self.held.lock().take(&heard.cluster)
    }

    /// Puts back what could not be written yet.
    pub(crate) fn put_back(&self, owed: Owed) {
        self.held.lock().put_back(owed);
    }

    /// What was owed is written.
    pub(crate) fn settle(&self, owed: &Owed) {
        self.held.lock().settle(&owed.cluster);
    }

    /// Lets go of what is held: nobody speaks any more.
    pub(crate) fn let_go(&self) {
        *self.held.lock() = Held::default();
    }

    /// Every cluster, by name.
    pub(crate) fn status(&self, now_ns: u64) -> Vec<ClusterStatus> {
        self.tracker.lock().status(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_replicas_each_has_its_own_place_in_whatever_order_they_come() {
        let mut heard = Hearing::default();
        let pair = |number: usize| (format!("c{}", number % 7), format!("r{number}"));
        for round in 0..2 {
            for number in 0..5_000 {
                let number = number * 17 % 5_000;
                let (cluster, replica) = pair(number);
                let place = heard.place(&cluster, &replica).unwrap_or_else(|| {
                    assert_eq!(round, 0);
                    heard.push(&cluster, &replica, Ok(HaVerdict::Waits { is_heir: false }))
                });
                assert_eq!(
                    (&*heard[place].cluster, &*heard[place].replica),
                    (&*cluster, &*replica)
                );
            }
        }
        assert_eq!((heard.len(), heard.places.len()), (5_000, 7));
        let of_one: Vec<&Heard> = heard.iter().filter(|one| *one.cluster == *"c3").collect();
        assert!(of_one.iter().all(|one| one.cluster.as_ptr() == of_one[0].cluster.as_ptr()));
    }
}
