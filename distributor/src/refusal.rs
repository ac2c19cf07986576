//! What was refused of a request whose rest was taken: counted by reason, the first one told.

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
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 12] = [
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
            Self::NoMetricName | Self::NoLabelName | Self::DuplicateLabel | Self::NotUtf8 => "",
        }
    }
}

/// What was refused of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Samples that came, refused ones included.
    pub samples: u64,
    /// Samples refused, by the place of their reason in [`Reason::ALL`].
    pub by_reason: [u64; Reason::ALL.len()],
    /// The first refused series and why.
    pub first: Option<String>,
    /// Native histograms: not stored yet, refused by name.
    pub histograms: u64,
    /// Exemplars: not stored yet, refused by name.
    pub exemplars: u64,
}

impl Refusals {
    /// Counts `samples` samples of one series as refused.
    pub(crate) fn refuse(&mut self, samples: u64, reason: Reason, tell: impl FnOnce() -> String) {
        let place = Reason::ALL.iter().position(|known| *known == reason);
        if let Some(count) = place.and_then(|place| self.by_reason.get_mut(place)) {
            *count += samples;
        }
        if self.first.is_none() {
            self.first = Some(tell());
        }
    }

    /// How many samples were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.by_reason.iter().sum()
    }

    /// What to tell the sender: `None` if everything was taken.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let mut parts = Vec::new();
        let refused = self.refused();
        if refused > 0 {
            let mut text = format!("{refused} of {} samples refused", self.samples);
            if let Some(first) = &self.first {
                // Writing to a string cannot fail.
                let _ = write!(text, ": {first}");
            }
            parts.push(text);
        }
        if self.histograms > 0 {
            let count = self.histograms;
            parts.push(format!("{count} native histograms refused: they cannot be stored yet"));
        }
        if self.exemplars > 0 {
            let count = self.exemplars;
            parts.push(format!("{count} exemplars refused: they cannot be stored yet"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
