//! Looking for damage in a snapshot, or in a backup of one.
//!
//! Every file's hash is computed. Of one whose hash is not what it was, every block is checked, so
//! that the place of the damage has a name.

use super::{File, Place, Snapshot, hash_of};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::manifest::{self, CHECKPOINT_DIRECTORY, SSTABLE_DIRECTORY};
use crate::sstable::block;
use crate::{checkpoint, disk};

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Files, sound or not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damage, by file and offset. Empty: the snapshot is what it was when it was taken.
    pub damage: Vec<Error>,
}

/// Checks every byte of a snapshot.
///
/// # Errors
/// If the operating system refuses to read; damage is in the answer.
pub fn verify(from: &dyn Disk, place: Place, snapshot: &Snapshot) -> Result<Verified> {
    let mut verified = Verified::default();
    for file in &snapshot.files {
        let path = place.path_of(snapshot, file);
        verified.files += 1;
        let Some(bytes) = from.len(&path)? else {
            let detail = format!("it is missing, and holds `{}`", file.path);
            verified.damage.push(Error::corrupt(&path, 0, detail));
            continue;
        };
        verified.bytes += bytes;
        if hash_of(from, &path)? == (file.bytes, file.hash) {
            continue;
        }
        let mut places = damaged_places(from, &path, file)?;
        if places.is_empty() {
            let detail = format!("its hash is not {:016x}", file.hash);
            places.push(Error::corrupt(&path, 0, detail));
        }
        verified.damage.append(&mut places);
    }
    Ok(verified)
}

/// Where a file is damaged, as far as its checksums tell.
fn damaged_places(from: &dyn Disk, path: &str, file: &File) -> Result<Vec<Error>> {
    let found = match disk::parent(&file.path) {
        SSTABLE_DIRECTORY => return block::damaged(&*from.open(path)?, path),
        CHECKPOINT_DIRECTORY => checkpoint::read(from, path, &mut |_| Ok(())),
        _ => manifest::state_at(from, path).map(drop),
    };
    match found {
        Err(error @ Error::Io { .. }) => Err(error),
        found => Ok(found.err().into_iter().collect()),
    }
}
