//! The manifest: which files are live. One atomic edit per change.
//!
//! It is a log of edits behind a snapshot. Each start, and each time the edits outgrow the
//! snapshot, it is written anew under a temporary name, synced, renamed, its directory synced.
//!
//! # Invariants
//! - An edit is applied whole or not at all, and is on disk when [`Manifest::apply`] returns.
//! - After a failed write or sync the file is not touched again: the next edit comes with a new
//!   file. Until then nobody knows whether the failed edit is on disk, so files that it names are
//!   neither unlinked nor reused.
//! - A file that is no longer live is unlinked by its owner after the edit; what a crash left over
//!   is found by [`Manifest::orphans`].
//! - A bad edit with a good one behind it is damage, and the store does not open: no live sstable
//!   is guessed. A bad last one was never acknowledged. Behind each edit lies a small mark, so that
//!   also a damaged last edit is told from a torn one.
//!
//! Not here: the sstables themselves; what a checkpoint holds; the commit log's segments.

mod edit;
mod rule_set;

pub use edit::{CheckpointRef, Edit, RetentionClass, SstableMeta, Stage};
pub use rule_set::RuleSet;

use crate::disk::{self, Disk, DiskFile, join};
use crate::error::{Error, Result};
use crate::format_marker;
use edit::{Decoded, HEADER_BYTES, Header};
use model::{TenantId, Tombstone};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The manifest's file, in the data directory.
pub const MANIFEST_FILE: &str = "MANIFEST";
/// The directory of the sstables.
pub const SSTABLE_DIRECTORY: &str = "sstables";
/// The directory of the checkpoints.
pub const CHECKPOINT_DIRECTORY: &str = "checkpoints";
/// The directory of the commit log's segments.
pub const LOG_DIRECTORY: &str = "log";

/// A manifest is written anew when its edits take this much, and four times the snapshot.
const EDIT_BYTES_MAX: u64 = 256 << 10;
/// More than any manifest: a million sstables.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What is live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The sstables by id.
    pub sstables: BTreeMap<u64, SstableMeta>,
    /// The checkpoint that replay begins with; none before the first.
    pub checkpoint: Option<CheckpointRef>,
    /// The retention classes by id.
    pub retention_classes: BTreeMap<u32, RetentionClass>,
    /// The rules of retention of tenants that have some: those in force last, and before them those
    /// whose work is not undone yet.
    pub retention_rules: BTreeMap<TenantId, Vec<RuleSet>>,
    /// The last moment at which the clock was believed, in milliseconds since 1970.
    pub trusted_ms: Option<i64>,
    /// The tombstones by id.
    pub tombstones: BTreeMap<u64, Arc<Tombstone>>,
    /// For each tenant the highest revision of its samples in sstables, if it is above 0.
    pub revisions: BTreeMap<TenantId, u32>,
    /// The number the next file or tombstone gets. None had it before.
    pub next_file_id: u64,
}

impl State {
    /// The first segment of the commit log that replay must visit.
    #[must_use]
    pub fn log_from_segment(&self) -> u64 {
        self.checkpoint.map_or(1, |checkpoint| checkpoint.log_from_segment)
    }

    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::AddSstable(meta) => drop(self.sstables.insert(meta.id, meta.clone())),
            Edit::RemoveSstable(id) => drop(self.sstables.remove(id)),
            Edit::SetCheckpoint(checkpoint) => self.checkpoint = Some(*checkpoint),
            Edit::SetRetentionClass(class) => {
                self.retention_classes.insert(class.id, *class);
            }
            Edit::SetRetentionRules(tenant, sets) => {
                self.retention_rules.insert(tenant.clone(), sets.clone());
            }
            Edit::SetTrustedTime(at_ms) => self.trusted_ms = Some(*at_ms),
            Edit::AddTombstone(id, tombstone) => {
                self.tombstones.insert(*id, Arc::clone(tombstone));
            }
            Edit::RemoveTombstone(id) => drop(self.tombstones.remove(id)),
            Edit::SetRevision(tenant, revision) => {
                self.revisions.insert(tenant.clone(), *revision);
            }
        }
    }

    /// A whole manifest with this state and nothing else: what a file of a snapshot holds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(1)
    }

    fn encode_as(&self, number: u64) -> Vec<u8> {
        let mut bytes = Header::encode().to_vec();
        bytes.extend(edit::encode_record(number, self.next_file_id, &self.as_edits()));
        bytes
    }

    /// Edits that make this state from nothing.
    pub(crate) fn as_edits(&self) -> Vec<Edit> {
        let classes = self.retention_classes.values().map(|class| Edit::SetRetentionClass(*class));
        let sstables = self.sstables.values().map(|meta| Edit::AddSstable(meta.clone()));
        let rules = self.retention_rules.iter();
        let rules = rules.map(|(id, sets)| Edit::SetRetentionRules(id.clone(), sets.clone()));
        let trusted = self.trusted_ms.map(Edit::SetTrustedTime);
        let tombstones =
            self.tombstones.iter().map(|(id, stone)| Edit::AddTombstone(*id, Arc::clone(stone)));
        let revisions = self.revisions.iter();
        let revisions = revisions.map(|(tenant, max)| Edit::SetRevision(tenant.clone(), *max));
        classes
            .chain(rules)
            .chain(trusted)
            .chain(sstables)
            .chain(tombstones)
            .chain(revisions)
            .chain(self.checkpoint.map(Edit::SetCheckpoint))
            .collect()
    }
}

/// The manifest of one store, open for edits.
#[derive(Debug)]
pub struct Manifest {
    disk: Arc<dyn Disk>,
    state: State,
    /// The file to append to; `None` after a failure: then the next edit writes a new one.
    file: Option<Box<dyn DiskFile>>,
    snapshot_bytes: u64,
    next_number: u64,
}

impl Manifest {
    /// Reads the manifest, or begins one in an empty data directory, and writes it anew.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] and [`Error::Corrupt`], with nothing touched; or the operating
    /// system's refusal.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        format_marker::check(disk.as_ref())?;
        let (state, next_number) = match disk.len(MANIFEST_FILE)? {
            Some(_) => read(disk.as_ref())?,
            None => (begin(disk.as_ref())?, 1),
        };
        for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
            disk.create_dir(directory)?;
        }
        let mut manifest = Self { disk, state, file: None, snapshot_bytes: 0, next_number };
        // Also what was only in the page cache is on disk now, and a torn tail is gone.
        manifest.rewrite(manifest.state.clone())?;
        Ok(manifest)
    }

    /// What is live.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A number for a new file. It is given out once, also over a crash: a file that no edit
    /// named is an orphan and gone before its number comes again.
    pub fn allocate_file_id(&mut self) -> u64 {
        let id = self.state.next_file_id;
        self.state.next_file_id += 1;
        id
    }

    /// Makes `edits` one change, on disk when this returns.
    ///
    /// # Errors
    /// If the operating system refuses; then [`Manifest::state`] is as before, and whether the
    /// change is on disk is not known until a later edit succeeds.
    pub fn apply(&mut self, edits: &[Edit]) -> Result<()> {
        let mut state = self.state.clone();
        edits.iter().for_each(|edit| state.apply(edit));
        let written = self.file.as_ref().map_or(0, |file| file.written_bytes());
        let edit_bytes = written.saturating_sub(self.snapshot_bytes);
        let is_long = edit_bytes > EDIT_BYTES_MAX.max(4 * self.snapshot_bytes);
        let Some(mut file) = self.file.take().filter(|_| !is_long) else {
            return self.rewrite(state);
        };
        let number = self.next_number;
        // Not used again even if this fails: the failed one may be on disk.
        self.next_number += 1;
        file.append(&edit::encode_record(number, state.next_file_id, edits))?;
        file.sync_data()?;
        self.state = state;
        // The edit is on disk, whatever becomes of its mark.
        self.file = self.mark(&mut file).is_ok().then_some(file);
        Ok(())
    }

    /// The files in the directories of sstables and checkpoints that are not live: what crashes
    /// left over. Only for a store whose commit log replayed without damage, so that a manifest
    /// that lost its last edits deletes nothing.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn orphans(&self) -> Result<Vec<String>> {
        let mut live: BTreeSet<String> =
            self.state.sstables.keys().copied().map(sstable_path).collect();
        live.extend(self.state.checkpoint.map(|checkpoint| checkpoint_path(checkpoint.id)));
        let mut orphans = Vec::new();
        for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
            let names = self.disk.list(directory)?;
            let paths = names.iter().map(|name| join(directory, name));
            orphans.extend(paths.filter(|path| !live.contains(path)));
        }
        Ok(orphans)
    }

    /// Unlinks the [`Manifest::orphans`], and returns them.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn remove_orphans(&self) -> Result<Vec<String>> {
        let orphans = self.orphans()?;
        for path in &orphans {
            self.disk.unlink(path)?;
        }
        if !orphans.is_empty() {
            self.disk.sync_dir(SSTABLE_DIRECTORY)?;
            self.disk.sync_dir(CHECKPOINT_DIRECTORY)?;
        }
        Ok(orphans)
    }

    /// Writes a new file with `state`, and puts it in place of the old one.
    fn rewrite(&mut self, state: State) -> Result<()> {
        let disk = Arc::clone(&self.disk);
        let temporary = format!("{MANIFEST_FILE}.tmp");
        let number = self.next_number;
        self.next_number += 1;
        disk.unlink(&temporary)?;
        let mut file = disk.create_new(&temporary)?;
        file.append(&state.encode_as(number))?;
        file.sync_data()?;
        disk.rename(&temporary, MANIFEST_FILE)?;
        disk.sync_dir("")?;
        self.snapshot_bytes = file.written_bytes();
        self.state = state;
        self.file = Some(file);
        Ok(())
    }

    /// Says behind an edit that it is on disk. Needs no sync: it only has to get there some time.
    fn mark(&mut self, file: &mut Box<dyn DiskFile>) -> Result<()> {
        let number = self.next_number;
        self.next_number += 1;
        file.append(&edit::encode_record(number, self.state.next_file_id, &[]))
    }
}

/// The path of an sstable.
#[must_use]
pub fn sstable_path(id: u64) -> String {
    format!("{SSTABLE_DIRECTORY}/{id:016x}.sst")
}

/// The path of a checkpoint.
#[must_use]
pub fn checkpoint_path(id: u64) -> String {
    format!("{CHECKPOINT_DIRECTORY}/{id:016x}.ckpt")
}

/// The state of a store that has nothing yet: right only if there is nothing.
fn begin(disk: &dyn Disk) -> Result<State> {
    for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY, LOG_DIRECTORY] {
        if !disk.list(directory)?.is_empty() {
            let detail = format!("it is missing, but `{directory}` holds files");
            return Err(Error::corrupt(MANIFEST_FILE, 0, detail));
        }
    }
    Ok(State { next_file_id: 1, ..State::default() })
}

/// Reads the file: the state, and the number of the next edit.
fn read(disk: &dyn Disk) -> Result<(State, u64)> {
    read_at(disk, MANIFEST_FILE)
}

/// Reads a manifest that lies somewhere else, such as a snapshot's.
///
/// # Errors
/// [`Error::NewerFormat`], [`Error::Corrupt`], or the operating system's refusal.
pub fn state_at(disk: &dyn Disk, path: &str) -> Result<State> {
    read_at(disk, path).map(|(state, _)| state)
}

fn read_at(disk: &dyn Disk, path: &str) -> Result<(State, u64)> {
    let bytes = disk::read_all(disk, path, FILE_BYTES_MAX)?;
    match Header::decode(&bytes) {
        Header::Good => {}
        Header::Newer(found) => {
            let (path, known) = (path.to_owned(), edit::VERSION);
            return Err(Error::NewerFormat { path, found, known });
        }
        Header::Bad => return Err(Error::corrupt(path, 0, "not a manifest's header")),
    }
    let mut state = State::default();
    let mut at = HEADER_BYTES;
    let mut last_number = 0;
    while at < bytes.len() {
        let Some(record) = Decoded::at(&bytes, at, last_number) else {
            // The snapshot was synced before the file got its name: it is never torn.
            if last_number == 0 || Decoded::is_behind(&bytes, at, last_number) {
                return Err(Error::corrupt(path, at as u64, "not an edit"));
            }
            break;
        };
        record.edits.iter().for_each(|edit| state.apply(edit));
        state.next_file_id = state.next_file_id.max(record.next_file_id);
        last_number = record.number;
        at = record.end;
    }
    if last_number == 0 {
        return Err(Error::corrupt(path, at as u64, "there is no snapshot"));
    }
    Ok((state, last_number.saturating_add(1)))
}

#[cfg(test)]
mod tests;
