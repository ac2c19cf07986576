//! One series in the head: its open chunk, the chunks before, and what came late.

use super::symbols::LabelIds;
use crate::chunk::Chunk;
use crate::chunk::fast::Encoder;
use crate::merge;
use model::{DayBucket, Sample, TimestampMs};

/// A chunk is cut at so many samples: what a reader must decode for one of them.
pub(crate) const CHUNK_SAMPLES_MAX: u32 = 1024;
/// So many late samples are sorted and coded.
const LATE_MAX: usize = 128;

/// How far a series' definition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Definition {
    /// No record with it is known to be on disk.
    Needed,
    /// A record with it is on disk, and another one carries it: no single record matters.
    Written,
}

/// What never changes about a series.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) fingerprint: u64,
    pub(crate) target: u64,
    pub(crate) labels: LabelIds,
}

/// A series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) fingerprint: u64,
    /// The hash of its target.
    pub(crate) target: u64,
    pub(crate) labels: LabelIds,
    /// Its number within its shard.
    pub(crate) local: u32,
    /// When its last sample came, in seconds since 1970.
    pub(crate) received_s: u32,
    pub(crate) definition: Definition,
    revision: u32,
    open: Encoder,
    /// The end of the day that the open chunk lies in.
    day_end_ms: i64,
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Complete chunks, in order of completion; they may overlap.
    sealed: Vec<Chunk>,
    /// Samples out of order, in order of arrival.
    late: Vec<Sample>,
    /// How many of the sealed chunks a flush has taken.
    taken: usize,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    InOrder,
    Late,
    /// It was there, bit for bit.
    Repeated,
}

impl Series {
    pub(crate) fn new(who: Identity, local: u32, received_s: u32) -> Self {
        let Identity { fingerprint, target, labels } = who;
        Self {
            fingerprint,
            target,
            labels,
            local,
            received_s,
            definition: Definition::Needed,
            revision: 0,
            open: Encoder::default(),
            day_end_ms: i64::MIN,
            rest: None,
        }
    }

    /// Adds a sample.
    #[inline]
    pub(crate) fn push(&mut self, sample: &Sample) -> Pushed {
        let at = sample.timestamp_ms;
        if self.open.count() > 0 {
            if at <= self.open.last_ms() || sample.revision != self.revision {
                return self.push_late(sample);
            }
            if at >= self.day_end_ms || self.open.count() >= CHUNK_SAMPLES_MAX {
                self.seal();
            }
        }
        if self.open.count() == 0 {
            self.revision = sample.revision;
            self.day_end_ms = TimestampMs(at).day().range().end.0;
        }
        self.open.push(at, sample.value, sample.start_timestamp_ms);
        Pushed::InOrder
    }

    #[cold]
    fn push_late(&mut self, sample: &Sample) -> Pushed {
        let is_repeat = sample.timestamp_ms == self.open.last_ms()
            && sample.revision == self.revision
            && self.open.ends_with(sample.value, sample.start_timestamp_ms);
        if is_repeat {
            return Pushed::Repeated;
        }
        let rest = self.rest.get_or_insert_default();
        rest.late.push(*sample);
        if rest.late.len() >= LATE_MAX {
            self.spill();
        }
        Pushed::Late
    }

    fn seal(&mut self) {
        if let Some(chunk) = self.open.seal(self.revision) {
            self.rest.get_or_insert_default().sealed.push(chunk);
        }
    }

    /// Codes the late samples.
    fn spill(&mut self) {
        if let Some(rest) = self.rest.as_deref_mut() {
            let late = std::mem::take(&mut rest.late);
            rest.sealed.extend(merge::chunks_of(late));
        }
    }

    /// The bytes that its samples take.
    #[inline]
    pub(crate) fn sample_bytes(&self) -> usize {
        let rest = self.rest.as_deref().map_or(0, |rest| {
            let sealed: usize = rest.sealed.iter().map(|chunk| chunk.bytes.len() + 56).sum();
            sealed + rest.late.capacity() * size_of::<Sample>()
        });
        self.open.capacity() + rest
    }

    /// Bytes that the open chunk holds on to.
    #[inline]
    pub(crate) fn open_bytes(&self) -> usize {
        self.open.capacity()
    }

    /// Whether it holds no sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.count() == 0 && self.rest.is_none()
    }

    /// Closes everything it holds and returns a copy of it; it stays readable here until
    /// [`Series::release`].
    pub(crate) fn take(&mut self) -> Vec<Chunk> {
        self.seal();
        self.spill();
        let Some(rest) = self.rest.as_deref_mut() else {
            return Vec::new();
        };
        rest.taken = rest.sealed.len();
        rest.sealed.clone()
    }

    /// Lets go of what was taken, and returns how many samples that were.
    pub(crate) fn release(&mut self) -> u64 {
        let Some(rest) = self.rest.as_deref_mut() else {
            return 0;
        };
        let taken = rest.sealed.drain(..rest.taken);
        let samples = taken.map(|chunk| u64::from(chunk.head.count)).sum();
        rest.taken = 0;
        if rest.sealed.is_empty() && rest.late.is_empty() {
            self.rest = None;
        }
        samples
    }

    /// Copies of the chunks that may have samples in `[start_ms, end_ms)`, and the late samples.
    pub(crate) fn read(&self, start_ms: i64, end_ms: i64) -> (Vec<Chunk>, Vec<Sample>) {
        let open = self.open.head(self.revision);
        let open = (self.open.count() > 0 && open.overlaps(start_ms, end_ms))
            .then(|| self.open.copy(self.revision))
            .flatten();
        let Some(rest) = self.rest.as_deref() else {
            return (open.into_iter().collect(), Vec::new());
        };
        let sealed = rest.sealed.iter().filter(|chunk| chunk.head.overlaps(start_ms, end_ms));
        let inside = |sample: &&Sample| (start_ms..end_ms).contains(&sample.timestamp_ms);
        let late = rest.late.iter().filter(inside).copied().collect();
        (sealed.cloned().chain(open).collect(), late)
    }

    /// The days that its samples may lie in; chunks lie in one each.
    pub(crate) fn days(&self) -> impl Iterator<Item = DayBucket> + '_ {
        let open = (self.open.count() > 0).then(|| self.open.last_ms());
        let rest = self.rest.as_deref().into_iter().flat_map(|rest| {
            let sealed = rest.sealed.iter().map(|chunk| chunk.head.first_ms);
            sealed.chain(rest.late.iter().map(|sample| sample.timestamp_ms))
        });
        open.into_iter().chain(rest).map(|at| TimestampMs(at).day())
    }

    /// Whether a sample may lie in `[start_ms, end_ms)`, by the ends of its chunks.
    pub(crate) fn may_overlap(&self, start_ms: i64, end_ms: i64) -> bool {
        let open = self.open.count() > 0 && self.open.head(0).overlaps(start_ms, end_ms);
        open || self.rest.as_deref().is_some_and(|rest| {
            rest.sealed.iter().any(|chunk| chunk.head.overlaps(start_ms, end_ms))
                || rest.late.iter().any(|s| (start_ms..end_ms).contains(&s.timestamp_ms))
        })
    }
}
