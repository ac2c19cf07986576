//! A *namesake*: a member that is found where this process is. Who asks for it would find this process, or
//! the other way round, so only one of them may be a member.
//!
//! # Invariants
//! - A process that looks for namesakes joins only when it knows where each member that may live is found,
//!   and none of them is found where it is.
//! - Who it was before, and has ended, stands in its way no longer than it takes to see that it does not
//!   renew.
//!
//! Not here: how it is found out where a member is.

use super::{BootMs, Incarnation, Owner};

/// A member that is found where this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namesake {
    /// It may be who this process was before.
    MayLive,
    /// It was seen to renew its lease: another process has our address.
    Lives,
}

impl Owner {
    /// Joins only when it is told of each member where it is found ([`Owner::found`]), and none lives where
    /// this process is.
    #[must_use]
    pub fn looking_for_namesakes(self) -> Self {
        Self { looks_for_namesakes: true, ..self }
    }

    /// The members of which it has to be found out where they are, before this process joins.
    pub fn to_find(&self) -> impl Iterator<Item = Incarnation> {
        let is_outside = self.looks_for_namesakes && !self.was_member;
        let row = self.row.as_ref().filter(|_| is_outside);
        let members = row.into_iter().flat_map(|row| row.members().keys().copied());
        members.filter(|who| *who != self.me && !self.found.contains_key(who))
    }

    /// Where a member is found: `is_here` if that is where this process is.
    pub fn found(&mut self, who: Incarnation, is_here: bool) {
        self.found.insert(who, is_here);
    }

    /// Whether somebody is, or may be, where this process is, so that it does not join.
    #[must_use]
    pub fn namesake(&self, now: BootMs) -> Option<Namesake> {
        if !self.looks_for_namesakes || self.was_member {
            return None;
        }
        let here = self.found.iter().filter(|(_, is_here)| **is_here).map(|(who, _)| *who);
        let living = here.filter(|who| self.may_live(*who, now));
        let moved = |who| self.watches.get(&who).is_some_and(|watch| watch.has_moved());
        living
            .map(|who| if moved(who) { Namesake::Lives } else { Namesake::MayLive })
            .max_by_key(|namesake| *namesake == Namesake::Lives)
    }

    /// Whether nobody stands in the way of joining.
    pub(super) fn may_join(&self, now: BootMs) -> bool {
        self.namesake(now).is_none() && !self.to_find().any(|who| self.may_live(who, now))
    }

    fn may_live(&self, who: Incarnation, now: BootMs) -> bool {
        self.watches.get(&who).is_some_and(|watch| watch.may_live(now))
    }
}
