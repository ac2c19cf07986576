//! What a reader asks of a replica or of a source of series.

use crate::label::{LabelSet, Text};
use crate::matcher::Matcher;
use crate::mutation::MetricMetadata;
use crate::query_shard::QueryShard;
use crate::time::{DayBucket, TimeRange};
pub use crate::wanted::{Steps, Wanted};

/// Which samples are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// All of them have to match.
    pub matchers: Vec<Matcher>,
    /// Samples outside of it are not returned, nor series without a sample in it.
    pub range: TimeRange,
    /// Only samples of these days; `None` is every day. A coordinator asks a replica for the days
    /// whose partitions lie there.
    pub days: Option<Vec<DayBucket>>,
    /// Only series of this part.
    pub shard: QueryShard,
    /// What the reader can bear.
    pub bounds: SelectBounds,
    /// What of them the reader looks at.
    pub wanted: Wanted,
}

/// What a selection is likely to return: worked out of indices, at the price of no sample. An upper
/// bound in most cases, never a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// How many partitions are looked at, those in memory as one.
    pub partitions: u64,
    /// How many series; one that several files hold may count several times.
    pub series: u64,
    /// How many samples.
    pub samples: u64,
}

impl Estimate {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            partitions: self.partitions.saturating_add(other.partitions),
            series: self.series.saturating_add(other.series),
            samples: self.samples.saturating_add(other.samples),
        }
    }
}

/// What a replica has of a tenant just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Open series.
    pub series: u64,
    /// Samples that came in the last whole [`ACTIVITY_WINDOW_MS`].
    pub samples: u64,
}

/// How long samples are counted for a rate, in milliseconds.
pub const ACTIVITY_WINDOW_MS: u64 = 15_000;

/// The most that one selection may return; beyond it the answer is an error, never a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectBounds {
    /// The most series.
    pub series_max: u64,
    /// The most samples; a histogram counts by its size ([`SeriesColumns::samples`]).
    ///
    /// [`SeriesColumns::samples`]: crate::SeriesColumns::samples
    pub samples_max: u64,
    /// The most deletes that may touch it: every series is tried against each of them.
    pub tombstones_max: u64,
}

impl SelectBounds {
    /// No bound.
    pub const NONE: Self =
        Self { series_max: u64::MAX, samples_max: u64::MAX, tombstones_max: u64::MAX };
}

/// A question about labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelQuery {
    /// What is wanted.
    pub want: LabelWant,
    /// Series that match all matchers of one of the sets; no set at all is every series.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// Only series with a sample in it. Names and values may round it outward to days.
    pub range: TimeRange,
    /// At most so many, the first in order; 0 is no limit. Ask for one more to see a cut.
    pub limit: u64,
    /// The most deletes that may touch it; beyond it the answer is an error.
    pub tombstones_max: u64,
}

/// What a [`LabelQuery`] wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelWant {
    /// The names of labels.
    Names,
    /// The values of the label with this name.
    Values(Text),
    /// Whole label sets.
    Series,
    /// Whole label sets of this part, for who counts them and keeps none. More of them than the
    /// limit are an error, so that nobody holds them all to find the first.
    SeriesPart(QueryShard),
}

/// The answer to a [`LabelQuery`], ascending and unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelAnswer {
    /// Names or values.
    Texts(Vec<Text>),
    /// Label sets.
    Series(Vec<LabelSet>),
}

/// A question about exemplars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemplarQuery {
    /// Exemplars of series that match all matchers of one of the sets; no set at all is no series.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// Exemplars outside of it are not returned, nor series without one in it.
    pub range: TimeRange,
    /// The most exemplars; beyond it the answer is an error, never a cut.
    pub exemplars_max: u64,
    /// The most deletes that may touch it; beyond it the answer is an error.
    pub tombstones_max: u64,
}

/// A question about metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataQuery {
    /// Only this metric; `None` is every metric.
    pub metric: Option<Text>,
}

/// The answer to a [`MetadataQuery`], ascending by metric.
pub type MetadataAnswer = Vec<MetricMetadata>;
