//! What a file of a store says, as lines of text for people at night.
//!
//! *Inspect* is a summary, *dump* is everything in it. Both read one file without any lock, take
//! whatever bytes it has, and hold a partition, a record or a frame of it at a time. What is
//! damaged is a line of its own where the reader can go on, and an error where it cannot.
//!
//! Not here: looking for damage on purpose (`verify.rs`).

mod log;
mod sstable;

use crate::bytes::{Damaged, Input};
use crate::checkpoint;
use crate::definitions;
use crate::disk::Disk;
use crate::error::Result;
use crate::manifest::{self, Edit};
use crate::verify::FileKind;
use crate::{format_marker, record, snapshot};
use model::mutation::MetricMetadata;
use model::{Exemplar, LabelSet, TenantId};

/// Takes the lines in; `false` ends it.
pub type Lines<'a> = dyn FnMut(String) -> bool + 'a;

/// Hands a summary of a file to `lines`.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) and what the disk says.
pub fn inspect(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    match FileKind::of(disk, path)? {
        FileKind::Sstable => sstable::inspect(disk, path, lines),
        FileKind::Segment => log::inspect(disk, path, lines),
        FileKind::Manifest => inspect_manifest(disk, path, lines),
        FileKind::Checkpoint => inspect_checkpoint(disk, path, lines),
        FileKind::SnapshotList => dump_list(disk, path, lines),
        FileKind::Marker => dump_marker(disk, path, lines),
    }
}

/// Hands everything in a file to `lines`: each sample of an sstable and of a log, each series, metadata and
/// exemplar of a checkpoint, each live file of a manifest.
///
/// # Errors
/// As [`inspect`].
pub fn dump(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    match FileKind::of(disk, path)? {
        FileKind::Sstable => sstable::dump(disk, path, lines),
        FileKind::Segment => log::dump(disk, path, lines),
        FileKind::Manifest => dump_manifest(disk, path, lines),
        FileKind::Checkpoint => dump_checkpoint(disk, path, lines),
        FileKind::SnapshotList => dump_list(disk, path, lines),
        FileKind::Marker => dump_marker(disk, path, lines),
    }
}

/// Since when a sample counts, if that is known.
fn since(start_timestamp_ms: i64) -> String {
    match start_timestamp_ms {
        0 => String::new(),
        start => format!(" since {start}"),
    }
}

/// The revision of samples, if it is not the usual one.
fn revision(revision: u32) -> String {
    match revision {
        0 => String::new(),
        revision => format!(" revision {revision}"),
    }
}

fn inspect_manifest(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let state = manifest::state_at(disk, path)?;
    let bytes: u64 = state.sstables.values().map(|meta| meta.file_bytes).sum();
    let samples: u64 = state.sstables.values().map(|meta| meta.samples).sum();
    let checkpoint = match state.checkpoint {
        Some(checkpoint) => manifest::checkpoint_path(checkpoint.id),
        None => "none".to_owned(),
    };
    let all = [
        format!("manifest {path}"),
        format!("sstables {} bytes {bytes} samples {samples}", state.sstables.len()),
        format!("checkpoint {checkpoint}"),
        format!("replay from {}", crate::commit_log::segment_name(state.log_from_segment())),
        format!("tombstones {}", state.tombstones.len()),
        format!("next file number {:016x}", state.next_file_id),
    ];
    all.into_iter().all(lines);
    Ok(())
}

fn dump_manifest(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let state = manifest::state_at(disk, path)?;
    for edit in state.as_edits() {
        let line = match edit {
            Edit::AddSstable(meta) => format!(
                "{} class {} window {}+{}d bytes {} xxh3 {:016x} series {} samples {} from {} to {} \
                 partitions {} stage {:?} written {} tombstones through {}",
                manifest::sstable_path(meta.id),
                meta.retention_class,
                meta.window_first_day,
                meta.window_days,
                meta.file_bytes,
                meta.file_hash,
                meta.series,
                meta.samples,
                meta.min_timestamp_ms,
                meta.max_timestamp_ms,
                meta.partitions,
                meta.stage,
                meta.created_ms,
                meta.tombstones_through,
            ),
            Edit::SetCheckpoint(checkpoint) => format!(
                "{} replay from {}",
                manifest::checkpoint_path(checkpoint.id),
                crate::commit_log::segment_name(checkpoint.log_from_segment)
            ),
            other => format!("{other:?}"),
        };
        if !lines(line) {
            break;
        }
    }
    Ok(())
}

fn inspect_checkpoint(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let (mut frames, mut series, mut metadata, mut exemplars) = (0_u64, 0_u64, 0_u64, 0_u64);
    checkpoint::read(disk, path, &mut |payload| {
        let frame = Frame::decode(payload).map_err(|damaged| damaged.at(path, 0))?;
        frames += 1;
        series += frame.definitions.len() as u64;
        metadata += frame.metadata.len() as u64;
        exemplars += frame.exemplars.len() as u64;
        Ok(())
    })?;
    lines(format!("checkpoint {path}"));
    lines(format!("frames {frames} series {series} metadata {metadata} exemplars {exemplars}"));
    Ok(())
}

fn dump_checkpoint(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let mut goes_on = true;
    checkpoint::read(disk, path, &mut |payload| {
        if !goes_on {
            return Ok(());
        }
        let frame = Frame::decode(payload).map_err(|damaged| damaged.at(path, 0))?;
        let (tenant, generation) = (&frame.tenant, frame.generation);
        for (number, labels) in &frame.definitions {
            goes_on = goes_on && lines(format!("{tenant} {generation:016x} {number} {labels}"));
        }
        for metadata in &frame.metadata {
            goes_on = goes_on && lines(format!("{tenant} metadata {metadata:?}"));
        }
        for (number, exemplar) in &frame.exemplars {
            goes_on = goes_on && lines(format!("{tenant} exemplar of {number} {exemplar:?}"));
        }
        Ok(())
    })
}

/// What a frame of a checkpoint holds.
struct Frame {
    tenant: TenantId,
    generation: u64,
    definitions: Vec<(u32, LabelSet)>,
    metadata: Vec<MetricMetadata>,
    exemplars: Vec<(u32, Exemplar)>,
}

impl Frame {
    fn decode(payload: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input::new(payload);
        let _version = input.u8()?;
        let tenant = TenantId::parse(input.text()?).map_err(|_| Damaged("not a tenant's name"))?;
        let generation = input.u64()?;
        let mut all = Vec::new();
        definitions::decode(&mut input, |number, labels| all.push((number, labels)))?;
        let metadata = record::read_metadata(&mut input)?;
        let exemplars = record::read_exemplars(&mut input)?;
        Ok(Self { tenant, generation, definitions: all, metadata, exemplars })
    }
}

fn dump_list(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let list = snapshot::list_at(disk, path)?;
    if lines(format!("snapshot list {path} created {}", list.created.0)) {
        let line =
            |file: &snapshot::File| format!("{:016x} {} {}", file.hash, file.bytes, file.path);
        list.files.iter().map(line).all(lines);
    }
    Ok(())
}

fn dump_marker(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    format_marker::read(disk, path)?;
    lines(format!("format marker {path}"));
    Ok(())
}
