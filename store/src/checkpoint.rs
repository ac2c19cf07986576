//! A checkpoint's container: frames of opaque bytes in one file that is there whole or not at all.
//!
//! It is written to a temporary name, synced, renamed, and its directory synced; so a name that
//! the manifest holds always leads to a whole file. Each frame has its checksum, and the end says
//! how many there are, so a file cut at a frame's border is found out too.
//!
//! Not here: what the frames hold (`engine.rs`); which checkpoint counts (`manifest.rs`).

use crate::disk::{Disk, DiskFile, DiskReader, parent};
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"cumaeckp";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Length, checksum, before each frame. The end is a frame of this length, with the count.
const FRAME_HEADER_BYTES: usize = 8;
const END_LENGTH: u32 = u32::MAX;
/// The largest frame: what a reader must be able to hold at once.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Writes a checkpoint.
#[derive(Debug)]
pub struct Writer<'a> {
    disk: &'a dyn Disk,
    path: String,
    temporary: String,
    file: Box<dyn DiskFile>,
    frames: u64,
}

impl<'a> Writer<'a> {
    /// Begins the checkpoint that will be at `path`, in a directory that is there.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn create(disk: &'a dyn Disk, path: &str) -> Result<Self> {
        let temporary = temporary_path(path);
        disk.unlink(&temporary)?;
        let mut file = disk.create_new(&temporary)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let checksum = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&checksum.to_le_bytes());
        file.append(&header)?;
        Ok(Self { disk, path: path.to_owned(), temporary, file, frames: 0 })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`] over [`FRAME_BYTES_MAX`], or if the operating system refuses.
    pub fn frame(&mut self, payload: &[u8]) -> Result<()> {
        let length = match u32::try_from(payload.len()) {
            Ok(length) if payload.len() <= FRAME_BYTES_MAX => length,
            _ => {
                let (bytes, bytes_max) = (payload.len(), FRAME_BYTES_MAX);
                return Err(Error::RecordTooLarge { bytes, bytes_max });
            }
        };
        self.file.append(&frame_header(length, self.frames, payload))?;
        self.file.append(payload)?;
        self.frames += 1;
        Ok(())
    }

    /// Ends it. When this returns, the whole checkpoint is on disk under its name.
    ///
    /// # Errors
    /// If the operating system refuses; then nobody knows whether it is there.
    pub fn finish(mut self) -> Result<()> {
        let count = self.frames.to_le_bytes();
        self.file.append(&frame_header(END_LENGTH, self.frames, &count))?;
        self.file.append(&count)?;
        self.file.sync_data()?;
        self.disk.rename(&self.temporary, &self.path)?;
        self.disk.sync_dir(parent(&self.path))
    }
}

/// Where the checkpoint that will be at `path` is while it is written.
#[must_use]
pub fn temporary_path(path: &str) -> String {
    format!("{path}.tmp")
}

/// The checksum covers the length and the frame's index, so frames cannot change places.
fn frame_header(length: u32, index: u64, payload: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..].copy_from_slice(&checksum(length, index, payload).to_le_bytes());
    header
}

fn checksum(length: u32, index: u64, payload: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &index.to_le_bytes()), payload)
}

/// Reads a checkpoint, frame by frame in the order written.
///
/// # Errors
/// [`Error::NewerFormat`]; [`Error::Corrupt`] with the byte where the file stops being what was
/// written, frames before it may have been visited; what `visit` returns; or the operating
/// system's refusal.
pub fn read(disk: &dyn Disk, path: &str, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let reader = disk.open(path)?;
    let mut source = Source { reader: reader.as_ref(), path, offset: 0 };
    let header: [u8; HEADER_BYTES] = source.array()?;
    let version = u32_of(&header[8..12]);
    if header[..8] != MAGIC || u32_of(&header[12..]) != crc32c::crc32c(&header[..12]) {
        return Err(Error::corrupt(path, 0, "not a checkpoint's header"));
    }
    if version > VERSION {
        return Err(Error::NewerFormat { path: path.to_owned(), found: version, known: VERSION });
    }
    let mut payload = Vec::new();
    for index in 0.. {
        let at = source.offset;
        let header: [u8; FRAME_HEADER_BYTES] = source.array()?;
        let length = u32_of(&header[..4]);
        let is_end = length == END_LENGTH;
        let bytes = if is_end { 8 } else { length as usize };
        source.fill(&mut payload, bytes, at)?;
        if u32_of(&header[4..]) != checksum(length, index, &payload) {
            return Err(Error::corrupt(path, at, "checksum mismatch"));
        }
        if is_end {
            return match payload == index.to_le_bytes() && source.is_at_end() {
                true => Ok(()),
                false => Err(Error::corrupt(path, at, "the end is not where it says")),
            };
        }
        visit(&payload)?;
    }
    Ok(())
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

struct Source<'a> {
    reader: &'a dyn DiskReader,
    path: &'a str,
    offset: u64,
}

impl Source<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.check(N, self.offset)?;
        self.reader.read_at(self.offset, &mut bytes)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// Reads `bytes` of the frame `at` into the buffer. Nothing is allocated that the file does not
    /// have.
    fn fill(&mut self, buffer: &mut Vec<u8>, bytes: usize, at: u64) -> Result<()> {
        self.check(bytes, at)?;
        buffer.resize(bytes, 0);
        self.reader.read_at(self.offset, buffer)?;
        self.offset += bytes as u64;
        Ok(())
    }

    /// Whether the file has so many bytes more; else what lies `at` says so.
    fn check(&self, bytes: usize, at: u64) -> Result<()> {
        let left = self.reader.file_bytes().saturating_sub(self.offset);
        match bytes as u64 <= left && bytes <= FRAME_BYTES_MAX {
            true => Ok(()),
            false => Err(Error::corrupt(self.path, at, "the file ends too early")),
        }
    }

    fn is_at_end(&self) -> bool {
        self.offset == self.reader.file_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    const PATH: &str = "checkpoints/1.ckpt";

    fn frames() -> Vec<Vec<u8>> {
        vec![b"first".to_vec(), Vec::new(), vec![7; 300], b"first".to_vec()]
    }

    fn write(disk: &SimDisk) -> Result<()> {
        disk.create_dir("checkpoints")?;
        disk.sync_dir("")?;
        let mut writer = Writer::create(disk, PATH)?;
        for frame in frames() {
            writer.frame(&frame)?;
        }
        writer.finish()
    }

    fn frames_of(disk: &SimDisk) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        read(disk, PATH, &mut |frame| {
            found.push(frame.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn the_format_document_shows_one() {
        let disk = SimDisk::new(0);
        disk.create_dir("checkpoints").unwrap();
        let mut writer = Writer::create(&disk, PATH).unwrap();
        writer.frame(b"first").unwrap();
        writer.frame(b"").unwrap();
        writer.finish().unwrap();
        let bytes = disk.bytes_of(PATH).unwrap();
        assert_eq!(crate::bytes::dump(&bytes), crate::bytes::documented("a checkpoint"));
    }

    #[test]
    fn it_is_there_whole_or_not_at_all_wherever_the_power_goes() {
        let disk = SimDisk::new(0);
        write(&disk).unwrap();
        assert_eq!(frames_of(&disk).unwrap(), frames());
        for stop_at in 0..=disk.calls() {
            for seed in 0..8 {
                let disk = SimDisk::new(seed);
                disk.stop_at(stop_at);
                let is_written = write(&disk).is_ok();
                disk.power_cut();
                match disk.len(PATH).unwrap() {
                    Some(_) => assert_eq!(frames_of(&disk).unwrap(), frames(), "{stop_at}"),
                    None => assert!(!is_written, "{stop_at}"),
                }
                // What the crash left is no obstacle.
                write(&disk.fork(0)).unwrap();
            }
        }
    }

    #[test]
    fn a_cut_or_changed_checkpoint_is_refused_by_name() {
        let disk = SimDisk::new(0);
        write(&disk).unwrap();
        let bytes = disk.bytes_of(PATH).unwrap();
        for length in 0..bytes.len() {
            disk.overwrite(PATH, &bytes[..length]);
            let error = frames_of(&disk).unwrap_err();
            assert!(matches!(&error, Error::Corrupt { path, .. } if path == PATH), "{error}");
        }
        for at in 0..bytes.len() {
            for change in [1 << (at % 8), 0xFF] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                disk.overwrite(PATH, &changed);
                assert!(frames_of(&disk).is_err(), "byte {at} ^ {change}");
            }
        }
        disk.overwrite(PATH, &[bytes.clone(), vec![0]].concat());
        assert!(frames_of(&disk).is_err(), "bytes behind the end");
    }
}
