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
//! - What is written can be read: the file never has more than half of what a start reads. An edit
//!   for which that cannot be is refused, and nothing is touched.
//! - A bad edit with a good one behind it is damage, and the store does not open: no live sstable
//!   is guessed. A bad last one was never acknowledged. Behind each edit lies a small mark, so that
//!   also a damaged last edit is told from a torn one.
//!
//! Not here: the sstables themselves; what a checkpoint holds; the commit log's segments.

mod edit;
pub(crate) mod leftovers;
mod rule_set;
mod sink;
pub(crate) mod spare;

pub use edit::{CheckpointRef, Edit, RetentionClass, SstableMeta, Stage};
pub use rule_set::RuleSet;
pub use sink::ManifestSink;
pub use spare::SPARE_FILE;

use crate::disk::{self, Disk, DiskFile};
use crate::error::{Error, Result};
use crate::format_marker;
use edit::{Decoded, HEADER_BYTES, Header};
use model::{TenantId, Tombstone};
use std::collections::BTreeMap;
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
/// The largest manifest that is read: more than a million sstables.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The largest that is written.
const WRITTEN_BYTES_MAX: u64 = FILE_BYTES_MAX / 2;

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

    /// Makes one change.
    pub fn apply(&mut self, edit: &Edit) {
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
    #[must_use]
    pub fn as_edits(&self) -> Vec<Edit> {
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
    /// [`WRITTEN_BYTES_MAX`], but in tests.
    bytes_max: u64,
}

impl Manifest {
    /// Reads the manifest, or begins one in an empty data directory, and writes it anew.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] and [`Error::Corrupt`], with nothing touched; or the operating
    /// system's refusal.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        format_marker::check(disk.as_ref())?;
        let (mut state, next_number) = match disk.len(MANIFEST_FILE)? {
            Some(_) => read(disk.as_ref())?,
            None => (begin(disk.as_ref())?, 1),
        };
        for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
            disk.create_dir(directory)?;
        }
        // Orphans stay while the log is damaged: no later file gets the number of one.
        state.next_file_id = state.next_file_id.max(leftovers::number_behind(disk.as_ref())?);
        let bytes_max = WRITTEN_BYTES_MAX;
        let mut manifest =
            Self { disk, state, file: None, snapshot_bytes: 0, next_number, bytes_max };
        // Also what was only in the page cache is on disk now, and a torn tail is gone. What was
        // read is not refused for its size.
        manifest.rewrite(manifest.state.clone(), u64::MAX)?;
        Ok(manifest)
    }

    /// What is live.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A number for a new file: that of no file that is there. One that no edit named may come
    /// again after a start, once its file is gone.
    pub fn allocate_file_id(&mut self) -> u64 {
        let id = self.state.next_file_id;
        self.state.next_file_id += 1;
        id
    }

    /// Makes `edits` one change, on disk when this returns.
    ///
    /// On a full disk an edit by which files may go has the room of the spare, if there is one.
    ///
    /// # Errors
    /// If the operating system refuses; then [`Manifest::state`] is as before, and whether the
    /// change is on disk is not known until a later edit succeeds. [`Error::ManifestFull`]; then it
    /// is not.
    pub fn apply(&mut self, edits: &[Edit]) -> Result<()> {
        let done = self.try_apply(edits);
        let is_full = done.as_ref().is_err_and(Error::is_full);
        // Others are writers, who have to wait; without an edit it is asked what became of one.
        let frees = |edit: &Edit| matches!(edit, Edit::RemoveSstable(_) | Edit::SetCheckpoint(_));
        let may_use_spare = edits.is_empty() || edits.iter().any(frees);
        if is_full && may_use_spare && spare::give_up(self.disk.as_ref())? {
            return self.try_apply(edits);
        }
        done
    }

    fn try_apply(&mut self, edits: &[Edit]) -> Result<()> {
        let mut state = self.state.clone();
        edits.iter().for_each(|edit| state.apply(edit));
        let record = edit::encode_record(self.next_number, state.next_file_id, edits);
        let written = self.written_bytes();
        let edit_bytes = written.saturating_sub(self.snapshot_bytes);
        let is_long = edit_bytes > EDIT_BYTES_MAX.max(4 * self.snapshot_bytes)
            || written.saturating_add(record.len() as u64) > self.bytes_max;
        if is_long || self.file.is_none() {
            // One that makes less of too much is welcome.
            return self.rewrite(state, self.bytes_max.max(self.snapshot_bytes));
        }
        let Some(mut file) = self.file.take() else { return Ok(()) };
        // Its number is not used again even if this fails: the failed one may be on disk.
        self.next_number += 1;
        file.append(&record)?;
        file.sync_data()?;
        self.state = state;
        // The edit is on disk, whatever becomes of its mark.
        self.file = self.mark(&mut file).is_ok().then_some(file);
        Ok(())
    }

    /// Keeps room for the edits that give space back when the disk is full: as much as the manifest
    /// would take once more, and `bytes_min` at least, unless that is much of the `free_bytes`.
    ///
    /// # Errors
    /// What the disk says; then nothing is kept, and there is nothing to mend.
    pub fn keep_spare(&self, bytes_min: u64, free_bytes: u64) -> Result<()> {
        // Kept twice as large, as half of it is enough.
        let bytes = 2 * bytes_min.max(self.written_bytes());
        match bytes <= free_bytes / 2 {
            true => spare::keep(self.disk.as_ref(), bytes),
            false => Ok(()),
        }
    }

    fn written_bytes(&self) -> u64 {
        self.file.as_ref().map_or(self.snapshot_bytes, |file| file.written_bytes())
    }

    /// Writes a new file with `state`, and puts it in place of the old one, if it has not more than
    /// `bytes_max`.
    fn rewrite(&mut self, state: State, bytes_max: u64) -> Result<()> {
        let bytes = state.encode_as(self.next_number);
        if bytes.len() as u64 > bytes_max {
            return Err(Error::ManifestFull { bytes: bytes.len() as u64, bytes_max });
        }
        self.next_number += 1;
        self.file = None;
        let disk = Arc::clone(&self.disk);
        let temporary = format!("{MANIFEST_FILE}.tmp");
        disk.unlink(&temporary)?;
        let mut file = disk.create_new(&temporary)?;
        file.append(&bytes)?;
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
    read_edits(disk, MANIFEST_FILE, &mut |_| ())
}

/// Reads a manifest that lies somewhere else, such as a snapshot's.
///
/// # Errors
/// [`Error::NewerFormat`], [`Error::Corrupt`], or the operating system's refusal.
pub fn state_at(disk: &dyn Disk, path: &str) -> Result<State> {
    read_edits(disk, path, &mut |_| ()).map(|(state, _)| state)
}

/// As [`read`], and hands each edit to `visit`.
fn read_edits(disk: &dyn Disk, path: &str, visit: &mut dyn FnMut(&Edit)) -> Result<(State, u64)> {
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
        record.edits.iter().for_each(|edit| {
            visit(edit);
            state.apply(edit);
        });
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
