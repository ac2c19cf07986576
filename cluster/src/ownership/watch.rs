//! Another process's lease as a contender sees it: alive, or fenced, and when to fence it.
//!
//! # Invariants
//! - A lease is fenced only after its counter was seen unchanged for [`TAKE_OVER_AFTER_MS`] of the
//!   contender's own clock, counted from the answer that first showed it: the holder asked for that
//!   counter before, so its trust has ended even if the two clocks drift apart by a fifth.
//! - The fence is on condition of that counter, so a holder that renewed in time is left alone.
//! - Fenced is for ever.

use super::lease::{LeaseRow, TRUST_MS};
use super::{BootMs, Reply};

/// How long a counter must stand still before its lease is fenced.
pub const TAKE_OVER_AFTER_MS: u64 = 10_000;
/// How long after an ask the row is read again.
pub const WATCH_EVERY_MS: u64 = 1_500;

/// What a contender asks of another's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchAsk {
    /// Read it.
    Read,
    /// Fence it, if its counter is this.
    Fence {
        /// The counter that stood still.
        counter: u64,
    },
}

/// One watched lease.
#[derive(Debug, Default)]
pub struct Watch {
    // The counter, and when an answer first showed it.
    seen: Option<(u64, BootMs)>,
    next_at: BootMs,
    is_in_flight: bool,
    is_fenced: bool,
    has_moved: bool,
}

impl Watch {
    /// Whether its holder will never answer again.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Whether its holder may be given something: its counter moved lately.
    #[must_use]
    pub fn is_alive(&self, now: BootMs) -> bool {
        !self.is_fenced && self.seen.is_some_and(|(_, since)| now.since(since) < TRUST_MS)
    }

    /// Whether its holder may live, as far as is known: also one that was not looked at yet, or of which one
    /// look says nothing.
    #[must_use]
    pub fn may_live(&self, now: BootMs) -> bool {
        self.seen.is_none() && !self.is_fenced || self.is_alive(now)
    }

    /// Whether its holder was seen to renew.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// What to ask now.
    pub fn poll(&mut self, now: BootMs) -> Option<WatchAsk> {
        if self.is_fenced || self.is_in_flight || now < self.next_at {
            return None;
        }
        self.next_at = now.plus_ms(WATCH_EVERY_MS);
        self.is_in_flight = true;
        let Some((counter, since)) = self.seen else { return Some(WatchAsk::Read) };
        let fence_at = since.plus_ms(TAKE_OVER_AFTER_MS);
        if now < fence_at {
            self.next_at = self.next_at.min(fence_at);
            return Some(WatchAsk::Read);
        }
        Some(WatchAsk::Fence { counter })
    }

    /// Takes what came of an ask.
    pub fn answered(&mut self, reply: &Reply, now: BootMs) {
        self.is_in_flight = false;
        match reply {
            Reply::Applied | Reply::Lease(None | Some(LeaseRow { is_fenced: true, .. })) => {
                self.is_fenced = true;
            }
            Reply::Lease(Some(row)) if self.seen.is_none_or(|(seen, _)| seen != row.counter) => {
                self.has_moved = self.seen.is_some();
                self.seen = Some((row.counter, now));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(counter: u64) -> Reply {
        Reply::Lease(Some(LeaseRow { counter, is_fenced: false }))
    }

    #[test]
    fn a_lease_is_fenced_only_when_its_counter_stood_still_for_long_enough() {
        let mut watch = Watch::default();
        assert_eq!(watch.poll(BootMs(0)), Some(WatchAsk::Read));
        watch.answered(&row(7), BootMs(1_900));
        assert_eq!(watch.poll(BootMs(11_899)), Some(WatchAsk::Read));
        watch.answered(&row(7), BootMs(11_899));
        assert_eq!(watch.poll(BootMs(11_900)), Some(WatchAsk::Fence { counter: 7 }));
        watch.answered(&row(8), BootMs(11_950));
        assert!(!watch.is_fenced() && watch.is_alive(BootMs(11_950)));
        assert_eq!(watch.poll(BootMs(21_949)), Some(WatchAsk::Read));
    }
}
