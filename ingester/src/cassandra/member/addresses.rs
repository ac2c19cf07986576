//! Where members are found by their peers; and that none is found where this process is, before it joins.
//!
//! A member's address is what it says of itself. Two hosts that both listen on `127.0.0.1:9010` would each
//! find themselves where the other is meant, and what lies there would be found by nobody.
//!
//! Not here: whether it may join (`cluster::ownership::owner`).

use super::state::State;
use super::{Member, Task};
use crate::cassandra::agreement;
use crate::cassandra::rows::RowsError;
use cluster::ownership::owner::Namesake;
use cluster::ownership::ring_row::RingRow;
use cluster::ownership::{BootMs, Incarnation};
use std::collections::BTreeMap;

/// Where a member is found is asked so often at most, while it is not known.
const FIND_EVERY_MS: u64 = 1_500;

impl Member {
    /// Where members are found by their peers, as far as it is known: this one among them.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<Incarnation, String> {
        let mut all = self.addresses.lock().clone();
        all.insert(self.me(), self.parts.address.clone());
        all
    }

    /// Where a member is found by its peers, if it is known.
    #[must_use]
    pub fn address_of(&self, who: Incarnation) -> Option<String> {
        match self.me() == who {
            true => Some(self.parts.address.clone()),
            false => self.addresses.lock().get(&who).cloned(),
        }
    }

    /// Looks where a process is found by its peers, and remembers it; `None` if it never began. Blocks.
    ///
    /// # Errors
    /// What the database says.
    pub fn find(&self, who: Incarnation) -> Result<Option<String>, RowsError> {
        let found = agreement::address(&*self.parts.rows, who)?;
        self.addresses.lock().extend(found.clone().map(|address| (who, address)));
        Ok(found)
    }

    /// Forgets where those are that are no members any more; whether there were any.
    pub fn forget_others(&self, row: &RingRow) -> bool {
        let mut addresses = self.addresses.lock();
        let before = addresses.len();
        addresses.retain(|who, _| row.members().contains_key(who));
        addresses.len() < before
    }

    /// What has to be found out before this process may join.
    pub(super) fn look_for_namesakes(&self, state: &mut State, now: BootMs, tasks: &mut Vec<Task>) {
        let State { owner, finding, .. } = &mut *state;
        let is_due = |who: &Incarnation| finding.get(who).is_none_or(|again_at| now >= *again_at);
        for who in owner.to_find().filter(is_due).collect::<Vec<_>>() {
            finding.insert(who, now.plus_ms(FIND_EVERY_MS));
            tasks.push(Task::Find { who });
        }
        let namesake = state.owner.namesake(now);
        if namesake == Some(Namesake::Lives) && !state.has_told_namesake {
            tracing::error!("{}", self.tell_namesake(Namesake::Lives));
            state.has_told_namesake = true;
        }
    }

    /// Finds out where a member is. Blocks. What fails is tried again in time.
    pub(super) fn find_namesake(&self, who: Incarnation) {
        let found = self.find(who);
        if let Ok(Some(address)) = found {
            self.state.lock().owner.found(who, address == self.parts.address);
        }
    }

    pub(super) fn tell_namesake(&self, namesake: Namesake) -> String {
        let address = &self.parts.address;
        match namesake {
            Namesake::Lives => format!(
                "another process that runs says that it is found at {address}, as this one does, so this one \
                 does not join: set cluster.listen to an address that others reach"
            ),
            Namesake::MayLive => {
                format!("who was found at {address} before is not known to have ended yet")
            }
        }
    }
}
