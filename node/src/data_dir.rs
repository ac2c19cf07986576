//! The data directory: whose it is, and that it is nobody else's.
//!
//! # Invariants
//! - One process at a time: an advisory lock on `LOCK` is held as long as the value lives, and the
//!   kernel drops it when the process dies, however it dies.
//! - `NODE_ID` is written once, synced before it is used, and never changes.
//! - `LAYOUT` says under which layout of the cluster a server has written the data (`cluster::layout`): it is synced
//!   before the first write is taken. What a snapshot or an import left without one is taken for the present one's.

use crate::parts::random_u64;
use cluster::Layout;
use cluster::layout::Decision;
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody else holds the lock.
    #[error(
        "the data directory `{dir}` is in use by another cumae (process {holder}); stop it, or give \
         this one a directory of its own with --data-dir"
    )]
    InUse { dir: PathBuf, holder: String },
    /// The operating system refused.
    #[error("failed to {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The file is there and holds something else.
    #[error("`{path}` does not hold a node id")]
    BadNodeId { path: PathBuf },
    /// The member list is another one than the data was written under.
    #[error(
        "cluster.members: the data in `{dir}` was written under another layout; was: {kept}; is: {layout}. \
         Data is not moved, so what others should have now would be missing in answers, without a word. Go \
         back to what was; or begin the new layout on empty directories and copy the data over (README, \
         \"Several machines\"); or, to go on without what is not found, say `cluster.accept_layout: '{code}'`",
        code = layout.code()
    )]
    Layout { dir: PathBuf, kept: Layout, layout: Layout },
}

/// A data directory that is ours.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    node_id: String,
    // Held for its lock; none where nothing is kept.
    _lock: Option<File>,
}

impl DataDir {
    /// Makes the directory if need be, locks it, and reads or draws the node id.
    ///
    /// # Errors
    /// [`Error`]: in use, or the operating system refused.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let lock = lock(path)?;
        let node_id = node_id(path)?;
        Ok(Self { path: path.to_owned(), node_id, _lock: Some(lock) })
    }

    /// No directory: a process that keeps nothing, with an id drawn for its life.
    ///
    /// # Errors
    /// If the operating system has no random bits.
    pub(crate) fn none() -> Result<Self, Error> {
        let path = PathBuf::new();
        let bits = random_u64().map_err(io_error("draw", &path))?;
        Ok(Self { path, node_id: format!("{bits:016x}"), _lock: None })
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The node's id: 16 hex digits, drawn when the directory was made.
    #[must_use]
    pub(crate) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Checks that data which is here lies where `layout` looks for it, or that the operator has `accepted`
    /// it by its code, and keeps the layout.
    ///
    /// # Errors
    /// [`Error::Layout`] if not; the operating system refused.
    pub(crate) fn keep_layout(
        &self,
        layout: &Layout,
        has_data: bool,
        accepted: &str,
    ) -> Result<(), Error> {
        let path = self.path.join("LAYOUT");
        let kept = match fs::read_to_string(&path) {
            Ok(text) => Some(Layout::kept(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        };
        match (layout.decide(kept.as_ref(), has_data, accepted), kept) {
            (Decision::Keep, _) => Ok(()),
            (Decision::Refuse, Some(kept)) => {
                Err(Error::Layout { dir: self.path.clone(), kept, layout: layout.clone() })
            }
            (_, kept) => {
                match kept.filter(|_| has_data) {
                    Some(was) => {
                        tracing::warn!(%was, is = %layout, "the layout has changed, as accepted");
                    }
                    None if has_data => tracing::warn!(
                        is = %layout,
                        "it is not known under which layout this data was written: it is taken for the present one"
                    ),
                    None => {}
                }
                publish(&self.path, "LAYOUT", &format!("{layout}\n"))
            }
        }
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("LOCK");
    let open =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open().map_err(io_error("open", &path))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        return Err(Error::InUse { dir: dir.to_owned(), holder });
    }
    file.set_len(0).map_err(io_error("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(io_error("write", &path))?;
    Ok(file)
}

fn node_id(dir: &Path) -> Result<String, Error> {
    let path = dir.join("NODE_ID");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim();
            let good = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if good { Ok(id.to_owned()) } else { Err(Error::BadNodeId { path }) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => draw_node_id(dir),
        Err(source) => Err(Error::Io { action: "read", path, source }),
    }
}

fn draw_node_id(dir: &Path) -> Result<String, Error> {
    let id = random_u64().map(|bits| format!("{bits:016x}"));
    let id = id.map_err(io_error("draw", &dir.join("NODE_ID")))?;
    publish(dir, "NODE_ID", &id)?;
    Ok(id)
}

/// Write, sync, rename, sync the directory: a crash leaves the whole file, or what was before.
fn publish(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let (path, draft) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(io_error("write", &draft))?;
    fs::rename(&draft, &path).map_err(io_error("rename", &path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(&dir.path().join("new/data")).unwrap();
        let id = first.node_id().to_owned();
        let second = DataDir::open(first.path()).unwrap_err();
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");

        let path = first.path().to_owned();
        drop(first);
        assert_eq!(DataDir::open(&path).unwrap().node_id(), id);
    }

    #[test]
    fn a_file_that_holds_no_id_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("NODE_ID"), "x").unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(Error::BadNodeId { .. })));
    }
}
