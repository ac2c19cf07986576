//! The spare: a file that means nothing, and is unlinked when an edit that gives space back, or a
//! start, finds the disk full.
//!
//! Files leave the disk only after an edit says that they are not live, and an edit takes room
//! itself: for its record, or after a write that failed for a whole new manifest. On a disk without a
//! free byte nothing could ever go. So as long as there is room some of it is held by this file.
//!
//! # Invariants
//! - Whether it is there, whole or cut short, is no part of any state: nobody reads it.
//! - Its bytes cannot be packed, and no two pieces are equal: a file system that packs or shares
//!   blocks holds as much room for it as its length says.
//!
//! Not here: when it is made (`engine/reserve.rs`).

use crate::disk::Disk;
use crate::error::Result;
use xxhash_rust::xxh3::xxh3_64;

/// The spare's file, in the data directory.
pub const SPARE_FILE: &str = "SPARE";

/// It is written in pieces of this size.
const PIECE_BYTES: u64 = 64 << 10;

/// Sees to it that there is a spare: one of this size, or the one there is if it has half of it.
///
/// # Errors
/// What the disk says; then there is none.
pub(super) fn keep(disk: &dyn Disk, bytes: u64) -> Result<()> {
    if disk.len(SPARE_FILE)?.is_some_and(|held| held >= bytes / 2) {
        return Ok(());
    }
    disk.unlink(SPARE_FILE)?;
    let written = write(disk, bytes);
    if written.is_err() {
        let _ = disk.unlink(SPARE_FILE);
    }
    written
}

fn write(disk: &dyn Disk, bytes: u64) -> Result<()> {
    let mut file = disk.create_new(SPARE_FILE)?;
    let mut piece = Vec::new();
    while file.written_bytes() < bytes {
        let at = file.written_bytes();
        let len = PIECE_BYTES.min(bytes - at);
        piece.clear();
        piece.extend((0..len.div_ceil(8)).flat_map(|index| hash(at + index)));
        piece.truncate(usize::try_from(len).unwrap_or(0));
        file.append(&piece)?;
    }
    file.sync_data()?;
    disk.sync_dir("")
}

fn hash(number: u64) -> [u8; 8] {
    xxh3_64(&number.to_le_bytes()).to_le_bytes()
}

/// Unlinks the spare; says whether there was one.
///
/// # Errors
/// What the disk says.
pub(crate) fn give_up(disk: &dyn Disk) -> Result<bool> {
    if disk.len(SPARE_FILE)?.is_none() {
        return Ok(false);
    }
    disk.unlink(SPARE_FILE)?;
    // Some file systems hand blocks out again only once the unlink is on disk.
    disk.sync_dir("")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    #[test]
    fn it_is_made_anew_only_when_it_is_far_too_small_and_not_at_all_without_room() {
        let disk = SimDisk::new(1);
        keep(&disk, 100_000).unwrap();
        let bytes = disk.bytes_of(SPARE_FILE).unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert_ne!(bytes[..8], bytes[8..16]);
        assert_ne!(bytes[..8], bytes[65_536..65_544]);
        let calls = disk.calls();
        keep(&disk, 200_000).unwrap();
        assert_eq!(disk.calls(), calls);
        keep(&disk, 300_000).unwrap();
        assert_eq!(disk.len(SPARE_FILE).unwrap(), Some(300_000));
        disk.set_capacity_bytes(Some(400_000));
        keep(&disk, 700_000).unwrap_err();
        assert_eq!(disk.len(SPARE_FILE).unwrap(), None);
        assert!(!give_up(&disk).unwrap());
        keep(&disk, 400_000).unwrap();
        assert!(give_up(&disk).unwrap());
        assert_eq!(disk.paths(), Vec::<String>::new());
    }
}
