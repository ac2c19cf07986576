//! Carries over what an earlier start left and nothing says is on disk.
//!
//! Replay reads through the page cache. If the start before had a failed sync and was killed,
//! the cache holds records that the disk does not, their pages count as clean, and another sync
//! of the file says `Ok` without writing them. So what that start did not know to be on disk is
//! written again, as that start would have done: to a new segment of *its* number, with the same
//! sequence numbers. Behind it comes an idle mark: from now on also this start's last records
//! are known to be acknowledged, and damage to them is told from a torn tail.

use super::frame::{Payload, Previous, SegmentHeader, push_record};
use super::replay::Unsure;
use super::{create_segment, segment_name};
use crate::disk::{Disk, join};
use crate::error::Result;

/// Writes the segment `number` with the records of `unsure`; it is on disk when this returns.
pub(super) fn run(
    disk: &dyn Disk,
    directory: &str,
    unsure: &Unsure,
    number: u64,
    previous: Previous,
) -> Result<Previous> {
    let Unsure { start, places, lost } = unsure;
    let first_sequence =
        places.iter().map(|place| place.sequence).chain(lost.iter().copied()).min();
    let first_sequence = first_sequence.unwrap_or(1);
    let last_sequence = places.last().map_or(0, |place| place.sequence);
    let header = SegmentHeader { start: *start, number, first_sequence, previous };
    let mut file = create_segment(disk, directory, header)?;
    let mut record = Vec::new();
    for place in places {
        // Replay found these bytes to be in the file, so this allocates no more than it has.
        record.resize(usize::try_from(place.bytes).unwrap_or(usize::MAX), 0);
        disk.open(&join(directory, &segment_name(place.segment)))?
            .read_at(place.offset, &mut record)?;
        file.append(&record)?;
    }
    // A number that was lost and never acknowledged becomes an empty record, or the mark behind
    // would call it damage.
    record.clear();
    for sequence in lost {
        push_record(&mut record, *start, *sequence, 0, Payload::default());
    }
    file.append(&record)?;
    file.sync_data()?;
    record.clear();
    push_record(
        &mut record,
        *start,
        last_sequence.saturating_add(1),
        last_sequence,
        Payload::default(),
    );
    file.append(&record)?;
    file.sync_data()?;
    Ok(Previous { number, first_sequence: 0, bytes: file.written_bytes() })
}
