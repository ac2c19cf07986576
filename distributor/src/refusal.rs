//! What was refused of a request whose rest was taken: counted by reason, the first one told.

use crate::gate::Cause;
use std::fmt::Write as _;

/// Why samples are refused one by one. A label of our metrics, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "CONTRACTS.md 5.2 lists them")]
pub enum Reason {
    NoMetricName,
    NoLabelName,
    DuplicateLabel,
    NotUtf8,
    LabelCount,
    LabelNameBytes,
    LabelValueBytes,
    LabelsBytes,
    TooOld,
    TooFarInFuture,
    SeriesLimit,
    MetricSeriesLimit,
    InvalidHistogram,
    HistogramBuckets,
    ExemplarLabels,
    HaClusters,
    Temporality,
    NotTranslatable,
}

/// What is taken or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// A float sample.
    Float,
    /// A native histogram, which is a sample too.
    Histogram,
    /// An exemplar.
    Exemplar,
}

impl Item {
    /// Every kind, in order.
    pub const ALL: [Self; 3] = [Self::Float, Self::Histogram, Self::Exemplar];

    /// The kind's name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Histogram => "histogram",
            Self::Exemplar => "exemplar",
        }
    }
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 18] = [
        Self::NoMetricName,
        Self::NoLabelName,
        Self::DuplicateLabel,
        Self::NotUtf8,
        Self::LabelCount,
        Self::LabelNameBytes,
        Self::LabelValueBytes,
        Self::LabelsBytes,
        Self::TooOld,
        Self::TooFarInFuture,
        Self::SeriesLimit,
        Self::MetricSeriesLimit,
        Self::InvalidHistogram,
        Self::HistogramBuckets,
        Self::ExemplarLabels,
        Self::HaClusters,
        Self::Temporality,
        Self::NotTranslatable,
    ];

    /// The reason's name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoMetricName => "no_metric_name",
            Self::NoLabelName => "no_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::NotUtf8 => "not_utf8",
            Self::LabelCount => "label_count",
            Self::LabelNameBytes => "label_name_bytes",
            Self::LabelValueBytes => "label_value_bytes",
            Self::LabelsBytes => "labels_bytes",
            Self::TooOld => "too_old",
            Self::TooFarInFuture => "too_far_in_future",
            Self::SeriesLimit => "series_limit",
            Self::MetricSeriesLimit => "metric_series_limit",
            Self::InvalidHistogram => "invalid_histogram",
            Self::HistogramBuckets => "histogram_buckets",
            Self::ExemplarLabels => "exemplar_labels",
            Self::HaClusters => "ha_clusters",
            Self::Temporality => "temporality",
            Self::NotTranslatable => "not_translatable",
        }
    }

    /// The key of the limit behind the reason, empty if there is none.
    #[must_use]
    pub fn limit_key(self) -> &'static str {
        match self {
            Self::LabelCount => "max_labels",
            Self::LabelNameBytes => "max_label_name_bytes",
            Self::LabelValueBytes => "max_label_value_bytes",
            Self::LabelsBytes => "max_labels_bytes",
            Self::TooOld => "retention",
            Self::TooFarInFuture => "max_future",
            Self::SeriesLimit => "max_series",
            Self::MetricSeriesLimit => "max_series_per_metric",
            Self::HistogramBuckets => "max_native_histogram_buckets",
            Self::HaClusters => "ha_max_clusters",
            Self::NoMetricName
            | Self::NoLabelName
            | Self::DuplicateLabel
            | Self::NotUtf8
            | Self::InvalidHistogram
            | Self::ExemplarLabels
            | Self::Temporality
            | Self::NotTranslatable => "",
        }
    }
}

/// What came with one request, and what was refused of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// What came, refused ones included, by the place of its kind in [`Item::ALL`].
    received: [u64; Item::ALL.len()],
    /// What was refused, by the places of its kind and of the reason in [`Reason::ALL`].
    refused: [[u64; Reason::ALL.len()]; Item::ALL.len()],
    /// What went no further although nothing is wrong with it, likewise by cause.
    dropped: [[u64; Cause::ALL.len()]; Item::ALL.len()],
    /// The first series with a refused sample, and why.
    first_sample: Option<String>,
    /// The first series with a refused exemplar, and why.
    first_exemplar: Option<String>,
    /// Series that have nothing to write, which 2.0 does not allow.
    empty_series: u64,
    /// The first of those, and why.
    first_empty: Option<String>,
}

impl Refusals {
    /// Counts `count` items as received.
    pub(crate) fn receive(&mut self, item: Item, count: u64) {
        self.received[item as usize] += count;
    }

    /// Counts `count` items of one series as refused.
    pub(crate) fn refuse(
        &mut self,
        item: Item,
        count: u64,
        reason: Reason,
        tell: impl FnOnce() -> String,
    ) {
        self.refused[item as usize][reason as usize] += count;
        let first = match item {
            Item::Float | Item::Histogram => &mut self.first_sample,
            Item::Exemplar => &mut self.first_exemplar,
        };
        if first.is_none() {
            *first = Some(tell());
        }
    }

    /// Counts `count` items of one series as dropped: the sender is told that they were taken.
    pub(crate) fn drop_items(&mut self, item: Item, count: u64, cause: Cause) {
        self.dropped[item as usize][cause as usize] += count;
    }

    /// How many items count for the tenant's rate: what goes no further costs nothing.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.received_in_all() - self.dropped.iter().flatten().sum::<u64>()
    }

    /// Whether something came, and all of it was from replicas that wait.
    #[must_use]
    pub fn is_deduplicated(&self) -> bool {
        let waits: u64 = self.dropped.iter().map(|causes| causes[Cause::Ha as usize]).sum();
        waits > 0 && waits == self.received_in_all()
    }

    /// What was dropped of a kind, by cause.
    pub(crate) fn dropped_by_cause(&self, item: Item) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().zip(self.dropped[item as usize]).filter(|(_, count)| *count > 0)
    }

    /// Adds what was refused before these.
    pub(crate) fn follow(&mut self, before: Self) {
        let sum = |mine: &mut [u64], theirs: &[u64]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        sum(&mut self.received, &before.received);
        for (mine, theirs) in self.refused.iter_mut().zip(&before.refused) {
            sum(mine, theirs);
        }
        for (mine, theirs) in self.dropped.iter_mut().zip(&before.dropped) {
            sum(mine, theirs);
        }
        self.first_sample = before.first_sample.or(self.first_sample.take());
        self.first_exemplar = before.first_exemplar.or(self.first_exemplar.take());
        self.empty_series += before.empty_series;
        self.first_empty = before.first_empty.or(self.first_empty.take());
    }

    /// Counts a series that has nothing to write as refused.
    pub(crate) fn refuse_empty(&mut self, tell: impl FnOnce() -> String) {
        self.empty_series += 1;
        if self.first_empty.is_none() {
            self.first_empty = Some(tell());
        }
    }

    /// How many items of a kind are kept, once the write is acknowledged.
    #[must_use]
    pub fn written(&self, item: Item) -> u64 {
        self.received(item).saturating_sub(self.refused(item))
    }

    /// How many items of a kind came, refused ones included.
    #[must_use]
    pub fn received(&self, item: Item) -> u64 {
        self.received[item as usize]
    }

    /// How many items came, whatever their kind.
    #[must_use]
    pub fn received_in_all(&self) -> u64 {
        self.received.iter().sum()
    }

    /// How many items of a kind were refused.
    #[must_use]
    pub fn refused(&self, item: Item) -> u64 {
        self.refused[item as usize].iter().sum()
    }

    /// What was refused of a kind, by reason.
    pub(crate) fn by_reason(&self, item: Item) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.refused[item as usize]).filter(|(_, count)| *count > 0)
    }

    /// What to tell the sender: `None` if everything was taken.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let mut parts = Vec::new();
        for (items, called, first) in [
            (&[Item::Float, Item::Histogram][..], "samples", &self.first_sample),
            (&[Item::Exemplar], "exemplars", &self.first_exemplar),
        ] {
            let refused: u64 = items.iter().map(|item| self.refused(*item)).sum();
            let received: u64 = items.iter().map(|item| self.received(*item)).sum();
            if refused > 0 {
                let mut text = format!("{refused} of {received} {called} refused");
                if let Some(first) = first {
                    // Writing to a string cannot fail.
                    let _ = write!(text, ": {first}");
                }
                parts.push(text);
            }
        }
        if let Some(first) = &self.first_empty {
            parts.push(format!("{} series refused: {first}", self.empty_series));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_kinds_are_listed_in_the_order_of_their_numbers() {
        assert!(Reason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
        assert!(Cause::ALL.iter().enumerate().all(|(place, cause)| *cause as usize == place));
        assert!(Item::ALL.iter().enumerate().all(|(place, item)| *item as usize == place));
    }
}
