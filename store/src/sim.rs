//! The simulator's disk: in memory, and it forgets what was not synced.
//!
//! It is part of the public door, behind no feature: the store's own tests crash on it, and the
//! crate `tests` simulates whole nodes on it.
//!
//! *Kill*: the process dies; what it wrote stays in the page cache, readable and not on disk.
//! *Power cut*: the page cache is gone; each page of 4 KiB that was not synced is on disk, or not,
//! or torn at a sector of 512 bytes; each name that was created, changed or removed since the last
//! sync of its directory is as before or as after; all of it drawn from the seed.
//!
//! # Rules
//! - A failed sync leaves its pages clean and lost, as ext4 does: the page cache still has them,
//!   the next sync says `Ok`, and a power cut drops them.
//! - A rename is atomic; what was not synced may be kept in any combination, in no order.
//! - Same seed, same calls, same outcome.
//!
//! Not here: each call of a disk (`sim/files.rs`), the page cache's rules (`sim/nodes.rs`).

mod files;
mod nodes;

use crate::error::{Error, Result};
use model::SplitMix64;
use nodes::{NodeId, Nodes};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

/// One call of the store, as the [hook](SimDisk::set_hook) sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// What is to be done.
    pub action: Action,
    /// To which file or directory; for a rename or link, its new name.
    pub path: &'a str,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of the disk's functions")]
pub enum Action {
    CreateNew,
    Append,
    SyncData,
    SyncFile,
    SyncDir,
    Rename,
    HardLink,
    Unlink,
    CreateDir,
    RemoveDir,
    Read,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    #[default]
    Done,
    /// Nothing is done, and `Ok` is returned.
    Lie,
    /// It fails: a sync loses its pages, an append writes the first half.
    Fail(io::ErrorKind),
}

/// The bytes of a sector.
const SECTOR_BYTES: u64 = 512;

/// Decides what becomes of a call. It is asked in the order of the calls, one at a time.
pub type Hook = Box<dyn FnMut(Call<'_>) -> Outcome + Send>;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    nodes: Nodes,
    random: Random,
    /// Changing calls since the disk was made.
    calls: u64,
    stop_at: Option<u64>,
    is_stopped: bool,
    /// Which life of the process it is: files opened in an earlier one are dead.
    life: u64,
    capacity_bytes: Option<u64>,
    /// Sectors that cannot be read: path and number.
    bad_sectors: BTreeSet<(String, u64)>,
    hook: Option<Hook>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk. All chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            nodes: Nodes::default(),
            random: Random(SplitMix64::new(seed)),
            calls: 0,
            stop_at: None,
            is_stopped: false,
            life: 0,
            capacity_bytes: None,
            bad_sectors: BTreeSet::new(),
            hook: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Another disk with the same content, synced and not, and a seed of its own. It has no hook,
    /// no stop and no open files.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let other = Self::new(seed);
        {
            let inner = self.inner.lock();
            let mut copy = other.inner.lock();
            copy.nodes = inner.nodes.clone();
            copy.capacity_bytes = inner.capacity_bytes;
        }
        other
    }

    /// How many changing calls were made so far: everything but reading and listing.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.lock().calls
    }

    /// The process stops in its `call`-th changing call, counted from 0 since the disk was made:
    /// that call and every later one fails. If it is an append, a part of it is written.
    pub fn stop_at(&self, call: u64) {
        self.inner.lock().stop_at = Some(call);
    }

    /// Whether the process has been stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.inner.lock().is_stopped
    }

    /// Asks `hook` what becomes of each call; it must not use the disk itself.
    pub fn set_hook(&self, hook: impl FnMut(Call<'_>) -> Outcome + Send + 'static) {
        self.inner.lock().hook = Some(Box::new(hook));
    }

    /// Every call is done again.
    pub fn clear_hook(&self) {
        self.inner.lock().hook = None;
    }

    /// How much fits on the disk; over it an append writes what fits, and fails.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.inner.lock().capacity_bytes = capacity_bytes;
    }

    /// The process dies, and another may begin: the page cache stays, open files are dead.
    pub fn kill(&self) {
        let mut inner = self.inner.lock();
        inner.life += 1;
        inner.is_stopped = false;
        inner.stop_at = None;
    }

    /// The power goes and comes back: see the module. What is left is on disk.
    pub fn power_cut(&self) {
        self.kill();
        let mut inner = self.inner.lock();
        let Inner { nodes, random, .. } = &mut *inner;
        nodes.power_cut(random);
    }

    /// The bytes of a file as a reader would see them.
    #[must_use]
    pub fn bytes_of(&self, path: &str) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        inner.nodes.find(path).map(|node| inner.nodes.bytes(node).to_vec())
    }

    /// Puts other bytes in place of a file's, on disk and in the page cache: damage from outside.
    pub fn overwrite(&self, path: &str, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        if let Some(node) = inner.nodes.find(path) {
            inner.nodes.overwrite(node, bytes);
        }
    }

    /// From now on the sector of a file that has this byte cannot be read.
    pub fn break_sector(&self, path: &str, offset: u64) {
        self.inner.lock().bad_sectors.insert((path.to_owned(), offset / SECTOR_BYTES));
    }

    /// Every file's path, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.inner.lock().nodes.paths()
    }
}

impl Inner {
    /// Counts a changing call and settles what becomes of it.
    fn begin(&mut self, action: Action, path: &str) -> Result<Outcome> {
        let call = self.calls;
        self.alive(action, path)?;
        self.calls += 1;
        if self.stop_at.is_some_and(|stop_at| call >= stop_at) {
            self.is_stopped = true;
            return Ok(Outcome::Fail(io::ErrorKind::Other));
        }
        Ok(self.ask(action, path))
    }

    fn alive(&self, action: Action, path: &str) -> Result<()> {
        if self.is_stopped { Err(failure(action, path, io::ErrorKind::Other)) } else { Ok(()) }
    }

    fn ask(&mut self, action: Action, path: &str) -> Outcome {
        self.hook.as_mut().map_or(Outcome::Done, |hook| hook(Call { action, path }))
    }

    /// For the calls that are done whole or not at all.
    fn change(
        &mut self,
        action: Action,
        path: &str,
        change: impl FnOnce(&mut Nodes) -> std::result::Result<(), io::ErrorKind>,
    ) -> Result<()> {
        match self.begin(action, path)? {
            Outcome::Lie => Ok(()),
            Outcome::Fail(kind) => Err(failure(action, path, kind)),
            Outcome::Done => change(&mut self.nodes).map_err(|kind| failure(action, path, kind)),
        }
    }

    fn sync(&mut self, action: Action, path: &str, node: NodeId) -> Result<()> {
        match self.begin(action, path)? {
            Outcome::Lie => Ok(()),
            Outcome::Fail(kind) => {
                // A process that stops here has not asked yet; a disk that fails has lost it.
                if !self.is_stopped {
                    self.nodes.lose_dirty(node);
                }
                Err(failure(action, path, kind))
            }
            Outcome::Done => {
                self.nodes.sync(node);
                Ok(())
            }
        }
    }

    /// Whether the disk does not give some of these bytes.
    fn is_bad(&self, path: &str, offset: u64, len: usize) -> bool {
        if self.bad_sectors.is_empty() {
            return false;
        }
        let last = offset.saturating_add(len as u64).saturating_sub(1) / SECTOR_BYTES;
        let sectors = (path.to_owned(), offset / SECTOR_BYTES)..=(path.to_owned(), last);
        len > 0 && self.bad_sectors.range(sectors).next().is_some()
    }

    /// How much of `wanted` bytes fits.
    fn room(&self, wanted: usize) -> usize {
        let Some(capacity_bytes) = self.capacity_bytes else { return wanted };
        let free = capacity_bytes.saturating_sub(self.nodes.used_bytes());
        usize::try_from(free).map_or(wanted, |free| free.min(wanted))
    }
}

fn failure(action: Action, path: &str, kind: io::ErrorKind) -> Error {
    let verb = match action {
        Action::CreateNew => "create",
        Action::Append => "write",
        Action::SyncData | Action::SyncFile => "sync",
        Action::SyncDir => "sync the directory",
        Action::Rename => "rename",
        Action::HardLink => "link",
        Action::Unlink => "unlink",
        Action::CreateDir => "create the directory",
        Action::RemoveDir => "remove the directory",
        Action::Read => "read",
    };
    Error::io(verb, path, io::Error::new(kind, "simulated"))
}

/// The disk's chance.
#[derive(Debug)]
struct Random(SplitMix64);

impl Random {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.draw() % (bound.max(1) as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
