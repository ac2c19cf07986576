//! The disk: what the store asks of a file system, so that real files and the simulator's are one.
//!
//! *Path*: relative to the data directory, parts joined by `/`; the empty path is the directory
//! itself. Nothing here takes a path from outside of the store: names are numbers.
//!
//! # Rules
//! - A file is written once, from its start to its end, by whoever created it. There is no
//!   overwriting and no appending to a file of an earlier start. Only zeros may lie behind what was
//!   appended, and go under what comes next.
//! - What [`DiskFile::sync_data`] returned `Ok` for is on disk with its length. That the *name* is
//!   on disk too takes a [`Disk::sync_dir`] of its directory; likewise for a rename or unlink.
//! - After a failed sync nobody knows what is on disk, and a second sync may say `Ok` for pages
//!   that are lost. So it is never asked again on the same file.
//!
//! - An error of [`crate::Error::Corrupt`] says that bytes are not what was written. A disk that is asked over
//!   a network says [`crate::Error::Unreachable`] when it does not know: nobody takes that for damage.
//!
//! Of an sstable the [`DiskFile`] is the segment sink and the [`DiskReader`] the block source (DESIGN.md
//! D16): an implementation may keep it as rows.
//!
//! Not here: the simulator (`sim.rs`), which forgets what was not synced.

mod file;

pub use file::FileDisk;

use crate::error::Result;
use std::fmt::Debug;
use std::sync::Arc;

/// Where an sstable belongs: a retention class and a window of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassWindow {
    /// The class's number.
    pub class: u32,
    /// The window's first day, in days since 1970.
    pub first_day: i32,
    /// How many days it has; 0 for the window of all before the year 2000.
    pub days: u32,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// Which file.
    pub path: String,
    /// From where on.
    pub offset: u64,
    /// How many; what lies behind the end is none.
    pub len: u64,
}

/// A file system below one data directory.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that must not exist yet.
    ///
    /// # Errors
    /// If there is one of that name, or the operating system refuses.
    fn create_new(&self, path: &str) -> Result<Box<dyn DiskFile>>;

    /// As [`Disk::create_new`], for an sstable of this class and window.
    ///
    /// # Errors
    /// As there.
    fn create_sstable(&self, path: &str, _: ClassWindow) -> Result<Box<dyn DiskFile>> {
        self.create_new(path)
    }

    /// Whether an sstable may change its class where it lies. Not where each class and window has a
    /// place of its own that goes as a whole.
    fn moves_between_classes(&self) -> bool {
        true
    }

    /// All windows for which this is true are over for good, and no live sstable is in them: what is
    /// kept for them beside their files goes when the files have gone.
    ///
    /// # Errors
    /// What the disk says; the next call goes on.
    fn expire_windows(&self, _is_over: &dyn Fn(ClassWindow) -> bool) -> Result<()> {
        Ok(())
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// If there is none, or the operating system refuses.
    fn open(&self, path: &str) -> Result<Arc<dyn DiskReader>>;

    /// Whether each read is a round trip: then it pays to say ahead what is going to be read.
    fn is_far(&self) -> bool {
        false
    }

    /// All of this is going to be read soon: what is worth it is brought near, at once. Whatever comes of it,
    /// the reads that follow say what is there.
    fn fetch(&self, _ranges: &[FileRange]) {}

    /// The names in a directory, sorted, without `.` and `..`; none if there is no such directory.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn list(&self, directory: &str) -> Result<Vec<String>>;

    /// The file's size in bytes, or `None` if there is no such file.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn len(&self, path: &str) -> Result<Option<u64>>;

    /// Gives a file another name in the same directory, at once and in place of any other.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// If the operating system refuses, or `to` is taken.
    fn hard_link(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a name. Readers that are open go on. A name that is not there is no error.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn unlink(&self, path: &str) -> Result<()>;

    /// Creates a directory. One that is there is no error.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn create_dir(&self, path: &str) -> Result<()>;

    /// Removes a directory that holds nothing. One that is not there is no error.
    ///
    /// # Errors
    /// If it holds something, or the operating system refuses.
    fn remove_dir(&self, path: &str) -> Result<()>;

    /// Brings the names in a directory to the disk.
    ///
    /// # Errors
    /// If the operating system refuses; then nobody knows which names are there.
    fn sync_dir(&self, directory: &str) -> Result<()>;

    /// Brings a file's bytes to the disk that an earlier start of the process wrote.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn sync_file(&self, path: &str) -> Result<()>;

    /// The bytes that may still be written.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn free_bytes(&self) -> Result<u64>;

    /// The size of the disk.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn total_bytes(&self) -> Result<u64>;

    /// By how many milliseconds the clock of this machine was ahead of the disk's own when the two were compared
    /// last: nothing is thrown away by what it is ahead. 0 if the disk has none.
    fn clock_ahead_ms(&self) -> i64 {
        0
    }
}

/// A file that is being written.
pub trait DiskFile: Debug + Send {
    /// Writes `bytes` behind what is there, all of them.
    ///
    /// # Errors
    /// If the operating system refuses; then any part of `bytes` may be there.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Writes zeros behind what is there, for so many bytes to be appended over them. To sync bytes
    /// that do not change a file's length takes a fraction of the time: no journal has to be written.
    ///
    /// # Errors
    /// If the operating system refuses; then there may be less room, and nothing else has changed.
    fn make_room(&mut self, bytes: u64) -> Result<()>;

    /// The bytes that may be appended before the file gets longer.
    fn room_bytes(&self) -> u64;

    /// Returns when everything appended is on the disk.
    ///
    /// # Errors
    /// If the operating system refuses. Do not ask again: see the rules above.
    fn sync_data(&mut self) -> Result<()>;

    /// The bytes appended so far.
    fn written_bytes(&self) -> u64;
}

/// A file that is being read, by any number of threads.
pub trait DiskReader: Debug + Send + Sync {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// If the file ends before the buffer is full, or the operating system refuses.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// The file's size in bytes when it was opened.
    fn file_bytes(&self) -> u64;
}

/// Reads a whole file that may not be larger than `bytes_max`.
///
/// # Errors
/// If the file is larger, ends early, or the operating system refuses.
pub fn read_all(disk: &dyn Disk, path: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let reader = disk.open(path)?;
    let file_bytes = reader.file_bytes();
    let too_large = || {
        let detail = format!("{file_bytes} bytes, expected at most {bytes_max}");
        crate::Error::corrupt(path, bytes_max, detail)
    };
    if file_bytes > bytes_max {
        return Err(too_large());
    }
    let mut bytes = vec![0; usize::try_from(file_bytes).map_err(|_| too_large())?];
    reader.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Writes a whole file so that after a crash its old bytes are there or its new ones.
///
/// # Errors
/// If the operating system refuses; then either may be there, and nobody knows which.
pub fn replace(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<()> {
    let temporary = format!("{path}.tmp");
    disk.unlink(&temporary)?;
    let mut file = disk.create_new(&temporary)?;
    file.append(bytes)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent(path))
}

/// The directory a path lies in.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The path of `name` in `directory`.
#[must_use]
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
