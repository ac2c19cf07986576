//! The manifest's edits and their bytes. `FORMAT.md` draws them.

use super::rule_set::{self, RuleSet};
use model::matcher::MatchOp;
use model::{Matcher, Retention, TenantId, TimeRange, TimestampMs, Tombstone};
use std::sync::Arc;

/// The version that this release writes, and the last one it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 16;
/// How far the number of a record may be above the one before it.
pub(super) const NUMBER_STEP_MAX: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"cumaeman";
const RECORD_MAGIC: [u8; 4] = [0xC5, 0xF9, 0x2E, 0xFF];
/// Magic, length of the edits, checksum, number, next file id.
const RECORD_HEADER_BYTES: usize = 28;

const TAG_ADD_SSTABLE: u8 = 1;
const TAG_REMOVE_SSTABLE: u8 = 2;
const TAG_SET_CHECKPOINT: u8 = 3;
const TAG_SET_RETENTION_CLASS: u8 = 4;
const TAG_SET_RETENTION_RULES: u8 = 5;
const TAG_SET_TRUSTED_TIME: u8 = 6;
const TAG_ADD_TOMBSTONE: u8 = 16;
const TAG_REMOVE_TOMBSTONE: u8 = 17;
const TAG_SET_REVISION: u8 = 18;

/// A live sstable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstableMeta {
    /// Its number, as in its name.
    pub id: u64,
    /// Which retention class it belongs to.
    pub retention_class: u32,
    /// The first day of its window.
    pub window_first_day: i32,
    /// How many days its window has; 0 for the window of all before the year 2000.
    pub window_days: u32,
    /// Its size.
    pub file_bytes: u64,
    /// xxh3 of the whole file.
    pub file_hash: u64,
    /// How many series are in it, and how many samples.
    pub series: u64,
    /// How many samples are in it.
    pub samples: u64,
    /// Its first sample's moment, in milliseconds.
    pub min_timestamp_ms: i64,
    /// Its last sample's moment, in milliseconds.
    pub max_timestamp_ms: i64,
    /// How many partitions are in it.
    pub partitions: u64,
    /// The lowest and the highest token of its partitions.
    pub token_first: u64,
    /// See `token_first`.
    pub token_last: u64,
    /// When it was written, in milliseconds since 1970.
    pub created_ms: i64,
    /// How it came to be.
    pub stage: Stage,
    /// Every tombstone up to this number has been applied to its samples: none that it hides is
    /// in the file.
    pub tombstones_through: u64,
    /// Its series were put into their class, and freed of what is expired, by the rules of this
    /// version, or by later ones that say the same.
    pub retention_version: u64,
}

/// How an sstable came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// By a flush, or an import: from samples, in the fast encoding.
    #[default]
    Flushed,
    /// By a compaction of an open window.
    Compacted,
    /// By the compaction that closes a window, in the dense encoding.
    Sealed,
}

impl Stage {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Flushed, Self::Compacted, Self::Sealed]
            .into_iter()
            .find(|stage| *stage as u8 == byte)
    }
}

/// Where replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRef {
    /// The checkpoint's number, as in its name.
    pub id: u64,
    /// The first segment that holds anything neither in the checkpoint nor in an sstable.
    pub log_from_segment: u64,
}

/// How long samples of a class are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionClass {
    /// Its number; 0 is the class of what is kept for ever, which no edit names.
    pub id: u32,
    /// How long.
    pub retention: Retention,
    /// How many days its windows have.
    pub window_days: u32,
}

/// One part of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// An sstable is live. Its bytes and its name are on disk.
    AddSstable(SstableMeta),
    /// The sstable of this number is no longer live.
    RemoveSstable(u64),
    /// Replay begins here. The checkpoint is on disk.
    SetCheckpoint(CheckpointRef),
    /// A retention class is this from now on.
    SetRetentionClass(RetentionClass),
    /// These are a tenant's rules from now on, the ones in force last.
    SetRetentionRules(TenantId, Vec<RuleSet>),
    /// The clock was believed to be here, in milliseconds since 1970.
    SetTrustedTime(i64),
    /// A tombstone of this number hides samples from now on.
    AddTombstone(u64, Arc<Tombstone>),
    /// The tombstone of this number hides nothing any more that another does not hide.
    RemoveTombstone(u64),
    /// No sample of this tenant in an sstable has a revision above this.
    SetRevision(TenantId, u32),
}

/// What the first bytes of a manifest turn out to be.
pub(super) enum Header {
    Good,
    Newer(u32),
    Bad,
}

impl Header {
    pub(super) fn encode() -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Self::Bad;
        };
        let mut fields = Fields { bytes: &bytes[8..] };
        let (version, checksum) = (fields.u32(), fields.u32());
        match (version, checksum) {
            _ if bytes[..8] != MAGIC || checksum != Some(crc32c::crc32c(&bytes[..12])) => Self::Bad,
            (Some(newer), _) if newer > VERSION => Self::Newer(newer),
            _ => Self::Good,
        }
    }
}

/// The bytes of one change.
pub(super) fn encode_record(number: u64, next_file_id: u64, edits: &[Edit]) -> Vec<u8> {
    let mut body = Vec::new();
    edits.iter().for_each(|edit| edit.encode(&mut body));
    // A manifest of 4 GiB is far beyond its limit.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(RECORD_HEADER_BYTES + body.len());
    bytes.extend(RECORD_MAGIC);
    bytes.extend(length.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(number.to_le_bytes());
    bytes.extend(next_file_id.to_le_bytes());
    bytes.extend(body);
    let checksum = record_checksum(&bytes);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn record_checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..8]), &record[12..])
}

/// One change, read back.
pub(super) struct Decoded {
    pub(super) number: u64,
    pub(super) next_file_id: u64,
    pub(super) edits: Vec<Edit>,
    /// The index behind it.
    pub(super) end: usize,
}

impl Decoded {
    /// The record at index `at`, if it is whole and its number follows `last_number`.
    pub(super) fn at(bytes: &[u8], at: usize, last_number: u64) -> Option<Self> {
        let rest = bytes.get(at..)?;
        let mut fields = Fields { bytes: rest.strip_prefix(&RECORD_MAGIC)? };
        let (length, checksum) = (fields.u32()?, fields.u32()?);
        let (number, next_file_id) = (fields.u64()?, fields.u64()?);
        let is_next =
            last_number == 0 || (last_number < number && number - last_number <= NUMBER_STEP_MAX);
        let whole = RECORD_HEADER_BYTES.checked_add(length as usize)?;
        let record = rest.get(..whole)?;
        if number == 0 || !is_next || checksum != record_checksum(record) {
            return None;
        }
        let mut fields = Fields { bytes: &record[RECORD_HEADER_BYTES..] };
        let mut edits = Vec::new();
        while !fields.bytes.is_empty() {
            edits.push(Edit::decode(&mut fields)?);
        }
        Some(Self { number, next_file_id, edits, end: at + whole })
    }

    /// Whether a good record with a number above `last_number` lies behind index `at`.
    pub(super) fn is_behind(bytes: &[u8], at: usize, last_number: u64) -> bool {
        (at + 1..bytes.len()).any(|at| Self::at(bytes, at, last_number).is_some())
    }
}

impl Edit {
    /// This edit by itself, with a checksum: the value of a row.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_record(1, 0, std::slice::from_ref(self))
    }

    /// The edit in these bytes; `None` if they are not one.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut record = Decoded::at(bytes, 0, 0).filter(|record| record.end == bytes.len())?;
        let edit = record.edits.pop()?;
        record.edits.is_empty().then_some(edit)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AddSstable(meta) => {
                out.push(TAG_ADD_SSTABLE);
                out.extend(meta.id.to_le_bytes());
                out.extend(meta.retention_class.to_le_bytes());
                out.extend(meta.window_first_day.to_le_bytes());
                out.extend(meta.window_days.to_le_bytes());
                out.extend(meta.file_bytes.to_le_bytes());
                out.extend(meta.file_hash.to_le_bytes());
                out.extend(meta.series.to_le_bytes());
                out.extend(meta.samples.to_le_bytes());
                out.extend(meta.min_timestamp_ms.to_le_bytes());
                out.extend(meta.max_timestamp_ms.to_le_bytes());
                out.extend(meta.partitions.to_le_bytes());
                out.extend(meta.token_first.to_le_bytes());
                out.extend(meta.token_last.to_le_bytes());
                out.extend(meta.created_ms.to_le_bytes());
                out.push(meta.stage as u8);
                out.extend(meta.tombstones_through.to_le_bytes());
                out.extend(meta.retention_version.to_le_bytes());
            }
            Self::RemoveSstable(id) => {
                out.push(TAG_REMOVE_SSTABLE);
                out.extend(id.to_le_bytes());
            }
            Self::SetCheckpoint(checkpoint) => {
                out.push(TAG_SET_CHECKPOINT);
                out.extend(checkpoint.id.to_le_bytes());
                out.extend(checkpoint.log_from_segment.to_le_bytes());
            }
            Self::SetRetentionClass(class) => {
                out.push(TAG_SET_RETENTION_CLASS);
                out.extend(class.id.to_le_bytes());
                out.extend(class.retention.as_ms().to_le_bytes());
                out.extend(class.window_days.to_le_bytes());
            }
            Self::SetRetentionRules(tenant, sets) => {
                out.push(TAG_SET_RETENTION_RULES);
                put_rules(out, &rule_set::encode(tenant, sets));
            }
            Self::SetTrustedTime(at_ms) => {
                out.push(TAG_SET_TRUSTED_TIME);
                out.extend(at_ms.to_le_bytes());
            }
            Self::AddTombstone(id, tombstone) => {
                out.push(TAG_ADD_TOMBSTONE);
                out.extend(id.to_le_bytes());
                put_tombstone(out, tombstone);
            }
            Self::RemoveTombstone(id) => {
                out.push(TAG_REMOVE_TOMBSTONE);
                out.extend(id.to_le_bytes());
            }
            Self::SetRevision(tenant, revision) => {
                out.push(TAG_SET_REVISION);
                put_text(out, tenant.as_str());
                out.extend(revision.to_le_bytes());
            }
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let [tag] = fields.array()?;
        Some(match tag {
            TAG_ADD_SSTABLE => Self::AddSstable(SstableMeta {
                id: fields.u64()?,
                retention_class: fields.u32()?,
                window_first_day: i32::from_le_bytes(fields.array()?),
                window_days: fields.u32()?,
                file_bytes: fields.u64()?,
                file_hash: fields.u64()?,
                series: fields.u64()?,
                samples: fields.u64()?,
                min_timestamp_ms: i64::from_le_bytes(fields.array()?),
                max_timestamp_ms: i64::from_le_bytes(fields.array()?),
                partitions: fields.u64()?,
                token_first: fields.u64()?,
                token_last: fields.u64()?,
                created_ms: i64::from_le_bytes(fields.array()?),
                stage: Stage::from_byte(fields.array::<1>()?[0])?,
                tombstones_through: fields.u64()?,
                retention_version: fields.u64()?,
            }),
            TAG_REMOVE_SSTABLE => Self::RemoveSstable(fields.u64()?),
            TAG_SET_CHECKPOINT => Self::SetCheckpoint(CheckpointRef {
                id: fields.u64()?,
                log_from_segment: fields.u64()?,
            }),
            TAG_SET_RETENTION_CLASS => Self::SetRetentionClass(RetentionClass {
                id: fields.u32()?,
                retention: Retention::from_ms(fields.u64()?),
                window_days: fields.u32()?,
            }),
            TAG_SET_RETENTION_RULES => {
                let len = fields.u32()? as usize;
                let (tenant, sets) = rule_set::decode(fields.take(len)?).ok()?;
                Self::SetRetentionRules(tenant, sets)
            }
            TAG_SET_TRUSTED_TIME => Self::SetTrustedTime(i64::from_le_bytes(fields.array()?)),
            TAG_ADD_TOMBSTONE => Self::AddTombstone(fields.u64()?, Arc::new(tombstone(fields)?)),
            TAG_REMOVE_TOMBSTONE => Self::RemoveTombstone(fields.u64()?),
            TAG_SET_REVISION => {
                Self::SetRevision(TenantId::parse(fields.text()?).ok()?, fields.u32()?)
            }
            _ => return None,
        })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Texts of a tombstone are bounded far below 4 GiB.
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_rules(out: &mut Vec<u8>, payload: &[u8]) {
    // Rules come from a file that somebody wrote by hand.
    out.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(payload);
}

fn put_tombstone(out: &mut Vec<u8>, tombstone: &Tombstone) {
    put_text(out, tombstone.tenant.as_str());
    out.extend(tombstone.range.start.0.to_le_bytes());
    out.extend(tombstone.range.end.0.to_le_bytes());
    out.extend(tombstone.revision_max.to_le_bytes());
    out.extend(tombstone.created.0.to_le_bytes());
    out.extend(u32::try_from(tombstone.matchers.len()).unwrap_or(u32::MAX).to_le_bytes());
    for matcher in &tombstone.matchers {
        put_text(out, &matcher.name);
        out.push(matcher.op.to_byte());
        put_text(out, &matcher.value);
    }
}

fn tombstone(fields: &mut Fields<'_>) -> Option<Tombstone> {
    let tenant = TenantId::parse(fields.text()?).ok()?;
    let (start, end) = (TimestampMs(fields.i64()?), TimestampMs(fields.i64()?));
    let (revision_max, created) = (fields.u32()?, TimestampMs(fields.i64()?));
    // Not reserved: the count is trusted only as far as matchers follow.
    let mut matchers = Vec::new();
    for _ in 0..fields.u32()? {
        let name = fields.text()?;
        let op = MatchOp::from_byte(fields.array::<1>()?[0])?;
        matchers.push(Matcher::new(name, op, fields.text()?));
    }
    Some(Tombstone { tenant, matchers, range: TimeRange { start, end }, revision_max, created })
}

/// Takes fields from the front of some bytes.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(field)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }
}
