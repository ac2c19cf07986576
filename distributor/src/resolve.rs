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

mod pass;

use crate::batch::{Batch, Row, raw_labels};
use crate::error::Error;
use crate::extras::{self, Extras};
use crate::gate::{Cause, Seen};
use crate::label_hash::{LabelHash, LabelHasher};
use crate::series_cache::{Fate, SeriesCache, UNCACHED};
use crate::tenant::Tenant;
use crate::validate::{SeriesFault, TimeRules, series_text};
use model::mutation::MetricMetadata;
use model::{METRIC_NAME, Text, TimestampMs};
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use pass::{Out, Pass};
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use wire::remote_write::{Field, MetadataView, Walk};

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

    /// Walks the body and resolves what the cache knows.
    fn walk(&self, batch: &mut Batch, cache: &SeriesCache) -> Result<Vec<Miss>, Error> {
        let body_len = batch.body_len;
        batch.clear();
        batch.evictions = cache.evictions();
        let tenant = Arc::clone(&batch.tenant);
        let limits = Arc::clone(&tenant.limits);
        let (shortest, _) = tenant.retention.bounds();
        let mut pass = Pass {
            resolver: self,
            cache,
            tenant: &tenant,
            times: TimeRules::new(&limits, shortest, self.now),
            body_len,
            previous: UNCACHED,
            series: 0,
            misses: Vec::new(),
            extras: Extras::default(),
            replica: None,
            body_reserved_bytes: batch.body_reserved_bytes,
            reservation: batch.reservation.as_mut(),
            out: Out {
                rows: &mut batch.rows,
                gathered: &mut batch.gathered,
                columns: &mut batch.columns,
                refusals: &mut batch.refusals,
                heard: &mut batch.heard,
            },
        };
        let mut walk = Walk::new(&batch.body[..body_len]);
        while let Some(field) = walk.next_field()? {
            match field {
                Field::Series(view) => {
                    pass.series += 1;
                    if limits.max_request_series.is_exceeded_by(pass.series) {
                        return Err(batch.tenant.too_many_series().into());
                    }
                    pass.series(&view)?;
                    let items = pass.out.refusals.received_in_all();
                    if limits.max_request_samples.is_exceeded_by(items) {
                        return Err(batch.tenant.too_many_samples().into());
                    }
                }
                Field::Metadata(view) => {
                    // Metadata never fails a request: what is too much is left out.
                    let count = batch.metadata.len() as u64;
                    if !limits.max_request_series.is_exceeded_by(count + 1) {
                        batch.metadata.extend(metadata(&view, &limits));
                    }
                }
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
        let mut out: Vec<(u32, Removed)> = Vec::new();
        batch.parsed.clear();
        for miss in &misses {
            let row = batch.rows[miss.row as usize];
            let raw = raw_labels(&batch.body[..batch.body_len], &batch.gathered, &row);
            let neighbour = batch.parsed.last().map(|(_, labels)| labels);
            match tenant.see(raw, neighbour)? {
                Ok(Seen::Series(labels)) => batch.parsed.push((miss.row, labels)),
                Ok(Seen::Dropped(cause)) => out.push((miss.row, Removed::Dropped(cause))),
                Err(fault) => out.push((miss.row, Removed::Refused(fault))),
            }
        }
        let mut cache = tenant.cache.write();
        if cache.evictions() != batch.evictions {
            return Ok(None);
        }
        let mut parsed = batch.parsed.iter().peekable();
        let mut removed = out.iter().peekable();
        for miss in &misses {
            let row = &mut batch.rows[miss.row as usize];
            if let Some((_, labels)) = parsed.next_if(|(row, _)| *row == miss.row)
                && let Some(metric) = labels.get(METRIC_NAME)
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
                    let raw = raw_labels(&batch.body[..batch.body_len], &batch.gathered, &row);
                    let tell = || format!("{}: {}", series_text(raw), fault.text);
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
    extras::keep(&mut batch.exemplars, floats, &kept);
    extras::keep(&mut batch.histograms, samples, &kept);
}

/// Metadata as text; what is no text or too long is left out, it never fails a request.
fn metadata(view: &MetadataView<'_>, limits: &guard::Limits) -> Option<MetricMetadata> {
    let text = |bytes: &[u8], max: u64| {
        if bytes.len() as u64 > max {
            return None;
        }
        Some(model::Text::from(std::str::from_utf8(bytes).ok()?))
    };
    let metric = text(view.metric, limits.max_label_value_bytes.get())?;
    let help = String::from_utf8_lossy(&view.help[..view.help.len().min(HELP_BYTES_MAX)]);
    let unit = text(view.unit, UNIT_BYTES_MAX)?;
    let metric_type = view.metric_type;
    (!metric.is_empty()).then(|| MetricMetadata { metric, metric_type, help: help.into(), unit })
}

/// A help text is cut here.
const HELP_BYTES_MAX: usize = 1024;
/// A unit is no longer than this.
const UNIT_BYTES_MAX: u64 = 128;
