//! One segment for itself: what is a record in it, and what is not. For people at night.
//!
//! Not here: whether what is missing was acknowledged (`replay.rs`), which takes the whole log.

use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentStart, VERSION};
use super::replay::{self, Replayed};
use super::source::Source;
use super::{Config, ReplayReport};
use crate::disk::Disk;
use crate::error::{Error, Result};

/// What lies next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned<'a> {
    /// The start that wrote it, its number and its first sequence number; `None` if its header is
    /// torn or damaged.
    Header(Option<(u64, u64, u64)>),
    /// A whole record.
    Record {
        /// Where it begins.
        offset: u64,
        /// The start that wrote it.
        start: u64,
        /// Its number.
        sequence: u64,
        /// What was appended.
        payload: &'a [u8],
    },
    /// Bytes that hold no whole record.
    Hole {
        /// The first of them.
        offset: u64,
        /// How many there are.
        bytes: u64,
        /// Whether the file ends behind them.
        is_end: bool,
    },
    /// Zeros up to the file's end, for records that did not come.
    Room {
        /// The first of them.
        offset: u64,
        /// How many there are.
        bytes: u64,
    },
}

/// Hands everything in a segment to `visit`, in order, until it returns `false`.
///
/// # Errors
/// [`Error::NewerFormat`], or what the disk says.
pub fn scan(disk: &dyn Disk, path: &str, visit: &mut dyn FnMut(Scanned<'_>) -> bool) -> Result<()> {
    let bytes_max = u64::from(Config::default().record_bytes_max);
    let mut source = Source::open(disk, path)?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    if source.file_bytes >= bytes.len() as u64 {
        disk.open(path)?.read_at(0, &mut bytes)?;
    }
    let header = match SegmentHeader::decode(&bytes) {
        SegmentStart::Newer(found) => {
            return Err(Error::NewerFormat { path: path.to_owned(), found, known: VERSION });
        }
        SegmentStart::Good(header) => Some(header),
        SegmentStart::Bad => None,
    };
    let said = header.map(|header| (header.start, header.number, header.first_sequence));
    if !visit(Scanned::Header(said)) {
        return Ok(());
    }
    let start = header.map(|header| header.start);
    let mut at = header.map_or(0, |_| SEGMENT_HEADER_BYTES as u64);
    let mut hole = None;
    while at < source.file_bytes {
        let Some((found, behind)) = source.record_at(at, start, bytes_max)? else {
            if hole.is_none() && source.is_room(at)? {
                visit(Scanned::Room { offset: at, bytes: source.file_bytes - at });
                return Ok(());
            }
            hole.get_or_insert(at);
            at = source.next_magic(at + 1)?;
            continue;
        };
        if let Some(offset) = hole.take()
            && !visit(Scanned::Hole { offset, bytes: at - offset, is_end: false })
        {
            return Ok(());
        }
        let (start, sequence, payload) = (found.start, found.sequence, source.payload());
        if !visit(Scanned::Record { offset: at, start, sequence, payload }) {
            return Ok(());
        }
        at = behind;
    }
    if let Some(offset) = hole {
        visit(Scanned::Hole { offset, bytes: source.file_bytes - offset, is_end: true });
    }
    Ok(())
}

/// Replays the log from a segment on as a start would, and changes nothing.
///
/// # Errors
/// As a start's replay.
pub fn check(
    disk: &dyn Disk,
    directory: &str,
    from_segment: u64,
    visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<ReplayReport> {
    let config = Config::default();
    replay::run(disk, directory, &config, from_segment, visit).map(|found| found.report)
}
