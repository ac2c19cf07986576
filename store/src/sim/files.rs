//! The simulator's disk as the store sees it: each call is counted, may be stopped, fail or be a lie,
//! and then changes the page cache.
//!
//! # Invariants
//! - A file opened in an earlier life of the process is dead.
//!
//! Not here: what becomes of a call (`sim.rs`), the page cache's rules (`nodes.rs`).

use super::nodes::NodeId;
use super::{Action, Outcome, SimDisk, failure};
use crate::disk::{Disk, DiskFile, DiskReader};
use crate::error::Result;
use std::io;
use std::sync::Arc;

impl Disk for SimDisk {
    fn create_new(&self, path: &str) -> Result<Box<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        let mut node = None;
        inner.change(Action::CreateNew, path, |nodes| {
            node = Some(nodes.create(path)?);
            Ok(())
        })?;
        let node = node.unwrap_or_default();
        let (disk, life) = (self.clone(), inner.life);
        Ok(Box::new(Writer { disk, path: path.to_owned(), node, life, written_bytes: 0 }))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskReader>> {
        let inner = self.inner.lock();
        inner.alive(Action::Read, path)?;
        let missing = || failure(Action::Read, path, io::ErrorKind::NotFound);
        let node = inner.nodes.find(path).ok_or_else(missing)?;
        let file_bytes = inner.nodes.bytes(node).len() as u64;
        let (disk, life) = (self.clone(), inner.life);
        Ok(Arc::new(Reader { disk, path: path.to_owned(), node, life, file_bytes }))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let inner = self.inner.lock();
        inner.alive(Action::Read, directory)?;
        Ok(inner.nodes.list(directory))
    }

    fn len(&self, path: &str) -> Result<Option<u64>> {
        let inner = self.inner.lock();
        inner.alive(Action::Read, path)?;
        Ok(inner.nodes.find(path).map(|node| inner.nodes.bytes(node).len() as u64))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.lock().change(Action::Rename, to, |nodes| nodes.rename(from, to))
    }

    fn hard_link(&self, from: &str, to: &str) -> Result<()> {
        self.inner.lock().change(Action::HardLink, to, |nodes| nodes.link(from, to))
    }

    fn unlink(&self, path: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.nodes.find(path).is_none() {
            return inner.alive(Action::Unlink, path);
        }
        inner.change(Action::Unlink, path, |nodes| {
            nodes.unlink(path);
            Ok(())
        })
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.nodes.has_dir(path) {
            return inner.alive(Action::CreateDir, path);
        }
        inner.change(Action::CreateDir, path, |nodes| nodes.create_dir(path))
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        if !inner.nodes.has_dir(path) {
            return inner.alive(Action::RemoveDir, path);
        }
        inner.change(Action::RemoveDir, path, |nodes| nodes.remove_dir(path))
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        self.inner.lock().change(Action::SyncDir, directory, |nodes| nodes.sync_dir(directory))
    }

    fn sync_file(&self, path: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.alive(Action::SyncFile, path)?;
        let missing = || failure(Action::SyncFile, path, io::ErrorKind::NotFound);
        let node = inner.nodes.find(path).ok_or_else(missing)?;
        inner.sync(Action::SyncFile, path, node)
    }

    fn free_bytes(&self) -> Result<u64> {
        let inner = self.inner.lock();
        inner.alive(Action::Read, "")?;
        let capacity_bytes = inner.capacity_bytes.unwrap_or(1 << 40);
        Ok(capacity_bytes.saturating_sub(inner.nodes.used_bytes()))
    }

    fn total_bytes(&self) -> Result<u64> {
        Ok(self.inner.lock().capacity_bytes.unwrap_or(1 << 40))
    }
}

#[derive(Debug)]
struct Writer {
    disk: SimDisk,
    path: String,
    node: NodeId,
    life: u64,
    written_bytes: u64,
}

impl Writer {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut inner = self.disk.inner.lock();
        if inner.life != self.life {
            return Err(failure(Action::Append, &self.path, io::ErrorKind::BrokenPipe));
        }
        let outcome = inner.begin(Action::Append, &self.path)?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        // What lies over room that was made takes none.
        let room = inner.nodes.bytes(self.node).len().saturating_sub(at);
        let (written, failed) = match outcome {
            Outcome::Lie => (0, None),
            Outcome::Fail(kind) => (bytes.len() / 2, Some(kind)),
            Outcome::Done => match room + inner.room(bytes.len().saturating_sub(room)) {
                enough if enough >= bytes.len() => (bytes.len(), None),
                part => (part, Some(io::ErrorKind::StorageFull)),
            },
        };
        inner.nodes.write(self.node, at, bytes.get(..written).unwrap_or_default());
        failed.map_or(Ok(()), |kind| Err(failure(Action::Append, &self.path, kind)))
    }
}

impl DiskFile for Writer {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_at(self.written_bytes, bytes)?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(self.room_bytes());
        match usize::try_from(more).unwrap_or(usize::MAX) {
            0 => Ok(()),
            more => self.write_at(self.written_bytes + self.room_bytes(), &vec![0; more]),
        }
    }

    fn room_bytes(&self) -> u64 {
        let file_bytes = self.disk.inner.lock().nodes.bytes(self.node).len() as u64;
        file_bytes.saturating_sub(self.written_bytes)
    }

    fn sync_data(&mut self) -> Result<()> {
        let mut inner = self.disk.inner.lock();
        if inner.life != self.life {
            return Err(failure(Action::SyncData, &self.path, io::ErrorKind::BrokenPipe));
        }
        inner.sync(Action::SyncData, &self.path, self.node)
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

#[derive(Debug)]
struct Reader {
    disk: SimDisk,
    path: String,
    node: NodeId,
    life: u64,
    file_bytes: u64,
}

impl DiskReader for Reader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut inner = self.disk.inner.lock();
        inner.alive(Action::Read, &self.path)?;
        let fail = |kind| Err(failure(Action::Read, &self.path, kind));
        if inner.life != self.life {
            return fail(io::ErrorKind::BrokenPipe);
        }
        if let Outcome::Fail(kind) = inner.ask(Action::Read, &self.path) {
            return fail(kind);
        }
        if inner.is_bad(&self.path, offset, buffer.len()) {
            return fail(io::ErrorKind::Other);
        }
        let bytes = inner.nodes.bytes(self.node);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        match bytes.get(from..from.saturating_add(buffer.len())) {
            Some(found) => {
                buffer.copy_from_slice(found);
                Ok(())
            }
            None => fail(io::ErrorKind::UnexpectedEof),
        }
    }

    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}
