//! Group commit: who may be answered after which sync. Decides on numbers; syncs nothing.
//!
//! # Invariants
//! - A writer is acknowledged only if a sync returned its ticket or more.
//! - A writer whose ticket fell into a failed group is refused, also when it comes too late to
//!   have waited for it, and also if a later sync writes its record again.
//! - Answers are given in the order of tickets.

use std::collections::VecDeque;

/// Failures that are remembered for writers that come late. A writer comes microseconds after its
/// append; this many syncs later it has long come.
const FAILURES_MAX: usize = 64;

/// The writers that wait, and what they wait for.
#[derive(Debug)]
pub(crate) struct Group<W> {
    waiting: Vec<(u64, W)>,
    synced: u64,
    /// Tickets above the first and up to the second number were refused.
    failures: VecDeque<(u64, u64)>,
}

impl<W> Group<W> {
    /// Nobody waits; tickets up to `synced` are on disk.
    pub(crate) fn new(synced: u64) -> Self {
        Self { waiting: Vec::new(), synced, failures: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, ticket: u64, writer: W) {
        self.waiting.push((ticket, writer));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tickets up to `ticket` are on disk.
    pub(crate) fn synced(&mut self, ticket: u64) {
        self.synced = self.synced.max(ticket);
    }

    /// Tickets up to `through` that were not on disk are refused.
    pub(crate) fn failed(&mut self, through: u64) {
        self.failures.push_back((self.synced, through));
        if self.failures.len() > FAILURES_MAX {
            self.failures.pop_front();
        }
    }

    /// Takes out who can be answered, and whether with yes.
    pub(crate) fn settle(&mut self) -> Vec<(W, bool)> {
        self.waiting.sort_by_key(|(ticket, _)| *ticket);
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for (ticket, writer) in std::mem::take(&mut self.waiting) {
            let was_refused = |(after, through): &(u64, u64)| *after < ticket && ticket <= *through;
            if self.failures.iter().any(was_refused) {
                settled.push((writer, false));
            } else if ticket <= self.synced {
                settled.push((writer, true));
            } else {
                left.push((ticket, writer));
            }
        }
        self.waiting = left;
        settled
    }

    /// Refuses everybody who still waits.
    pub(crate) fn refuse_all(&mut self) -> Vec<W> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, writer)| writer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_answered_in_ticket_order_once_their_ticket_is_on_disk() {
        let mut group = Group::new(0);
        group.add(3, "c");
        group.add(1, "a");
        group.add(2, "b");
        assert_eq!(group.settle(), []);
        group.synced(2);
        assert_eq!(group.settle(), [("a", true), ("b", true)]);
        assert!(!group.is_empty());
        group.synced(3);
        assert_eq!(group.settle(), [("c", true)]);
    }

    #[test]
    fn a_failed_group_is_refused_for_good_and_the_next_one_is_not() {
        let mut group = Group::new(0);
        group.synced(2);
        group.add(3, "in time");
        group.failed(4);
        assert_eq!(group.settle(), [("in time", false)]);
        group.synced(9);
        group.add(4, "late");
        group.add(2, "before");
        group.add(5, "after");
        assert_eq!(group.settle(), [("before", true), ("late", false), ("after", true)]);
    }
}
