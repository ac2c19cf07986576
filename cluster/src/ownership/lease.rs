//! The lease of this process: when to renew it, and until when to trust it.
//!
//! The row has a counter that only its holder raises. Who watches it and sees no change for
//! [`crate::ownership::watch::TAKE_OVER_AFTER_MS`] may *fence* it, on condition of the counter.
//!
//! # Invariants
//! - Trust lasts [`TRUST_MS`] from before the asking of a renewal that is known to have succeeded,
//!   never from its answer: the process may have been stopped between the two.
//! - If only the row shows that a renewal succeeded, the earliest ask that may have done it counts.
//! - A fenced row stays fenced: this life is over, and a restart is another incarnation.
//!
//! Not here: other processes' rows (`watch.rs`).

use super::{BootMs, Reply};

/// How long after an ask the next renewal is asked for.
pub const RENEW_EVERY_MS: u64 = 3_000;
/// How long after a read that failed the row is read again.
const READ_EVERY_MS: u64 = 500;
/// How long an ask may take before its outcome is called unknown.
pub const ASK_TIMEOUT_MS: u64 = 2_000;
/// How long a renewal is trusted, from its asking.
pub const TRUST_MS: u64 = 7_000;

/// One row of the table of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Raised by each renewal; 0 at first.
    pub counter: u64,
    /// Whether the incarnation has lost its lease for good. Such a row is not deleted while a request
    /// to create it may still be on its way.
    pub is_fenced: bool,
}

/// What a holder asks of its own row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAsk {
    /// Create the row with counter 0, if there is none.
    Begin,
    /// Raise the counter by one, if it is `from` and the row is not fenced.
    Renew {
        /// The counter to raise.
        from: u64,
    },
    /// Fence the row, if the counter is `from`: the process is going and asks nobody to wait for it.
    End {
        /// The counter it has.
        from: u64,
    },
    /// Read the row.
    Read,
}

/// The holder's side of one lease.
#[derive(Debug, Default)]
pub struct Lease {
    counter: Option<u64>,
    trusted_from: Option<BootMs>,
    // The earliest asking of a raise of `counter` whose outcome is not known.
    open_since: Option<BootMs>,
    next_at: BootMs,
    is_in_flight: bool,
    must_read: bool,
    read_at: BootMs,
    is_ending: bool,
    is_lost: bool,
}

impl Lease {
    /// Whether what the process holds may be answered from now.
    #[must_use]
    pub fn is_trusted(&self, now: BootMs) -> bool {
        !self.is_lost && self.trusted_from.is_some_and(|from| now < from.plus_ms(TRUST_MS))
    }

    /// Whether the row is fenced: nothing will ever be answered again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Ends the lease with the next ask. Nothing may be answered after this.
    pub fn end(&mut self) {
        self.is_ending = true;
        self.trusted_from = None;
    }

    /// What to ask now.
    pub fn poll(&mut self, now: BootMs) -> Option<LeaseAsk> {
        if self.is_lost || self.is_in_flight {
            return None;
        }
        let ask = self.next_ask(now)?;
        self.is_in_flight = true;
        Some(ask)
    }

    fn next_ask(&mut self, now: BootMs) -> Option<LeaseAsk> {
        if self.must_read {
            return (now >= self.read_at).then_some(LeaseAsk::Read);
        }
        if let (true, Some(from)) = (self.is_ending, self.counter) {
            return Some(LeaseAsk::End { from });
        }
        if now < self.next_at {
            return None;
        }
        self.next_at = now.plus_ms(RENEW_EVERY_MS);
        self.open_since.get_or_insert(now);
        Some(self.counter.map_or(LeaseAsk::Begin, |from| LeaseAsk::Renew { from }))
    }

    /// Takes what came of an ask.
    pub fn answered(&mut self, ask: LeaseAsk, asked_at: BootMs, reply: &Reply) {
        self.is_in_flight = false;
        match (ask, reply) {
            (LeaseAsk::Begin, Reply::Applied) => self.succeeded(0, asked_at),
            (LeaseAsk::Renew { from }, Reply::Applied) => self.succeeded(from + 1, asked_at),
            (LeaseAsk::End { .. }, Reply::Applied) => self.is_lost = true,
            (_, Reply::Lease(row)) => self.found(*row),
            // Read at once after an update, and then not faster than that.
            (LeaseAsk::Read, _) => self.read_at = asked_at.plus_ms(READ_EVERY_MS),
            _ => self.must_read = true,
        }
    }

    fn found(&mut self, row: Option<LeaseRow>) {
        self.must_read = false;
        match row {
            None => self.is_lost |= self.counter.is_some(),
            Some(row) if row.is_fenced => self.is_lost = true,
            Some(row) if self.counter.is_none_or(|counter| counter < row.counter) => {
                if let Some(open_since) = self.open_since {
                    self.succeeded(row.counter, open_since);
                }
            }
            Some(_) => {}
        }
    }

    fn succeeded(&mut self, counter: u64, asked_at: BootMs) {
        self.must_read = false;
        if self.counter.is_none_or(|known| known < counter) {
            self.counter = Some(counter);
            self.open_since = None;
        }
        if !self.is_ending {
            self.trusted_from = self.trusted_from.max(Some(asked_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(counter: u64) -> Reply {
        Reply::Lease(Some(LeaseRow { counter, is_fenced: false }))
    }

    fn begun_at(ms: u64) -> Lease {
        let mut lease = Lease::default();
        assert_eq!(lease.poll(BootMs(ms)), Some(LeaseAsk::Begin));
        lease.answered(LeaseAsk::Begin, BootMs(ms), &Reply::Applied);
        lease
    }

    #[test]
    fn a_lease_is_trusted_from_the_asking_however_late_the_answer() {
        let lease = begun_at(1_000);
        assert!(lease.is_trusted(BootMs(7_999)));
        assert!(!lease.is_trusted(BootMs(8_000)));
    }

    #[test]
    fn an_unknown_outcome_is_read_again_and_trusted_from_the_first_ask_that_may_have_done_it() {
        let mut lease = begun_at(0);
        let renew = LeaseAsk::Renew { from: 0 };
        assert_eq!(lease.poll(BootMs(2_999)), None);
        assert_eq!(lease.poll(BootMs(3_000)), Some(renew));
        lease.answered(renew, BootMs(3_000), &Reply::Unknown);
        assert_eq!(lease.poll(BootMs(5_000)), Some(LeaseAsk::Read));
        lease.answered(LeaseAsk::Read, BootMs(5_000), &row(0));
        assert_eq!(lease.poll(BootMs(6_000)), Some(renew));
        lease.answered(renew, BootMs(6_000), &row(1));
        assert!(lease.is_trusted(BootMs(9_999)));
        assert!(!lease.is_trusted(BootMs(10_000)));
    }

    #[test]
    fn a_fenced_lease_is_lost_at_once_and_asks_nothing_more() {
        let mut lease = begun_at(0);
        let ask = lease.poll(BootMs(3_000)).unwrap();
        let fenced = LeaseRow { counter: 0, is_fenced: true };
        lease.answered(ask, BootMs(3_000), &Reply::Lease(Some(fenced)));
        assert!(lease.is_lost() && !lease.is_trusted(BootMs(3_001)));
        assert_eq!(lease.poll(BootMs(60_000)), None);
    }
}
