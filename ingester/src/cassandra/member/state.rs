//! What a member knows and what it has begun: the owner's asks become tasks here.
//!
//! # Invariants
//! - A ticket is given once, also over incarnations: what comes late finds nothing.
//!
//! Not here: the tasks themselves (`member.rs`, `member/opening.rs`).

use super::backoff::Backoff;
use super::keeping::Keeping;
use super::open::Open;
use super::{MemberParts, Task};
use crate::cassandra::Database;
use cluster::ownership::lease::ASK_TIMEOUT_MS;
use cluster::ownership::owner::Owner;
use cluster::ownership::ring_row::Stage;
use cluster::ownership::{Ask, BootMs, Command, Incarnation, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a member knows and what it has begun.
#[derive(Debug)]
pub(super) struct State {
    pub(super) owner: Owner,
    pub(super) database: Arc<Database>,
    /// Asks without an answer yet.
    pub(super) pending: BTreeMap<u64, Command>,
    pub(super) tickets: u64,
    /// Places that are being opened, and by which ticket.
    pub(super) opening: BTreeMap<usize, u64>,
    /// Places whose opening has not come to its end, wanted or not.
    pub(super) at_work: BTreeSet<usize>,
    /// Places that could not be opened.
    pub(super) failed: BTreeMap<usize, Failed>,
    /// Members of which it is being found out where they are.
    pub(super) finding: BTreeMap<Incarnation, BootMs>,
    pub(super) has_told_namesake: bool,
    /// Another ring is where this process's was: it has no part in it.
    pub(super) is_stranger: bool,
    /// Tasks for which there was no room.
    pub(super) later: Vec<Task>,
    pub(super) keeping: Keeping,
    /// When places may be flushed again for the journal's sake.
    pub(super) roll_at: BTreeMap<usize, BootMs>,
    pub(super) flush: Flush,
    pub(super) is_leaving: bool,
    /// Whether the lease was trusted at the last look.
    was_trusted: bool,
}

/// A place that could not be opened.
#[derive(Debug, Default)]
pub(super) struct Failed {
    pub(super) backoff: Backoff,
    /// The ring version that it was tried by last.
    pub(super) ring_version: u64,
    /// As which incarnation it may be tried again, since nothing was written in its name.
    pub(super) unused: Option<u128>,
    /// What was told of it.
    pub(super) why: String,
}

/// Where a flush that the owner wants stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    Idle,
    DueAt(BootMs),
    Runs,
}

impl State {
    pub(super) fn begin(parts: &MemberParts, database: Arc<Database>) -> Self {
        Self {
            owner: Owner::new(Incarnation(parts.chance.draw()), parts.places)
                .without_tails()
                .giving_by_place()
                .looking_for_namesakes(),
            database,
            pending: BTreeMap::new(),
            tickets: 0,
            opening: BTreeMap::new(),
            at_work: BTreeSet::new(),
            failed: BTreeMap::new(),
            finding: BTreeMap::new(),
            has_told_namesake: false,
            is_stranger: false,
            later: Vec::new(),
            keeping: Keeping::new(parts.chance.draw(), parts.boot.now()),
            roll_at: BTreeMap::new(),
            flush: Flush::Idle,
            is_leaving: false,
            was_trusted: false,
        }
    }

    /// Tells when the lease is trusted no more, and when it is again.
    pub(super) fn tell_trust(&mut self, now: BootMs) {
        let is_trusted = self.owner.is_trusted(now);
        if is_trusted != self.was_trusted && !self.is_leaving {
            match is_trusted {
                true => tracing::info!("the lease is renewed"),
                false => tracing::warn!(
                    "the lease was not renewed in time: nothing is answered or acknowledged until it is"
                ),
            }
        }
        self.was_trusted = is_trusted;
    }

    /// Whether nothing speaks against opening a place now: it did not fail lately, or the ring has changed.
    pub(super) fn may_open(&self, place: usize, ring_version: u64, now: BootMs) -> bool {
        self.failed
            .get(&place)
            .is_none_or(|failed| failed.backoff.is_over(now) || ring_version > failed.ring_version)
    }

    /// The lease is lost: another incarnation begins.
    pub(super) fn begin_again(&mut self, parts: &MemberParts) {
        tracing::warn!("the lease is lost: this process begins anew, as another incarnation");
        let next = Self::begin(parts, Arc::clone(&self.database));
        let before = std::mem::replace(self, next);
        // What is at work is at work still, no ticket comes twice, and what fails is waited for.
        (self.tickets, self.at_work) = (before.tickets, before.at_work);
        (self.failed, self.later, self.keeping) = (before.failed, before.later, before.keeping);
        self.is_stranger = before.is_stranger;
    }

    pub(super) fn give_up_late_asks(&mut self, now: BootMs) {
        let is_late = |command: &Command| now.since(command.asked_at) >= ASK_TIMEOUT_MS;
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, c)| is_late(c)).map(|(ticket, _)| *ticket).collect();
        for command in late.iter().filter_map(|ticket| self.pending.remove(ticket)) {
            self.owner.answered(&command, &Reply::Unknown, now);
        }
    }

    /// Asks the owner what it wants; what needs no database is answered at once.
    pub(super) fn poll(&mut self, open: &Open, now: BootMs) -> Vec<Task> {
        let mut tasks = std::mem::take(&mut self.later);
        for command in self.owner.poll(now) {
            let reply = match &command.ask {
                Ask::Flush => {
                    self.flush = Flush::DueAt(now);
                    continue;
                }
                // A place's own manifest says where its replay begins, and its opening reads to the end.
                Ask::ReadProgress(_) => Reply::Progress(None),
                Ask::ReadBucket { dead, .. } if self.is_open_to(*dead, open) => Reply::Bucket(0),
                Ask::ReadBucket { .. } => Reply::Unknown,
                _ => {
                    self.tickets += 1;
                    self.pending.insert(self.tickets, command.clone());
                    let known = self.owner.row().cloned();
                    let (ticket, me) = (self.tickets, self.owner.me());
                    tasks.push(Task::Ask { ticket, me, command, known });
                    continue;
                }
            };
            self.owner.answered(&command, &reply, now);
        }
        tasks
    }

    /// Whether every place is open that is owed to a dead incarnation.
    fn is_open_to(&self, dead: Incarnation, open: &Open) -> bool {
        let Some(row) = self.owner.row() else { return false };
        let mut debts = row.obligations_of(self.owner.me()).filter(|(debt, _)| debt.dead == dead);
        debts.all(|(debt, _)| open.by_place.contains_key(&debt.place))
    }

    /// The places whose acknowledged samples may still stand in journals alone.
    pub(super) fn owed_places(&self) -> BTreeSet<usize> {
        let Some(row) = self.owner.row() else { return BTreeSet::new() };
        let debts = row.obligations_of(self.owner.me());
        debts.filter(|(_, stage)| *stage == Stage::Replay).map(|(debt, _)| debt.place).collect()
    }
}
