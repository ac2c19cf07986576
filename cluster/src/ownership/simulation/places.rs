//! Places as `ingester` has them: each is opened by reading its whole journal, closed and flushed by itself to be
//! given away.
//!
//! Not here: what an owner wants (`owner.rs`); how samples become durable (`process.rs`).

use crate::ownership::owner::Owner;
use crate::ownership::{Ask, BootMs, Incarnation, Reply};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A place that is to be given away, and the number of the hold.
pub(super) type Give = (usize, u64);

/// An opening of a place, and its number.
pub(super) type Opening = (usize, u64);

/// The places of a process.
#[derive(Debug, Default)]
pub(super) struct Places {
    open: BTreeSet<usize>,
    // Wanted and not open yet: by place, the number that it will have.
    opening: BTreeMap<usize, u64>,
    // Is being opened, wanted or not, or closed.
    at_work: BTreeSet<usize>,
    gives: VecDeque<Give>,
    openings: u64,
}

impl Places {
    pub(super) fn is_open(&self, place: usize) -> bool {
        self.open.contains(&place)
    }

    /// What a process needs no database for.
    pub(super) fn reply(&self, owner: &Owner, ask: &Ask) -> Option<Reply> {
        match ask {
            Ask::ReadProgress(_) => Some(Reply::Progress(None)),
            Ask::ReadBucket { dead, .. } if self.is_open_to(owner, *dead) => Some(Reply::Bucket(0)),
            Ask::ReadBucket { .. } => Some(Reply::Unknown),
            _ => None,
        }
    }

    fn is_open_to(&self, owner: &Owner, dead: Incarnation) -> bool {
        let debts = owner.row().into_iter().flat_map(|row| row.obligations_of(owner.me()));
        let mut debts = debts.filter(|(debt, _)| debt.dead == dead);
        debts.all(|(debt, _)| self.open.contains(&debt.place))
    }

    /// Lets go of what is another's, tells the owner what is open, and says what is closed now.
    pub(super) fn let_go(&mut self, owner: &mut Owner) -> Vec<usize> {
        let Some(row) = owner.row() else { return Vec::new() };
        let is_mine = |place: &usize| row.owner(*place) == owner.me();
        let closed: Vec<usize> = self.open.iter().filter(|p| !is_mine(p)).copied().collect();
        self.open.retain(is_mine);
        self.opening.retain(|place, _| is_mine(place));
        self.open.iter().for_each(|place| owner.has_opened(*place));
        closed
    }

    /// Closes what is held back, and says which places are to be opened, with their numbers.
    pub(super) fn reconcile(&mut self, owner: &mut Owner, now: BootMs) -> Vec<Opening> {
        for place in owner.held().collect::<Vec<_>>() {
            self.opening.remove(&place);
            if !self.at_work.contains(&place)
                && let Some(hold) = owner.begin_give(place)
            {
                // One that is closed has nothing to flush.
                if self.open.remove(&place) {
                    self.at_work.insert(place);
                    self.gives.push_back((place, hold));
                } else {
                    owner.has_given(place, hold);
                }
            }
        }
        let mine = owner.row().into_iter().flat_map(|row| row.places_of(owner.me()));
        let is_wanted = |place: &usize| {
            owner.keeps(*place) && !self.open.contains(place) && !self.at_work.contains(place)
        };
        let wanted: Vec<usize> = mine.filter(is_wanted).filter(|_| owner.is_trusted(now)).collect();
        let numbered = wanted.into_iter().map(|place| {
            self.openings += 1;
            self.at_work.insert(place);
            self.opening.insert(place, self.openings);
            (place, self.openings)
        });
        numbered.collect()
    }

    /// The journal of a place was read, or not. Whether it is open now.
    pub(super) fn has_read(&mut self, (place, number): Opening, is_read: bool) -> bool {
        self.at_work.remove(&place);
        let is_wanted = self.opening.get(&place) == Some(&number);
        if is_wanted {
            self.opening.remove(&place);
        }
        if is_wanted && is_read {
            self.open.insert(place);
        }
        is_wanted && is_read
    }

    /// The next place that is to be flushed and given away.
    pub(super) fn next_give(&mut self) -> Option<Give> {
        self.gives.pop_front()
    }

    /// A place is flushed, or could not be: whoever opens it reads its journal.
    pub(super) fn has_given(&mut self, (place, hold): Give, owner: &mut Owner) {
        self.at_work.remove(&place);
        owner.has_given(place, hold);
    }
}
