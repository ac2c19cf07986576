//! Walking through all bytes of an sstable, block by block, to see whether they are what was
//! written.
//!
//! It goes in steps, so that a scrub can take days for it, and holds a piece of a block at a time,
//! whatever a damaged length says. Behind a block whose length leads out of the file nothing can
//! be told of blocks; the bytes count for the file's hash all the same. So does what the disk does
//! not give: it is named, and the walk goes on behind it.
//!
//! Not here: which files are walked through, and how fast (`engine/scrub.rs`, `verify.rs`).

use super::block::{self, BLOCK_HEADER_BYTES, BlockKind, FOOTER_BYTES, Footer, HEADER_BYTES};
use crate::disk::DiskReader;
use crate::error::Error;
use xxhash_rust::xxh3::Xxh3;

/// So many bytes are held at once.
const PIECE_BYTES: usize = 256 << 10;
/// So many faults of one file are named; one more says that there are others.
const FAULTS_MAX: usize = 1_000;

/// A file that is being walked through.
pub(crate) struct Walk {
    offset: u64,
    hash: Xxh3,
    buffer: Vec<u8>,
    /// Blocks can be told apart up to here.
    blocks_end: u64,
    faults: Vec<Error>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// A block that a walk came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Its kind; `None` if the byte says nothing this release knows.
    pub(crate) kind: Option<BlockKind>,
    /// Its size, header included.
    pub(crate) bytes: u64,
}

impl Walk {
    /// At the first byte of a file.
    pub(crate) fn new() -> Self {
        let (hash, buffer, faults) = (Xxh3::new(), Vec::new(), Vec::new());
        Self { offset: 0, hash, buffer, blocks_end: 0, faults }
    }

    /// Goes on for about so many bytes, at least one block; returns how many it were, 0 at the end.
    /// Each whole block is handed to `visit`; what is damaged is in [`Walk::finish`].
    pub(crate) fn step(
        &mut self,
        reader: &dyn DiskReader,
        path: &str,
        budget_bytes: u64,
        visit: &mut dyn FnMut(Seen),
    ) -> u64 {
        let (from, end) = (self.offset, reader.file_bytes());
        if from == 0 && end > 0 {
            self.begin(reader, path);
        }
        while self.offset < end && self.offset - from < budget_bytes.max(1) {
            match self.offset < self.blocks_end {
                true => self.block(reader, path, visit),
                false => {
                    let at = self.offset;
                    let read = self.read(reader, (end - at).min(PIECE_BYTES as u64));
                    read.unwrap_or_else(|error| self.fault(block::unreadable(path, at, &error)));
                }
            }
        }
        self.offset - from
    }

    /// Whether there is nothing left to read.
    pub(crate) fn is_done(&self, reader: &dyn DiskReader) -> bool {
        self.offset >= reader.file_bytes()
    }

    /// The whole file's hash, and what is damaged, by its offset.
    pub(crate) fn finish(self) -> (u64, Vec<Error>) {
        (self.hash.digest(), self.faults)
    }

    fn begin(&mut self, reader: &dyn DiskReader, path: &str) {
        if let Err(error) = Footer::read(reader, path) {
            self.fault(error);
        }
        let end = reader.file_bytes();
        if end >= (HEADER_BYTES + FOOTER_BYTES) as u64 {
            self.blocks_end = end - FOOTER_BYTES as u64;
            // The footer's reading has said so if it fails.
            let _ = self.read(reader, HEADER_BYTES as u64);
        }
    }

    fn block(&mut self, reader: &dyn DiskReader, path: &str, visit: &mut dyn FnMut(Seen)) {
        let at = self.offset;
        let left = self.blocks_end - at;
        let mut header = [0; BLOCK_HEADER_BYTES];
        if left < header.len() as u64 {
            return self.lost(path, at);
        }
        if let Err(error) = reader.read_at(at, &mut header) {
            self.blocks_end = at;
            return self.fault(block::unreadable(path, at, &error));
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = header;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let bytes = u64::from(len) + header.len() as u64;
        if bytes > left {
            return self.lost(path, at);
        }
        self.hash.update(&header);
        self.offset += header.len() as u64;
        let mut sum = crc32c::crc32c_append(crc32c::crc32c(&[l0, l1, l2, l3]), &[kind]);
        let mut refused = None;
        while self.offset < at + bytes {
            let piece = (at + bytes - self.offset).min(PIECE_BYTES as u64);
            match self.read(reader, piece) {
                Ok(()) => sum = crc32c::crc32c_append(sum, &self.buffer),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return self.fault(block::unreadable(path, at, &error));
        }
        let kind = BlockKind::of_byte(kind);
        match sum == u32::from_le_bytes([c0, c1, c2, c3]) {
            true => visit(Seen { kind, bytes }),
            false => {
                let what = kind.map_or("block of an unknown kind", BlockKind::as_str);
                self.fault(Error::corrupt(path, at, format!("checksum mismatch: {what}")));
            }
        }
    }

    /// The block at an offset does not say where the next one is.
    fn lost(&mut self, path: &str, at: u64) {
        self.blocks_end = at;
        self.fault(Error::corrupt(path, at, "a block lies beyond the end"));
    }

    /// Goes on behind so many bytes, also if they cannot be read.
    fn read(&mut self, reader: &dyn DiskReader, bytes: u64) -> Result<(), Error> {
        // A piece at most.
        self.buffer.resize(usize::try_from(bytes).unwrap_or(PIECE_BYTES), 0);
        let at = self.offset;
        self.offset += bytes;
        reader.read_at(at, &mut self.buffer)?;
        self.hash.update(&self.buffer);
        Ok(())
    }

    fn fault(&mut self, error: Error) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(error);
        }
    }
}
