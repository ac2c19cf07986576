//! The commit log: what was acknowledged is here until it is in an sstable.
//!
//! *Segment*: a file of records, written by one start of the process. *Record*: a payload that
//! this module does not look into, framed with its sequence number. *Start*: one life of the
//! process, known by a random number. *Group*: what one [`CommitLog::sync`] brings to the disk.
//!
//! # Invariants
//! - A record is acknowledged only when its bytes, its segment's header and its segment's name
//!   are on disk.
//! - Records become durable in the order of their sequence numbers: a group that failed is
//!   written again in front of every later one.
//! - A segment whose write or sync failed is left as it is and never written to or synced again.
//! - Before a new start acknowledges or answers anything, what it replayed is on disk: a page
//!   cache survives `kill -9`, but not the next power cut.
//! - What waits for the disk is bounded: over the bound an append is refused.
//!
//! Not here: what is in a payload (`engine.rs`); when to sync (the ingester's thread: it has the
//! clock); what a checkpoint holds and when a segment may go.

mod carry;
mod frame;
mod replay;
mod scan;
mod sequences;
mod sink;
mod source;

pub use replay::{Damage, ReplayReport, Replayed};
pub use scan::{Scanned, check, scan};
pub use sink::LogSink;

use crate::disk::{Disk, DiskFile, join};
use crate::error::{Error, Result};
use frame::{Payload, Previous, SegmentHeader};
use parking_lot::Mutex;
use std::mem;
use std::sync::Arc;

/// A buffer that grew beyond this for one group is not kept for the next.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// The log's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A segment that has grown to this size gets no further group. Default 64 MiB: small enough
    /// that disk space comes back soon after a flush.
    pub segment_bytes_max: u64,
    /// What may wait for the disk; over it an append is refused. Default 64 MiB.
    pub pending_bytes_max: usize,
    /// The largest payload. Default 48 MiB: above what the largest request becomes.
    pub record_bytes_max: u32,
    /// When a segment has no room left for a group, so many bytes of it are written as zeros first:
    /// syncs that do not change its length take a fraction of the time. Default 1 MiB; 0 is never.
    pub room_bytes: u64,
    /// With less than this free on the disk a sync is refused: the rest is for flushes, which give
    /// space back. Default 64 MiB; more where flushes are larger.
    pub free_bytes_min: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            pending_bytes_max: 64 << 20,
            record_bytes_max: 48 << 20,
            room_bytes: 1 << 20,
            free_bytes_min: 64 << 20,
        }
    }
}

/// A sync that failed: who is refused, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("records up to {through} were not acknowledged: {error}")]
pub struct SyncFailed {
    /// Every record up to this sequence number that has no answer yet is refused.
    pub through: u64,
    /// What the disk said.
    pub error: Error,
}

/// The commit log of one store, open for writing.
///
/// Appends and a sync go on at the same time; two syncs wait for each other.
#[derive(Debug)]
pub struct CommitLog {
    disk: Arc<dyn Disk>,
    directory: String,
    config: Config,
    start: u64,
    // Guards the file. Taken before `pending`, and the only lock that is held during I/O.
    writer: Mutex<Writer>,
    // Guards what waits. Held for the copying of one record, never during I/O.
    pending: Mutex<Pending>,
}

/// What waits for the next group.
#[derive(Debug)]
struct Pending {
    records: Vec<u8>,
    next_sequence: u64,
    /// The highest sequence number on disk.
    synced_sequence: u64,
    /// Bytes that a sync has taken and that are not on disk yet.
    taken_bytes: usize,
    /// Bytes that syncs have brought to the disk since the start.
    written_bytes: u64,
    /// Whether nothing came after the last idle mark.
    is_marked: bool,
}

/// The segment that is being written, and what failed to reach an earlier one.
#[derive(Debug)]
struct Writer {
    segment: Option<Box<dyn DiskFile>>,
    next_number: u64,
    /// The last segment that was created whole.
    newest: Previous,
    /// Records whose write or sync failed; they go in front of the next group.
    refused: Vec<u8>,
    /// The sequence number of the first record not on disk.
    first_sequence: u64,
    /// The buffer to be swapped with `Pending::records`.
    spare: Vec<u8>,
}

impl CommitLog {
    /// Replays the segments from number `from_segment` on and opens the log for a new start.
    ///
    /// Each record that is whole goes to `visit`, in the order it was written, once. When this
    /// returns, what was visited is on disk. `start` is 64 random bits, drawn for this start.
    /// Segments before `from_segment` are not looked at.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] before anything is visited or touched; what `visit` returns; or the
    /// operating system's refusal. A damaged record is no error but a line of the report.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &str,
        config: Config,
        start: u64,
        from_segment: u64,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<(Self, ReplayReport)> {
        let found = replay::run(disk.as_ref(), directory, &config, from_segment, visit)?;
        // The directory's own name must last, and so must what was replayed.
        disk.create_dir(directory)?;
        disk.sync_dir(crate::disk::parent(directory))?;
        for number in &found.report.segments {
            disk.sync_file(&join(directory, &segment_name(*number)))?;
        }
        disk.sync_dir(directory)?;
        let last = segment_numbers(disk.as_ref(), directory)?.last().copied().unwrap_or(0);
        let mut next_number = last.saturating_add(1).max(from_segment).max(1);
        let mut newest = found.newest;
        for unsure in &found.unsure {
            newest = carry::run(disk.as_ref(), directory, unsure, next_number, newest)?;
            next_number += 1;
        }
        let writer = Writer {
            segment: None,
            next_number,
            newest,
            refused: Vec::new(),
            first_sequence: 1,
            spare: Vec::new(),
        };
        let pending = Pending {
            records: Vec::new(),
            next_sequence: 1,
            synced_sequence: 0,
            taken_bytes: 0,
            written_bytes: 0,
            is_marked: true,
        };
        let log = Self {
            disk,
            directory: directory.to_owned(),
            config,
            start,
            writer: Mutex::new(writer),
            pending: Mutex::new(pending),
        };
        Ok((log, found.report))
    }

    /// Puts a record in line and returns its sequence number. It is on disk, and may be
    /// acknowledged, when a [`CommitLog::sync`] has returned this number or a higher one.
    /// An empty payload is not visited by replay.
    ///
    /// # Errors
    /// [`Error::LogFull`] if too much waits already, [`Error::RecordTooLarge`]; then nothing is
    /// in line.
    pub fn append(&self, payload: &[u8]) -> Result<u64> {
        let bytes_max = usize::try_from(self.config.record_bytes_max).unwrap_or(usize::MAX);
        if payload.len() > bytes_max {
            return Err(Error::RecordTooLarge { bytes: payload.len(), bytes_max });
        }
        let framed = Payload::new(payload);
        let mut pending = self.pending.lock();
        let waiting = pending.records.len().saturating_add(pending.taken_bytes);
        let pending_bytes = waiting.saturating_add(frame::RECORD_HEADER_BYTES + payload.len());
        if pending_bytes > self.config.pending_bytes_max {
            let pending_bytes_max = self.config.pending_bytes_max;
            return Err(Error::LogFull { pending_bytes, pending_bytes_max });
        }
        Ok(pending.push(self.start, framed))
    }

    /// Puts an idle mark in line: an empty record that says how far the log was on disk, so that
    /// damage before it is told from a torn tail. Returns `None` if nothing came since the last.
    /// To be synced like any other record.
    pub fn mark(&self) -> Option<u64> {
        let mut pending = self.pending.lock();
        if pending.is_marked {
            return None;
        }
        let sequence = pending.push(self.start, Payload::default());
        pending.is_marked = true;
        Some(sequence)
    }

    /// Puts an idle mark in line also if nothing came since the last: behind [`roll`](Self::roll)
    /// it begins the next segment, so that the one before may go.
    pub fn mark_anew(&self) {
        let mut pending = self.pending.lock();
        pending.push(self.start, Payload::default());
        pending.is_marked = true;
    }

    /// Brings everything in line to the disk with one write and one sync, and returns the highest
    /// sequence number that is there. Without anything in line it touches nothing.
    ///
    /// # Errors
    /// [`SyncFailed`]: its group is refused. The records stay, and go in front of the next group
    /// into a new segment; the segment that failed is not touched again. Or the disk is nearly
    /// full: then nothing was touched.
    pub fn sync(&self) -> Result<u64, SyncFailed> {
        let mut writer = self.writer.lock();
        self.check_reserve()?;
        self.sync_group(&mut writer)
    }

    /// As [`CommitLog::sync`], also on a disk that is nearly full: for a mark by which a segment
    /// goes. What else is in line is bounded, and goes with it.
    ///
    /// # Errors
    /// [`SyncFailed`].
    pub fn sync_into_reserve(&self) -> Result<u64, SyncFailed> {
        self.sync_group(&mut self.writer.lock())
    }

    fn sync_group(&self, writer: &mut Writer) -> Result<u64, SyncFailed> {
        let (group, through) = {
            let mut pending = self.pending.lock();
            let mut group = mem::take(&mut writer.refused);
            let spare = mem::take(&mut writer.spare);
            let records = mem::replace(&mut pending.records, spare);
            if group.is_empty() {
                group = records;
            } else {
                group.extend_from_slice(&records);
            }
            pending.taken_bytes = group.len();
            (group, pending.next_sequence - 1)
        };
        if group.is_empty() {
            writer.keep_spare(group);
            return Ok(through);
        }
        match self.write_group(writer, &group) {
            Ok(()) => {
                let mut pending = self.pending.lock();
                pending.taken_bytes = 0;
                pending.written_bytes += group.len() as u64;
                pending.synced_sequence = through;
                drop(pending);
                writer.keep_spare(group);
                writer.first_sequence = through + 1;
                Ok(through)
            }
            Err(error) => {
                writer.segment = None;
                writer.refused = group;
                Err(SyncFailed { through, error })
            }
        }
    }

    /// Closes the segment that is being written: every later append goes to the segment whose
    /// number is returned, or behind it. What is in line already goes there too.
    pub fn roll(&self) -> u64 {
        let mut writer = self.writer.lock();
        writer.segment = None;
        writer.next_number
    }

    /// The numbers of the segments on disk, ascending.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn segments(&self) -> Result<Vec<u64>> {
        segment_numbers(self.disk.as_ref(), &self.directory)
    }

    /// Unlinks every segment up to number `through`, but never the newest: by the number of the
    /// segment before it the next start sees whether any is missing.
    /// The caller has everything in them on disk elsewhere, and says so in the manifest first.
    ///
    /// # Errors
    /// If the operating system refuses; then some may be gone.
    pub fn remove_through(&self, through: u64) -> Result<()> {
        let newest = self.writer.lock().newest.number;
        let last = through.min(newest.saturating_sub(1));
        let gone: Vec<u64> =
            self.segments()?.into_iter().filter(|number| *number <= last).collect();
        if gone.is_empty() {
            return Ok(());
        }
        for number in gone {
            self.disk.unlink(&join(&self.directory, &segment_name(number)))?;
        }
        self.disk.sync_dir(&self.directory)
    }

    /// The highest sequence number that is on disk.
    #[must_use]
    pub fn synced_sequence(&self) -> u64 {
        self.pending.lock().synced_sequence
    }

    /// The bytes of records that came to the disk since the log was opened.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.pending.lock().written_bytes
    }

    /// The bytes that are not on disk yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        let pending = self.pending.lock();
        pending.records.len().saturating_add(pending.taken_bytes)
    }

    /// Refuses what is in line if the disk is nearly full.
    fn check_reserve(&self) -> Result<(), SyncFailed> {
        let reserve_bytes = self.config.free_bytes_min;
        let pending = self.pending.lock();
        let (through, waits) = (pending.next_sequence - 1, pending.synced_sequence);
        drop(pending);
        if reserve_bytes == 0 || through == waits {
            return Ok(());
        }
        match self.disk.free_bytes() {
            Ok(free_bytes) if free_bytes < reserve_bytes => {
                let error = Error::DiskReserve { free_bytes, reserve_bytes };
                Err(SyncFailed { through, error })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(SyncFailed { through, error }),
        }
    }

    fn write_group(&self, writer: &mut Writer, group: &[u8]) -> Result<()> {
        let bytes_max = self.config.segment_bytes_max;
        let open = writer.segment.take().filter(|segment| segment.written_bytes() < bytes_max);
        let mut segment = match open {
            Some(segment) => segment,
            None => self.next_segment(writer)?,
        };
        let (group_bytes, room_bytes) = (group.len() as u64, self.config.room_bytes);
        if room_bytes > 0 && group_bytes > segment.room_bytes() {
            // Without it the sync takes longer, no more.
            let _ = segment.make_room(group_bytes.max(room_bytes));
        }
        segment.append(group)?;
        segment.sync_data()?;
        writer.newest.bytes = segment.written_bytes();
        writer.segment = Some(segment);
        Ok(())
    }

    /// Creates the next segment.
    fn next_segment(&self, writer: &mut Writer) -> Result<Box<dyn DiskFile>> {
        let number = writer.next_number;
        // A number whose creation failed is not used again: its name may be on disk or not.
        writer.next_number += 1;
        let (first_sequence, previous) = (writer.first_sequence, writer.newest);
        let header = SegmentHeader { start: self.start, number, first_sequence, previous };
        let segment = create_segment(self.disk.as_ref(), &self.directory, header)?;
        writer.newest = Previous { number, first_sequence, bytes: segment.written_bytes() };
        Ok(segment)
    }
}

/// Creates a segment; its header and its name are on disk when this returns.
fn create_segment(
    disk: &dyn Disk,
    directory: &str,
    header: SegmentHeader,
) -> Result<Box<dyn DiskFile>> {
    let path = join(directory, &segment_name(header.number));
    let created = disk.create_new(&path).and_then(|mut segment| {
        segment.append(&header.encode())?;
        segment.sync_data()?;
        disk.sync_dir(directory)?;
        Ok(segment)
    });
    if created.is_err() {
        // Best effort: an empty segment is harmless, but a failing disk must not collect one
        // per attempt.
        let _ = disk.unlink(&path);
    }
    created
}

impl Pending {
    fn push(&mut self, start: u64, payload: Payload<'_>) -> u64 {
        let sequence = self.next_sequence;
        frame::push_record(&mut self.records, start, sequence, self.synced_sequence, payload);
        self.next_sequence += 1;
        self.is_marked = false;
        sequence
    }
}

impl Writer {
    fn keep_spare(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.shrink_to(SPARE_BYTES_MAX);
        self.spare = buffer;
    }
}

/// The name of a segment's file.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// The numbers of the segments in `directory`, ascending. Files with other names are not ours.
fn segment_numbers(disk: &dyn Disk, directory: &str) -> Result<Vec<u64>> {
    let names = disk.list(directory)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests;
