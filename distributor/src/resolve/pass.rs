//! One walk through a body: each series is looked up, its samples are taken or refused by their times.
//!
//! # Invariants
//! - The cache is under a read lock all the while: an entry that was found stays.
//! - A row has at least one sample; what a refused time belongs to is in no column.
//!
//! Not here: series that are not in the cache (`resolve.rs`), what a histogram or an exemplar must be
//! like (`extras.rs`).

use super::aside::Replica;
use super::metadata::Described;
use super::{Miss, Resolver, position};
use crate::batch::Row;
use crate::error::Error;
use crate::extras::{self, Extras};
use crate::gate::{Cause, Seen};
use crate::ha::Hearing;
use crate::label_hash::LabelHash;
use crate::pool::Reservation;
use crate::refusal::{Item, Refusals};
use crate::series_cache::{SeriesCache, UNCACHED};
use crate::symbols::HashedSymbols;
use crate::tenant::Tenant;
use crate::validate::{SeriesFault, TimeRules, series_text};
use model::mutation::MetricMetadata;
use std::borrow::Cow;
use wire::remote_write::{self, Extra, ProtobufError, RawLabels, SampleColumns, SeriesView, Tail};

/// One walk through a body.
pub(super) struct Pass<'p> {
    pub(super) resolver: &'p Resolver<'p>,
    pub(super) cache: &'p SeriesCache,
    pub(super) tenant: &'p Tenant,
    /// The times that samples of every series may have.
    pub(super) times: TimeRules,
    pub(super) body: &'p [u8],
    /// What references refer to, if labels are references.
    pub(super) symbols: Option<&'p HashedSymbols>,
    /// The entry of the series before.
    pub(super) previous: u32,
    pub(super) series: u64,
    pub(super) misses: Vec<Miss>,
    pub(super) extras: Extras,
    /// The replica of an HA pair that sends the series that is being read.
    pub(super) replica: Option<Replica>,
    pub(super) described: Described,
    pub(super) body_reserved_bytes: u64,
    pub(super) reservation: Option<&'p mut Reservation>,
    pub(super) out: Out<'p>,
}

/// Where a walk leaves what it finds.
pub(super) struct Out<'p> {
    pub(super) rows: &'p mut Vec<Row>,
    pub(super) gathered: &'p mut Vec<u8>,
    pub(super) columns: &'p mut SampleColumns,
    pub(super) refusals: &'p mut Refusals,
    pub(super) heard: &'p mut Hearing,
    pub(super) metadata: &'p mut Vec<MetricMetadata>,
}

/// Which series it is: its entry or [`UNCACHED`], the hash of its labels and their length.
type Found = (u32, LabelHash, usize);

impl Pass<'_> {
    #[inline]
    pub(super) fn series(&mut self, view: &SeriesView<'_>) -> Result<(), Error> {
        self.check_items(view)?;
        let (mut entry, mut hash, mut labels_len) = match self.symbols {
            None => self.find_by_bytes(view)?,
            Some(symbols) => self.find_by_symbols(view, symbols)?,
        };
        let first = self.out.columns.timestamps_ms.len();
        let tail = view.read_samples(labels_len, self.out.columns).map_err(body_error)?;
        let mut labels_start = view.offset();
        if tail.has_more_labels {
            let before = self.out.gathered.len();
            labels_start = self.body.len() + before;
            view.gather_labels(self.out.gathered).map_err(body_error)?;
            let labels = &self.out.gathered[before..];
            labels_len = labels.len();
            hash = self.hash(labels)?;
            entry = self.look_up(hash);
        }
        if hash.is_of_odd_references() {
            return Err(Error::Body(remote_write::Error::OddReferences));
        }
        let row = Row {
            entry,
            labels_start: position(labels_start),
            labels_len: position(labels_len),
            sample_end: 0,
        };
        if self.symbols.is_some() {
            let has_floats = first < self.out.columns.timestamps_ms.len();
            if !has_floats && !tail.has_histograms && !tail.has_exemplars {
                return self.refuse_empty(&row, view);
            }
        }
        if !self.tenant.gate.is_open()
            && let Some(aside) = self.aside(&row, view)?
        {
            return self.set_aside(first, row, view, tail, aside);
        }
        if self.symbols.is_some()
            && let Some(refs) = tail.metadata
        {
            let labels = self.labels_of(&row, view)?;
            self.describe(&labels, refs)?;
        }
        if tail.has_histograms || tail.has_exemplars {
            self.extras(row, hash, view, tail)?;
        }
        self.row(first, row, hash, view)
    }

    /// A series is not decoded if it could hold more than the rest of the request may.
    #[inline]
    fn check_items(&self, view: &SeriesView<'_>) -> Result<(), Error> {
        let limit = self.tenant.limits.max_request_samples;
        let before = self.out.refusals.received_in_all();
        // An item takes two bytes at least.
        let items_max = view.message().len() as u64 / 2;
        if limit.is_exceeded_by(before + items_max) {
            let items = view.items().map_err(body_error)?;
            if limit.is_exceeded_by(before + items) {
                return Err(self.tenant.too_many_samples().into());
            }
        }
        Ok(())
    }

    /// Finds a series whose labels are spelled out: first by the one that came before it.
    #[inline]
    fn find_by_bytes(&self, view: &SeriesView<'_>) -> Result<Found, Error> {
        let hasher = self.resolver.hasher;
        if let Some((successor, len)) = self.cache.predict(self.previous)
            && let Some(raw) = view.labels_of_len(len)
        {
            let hash = hasher.hash(raw);
            if self.cache.confirm(successor, hash, self.resolver.epoch) {
                return Ok((successor, hash, len));
            }
        }
        let raw = view.leading_labels().map_err(body_error)?;
        let hash = hasher.hash(raw);
        Ok((self.look_up(hash), hash, raw.len()))
    }

    /// Finds a series whose labels are references.
    #[inline]
    fn find_by_symbols(
        &self,
        view: &SeriesView<'_>,
        symbols: &HashedSymbols,
    ) -> Result<Found, Error> {
        let raw = view.leading_labels().map_err(body_error)?;
        let hash = symbols.hash(raw, self.resolver.hasher)?;
        if let Some((successor, _)) = self.cache.predict(self.previous)
            && self.cache.confirm(successor, hash, self.resolver.epoch)
        {
            return Ok((successor, hash, raw.len()));
        }
        Ok((self.look_up(hash), hash, raw.len()))
    }

    /// The hash of raw labels.
    fn hash(&self, raw: &[u8]) -> Result<LabelHash, Error> {
        let hasher = self.resolver.hasher;
        Ok(match self.symbols {
            None => hasher.hash(raw),
            Some(symbols) => symbols.hash(raw, hasher)?,
        })
    }

    /// Refuses a 2.0 series that has nothing to write.
    #[cold]
    fn refuse_empty(&mut self, row: &Row, view: &SeriesView<'_>) -> Result<(), Error> {
        let labels = self.labels_of(row, view)?;
        let text = format!("{}: no samples, histograms or exemplars", self.shown(&labels));
        self.out.refusals.refuse_empty(|| text);
        Ok(())
    }

    /// Takes the native histograms and exemplars of a series.
    #[cold]
    fn extras(
        &mut self,
        row: Row,
        hash: LabelHash,
        view: &SeriesView<'_>,
        tail: Tail,
    ) -> Result<(), Error> {
        let labels = self.labels_of(&row, view)?;
        let symbols = self.symbols.map(|symbols| symbols.over(self.body));
        let mut own_times = None;
        for extra in view.extras() {
            let extra = extra?;
            let (item, at) = match &extra {
                Extra::Histogram(view) => (Item::Histogram, view.timestamp_ms),
                Extra::Exemplar(view) => (Item::Exemplar, view.timestamp_ms),
            };
            self.out.refusals.receive(item, 1);
            if self.was_delivered(at) {
                self.out.refusals.drop_items(item, 1, Cause::Ha);
                continue;
            }
            let (bytes, fault) = match extra {
                Extra::Histogram(mut view) => {
                    if view.start_timestamp_ms == 0 {
                        view.start_timestamp_ms = tail.start_timestamp_ms;
                    }
                    let sample = match self.time_fault(at, &labels, &mut own_times) {
                        None => extras::histogram(*view, &self.tenant.limits),
                        Some(fault) => Err(fault),
                    };
                    let bytes = sample.as_ref().map_or(0, extras::histogram_bytes);
                    let kept = sample.map(|sample| self.extras.histograms.push(at, sample));
                    (bytes, kept.err())
                }
                Extra::Exemplar(view) => {
                    let exemplar = match self.time_fault(at, &labels, &mut own_times) {
                        None => extras::exemplar(&view, symbols)?,
                        Some(fault) => Err(fault),
                    };
                    let bytes = exemplar.as_ref().map_or(0, extras::exemplar_bytes);
                    let kept = exemplar.map(|one| self.extras.exemplars.push(at, one));
                    (bytes, kept.err())
                }
            };
            let reservation = self.reservation.as_deref_mut();
            self.extras.reserve(bytes, self.body_reserved_bytes, self.tenant, reservation)?;
            if let Some(fault) = fault {
                let series = RawLabels::new(&labels, symbols);
                let tell = || format!("{}: {}", series_text(series), fault.told(&self.tenant.id));
                self.out.refusals.refuse(item, 1, fault.reason, tell);
            }
        }
        self.extras.histograms.end_row(row, hash);
        self.extras.exemplars.end_row(row, hash);
        Ok(())
    }

    fn look_up(&self, hash: LabelHash) -> u32 {
        let entry = self.cache.find(hash, self.resolver.epoch);
        if let Some(entry) = entry {
            self.cache.follow(self.previous, entry);
        }
        entry.unwrap_or(UNCACHED)
    }

    #[inline]
    fn row(
        &mut self,
        first: usize,
        row: Row,
        hash: LabelHash,
        view: &SeriesView<'_>,
    ) -> Result<(), Error> {
        let samples = self.out.columns.timestamps_ms.len() - first;
        self.out.refusals.receive(Item::Float, samples as u64);
        if self.replica.is_some() {
            self.drop_delivered(first);
        }
        let times = self.times;
        if !self.out.columns.timestamps_ms[first..].iter().all(|time| times.allow(*time)) {
            let labels = self.labels_of(&row, view)?;
            self.refuse_times(first, &labels);
        }
        self.previous = row.entry;
        if self.out.columns.timestamps_ms.len() == first {
            return Ok(());
        }
        if row.entry == UNCACHED {
            self.misses.push(Miss { row: position(self.out.rows.len()), hash });
        }
        let sample_end = position(self.out.columns.timestamps_ms.len());
        self.out.rows.push(Row { sample_end, ..row });
        Ok(())
    }

    /// The raw labels of the series that was just read.
    pub(super) fn labels_of<'v>(
        &self,
        row: &Row,
        view: &SeriesView<'v>,
    ) -> Result<Cow<'v, [u8]>, Error> {
        let gathered = (row.labels_start as usize).checked_sub(self.body.len());
        match gathered.and_then(|start| self.out.gathered.get(start..)) {
            Some(gathered) => Ok(Cow::Owned(gathered.to_vec())),
            None => Ok(Cow::Borrowed(view.leading_labels().map_err(body_error)?)),
        }
    }

    /// Raw labels with what they refer to.
    pub(super) fn raw<'a>(&'a self, labels: &'a [u8]) -> RawLabels<'a> {
        RawLabels::new(labels, self.symbols.map(|symbols| symbols.over(self.body)))
    }

    /// Raw labels for an error text.
    pub(super) fn shown(&self, labels: &[u8]) -> String {
        series_text(self.raw(labels))
    }

    /// Takes the samples at times that are not allowed out again.
    #[cold]
    fn refuse_times(&mut self, first: usize, labels: &[u8]) {
        let Some(times) = self.times_of(labels) else { return };
        let series = RawLabels::new(labels, self.symbols.map(|symbols| symbols.over(self.body)));
        let mut kept = first;
        for at in first..self.out.columns.timestamps_ms.len() {
            let timestamp_ms = self.out.columns.timestamps_ms[at];
            if times.allow(timestamp_ms) {
                self.out.columns.move_down(at, kept);
                kept += 1;
            } else {
                let fault = times.fault(timestamp_ms);
                let tell = || format!("{}: {}", series_text(series), fault.told(&self.tenant.id));
                self.out.refusals.refuse(Item::Float, 1, fault.reason, tell);
            }
        }
        self.out.columns.truncate(kept);
    }

    /// Why something of a series cannot be at this time. Most can be, whatever their series; if not,
    /// the rules of the series are found once and kept in `own`.
    fn time_fault(
        &self,
        timestamp_ms: i64,
        labels: &[u8],
        own: &mut Option<Option<TimeRules>>,
    ) -> Option<SeriesFault> {
        if self.times.allow(timestamp_ms) {
            return None;
        }
        let times = (*own.get_or_insert_with(|| self.times_of(labels)))?;
        (!times.allow(timestamp_ms)).then(|| times.fault(timestamp_ms))
    }

    /// The times that samples of a series may have. `None` if the series goes no further, whatever
    /// its times: that is found when it is entered.
    fn times_of(&self, labels: &[u8]) -> Option<TimeRules> {
        let retention = &self.tenant.retention;
        let retention = match self.tenant.see(self.raw(labels), None) {
            Ok(Ok(Seen::Series(labels))) => retention.of_labels(&labels),
            Ok(Ok(Seen::Dropped(_))) => return None,
            // The series will be refused as a whole.
            _ => retention.rules().default,
        };
        Some(self.times.of(retention))
    }
}

pub(super) fn body_error(error: ProtobufError) -> Error {
    Error::Body(error.into())
}
