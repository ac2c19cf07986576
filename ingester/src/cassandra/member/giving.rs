//! Places are given away, and what is owed for places that were taken over is flushed.
//!
//! # Rules
//! - A place is given away by itself: closed, flushed, and handed over, whatever the others do.
//!
//! Not here: which places, and to whom (`cluster::ownership`).

use super::state::{Flush, State};
use super::{Member, Task};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long after a flush that failed it is tried again.
const FLUSH_AGAIN_MS: u64 = 1_000;

impl Member {
    /// Begins to give away what is held back.
    pub(super) fn give_what_is_held(&self, state: &mut State, tasks: &mut Vec<Task>) {
        let held: Vec<usize> = state.owner.held().collect();
        for place in held {
            // What is being opened is not wanted any more, and waited for.
            state.opening.remove(&place);
            if !state.at_work.contains(&place)
                && let Some(hold) = state.owner.begin_give(place)
            {
                // Nobody opens it before it is closed, if it is not given away after all.
                state.at_work.insert(place);
                tasks.push(Task::Give { place, hold });
            }
        }
    }

    /// Closes a place, and flushes it. Blocks.
    pub(super) fn give(&self, place: usize, hold: u64) {
        let served = {
            // Whoever looks at the state sees the place closed from now on.
            let _state = self.state.lock();
            let open = Arc::clone(&self.open.read());
            *self.open.write() = Arc::new(open.without(&BTreeSet::from([place])));
            open.by_place.get(&place).cloned()
        };
        // What could not be flushed stands in the journal, and is read by who opens the place.
        if let Some(Err(error)) = served.map(|served| served.embedded.end()) {
            tracing::warn!(place, %error, "a place is given away unflushed");
        }
        let mut state = self.state.lock();
        state.at_work.remove(&place);
        state.owner.has_given(place, hold);
    }

    /// Flushes what the ring row still owes. Blocks.
    pub(super) fn flush_owed(&self) {
        let (cover, owed) = {
            let mut state = self.state.lock();
            let cover = state.owner.flush_began();
            let (open, debts) = (Arc::clone(&self.open.read()), state.owed_places());
            let cover = cover.of_kept(|place| open.by_place.contains_key(&place));
            let owed = open.by_place.iter().filter(|(place, _)| debts.contains(place));
            (cover, owed.map(|(place, served)| (*place, Arc::clone(served))).collect::<Vec<_>>())
        };
        // One that cannot be flushed holds up no other: what those owe is paid, and is not flushed again.
        let mut failed = BTreeSet::new();
        for (place, served) in owed {
            if let Err(error) = served.embedded.flush_now() {
                tracing::warn!(place, %error, "a place is not flushed yet");
                failed.insert(place);
            }
        }
        let mut state = self.state.lock();
        if failed.is_empty() {
            state.owner.flush_done(cover);
            state.flush = Flush::Idle;
        } else {
            state.owner.flush_done(cover.of_kept(|place| !failed.contains(&place)));
            state.flush = Flush::DueAt(self.parts.boot.now().plus_ms(FLUSH_AGAIN_MS));
        }
    }
}
