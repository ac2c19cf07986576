//! Copies of snapshots on another disk, by content, and the way back into a store.
//!
//! A *backup* is a directory with `objects/<hash>-<bytes>`, each file once however many snapshots
//! hold it, and `snapshots/<name>/SNAPSHOT` for each of those.
//!
//! # Invariants
//! - An object has its name only when it is whole, checked and synced; a snapshot is listed in a
//!   backup only when all its objects are.
//! - A restore checks that every file is there before it writes, and every byte while it copies;
//!   the manifest comes last, so a restore that was cut off is no store.

use super::{DIRECTORY, File, LIST_FILE, Snapshot, directory_of, pieces};
use crate::disk::{self, Disk, join, parent};
use crate::error::{Error, Result};
use crate::format_marker;
use crate::manifest::{CHECKPOINT_DIRECTORY, SSTABLE_DIRECTORY};
use xxhash_rust::xxh3::Xxh3;

const OBJECT_DIRECTORY: &str = "objects";

/// Where a snapshot's files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a store's own directory.
    Store,
    /// In a backup.
    Backup,
}

impl Place {
    /// What a directory is.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn of(disk: &dyn Disk) -> Result<Self> {
        let is_backup = disk.list("")?.iter().any(|name| name == OBJECT_DIRECTORY);
        Ok(if is_backup { Self::Backup } else { Self::Store })
    }

    /// The path of a snapshot's file there.
    #[must_use]
    pub fn path_of(self, snapshot: &Snapshot, file: &File) -> String {
        match self {
            Self::Store => join(&directory_of(&snapshot.name), file.name()),
            Self::Backup => object_path(file),
        }
    }
}

fn object_path(file: &File) -> String {
    format!("{OBJECT_DIRECTORY}/{:016x}-{}", file.hash, file.bytes)
}

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of files that were there already.
    pub bytes_known: u64,
}

/// Copies a snapshot into a backup. Only what is not there yet is read.
///
/// # Errors
/// [`Error::Corrupt`] with the name of a file that is not what it was; or what a disk says. Then
/// the backup does not list the snapshot, and the copy may be tried again.
pub fn copy(
    from: &dyn Disk,
    place: Place,
    snapshot: &Snapshot,
    to: &dyn Disk,
) -> Result<CopyReport> {
    to.create_dir(OBJECT_DIRECTORY)?;
    to.create_dir(DIRECTORY)?;
    to.sync_dir("")?;
    let mut report = CopyReport::default();
    for file in &snapshot.files {
        let object = object_path(file);
        if to.len(&object)? == Some(file.bytes) {
            report.bytes_known += file.bytes;
            continue;
        }
        copy_file(from, &place.path_of(snapshot, file), file, to, &object)?;
        report.files += 1;
        report.bytes += file.bytes;
    }
    to.sync_dir(OBJECT_DIRECTORY)?;
    let directory = directory_of(&snapshot.name);
    to.create_dir(&directory)?;
    to.sync_dir(DIRECTORY)?;
    disk::replace(to, &join(&directory, LIST_FILE), snapshot.encode().as_bytes())?;
    Ok(report)
}

/// Makes a store of a snapshot, in a directory that holds nothing but its lock.
///
/// # Errors
/// [`Error::NotEmpty`]; [`Error::Corrupt`] with the name of a file that is missing or not what it
/// was; or what a disk says. What was written then is no store.
pub fn restore(
    from: &dyn Disk,
    place: Place,
    snapshot: &Snapshot,
    to: &dyn Disk,
    shown: &str,
) -> Result<CopyReport> {
    if to.list("")?.iter().any(|name| name != "LOCK") {
        return Err(Error::NotEmpty { directory: shown.to_owned() });
    }
    for file in &snapshot.files {
        let path = place.path_of(snapshot, file);
        match from.len(&path)? {
            Some(bytes) if bytes == file.bytes => {}
            Some(bytes) => {
                let detail = format!("{bytes} bytes, the snapshot has {} of it", file.bytes);
                return Err(Error::corrupt(&path, bytes.min(file.bytes), detail));
            }
            None => {
                let detail = format!("it is missing, and holds `{}`", file.path);
                return Err(Error::corrupt(&path, 0, detail));
            }
        }
    }
    for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
        to.create_dir(directory)?;
    }
    format_marker::check(to)?;
    let mut report = CopyReport::default();
    for file in &snapshot.files {
        for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
            if parent(&file.path).is_empty() {
                to.sync_dir(directory)?;
            }
        }
        copy_file(from, &place.path_of(snapshot, file), file, to, &file.path)?;
        report.files += 1;
        report.bytes += file.bytes;
    }
    to.sync_dir("")?;
    Ok(report)
}

/// Copies a file and checks it. It has its name only when it is whole and on disk.
fn copy_file(
    from: &dyn Disk,
    from_path: &str,
    file: &File,
    to: &dyn Disk,
    to_path: &str,
) -> Result<()> {
    let temporary = format!("{to_path}.tmp");
    to.unlink(&temporary)?;
    let mut written = to.create_new(&temporary)?;
    let mut hash = Xxh3::new();
    let bytes = pieces(from, from_path, |piece| {
        hash.update(piece);
        written.append(piece)
    })?;
    if bytes != file.bytes || hash.digest() != file.hash {
        to.unlink(&temporary)?;
        let detail = "its bytes are not those of the snapshot; `verify` finds where";
        return Err(Error::corrupt(from_path, 0, detail));
    }
    written.sync_data()?;
    to.rename(&temporary, to_path)
}
