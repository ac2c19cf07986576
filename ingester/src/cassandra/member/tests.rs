//! Members over one database that goes wrong.

mod equal;
mod faults;
mod guests;
mod here;
mod namesakes;
mod neighbours;
mod numbers;
mod stories;
mod world;

use std::cell::Cell;

/// A bug put into a member on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Plant {
    #[default]
    Nothing,
    /// Nobody looks again before an answer leaves.
    NoLookBeforeItLeaves,
    /// A place is answered for before its store is open.
    ServesBeforeItIsOpen,
    /// Opening a place shuts nobody out.
    NoFence,
    /// A restarted process answers when who it was before is meant.
    AnswersForWhoItWas,
}

thread_local! {
    static PLANT: Cell<Plant> = const { Cell::new(Plant::Nothing) };
}

impl Plant {
    /// What members made by this thread have.
    pub(super) fn of_this_thread() -> Self {
        PLANT.get()
    }
}
