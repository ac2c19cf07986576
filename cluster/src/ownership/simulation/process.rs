//! One simulated process: an owner, a journal, a memtable, a flush; and the places where a bug is planted
//! between the deciders and what they ask.

use super::cassandra::{Answer, Cell, Key, PLACES, Samples, Segment, Value};
use super::places::{Give, Opening, Places};
use super::sealer::{CLAIM, Sealer};
use super::world::machine_of;
use crate::ownership::journal::{Position, Writer};
use crate::ownership::owner::{FlushCover, Owner};
use crate::ownership::publication::{Publication, Step};
use crate::ownership::ring_row::RingRow;
use crate::ownership::{Ask, BootMs, Command, Incarnation, Reply};
use model::Token;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A bug put into a process on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    Nothing,
    LeaseTrustedFromTheAnswer,
    ObligationsNotInherited,
    TailNotReadAgain,
    ProgressBeforeManifest,
    LeaseNotCheckedAfterTheQuorum,
    PlaceTakenFromALiveHolder,
    ReplacedDeletedFirst,
    MissingPieceIgnored,
    SuccessorNotConfirmed,
    JournalReadFromOneNode,
}

/// How a process comes by what others have acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It reads the journals of the dead, and their tails again, as an [`Owner`] does by itself.
    ByTheDead,
    /// It opens and gives away each place by itself, as `ingester` does.
    ByPlace,
}

impl Manner {
    fn owner(self, life: Incarnation) -> Owner {
        let owner = Owner::new(life, u16::try_from(PLACES).unwrap());
        match self {
            Self::ByTheDead => owner,
            Self::ByPlace => owner.without_tails().giving_by_place().looking_for_namesakes(),
        }
    }
}

/// Some token of a place.
pub(super) fn token(place: usize) -> Token {
    Token((place as u64 + 1) * (u64::MAX / PLACES as u64) - 5)
}

/// What a process sends to the database.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Ask(Ask),
    Write(Key, Cell),
    ReadManifest,
    ReadPieces(BTreeSet<Segment>, bool),
    /// All journals, from a quorum or from one replica.
    ReadJournals {
        is_quorum: bool,
    },
}

/// Requests, each with the ticket that its answer names.
pub(super) type Outbox = Vec<(u64, Request)>;

/// What waits for an answer.
#[derive(Debug)]
enum Pending {
    Command(Command),
    Row { at: Position, place: usize, bit: u64, tries: u8 },
    Open(Opening),
    Step(Step),
    Seal,
}

/// A flush under way.
#[derive(Debug)]
struct Flush {
    number: u64,
    cover: Option<FlushCover>,
    give: Option<Give>,
    frozen: Samples,
    covers: [bool; PLACES],
    upto: Position,
    publication: Publication,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) life: Incarnation,
    pub(super) owner: Owner,
    memory: Samples,
    writer: Writer,
    plant: Plant,
    // None where the journals of the dead are read.
    places: Option<Places>,
    pending: BTreeMap<u64, Pending>,
    tickets: u64,
    flush: Option<Flush>,
    flushes: u64,
    // Where places are opened by themselves: up to where what stands in manifests covers the journal of each.
    covered: [u64; PLACES],
    wants_flush: bool,
    flush_every_ms: u64,
    flush_at: BootMs,
    sealer: Sealer,
}

impl Process {
    pub(super) fn new(
        life: Incarnation,
        (manner, plant): (Manner, Plant),
        flush_every_ms: u64,
        now: BootMs,
    ) -> Self {
        Self {
            life,
            owner: manner.owner(life),
            memory: Samples::default(),
            writer: Writer::new(4),
            plant,
            places: (manner == Manner::ByPlace).then(Places::default),
            pending: BTreeMap::new(),
            tickets: 0,
            flush: None,
            flushes: 0,
            covered: [0; PLACES],
            wants_flush: false,
            flush_every_ms,
            flush_at: now.plus_ms(flush_every_ms),
            sealer: Sealer::new(life, plant, now),
        }
    }

    pub(super) fn serves(&self, place: usize, now: BootMs) -> bool {
        let is_open = self.places.as_ref().is_none_or(|places| places.is_open(place));
        is_open && self.owner.serves(token(place), now)
    }

    /// What it would answer of a place from memory.
    pub(super) fn remembers(&self, place: usize) -> u64 {
        self.memory[place]
    }

    /// Whether an answer is still waited for.
    pub(super) fn awaits(&self, ticket: u64) -> bool {
        self.pending.contains_key(&ticket)
    }

    /// Lets time pass.
    pub(super) fn poll(&mut self, now: BootMs, out: &mut Outbox) {
        self.let_go();
        for command in self.owner.poll(now) {
            let command = self.planted(command);
            let places = self.places.as_ref();
            if command.ask == Ask::Flush {
                self.wants_flush = true;
            } else if let Some(reply) = places.and_then(|p| p.reply(&self.owner, &command.ask)) {
                self.owner.answered(&command, &reply, now);
            } else {
                let request = Request::Ask(command.ask.clone());
                self.send(Pending::Command(command), request, out);
            }
        }
        self.reconcile(now, out);
        self.owner.claim(CLAIM, true);
        if self.owner.holds(CLAIM, now)
            && let Some(request) = self.sealer.poll(now)
        {
            self.send(Pending::Seal, request, out);
        }
        if self.flush.is_none() {
            self.flush_due(now, out);
        }
    }

    /// Closes, opens and gives away places, where it does that by itself.
    fn reconcile(&mut self, now: BootMs, out: &mut Outbox) {
        let Some(places) = &mut self.places else { return };
        for who in self.owner.to_find().collect::<Vec<_>>() {
            self.owner.found(who, machine_of(who) == machine_of(self.life));
        }
        for opening in places.reconcile(&mut self.owner, now) {
            let is_quorum = self.plant != Plant::JournalReadFromOneNode;
            self.send(Pending::Open(opening), Request::ReadJournals { is_quorum }, out);
        }
    }

    fn let_go(&mut self) {
        if let Some(places) = &mut self.places {
            let closed = places.let_go(&mut self.owner);
            closed.into_iter().for_each(|place| self.memory[place] = 0);
        }
    }

    fn flush_due(&mut self, now: BootMs, out: &mut Outbox) {
        let give = self.places.as_mut().and_then(Places::next_give);
        let is_due = self.wants_flush || now >= self.flush_at;
        let (frozen, covers, cover) = match (give, &self.places) {
            (Some((given, _)), _) => {
                // It is closed.
                let mut frozen = Samples::default();
                frozen[given] = std::mem::take(&mut self.memory[given]);
                (frozen, std::array::from_fn(|place| place == given), None)
            }
            (None, _) if !is_due => return,
            (None, None) => (self.memory, [true; PLACES], Some(self.owner.flush_began())),
            (None, Some(places)) => {
                let is_open = |place| places.is_open(place);
                let cover = self.wants_flush.then(|| self.owner.flush_began().of_kept(is_open));
                (self.memory, std::array::from_fn(is_open), cover)
            }
        };
        if give.is_none() {
            self.wants_flush = false;
            self.flush_at = now.plus_ms(self.flush_every_ms);
        }
        self.flushes += 1;
        let (number, upto) = (self.flushes, self.writer.last());
        let publication = Publication::default();
        self.flush = Some(Flush { number, cover, give, frozen, covers, upto, publication });
        match give {
            // Now and then a place cannot be flushed.
            Some(_) if number % 4 == 0 => self.flushed(),
            _ => self.publish(out),
        }
    }

    fn send(&mut self, pending: Pending, request: Request, out: &mut Outbox) {
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        out.push((self.tickets, request));
    }

    /// A client writes a sample. Whether it was taken.
    pub(super) fn write(&mut self, place: usize, bit: u64, now: BootMs, out: &mut Outbox) -> bool {
        if !self.serves(place, now) {
            return false;
        }
        self.memory[place] |= bit;
        let at = self.writer.place(1);
        self.write_row(at, place, bit, 1, out);
        true
    }

    fn write_row(&mut self, at: Position, place: usize, bit: u64, tries: u8, out: &mut Outbox) {
        let mut samples = Samples::default();
        samples[place] = bit;
        let cell = Cell { timestamp: 1, value: Some(Value::Samples(samples)) };
        let request = Request::Write(Key::Journal(self.life, at.bucket, at.seq), cell);
        self.send(Pending::Row { at, place, bit, tries }, request, out);
    }

    /// Takes an answer. A sample that is acknowledged to its sender now.
    pub(super) fn answered(
        &mut self,
        ticket: u64,
        answer: Answer,
        now: BootMs,
        out: &mut Outbox,
    ) -> Option<(usize, u64)> {
        let is_written = answer.reply == Reply::Applied;
        match self.pending.remove(&ticket)? {
            Pending::Command(command) => self.command_answered(command, &answer, now),
            Pending::Step(step) => self.step_answered(step, is_written, out),
            Pending::Seal => {
                let is_held = self.owner.holds(CLAIM, now);
                let next = self.sealer.answered(&answer, is_held, &mut self.flushes, now);
                next.into_iter().for_each(|request| self.send(Pending::Seal, request, out));
            }
            Pending::Row { at, place, bit, .. } if is_written => {
                self.writer.durable(at);
                let is_unchecked = self.plant == Plant::LeaseNotCheckedAfterTheQuorum;
                return (is_unchecked || self.serves(place, now)).then_some((place, bit));
            }
            Pending::Row { at, place, bit, tries } if tries < 3 => {
                self.write_row(at, place, bit, tries + 1, out);
            }
            Pending::Row { .. } => {}
            Pending::Open(opening) => {
                let is_read = matches!(answer.reply, Reply::Bucket(_));
                let places = self.places.as_mut();
                if places.is_some_and(|places| places.has_read(opening, is_read)) {
                    self.memory[opening.0] = answer.samples[opening.0];
                }
            }
        }
        None
    }

    fn command_answered(&mut self, mut command: Command, answer: &Answer, now: BootMs) {
        let is_lease = matches!(command.ask, Ask::Lease(_));
        if is_lease && self.plant == Plant::LeaseTrustedFromTheAnswer {
            command.asked_at = now;
        }
        for place in (0..PLACES).filter(|place| self.owner.owns(token(*place))) {
            self.memory[place] |= answer.samples[place];
        }
        self.owner.answered(&command, &answer.reply, now);
    }

    fn publish(&mut self, out: &mut Outbox) {
        let Some(flush) = &mut self.flush else { return };
        let Some(mut step) = flush.publication.next() else { return };
        let segment = (self.life, flush.number);
        if self.plant == Plant::ProgressBeforeManifest {
            step = match step {
                Step::Manifest => Step::Progress,
                Step::Progress => Step::Manifest,
                step => step,
            };
        }
        let (key, timestamp, value) = match step {
            Step::Pieces => (Key::Piece(segment), 1, Value::Samples(flush.frozen)),
            Step::Directory => {
                flush.publication.acknowledged(step);
                return self.publish(out);
            }
            Step::Manifest => (Key::Manifest(segment), 1, Value::Replaces(Arc::default())),
            Step::Progress if self.places.is_some() => {
                for place in (0..PLACES).filter(|place| flush.covers[*place]) {
                    self.covered[place] = flush.upto.seq;
                }
                (Key::Progress(self.life), flush.number, Value::Covered(self.covered))
            }
            Step::Progress => {
                (Key::Progress(self.life), flush.upto.seq, Value::Position(flush.upto))
            }
        };
        let step = flush.publication.next().unwrap_or(step);
        let cell = Cell { timestamp, value: Some(value) };
        self.send(Pending::Step(step), Request::Write(key, cell), out);
    }

    fn step_answered(&mut self, step: Step, is_written: bool, out: &mut Outbox) {
        let Some(flush) = self.flush.as_mut() else { return };
        if is_written {
            flush.publication.acknowledged(step);
        }
        if flush.publication.next().is_some() {
            return self.publish(out);
        }
        self.flushed();
    }

    fn flushed(&mut self) {
        let Some(Flush { cover, frozen, give, .. }) = self.flush.take() else { return };
        if let Some(cover) = cover {
            self.owner.flush_done(cover);
        }
        if let (Some(give), Some(places)) = (give, &mut self.places) {
            places.has_given(give, &mut self.owner);
        } else {
            self.memory.iter_mut().zip(frozen).for_each(|(memory, frozen)| *memory &= !frozen);
        }
    }

    /// The command as a process with the planted bug would give it.
    fn planted(&self, mut command: Command) -> Command {
        let Some(row) = self.owner.row() else { return command };
        match (&mut command.ask, self.plant) {
            (Ask::UpdateRing(next), Plant::ObligationsNotInherited) => forget(row, next),
            (Ask::UpdateRing(next), Plant::PlaceTakenFromALiveHolder) => {
                if let Some(place) = (0..PLACES).find(|place| next.owner(*place) != self.life)
                    && next.members().contains_key(&self.life)
                {
                    next.hand_over(place, self.life);
                }
            }
            (Ask::ReadBucket { dead, bucket, .. }, Plant::TailNotReadAgain) => {
                let is_tail = row
                    .obligations_of(self.life)
                    .filter(|(debt, _)| debt.dead == *dead)
                    .all(|(debt, _)| self.serves(debt.place, command.asked_at));
                // A bucket that nobody writes.
                *bucket = if is_tail { u64::MAX / 2 } else { *bucket };
            }
            _ => {}
        }
        command
    }
}

/// Forgets what those owed whom `next` takes over.
fn forget(row: &RingRow, next: &mut RingRow) {
    for dead in row.members().keys() {
        let is_taken_over = !next.members().contains_key(dead);
        for (debt, _) in row.obligations_of(*dead).filter(|_| is_taken_over) {
            next.discharge(debt);
        }
    }
}
