//! Who is suspected to be down, and whom to gossip with: phi-accrual, as Cassandra has it (Hayashibara
//! et al., "The φ Accrual Failure Detector", SRDS 2004).
//!
//! Each peer is heard of now and then. The longer it is silent as against what is usual for it, the
//! higher is phi: the silence in means, times log10 e. Suspicion keeps requests away from a peer; it
//! takes nothing from it.
//!
//! # Invariants
//! - Time comes in, in milliseconds of a clock that only goes forward.
//! - A process that was stopped itself suspects nobody: it has heard of nobody.
//!
//! Not here: messages. Nothing gossips yet; the list of members is configured.

use std::collections::VecDeque;
use std::f64::consts::LOG10_E;

/// So many intervals of a peer are remembered.
const INTERVALS_MAX: usize = 1_000;
/// The interval that is assumed before there is one.
const FIRST_INTERVAL_MS: u64 = 2_000;
/// Longer ones are outages and no habit.
const INTERVAL_MAX_MS: u64 = 2_000;
/// Above it a peer is suspected.
const PHI_MAX: f64 = 8.0;
/// Who did not look for so long was stopped itself,
const PAUSE_MS: u64 = 5_000;
/// and suspects nobody for as long again.
const AFTER_PAUSE_MS: u64 = 5_000;

/// When a peer was heard of.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    intervals_ms: VecDeque<u64>,
    sum_ms: u64,
    last_ms: Option<u64>,
}

impl Arrivals {
    /// The peer is heard of at `now_ms`.
    pub fn heard(&mut self, now_ms: u64) {
        let interval_ms = match self.last_ms.replace(now_ms) {
            None => FIRST_INTERVAL_MS,
            Some(last_ms) => now_ms.saturating_sub(last_ms),
        };
        if interval_ms > INTERVAL_MAX_MS {
            return;
        }
        if self.intervals_ms.len() == INTERVALS_MAX {
            self.sum_ms -= self.intervals_ms.pop_front().unwrap_or(0);
        }
        self.sum_ms += interval_ms;
        self.intervals_ms.push_back(interval_ms);
    }

    /// How suspicious its silence is at `now_ms`; 0 if it was never heard of.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a thousand intervals")]
    pub fn phi(&self, now_ms: u64) -> f64 {
        let Some(last_ms) = self.last_ms else { return 0.0 };
        let mean_ms = self.sum_ms.max(1) as f64 / self.intervals_ms.len().max(1) as f64;
        LOG10_E * now_ms.saturating_sub(last_ms) as f64 / mean_ms
    }
}

/// Judges peers by their silence.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    looked_ms: Option<u64>,
    lenient_until_ms: u64,
}

impl Detector {
    /// Looks at peers at `now_ms`, to be called each second or so; which of them are suspected.
    pub fn suspects<'a, P: Copy + 'a>(
        &mut self,
        peers: impl IntoIterator<Item = (P, &'a Arrivals)>,
        now_ms: u64,
    ) -> Vec<P> {
        let looked_ms = self.looked_ms.replace(now_ms).unwrap_or(now_ms);
        if now_ms.saturating_sub(looked_ms) > PAUSE_MS {
            self.lenient_until_ms = now_ms.saturating_add(AFTER_PAUSE_MS);
        }
        if now_ms < self.lenient_until_ms {
            return Vec::new();
        }
        let silent = peers.into_iter().filter(|(_, arrivals)| arrivals.phi(now_ms) > PHI_MAX);
        silent.map(|(peer, _)| peer).collect()
    }
}

/// The chance with which a round of gossip also goes to one of the peers that are not reached.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "peers are few")]
pub fn chance_of_unreachable(unreachable: usize, live: usize) -> f64 {
    (unreachable as f64 / (live as f64 + 1.0)).min(1.0)
}

/// The chance with which it also goes to one of the seeds, beside so many others.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "peers are few")]
pub fn chance_of_seed(seeds: usize, others: usize) -> f64 {
    (seeds as f64 / others.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that was heard of each `interval_ms`, the last time at the time returned.
    fn regular(interval_ms: u64) -> (Arrivals, u64) {
        let mut arrivals = Arrivals::default();
        // So often that what is assumed at first is forgotten.
        let last_ms = 2_000 * interval_ms;
        (0..=2_000).for_each(|count| arrivals.heard(count * interval_ms));
        (arrivals, last_ms)
    }

    #[test]
    fn golden_phi_of_a_silence_as_against_a_mean_of_one_second() {
        let (arrivals, last_ms) = regular(1_000);
        for (silence_ms, wanted) in [(10_000, 4.34), (18_000, 7.82), (18_421, 8.00)] {
            let phi = arrivals.phi(last_ms + silence_ms);
            assert!((phi - wanted).abs() < 0.005, "{silence_ms} ms: {phi}");
        }
    }

    #[test]
    fn a_peer_is_suspected_after_18_421_of_its_means_and_not_before() {
        for (mean_ms, silence_ms) in [(1_000, 18_421), (500, 9_211)] {
            let (arrivals, last_ms) = regular(mean_ms);
            let suspects =
                |silence_ms| Detector::default().suspects([(7, &arrivals)], last_ms + silence_ms);
            assert_eq!(suspects(silence_ms - 1), []);
            assert_eq!(suspects(silence_ms), [7]);
        }
        assert_eq!(Arrivals::default().phi(1 << 40), 0.0, "never heard of");
    }

    #[test]
    fn an_outage_is_no_habit_and_the_first_interval_is_assumed() {
        let mut arrivals = Arrivals::default();
        arrivals.heard(1_000);
        assert!((arrivals.phi(3_000) - LOG10_E).abs() < 1e-9, "one assumed interval");
        arrivals.heard(2_000);
        arrivals.heard(902_000);
        arrivals.heard(903_000);
        assert_eq!(arrivals.intervals_ms, [2_000, 1_000, 1_000]);
    }

    #[test]
    fn who_was_stopped_itself_suspects_nobody_for_five_seconds() {
        let (arrivals, last_ms) = regular(1_000);
        let mut detector = Detector::default();
        let mut suspects = |at| detector.suspects([(7, &arrivals)], last_ms + at);
        assert_eq!(suspects(1_000), []);
        assert_eq!(suspects(30_000), [], "it did not look for 29 s");
        assert_eq!(suspects(34_000), []);
        assert_eq!(suspects(35_000), [7]);
    }

    #[test]
    fn golden_chances_of_a_round_of_gossip() {
        assert_eq!(chance_of_unreachable(3, 9), 0.30);
        assert_eq!(chance_of_seed(3, 12), 0.25);
        assert_eq!(chance_of_unreachable(9, 0), 1.0);
        assert_eq!(chance_of_seed(3, 0), 1.0);
    }
}
