//! One walk through a body: each series is looked up, its samples are taken or refused by their times.
//!
//! # Invariants
//! - The cache is under a read lock all the while: an entry that was found stays.
//! - A row has at least one sample; what a refused time belongs to is in no column.
//!
//! Not here: series that are not in the cache (`resolve.rs`), what a histogram or an exemplar must be
//! like (`extras.rs`).

use super::{Miss, Resolver, position};
use crate::batch::Row;
use crate::error::Error;
use crate::extras::{self, Extras};
use crate::gate::{Cause, Seen};
use crate::ha::Heard;
use crate::label_hash::LabelHash;
use crate::pool::Reservation;
use crate::refusal::{Item, Reason, Refusals};
use crate::series_cache::{Fate, SeriesCache, UNCACHED};
use crate::tenant::Tenant;
use crate::validate::{SeriesFault, TimeRules, series_text};
use guard::HaVerdict;
use wire::remote_write::{Extra, SampleColumns, SeriesView};

/// One walk through a body.
pub(super) struct Pass<'p> {
    pub(super) resolver: &'p Resolver<'p>,
    pub(super) cache: &'p SeriesCache,
    pub(super) tenant: &'p Tenant,
    /// The times that samples of every series may have.
    pub(super) times: TimeRules,
    pub(super) body_len: usize,
    /// The entry of the series before.
    pub(super) previous: u32,
    pub(super) series: u64,
    pub(super) misses: Vec<Miss>,
    pub(super) extras: Extras,
    /// The replica of an HA pair that sends the series that is being read.
    pub(super) replica: Option<Replica>,
    pub(super) body_reserved_bytes: u64,
    pub(super) reservation: Option<&'p mut Reservation>,
    pub(super) out: Out<'p>,
}

/// An elected replica of an HA pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    /// Its place among those that were heard.
    place: usize,
    /// What is at or before this time was delivered by another replica.
    floor_ms: i64,
}

/// What becomes of a series that goes no further.
enum Aside {
    Dropped(Cause),
    Refused(SeriesFault),
}

/// Where a walk leaves what it finds.
pub(super) struct Out<'p> {
    pub(super) rows: &'p mut Vec<Row>,
    pub(super) gathered: &'p mut Vec<u8>,
    pub(super) columns: &'p mut SampleColumns,
    pub(super) refusals: &'p mut Refusals,
    pub(super) heard: &'p mut Vec<Heard>,
}

impl Pass<'_> {
    #[inline]
    pub(super) fn series(&mut self, view: &SeriesView<'_>) -> Result<(), Error> {
        let (mut entry, mut hash, mut labels_len) = (UNCACHED, LabelHash::default(), 0);
        let predicted = self.cache.predict(self.previous);
        if let Some((successor, len)) = predicted
            && let Some(raw) = view.labels_of_len(len)
        {
            hash = self.resolver.hasher.hash(raw);
            if self.cache.confirm(successor, hash, self.resolver.epoch) {
                (entry, labels_len) = (successor, len);
            }
        }
        if entry == UNCACHED {
            let raw = view.leading_labels()?;
            labels_len = raw.len();
            (entry, hash) = self.look_up(raw);
        }
        let first = self.out.columns.timestamps_ms.len();
        let tail = view.read_samples(labels_len, self.out.columns)?;
        let mut labels_start = view.offset();
        if tail.has_more_labels {
            labels_start = self.body_len + self.out.gathered.len();
            let mut labels = Vec::new();
            view.gather_labels(&mut labels)?;
            labels_len = labels.len();
            (entry, hash) = self.look_up(&labels);
            self.out.gathered.extend_from_slice(&labels);
        }
        let row = Row {
            entry,
            labels_start: position(labels_start),
            labels_len: position(labels_len),
            sample_end: 0,
        };
        if !self.tenant.gate.is_open()
            && let Some(aside) = self.set_aside(&row, view)?
        {
            return self.put_aside(first, row, view, tail.has_extras, aside);
        }
        if tail.has_extras {
            self.extras(row, hash, view)?;
        }
        self.row(first, row, hash, view)
    }

    /// Takes the native histograms and exemplars of a series.
    #[cold]
    fn extras(&mut self, row: Row, hash: LabelHash, view: &SeriesView<'_>) -> Result<(), Error> {
        let labels = self.labels_of(&row, view)?;
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
                Extra::Histogram(view) => {
                    let sample = match self.time_fault(at, &labels) {
                        None => extras::histogram(*view, &self.tenant.limits),
                        Some(fault) => Err(fault),
                    };
                    let bytes = sample.as_ref().map_or(0, extras::histogram_bytes);
                    let kept = sample.map(|sample| self.extras.histograms.push(at, sample));
                    (bytes, kept.err())
                }
                Extra::Exemplar(view) => {
                    let exemplar = match self.time_fault(at, &labels) {
                        None => extras::exemplar(&view)?,
                        Some(fault) => Err(fault),
                    };
                    let bytes = exemplar.as_ref().map_or(0, extras::exemplar_bytes);
                    let kept = exemplar.map(|one| self.extras.exemplars.push(at, one));
                    (bytes, kept.err())
                }
            };
            let reservation = self.reservation.as_deref_mut();
            self.extras.reserve(bytes, self.body_reserved_bytes, reservation)?;
            if let Some(fault) = fault {
                let tell = || format!("{}: {}", series_text(&labels), fault.text);
                self.out.refusals.refuse(item, 1, fault.reason, tell);
            }
        }
        self.extras.histograms.end_row(row, hash);
        self.extras.exemplars.end_row(row, hash);
        Ok(())
    }

    /// Why a series goes no further, if that can be told before it is entered.
    fn set_aside(&mut self, row: &Row, view: &SeriesView<'_>) -> Result<Option<Aside>, Error> {
        self.replica = None;
        if self.cache.fate(row.entry) == Fate::DROPPED {
            return Ok(Some(Aside::Dropped(Cause::Relabel)));
        }
        let Some(ha) = &self.tenant.gate.ha else { return Ok(None) };
        let labels = self.labels_of(row, view)?;
        let Some(place) = ha.hear(&labels, self.resolver.now_ns, self.out.heard) else {
            return Ok(None);
        };
        Ok(match self.out.heard[place].verdict {
            Ok(HaVerdict::Waits) => Some(Aside::Dropped(Cause::Ha)),
            Ok(HaVerdict::Elected { floor_ms, .. }) => {
                self.replica = Some(Replica { place, floor_ms });
                None
            }
            Err(error) => {
                let text = format!("tenant {}: {error}", self.tenant.id);
                Some(Aside::Refused(SeriesFault { reason: Reason::HaClusters, text }))
            }
        })
    }

    /// Counts what a series has and takes its floats out again. They were decoded all the same: an
    /// undecodable body is one whatever becomes of its series.
    #[cold]
    fn put_aside(
        &mut self,
        first: usize,
        row: Row,
        view: &SeriesView<'_>,
        has_extras: bool,
        aside: Aside,
    ) -> Result<(), Error> {
        self.previous = row.entry;
        let mut counts = [0; Item::ALL.len()];
        counts[Item::Float as usize] = (self.out.columns.timestamps_ms.len() - first) as u64;
        self.out.columns.timestamps_ms.truncate(first);
        self.out.columns.values.truncate(first);
        if has_extras {
            for extra in view.extras() {
                match extra? {
                    Extra::Histogram(_) => counts[Item::Histogram as usize] += 1,
                    Extra::Exemplar(_) => counts[Item::Exemplar as usize] += 1,
                }
            }
        }
        let labels = match &aside {
            Aside::Dropped(_) => Vec::new(),
            Aside::Refused(_) => self.labels_of(&row, view)?,
        };
        for (item, count) in Item::ALL.into_iter().zip(counts) {
            self.out.refusals.receive(item, count);
            match &aside {
                Aside::Dropped(cause) => self.out.refusals.drop_items(item, count, *cause),
                Aside::Refused(fault) if count > 0 => {
                    let tell = || format!("{}: {}", series_text(&labels), fault.text);
                    self.out.refusals.refuse(item, count, fault.reason, tell);
                }
                Aside::Refused(_) => {}
            }
        }
        Ok(())
    }

    /// Whether another replica has delivered what is at this time. What it has not, this one does.
    fn was_delivered(&mut self, timestamp_ms: i64) -> bool {
        let Some(Replica { place, floor_ms }) = self.replica else { return false };
        if timestamp_ms > floor_ms {
            let newest_ms = &mut self.out.heard[place].newest_ms;
            *newest_ms = timestamp_ms.max(*newest_ms);
        }
        timestamp_ms <= floor_ms
    }

    /// Takes the floats out again that another replica has delivered.
    fn drop_delivered(&mut self, first: usize) {
        let (mut kept, end) = (first, self.out.columns.timestamps_ms.len());
        for at in first..end {
            let timestamp_ms = self.out.columns.timestamps_ms[at];
            if !self.was_delivered(timestamp_ms) {
                self.out.columns.timestamps_ms[kept] = timestamp_ms;
                self.out.columns.values[kept] = self.out.columns.values[at];
                kept += 1;
            }
        }
        self.out.refusals.drop_items(Item::Float, (end - kept) as u64, Cause::Ha);
        self.out.columns.timestamps_ms.truncate(kept);
        self.out.columns.values.truncate(kept);
    }

    fn look_up(&self, raw: &[u8]) -> (u32, LabelHash) {
        let hash = self.resolver.hasher.hash(raw);
        let entry = self.cache.find(hash, self.resolver.epoch);
        if let Some(entry) = entry {
            self.cache.follow(self.previous, entry);
        }
        (entry.unwrap_or(UNCACHED), hash)
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
    fn labels_of(&self, row: &Row, view: &SeriesView<'_>) -> Result<Vec<u8>, Error> {
        let gathered = (row.labels_start as usize).checked_sub(self.body_len);
        match gathered.and_then(|start| self.out.gathered.get(start..)) {
            Some(gathered) => Ok(gathered.to_vec()),
            None => Ok(view.leading_labels()?.to_vec()),
        }
    }

    /// Takes the samples at times that are not allowed out again.
    #[cold]
    fn refuse_times(&mut self, first: usize, labels: &[u8]) {
        let Some(times) = self.times_of(labels) else { return };
        let SampleColumns { timestamps_ms, values } = &mut *self.out.columns;
        let mut kept = first;
        for at in first..timestamps_ms.len() {
            let timestamp_ms = timestamps_ms[at];
            if times.allow(timestamp_ms) {
                timestamps_ms[kept] = timestamp_ms;
                values[kept] = values[at];
                kept += 1;
            } else {
                let fault = times.fault(timestamp_ms);
                let tell = || format!("{}: {}", series_text(labels), fault.text);
                self.out.refusals.refuse(Item::Float, 1, fault.reason, tell);
            }
        }
        timestamps_ms.truncate(kept);
        values.truncate(kept);
    }

    /// Why something of a series cannot be at this time. Most can be, whatever their series.
    fn time_fault(&self, timestamp_ms: i64, labels: &[u8]) -> Option<SeriesFault> {
        if self.times.allow(timestamp_ms) {
            return None;
        }
        let times = self.times_of(labels)?;
        (!times.allow(timestamp_ms)).then(|| times.fault(timestamp_ms))
    }

    /// The times that samples of a series may have. `None` if the series goes no further, whatever
    /// its times: that is found when it is entered.
    fn times_of(&self, labels: &[u8]) -> Option<TimeRules> {
        let retention = &self.tenant.retention;
        let retention = match self.tenant.see(labels, None) {
            Ok(Ok(Seen::Series(labels))) => retention.of_labels(&labels),
            Ok(Ok(Seen::Dropped(_))) => return None,
            // The series will be refused as a whole.
            _ => retention.rules().default,
        };
        Some(self.times.of(retention))
    }
}
