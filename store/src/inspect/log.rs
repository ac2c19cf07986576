//! A segment of the commit log, for people.

use super::{Lines, revision, since};
use crate::bytes::Damaged;
use crate::commit_log::{Scanned, scan};
use crate::disk::Disk;
use crate::error::Result;
use crate::record::{self, Samples};

/// What is counted of a segment.
#[derive(Default)]
struct Counts {
    records: u64,
    payload_bytes: u64,
    samples: u64,
    definitions: u64,
    damaged: u64,
    holes: u64,
    hole_bytes: u64,
    room_bytes: u64,
}

pub(super) fn inspect(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let mut counts = Counts::default();
    lines(format!("commit-log segment {path}"));
    scan(disk, path, &mut |found| {
        match found {
            Scanned::Header(header) => drop(lines(header_line(header))),
            Scanned::Record { payload, .. } => {
                counts.records += 1;
                counts.payload_bytes += payload.len() as u64;
                let read = || -> Result<(), Damaged> {
                    let record = record::decode(payload)?;
                    counts.definitions += record.definitions.len() as u64;
                    record.rows(&mut record::Room::default(), |_, rows| {
                        counts.samples += rows.len() as u64
                    })
                };
                // An empty one is a mark.
                if !payload.is_empty() && { read }().is_err() {
                    counts.damaged += 1;
                }
            }
            Scanned::Hole { bytes, .. } => {
                counts.holes += 1;
                counts.hole_bytes += bytes;
            }
            Scanned::Room { bytes, .. } => counts.room_bytes = bytes,
        }
        true
    })?;
    let Counts { records, payload_bytes, samples, definitions, damaged, .. } = counts;
    let Counts { holes, hole_bytes, room_bytes, .. } = counts;
    lines(format!(
        "records {records} payload bytes {payload_bytes} samples {samples} definitions {definitions}"
    ));
    lines(format!("records that make no sense {damaged}"));
    lines(format!("holes {holes} of {hole_bytes} bytes without a whole record"));
    lines(format!("room {room_bytes} bytes for records that did not come"));
    Ok(())
}

pub(super) fn dump(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    scan(disk, path, &mut |found| match found {
        Scanned::Header(header) => lines(header_line(header)),
        Scanned::Hole { offset, bytes, .. } => {
            lines(format!("{offset}: {bytes} bytes without a whole record"))
        }
        Scanned::Room { offset, bytes } => {
            lines(format!("{offset}: {bytes} bytes of room for records that did not come"))
        }
        Scanned::Record { offset, sequence, payload, .. } => {
            let (mut all, mut damaged) = (vec![format!("{offset}: record {sequence}")], None);
            if !payload.is_empty() {
                damaged = record_lines(payload, &mut all).err();
            }
            all.extend(
                damaged.map(|damaged| format!("{offset}: it makes no sense: {}", damaged.0)),
            );
            all.into_iter().all(&mut *lines)
        }
    })
}

fn header_line(header: Option<(u64, u64, u64)>) -> String {
    match header {
        Some((start, number, first)) => {
            format!("start {start:016x} number {number} first record {first}")
        }
        None => "the header is torn or damaged".to_owned(),
    }
}

fn record_lines(payload: &[u8], all: &mut Vec<String>) -> Result<(), Damaged> {
    let record = record::decode(payload)?;
    all.push(format!("  tenant {} generation {:016x}", record.tenant, record.generation));
    for (number, labels) in &record.definitions {
        all.push(format!("  series {number} {labels}"));
    }
    for metadata in &record.metadata {
        all.push(format!("  metadata {metadata:?}"));
    }
    for (number, exemplar) in &record.exemplars {
        all.push(format!("  exemplar of {number} {exemplar:?}"));
    }
    let revision = revision(record.revision);
    record.rows(&mut record::Room::default(), |number, rows| match rows {
        Samples::Floats(rows) => {
            all.extend(rows.iter().map(|s| {
                let since = since(s.start_timestamp_ms);
                format!("  {number} {} {}{since}{revision}", s.timestamp_ms, s.value)
            }));
        }
        Samples::Histograms(rows) => {
            all.extend(rows.iter().map(|s| {
                let since = since(s.start_timestamp_ms);
                format!("  {number} {} {:?}{since}{revision}", s.timestamp_ms, s.histogram)
            }));
        }
    })
}
