//! The real disk: files below a directory that this process alone works on.

use super::{Disk, DiskFile, DiskReader};
use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file whose lock says that a process works on the directory. It stays when we leave.
const LOCK_FILE: &str = "LOCK";

/// Files below one directory, which is locked against other processes while this lives.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    // Guards the directory as long as it is open; the operating system lets go of it at any death.
    // `None` in a view.
    _lock: Option<File>,
}

impl FileDisk {
    /// Opens the directory, creates it if there is none, and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it; otherwise if the operating system refuses.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let shown = root.display().to_string();
        fs::create_dir_all(root).map_err(|e| Error::io("create the directory", &shown, e))?;
        // Without its own name on disk, nothing that is synced in the directory would be found.
        if let Some(above) = root.canonicalize().ok().as_deref().and_then(Path::parent) {
            sync_directory(above)?;
        }
        let lock = lock(root, &shown)?;
        Ok(Self { root: root.to_owned(), _lock: Some(lock) })
    }

    /// A view of a directory that another process may work on: for files that never change, such
    /// as a snapshot's. It takes no lock and creates nothing.
    #[must_use]
    pub fn view(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned(), _lock: None }
    }

    /// The directory, as it was given.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn full(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn shown(&self, path: &str) -> String {
        self.full(path).display().to_string()
    }

    fn error(&self, action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Error {
        let shown = self.shown(path);
        move |source| Error::io(action, &shown, source)
    }
}

/// Takes the directory's lock, without waiting.
fn lock(root: &Path, shown: &str) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(root.join(LOCK_FILE))
        .map_err(|e| Error::io("open the lock file in", shown, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::Locked { directory: shown.to_owned() }),
        Err(errno) => Err(Error::io("lock", shown, errno.into())),
    }
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io("sync the directory", &path.display().to_string(), e))
}

impl Disk for FileDisk {
    fn create_new(&self, path: &str) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.full(path))
            .map_err(self.error("create", path))?;
        Ok(Box::new(Writer { file, path: self.shown(path), written_bytes: 0, file_bytes: 0 }))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskReader>> {
        let file = File::open(self.full(path)).map_err(self.error("open", path))?;
        let metadata = file.metadata().map_err(self.error("stat", path))?;
        Ok(Arc::new(Reader { file, path: self.shown(path), file_bytes: metadata.len() }))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let entries = match fs::read_dir(self.full(directory)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.error("list", directory)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(self.error("list", directory))?;
            // Our own names are ASCII; one that is not even text is not ours.
            names.extend(entry.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &str) -> Result<Option<u64>> {
        match fs::metadata(self.full(path)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error("stat", path)(e)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.full(from), self.full(to)).map_err(self.error("rename", from))
    }

    fn hard_link(&self, from: &str, to: &str) -> Result<()> {
        fs::hard_link(self.full(from), self.full(to)).map_err(self.error("link", to))
    }

    fn unlink(&self, path: &str) -> Result<()> {
        match fs::remove_file(self.full(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(self.error("unlink", path)(e)),
            _ => Ok(()),
        }
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        match fs::create_dir(self.full(path)) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                Err(self.error("create the directory", path)(e))
            }
            _ => Ok(()),
        }
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        match fs::remove_dir(self.full(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(self.error("remove the directory", path)(e))
            }
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        sync_directory(&self.full(directory))
    }

    fn sync_file(&self, path: &str) -> Result<()> {
        File::open(self.full(path))
            .and_then(|file| file.sync_data())
            .map_err(self.error("sync", path))
    }

    fn free_bytes(&self) -> Result<u64> {
        let stat = statvfs(&self.root).map_err(|e| self.error("stat", "")(e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_bytes(&self) -> Result<u64> {
        let stat = statvfs(&self.root).map_err(|e| self.error("stat", "")(e.into()))?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct Writer {
    file: File,
    path: String,
    written_bytes: u64,
    /// With the room behind what was written.
    file_bytes: u64,
}

/// What room is made of, piece by piece.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Writer {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|e| Error::io("write", &self.path, e))?;
        self.file_bytes = self.file_bytes.max(offset.saturating_add(bytes.len() as u64));
        Ok(())
    }
}

impl DiskFile for Writer {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_at(bytes, self.written_bytes)?;
        self.written_bytes = self.written_bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> Result<()> {
        let end = self.written_bytes.saturating_add(bytes);
        while self.file_bytes < end {
            let left = usize::try_from(end - self.file_bytes).unwrap_or(usize::MAX);
            self.write_at(&ZEROS[..left.min(ZEROS.len())], self.file_bytes)?;
        }
        Ok(())
    }

    fn room_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.written_bytes)
    }

    fn sync_data(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

#[derive(Debug)]
struct Reader {
    file: File,
    path: String,
    file_bytes: u64,
}

impl DiskReader for Reader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|e| Error::io("read", &self.path, e))
    }

    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_all, replace};

    #[test]
    fn a_second_opening_of_a_directory_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let first = FileDisk::open(directory.path()).unwrap();

        let error = FileDisk::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");

        drop(first);
        FileDisk::open(directory.path()).unwrap();
    }

    #[test]
    fn what_is_replaced_reads_back_and_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        disk.create_dir("a").unwrap();
        disk.create_dir("a").unwrap();
        replace(&disk, "a/b", b"one").unwrap();
        replace(&disk, "a/b", b"three").unwrap();

        assert_eq!(read_all(&disk, "a/b", 5).unwrap(), b"three");
        assert!(read_all(&disk, "a/b", 4).is_err());
        assert_eq!(disk.list("a").unwrap(), ["b"]);
        assert_eq!(disk.list("nowhere").unwrap(), Vec::<String>::new());
        assert_eq!(disk.len("a/b").unwrap(), Some(5));
        disk.unlink("a/b").unwrap();
        disk.unlink("a/b").unwrap();
        assert_eq!(disk.len("a/b").unwrap(), None);
        assert!(disk.free_bytes().unwrap() > 0);
    }

    #[test]
    fn room_is_zeros_that_go_under_what_is_appended() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let mut file = disk.create_new("f").unwrap();
        file.append(b"ab").unwrap();
        file.make_room(100_000).unwrap();
        assert_eq!((file.written_bytes(), file.room_bytes()), (2, 100_000));
        file.append(b"cde").unwrap();
        file.make_room(10).unwrap();
        file.sync_data().unwrap();
        assert_eq!((file.written_bytes(), file.room_bytes()), (5, 99_997));
        let bytes = read_all(&disk, "f", 1 << 20).unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (100_002, &b"abcde"[..]));
        assert!(bytes[5..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_not_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let mut file = disk.create_new("f").unwrap();
        file.append(b"abc").unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.written_bytes(), 3);
        assert!(disk.create_new("f").is_err(), "a file is created once");

        let reader = disk.open("f").unwrap();
        let mut buffer = [0; 2];
        reader.read_at(1, &mut buffer).unwrap();
        assert_eq!(&buffer, b"bc");
        assert!(reader.read_at(2, &mut buffer).is_err());
    }
}
