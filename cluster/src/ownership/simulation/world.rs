//! Time, the network, the clients.

use super::cassandra::{Answer, Cassandra, Cell, Key, PLACES, Samples};
use super::chance::Chance;
use super::process::{Manner, Outbox, Plant, Process, Request};
use crate::ownership::lease::ASK_TIMEOUT_MS;
use crate::ownership::ring_row::RingRow;
use crate::ownership::{Ask, BootMs, Incarnation, Reply};
use std::collections::BTreeMap;

/// How many machines there are; each runs one process at a time.
pub(super) const SLOTS: usize = 3;
/// How often a process is polled.
const WAKE_EVERY_MS: u64 = 500;

/// Each life on a machine is another incarnation.
fn life_of(slot: usize, number: u128) -> Incarnation {
    Incarnation(number * SLOTS as u128 + slot as u128)
}

/// On which machine an incarnation lives.
pub(super) fn machine_of(life: Incarnation) -> u128 {
    life.0 % SLOTS as u128
}

/// One machine.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) process: Option<Process>,
    // Its clock: what it showed at the start, and how many of its milliseconds are 1,000 true ones.
    boot_ms: u64,
    rate: u64,
    pub(super) paused_until: u64,
    pub(super) cut_until: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Wake(usize, Incarnation),
    Serve {
        slot: usize,
        life: Incarnation,
        ticket: u64,
        request: Box<Request>,
        back_ms: Option<u64>,
    },
    Deliver {
        replica: usize,
        key: Key,
        cell: Cell,
    },
    Answer {
        slot: usize,
        life: Incarnation,
        ticket: u64,
        answer: Answer,
    },
    ClientWrite,
    Fault,
    Start(usize),
}

/// What went on in a story.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: u32,
    pub(super) refused: u32,
    pub(super) kills: u32,
    pub(super) pauses: u32,
    pub(super) cuts: u32,
    pub(super) outages: u32,
    pub(super) leaves: u32,
    pub(super) ring_versions: u64,
    pub(super) stragglers: u32,
}

impl Tally {
    /// Adds another story's.
    pub(super) fn add(&mut self, more: &Self) {
        self.acknowledged += more.acknowledged;
        self.refused += more.refused;
        self.kills += more.kills;
        self.pauses += more.pauses;
        self.cuts += more.cuts;
        self.outages += more.outages;
        self.leaves += more.leaves;
        self.ring_versions += more.ring_versions;
        self.stragglers += more.stragglers;
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(super) chance: Chance,
    pub(super) slots: [Slot; SLOTS],
    pub(super) cassandra: Cassandra,
    pub(super) outage_until: u64,
    pub(super) faults_until: u64,
    bent: (Manner, Plant),
    lives: u128,
    pub(super) sealed: Samples,
    pub(super) is_sealed_known: bool,
    pub(super) acknowledged: Samples,
    next_bit: [u32; PLACES],
    pub(super) tally: Tally,
    pub(super) violation: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, bent: (Manner, Plant), faults_until: u64) -> Self {
        let mut world = Self {
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            chance: Chance::new(seed),
            slots: Default::default(),
            cassandra: Cassandra::default(),
            outage_until: 0,
            faults_until,
            bent,
            lives: 0,
            sealed: Samples::default(),
            is_sealed_known: true,
            acknowledged: Samples::default(),
            next_bit: [0; PLACES],
            tally: Tally::default(),
            violation: None,
        };
        for slot in 0..SLOTS {
            world.slots[slot].boot_ms = world.chance.between(0, 1_000_000);
            world.slots[slot].rate = world.chance.between(920, 1_080);
            let start = world.chance.between(0, 5_000);
            world.after(start, Event::Start(slot));
        }
        world.after(3_000, Event::ClientWrite);
        world.after(8_000, Event::Fault);
        world
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + ms, self.scheduled), event);
    }

    /// Lets everything happen until then, or until a promise is broken.
    pub(super) fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some(first) = self.events.first_entry().filter(|first| first.key().0 <= end) else {
                break;
            };
            self.now = first.key().0;
            let event = first.remove();
            match self.is_paused(&event) {
                // What has waited comes in no order.
                Some(ms) => {
                    let ms = ms + self.chance.between(0, 50);
                    self.after(ms, event);
                }
                None => self.happen(event),
            }
        }
    }

    pub(super) fn boot(&self, slot: usize) -> BootMs {
        let Slot { boot_ms, rate, .. } = &self.slots[slot];
        BootMs(boot_ms + self.now * rate / 1_000)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(slot, life) => {
                if self.is_running(slot, life) {
                    self.after(WAKE_EVERY_MS, Event::Wake(slot, life));
                    self.step(slot, |_, _, _| None);
                }
            }
            Event::Answer { slot, life, ticket, answer } => {
                let is_awaited = |process: &Process| process.awaits(ticket);
                if self.is_running(slot, life) && self.process(slot).is_some_and(is_awaited) {
                    self.step(slot, |process, now, out| process.answered(ticket, answer, now, out));
                }
            }
            Event::Serve { slot, life, ticket, request, back_ms } => {
                if self.now < self.outage_until {
                    return;
                }
                let answer = match *request {
                    Request::Ask(ask) => self.cassandra.serve(life, &ask, &mut self.chance),
                    Request::ReadPieces(segments, is_quorum) => {
                        self.cassandra.read_pieces(&segments, is_quorum, &mut self.chance)
                    }
                    Request::ReadJournals { is_quorum } => {
                        self.cassandra.read_journals(is_quorum, &mut self.chance)
                    }
                    _ => self.cassandra.read_manifest(&mut self.chance),
                };
                if let Some(ms) = back_ms {
                    self.after(ms, Event::Answer { slot, life, ticket, answer });
                }
            }
            Event::Deliver { replica, key, cell } => {
                self.cassandra.deliver(replica, key, cell);
                self.is_sealed_known &= !matches!(key, Key::Piece(_) | Key::Manifest(_));
            }
            Event::ClientWrite => self.client_write(),
            Event::Fault => self.fault(),
            Event::Start(slot) => self.start(slot),
        }
    }

    /// Whether an event reaches one that is stopped: it waits until the process goes on.
    fn is_paused(&self, event: &Event) -> Option<u64> {
        let (Event::Wake(slot, life) | Event::Answer { slot, life, .. }) = event else {
            return None;
        };
        let until = self.slots[*slot].paused_until;
        let is_stopped = until > self.now && self.is_running(*slot, *life);
        is_stopped.then(|| until - self.now)
    }

    fn is_running(&self, slot: usize, life: Incarnation) -> bool {
        self.process(slot).is_some_and(|process| process.life == life)
    }

    pub(super) fn process(&self, slot: usize) -> Option<&Process> {
        self.slots[slot].process.as_ref()
    }

    /// Lets a process do something, then what time asks of it, then checks all that it would answer.
    fn step(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Process, BootMs, &mut Outbox) -> Option<(usize, u64)>,
    ) {
        let now = self.boot(slot);
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let mut out = Outbox::new();
        let acknowledged = act(process, now, &mut out);
        process.poll(now, &mut out);
        let (life, is_over) = (process.life, process.owner.is_over());
        for (ticket, request) in out {
            self.send(slot, life, ticket, request);
        }
        if let Some((place, bit)) = acknowledged {
            self.tally.acknowledged += 1;
            self.acknowledged[place] |= bit;
            self.check_alone(slot, place, "acknowledged a sample");
        }
        self.check(slot);
        if is_over {
            self.end(slot, 500);
        }
    }

    /// The process is gone; another starts in its stead.
    pub(super) fn end(&mut self, slot: usize, restart_ms: u64) {
        self.slots[slot].process = None;
        self.slots[slot].paused_until = 0;
        self.after(restart_ms, Event::Start(slot));
    }

    fn start(&mut self, slot: usize) {
        if self.slots[slot].process.is_some() {
            return;
        }
        self.lives += 1;
        let (life, now) = (life_of(slot, self.lives), self.boot(slot));
        let flush_every_ms = self.chance.between(8_000, 60_000);
        self.slots[slot].process = Some(Process::new(life, self.bent, flush_every_ms, now));
        self.after(0, Event::Wake(slot, life));
    }

    /// Sends a request on its way; its time-out is an answer of its own.
    fn send(&mut self, slot: usize, life: Incarnation, ticket: u64, request: Request) {
        let answer = Answer::from(Reply::Unknown);
        self.after(ASK_TIMEOUT_MS, Event::Answer { slot, life, ticket, answer });
        let is_cut = self.now < self.slots[slot].cut_until;
        let is_healed = self.now >= self.faults_until;
        if !is_healed && matches!(request, Request::Ask(Ask::Lease(_))) && self.chance.percent(1) {
            // Stopped with a renewal on its way.
            self.slots[slot].paused_until = self.now + self.chance.between(4_000, 30_000);
        }
        if is_cut || (!is_healed && self.chance.percent(1)) {
            return;
        }
        let go_ms = match self.chance.between(1, 200) {
            _ if is_healed => self.chance.between(1, 8),
            1..=4 => self.chance.between(50, 3_000),
            5..=6 => self.chance.between(3_000, 60_000),
            _ => self.chance.between(1, 8),
        };
        let back_ms = self.back_ms();
        match request {
            Request::Write(key, cell) if !is_healed && self.is_orphaned(key) => {
                // Who coordinated it dies: one replica has it, and nobody will tell the others.
                let replica = self.chance.index(3);
                self.after(go_ms, Event::Deliver { replica, key, cell });
                if self.chance.percent(40) {
                    self.end(slot, 1_000);
                }
            }
            Request::Write(key, cell) => {
                let mut arrives: [u64; 3] = std::array::from_fn(|_| self.arrives_ms(go_ms));
                for (replica, ms) in arrives.into_iter().enumerate() {
                    self.after(ms, Event::Deliver { replica, key, cell: cell.clone() });
                }
                arrives.sort_unstable();
                if let Some(back_ms) = back_ms {
                    let answer = Answer::from(Reply::Applied);
                    let ms = arrives[1] + back_ms;
                    self.after(ms, Event::Answer { slot, life, ticket, answer });
                }
            }
            read => {
                let request = Box::new(read);
                self.after(go_ms, Event::Serve { slot, life, ticket, request, back_ms });
            }
        }
    }

    /// Whether a write will reach one replica only; more often one that names segments.
    fn is_orphaned(&mut self, key: Key) -> bool {
        self.chance.percent(if matches!(key, Key::Manifest(_)) { 4 } else { 1 })
    }

    /// How long an answer takes, if it is not lost.
    fn back_ms(&mut self) -> Option<u64> {
        match self.chance.between(1, 100) {
            _ if self.now >= self.faults_until => Some(self.chance.between(1, 8)),
            1..=2 => None,
            3..=6 => Some(self.chance.between(100, 2_500)),
            _ => Some(self.chance.between(1, 8)),
        }
    }

    /// When a replica hears of a write: a few by a hint, and none while too few replicas are up.
    fn arrives_ms(&mut self, go_ms: u64) -> u64 {
        let ms = match self.chance.between(1, 100) {
            1..=5 => go_ms + self.chance.between(500, 90_000),
            _ => go_ms + self.chance.between(0, 6),
        };
        ms.max(self.outage_until.saturating_sub(self.now) + self.chance.between(0, 6))
    }

    /// A client writes a sample to whom the ring names; now and then to anyone.
    fn client_write(&mut self) {
        if self.now < self.faults_until {
            let ms = self.chance.between(80, 420);
            self.after(ms, Event::ClientWrite);
        }
        let place = self.chance.index(PLACES);
        let Some(bit) = 1_u64.checked_shl(self.next_bit[place]) else { return };
        let Some(owner) = self.cassandra.ring().map(|row| row.owner(place)) else { return };
        let is_owner = |slot: &Slot| slot.process.as_ref().is_some_and(|p| p.life == owner);
        let named = self.slots.iter().position(is_owner);
        let any = self.chance.index(SLOTS);
        let slot = named.filter(|_| !self.chance.percent(10)).unwrap_or(any);
        if self.now < self.slots[slot].paused_until {
            return;
        }
        let version = self.cassandra.ring().map_or(0, RingRow::version);
        let mut is_taken = false;
        self.step(slot, |process, now, out| {
            process.owner.heard_of(version);
            is_taken = process.write(place, bit, now, out);
            None
        });
        self.next_bit[place] += u32::from(is_taken);
        self.tally.refused += u32::from(!is_taken);
    }
}
