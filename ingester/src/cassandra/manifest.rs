//! The manifest as rows of one partition, changed on condition of its guard.
//!
//! Each thing that is live is a row: an sstable, a tombstone, a class, a tenant's rules. The partition's
//! static column, the *guard*, says which life of the store may change it, and counts its changes.
//! An edit of many parts is one change on condition of the guard as this life knows it, so it is made
//! whole or not at all, at most once, and in the order in which this life asks.
//!
//! # Invariants
//! - Opening takes the guard over: from then on nothing that an earlier life asks for is made, also
//!   what it asked for before and what is still on its way.
//! - A place is never opened by an older version of the ring than it was opened by before: who was
//!   stopped while it opened a place, and has lost it meanwhile, does not take it back. Its flush would
//!   move the replay past what the present owner still writes.
//! - A life's number is given to one process only; so are the file numbers, which begin with it.
//! - After a change whose outcome is not known the next one puts right what it may have done, in the
//!   same change; and with its number no late one can be made any more.
//!
//! Not here: when a store may be taken over (`cluster::ownership`): a guard keeps the manifest whole,
//! not the answers of whoever lost it.

use super::row_disk::RowDisk;
use super::rows::{
    Change, Changed, Column, Consistency, Read, Rows, RowsError, read_all, refused, table_names,
};
use super::schema::{self, ints};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::manifest::{Edit, ManifestSink, State};
use store::{Error, Result};

/// A file's number is a place, a life of it, and what that counts: bits of the last two. So no two places
/// or lives ever have the same.
const FILE_BITS: u32 = 28;
const LIFE_BITS: u32 = 24;
/// How often an edit is asked for whose outcome is not known.
const TRIES: usize = 8;

/// Who may change the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guard {
    life: u64,
    incarnation: u128,
    /// By which version of the ring row the place was opened; 0 where there is none.
    ring_version: u64,
    /// Which of this life's edits was the last; no number is asked for with two edits.
    number: u64,
}

impl Guard {
    fn encode(self) -> Arc<[u8]> {
        let mut bytes = self.life.to_be_bytes().to_vec();
        bytes.extend(self.incarnation.to_be_bytes());
        bytes.extend(self.ring_version.to_be_bytes());
        bytes.extend(self.number.to_be_bytes());
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let of = || -> Option<Self> {
            let (life, rest) = bytes.split_first_chunk()?;
            let (incarnation, rest) = rest.split_first_chunk()?;
            let (ring_version, rest) = rest.split_first_chunk()?;
            Some(Self {
                life: u64::from_be_bytes(*life),
                incarnation: u128::from_be_bytes(*incarnation),
                ring_version: u64::from_be_bytes(*ring_version),
                number: u64::from_be_bytes(rest.try_into().ok()?),
            })
        };
        of().ok_or_else(|| Error::corrupt(schema::MANIFEST, 0, "not a guard"))
    }
}

/// A row's name.
type Name = Vec<Column>;

/// The manifest of one store, open for the edits of one life.
#[derive(Debug)]
pub(super) struct RowManifest {
    rows: Arc<dyn Rows>,
    /// The partition.
    place: u16,
    disk: Arc<RowDisk>,
    state: State,
    /// As it is in the row, as far as is known.
    guard: Guard,
    /// The number of the last edit that was asked for.
    asked: u64,
    /// Whether another life has taken the guard over.
    is_fenced: Arc<AtomicBool>,
    /// Is set before this life changes anything.
    is_used: Arc<AtomicBool>,
    /// What an edit may have changed whose outcome is not known.
    doubtful: BTreeMap<Name, Option<Arc<[u8]>>>,
}

impl RowManifest {
    /// Takes the manifest over from whoever had it, and reads it; the number of the new life.
    pub(super) fn open(
        rows: Arc<dyn Rows>,
        (place, ring_version): (u16, u64),
        disk: Arc<RowDisk>,
        incarnation: u128,
    ) -> Result<(Self, u64)> {
        require_tables(&*rows)?;
        let guard = take_over(&*rows, (place, ring_version), incarnation)?;
        let state = load(&*rows, place, guard)?;
        disk.learn(&state);
        let (life, asked) = (guard.life, guard.number);
        let (is_fenced, is_used, doubtful) = (Arc::default(), Arc::default(), BTreeMap::new());
        Ok((Self { rows, place, disk, state, guard, asked, is_fenced, is_used, doubtful }, life))
    }

    /// Tells when another life has taken the guard over, and when this one has changed something.
    pub(super) fn tells(mut self, is_fenced: Arc<AtomicBool>, is_used: Arc<AtomicBool>) -> Self {
        (self.is_fenced, self.is_used) = (is_fenced, is_used);
        self
    }

    /// The change that makes these edits, and puts right what is doubtful.
    fn change(&mut self, edits: &[Edit]) -> Change {
        self.is_used.store(true, Ordering::Relaxed);
        self.asked += 1;
        let mut rows = self.doubtful.clone();
        rows.extend(edits.iter().map(row_of));
        Change {
            table: schema::MANIFEST.to_owned(),
            partition: ints([self.place.into()]),
            expected: Some(self.guard.encode()),
            guard: Guard { number: self.asked, ..self.guard }.encode(),
            rows: rows.into_iter().collect(),
        }
    }

    /// Asks for a change until it is known to be made.
    fn make(&mut self, mut change: Change) -> Result<()> {
        for _ in 0..TRIES {
            match self.rows.change(&change) {
                Ok(Changed::Applied) => return Ok(()),
                Ok(Changed::Refused(found)) => {
                    // Our own, asked for before and made since, is what was wanted.
                    if found.as_ref() == Some(&change.guard) {
                        return Ok(());
                    }
                    let found = found.as_deref().map(Guard::decode).transpose()?;
                    let Some(found) = found.filter(|found| self.is_mine(*found)) else {
                        self.is_fenced.store(true, Ordering::Relaxed);
                        return Err(Error::Fenced { path: schema::MANIFEST.to_owned() });
                    };
                    // An edit that was given up has been made since: this one puts it right.
                    self.guard = found;
                    change.expected = Some(found.encode());
                }
                Err(RowsError::Unknown(_)) => {}
                Err(error) => return Err(error.on(schema::MANIFEST)),
            }
        }
        let why = format!("no answer to {TRIES} tries");
        Err(RowsError::Unknown(why).on(schema::MANIFEST))
    }

    fn is_mine(&self, found: Guard) -> bool {
        (found.life, found.incarnation) == (self.guard.life, self.guard.incarnation)
    }

    /// Remembers which rows an edit may have changed, and what they are to be.
    fn doubt(&mut self, edits: &[Edit]) {
        let live: BTreeMap<Name, Arc<[u8]>> =
            self.state.as_edits().iter().map(row_of).filter_map(|(n, v)| Some((n, v?))).collect();
        for (name, _) in edits.iter().map(row_of) {
            let value = live.get(&name).cloned();
            self.doubtful.insert(name, value);
        }
    }
}

/// Without its rows nobody knows what a place has: an empty table that is made anew would hide all of it.
fn require_tables(rows: &dyn Rows) -> Result<()> {
    let tables = table_names(rows)?;
    match [schema::MANIFEST, schema::DEFINITIONS].into_iter().find(|table| !tables.contains(*table))
    {
        Some(gone) => Err(refused("open", gone, schema::gone(gone))),
        None => Ok(()),
    }
}

impl ManifestSink for RowManifest {
    fn state(&self) -> &State {
        &self.state
    }

    fn allocate_file_id(&mut self) -> u64 {
        let id = self.state.next_file_id;
        self.state.next_file_id += 1;
        id
    }

    fn apply(&mut self, edits: &[Edit]) -> Result<()> {
        let mut state = self.state.clone();
        edits.iter().for_each(|edit| state.apply(edit));
        let change = self.change(edits);
        if let Err(error) = self.make(change) {
            self.doubt(edits);
            return Err(error);
        }
        self.guard.number = self.asked;
        self.doubtful.clear();
        self.state = state;
        self.disk.learn(&self.state);
        Ok(())
    }

    /// The database has its own room.
    fn keep_spare(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    /// Pieces that no row names stay for now: another life may be about to name them.
    fn remove_orphans(&self) -> Result<()> {
        Ok(())
    }

    fn path(&self) -> Option<&str> {
        None
    }
}

/// Makes this life the one that may change the manifest.
fn take_over(
    rows: &dyn Rows,
    (place, ring_version): (u16, u64),
    incarnation: u128,
) -> Result<Guard> {
    for _ in 0..TRIES {
        let found = read_guard(rows, place)?;
        let before = found.as_deref().map(Guard::decode).transpose()?;
        if before.is_some_and(|guard| guard.ring_version > ring_version) {
            return Err(Error::Fenced { path: schema::MANIFEST.to_owned() });
        }
        let guard = match before {
            // Taken over by a try before this one.
            Some(own) if own.incarnation == incarnation && own.ring_version == ring_version => {
                return Ok(own);
            }
            Some(own) if own.incarnation == incarnation => Guard { ring_version, ..own },
            _ => {
                let life = before.map_or(0, |guard| guard.life) + 1;
                Guard { life, incarnation, ring_version, number: 0 }
            }
        };
        let change = Change {
            table: schema::MANIFEST.to_owned(),
            partition: ints([place.into()]),
            expected: found,
            guard: guard.encode(),
            rows: Vec::new(),
        };
        match rows.change(&change) {
            Ok(Changed::Applied) => return Ok(guard),
            // Looked at again: it may be ours.
            Ok(Changed::Refused(_)) | Err(RowsError::Unknown(_)) => {}
            Err(error) => return Err(error.on(schema::MANIFEST)),
        }
    }
    Err(RowsError::Unknown(format!("no answer to {TRIES} tries")).on(schema::MANIFEST))
}

/// What is live in a place, as it is now, and the number of the life that may change it; for looking on.
pub(super) fn look(rows: &dyn Rows, place: u16) -> Result<(u64, State)> {
    let (guard, state) = load_any(rows, place)?;
    Ok((guard.map_or(0, |guard| guard.life), state))
}

/// Of which place a file is, and which life of it.
pub(super) fn writer_of(file: u64) -> (u16, u64) {
    let writer = file >> FILE_BITS;
    (u16::try_from(writer >> LIFE_BITS).unwrap_or(u16::MAX), writer & ((1 << LIFE_BITS) - 1))
}

fn read(rows: &dyn Rows, place: u16, rows_max: usize) -> Result<Vec<super::Row>> {
    let (table, partition) = (schema::MANIFEST.to_owned(), ints([place.into()]));
    let read = Read { table, partition, first: Vec::new(), last: None, rows_max };
    read_all(rows, &read, Consistency::Serial)
}

fn read_guard(rows: &dyn Rows, place: u16) -> Result<Option<Arc<[u8]>>> {
    Ok(read(rows, place, 1)?.into_iter().find(|row| row.row.is_empty()).map(|row| row.data))
}

/// What is live, as of the moment when `guard` was taken over: nobody else has changed it since.
fn load(rows: &dyn Rows, place: u16, guard: Guard) -> Result<State> {
    let (found, mut state) = load_any(rows, place)?;
    if found != Some(guard) {
        return Err(Error::Fenced { path: schema::MANIFEST.to_owned() });
    }
    let writer = (u64::from(place) << LIFE_BITS) | guard.life;
    if guard.life >> LIFE_BITS > 0 {
        return Err(super::rows::refused("open", schema::MANIFEST, "all its lives are used up"));
    }
    state.next_file_id = writer << FILE_BITS;
    Ok(state)
}

/// What is live, and whose it is.
fn load_any(rows: &dyn Rows, place: u16) -> Result<(Option<Guard>, State)> {
    let (mut guard, mut state) = (None, State::default());
    for row in read(rows, place, usize::MAX)? {
        if row.row.is_empty() {
            guard = Some(Guard::decode(&row.data)?);
            continue;
        }
        let edit = Edit::of_bytes(&row.data).ok_or_else(|| {
            Error::corrupt(schema::MANIFEST, 0, format!("not an edit: {:?}", row.row))
        })?;
        state.apply(&edit);
    }
    Ok((guard, state))
}

/// The row that an edit writes, or deletes.
fn row_of(edit: &Edit) -> (Name, Option<Arc<[u8]>>) {
    let number = |kind: &str, id: u64| named(kind, &format!("{id:020}"));
    let value = || Some(edit.to_bytes().into());
    match edit {
        Edit::AddSstable(meta) => (number("sstable", meta.id), value()),
        Edit::RemoveSstable(id) => (number("sstable", *id), None),
        Edit::SetCheckpoint(_) => (named("progress", ""), value()),
        Edit::SetRetentionClass(class) => (number("class", u64::from(class.id)), value()),
        Edit::SetRetentionRules(tenant, _) => (named("rules", tenant.as_str()), value()),
        Edit::SetTrustedTime(_) => (named("trusted", ""), value()),
        Edit::AddTombstone(id, _) => (number("delete", *id), value()),
        Edit::RemoveTombstone(id) => (number("delete", *id), None),
        Edit::SetRevision(tenant, _) => (named("revision", tenant.as_str()), value()),
    }
}

fn named(kind: &str, name: &str) -> Name {
    vec![Column::Text(kind.to_owned()), Column::Text(name.to_owned())]
}
