//! One request between its body and its mutations: rows over the decoded bytes.
//!
//! A row is a series and items of one kind. Rows of floats come first, then those of exemplars, then
//! those of native histograms; so do their times, and a place among the times tells the kind.

use crate::ha::Hearing;
use crate::pool::{Buffer, Reservation};
use crate::refusal::Refusals;
use crate::symbols::HashedSymbols;
use crate::tenant::Tenant;
use model::mutation::MetricMetadata;
use model::{Context, Exemplar, HistogramSample, LabelSet};
use std::sync::Arc;
use wire::remote_write::{RawLabels, SampleColumns, Version};

/// A series of a request and where its samples end; its first is where the row before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its entry in the cache, or [`UNCACHED`].
    pub(crate) entry: u32,
    /// Where its raw labels begin: in the body, or behind its end in the gathered labels.
    pub(crate) labels_start: u32,
    pub(crate) labels_len: u32,
    pub(crate) sample_end: u32,
}

/// What a request asks to write, resolved.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) context: Arc<Context>,
    /// The decoded body; only the first `body_len` bytes count.
    pub(crate) body: Buffer,
    pub(crate) body_len: usize,
    pub(crate) version: Version,
    /// Whether somebody counted already what the tenant may send at once: what was translated has more
    /// series than its sender sent points.
    pub(crate) is_counted: bool,
    /// What the references of a 2.0 body refer to.
    pub(crate) symbols: Option<HashedSymbols>,
    /// Raw labels that did not stand in one piece.
    pub(crate) gathered: Vec<u8>,
    pub(crate) rows: Vec<Row>,
    /// The times of all items; the values and starts of floats.
    pub(crate) columns: SampleColumns,
    /// Behind the floats.
    pub(crate) exemplars: Vec<Exemplar>,
    /// Behind the exemplars.
    pub(crate) histograms: Vec<HistogramSample>,
    /// Labels of series that were not known, ascending by row.
    pub(crate) parsed: Vec<(u32, LabelSet)>,
    pub(crate) metadata: Vec<MetricMetadata>,
    /// What is known of metrics beside the body.
    pub(crate) described: Vec<MetricMetadata>,
    pub(crate) refusals: Refusals,
    /// The replicas of HA pairs that sent it.
    pub(crate) heard: Hearing,
    /// The count of evictions that the rows' entries are good for.
    pub(crate) evictions: u64,
    /// The request's share of the memory, and how much of it the body takes; none if it is our own.
    pub(crate) reservation: Option<Reservation>,
    pub(crate) body_reserved_bytes: u64,
}

impl Batch {
    /// Nothing yet, over a decoded body.
    pub(crate) fn new(
        tenant: Arc<Tenant>,
        context: Arc<Context>,
        body: Buffer,
        body_len: usize,
        version: Version,
        reservation: Option<Reservation>,
    ) -> Self {
        let body_reserved_bytes = reservation.as_ref().map_or(0, Reservation::bytes);
        Self {
            tenant,
            context,
            body,
            body_len,
            version,
            is_counted: false,
            symbols: None,
            gathered: Vec::new(),
            rows: Vec::new(),
            columns: SampleColumns::default(),
            exemplars: Vec::new(),
            histograms: Vec::new(),
            parsed: Vec::new(),
            metadata: Vec::new(),
            described: Vec::new(),
            refusals: Refusals::default(),
            heard: Hearing::default(),
            evictions: 0,
            reservation,
            body_reserved_bytes,
        }
    }

    /// Forgets what a walk found.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.gathered.clear();
        self.metadata.clone_from(&self.described);
        self.columns.timestamps_ms.clear();
        self.columns.values.clear();
        self.columns.start_timestamps_ms.clear();
        self.exemplars.clear();
        self.histograms.clear();
        self.refusals = Refusals::default();
        self.heard.clear();
    }

    /// How many rows are of floats: the first ones.
    pub(crate) fn float_rows(&self) -> usize {
        let floats = self.columns.values.len();
        self.rows.partition_point(|row| row.sample_end as usize <= floats)
    }

    /// The raw labels of a row.
    pub(crate) fn raw_labels(&self, row: &Row) -> RawLabels<'_> {
        raw_labels(&self.body[..self.body_len], self.symbols.as_ref(), &self.gathered, row)
    }

    /// Where the samples of a row begin.
    pub(crate) fn sample_start(&self, row: usize) -> u32 {
        row.checked_sub(1).and_then(|before| self.rows.get(before)).map_or(0, |row| row.sample_end)
    }
}

/// The raw labels of a row, for those who hold the rest of the batch.
pub(crate) fn raw_labels<'a>(
    body: &'a [u8],
    symbols: Option<&'a HashedSymbols>,
    gathered: &'a [u8],
    row: &Row,
) -> RawLabels<'a> {
    let start = row.labels_start as usize;
    let whole = if start < body.len() { &body[start..] } else { &gathered[start - body.len()..] };
    let bytes = whole.get(..row.labels_len as usize).unwrap_or_default();
    RawLabels::new(bytes, symbols.map(|symbols| symbols.over(body)))
}
