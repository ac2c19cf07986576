//! One process: what it asks for, what it owns, and what it may answer.
//!
//! # Invariants
//! - It answers for a place only while its lease is trusted, the ring says that the place is its own,
//!   it is not giving it away, and every journal that may hold acknowledged samples of it alone was
//!   read to its end. Ask before a write is taken, and again after its journal row is durable.
//! - A place that it gives away is held back first, then flushed, then handed over; it is held back
//!   until the ring has moved past every update that may still give it away.
//! - A debt is settled, or discharged, after a flush that began when the reading was done.
//! - It forgets no version of the ring row for a lower one.
//!
//! Not here: the next ring row (`owner/plan.rs`); who is found where this process is (`owner/namesake.rs`); the memtable and what a flush does.

mod namesake;
mod plan;
#[cfg(test)]
mod tests;

pub use namesake::Namesake;

use super::claim::Claim;
use super::lease::Lease;
use super::replay::{Replay, TAILS_MS};
use super::ring_row::{Debt, RingRow, Stage};
use super::watch::{WATCH_EVERY_MS, Watch};
use super::{Ask, BootMs, Command, Incarnation, Reply};
use model::Token;
use std::collections::{BTreeMap, BTreeSet};

/// What a flush covers: what was so when it began.
#[derive(Debug, Default)]
pub struct FlushCover {
    held: BTreeMap<usize, u64>,
    settled: BTreeSet<Debt>,
    discharged: BTreeSet<Debt>,
}

impl FlushCover {
    /// Of a flush of these places only, none of which is given away: such a one has its own flush
    /// ([`Owner::begin_give`]).
    #[must_use]
    pub fn of_kept(mut self, is_flushed: impl Fn(usize) -> bool) -> Self {
        self.held.clear();
        self.settled.retain(|debt| is_flushed(debt.place));
        self.discharged.retain(|debt| is_flushed(debt.place));
        self
    }
}

/// A place that is held back to be given away.
#[derive(Clone, Copy, Debug)]
struct Hold {
    // Holding the same place back again is another hold: a flush of the first does not cover it.
    number: u64,
    // Whoever drives this sees to this place by itself.
    is_begun: bool,
    is_flushed: bool,
}

/// A flush that the owner wants.
#[derive(Debug, PartialEq, Eq)]
enum Flush {
    Idle,
    Asked,
    Runs,
}

/// The part of a process that owns.
#[derive(Debug)]
pub struct Owner {
    me: Incarnation,
    ranges: u16,
    lease: Lease,
    row: Option<RingRow>,
    watches: BTreeMap<Incarnation, Watch>,
    replays: BTreeMap<Incarnation, Replay>,
    tails_ms: &'static [u64],
    gives_by_place: bool,
    looks_for_namesakes: bool,
    // Of members, whether they are found where this process is.
    found: BTreeMap<Incarnation, bool>,
    claims: BTreeMap<String, Claim>,
    held: BTreeMap<usize, Hold>,
    holds: u64,
    // The highest version that we asked for and that gives places of ours away.
    given_in: u64,
    settled: BTreeSet<Debt>,
    discharged: BTreeSet<Debt>,
    flush: Flush,
    is_leaving: bool,
    was_member: bool,
    is_ring_known: bool,
    is_ring_in_flight: bool,
    read_ring_at: BootMs,
}

impl Owner {
    /// A process that has just started. If nobody has made a ring yet, its ring will have `ranges`
    /// places: many more than there will ever be processes.
    #[must_use]
    pub fn new(me: Incarnation, ranges: u16) -> Self {
        Self {
            me,
            ranges,
            lease: Lease::default(),
            row: None,
            watches: BTreeMap::new(),
            replays: BTreeMap::new(),
            tails_ms: &TAILS_MS,
            gives_by_place: false,
            looks_for_namesakes: false,
            found: BTreeMap::new(),
            claims: BTreeMap::new(),
            held: BTreeMap::new(),
            holds: 0,
            given_in: 0,
            settled: BTreeSet::new(),
            discharged: BTreeSet::new(),
            flush: Flush::Idle,
            is_leaving: false,
            was_member: false,
            is_ring_known: false,
            is_ring_in_flight: false,
            read_ring_at: BootMs::default(),
        }
    }

    /// Reads no tails: what stands in a journal behind its end as it is found was never acknowledged, and may
    /// stay where it is. A debt is discharged as soon as it is settled.
    #[must_use]
    pub fn without_tails(self) -> Self {
        Self { tails_ms: &[], ..self }
    }

    /// Asks for no flush of what is held back: whoever drives this gives each place away by itself
    /// ([`Owner::begin_give`]), when it can.
    #[must_use]
    pub fn giving_by_place(self) -> Self {
        Self { gives_by_place: true, ..self }
    }

    /// Whether the process may take a write for a token, acknowledge one, or let an answer about it
    /// leave.
    #[must_use]
    pub fn serves(&self, token: Token, now: BootMs) -> bool {
        let Some(row) = self.row.as_ref().filter(|_| self.lease.is_trusted(now)) else {
            return false;
        };
        let (place, owner) = row.locate(token);
        let has_read = |dead| self.replays.get(&dead).is_some_and(|replay| replay.has_read(place));
        owner == self.me && !self.held.contains_key(&place) && row.unread(place).all(has_read)
    }

    /// Whether the ring says that a token is this process's: samples of it, read from a journal, are
    /// to be kept.
    #[must_use]
    pub fn owns(&self, token: Token) -> bool {
        self.row.as_ref().is_some_and(|row| row.locate(token).1 == self.me)
    }

    /// As [`Owner::serves`], of a place. There has to be such a place.
    #[must_use]
    pub fn serves_place(&self, place: usize, now: BootMs) -> bool {
        let end = self.row.as_ref().and_then(|row| row.ring().vnodes().get(place));
        end.is_some_and(|(token, _)| self.serves(*token, now))
    }

    /// Whether a place is this process's and is not being given away.
    #[must_use]
    pub fn keeps(&self, place: usize) -> bool {
        let is_mine = self.row.as_ref().is_some_and(|row| row.owner(place) == self.me);
        is_mine && !self.held.contains_key(&place)
    }

    /// The whole journal of everybody who had a place before was read, since this process owns it: who
    /// drives this reads by places, not by the dead.
    pub fn has_opened(&mut self, place: usize) {
        self.replays.values_mut().for_each(|replay| replay.has_opened(place));
    }

    /// Whether the lease is trusted.
    #[must_use]
    pub fn is_trusted(&self, now: BootMs) -> bool {
        self.lease.is_trusted(now)
    }

    /// Which incarnation this is.
    #[must_use]
    pub fn me(&self) -> Incarnation {
        self.me
    }

    /// The newest ring row that is known here.
    #[must_use]
    pub fn row(&self) -> Option<&RingRow> {
        self.row.as_ref()
    }

    /// A request came with this ring version. A newer one than ours is read soon; the request is
    /// answered by what we know, as nothing of ours can be taken from us without our asking.
    pub fn heard_of(&mut self, version: u64) {
        if self.row.as_ref().is_some_and(|row| row.version() < version) {
            self.read_ring_at = BootMs::default();
        }
    }

    /// Wants to do a task for all, or no longer.
    pub fn claim(&mut self, key: &str, is_wanted: bool) {
        self.claims.entry(key.to_owned()).or_default().want(is_wanted);
    }

    /// Whether the next step of a claimed task may be done.
    #[must_use]
    pub fn holds(&self, key: &str, now: BootMs) -> bool {
        self.lease.is_trusted(now) && self.claims.get(key).is_some_and(|c| c.is_held_by(self.me))
    }

    /// Begins to leave: hands over everything, then gives up the lease.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Whether this life is over: the lease is lost or given up. A restart is another incarnation.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lease.is_lost()
    }

    /// What to ask now. Call it after each reply, and at least every half second.
    pub fn poll(&mut self, now: BootMs) -> Vec<Command> {
        self.hold_back(now);
        let mut asks: Vec<Ask> = self.lease.poll(now).map(Ask::Lease).into_iter().collect();
        asks.extend(self.ring_ask(now));
        for (who, watch) in &mut self.watches {
            asks.extend(watch.poll(now).map(|ask| Ask::Watch(*who, ask)));
        }
        if self.lease.is_trusted(now) {
            asks.extend(self.replays.values_mut().filter_map(|replay| replay.poll(now)));
            self.poll_claims(now, &mut asks);
        }
        if self.flush == Flush::Idle && self.wants_flush() {
            self.flush = Flush::Asked;
            asks.push(Ask::Flush);
        }
        if self.is_over() {
            asks.clear();
        }
        asks.into_iter().map(|ask| Command { asked_at: now, ask }).collect()
    }

    fn poll_claims(&mut self, now: BootMs, asks: &mut Vec<Ask>) {
        let Some(row) = self.row.as_ref().filter(|row| row.members().contains_key(&self.me)) else {
            return;
        };
        let is_gone = |who: Incarnation, version: u64| {
            let has_left = row.version() >= version && !row.members().contains_key(&who);
            has_left || self.watches.get(&who).is_some_and(Watch::is_fenced)
        };
        self.claims.retain(|_, claim| !claim.is_idle(self.me));
        for (key, claim) in &mut self.claims {
            let ask = claim.poll(self.me, row.version(), is_gone, now);
            asks.extend(ask.map(|ask| Ask::Claim(key.clone(), ask)));
        }
    }

    fn ring_ask(&mut self, now: BootMs) -> Option<Ask> {
        if self.is_ring_in_flight {
            return None;
        }
        let update = self.is_ring_known && self.lease.is_trusted(now);
        let ask = match update.then(|| self.plan(now)).flatten() {
            Some(next) => {
                self.note_given(&next);
                Ask::UpdateRing(Box::new(next))
            }
            None if now >= self.read_ring_at => Ask::ReadRing,
            None => return None,
        };
        self.read_ring_at = now.plus_ms(WATCH_EVERY_MS);
        self.is_ring_in_flight = true;
        Some(ask)
    }

    /// Takes what came of an ask.
    pub fn answered(&mut self, command: &Command, reply: &Reply, now: BootMs) {
        match &command.ask {
            Ask::Lease(ask) => self.lease.answered(*ask, command.asked_at, reply),
            Ask::Watch(who, _) => {
                if let Some(watch) = self.watches.get_mut(who) {
                    watch.answered(reply, now);
                }
            }
            Ask::Claim(key, ask) => {
                if let Some(claim) = self.claims.get_mut(key) {
                    claim.answered(*ask, reply, now);
                }
            }
            Ask::ReadRing => self.ring_answered(None, reply, now),
            Ask::UpdateRing(next) => self.ring_answered(Some(next), reply, now),
            Ask::ReadProgress(dead) | Ask::ReadBucket { dead, .. } => {
                if let Some(replay) = self.replays.get_mut(dead) {
                    replay.answered(reply, now);
                }
            }
            Ask::Flush => {}
        }
    }

    fn ring_answered(&mut self, asked: Option<&RingRow>, reply: &Reply, now: BootMs) {
        self.is_ring_in_flight = false;
        match (asked, reply) {
            (Some(next), Reply::Applied) => self.adopt(next, now),
            (_, Reply::Ring(Some(row))) => self.adopt(row, now),
            // A row that was there and is gone is not made anew: somebody dropped it.
            (_, Reply::Ring(None)) => self.is_ring_known = self.row.is_none(),
            // A read that failed is tried again at its time, an update that may have been applied is
            // looked at first.
            (Some(_), _) => self.is_ring_known = false,
            (None, _) => {}
        }
        if asked.is_some() && !self.is_ring_known {
            self.read_ring_at = now;
        }
    }

    fn adopt(&mut self, row: &RingRow, now: BootMs) {
        self.is_ring_known = true;
        if self.row.as_ref().is_some_and(|known| known.version() >= row.version()) {
            return;
        }
        let is_member = row.members().contains_key(&self.me);
        if self.was_member && !is_member {
            self.lease.end();
        }
        self.was_member |= is_member;
        self.held.retain(|place, _| row.owner(*place) == self.me);
        self.watches.retain(|who, _| row.members().contains_key(who));
        self.found.retain(|who, _| row.members().contains_key(who));
        for who in row.members().keys().filter(|who| **who != self.me) {
            self.watches.entry(*who).or_default();
        }
        self.owe(row, now);
        self.row = Some(row.clone());
    }

    fn owe(&mut self, row: &RingRow, now: BootMs) {
        let mut owed: BTreeMap<Incarnation, BTreeSet<usize>> = BTreeMap::new();
        for (debt, _) in row.obligations_of(self.me) {
            owed.entry(debt.dead).or_default().insert(debt.place);
        }
        self.replays.retain(|dead, _| owed.contains_key(dead));
        for (dead, places) in owed {
            self.replays
                .entry(dead)
                .or_insert_with(|| Replay::new(dead, self.tails_ms))
                .owe(places, now);
        }
        self.settled.retain(|debt| row.obligations().get(debt) == Some(&Stage::Replay));
        self.discharged.retain(|debt| row.obligations().contains_key(debt));
    }

    /// The memtable is about to be frozen for a flush: what the flush will cover.
    pub fn flush_began(&mut self) -> FlushCover {
        self.flush = Flush::Runs;
        let held = self.held.iter().map(|(place, hold)| (*place, hold.number)).collect();
        let mut cover = FlushCover { held, ..FlushCover::default() };
        for (dead, replay) in &self.replays {
            let debts = replay.read().iter().map(|place| Debt { dead: *dead, place: *place });
            cover.settled.extend(debts.clone());
            cover.discharged.extend(debts.filter(|_| replay.is_over()));
        }
        cover
    }

    /// Begins to give one place away by itself, if it is held back and that has not begun: the number of
    /// the hold, for [`Owner::has_given`]. It is handed over as soon as that is told, whatever others do.
    pub fn begin_give(&mut self, place: usize) -> Option<u64> {
        let hold = self.held.get_mut(&place).filter(|hold| !hold.is_begun && !hold.is_flushed)?;
        hold.is_begun = true;
        Some(hold.number)
    }

    /// What this process had of a place since the hold of this number stands where an heir finds it.
    pub fn has_given(&mut self, place: usize, number: u64) {
        if let Some(hold) = self.held.get_mut(&place).filter(|hold| hold.number == number) {
            hold.is_flushed = true;
        }
    }

    /// The places that are held back.
    pub fn held(&self) -> impl Iterator<Item = usize> {
        self.held.keys().copied()
    }

    /// Everything that the flush wrote stands in manifests.
    pub fn flush_done(&mut self, cover: FlushCover) {
        self.flush = Flush::Idle;
        for (place, hold) in &mut self.held {
            hold.is_flushed |= cover.held.get(place) == Some(&hold.number);
        }
        self.settled.extend(cover.settled);
        self.discharged.extend(cover.discharged);
    }

    /// Whether a flush would let the ring row say more than it does.
    fn wants_flush(&self) -> bool {
        let Some(row) = &self.row else { return false };
        let is_unflushed = |hold: &Hold| !hold.is_flushed && !hold.is_begun;
        (!self.gives_by_place && self.held.values().any(is_unflushed))
            || row.obligations_of(self.me).any(|(debt, stage)| {
                // What is given away has its own flush.
                if self.held.contains_key(&debt.place) {
                    return false;
                }
                let Some(replay) = self.replays.get(&debt.dead) else { return false };
                let is_read = replay.has_read(debt.place) && stage == Stage::Replay;
                (is_read && !self.settled.contains(&debt))
                    || (replay.is_over() && !self.discharged.contains(&debt))
            })
    }
}
