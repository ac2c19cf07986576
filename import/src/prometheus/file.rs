//! Files that are read from anywhere in them, never beyond their end.

use crate::bytes::Bad;
use crate::{Error, Result};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file that is open.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("stat", path))?.len();
        Ok(Self { file, path: path.to_owned(), bytes })
    }

    /// Reads `len` bytes at `offset` into the buffer; nothing is allocated that the file has not.
    pub(super) fn read(&self, offset: u64, len: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let end = offset.checked_add(len).filter(|end| *end <= self.bytes);
        let len = usize::try_from(len).ok().filter(|_| end.is_some());
        let len = len.ok_or_else(|| self.damaged(offset, Bad("it goes on behind the end")))?;
        buffer.resize(len, 0);
        self.file.read_exact_at(buffer, offset).map_err(Error::io("read", &self.path))
    }

    /// Reads as much of `len` bytes as there is.
    pub(super) fn read_some(&self, offset: u64, len: u64, buffer: &mut Vec<u8>) -> Result<()> {
        self.read(offset, len.min(self.bytes.saturating_sub(offset)), buffer)
    }

    pub(super) fn damaged(&self, offset: u64, bad: Bad) -> Error {
        Error::damaged(&self.path, offset, bad.0)
    }
}

/// What a directory holds, sorted; nothing if there is none.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", directory)(error)),
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.map_err(Error::io("list", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}
