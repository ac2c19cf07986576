//! One series in the head: its open chunk, the chunks before, and what came late.
//!
//! Not here: what a flush takes of it (`take.rs`).

mod take;

use super::symbols::LabelIds;
use crate::chunk::fast::Encoder;
use crate::chunk::histogram;
use crate::chunk::{Chunk, ChunkHead, HISTOGRAM};
use crate::merge;
use model::exemplar::{self, Exemplar};
use model::{DayBucket, HistogramSample, Sample, TimestampMs};
pub(crate) use take::Takes;

/// A chunk is cut at so many samples: what a reader must decode for one of them.
pub(crate) const CHUNK_SAMPLES_MAX: u32 = 1024;
/// So many late samples are sorted and coded.
const LATE_MAX: usize = 128;
/// So many late histograms are sorted and coded.
const LATE_HISTOGRAMS_MAX: usize = 16;
/// So many exemplars of a series the head holds; the oldest go.
const EXEMPLARS_MAX: usize = 600;
/// About what an exemplar takes: itself, and a label or two.
pub(crate) const EXEMPLAR_BYTES: usize = size_of::<Exemplar>() + 128;

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
    /// So many of the open chunk's samples, the first ones, a flush has taken.
    open_taken: u16,
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Complete chunks, in order of completion; they may overlap.
    sealed: Vec<Sealed>,
    /// Samples out of order, in order of arrival.
    late: Vec<Sample>,
    /// How many of the sealed chunks were there when a flush began.
    listed: usize,
    histograms: Option<Box<Histograms>>,
    /// Thinned now and then. A flush leaves them here: a checkpoint has them.
    exemplars: Vec<Exemplar>,
}

/// A complete chunk.
#[derive(Debug)]
struct Sealed {
    chunk: Chunk,
    /// So many of its samples, the first ones, a flush has taken.
    taken: u32,
}

/// The bytes that a complete chunk takes.
fn sealed_bytes(chunk: &Chunk) -> usize {
    chunk.bytes.len() + 64
}

impl Rest {
    fn extend(&mut self, chunks: impl IntoIterator<Item = Chunk>) {
        let chunks = chunks.into_iter();
        // Mostly there is one, for a moment: no room for more.
        self.sealed.reserve_exact(chunks.size_hint().0);
        self.sealed.extend(chunks.map(|chunk| Sealed { chunk, taken: 0 }));
    }

    fn is_empty(&self) -> bool {
        self.sealed.is_empty()
            && self.late.is_empty()
            && self.histograms.is_none()
            && self.exemplars.is_empty()
    }
}

/// A series' open chunk of histograms, and those out of order.
#[derive(Debug, Default)]
struct Histograms {
    revision: u32,
    open: histogram::Encoder,
    day_end_ms: i64,
    late: Vec<HistogramSample>,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    InOrder,
    /// In order, and it began a chunk: the one before is complete and takes so many bytes.
    Began(usize),
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
            open_taken: 0,
            rest: None,
        }
    }

    /// Adds a sample.
    #[inline]
    pub(crate) fn push(&mut self, sample: &Sample) -> Pushed {
        let at = sample.timestamp_ms;
        let mut pushed = Pushed::InOrder;
        if self.open.count() > 0 {
            if at <= self.open.last_ms() || sample.revision != self.revision {
                return self.push_late(sample);
            }
            let day = TimestampMs(self.open.first_ms()).day();
            if TimestampMs(at).day() != day || self.open.count() >= CHUNK_SAMPLES_MAX {
                pushed = Pushed::Began(self.seal());
            }
        }
        if self.open.count() == 0 {
            self.revision = sample.revision;
        }
        self.open.push(at, sample.value, sample.start_timestamp_ms);
        pushed
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

    /// Adds a histogram.
    pub(crate) fn push_histogram(&mut self, sample: &HistogramSample) -> Pushed {
        let at = sample.timestamp_ms;
        let mut pushed = Pushed::InOrder;
        let rest = self.rest.get_or_insert_default();
        let own = rest.histograms.get_or_insert_default();
        if own.open.count() > 0 {
            let is_same = sample.revision == own.revision;
            if at == own.open.last_ms() && is_same && own.open.ends_with(sample) {
                return Pushed::Repeated;
            }
            if at <= own.open.last_ms() || !is_same {
                own.late.push(sample.clone());
                if own.late.len() >= LATE_HISTOGRAMS_MAX {
                    let late = std::mem::take(&mut own.late);
                    rest.extend(merge::histogram_chunks_of(late));
                }
                return Pushed::Late;
            }
            if at >= own.day_end_ms || own.open.count() >= histogram::SAMPLES_MAX {
                let sealed = own.open.seal(own.revision);
                pushed = Pushed::Began(sealed.as_ref().map_or(0, sealed_bytes));
                rest.extend(sealed);
            }
        }
        let Some(own) = rest.histograms.as_deref_mut() else { return pushed };
        if own.open.count() == 0 {
            own.revision = sample.revision;
            own.day_end_ms = TimestampMs(at).day().range().end.0;
        }
        own.open.push(sample);
        pushed
    }

    /// Adds an exemplar, if it is not there yet. Returns by how many there are more, and how many of
    /// the oldest went for it.
    pub(crate) fn push_exemplar(&mut self, exemplar: &Exemplar) -> (u64, u64) {
        let held = &mut self.rest.get_or_insert_default().exemplars;
        if held.iter().rev().any(|have| have == exemplar) {
            return (0, 0);
        }
        held.push(exemplar.clone());
        if held.len() < EXEMPLARS_MAX {
            return (1, 0);
        }
        let before = held.len();
        exemplar::thin(held);
        held.drain(..held.len() / 2);
        (1, (before - held.len()) as u64)
    }

    /// Keeps the exemplars that `keeps` says yes to; returns how many went.
    pub(crate) fn retain_exemplars(&mut self, mut keeps: impl FnMut(&Exemplar) -> bool) -> u64 {
        let Some(rest) = self.rest.as_deref_mut() else { return 0 };
        let before = rest.exemplars.len();
        rest.exemplars.retain(&mut keeps);
        let gone = (before - rest.exemplars.len()) as u64;
        if rest.is_empty() {
            self.rest = None;
        }
        gone
    }

    /// The exemplars, in order of arrival.
    pub(crate) fn exemplars(&self) -> &[Exemplar] {
        self.rest.as_deref().map_or(&[], |rest| &rest.exemplars)
    }

    /// Completes the open chunk, and returns the bytes that it takes then.
    fn seal(&mut self) -> usize {
        let Some(chunk) = self.open.seal(self.revision) else { return 0 };
        let taken = u32::from(std::mem::take(&mut self.open_taken));
        let bytes = sealed_bytes(&chunk);
        let sealed = &mut self.rest.get_or_insert_default().sealed;
        // Mostly there is one, for a moment: no room for more.
        sealed.reserve_exact(1);
        sealed.push(Sealed { chunk, taken });
        bytes
    }

    /// Codes the late samples.
    fn spill(&mut self) {
        if let Some(rest) = self.rest.as_deref_mut() {
            let late = std::mem::take(&mut rest.late);
            rest.extend(merge::chunks_of(late));
        }
    }

    /// Closes the histograms.
    fn seal_histograms(&mut self) {
        let Some(rest) = self.rest.as_deref_mut() else { return };
        let Some(mut own) = rest.histograms.take() else { return };
        rest.extend(own.open.seal(own.revision));
        rest.extend(merge::histogram_chunks_of(own.late));
    }

    /// How many samples it holds. Of those that came late at one moment each counts until they are
    /// coded.
    pub(crate) fn samples(&self) -> u64 {
        let rest = self.rest.as_deref().map_or(0, |rest| {
            let sealed = rest.sealed.iter().map(|sealed| u64::from(sealed.chunk.head.count));
            let histograms = rest
                .histograms
                .as_deref()
                .map_or(0, |own| u64::from(own.open.count()) + own.late.len() as u64);
            sealed.sum::<u64>() + rest.late.len() as u64 + histograms
        });
        u64::from(self.open.count()) + rest
    }

    /// The bytes that its samples take; exemplars are none.
    #[inline]
    pub(crate) fn sample_bytes(&self) -> usize {
        let rest = self.rest.as_deref().map_or(0, |rest| {
            let sealed: usize = rest.sealed.iter().map(|sealed| sealed_bytes(&sealed.chunk)).sum();
            let histograms = rest.histograms.as_ref().map_or(0, |own| {
                let late: usize = own.late.iter().map(|late| late.histogram.bytes()).sum();
                own.open.capacity() + late
            });
            sealed + rest.late.capacity() * size_of::<Sample>() + histograms
        });
        self.open.capacity() + rest
    }

    /// Bytes that the open chunk holds on to.
    #[inline]
    pub(crate) fn open_bytes(&self) -> usize {
        self.open.capacity()
    }

    /// Bytes that the open chunk of histograms holds on to.
    pub(crate) fn open_histogram_bytes(&self) -> usize {
        let own = self.rest.as_deref().and_then(|rest| rest.histograms.as_deref());
        own.map_or(0, |own| own.open.capacity())
    }

    /// Whether it holds no sample; exemplars are none.
    pub(crate) fn is_empty(&self) -> bool {
        let has_no_sample = |rest: &Rest| {
            rest.sealed.is_empty() && rest.late.is_empty() && rest.histograms.is_none()
        };
        self.open.count() == 0 && self.rest.as_deref().is_none_or(has_no_sample)
    }

    /// The open chunk, if it has a sample, and its bytes.
    pub(crate) fn open(&self) -> Option<(ChunkHead, &[u8])> {
        (self.open.count() > 0).then(|| (self.open.head(self.revision), self.open.bytes()))
    }

    /// The complete chunks, and the late samples.
    pub(crate) fn closed(&self) -> (impl DoubleEndedIterator<Item = &Chunk>, &[Sample]) {
        let (sealed, late) =
            self.rest.as_deref().map_or((&[][..], &[][..]), |rest| (&rest.sealed, &rest.late));
        (sealed.iter().map(|sealed| &sealed.chunk), late)
    }

    /// The open chunk of histograms, if it has a sample, and those that came late.
    pub(crate) fn histograms(&self) -> (Option<(ChunkHead, &[u8])>, &[HistogramSample]) {
        match self.rest.as_deref().and_then(|rest| rest.histograms.as_deref()) {
            None => (None, &[]),
            Some(own) => {
                let open =
                    (own.open.count() > 0).then(|| (own.open.head(own.revision), own.open.bytes()));
                (open, &own.late)
            }
        }
    }

    /// The newest float that is not behind a moment, if that is known without a look into chunks:
    /// it is the last of all, and there is no histogram.
    pub(crate) fn newest_until(&self, moment_ms: i64) -> Option<Sample> {
        let last = self.open.last(self.revision).filter(|last| last.timestamp_ms <= moment_ms)?;
        let is_before =
            |head: &ChunkHead| head.encoding != HISTOGRAM && head.last_ms < last.timestamp_ms;
        let has_nothing_behind = |rest: &Rest| {
            rest.late.is_empty()
                && rest.histograms.is_none()
                && rest.sealed.iter().all(|sealed| is_before(&sealed.chunk.head))
        };
        self.rest.as_deref().is_none_or(has_nothing_behind).then_some(last)
    }

    /// Whether the first or the last sample of a chunk, or a late one, is at a moment that `keeps`.
    pub(crate) fn has_end_in(&self, keeps: impl Fn(i64) -> bool) -> bool {
        let has = |head: &ChunkHead| keeps(head.first_ms) || keeps(head.last_ms);
        let (mut sealed, late) = self.closed();
        self.open().is_some_and(|(head, _)| has(&head))
            || sealed.any(|chunk| has(&chunk.head))
            || late.iter().any(|sample| keeps(sample.timestamp_ms))
            || self.histograms().0.is_some_and(|(head, _)| has(&head))
            || self.histograms().1.iter().any(|sample| keeps(sample.timestamp_ms))
    }

    /// The days that its samples may lie in; chunks lie in one each.
    pub(crate) fn days(&self) -> impl Iterator<Item = DayBucket> + '_ {
        let open = (self.open.count() > 0).then(|| self.open.last_ms());
        let rest = self.rest.as_deref().into_iter().flat_map(|rest| {
            let sealed = rest.sealed.iter().map(|sealed| sealed.chunk.head.first_ms);
            let histograms = rest.histograms.as_deref().into_iter().flat_map(|own| {
                let open = (own.open.count() > 0).then(|| own.open.last_ms());
                open.into_iter().chain(own.late.iter().map(|sample| sample.timestamp_ms))
            });
            sealed.chain(rest.late.iter().map(|sample| sample.timestamp_ms)).chain(histograms)
        });
        open.into_iter().chain(rest).map(|at| TimestampMs(at).day())
    }

    /// How many samples lie in `[start_ms, end_ms)`, about, by the ends of its chunks.
    pub(crate) fn likely(&self, start_ms: i64, end_ms: i64) -> u64 {
        let (closed, late) = self.closed();
        let (histograms, late_histograms) = self.histograms();
        let open = [self.open(), histograms].into_iter().flatten().map(|(head, _)| head);
        let chunks = open.chain(closed.map(|chunk| chunk.head));
        let late = late.iter().map(|sample| sample.timestamp_ms);
        let late = late.chain(late_histograms.iter().map(|sample| sample.timestamp_ms));
        chunks.map(|head| head.likely(start_ms, end_ms)).sum::<u64>()
            + late.filter(|at| (start_ms..end_ms).contains(at)).count() as u64
    }

    /// Whether a sample may lie in `[start_ms, end_ms)`, by the ends of its chunks.
    pub(crate) fn may_overlap(&self, start_ms: i64, end_ms: i64) -> bool {
        let open = self.open.count() > 0 && self.open.head(0).overlaps(start_ms, end_ms);
        open || self.rest.as_deref().is_some_and(|rest| {
            rest.sealed.iter().any(|sealed| sealed.chunk.head.overlaps(start_ms, end_ms))
                || rest.late.iter().any(|s| (start_ms..end_ms).contains(&s.timestamp_ms))
                || rest.histograms.as_ref().is_some_and(|own| own.overlaps(start_ms, end_ms))
        })
    }
}

impl Histograms {
    fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        (self.open.count() > 0 && self.open.head(0).overlaps(start_ms, end_ms))
            || self.late.iter().any(|s| (start_ms..end_ms).contains(&s.timestamp_ms))
    }
}
