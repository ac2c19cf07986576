//! Mutations: the unit we replicate, and what a replica answers to one.

use crate::context::Context;
use crate::exemplar::Exemplar;
use crate::histogram::Histogram;
use crate::label::Text;
use crate::sample::SampleKind;
use crate::series::SeriesRef;
use std::sync::Arc;

/// What one request asks one replica to keep: columns of samples, series by series.
///
/// All of it is kept, or none of it (except for the series that are refused one by one).
/// Keeping it twice is keeping it once.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Who asks, for whom.
    pub context: Arc<Context>,
    /// The generation that the numbers in `series` belong to; 0 if there are none.
    pub generation: u64,
    /// The samples' revision; 0 but for imports after a delete.
    pub revision: u32,
    /// What the samples hold.
    pub kind: SampleKind,
    /// The series, in the sender's order.
    pub series: Vec<SeriesRows>,
    /// When, one per sample, series after series.
    pub timestamps_ms: Vec<i64>,
    /// What, one per sample, if they are floats; else empty.
    pub values: Vec<f64>,
    /// What, one per sample, if they are histograms; else empty.
    pub histograms: Vec<Arc<Histogram>>,
    /// Since when, one per sample; or empty if no start is known.
    pub start_timestamps_ms: Vec<i64>,
    /// Exemplars: of which series, by its index in `series`, and what.
    pub exemplars: Vec<(u32, Exemplar)>,
    /// What metrics mean. The last one received wins.
    pub metadata: Vec<MetricMetadata>,
}

/// One series of a mutation and where its samples end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRows {
    /// Which series.
    pub series: SeriesRef,
    /// The index after its last sample; its first is where the series before it ends.
    pub sample_end: u32,
}

impl Mutation {
    /// A mutation without a sample.
    #[must_use]
    pub fn empty(context: Arc<Context>) -> Self {
        Self {
            context,
            generation: 0,
            revision: 0,
            kind: SampleKind::Float,
            series: Vec::new(),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
            start_timestamps_ms: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// Adds a series with its samples.
    ///
    /// # Panics
    /// If the mutation would hold more than `u32::MAX` samples; request limits lie far below.
    pub fn push(&mut self, series: SeriesRef, samples: impl IntoIterator<Item = (i64, f64)>) {
        for (timestamp_ms, value) in samples {
            self.timestamps_ms.push(timestamp_ms);
            self.values.push(value);
        }
        self.end_series(series);
    }

    /// Adds a series whose samples are all that stand behind those of the series before.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn end_series(&mut self, series: SeriesRef) {
        let end = u32::try_from(self.timestamps_ms.len());
        assert!(end.is_ok(), "a mutation holds at most u32::MAX samples");
        self.series.push(SeriesRows { series, sample_end: end.unwrap_or(u32::MAX) });
    }
}

/// What a metric means, as its sender says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricMetadata {
    /// The metric family's name.
    pub metric: Text,
    /// Its type.
    pub metric_type: MetricType,
    /// Its help text.
    pub help: Text,
    /// Its unit.
    pub unit: Text,
}

/// The types of metrics that Prometheus knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the field's own names")]
pub enum MetricType {
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

impl MetricType {
    /// Every type; its place is its byte on disk and on the wire.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The type's byte on disk and on the wire.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        self as u8
    }

    /// The type of this byte, if there is one.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The type as the query API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// What a replica answers to a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAnswer {
    /// Everything but the refused series is on disk.
    Written(Written),
    /// The generation or a number is not known here (any more): nothing was written. Send labels.
    NeedLabels,
}

/// A mutation that is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The generation that `numbers` belong to.
    pub generation: u64,
    /// For series sent by labels: index in the mutation, and their number from now on.
    pub numbers: Vec<(u32, u32)>,
    /// Series that were not written: index in the mutation, and why. Known series are never here.
    pub refused: Vec<(u32, SeriesRefusal)>,
}

/// Why a replica does not take a new series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesRefusal {
    /// The tenant has as many open series as it may.
    SeriesLimit {
        /// The limit in force on this replica.
        limit: u64,
    },
    /// The metric has as many open series as it may.
    MetricSeriesLimit {
        /// The limit in force on this replica.
        limit: u64,
    },
}
