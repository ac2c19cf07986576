//! A database with Cassandra's rules, as far as ownership depends on them.
//!
//! Rows of data stand on three replicas, each of which hears of a write at its own time. Cells are
//! reconciled: the later timestamp wins, at a tie a tombstone, then the greater value. A quorum is any
//! two. Rows of agreement (leases, the ring) are changed by conditional updates, one after the other.

use super::chance::Chance;
use crate::ownership::claim::{ClaimAsk, ClaimRow};
use crate::ownership::journal::Position;
use crate::ownership::lease::{LeaseAsk, LeaseRow};
use crate::ownership::ring_row::RingRow;
use crate::ownership::sealing::{Manifest, live};
use crate::ownership::watch::WatchAsk;
use crate::ownership::{Ask, Incarnation, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Samples(Samples),
    // Of a manifest row.
    Replaces(Arc<BTreeSet<Segment>>),
    Position(Position),
    // Of each place, up to which row of the journal it stands in manifests.
    Covered([u64; PLACES]),
}

/// A value, or none where it was deleted, and when by the writer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) timestamp: u64,
    pub(super) value: Option<Value>,
}

/// Whether a cell is read rather than another.
fn wins(cell: &Cell, other: &Cell) -> bool {
    let rank = |cell: &Cell| (cell.timestamp, cell.value.is_none());
    rank(cell).cmp(&rank(other)).then_with(|| cell.value.cmp(&other.value)).is_gt()
}

/// An answer of the database.
#[derive(Clone, Debug)]
pub(in crate::ownership) struct Answer {
    pub(in crate::ownership) reply: Reply,
    pub(super) samples: Samples,
    pub(super) manifest: Manifest<Segment>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, samples: Samples::default(), manifest: Manifest::new() }
    }
}

/// The whole of it.
#[derive(Debug, Default)]
pub(in crate::ownership) struct Cassandra {
    replicas: [BTreeMap<Key, Cell>; 3],
    // Deleted on every replica: such a row never shows again.
    buried: BTreeSet<Key>,
    leases: BTreeMap<Incarnation, LeaseRow>,
    ring: Option<RingRow>,
    claims: BTreeMap<String, ClaimRow>,
}

impl Cassandra {
    pub(super) fn ring(&self) -> Option<&RingRow> {
        self.ring.as_ref()
    }

    /// A replica hears of a write.
    pub(super) fn deliver(&mut self, replica: usize, key: Key, cell: Cell) {
        if self.buried.contains(&key) {
            return;
        }
        let is_delete = cell.value.is_none();
        let stands = self.replicas[replica].entry(key).or_insert_with(|| cell.clone());
        if wins(&cell, stands) {
            *stands = cell;
        }
        let is_deleted =
            |rows: &BTreeMap<Key, Cell>| rows.get(&key).is_some_and(|cell| cell.value.is_none());
        if is_delete && self.replicas.iter().all(is_deleted) {
            self.replicas.iter_mut().for_each(|rows| drop(rows.remove(&key)));
            self.buried.insert(key);
        }
    }

    /// What one of a process's asks finds or does.
    pub(in crate::ownership) fn serve(
        &mut self,
        who: Incarnation,
        ask: &Ask,
        chance: &mut Chance,
    ) -> Answer {
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
            Ask::Claim(key, ask) => self.serve_claim(key, *ask),
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

    fn serve_claim(&mut self, key: &str, ask: ClaimAsk) -> Reply {
        let number = self.claims.get(key).map_or(0, |row| row.number);
        match ask {
            ClaimAsk::Write(row) if row.number == number + 1 => {
                self.claims.insert(key.to_owned(), row);
                Reply::Applied
            }
            _ => Reply::Claim(self.claims.get(key).copied()),
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

    /// What some replicas know of a range of keys.
    fn read(&self, keys: std::ops::Range<Key>, replicas: &[usize]) -> BTreeMap<Key, &Value> {
        let mut rows: BTreeMap<Key, &Cell> = BTreeMap::new();
        for replica in replicas {
            for (key, cell) in self.replicas[*replica].range(keys.clone()) {
                let read = rows.entry(*key).or_insert(cell);
                if wins(cell, read) {
                    *read = cell;
                }
            }
        }
        rows.into_iter().filter_map(|(key, cell)| Some((key, cell.value.as_ref()?))).collect()
    }

    fn progress(&self, dead: Incarnation, chance: &mut Chance) -> Option<Position> {
        let keys = Key::Progress(dead)..Key::Progress(Incarnation(dead.0 + 1));
        match self.read(keys, quorum(chance)).into_values().next() {
            Some(Value::Position(position)) => Some(*position),
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
        let from = after.filter(|after| after.bucket == bucket).map_or(0, |after| after.seq + 1);
        let keys = Key::Journal(dead, bucket, from)..Key::Journal(dead, bucket + 1, 0);
        let rows = self.read(keys, quorum(chance));
        let mut answer = Answer::from(Reply::Bucket(rows.len()));
        rows.values().for_each(|row| add(&mut answer.samples, row.samples()));
        answer
    }

    /// The samples of all journals, those aside that their writers say stand in manifests.
    pub(super) fn read_journals(&self, is_quorum: bool, chance: &mut Chance) -> Answer {
        let none = Incarnation(0);
        let last = Key::Progress(Incarnation(u128::MAX));
        let covered = self.read(Key::Progress(none)..last, quorum(chance));
        let replicas = if is_quorum { quorum(chance) } else { &quorum(chance)[..1] };
        let rows = self.read(Key::Journal(none, 0, 0)..Key::Piece((none, 0)), replicas);
        let mut answer = Answer::from(Reply::Bucket(rows.len()));
        for (key, value) in rows {
            let Key::Journal(life, _, seq) = key else { continue };
            let upto = match covered.get(&Key::Progress(life)) {
                Some(Value::Covered(upto)) => *upto,
                _ => [0; PLACES],
            };
            for place in (0..PLACES).filter(|place| seq > upto[*place]) {
                answer.samples[place] |= value.samples()[place];
            }
        }
        answer
    }

    /// The manifest, as a quorum knows it.
    pub(super) fn read_manifest(&self, chance: &mut Chance) -> Answer {
        let manifest = self.manifest(quorum(chance));
        Answer { manifest, ..Answer::from(Reply::Bucket(0)) }
    }

    fn manifest(&self, replicas: &[usize]) -> Manifest<Segment> {
        let none = Incarnation(0);
        let rows = self.read(Key::Manifest((none, 0))..Key::Progress(none), replicas);
        let row = |(key, value): (Key, &Value)| match (key, value) {
            (Key::Manifest(segment), Value::Replaces(replaces)) => {
                Some((segment, BTreeSet::clone(replaces)))
            }
            _ => None,
        };
        rows.into_iter().filter_map(row).collect()
    }

    /// The pieces of some segments, from one replica or a quorum, and how many there were.
    pub(super) fn read_pieces(
        &self,
        segments: &BTreeSet<Segment>,
        is_quorum: bool,
        chance: &mut Chance,
    ) -> Answer {
        let replicas = if is_quorum { quorum(chance) } else { &quorum(chance)[..1] };
        let (found, samples) = self.pieces(segments.iter(), replicas);
        Answer { samples, ..Answer::from(Reply::Bucket(found)) }
    }

    fn pieces<'s>(
        &self,
        segments: impl Iterator<Item = &'s Segment>,
        replicas: &[usize],
    ) -> (usize, Samples) {
        let (mut found, mut samples) = (0, Samples::default());
        for (life, number) in segments {
            let keys = Key::Piece((*life, *number))..Key::Piece((*life, number + 1));
            for piece in self.read(keys, replicas).values() {
                found += 1;
                add(&mut samples, piece.samples());
            }
        }
        (found, samples)
    }

    /// The samples that every reader finds through manifests, whichever quorum it asks.
    pub(super) fn sealed(&self) -> Samples {
        let mut sealed = [u64::MAX; PLACES];
        for replicas in QUORUMS {
            let manifest = self.manifest(&replicas);
            let (_, found) = self.pieces(live(&manifest).iter(), &[0, 1, 2]);
            sealed.iter_mut().zip(found).for_each(|(sealed, found)| *sealed &= found);
        }
        sealed
    }

    /// The samples of journal rows that every quorum reads.
    pub(super) fn journaled(&self) -> Samples {
        let none = Incarnation(0);
        let mut journaled = [u64::MAX; PLACES];
        for replicas in QUORUMS {
            let mut found = Samples::default();
            let rows = self.read(Key::Journal(none, 0, 0)..Key::Piece((none, 0)), &replicas);
            rows.values().for_each(|row| add(&mut found, row.samples()));
            journaled.iter_mut().zip(found).for_each(|(all, found)| *all &= found);
        }
        journaled
    }
}

/// Two of three.
const QUORUMS: [[usize; 2]; 3] = [[0, 1], [1, 2], [2, 0]];

fn quorum(chance: &mut Chance) -> &'static [usize] {
    &QUORUMS[chance.index(3)]
}

impl Value {
    fn samples(&self) -> &Samples {
        match self {
            Self::Samples(samples) => samples,
            _ => &[0; PLACES],
        }
    }
}
