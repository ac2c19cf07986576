//! A database with Cassandra's rules, as far as ownership depends on them.
//!
//! Rows of data stand on three replicas, each of which hears of a write at its own time. Cells are
//! reconciled: the later timestamp wins, at a tie a tombstone, then the greater value. A quorum is any
//! two. Rows of agreement (leases, the ring) are changed by conditional updates, one after the other.

use super::chance::Chance;
use crate::ownership::journal::Position;
use crate::ownership::lease::{LeaseAsk, LeaseRow};
use crate::ownership::ring_row::RingRow;
use crate::ownership::watch::WatchAsk;
use crate::ownership::{Ask, Incarnation, Reply};
use std::collections::BTreeMap;

/// How many places the simulated ring has.
pub(super) const PLACES: usize = 6;

/// Sets of samples, one of each place: a bit is a sample.
pub(super) type Samples = [u64; PLACES];

/// Adds samples to others.
pub(super) fn add(to: &mut Samples, more: &Samples) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to |= more);
}

/// A segment: of which incarnation, and which of its flushes.
pub(super) type Segment = (Incarnation, u64);

/// The key of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Journal(Incarnation, u64, u64),
    Piece(Segment),
    Manifest(Segment),
    Progress(Incarnation),
}

/// What stands in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Samples(Samples),
    Named,
    Position(Position),
}

/// A value, or none where it was deleted, and when by the writer's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) timestamp: u64,
    pub(super) value: Option<Value>,
}

/// Which of two cells is read.
pub(super) fn reconcile(a: Cell, b: Cell) -> Cell {
    let rank = |cell: &Cell| (cell.timestamp, cell.value.is_none(), cell.value);
    if rank(&a) >= rank(&b) { a } else { b }
}

/// An answer of the database.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) samples: Samples,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, samples: Samples::default() }
    }
}

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Cassandra {
    replicas: [BTreeMap<Key, Cell>; 3],
    leases: BTreeMap<Incarnation, LeaseRow>,
    ring: Option<RingRow>,
}

impl Cassandra {
    pub(super) fn ring(&self) -> Option<&RingRow> {
        self.ring.as_ref()
    }

    /// A replica hears of a write.
    pub(super) fn deliver(&mut self, replica: usize, key: Key, cell: Cell) {
        let stands = self.replicas[replica].entry(key).or_insert(cell);
        *stands = reconcile(*stands, cell);
    }

    /// What one of a process's asks finds or does.
    pub(super) fn serve(&mut self, who: Incarnation, ask: &Ask, chance: &mut Chance) -> Answer {
        let reply = match ask {
            Ask::Lease(ask) => self.serve_lease(who, *ask),
            Ask::Watch(other, WatchAsk::Read) => Reply::Lease(self.leases.get(other).copied()),
            Ask::Watch(other, WatchAsk::Fence { counter }) => {
                self.change(*other, *counter, |row| row.is_fenced = true)
            }
            Ask::ReadRing => Reply::Ring(self.ring.clone().map(Box::new)),
            Ask::UpdateRing(next) => self.update_ring(next),
            Ask::ReadProgress(dead) => Reply::Progress(self.progress(*dead, chance)),
            Ask::ReadBucket { dead, bucket, after } => {
                return self.read_bucket(*dead, *bucket, *after, chance);
            }
            Ask::Flush => Reply::Unknown,
        };
        reply.into()
    }

    fn serve_lease(&mut self, who: Incarnation, ask: LeaseAsk) -> Reply {
        match ask {
            LeaseAsk::Begin if !self.leases.contains_key(&who) => {
                self.leases.insert(who, LeaseRow { counter: 0, is_fenced: false });
                Reply::Applied
            }
            LeaseAsk::Begin | LeaseAsk::Read => Reply::Lease(self.leases.get(&who).copied()),
            LeaseAsk::Renew { from } => self.change(who, from, |row| row.counter += 1),
            LeaseAsk::End { from } => self.change(who, from, |row| row.is_fenced = true),
        }
    }

    /// Changes a lease row on condition of its counter.
    fn change(&mut self, who: Incarnation, counter: u64, change: fn(&mut LeaseRow)) -> Reply {
        match self.leases.get_mut(&who) {
            Some(row) if row.counter == counter && !row.is_fenced => {
                change(row);
                Reply::Applied
            }
            row => Reply::Lease(row.as_deref().copied()),
        }
    }

    fn update_ring(&mut self, next: &RingRow) -> Reply {
        let version = self.ring.as_ref().map_or(0, RingRow::version);
        if next.version() == version + 1 {
            self.ring = Some(next.clone());
            return Reply::Applied;
        }
        Reply::Ring(self.ring.clone().map(Box::new))
    }

    fn progress(&self, dead: Incarnation, chance: &mut Chance) -> Option<Position> {
        let unread = chance.index(3);
        let replicas = self.replicas.iter().enumerate().filter(|(replica, _)| *replica != unread);
        let cells = replicas.filter_map(|(_, rows)| rows.get(&Key::Progress(dead)).copied());
        match cells.reduce(reconcile).and_then(|cell| cell.value) {
            Some(Value::Position(position)) => Some(position),
            _ => None,
        }
    }

    fn read_bucket(
        &self,
        dead: Incarnation,
        bucket: u64,
        after: Option<Position>,
        chance: &mut Chance,
    ) -> Answer {
        let unread = chance.index(3);
        let from = after.filter(|after| after.bucket == bucket).map_or(0, |after| after.seq + 1);
        let keys = Key::Journal(dead, bucket, from)..=Key::Journal(dead, bucket, u64::MAX);
        let mut rows: BTreeMap<Key, Cell> = BTreeMap::new();
        for (_, replica) in self.replicas.iter().enumerate().filter(|(at, _)| *at != unread) {
            for (key, cell) in replica.range(keys.clone()) {
                let read = rows.entry(*key).or_insert(*cell);
                *read = reconcile(*read, *cell);
            }
        }
        let mut samples = Samples::default();
        for cell in rows.values() {
            if let Some(Value::Samples(row)) = &cell.value {
                add(&mut samples, row);
            }
        }
        Answer { reply: Reply::Bucket(rows.len()), samples }
    }

    /// What every quorum reads of a key: what two replicas at least agree on.
    fn certain(&self, key: Key) -> Option<Value> {
        let cells = self.replicas.each_ref().map(|rows| rows.get(&key).copied());
        let pairs = [(0, 1), (1, 2), (0, 2)];
        let read = pairs.map(|(a, b)| {
            let cell = cells[a].into_iter().chain(cells[b]).reduce(reconcile);
            cell.and_then(|cell| cell.value)
        });
        read.into_iter().min().flatten()
    }

    /// The samples that every reader finds in a segment, if its manifest row says so.
    pub(super) fn sealed(&self, segment: Segment) -> Option<Samples> {
        self.certain(Key::Manifest(segment))?;
        match self.certain(Key::Piece(segment))? {
            Value::Samples(samples) => Some(samples),
            _ => None,
        }
    }

    /// The samples of journal rows that every quorum reads.
    pub(super) fn journaled(&self) -> Samples {
        let mut journaled = Samples::default();
        let first = Incarnation(0);
        let rows = Key::Journal(first, 0, 0)..Key::Piece((first, 0));
        for key in self.replicas.iter().flat_map(|replica| replica.range(rows.clone())) {
            if let Some(Value::Samples(row)) = self.certain(*key.0) {
                add(&mut journaled, &row);
            }
        }
        journaled
    }
}
