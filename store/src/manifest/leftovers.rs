//! Files that are there and not live: what crashes left over.
//!
//! *Orphan*: a file that is not live by the manifest. While that may still be in the page cache
//! only, as after a failed sync and a kill, it can be live by the manifest on disk; so orphans go
//! after the manifest has been written anew. *Leftover*: a file that no edit in the manifest's file
//! names at all. Whatever prefix of the edits the disk comes back with, it was never live, so it can
//! go first. That matters on a full disk, where nothing is written before something has gone.
//!
//! Both go only for a store whose commit log is without damage, so that a manifest that lost its
//! last edits deletes nothing. Otherwise they stay, and no later file gets their numbers.
//!
//! Not here: whether the log is without damage (`engine.rs`, `engine/reserve.rs`).

use super::{CHECKPOINT_DIRECTORY, Edit, MANIFEST_FILE, Manifest, SSTABLE_DIRECTORY, State};
use super::{checkpoint_path, read_edits, sstable_path};
use crate::disk::{Disk, join};
use crate::error::Result;
use std::collections::BTreeSet;

/// No store gives so many numbers: a file with a higher one is not ours.
const NUMBER_MAX: u64 = 1 << 62;

impl Manifest {
    /// The files in the directories of sstables and checkpoints that are not live. Only for a
    /// store whose commit log replayed without damage.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn orphans(&self) -> Result<Vec<String>> {
        let mut live: BTreeSet<String> =
            self.state.sstables.keys().copied().map(sstable_path).collect();
        live.extend(self.state.checkpoint.map(|checkpoint| checkpoint_path(checkpoint.id)));
        let mut orphans = files(self.disk.as_ref())?;
        orphans.retain(|path| !live.contains(path));
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
}

/// The paths of all files in the directories of sstables and checkpoints.
fn files(disk: &dyn Disk) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
        paths.extend(disk.list(directory)?.iter().map(|name| join(directory, name)));
    }
    Ok(paths)
}

/// The first number above those of all files that are there, live or not.
pub(super) fn number_behind(disk: &dyn Disk) -> Result<u64> {
    let number = |path: &String| {
        let digits = path.rsplit('/').next()?.split('.').next()?;
        u64::from_str_radix(digits, 16).ok().filter(|number| *number < NUMBER_MAX)
    };
    Ok(files(disk)?.iter().filter_map(number).max().map_or(1, |number| number + 1))
}

/// The state that the manifest's file holds, and the paths of the leftovers.
///
/// # Errors
/// [`Error::NewerFormat`](crate::Error::NewerFormat), [`Error::Corrupt`](crate::Error::Corrupt), or
/// the operating system's refusal.
pub(crate) fn find(disk: &dyn Disk) -> Result<(State, Vec<String>)> {
    let mut named = BTreeSet::new();
    let (state, _) = read_edits(disk, MANIFEST_FILE, &mut |edit| match edit {
        Edit::AddSstable(meta) => drop(named.insert(sstable_path(meta.id))),
        Edit::RemoveSstable(id) => drop(named.insert(sstable_path(*id))),
        Edit::SetCheckpoint(checkpoint) => drop(named.insert(checkpoint_path(checkpoint.id))),
        _ => {}
    })?;
    let mut paths = files(disk)?;
    paths.retain(|path| !named.contains(path));
    Ok((state, paths))
}

/// Unlinks them.
///
/// # Errors
/// What the disk says.
pub(crate) fn remove(disk: &dyn Disk, paths: &[String]) -> Result<()> {
    // The manifest that was read begins with a snapshot that was synced before it got its name.
    // With the name on disk, no older manifest comes back that knows more files.
    disk.sync_dir("")?;
    for path in paths {
        disk.unlink(path)?;
    }
    disk.sync_dir(SSTABLE_DIRECTORY)?;
    disk.sync_dir(CHECKPOINT_DIRECTORY)
}
