//! The ring row: who is a member, who owns which place, which obligations are open. A table and its
//! changes; each change is the next version.
//!
//! # Invariants
//! - Every owner is a member.
//! - Taking over from a dead member leaves an obligation for each of its places, and keeps those that
//!   it had taken on itself: obligations belong to places.
//! - An obligation is settled, and later discharged, only by who owns its place.
//!
//! Not here: when a change may be made (`owner.rs`).

use super::Incarnation;
use crate::token::Ring;
use model::Token;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a member may be given places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Stays,
    /// It hands over what it has.
    Leaves,
}

/// What is still owed to a place of the ring for a dead incarnation's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Acknowledged samples may stand in the journal alone: it is read before the place is served.
    Replay,
    /// What was acknowledged is in manifests. Rows whose outcome nobody knew may still appear.
    Tail,
}

/// A place's debt to a dead incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Debt {
    /// Which place of the ring.
    pub place: usize,
    /// Whose journal.
    pub dead: Incarnation,
}

/// The ring row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingRow {
    version: u64,
    // Invariant: every owner in `ring` is one of these.
    members: BTreeMap<Incarnation, Standing>,
    ring: Ring<Incarnation>,
    obligations: BTreeMap<Debt, Stage>,
}

impl RingRow {
    /// The first version: one member owns all `ranges` places, which stay as they are for ever.
    #[must_use]
    pub fn first(member: Incarnation, ranges: u16) -> Self {
        Self {
            version: 1,
            members: BTreeMap::from([(member, Standing::Stays)]),
            ring: Ring::even(ranges, member),
            obligations: BTreeMap::new(),
        }
    }

    /// The row of which these are the parts: who owns each place in turn. `None` if an owner is no member,
    /// or there is no place.
    #[must_use]
    pub fn of_parts(
        version: u64,
        members: BTreeMap<Incarnation, Standing>,
        owners: &[Incarnation],
        obligations: BTreeMap<Debt, Stage>,
    ) -> Option<Self> {
        let places = u16::try_from(owners.len()).ok()?;
        let mut ring = Ring::even(places, *owners.first()?);
        for (place, owner) in owners.iter().enumerate() {
            ring.give(place, *owner);
        }
        let is_sound = owners.iter().all(|owner| members.contains_key(owner))
            && obligations.keys().all(|debt| debt.place < owners.len());
        is_sound.then_some(Self { version, members, ring, obligations })
    }

    /// A copy to change, one version later.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    /// Counts the changes of the row.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Who takes part.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<Incarnation, Standing> {
        &self.members
    }

    /// The places and their owners.
    #[must_use]
    pub fn ring(&self) -> &Ring<Incarnation> {
        &self.ring
    }

    /// The place that a token lies in, and its owner.
    #[must_use]
    pub fn locate(&self, token: Token) -> (usize, Incarnation) {
        let place = self.ring.vnode_of(token);
        (place, self.owner(place))
    }

    /// Who owns a place.
    #[must_use]
    pub fn owner(&self, place: usize) -> Incarnation {
        self.ring.vnodes()[place].1
    }

    /// The places of one owner, ascending.
    pub fn places_of(&self, owner: Incarnation) -> impl Iterator<Item = usize> {
        let vnodes = self.ring.vnodes().iter().enumerate();
        vnodes.filter(move |(_, vnode)| vnode.1 == owner).map(|(place, _)| place)
    }

    /// Every open obligation.
    #[must_use]
    pub fn obligations(&self) -> &BTreeMap<Debt, Stage> {
        &self.obligations
    }

    /// The journals that are to be read before a place is served.
    pub fn unread(&self, place: usize) -> impl Iterator<Item = Incarnation> {
        let debt = |dead| Debt { place, dead: Incarnation(dead) };
        let debts = self.obligations.range(debt(u128::MIN)..=debt(u128::MAX));
        debts.filter(|(_, stage)| **stage == Stage::Replay).map(|(debt, _)| debt.dead)
    }

    /// The obligations that go with one owner's places.
    pub fn obligations_of(&self, owner: Incarnation) -> impl Iterator<Item = (Debt, Stage)> {
        let all = self.obligations.iter().map(|(debt, stage)| (*debt, *stage));
        all.filter(move |(debt, _)| self.owner(debt.place) == owner)
    }

    /// Adds a member, without places.
    pub fn join(&mut self, member: Incarnation) {
        self.members.insert(member, Standing::Stays);
    }

    /// A member says that it is going, so that nobody gives it anything.
    pub fn announce_leave(&mut self, member: Incarnation) {
        if let Some(standing) = self.members.get_mut(&member) {
            *standing = Standing::Leaves;
        }
    }

    /// Takes a fenced member's places and gives each to the heir that has the fewest. Its journal and
    /// what it owed for others' is owed from now on by them.
    ///
    /// # Panics
    /// If there is no heir, one is no member, or one is the dead.
    pub fn take_over(&mut self, dead: Incarnation, heirs: &BTreeSet<Incarnation>) {
        assert!(!heirs.is_empty() && !heirs.contains(&dead), "the living inherit from the dead");
        for place in self.places_of(dead).collect::<Vec<_>>() {
            self.obligations.insert(Debt { dead, place }, Stage::Replay);
            let heir = self.poorest(heirs);
            self.hand_over(place, heir.unwrap_or(dead));
        }
        self.leave(dead);
    }

    /// Gives a place to another member; what is owed for it goes along.
    ///
    /// # Panics
    /// If the heir is no member.
    pub fn hand_over(&mut self, place: usize, heir: Incarnation) {
        assert!(self.members.contains_key(&heir), "every owner is a member");
        self.ring.give(place, heir);
    }

    /// Of some members the one with the fewest places.
    #[must_use]
    pub fn poorest(&self, of: &BTreeSet<Incarnation>) -> Option<Incarnation> {
        of.iter().copied().min_by_key(|member| self.places_of(*member).count())
    }

    /// Removes a member that has no place left.
    ///
    /// # Panics
    /// If it has one.
    pub fn leave(&mut self, member: Incarnation) {
        assert!(self.places_of(member).next().is_none(), "every owner is a member");
        self.members.remove(&member);
    }

    /// What was acknowledged of a debt stands in manifests.
    pub fn settle(&mut self, debt: Debt) {
        if let Some(stage) = self.obligations.get_mut(&debt) {
            *stage = Stage::Tail;
        }
    }

    /// Nothing more is owed: the last tail has been read, and flushed.
    pub fn discharge(&mut self, debt: Debt) {
        self.obligations.remove(&debt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Incarnation = Incarnation(1);
    const B: Incarnation = Incarnation(2);
    const C: Incarnation = Incarnation(3);

    #[test]
    fn a_successor_owes_for_the_dead_and_for_what_the_dead_owed() {
        let mut row = RingRow::first(A, 4);
        row.join(B);
        row.take_over(A, &BTreeSet::from([B]));
        row.settle(Debt { dead: A, place: 2 });
        row.join(C);
        row.take_over(B, &BTreeSet::from([C]));

        assert!(row.members().keys().eq([&C]));
        assert_eq!(row.obligations_of(C).count(), 8);
        assert_eq!(row.obligations()[&Debt { dead: A, place: 1 }], Stage::Replay);
        assert_eq!(row.obligations()[&Debt { dead: A, place: 2 }], Stage::Tail);
    }

    #[test]
    fn a_dead_members_places_are_spread_over_the_heirs() {
        let mut row = RingRow::first(A, 9);
        row.join(B);
        row.join(C);
        row.take_over(A, &BTreeSet::from([B, C]));
        assert_eq!(row.places_of(B).count().abs_diff(row.places_of(C).count()), 1);
    }

    #[test]
    fn the_places_are_even_and_cover_every_token() {
        let row = RingRow::first(A, 3);
        let widths: u128 = (0..3).map(|place| row.ring().range(place).width()).sum();
        assert_eq!(widths, 1 << 64);
        assert_eq!(row.locate(Token(0)), (0, A));
        assert_eq!(row.locate(Token(u64::MAX)), (2, A));
    }
}
