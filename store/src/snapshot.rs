//! Snapshots: the files of a store as of one moment, under second names.
//!
//! Live files are never changed, so a snapshot costs a hard link for each of them. It lies in
//! `snapshots/<name>/`: the sstables, the checkpoint, a manifest of its own, and `SNAPSHOT`, a text
//! that lists them with their sizes and hashes. `FORMAT.md` shows it.
//!
//! # Invariants
//! - A directory with a `SNAPSHOT` is a whole snapshot; one without is none, and the next start
//!   removes it. The list is the last to come and the first to go.
//! - A path that a list names is one of ours: a list from elsewhere leads nowhere else.
//! - A snapshot's manifest names no commit log: what its log held is in its sstables.
//!
//! Not here: the moment it is taken at (`engine/snapshot.rs`).

mod copy;
mod verify;

pub use copy::{CopyReport, Place, copy, restore};
pub use verify::{Verified, verify};

use crate::disk::{self, Disk, join};
use crate::error::{Error, Result};
use crate::manifest::{self, CHECKPOINT_DIRECTORY, MANIFEST_FILE, SSTABLE_DIRECTORY, State};
use model::TimestampMs;
use model::time::DAY_MS;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The directory of the snapshots, in the store's.
pub const DIRECTORY: &str = "snapshots";
/// The file that lists what belongs to a snapshot.
pub const LIST_FILE: &str = "SNAPSHOT";

const FIRST_LINE: &str = "cumae snapshot 1";
/// A list of more than a million files is not ours.
const LIST_BYTES_MAX: u64 = 128 << 20;
/// Files are read and written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in a store's directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// xxh3 of the whole file.
    pub hash: u64,
}

/// A whole snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub created: TimestampMs,
    /// What belongs to it; the manifest comes last.
    pub files: Vec<File>,
}

impl Snapshot {
    /// The sizes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The bytes that only snapshots keep on this disk: of files that the store itself has let go.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn pinned_bytes(&self, disk: &dyn Disk) -> Result<u64> {
        let mut pinned = 0;
        for file in &self.files {
            if file.path == MANIFEST_FILE || disk.len(&file.path)?.is_none() {
                pinned += file.bytes;
            }
        }
        Ok(pinned)
    }

    fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\ncreated {}\n", self.created.0);
        for File { path, bytes, hash } in &self.files {
            text.push_str(&format!("file {hash:016x} {bytes} {path}\n"));
        }
        let sum = xxh3_64(text.as_bytes());
        text.push_str(&format!("sum {sum:016x}\n"));
        text
    }

    fn decode(name: &str, path: &str, bytes: &[u8]) -> Result<Self> {
        let bad =
            |line: usize, detail: &str| Error::corrupt(path, 0, format!("line {line}: {detail}"));
        let text = std::str::from_utf8(bytes).map_err(|_| bad(1, "not text"))?;
        let first = text.lines().next().unwrap_or_default();
        let version = first.strip_prefix("cumae snapshot ").and_then(|v| v.parse::<u32>().ok());
        match version {
            Some(1) => {}
            Some(found) if found > 1 => {
                return Err(Error::NewerFormat { path: path.to_owned(), found, known: 1 });
            }
            _ => return Err(bad(1, "not a list of a snapshot's files")),
        }
        let end = text.strip_suffix('\n').and_then(|text| text.rfind("\nsum ")).map(|at| at + 1);
        let (body, sum) = text.split_at(end.ok_or_else(|| bad(1, "its sum is missing"))?);
        let sum = sum.strip_prefix("sum ").and_then(|sum| hex(sum.strip_suffix('\n')?));
        if sum != Some(xxh3_64(body.as_bytes())) {
            return Err(bad(1, "its sum does not match"));
        }
        let mut lines = body.lines().enumerate().skip(1);
        let created = lines.next().and_then(|(_, line)| line.strip_prefix("created "));
        let created = created.and_then(|ms| ms.parse().ok()).ok_or_else(|| bad(2, "no time"))?;
        let mut files = Vec::new();
        for (index, line) in lines {
            files.push(File::decode(line).ok_or_else(|| bad(index + 1, "not a file of a store"))?);
        }
        Ok(Self { name: name.to_owned(), created: TimestampMs(created), files })
    }
}

impl File {
    fn decode(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("file ")?.splitn(3, ' ');
        let (hash, bytes, path) = (hex(fields.next()?)?, fields.next()?, fields.next()?);
        let is_ours = match path.split_once('/') {
            None => path == MANIFEST_FILE,
            Some((SSTABLE_DIRECTORY, name)) => name.strip_suffix(".sst").and_then(hex).is_some(),
            Some((CHECKPOINT_DIRECTORY, name)) => {
                name.strip_suffix(".ckpt").and_then(hex).is_some()
            }
            Some(_) => false,
        };
        is_ours.then_some(Self { path: path.to_owned(), bytes: bytes.parse().ok()?, hash })
    }

    /// The last part of its path: no two files of a snapshot share it.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Sixteen hex digits, as we write them.
fn hex(text: &str) -> Option<u64> {
    let is_hex = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The name of a snapshot that is taken now: the time, and random bits.
#[must_use]
pub fn name(now: TimestampMs, random: u64) -> String {
    let seconds = now.0.rem_euclid(DAY_MS) / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = date(now.0.div_euclid(DAY_MS));
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{random:016x}")
}

/// Year, month and day of a count of days since 1970, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of the year 0, so that the leap day is a year's last.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    (year + i64::from(month <= 2), month, day)
}

/// Refuses what cannot be a snapshot's name; it may come from outside.
///
/// # Errors
/// [`Error::BadSnapshotName`].
pub fn check_name(name: &str) -> Result<()> {
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match (1..=64).contains(&name.len()) && name.bytes().all(is_good) {
        true => Ok(()),
        false => Err(Error::BadSnapshotName { name: name.to_owned() }),
    }
}

fn directory_of(name: &str) -> String {
    join(DIRECTORY, name)
}

/// The whole snapshots below a directory, by name. One whose list is damaged is an error.
///
/// # Errors
/// [`Error::Corrupt`], or the operating system's refusal.
pub fn list(disk: &dyn Disk) -> Result<Vec<Snapshot>> {
    let mut found = Vec::new();
    for name in disk.list(DIRECTORY)? {
        match load(disk, &name) {
            Ok(snapshot) => found.push(snapshot),
            Err(Error::NoSuchSnapshot { .. } | Error::BadSnapshotName { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The snapshot of a name.
///
/// # Errors
/// [`Error::NoSuchSnapshot`], [`Error::BadSnapshotName`], [`Error::Corrupt`],
/// [`Error::NewerFormat`], or the operating system's refusal.
pub fn load(disk: &dyn Disk, name: &str) -> Result<Snapshot> {
    check_name(name)?;
    let path = join(&directory_of(name), LIST_FILE);
    if disk.len(&path)?.is_none() {
        return Err(Error::NoSuchSnapshot { name: name.to_owned() });
    }
    Snapshot::decode(name, &path, &disk::read_all(disk, &path, LIST_BYTES_MAX)?)
}

/// Deletes a snapshot: what only it kept is gone.
///
/// # Errors
/// As [`load`], but one with a damaged list is deleted too.
pub fn delete(disk: &dyn Disk, name: &str) -> Result<()> {
    match load(disk, name) {
        Ok(_) | Err(Error::Corrupt { .. }) => remove(disk, name),
        Err(error) => Err(error),
    }
}

/// Removes what crashes left: directories without a list.
///
/// # Errors
/// If the operating system refuses.
pub(crate) fn remove_leftovers(disk: &dyn Disk) -> Result<()> {
    for name in disk.list(DIRECTORY)? {
        let is_whole = disk.len(&join(&directory_of(&name), LIST_FILE))?.is_some();
        if !is_whole && check_name(&name).is_ok() {
            remove(disk, &name)?;
        }
    }
    Ok(())
}

/// Removes a snapshot's directory, its list first.
pub(crate) fn remove(disk: &dyn Disk, name: &str) -> Result<()> {
    let directory = directory_of(name);
    let list = join(&directory, LIST_FILE);
    if disk.len(&list)?.is_some() {
        disk.unlink(&list)?;
        disk.sync_dir(&directory)?;
    }
    for file in disk.list(&directory)? {
        disk.unlink(&join(&directory, &file))?;
    }
    disk.remove_dir(&directory)?;
    disk.sync_dir(DIRECTORY)
}

/// Makes the directory of a new snapshot.
pub(crate) fn begin(disk: &dyn Disk, name: &str) -> Result<()> {
    disk.create_dir(DIRECTORY)?;
    disk.sync_dir("")?;
    disk.create_dir(&directory_of(name))?;
    disk.sync_dir(DIRECTORY)
}

/// Gives every live file a second name. Nothing of them is read.
pub(crate) fn link(disk: &dyn Disk, name: &str, state: &State) -> Result<()> {
    let directory = directory_of(name);
    let sstables = state.sstables.keys().copied().map(manifest::sstable_path);
    let checkpoint = state.checkpoint.map(|checkpoint| manifest::checkpoint_path(checkpoint.id));
    for path in sstables.chain(checkpoint) {
        disk.hard_link(&path, &join(&directory, path.rsplit('/').next().unwrap_or_default()))?;
    }
    Ok(())
}

/// Writes the manifest and the list: with them it is a snapshot.
pub(crate) fn finish(
    disk: &dyn Disk,
    name: &str,
    now: TimestampMs,
    mut state: State,
) -> Result<Snapshot> {
    let directory = directory_of(name);
    let sstable = |meta: &manifest::SstableMeta| {
        let path = manifest::sstable_path(meta.id);
        File { path, bytes: meta.file_bytes, hash: meta.file_hash }
    };
    let mut files: Vec<File> = state.sstables.values().map(sstable).collect();
    if let Some(checkpoint) = &mut state.checkpoint {
        let path = manifest::checkpoint_path(checkpoint.id);
        let (bytes, hash) = hash_of(disk, &path)?;
        files.push(File { path, bytes, hash });
        // A restored store begins a log of its own.
        checkpoint.log_from_segment = 1;
    }
    let manifest = state.encode();
    let (bytes, hash) = (manifest.len() as u64, xxh3_64(&manifest));
    files.push(File { path: MANIFEST_FILE.to_owned(), bytes, hash });
    let mut file = disk.create_new(&join(&directory, MANIFEST_FILE))?;
    file.append(&manifest)?;
    file.sync_data()?;
    disk.sync_dir(&directory)?;
    let snapshot = Snapshot { name: name.to_owned(), created: now, files };
    disk::replace(disk, &join(&directory, LIST_FILE), snapshot.encode().as_bytes())?;
    Ok(snapshot)
}

/// Size and xxh3 of a file.
fn hash_of(disk: &dyn Disk, path: &str) -> Result<(u64, u64)> {
    let mut hash = Xxh3::new();
    let bytes = pieces(disk, path, |piece| {
        hash.update(piece);
        Ok(())
    })?;
    Ok((bytes, hash.digest()))
}

/// Hands a file to `visit` piece by piece, and returns its size.
fn pieces(disk: &dyn Disk, path: &str, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let reader = disk.open(path)?;
    let end = reader.file_bytes();
    let mut buffer = vec![0; PIECE_BYTES.min(usize::try_from(end).unwrap_or(PIECE_BYTES))];
    let mut at = 0;
    while at < end {
        let len = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..len];
        reader.read_at(at, piece)?;
        visit(piece)?;
        at += len as u64;
    }
    Ok(end)
}

#[cfg(test)]
mod tests;
