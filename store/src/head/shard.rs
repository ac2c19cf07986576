//! A head shard: the series of some of a tenant's targets.
//!
//! # Invariants
//! - A local number is given once; series of one target that arrive together get neighbours.
//! - Just the series that hold exemplars are in `with_exemplars`: who looks for them looks at no other.
//! - A series that is in `by_fingerprint` is in `slots` and in `index`, and the other way round.

use super::exemplars::Lost;
use super::locals::Locals;
use super::postings::Postings;
use super::series::{Definition, Identity, Pushed, Series};
use super::slots::Slots;
use super::symbols::{LabelIds, Renumber, Symbols};
use crate::postings::List;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use model::{HistogramSample, LabelSet, Sample};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Since when a series without a sample in the head must not have been written to leave it, in
/// seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleBefore {
    /// If nothing else is left of it.
    pub(crate) bare_s: u32,
    /// If it has exemplars, which go with it.
    pub(crate) with_exemplars_s: u32,
    /// It is now; what was received later was so by a clock that was ahead.
    pub(crate) now_s: u32,
}

/// The series of some targets.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Local number -> slot.
    index: Locals,
    pub(super) slots: Slots,
    by_fingerprint: HashTable<u32>,
    /// Numbers of series that left stay until the next rebuild.
    postings: Postings,
    dead: usize,
    /// Series whose definition is in a record that may not be on disk yet: local number -> ticket.
    pending: HashMap<u32, u64, FixedState>,
    /// Samples held, and at most those that fell to others of their moment since the last
    /// [`Shard::release`].
    pub(crate) samples: u64,
    /// Exemplars held.
    pub(crate) exemplars: u64,
    /// The local numbers of series that hold some.
    pub(super) with_exemplars: BTreeSet<u32>,
    /// Exemplars that had to go for newer ones, ever, and those that went with an idle series.
    pub(crate) exemplars_lost: Lost,
    /// Bytes of samples held, about, until [`Shard::release`] looks: what a flush gives back, without
    /// the constant part of a series and without exemplars.
    pub(crate) sample_bytes: u64,
}

impl Shard {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            index: Locals::default(),
            slots: Slots::default(),
            by_fingerprint: HashTable::new(),
            postings: Postings::new(hasher.clone()),
            dead: 0,
            pending: HashMap::with_hasher(hasher),
            samples: 0,
            exemplars: 0,
            with_exemplars: BTreeSet::new(),
            exemplars_lost: Lost::default(),
            sample_bytes: 0,
        }
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.by_fingerprint.len()
    }

    /// The series, in order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Series> {
        self.index.slots().filter_map(|slot| self.slots.get(slot))
    }

    /// The series, in order of arrival, each to be changed by `visit`.
    pub(crate) fn for_each_mut(&mut self, mut visit: impl FnMut(&mut Series)) {
        for slot in self.index.slots() {
            if let Some(series) = self.slots.get_mut(slot) {
                visit(series);
            }
        }
    }

    /// The series of a local number.
    pub(crate) fn get(&self, local: u32) -> Option<&Series> {
        self.slots.get(self.index.get(local)?)
    }

    /// The series of a local number.
    pub(crate) fn get_mut(&mut self, local: u32) -> Option<&mut Series> {
        self.slots.get_mut(self.index.get(local)?)
    }

    /// The postings of a label pair.
    pub(crate) fn postings(&self, name: u32, value: u32) -> Option<&List> {
        self.postings.get((name, value))
    }

    /// The names that series have had, each with its values.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.postings.names()
    }

    /// The values that a name has had.
    pub(crate) fn values(&self, name: u32) -> &[u32] {
        self.postings.values(name)
    }

    /// The slot of a local number, below [`Shard::slots_end`].
    pub(crate) fn slot(&self, local: u32) -> Option<usize> {
        self.index.get(local).map(|slot| slot as usize)
    }

    /// One more than the highest slot.
    pub(crate) fn slots_end(&self) -> usize {
        self.slots.end()
    }

    /// The local number of a label set.
    pub(crate) fn find(
        &self,
        fingerprint: u64,
        labels: &LabelSet,
        symbols: &Symbols,
    ) -> Option<u32> {
        self.find_by(fingerprint, |series| symbols.is(&series.labels, labels))
    }

    /// The local number of a series by its ids.
    pub(crate) fn find_ids(&self, fingerprint: u64, ids: &[u32]) -> Option<u32> {
        self.find_by(fingerprint, |series| *series.labels == *ids)
    }

    fn find_by(&self, fingerprint: u64, is: impl Fn(&Series) -> bool) -> Option<u32> {
        let slot = self.by_fingerprint.find(fingerprint, |slot| {
            let series = self.slots.get(*slot);
            series.is_some_and(|series| series.fingerprint == fingerprint && is(series))
        })?;
        self.slots.get(*slot).map(|series| series.local)
    }

    /// Adds a series that is not there, and returns its local number; `None` when there is none left.
    pub(crate) fn insert(
        &mut self,
        who: Identity,
        symbols: &Symbols,
        local_max: u32,
        received_s: u32,
    ) -> Option<u32> {
        let fingerprint = who.fingerprint;
        let local = Some(self.index.end()).filter(|local| *local <= local_max)?;
        self.postings.post(symbols.pairs(&who.labels), local);
        let series = Series::new(who, local, received_s);
        let slot = self.slots.insert(series)?;
        self.index.push(slot);
        let slots = &self.slots;
        self.by_fingerprint.insert_unique(fingerprint, slot, |slot| {
            slots.get(*slot).map_or(0, |series| series.fingerprint)
        });
        Some(local)
    }

    /// Whether a record that uses the series has to carry its definition: `None` if there is no
    /// such series, else `Some(None)` if not, else whether it is for the last time.
    #[expect(clippy::option_option, reason = "two questions, asked for each series of a request")]
    pub(crate) fn carries(&self, local: u32, synced: u64) -> Option<Option<bool>> {
        let series = self.get(local)?;
        if series.definition == Definition::Written {
            return Some(None);
        }
        Some(Some(self.pending.get(&local).is_some_and(|ticket| *ticket <= synced)))
    }

    /// Notes that the record `ticket` carries the definition.
    pub(crate) fn carried(&mut self, local: u32, ticket: u64, is_last: bool) {
        if !is_last {
            self.pending.entry(local).or_insert(ticket);
            return;
        }
        self.pending.remove(&local);
        if self.pending.is_empty() {
            // A first scrape had all series in it.
            self.pending.shrink_to_fit();
        }
        if let Some(series) = self.get_mut(local) {
            series.definition = Definition::Written;
        }
    }

    /// Adds a series' samples, and returns how many came late. It takes no longer for what the series
    /// holds already.
    #[inline]
    pub(crate) fn push(
        &mut self,
        local: u32,
        received_s: u32,
        samples: impl Iterator<Item = Sample>,
    ) -> u64 {
        let (mut kept, mut late, mut sealed_bytes) = (0, 0, 0);
        let slot = self.index.get(local);
        let Some(series) = slot.and_then(|slot| self.slots.get_mut(slot)) else {
            return 0;
        };
        let bytes_before = series.open_bytes();
        for sample in samples {
            match series.push(&sample) {
                Pushed::InOrder => kept += 1,
                Pushed::Began(bytes) => (kept, sealed_bytes) = (kept + 1, sealed_bytes + bytes),
                Pushed::Late => (kept, late) = (kept + 1, late + 1),
                Pushed::Repeated => {}
            }
        }
        series.received_s = received_s;
        let grown = (series.open_bytes() + sealed_bytes).saturating_sub(bytes_before);
        self.samples += kept;
        self.sample_bytes += grown as u64 + late * size_of::<Sample>() as u64;
        late
    }

    /// As [`Shard::push`], of histograms.
    pub(crate) fn push_histograms(
        &mut self,
        local: u32,
        received_s: u32,
        samples: impl Iterator<Item = HistogramSample>,
    ) -> u64 {
        let Some(series) = self.get_mut(local) else { return 0 };
        let bytes_before = series.open_histogram_bytes();
        let (mut kept, mut late, mut more_bytes) = (0, 0, 0);
        for sample in samples {
            match series.push_histogram(&sample) {
                Pushed::InOrder => kept += 1,
                Pushed::Began(bytes) => (kept, more_bytes) = (kept + 1, more_bytes + bytes),
                Pushed::Late => {
                    more_bytes += sample.histogram.bytes();
                    (kept, late) = (kept + 1, late + 1);
                }
                Pushed::Repeated => {}
            }
        }
        series.received_s = received_s;
        let grown = (series.open_histogram_bytes() + more_bytes).saturating_sub(bytes_before);
        self.samples += kept;
        self.sample_bytes += grown as u64;
        late
    }

    /// Lets go of what was taken, and of idle series, with their exemplars; returns the labels of these.
    pub(crate) fn release(&mut self, idle: IdleBefore, symbols: &Symbols) -> Vec<LabelIds> {
        let mut dropped = Vec::new();
        let (mut samples, mut bytes) = (0, 0);
        for slot in (0..).take(self.slots.end()) {
            let Some(series) = self.slots.get_mut(slot) else { continue };
            series.release();
            samples += series.samples();
            bytes += series.sample_bytes() as u64;
            series.received_s = series.received_s.min(idle.now_s);
            let exemplars = series.exemplars().len() as u64;
            let before_s = if exemplars > 0 { idle.with_exemplars_s } else { idle.bare_s };
            if series.is_empty() && series.received_s < before_s {
                self.exemplars -= exemplars;
                self.exemplars_lost.idle += exemplars;
                dropped.extend(self.remove(slot));
            }
        }
        self.samples = samples;
        self.sample_bytes = bytes;
        if self.dead > 1024 && self.dead > self.len() / 4 {
            self.rebuild_postings(symbols);
        }
        dropped
    }

    fn remove(&mut self, slot: u32) -> Option<LabelIds> {
        let series = self.slots.remove(slot)?;
        if let Ok(entry) = self.by_fingerprint.find_entry(series.fingerprint, |have| *have == slot)
        {
            entry.remove();
        }
        self.index.remove(series.local);
        self.with_exemplars.remove(&series.local);
        self.pending.remove(&series.local);
        self.dead += 1;
        Some(series.labels)
    }

    /// Gives all series new symbols.
    pub(crate) fn renumber(&mut self, renumber: &mut Renumber<'_>) {
        for series in self.slots.iter_mut() {
            series.labels = renumber.ids(&series.labels);
        }
        self.rebuild_postings(renumber.symbols());
    }

    fn rebuild_postings(&mut self, symbols: &Symbols) {
        self.postings.clear();
        let of = |series: &Series| (series.local, Arc::clone(&series.labels));
        let all: Vec<(u32, LabelIds)> = self.iter().map(of).collect();
        for (local, labels) in all {
            self.postings.post(symbols.pairs(&labels), local);
        }
        self.dead = 0;
    }
}
