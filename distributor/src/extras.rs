//! What a series has beside floats: its native histograms and exemplars, checked one by one.
//!
//! They are rare beside floats, so they are kept aside while a body is walked and stand behind its
//! floats afterwards: rows of floats, then of exemplars, then of histograms, and their items in the
//! same order. So whatever cuts rows by their times cuts all of them.
//!
//! Not here: how they are decoded (`wire::remote_write`), what makes sense (`model::histogram`).

use crate::batch::{Batch, Row};
use crate::error::Error;
use crate::label_hash::LabelHash;
use crate::pool::Reservation;
use crate::refusal::{Item, Reason};
use crate::resolve::position;
use crate::tenant::Tenant;
use crate::validate::{SeriesFault, text_of};
use guard::Limits;
use model::histogram::OVER_LIMIT;
use model::{Exemplar, HistogramSample, LabelSet};
use std::sync::Arc;
use wire::remote_write::{ExemplarView, HistogramView, Symbols};

/// Characters of an exemplar's labels, names and values together.
const EXEMPLAR_CHARS_MAX: usize = 128;
/// Histograms and exemplars of a request take at most so many times `max_decoded_bytes`.
pub(crate) const BODIES_MAX: u64 = 2;
/// About what a label of an exemplar takes beside its text.
const EXEMPLAR_LABEL_BYTES: usize = 96;

/// What a walk kept aside, and the memory that it takes.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) exemplars: Section<Exemplar>,
    pub(crate) histograms: Section<HistogramSample>,
    bytes: u64,
}

/// The items of one kind, row by row.
#[derive(Debug)]
pub(crate) struct Section<T> {
    rows: Vec<(Row, LabelHash)>,
    times: Vec<i64>,
    items: Vec<T>,
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), times: Vec::new(), items: Vec::new() }
    }
}

impl<T> Section<T> {
    pub(crate) fn push(&mut self, timestamp_ms: i64, item: T) {
        self.times.push(timestamp_ms);
        self.items.push(item);
    }

    /// Ends the row whose items were pushed, if there were any.
    pub(crate) fn end_row(&mut self, row: Row, hash: LabelHash) {
        let start = self.rows.last().map_or(0, |(row, _)| row.sample_end);
        let sample_end = position(self.items.len());
        if sample_end > start {
            self.rows.push((Row { sample_end, ..row }, hash));
        }
    }

    /// Puts rows and times behind those of the batch; hands each row's place and hash to `visit`.
    fn finish(self, batch: &mut Batch, visit: &mut impl FnMut(usize, Row, LabelHash)) -> Vec<T> {
        let base = position(batch.columns.timestamps_ms.len());
        for (mut row, hash) in self.rows {
            row.sample_end += base;
            visit(batch.rows.len(), row, hash);
            batch.rows.push(row);
        }
        batch.columns.timestamps_ms.extend(self.times);
        self.items
    }
}

impl Extras {
    /// Reserves memory for what is kept aside, as it grows beyond `base` bytes.
    ///
    /// A bucket is a byte in the body and eight here, and in 2.0 so may be a label of an exemplar:
    /// what is kept of a request is bound by what its body may be.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the budget is spent, [`Error::Guard`] if it is more than
    /// [`BODIES_MAX`] bodies of the tenant.
    pub(crate) fn reserve(
        &mut self,
        bytes: usize,
        base: u64,
        tenant: &Tenant,
        reservation: Option<&mut Reservation>,
    ) -> Result<(), Error> {
        self.bytes += bytes as u64;
        if tenant.limits.max_decoded_bytes.is_exceeded_by(self.bytes / BODIES_MAX) {
            return Err(tenant.too_many_extra_bytes().into());
        }
        reservation.map_or(Ok(()), |held| held.raise_to(base + self.bytes))
    }

    /// Puts everything behind the floats of the batch.
    pub(crate) fn finish(self, batch: &mut Batch, mut visit: impl FnMut(usize, Row, LabelHash)) {
        batch.exemplars = self.exemplars.finish(batch, &mut visit);
        batch.histograms = self.histograms.finish(batch, &mut visit);
    }
}

/// A histogram as it will be kept, or why not.
pub(crate) fn histogram(
    view: HistogramView,
    limits: &Limits,
) -> Result<HistogramSample, SeriesFault> {
    let HistogramView { timestamp_ms, start_timestamp_ms, histogram } = view;
    let limit = limits.max_native_histogram_buckets;
    let buckets = histogram.as_ref().map_or(0, model::Histogram::buckets);
    let admitted = histogram.and_then(|histogram| histogram.admit(limit.get()));
    match admitted {
        Ok(histogram) => Ok(HistogramSample {
            timestamp_ms,
            histogram: Arc::new(histogram),
            start_timestamp_ms,
            revision: 0,
        }),
        Err(OVER_LIMIT) => {
            let (reason, limit) = (Reason::HistogramBuckets, limit.0);
            let text = format!(
                "histogram at {timestamp_ms} has {buckets} buckets, over the limit of {limit} at the lowest resolution ({})",
                reason.limit_key()
            );
            Err(SeriesFault { reason, text })
        }
        Err(bad) => {
            let text = format!("invalid histogram at {timestamp_ms}: {bad}");
            Err(SeriesFault { reason: Reason::InvalidHistogram, text })
        }
    }
}

/// An exemplar as it will be kept, or why not; its labels are references if there are `symbols`.
///
/// # Errors
/// The outer one if the bytes are no protobuf: the whole body is bad.
pub(crate) fn exemplar(
    view: &ExemplarView<'_>,
    symbols: Option<Symbols<'_>>,
) -> Result<Result<Exemplar, SeriesFault>, Error> {
    let (mut pairs, mut chars, mut bad) = (Vec::new(), 0_usize, None);
    for label in view.labels(symbols) {
        let (name, value) = label?;
        if bad.is_some() {
            continue;
        }
        match exemplar_label(name, value, &mut chars) {
            Ok(pair) => pairs.push(pair),
            Err(fault) => bad = Some(fault),
        }
    }
    let labels = match bad {
        Some(fault) => Err(fault),
        None => LabelSet::from_pairs(pairs).map_err(|error| SeriesFault {
            reason: Reason::DuplicateLabel,
            text: error.to_string(),
        }),
    };
    let (timestamp_ms, value) = (view.timestamp_ms, view.value);
    Ok(match labels {
        Ok(labels) => Ok(Exemplar { timestamp_ms, value, labels }),
        Err(fault) => Err(in_exemplar(view, fault)),
    })
}

/// A label of an exemplar; `chars` counts those of all its labels. A symbol may be referred to many
/// times, so what is too long is not looked at.
fn exemplar_label<'a>(
    name: &'a [u8],
    value: &'a [u8],
    chars: &mut usize,
) -> Result<(&'a str, &'a str), SeriesFault> {
    let too_long = || {
        let text = format!("more than {EXEMPLAR_CHARS_MAX} characters of labels");
        SeriesFault { reason: Reason::ExemplarLabels, text }
    };
    if name.len() + value.len() > EXEMPLAR_CHARS_MAX * char::MAX.len_utf8() {
        return Err(too_long());
    }
    let (name, value) = (text_of(name, name)?, text_of(value, name)?);
    *chars += name.chars().count() + value.chars().count();
    if *chars > EXEMPLAR_CHARS_MAX {
        return Err(too_long());
    }
    if name.is_empty() {
        let text = "label without a name".to_owned();
        return Err(SeriesFault { reason: Reason::NoLabelName, text });
    }
    Ok((name, value))
}

fn in_exemplar(view: &ExemplarView<'_>, fault: SeriesFault) -> SeriesFault {
    let text = format!("exemplar at {}: {}", view.timestamp_ms, fault.text);
    SeriesFault { text, ..fault }
}

/// About how much memory a request takes for an item: once here, once in its mutations.
pub(crate) fn exemplar_bytes(exemplar: &Exemplar) -> usize {
    let texts = exemplar.labels.iter().map(|(name, value)| name.len() + value.len());
    let labels: usize = texts.map(|bytes| bytes + EXEMPLAR_LABEL_BYTES).sum();
    2 * size_of::<Exemplar>() + labels
}

/// About how much memory a request takes for a histogram.
pub(crate) fn histogram_bytes(sample: &HistogramSample) -> usize {
    2 * size_of::<HistogramSample>() + sample.histogram.bytes()
}

/// Keeps the places in `kept`, ranges that ascend, of the part of a column that begins at `base`.
pub(crate) fn keep<T>(column: &mut Vec<T>, base: usize, kept: &[std::ops::Range<usize>]) {
    let (end, mut len) = (base + column.len(), 0);
    for range in kept {
        for at in range.start.max(base)..range.end.min(end) {
            column.swap(len, at - base);
            len += 1;
        }
    }
    column.truncate(len);
}

/// What stands at a place of a batch's items.
pub(crate) fn item_at(batch: &Batch, at: usize) -> Item {
    let floats = batch.columns.values.len();
    match at {
        at if at < floats => Item::Float,
        at if at < floats + batch.exemplars.len() => Item::Exemplar,
        _ => Item::Histogram,
    }
}
