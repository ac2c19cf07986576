//! A claim on a task that one process does for all: the schema, the sealing of a place's window.
//!
//! A claim keeps two processes from doing the same work. It is no fence: one that was stopped may go on
//! with a step after another has taken the claim over, so each step of a claimed task must do no harm
//! when it is done late or twice. Ask [`crate::ownership::owner::Owner::holds`] before each step.
//!
//! # Invariants
//! - A claim is taken from another only if that one will never work again: its lease is fenced, or the
//!   ring, at the version in which it claimed or a later one, has it no longer.
//! - The row is changed on condition of its number, which every change raises, and is not deleted: so
//!   a change that comes late changes nothing.

use super::{BootMs, Incarnation, Reply};

/// How long after an answer another's claim is looked at again.
const LOOK_EVERY_MS: u64 = 5_000;

/// One row of the table of claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    /// Who works on it.
    pub holder: Option<Incarnation>,
    /// Counts the changes of the row, from 1.
    pub number: u64,
    /// The ring version that the holder knew when it claimed; it was a member then.
    pub ring_version: u64,
}

/// What is asked of the row of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimAsk {
    /// Read it.
    Read,
    /// Write this row if the present one has the number before, or if there is none and this is the
    /// first.
    Write(ClaimRow),
}

/// One claim, as a process knows it.
#[derive(Debug, Default)]
pub struct Claim {
    // None while it must be read.
    row: Option<Option<ClaimRow>>,
    is_wanted: bool,
    is_in_flight: bool,
    next_at: BootMs,
}

impl Claim {
    /// Whether the process wants to hold it.
    pub fn want(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
    }

    /// Whether `me` holds it, as far as is known.
    #[must_use]
    pub fn is_held_by(&self, me: Incarnation) -> bool {
        self.is_wanted && self.row.flatten().is_some_and(|row| row.holder == Some(me))
    }

    /// Whether there is nothing to remember: not wanted, and known not to be held by `me`.
    #[must_use]
    pub fn is_idle(&self, me: Incarnation) -> bool {
        let is_mine = |row: Option<ClaimRow>| row.is_some_and(|row| row.holder == Some(me));
        !self.is_wanted && !self.is_in_flight && self.row.is_some_and(|row| !is_mine(row))
    }

    /// What to ask now. `is_gone` says whether a holder, who claimed at a ring version, will never
    /// work again.
    pub fn poll(
        &mut self,
        me: Incarnation,
        ring_version: u64,
        is_gone: impl Fn(Incarnation, u64) -> bool,
        now: BootMs,
    ) -> Option<ClaimAsk> {
        if self.is_in_flight || now < self.next_at {
            return None;
        }
        let Some(row) = self.row else { return self.ask(ClaimAsk::Read) };
        let number = row.map_or(0, |row| row.number) + 1;
        let holder = row.and_then(|row| row.holder);
        let gone = |who| row.is_some_and(|row| is_gone(who, row.ring_version));
        match (holder, self.is_wanted) {
            (Some(who), true) if who == me => None,
            (Some(who), false) if who == me => {
                self.ask(ClaimAsk::Write(ClaimRow { holder: None, number, ring_version }))
            }
            (Some(who), true) if !gone(who) => self.ask(ClaimAsk::Read),
            (_, true) => {
                self.ask(ClaimAsk::Write(ClaimRow { holder: Some(me), number, ring_version }))
            }
            (_, false) => None,
        }
    }

    fn ask(&mut self, ask: ClaimAsk) -> Option<ClaimAsk> {
        self.is_in_flight = true;
        Some(ask)
    }

    /// Takes what came of an ask.
    pub fn answered(&mut self, ask: ClaimAsk, reply: &Reply, now: BootMs) {
        self.is_in_flight = false;
        match (ask, reply) {
            (ClaimAsk::Write(row), Reply::Applied) => self.row = Some(Some(row)),
            (ClaimAsk::Read, Reply::Claim(row)) => {
                self.row = Some(*row);
                let is_free = row.is_none_or(|row| row.holder.is_none());
                self.next_at = if is_free { now } else { now.plus_ms(LOOK_EVERY_MS) };
            }
            (ClaimAsk::Write(_), Reply::Claim(row)) => self.row = Some(*row),
            (ClaimAsk::Read, _) => self.next_at = now.plus_ms(LOOK_EVERY_MS),
            (ClaimAsk::Write(_), _) => self.row = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Incarnation = Incarnation(1);
    const OTHER: Incarnation = Incarnation(2);

    fn row(holder: Option<Incarnation>, number: u64) -> ClaimRow {
        ClaimRow { holder, number, ring_version: 3 }
    }

    fn found(found: Option<ClaimRow>) -> Claim {
        let mut claim = Claim::default();
        claim.want(true);
        assert_eq!(claim.poll(ME, 3, |_, _| false, BootMs(0)), Some(ClaimAsk::Read));
        claim.answered(ClaimAsk::Read, &Reply::Claim(found), BootMs(0));
        claim
    }

    #[test]
    fn a_claim_that_nobody_holds_is_taken_and_given_back() {
        let mut claim = found(None);
        let take = ClaimAsk::Write(row(Some(ME), 1));
        assert_eq!(claim.poll(ME, 3, |_, _| false, BootMs(0)), Some(take));
        claim.answered(take, &Reply::Applied, BootMs(1));
        assert!(claim.is_held_by(ME));
        claim.want(false);
        assert!(!claim.is_held_by(ME));
        let give = ClaimAsk::Write(row(None, 2));
        assert_eq!(claim.poll(ME, 3, |_, _| false, BootMs(2)), Some(give));
    }

    #[test]
    fn a_claim_is_taken_over_only_from_one_that_is_gone() {
        let mut claim = found(Some(row(Some(OTHER), 8)));
        assert_eq!(claim.poll(ME, 3, |_, _| false, BootMs(4_999)), None);
        assert_eq!(claim.poll(ME, 3, |_, _| false, BootMs(5_000)), Some(ClaimAsk::Read));
        claim.answered(ClaimAsk::Read, &Reply::Claim(Some(row(Some(OTHER), 8))), BootMs(5_000));
        let take = ClaimAsk::Write(row(Some(ME), 9));
        let is_gone = |who, version| who == OTHER && version == 3;
        assert_eq!(claim.poll(ME, 3, is_gone, BootMs(10_000)), Some(take));
    }

    #[test]
    fn a_claim_whose_outcome_is_unknown_is_not_held_until_it_was_read() {
        let mut claim = found(None);
        let take = claim.poll(ME, 3, |_, _| false, BootMs(0)).unwrap();
        claim.answered(take, &Reply::Unknown, BootMs(2_000));
        assert!(!claim.is_held_by(ME));
        assert_eq!(claim.poll(ME, 3, |_, _| false, BootMs(2_000)), Some(ClaimAsk::Read));
    }
}
