//! Replay: every record that is whole, once, in the order it was written; and what is not whole.
//!
//! After a bad record the next good one is looked for, so that only the bad one is lost. Whether
//! a lost record is *damage* or the *torn tail* of a crash is judged by the log itself: every
//! record says up to which sequence number its start had reached the disk when it was framed.
//! A number up to there of which no good copy is left was acknowledged and is damage; any other
//! was never acknowledged.
//!
//! Not here: bringing to the disk what was accepted (`carry.rs`).

mod judge;

use super::frame::{
    Previous, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentStart,
    VERSION,
};
use super::sequences::Sequences;
use super::source::Source;
use super::{Config, segment_name, segment_numbers};
use crate::disk::{Disk, join};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A record that replay found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed<'a> {
    /// The number of the segment it lies in.
    pub segment: u64,
    /// The start of the process that appended it.
    pub start: u64,
    /// Its sequence number within that start.
    pub sequence: u64,
    /// What was appended.
    pub payload: &'a [u8],
}

/// Bytes of the log that hold no good record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, or the log's directory if a whole file is gone.
    pub path: String,
    /// The first bad byte.
    pub offset: u64,
    /// How many bytes up to the next good record.
    pub bytes: u64,
    /// The first and the last sequence number lost.
    pub sequences: Option<(u64, u64)>,
}

/// What replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// The segments with a good header or record, ascending: what is believed, and so synced.
    pub segments: Vec<u64>,
    /// Records visited.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Good copies of records that had been visited: written again after a failed sync.
    pub copies: u64,
    /// Acknowledged records that are lost. To be repaired from another replica.
    pub damage: Vec<Damage>,
    /// Bytes behind the last whole group of a start: never acknowledged, or copied elsewhere.
    pub torn: Vec<Damage>,
}

/// Bad bytes between two good records, before it is known whether they matter.
#[derive(Debug)]
struct Hole {
    segment: u64,
    offset: u64,
    bytes: u64,
    /// Whether they are zeros up to the segment's end: room that was made and not written to.
    is_room: bool,
    /// The start of the segment, if a good header or record says it.
    start: Option<u64>,
    /// The last good sequence number before and the first one behind, in the same segment.
    after: u64,
    before: u64,
}

/// What is known of one start.
#[derive(Debug, Default)]
struct StartState {
    good: Sequences,
    synced: u64,
    /// The lowest sequence number that a segment header of the start names.
    lowest: Option<u64>,
    /// Where the good records above `synced` are, ascending by sequence number.
    unsure: Vec<Place>,
}

/// Where a whole record lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    is_empty: bool,
}

/// The records of a start that nothing in the log says were on disk.
#[derive(Debug)]
pub(super) struct Unsure {
    pub(super) start: u64,
    pub(super) places: Vec<Place>,
    /// The numbers up to the last of `places` that were lost without ever being acknowledged.
    pub(super) lost: Vec<u64>,
}

/// One segment on disk.
#[derive(Debug)]
struct Segment {
    number: u64,
    file_bytes: u64,
    /// `None` if it is torn or damaged.
    header: Option<SegmentHeader>,
    /// The byte behind its last good record.
    good_bytes: u64,
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    directory: &'a str,
    record_bytes_max: u64,
    starts: BTreeMap<u64, StartState>,
    holes: Vec<Hole>,
    report: ReplayReport,
}

/// What `CommitLog::open` needs of a replay.
pub(super) struct Found {
    pub(super) report: ReplayReport,
    /// The newest segment with a good header.
    pub(super) newest: Previous,
    pub(super) unsure: Vec<Unsure>,
}

/// Visits every whole record of the segments from `from_segment` on. Writes nothing.
pub(super) fn run(
    disk: &dyn Disk,
    directory: &str,
    config: &Config,
    from_segment: u64,
    visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<Found> {
    let mut replay = Replay {
        disk,
        directory,
        record_bytes_max: u64::from(config.record_bytes_max),
        starts: BTreeMap::new(),
        holes: Vec::new(),
        report: ReplayReport::default(),
    };
    let mut segments = headers(disk, directory)?;
    for segment in segments.iter_mut().filter(|segment| segment.number >= from_segment) {
        replay.segment(segment, visit)?;
    }
    let unsure = replay.unsure();
    let newest = judge::newest(&segments, from_segment, &unsure);
    segments.retain(|segment| segment.number >= from_segment);
    replay.close_holes(&segments);
    replay.check_previous(from_segment.max(1), &segments);
    replay.judge();
    Ok(Found { report: replay.report, newest, unsure })
}

/// Reads every header before anything is visited, so that a later release's log is refused
/// untouched.
fn headers(disk: &dyn Disk, directory: &str) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for number in segment_numbers(disk, directory)? {
        let path = join(directory, &segment_name(number));
        let reader = disk.open(&path)?;
        let file_bytes = reader.file_bytes();
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if file_bytes >= SEGMENT_HEADER_BYTES as u64 {
            reader.read_at(0, &mut bytes)?;
        }
        let header = match SegmentHeader::decode(&bytes) {
            SegmentStart::Newer(found) => {
                return Err(Error::NewerFormat { path, found, known: VERSION });
            }
            SegmentStart::Good(header) if header.number == number => Some(header),
            SegmentStart::Good(_) | SegmentStart::Bad => None,
        };
        let good_bytes = header.map_or(0, |_| SEGMENT_HEADER_BYTES as u64);
        segments.push(Segment { number, file_bytes, header, good_bytes });
    }
    Ok(segments)
}

impl StartState {
    /// A sequence number from which on the start's records should be there.
    fn reaches_down_to(&mut self, sequence: u64) {
        self.lowest = Some(self.lowest.map_or(sequence, |lowest| lowest.min(sequence)));
    }
}

impl Replay<'_> {
    fn segment(
        &mut self,
        segment: &mut Segment,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<()> {
        let (number, header) = (segment.number, segment.header);
        let path = join(self.directory, &segment_name(number));
        let mut source = Source::open(self.disk, &path)?;
        let mut start = header.map(|header| header.start);
        let mut after = 0;
        if let Some(header) = header {
            self.start(header.start).reaches_down_to(header.first_sequence);
            after = header.first_sequence.saturating_sub(1);
        }
        // A good header is skipped; without one the records are looked for from the first byte.
        let mut at = header.map_or(0, |_| SEGMENT_HEADER_BYTES as u64);
        let (mut hole_from, mut is_room) = (None, false);
        while at < source.file_bytes {
            let Some((found, behind)) = source.record_at(at, start, self.record_bytes_max)? else {
                is_room = hole_from.is_none() && source.is_room(at)?;
                hole_from.get_or_insert(at);
                at = if is_room { source.file_bytes } else { source.next_magic(at + 1)? };
                continue;
            };
            start = Some(found.start);
            if let Some(offset) = hole_from.take() {
                let (bytes, before) = (at - offset, found.sequence);
                if offset == 0 {
                    self.start(found.start).reaches_down_to(lowest_lost(before, bytes));
                }
                let is_room = false;
                let hole = Hole { segment: number, offset, bytes, is_room, start, after, before };
                self.holes.push(hole);
            }
            after = found.sequence;
            segment.good_bytes = behind;
            let sequence = found.sequence;
            let (bytes, is_empty) = (behind - at, source.payload().is_empty());
            let place = Place { sequence, segment: number, offset: at, bytes, is_empty };
            self.accept(found, place, source.payload(), visit)?;
            at = behind;
        }
        if let Some(offset) = hole_from {
            let (bytes, before) = (source.file_bytes - offset, u64::MAX);
            let hole = Hole { segment: number, offset, bytes, is_room, start, after, before };
            self.holes.push(hole);
        }
        if segment.good_bytes > 0 {
            self.report.segments.push(number);
        }
        Ok(())
    }

    fn start(&mut self, start: u64) -> &mut StartState {
        self.starts.entry(start).or_default()
    }

    fn accept(
        &mut self,
        header: RecordHeader,
        place: Place,
        payload: &[u8],
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<()> {
        let state = self.start(header.start);
        if header.synced_sequence > state.synced {
            state.synced = header.synced_sequence;
            state.unsure.retain(|place| place.sequence > header.synced_sequence);
        }
        if !state.good.insert(header.sequence) {
            self.report.copies += 1;
            return Ok(());
        }
        if header.sequence > state.synced {
            state.unsure.push(place);
        }
        if payload.is_empty() {
            return Ok(());
        }
        self.report.records += 1;
        self.report.payload_bytes += payload.len() as u64;
        let RecordHeader { start, sequence, .. } = header;
        let segment = place.segment;
        visit(Replayed { segment, start, sequence, payload })
    }
}

/// The lowest sequence number that may have been in `bytes` at the front of a segment without
/// header, before the good record `before`: a record takes a header at least.
fn lowest_lost(before: u64, bytes: u64) -> u64 {
    let records = bytes.saturating_sub(SEGMENT_HEADER_BYTES as u64) / RECORD_HEADER_BYTES as u64;
    before.saturating_sub(records).max(1)
}
