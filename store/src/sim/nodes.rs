//! Files and names of the simulated disk, each twice: as the process sees it, and as it is on disk.

use super::Random;
use crate::disk::parent;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// A file, whatever its names.
pub(super) type NodeId = usize;

#[derive(Clone, Debug, Default)]
struct Node {
    /// What a reader sees.
    bytes: Vec<u8>,
    /// What is on disk.
    synced: Vec<u8>,
    /// The pages written since the last sync, failed or not.
    dirty: BTreeSet<usize>,
}

/// A change of names that is not on disk.
#[derive(Clone, Debug)]
enum NameChange {
    Set { path: String, node: NodeId },
    Move { from: String, to: String, node: NodeId },
    Remove { path: String },
    Directory { path: String },
    RemoveDirectory { path: String },
}

impl NameChange {
    fn directory(&self) -> &str {
        match self {
            Self::Set { path, .. }
            | Self::Remove { path }
            | Self::Directory { path }
            | Self::RemoveDirectory { path } => parent(path),
            Self::Move { to, .. } => parent(to),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<String, NodeId>,
    directories: BTreeSet<String>,
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Set { path, node } => drop(self.files.insert(path.clone(), *node)),
            NameChange::Remove { path } => drop(self.files.remove(path)),
            NameChange::Directory { path } => drop(self.directories.insert(path.clone())),
            NameChange::RemoveDirectory { path } => {
                // Whatever of its names was still on disk goes with it.
                self.files.retain(|file, _| parent(file) != path);
                self.directories.remove(path);
            }
            NameChange::Move { from, to, node } => {
                if self.files.get(from) == Some(node) {
                    self.files.remove(from);
                }
                self.files.insert(to.clone(), *node);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// As the process sees them.
    names: Names,
    /// As they are on disk.
    synced_names: Names,
    /// What leads from `synced_names` to `names`, in order.
    changes: Vec<NameChange>,
}

impl Nodes {
    pub(super) fn find(&self, path: &str) -> Option<NodeId> {
        self.names.files.get(path).copied()
    }

    pub(super) fn bytes(&self, node: NodeId) -> &[u8] {
        self.nodes.get(node).map_or(&[], |node| &node.bytes)
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.names.files.keys().cloned().collect()
    }

    pub(super) fn has_dir(&self, path: &str) -> bool {
        path.is_empty() || self.names.directories.contains(path)
    }

    /// The bytes of every file that has a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let nodes: BTreeSet<NodeId> = self.names.files.values().copied().collect();
        nodes.into_iter().map(|node| self.bytes(node).len() as u64).sum()
    }

    pub(super) fn list(&self, directory: &str) -> Vec<String> {
        let all = self.names.files.keys().chain(&self.names.directories);
        let mut names: Vec<String> = all
            .filter(|path| parent(path) == directory)
            .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn create(&mut self, path: &str) -> Result<NodeId, ErrorKind> {
        self.check_free(path)?;
        let node = self.nodes.len();
        self.nodes.push(Node::default());
        self.change(NameChange::Set { path: path.to_owned(), node });
        Ok(node)
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> Result<(), ErrorKind> {
        let node = self.find(from).ok_or(ErrorKind::NotFound)?;
        self.check_free(to)?;
        self.change(NameChange::Set { path: to.to_owned(), node });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), ErrorKind> {
        let node = self.find(from).ok_or(ErrorKind::NotFound)?;
        if parent(from) != parent(to) {
            return Err(ErrorKind::CrossesDevices);
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(NameChange::Move { from, to, node });
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &str) {
        self.change(NameChange::Remove { path: path.to_owned() });
    }

    pub(super) fn create_dir(&mut self, path: &str) -> Result<(), ErrorKind> {
        self.check_free(path)?;
        self.change(NameChange::Directory { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &str) -> Result<(), ErrorKind> {
        if !self.list(path).is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty);
        }
        self.change(NameChange::RemoveDirectory { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, directory: &str) -> Result<(), ErrorKind> {
        if !self.has_dir(directory) {
            return Err(ErrorKind::NotFound);
        }
        for change in std::mem::take(&mut self.changes) {
            if change.directory() == directory {
                self.synced_names.apply(&change);
            } else {
                self.changes.push(change);
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, node: NodeId, from: usize, bytes: &[u8]) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        let to = from + bytes.len();
        node.bytes.resize(node.bytes.len().max(to), 0);
        node.bytes[from..to].copy_from_slice(bytes);
        node.dirty.extend(from / PAGE_BYTES..to.div_ceil(PAGE_BYTES));
    }

    pub(super) fn overwrite(&mut self, node: NodeId, bytes: &[u8]) {
        if let Some(node) = self.nodes.get_mut(node) {
            let (bytes, synced) = (bytes.to_vec(), bytes.to_vec());
            *node = Node { bytes, synced, dirty: BTreeSet::new() };
        }
    }

    /// Brings the dirty pages to the disk; clean ones that a failed sync lost stay lost.
    pub(super) fn sync(&mut self, node: NodeId) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.synced.resize(node.bytes.len(), 0);
        for page in std::mem::take(&mut node.dirty) {
            let range = page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(node.bytes.len());
            node.synced[range.clone()].copy_from_slice(&node.bytes[range]);
        }
    }

    /// What a failed sync does: the pages count as clean, and are not on disk.
    pub(super) fn lose_dirty(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.dirty.clear();
        }
    }

    pub(super) fn power_cut(&mut self, random: &mut Random) {
        // Half of the cuts are extreme: nothing, or everything that was not synced got there.
        let keep: fn(&mut Random) -> bool = match random.below(4) {
            0 => |_| false,
            1 => |_| true,
            _ => |random| random.below(2) == 0,
        };
        for change in std::mem::take(&mut self.changes) {
            if keep(random) {
                self.synced_names.apply(&change);
            }
        }
        let Names { files, directories } = &mut self.synced_names;
        let is_reachable = |path: &str| {
            let mut above = parent(path);
            while !above.is_empty() && directories.contains(above) {
                above = parent(above);
            }
            above.is_empty()
        };
        files.retain(|path, _| is_reachable(path));
        let reachable: BTreeSet<String> =
            directories.iter().filter(|path| is_reachable(path)).cloned().collect();
        *directories = reachable;
        self.names = self.synced_names.clone();
        for node in &mut self.nodes {
            node.power_cut(random, keep);
        }
    }

    fn change(&mut self, change: NameChange) {
        self.names.apply(&change);
        self.changes.push(change);
    }

    fn check_free(&self, path: &str) -> Result<(), ErrorKind> {
        if self.find(path).is_some() || self.has_dir(path) {
            return Err(ErrorKind::AlreadyExists);
        }
        if self.has_dir(parent(path)) { Ok(()) } else { Err(ErrorKind::NotFound) }
    }
}

impl Node {
    fn power_cut(&mut self, random: &mut Random, keep: fn(&mut Random) -> bool) {
        let mut left = self.synced.clone();
        if !self.dirty.is_empty() {
            // The length is on disk, or not, or one of those in between.
            let grown = self.bytes.len() - left.len().min(self.bytes.len());
            let length = match (keep(random), random.below(2)) {
                (true, 0) => self.bytes.len(),
                (true, _) if grown > 0 => left.len() + random.below(grown + 1),
                (true, _) => self.bytes.len(),
                (false, _) => left.len(),
            };
            left.resize(length.max(left.len()), 0);
        }
        for page in std::mem::take(&mut self.dirty) {
            let from = (page * PAGE_BYTES).min(left.len());
            let to = ((page + 1) * PAGE_BYTES).min(left.len());
            let torn = from + SECTOR_BYTES * random.below(PAGE_BYTES / SECTOR_BYTES);
            let to = if random.below(3) == 0 { torn.min(to) } else { to };
            if keep(random) {
                left[from..to].copy_from_slice(&self.bytes[from..to]);
            }
        }
        self.bytes.clone_from(&left);
        self.synced = left;
    }
}
