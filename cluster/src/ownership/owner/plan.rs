//! The next ring row that a process asks for, and which places it holds back to give away.
//!
//! # Invariants
//! - Places are taken from a member only if its lease is fenced; nobody else loses one but by its own
//!   update.
//! - Only members whose counter moved lately, and that stay, are given anything.
//! - What stands in the row already is not asked for: a plan is a change, or nothing.

use super::{BootMs, Hold, Incarnation, Owner};
use crate::ownership::ring_row::{RingRow, Stage, Standing};
use std::collections::BTreeSet;

/// Who leaves has so many places at once that are held back and not flushed yet.
const HELD_TO_LEAVE_MAX: usize = 4;

impl Owner {
    /// The next version of the ring row, if something is to be changed.
    pub(super) fn plan(&self, now: BootMs) -> Option<RingRow> {
        let Some(row) = &self.row else {
            return (!self.is_leaving).then(|| RingRow::first(self.me, self.ranges));
        };
        let mut next = row.next();
        self.take_part(&mut next, now);
        let mut heirs = self.heirs(&next, now);
        self.inherit(&mut next, &heirs);
        self.pay(row, &mut next);
        heirs.remove(&self.me);
        self.give(&mut next, &heirs);
        let is_mine = |place: &usize| row.owner(*place) == self.me;
        let is_doubtful = heirs.is_empty() && row.version() < self.given_in;
        let is_empty = next.members() == row.members()
            && next.ring() == row.ring()
            && next.obligations() == row.obligations();
        (!is_empty || (is_doubtful && self.held.keys().any(is_mine))).then_some(next)
    }

    fn take_part(&self, next: &mut RingRow, now: BootMs) {
        let is_member = next.members().contains_key(&self.me);
        match (self.is_leaving, is_member) {
            (false, false) if !self.was_member && self.may_join(now) => next.join(self.me),
            (true, true) => next.announce_leave(self.me),
            _ => {}
        }
    }

    /// Takes over from every member that is fenced.
    fn inherit(&self, next: &mut RingRow, heirs: &BTreeSet<Incarnation>) {
        let is_dead = |who: &&Incarnation| self.watches.get(*who).is_some_and(|w| w.is_fenced());
        let dead: Vec<_> = next.members().keys().filter(is_dead).copied().collect();
        for dead in dead.into_iter().filter(|_| !heirs.is_empty()) {
            next.take_over(dead, heirs);
        }
    }

    /// Says what has been flushed of what was owed.
    fn pay(&self, row: &RingRow, next: &mut RingRow) {
        for (debt, stage) in row.obligations_of(self.me) {
            if self.discharged.contains(&debt) {
                next.discharge(debt);
            } else if stage == Stage::Replay && self.settled.contains(&debt) {
                next.settle(debt);
            }
        }
    }

    /// Hands over what is held back and flushed; leaves when nothing is left.
    fn give(&self, next: &mut RingRow, heirs: &BTreeSet<Incarnation>) {
        for (place, _) in self.held.iter().filter(|(_, hold)| hold.is_flushed) {
            if let Some(heir) = next.poorest(heirs).filter(|_| next.owner(*place) == self.me) {
                next.hand_over(*place, heir);
            }
        }
        if self.is_leaving && next.places_of(self.me).next().is_none() {
            next.leave(self.me);
        }
    }

    /// The members that may be given places; this process too, if it stays.
    fn heirs(&self, row: &RingRow, now: BootMs) -> BTreeSet<Incarnation> {
        let is_alive = |who: &Incarnation| {
            *who == self.me || self.watches.get(who).is_some_and(|watch| watch.is_alive(now))
        };
        let staying = row.members().iter().filter(|(_, standing)| **standing == Standing::Stays);
        staying.map(|(who, _)| *who).filter(is_alive).collect()
    }

    /// Picks the places to give away: all when leaving, else what is more than an even share. Takes
    /// them back if there is nobody to give to and nothing asked for can give them away any more.
    pub(super) fn hold_back(&mut self, now: BootMs) {
        let Some(row) = self.row.as_ref().filter(|row| row.members().contains_key(&self.me)) else {
            return if self.is_leaving {
                self.lease.end()
            };
        };
        let heirs = self.heirs(row, now);
        let is_stuck = heirs.iter().all(|who| *who == self.me);
        let mine: Vec<usize> = row.places_of(self.me).collect();
        if self.is_leaving && is_stuck {
            self.hold(&mine);
            if self.held.values().all(|hold| hold.is_flushed) {
                self.lease.end();
            }
        } else if self.is_leaving {
            // The others are served until it is their turn.
            let unflushed = self.held.values().filter(|hold| !hold.is_flushed).count();
            let free = HELD_TO_LEAVE_MAX.saturating_sub(unflushed);
            let next = mine.into_iter().filter(|place| !self.held.contains_key(place));
            let next: Vec<usize> = next.take(free).collect();
            self.hold(&next);
        } else if is_stuck {
            if row.version() >= self.given_in {
                self.held.clear();
            }
        } else if self.held.is_empty() {
            let share = row.ring().vnodes().len().div_ceil(heirs.len());
            self.hold(mine.get(share..).unwrap_or_default());
        }
    }

    fn hold(&mut self, places: &[usize]) {
        self.holds += 1;
        let hold = Hold { number: self.holds, is_begun: false, is_flushed: false };
        for place in places {
            self.held.entry(*place).or_insert(hold);
        }
    }

    /// Remembers that a row that was asked for gives places of ours away.
    pub(super) fn note_given(&mut self, next: &RingRow) {
        if self.held.keys().any(|place| next.owner(*place) != self.me) {
            self.given_in = next.version();
        }
    }
}
