//! From a decoded body to rows: which series, which samples, what is refused.
//!
//! Under the cache's read lock the body is walked once; series that are known cost a hash. Unknown
//! ones are parsed and checked without a lock, and entered under the write lock. Then the mutations
//! are made (`plan.rs`) under a read lock again, before anything can be evicted.
//!
//! # Invariants
//! - An undecodable body leaves no trace but, at most, new entries in the cache.
//! - Series and samples are counted while decoding, so a body is given up at its limit.
//!
//! Not here: the walk through one series after the other (`resolve/pass.rs`).

mod aside;
mod metadata;
mod new_series;
mod pass;

use crate::batch::{Batch, Row, raw_labels};
use crate::error::Error;
use crate::extras::{self, Extras};
use crate::gate::{Cause, Seen};
use crate::label_hash::{LabelHash, LabelHasher};
use crate::pool::Reservation;
use crate::series_cache::{Fate, SeriesCache, UNCACHED};
use crate::symbols::HashedSymbols;
use crate::tenant::Tenant;
use crate::validate::{LabelBounds, SeriesFault, TimeRules, series_text};
use guard::Limit;
use metadata::Described;
use model::{LabelTable, Text, TimestampMs};
use new_series::NewSeries;
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use pass::{Out, Pass};
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use wire::remote_write::{Field, RawLabels, SymbolTable, Version, Walk};

/// What resolving needs beside the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver<'r> {
    pub(crate) hasher: &'r LabelHasher,
    pub(crate) now: TimestampMs,
    pub(crate) now_ns: u64,
    pub(crate) epoch: u32,
}

/// A row whose series is not in the cache.
#[derive(Clone, Copy, Debug)]
struct Miss {
    row: u32,
    hash: LabelHash,
}

/// Why a row goes no further.
#[derive(Debug)]
enum Removed {
    Refused(SeriesFault),
    Dropped(Cause),
}

/// The metric of series that are not written.
static NO_METRIC: LazyLock<Text> = LazyLock::new(Text::default);

/// So often a batch starts over because entries were evicted in between.
const TRIES_MAX: usize = 3;

impl Resolver<'_> {
    /// Resolves the body of `batch` and, while the cache holds still, hands both to `plan`.
    ///
    /// # Errors
    /// [`Error::Body`] if the body is undecodable, [`Error::Guard`] if it holds too much.
    pub(crate) fn run<T>(
        &self,
        batch: &mut Batch,
        plan: impl FnOnce(&mut Batch, &SeriesCache) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let tenant = Arc::clone(&batch.tenant);
        self.read_symbols(batch)?;
        for _ in 0..TRIES_MAX {
            let cache = tenant.cache.read();
            let misses = self.walk(batch, &cache)?;
            let cache = if misses.is_empty() {
                Some(cache)
            } else {
                drop(cache);
                self.admit(&tenant, batch, misses)?
            };
            if let Some(cache) = cache {
                return plan(batch, &cache);
            }
        }
        Err(Error::Restless)
    }

    /// Reads the symbols of a 2.0 body, once for all tries.
    fn read_symbols(&self, batch: &mut Batch) -> Result<(), Error> {
        if batch.version == Version::One {
            return Ok(());
        }
        let body = &batch.body[..batch.body_len];
        let bytes = SymbolTable::bytes(body, batch.tenant.limits.max_decoded_bytes)?;
        if let Some(held) = &mut batch.reservation {
            held.raise_to(held.bytes() + bytes)?;
            batch.body_reserved_bytes = held.bytes();
        }
        batch.symbols = Some(HashedSymbols::read(body, self.hasher)?);
        Ok(())
    }

    /// Walks the body and resolves what the cache knows.
    fn walk(&self, batch: &mut Batch, cache: &SeriesCache) -> Result<Vec<Miss>, Error> {
        let body_len = batch.body_len;
        batch.clear();
        batch.evictions = cache.evictions();
        let tenant = Arc::clone(&batch.tenant);
        let limits = Arc::clone(&tenant.limits);
        let series_max = if batch.is_counted { Limit(0) } else { limits.max_request_series };
        let (shortest, _) = tenant.retention.bounds();
        let mut pass = Pass {
            resolver: self,
            cache,
            tenant: &tenant,
            times: TimeRules::new(&limits, shortest, self.now),
            body: &batch.body[..body_len],
            symbols: batch.symbols.as_ref(),
            previous: UNCACHED,
            series: 0,
            misses: Vec::new(),
            extras: Extras::default(),
            replica: None,
            described: Described::default(),
            body_reserved_bytes: batch.body_reserved_bytes,
            reservation: batch.reservation.as_mut(),
            out: Out {
                rows: &mut batch.rows,
                gathered: &mut batch.gathered,
                columns: &mut batch.columns,
                refusals: &mut batch.refusals,
                heard: &mut batch.heard,
                metadata: &mut batch.metadata,
            },
        };
        let mut walk = Walk::new(&batch.body[..body_len], batch.version);
        while let Some(field) = walk.next_field()? {
            match field {
                Field::Series(view) => {
                    pass.series += 1;
                    if series_max.is_exceeded_by(pass.series) {
                        return Err(batch.tenant.too_many_series().into());
                    }
                    pass.series(&view)?;
                    let items = pass.out.refusals.received_in_all();
                    if limits.max_request_samples.is_exceeded_by(items) {
                        return Err(batch.tenant.too_many_samples().into());
                    }
                }
                Field::Metadata(view) => pass.metadata(&view),
            }
        }
        let (mut misses, extras) = (pass.misses, pass.extras);
        extras.finish(batch, |row, Row { entry, .. }, hash| {
            if entry == UNCACHED {
                misses.push(Miss { row: position(row), hash });
            }
        });
        Ok(misses)
    }

    /// Parses the series that were not known and enters them. `None` if entries were evicted in
    /// between: start over.
    fn admit<'t>(
        &self,
        tenant: &'t Tenant,
        batch: &mut Batch,
        misses: Vec<Miss>,
    ) -> Result<Option<RwLockReadGuard<'t, SeriesCache>>, Error> {
        let out = self.see(tenant, batch, &misses)?;
        let mut cache = tenant.cache.write();
        if cache.evictions() != batch.evictions {
            return Ok(None);
        }
        let mut parsed = batch.parsed.iter().peekable();
        let mut removed = out.iter().peekable();
        for miss in &misses {
            let row = &mut batch.rows[miss.row as usize];
            if let Some((_, labels)) = parsed.next_if(|(row, _)| *row == miss.row)
                && let Some(metric) = labels.metric()
            {
                row.entry = cache.insert(miss.hash, metric, self.epoch);
            } else if let Some((_, Removed::Dropped(_))) =
                removed.next_if(|(row, _)| *row == miss.row)
            {
                row.entry = cache.insert(miss.hash, &NO_METRIC, self.epoch);
                cache.decide(row.entry, Fate::DROPPED);
            }
        }
        // What this request evicted itself was idle for long, and none of its own.
        batch.evictions = cache.evictions();
        // The next request has its floats in this order; what stands behind them stood between them.
        for two in batch.rows[..batch.float_rows()].windows(2) {
            cache.follow(two[0].entry, two[1].entry);
        }
        let cache = RwLockWriteGuard::downgrade(cache);
        remove_rows(batch, &out);
        Ok(Some(cache))
    }

    /// Finds out what the labels of new series stand for: label sets into `batch.parsed`; what goes no
    /// further is returned.
    fn see(
        &self,
        tenant: &Tenant,
        batch: &mut Batch,
        misses: &[Miss],
    ) -> Result<Vec<(u32, Removed)>, Error> {
        let mut out: Vec<(u32, Removed)> = Vec::new();
        batch.parsed.clear();
        let mut written_out = WrittenOut::new(batch);
        let (table, rows) = self.plain(tenant, batch, misses, &mut written_out)?;
        let mut rows = rows.into_iter();
        for miss in misses {
            if let Some(labels) = rows.next().flatten().and_then(|keys| table.row(keys)) {
                batch.parsed.push((miss.row, labels));
                continue;
            }
            let row = batch.rows[miss.row as usize];
            let raw = batch.raw_labels(&row);
            let neighbour = batch.parsed.last().map(|(_, labels)| labels);
            let rules_read = if tenant.gate.is_open() { 0 } else { texts_of(raw) };
            match tenant.see(raw, neighbour)? {
                Ok(Seen::Series(labels)) => {
                    let written = labels.iter().map(|(name, value)| name.len() + value.len());
                    let written = written.sum::<usize>() as u64;
                    batch.parsed.push((miss.row, labels));
                    written_out.add(tenant, batch.reservation.as_mut(), written)?;
                }
                Ok(Seen::Dropped(cause)) => out.push((miss.row, Removed::Dropped(cause))),
                Err(fault) => out.push((miss.row, Removed::Refused(fault))),
            }
            written_out.add(tenant, batch.reservation.as_mut(), rules_read)?;
        }
        Ok(out)
    }

    /// The plain ones of new series: a table, and for each series where its keys are; none at all if
    /// the tenant has something done to them.
    fn plain(
        &self,
        tenant: &Tenant,
        batch: &mut Batch,
        misses: &[Miss],
        written_out: &mut WrittenOut,
    ) -> Result<(Arc<LabelTable>, Vec<Option<Keys>>), Error> {
        let mut rows = Vec::new();
        let Batch { body, body_len, symbols, gathered, reservation, .. } = batch;
        let (body, symbols) = (&body[..*body_len], symbols.as_ref());
        let mut new = NewSeries::new(self.hasher, LabelBounds::of(&tenant.limits));
        if tenant.gate.is_open() {
            rows.reserve(misses.len());
            for miss in misses {
                let row = &batch.rows[miss.row as usize];
                let added = new.push(raw_labels(body, symbols, gathered, row));
                let bytes = added.as_ref().map_or(0, |added| added.bytes);
                written_out.add(tenant, reservation.as_mut(), bytes)?;
                rows.push(added.map(|added| added.keys));
            }
        }
        Ok((new.finish(), rows))
    }
}

/// Where the keys of a row are in its table.
type Keys = Range<usize>;

/// The labels of a request's new series, written out.
///
/// In 2.0 a reference of one byte stands for kilobytes, so what its new series take counts as
/// decoded bytes: no more gets in than 1.0 could say. In 1.0 their bytes are among those that the body reserved.
struct WrittenOut {
    is_counted: bool,
    bytes: u64,
    held_before: u64,
}

impl WrittenOut {
    fn new(batch: &Batch) -> Self {
        let held_before = batch.reservation.as_ref().map_or(0, Reservation::bytes);
        Self { is_counted: batch.symbols.is_some(), bytes: 0, held_before }
    }

    /// Counts some more.
    fn add(
        &mut self,
        tenant: &Tenant,
        held: Option<&mut Reservation>,
        bytes: u64,
    ) -> Result<(), Error> {
        if !self.is_counted {
            return Ok(());
        }
        self.bytes += bytes;
        if tenant.limits.max_decoded_bytes.is_exceeded_by(self.bytes) {
            return Err(tenant.too_many_label_bytes().into());
        }
        held.map_or(Ok(()), |held| held.raise_to(self.held_before + self.bytes))
    }
}

/// The bytes of all names and values.
fn texts_of(raw: RawLabels<'_>) -> u64 {
    let texts = raw.into_iter().map_while(Result::ok);
    texts.map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

/// Positions fit in 32 bits: no body has more bytes.
pub(crate) fn position(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Takes the rows of series that go no further out, and their items. `out` ascends by row.
fn remove_rows(batch: &mut Batch, out: &[(u32, Removed)]) {
    if out.is_empty() {
        return;
    }
    let mut out = out.iter().peekable();
    let mut parsed = std::mem::take(&mut batch.parsed).into_iter().peekable();
    let mut kept: Vec<Range<usize>> = Vec::with_capacity(batch.rows.len());
    let (mut kept_items, mut start) = (0, 0);
    for at in 0..batch.rows.len() {
        let mut row = batch.rows[at];
        let items = start..row.sample_end as usize;
        start = items.end;
        let labels = parsed.next_if(|(row, _)| *row as usize == at);
        if let Some((_, removed)) = out.next_if(|(row, _)| *row as usize == at) {
            let (item, count) = (extras::item_at(batch, items.start), items.len() as u64);
            match removed {
                Removed::Dropped(cause) => batch.refusals.drop_items(item, count, *cause),
                Removed::Refused(fault) => {
                    let (body, symbols) = (&batch.body[..batch.body_len], batch.symbols.as_ref());
                    let raw = raw_labels(body, symbols, &batch.gathered, &row);
                    let tell = || format!("{}: {}", series_text(raw), fault.told(&batch.tenant.id));
                    batch.refusals.refuse(item, count, fault.reason, tell);
                }
            }
            continue;
        }
        batch.parsed.extend(labels.map(|(_, labels)| (position(kept.len()), labels)));
        kept_items += items.len();
        row.sample_end = position(kept_items);
        batch.rows[kept.len()] = row;
        kept.push(items);
    }
    batch.rows.truncate(kept.len());
    let floats = batch.columns.values.len();
    let samples = floats + batch.exemplars.len();
    extras::keep(&mut batch.columns.timestamps_ms, 0, &kept);
    extras::keep(&mut batch.columns.values, 0, &kept);
    extras::keep(&mut batch.columns.start_timestamps_ms, 0, &kept);
    extras::keep(&mut batch.exemplars, floats, &kept);
    extras::keep(&mut batch.histograms, samples, &kept);
}
