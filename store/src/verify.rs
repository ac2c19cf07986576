//! Looking for damage in the files of a store, without its lock: beside a running server too.
//!
//! Every checksum is checked, and of each sstable that the manifest names also the hash of the
//! whole file. Nothing is written. A file that leaves while it is looked at is no fault: the
//! manifest is read again, and only what it still names counts.
//!
//! A log that ends in bytes without a record is no fault of a store: a crash leaves such a tail,
//! and so does a write that is under way. Of a single segment nobody can tell, so it is named.
//!
//! Not here: snapshots (`snapshot/verify.rs`), what files say (`inspect.rs`).

use crate::commit_log;
use crate::disk::{self, Disk};
use crate::error::{Error, Result};
use crate::manifest::{
    self, CHECKPOINT_DIRECTORY, LOG_DIRECTORY, MANIFEST_FILE, SSTABLE_DIRECTORY, State,
};
use crate::sstable::reader::Sstable;
use crate::sstable::walk::Walk;
use crate::{checkpoint, format_marker, record, snapshot};

/// So often a log is looked at again whose segments went away meanwhile.
const ROUNDS_MAX: usize = 3;

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Files, sound or not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damage, by file and offset. Empty: every byte is what was written.
    pub damage: Vec<Error>,
}

/// What a file is, by its first bytes, or else by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Which files are live.
    Manifest,
    /// A segment of the commit log.
    Segment,
    /// The definitions of the head's series.
    Checkpoint,
    /// Samples.
    Sstable,
    /// The list of a snapshot's files.
    SnapshotList,
    /// The marker of the directory's format.
    Marker,
}

impl FileKind {
    /// What a file is.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if nothing says so, or what the disk says.
    pub fn of(disk: &dyn Disk, path: &str) -> Result<Self> {
        let reader = disk.open(path)?;
        let mut first = [0; 8];
        if reader.file_bytes() >= first.len() as u64 {
            reader.read_at(0, &mut first)?;
        }
        let by_magic = match &first {
            b"cumaeman" => Some(Self::Manifest),
            b"cumaelog" => Some(Self::Segment),
            b"cumaeckp" => Some(Self::Checkpoint),
            b"cumaesst" => Some(Self::Sstable),
            b"cumae sn" => Some(Self::SnapshotList),
            b"cumae st" => Some(Self::Marker),
            _ => None,
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        let by_name = || match name {
            MANIFEST_FILE => Some(Self::Manifest),
            snapshot::LIST_FILE => Some(Self::SnapshotList),
            format_marker::FORMAT_FILE => Some(Self::Marker),
            _ if name.ends_with(".log") => Some(Self::Segment),
            _ if name.ends_with(".ckpt") => Some(Self::Checkpoint),
            _ if name.ends_with(".sst") => Some(Self::Sstable),
            _ => None,
        };
        let unknown =
            || Error::corrupt(path, 0, "not a file of a store, or its first bytes are damaged");
        by_magic.or_else(by_name).ok_or_else(unknown)
    }
}

/// Checks every byte of one file of a store. Damage is in the answer, also that it cannot be read.
#[must_use]
pub fn file(disk: &dyn Disk, path: &str) -> Vec<Error> {
    let found = match FileKind::of(disk, path) {
        Ok(FileKind::Sstable) => return sstable(disk, path, None),
        Ok(FileKind::Segment) => return segment(disk, path),
        Ok(FileKind::Manifest) => manifest::state_at(disk, path).map(drop),
        Ok(FileKind::Checkpoint) => checkpoint::read(disk, path, &mut |_| Ok(())),
        Ok(FileKind::SnapshotList) => snapshot::check_list(disk, path),
        Ok(FileKind::Marker) => format_marker::read(disk, path),
        Err(error) => Err(error),
    };
    found.err().into_iter().collect()
}

/// Checks every block of an sstable and, if they are known, its size and the hash of all of it.
pub(crate) fn sstable(disk: &dyn Disk, path: &str, expected: Option<(u64, u64)>) -> Vec<Error> {
    let walked = disk.open(path).map(|reader| {
        let mut walk = Walk::new();
        while walk.step(&*reader, path, u64::MAX, &mut |_| ()) > 0 {}
        (reader.file_bytes(), walk.finish())
    });
    let (bytes, (hash, mut faults)) = match walked {
        Ok(walked) => walked,
        Err(error) => return vec![error],
    };
    if faults.is_empty() {
        faults.extend(wrong_hash(path, (bytes, hash), expected));
    }
    if faults.is_empty() {
        // Blocks that are whole may still make no sense.
        faults.extend(Sstable::open(disk, path).err());
    }
    faults
}

/// Says so if size or hash is not what was expected.
pub(crate) fn wrong_hash(
    path: &str,
    (bytes, hash): (u64, u64),
    expected: Option<(u64, u64)>,
) -> Option<Error> {
    let (bytes_was, hash_was) = expected.filter(|expected| *expected != (bytes, hash))?;
    let detail = format!(
        "it has {bytes} bytes and the hash {hash:016x}, written were {bytes_was} and {hash_was:016x}"
    );
    Some(Error::corrupt(path, 0, detail))
}

fn segment(disk: &dyn Disk, path: &str) -> Vec<Error> {
    let mut faults = Vec::new();
    let scanned = commit_log::scan(disk, path, &mut |found| {
        match found {
            commit_log::Scanned::Record { offset, payload, .. } => {
                faults.extend(bad_payload(path, offset, payload));
            }
            commit_log::Scanned::Header(None) => {
                faults.push(Error::corrupt(path, 0, "not a segment's header"));
            }
            commit_log::Scanned::Header(Some(_)) | commit_log::Scanned::Room { .. } => {}
            commit_log::Scanned::Hole { offset, bytes, is_end } => {
                let why = if is_end { "; a crash leaves such an end" } else { "" };
                let detail = format!("no whole record in {bytes} bytes{why}");
                faults.push(Error::corrupt(path, offset, detail));
            }
        }
        faults.len() < 1_000
    });
    faults.extend(scanned.err());
    faults
}

/// What is wrong with the payload of a record of the log.
pub(crate) fn bad_payload(path: &str, offset: u64, payload: &[u8]) -> Option<Error> {
    if payload.is_empty() {
        return None;
    }
    let read = record::decode(payload)
        .and_then(|record| record.rows(&mut record::Room::default(), |_, _| ()));
    read.err().map(|damaged| damaged.at(path, offset))
}

/// Checks every byte of a store: what its manifest names, and its commit log.
///
/// # Errors
/// If a directory cannot be listed; damage is in the answer, also files that cannot be read.
pub fn store(disk: &dyn Disk) -> Result<Verified> {
    let mut verified = Verified::default();
    if disk.len(format_marker::FORMAT_FILE)?.is_some() {
        verified.look(disk, format_marker::FORMAT_FILE, |disk, path| file(disk, path))?;
    } else {
        verified.damage.push(Error::corrupt(format_marker::FORMAT_FILE, 0, "it is missing"));
    }
    verified.files += 1;
    verified.bytes += disk.len(MANIFEST_FILE)?.unwrap_or(0);
    let state = match manifest::state_at(disk, MANIFEST_FILE) {
        Ok(state) => state,
        Err(error) => {
            verified.damage.push(error);
            verified.without_manifest(disk)?;
            return Ok(verified);
        }
    };
    for meta in state.sstables.values() {
        let expected = Some((meta.file_bytes, meta.file_hash));
        let check = |disk: &dyn Disk, path: &str| sstable(disk, path, expected);
        verified.live(disk, &manifest::sstable_path(meta.id), check, &|state| {
            state.sstables.contains_key(&meta.id)
        })?;
    }
    if let Some(checkpoint) = state.checkpoint {
        verified.live(disk, &manifest::checkpoint_path(checkpoint.id), file, &|state| {
            state.checkpoint.is_some_and(|live| live.id == checkpoint.id)
        })?;
    }
    verified.log(disk, state.log_from_segment())?;
    Ok(verified)
}

fn lost_records(damage: &commit_log::Damage) -> Error {
    let lost = damage
        .sequences
        .map_or(String::new(), |(first, last)| format!(", records {first} to {last} are lost"));
    let detail = format!("{} bytes without a whole record{lost}", damage.bytes);
    Error::corrupt(&damage.path, damage.offset, detail)
}

/// The fault of a segment that has whole records and no header: that was on disk before them.
/// Nothing is lost by it.
fn bad_header(disk: &dyn Disk, number: u64) -> Result<Option<Error>> {
    let path = disk::join(LOG_DIRECTORY, &commit_log::segment_name(number));
    let mut fault = None;
    let scanned = commit_log::scan(disk, &path, &mut |found| {
        if let commit_log::Scanned::Header(None) = found {
            fault = Some(Error::corrupt(&path, 0, "not a segment's header"));
        }
        false
    });
    // A flush lets go of segments meanwhile.
    match disk.len(&path)? {
        Some(_) => scanned.map(|()| fault),
        None => Ok(None),
    }
}

impl Verified {
    fn look(
        &mut self,
        disk: &dyn Disk,
        path: &str,
        check: impl Fn(&dyn Disk, &str) -> Vec<Error>,
    ) -> Result<()> {
        self.files += 1;
        self.bytes += disk.len(path)?.unwrap_or(0);
        self.damage.extend(check(disk, path));
        Ok(())
    }

    /// Checks a live file; its faults count if it is still live then.
    fn live(
        &mut self,
        disk: &dyn Disk,
        path: &str,
        check: impl Fn(&dyn Disk, &str) -> Vec<Error>,
        is_live: &dyn Fn(&State) -> bool,
    ) -> Result<()> {
        let before = self.damage.len();
        self.look(disk, path, check)?;
        if self.damage.len() > before {
            let is_live = manifest::state_at(disk, MANIFEST_FILE).map_or(true, |s| is_live(&s));
            if !is_live {
                self.damage.truncate(before);
            }
        }
        Ok(())
    }

    /// Every file for itself: nobody knows which are live.
    fn without_manifest(&mut self, disk: &dyn Disk) -> Result<()> {
        for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY, LOG_DIRECTORY] {
            for name in disk.list(directory)? {
                self.look(disk, &disk::join(directory, &name), file)?;
            }
        }
        Ok(())
    }

    fn log(&mut self, disk: &dyn Disk, mut from: u64) -> Result<()> {
        let mut faults = Vec::new();
        for _ in 0..ROUNDS_MAX {
            faults.clear();
            let replayed = commit_log::check(disk, LOG_DIRECTORY, from, &mut |found| {
                let path = disk::join(LOG_DIRECTORY, &commit_log::segment_name(found.segment));
                let detail = |fault: Error| match fault {
                    Error::Corrupt { path, detail, .. } => {
                        let detail = format!("record {}: {detail}", found.sequence);
                        Error::corrupt(&path, 0, detail)
                    }
                    other => other,
                };
                faults.extend(bad_payload(&path, 0, found.payload).map(detail));
                Ok(())
            });
            match replayed {
                Ok(report) => {
                    faults.extend(report.damage.iter().map(lost_records));
                    for number in report.segments {
                        faults.extend(bad_header(disk, number)?);
                    }
                }
                Err(error) => faults.push(error),
            }
            let now =
                manifest::state_at(disk, MANIFEST_FILE).map_or(from, |s| s.log_from_segment());
            if faults.is_empty() || now == from {
                break;
            }
            from = now;
        }
        for name in disk.list(LOG_DIRECTORY)? {
            self.files += 1;
            // One that a flush lets go of meanwhile has no bytes any more.
            self.bytes += disk.len(&disk::join(LOG_DIRECTORY, &name))?.unwrap_or(0);
        }
        self.damage.append(&mut faults);
        Ok(())
    }
}
