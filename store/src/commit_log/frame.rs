//! The bytes of a segment: its header, and the frame around each record. `FORMAT.md` draws them.
//!
//! A frame's header has a checksum of its own, so that a length is believed only when it is
//! right, and names the start that wrote it, 64 random bits no sender of samples knows: bytes
//! inside a payload cannot pass for a record when replay looks for the next good one.

/// What a segment begins with.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"cumaelog";
/// The version of segments and frames that this release writes, and the last one it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes before a segment's first record.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// What a record begins with: no text in UTF-8 contains it.
pub(super) const RECORD_MAGIC: [u8; 4] = [0xC5, 0xF8, 0x1D, 0xFF];
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 40;

/// What a segment says about the one that was written before it, so that one that was damaged,
/// cut or removed since is found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    /// Its number; 0 if there was none.
    pub(super) number: u64,
    /// Its first sequence number, if this start wrote it; else 0.
    pub(super) first_sequence: u64,
    /// How many bytes of it were on disk at least.
    pub(super) bytes: u64,
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Which start of the process wrote it: a random number.
    pub(super) start: u64,
    /// Its number, as in its name.
    pub(super) number: u64,
    /// No record of this start with a lower sequence number is in it or behind it.
    pub(super) first_sequence: u64,
    pub(super) previous: Previous,
}

/// What the first bytes of a segment turn out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SegmentStart {
    Good(SegmentHeader),
    /// A later release wrote it.
    Newer(u32),
    /// Torn or damaged.
    Bad,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.start.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.previous.number.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous.first_sequence.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.previous.bytes.to_le_bytes());
        let checksum = segment_checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> SegmentStart {
        if bytes[..8] != SEGMENT_MAGIC || u32_at(bytes, 12) != segment_checksum(bytes) {
            return SegmentStart::Bad;
        }
        match u32_at(bytes, 8) {
            newer if newer > VERSION => SegmentStart::Newer(newer),
            _ => SegmentStart::Good(Self {
                start: u64_at(bytes, 16),
                number: u64_at(bytes, 24),
                first_sequence: u64_at(bytes, 32),
                previous: Previous {
                    number: u64_at(bytes, 40),
                    first_sequence: u64_at(bytes, 48),
                    bytes: u64_at(bytes, 56),
                },
            }),
        }
    }
}

fn segment_checksum(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// What a record says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) payload_bytes: u32,
    pub(super) payload_checksum: u32,
    pub(super) start: u64,
    pub(super) sequence: u64,
    /// Every record of this start up to this one was on disk when this record was framed.
    pub(super) synced_sequence: u64,
}

impl RecordHeader {
    fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.start.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.synced_sequence.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header in these bytes, or `None` if they are not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..4] != RECORD_MAGIC || u32_at(bytes, 4) != crc32c::crc32c(&bytes[8..]) {
            return None;
        }
        Some(Self {
            payload_bytes: u32_at(bytes, 8),
            payload_checksum: u32_at(bytes, 12),
            start: u64_at(bytes, 16),
            sequence: u64_at(bytes, 24),
            synced_sequence: u64_at(bytes, 32),
        })
    }
}

/// Appends a whole record to `buffer`. The payload is at most `u32::MAX` bytes: [`super::Config`].
pub(super) fn push_record(
    buffer: &mut Vec<u8>,
    start: u64,
    sequence: u64,
    synced_sequence: u64,
    payload: Payload<'_>,
) {
    let header = RecordHeader {
        payload_bytes: u32::try_from(payload.bytes.len()).unwrap_or(u32::MAX),
        payload_checksum: payload.checksum,
        start,
        sequence,
        synced_sequence,
    };
    buffer.extend_from_slice(&header.encode());
    buffer.extend_from_slice(payload.bytes);
}

/// A payload and its checksum, which is computed before any lock is taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Payload<'a> {
    bytes: &'a [u8],
    checksum: u32,
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, checksum: crc32c::crc32c(bytes) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_le_bytes(*eight))
}
