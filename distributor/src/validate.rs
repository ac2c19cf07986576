//! What a series and a sample have to look like to be taken: CONTRACTS.md 5.2.
//!
//! Unsorted labels are sorted and labels with an empty value are left out; neither is a fault, nor
//! is the order of samples. Limits are those of the tenant.
//!
//! Not here: whether the bytes are protobuf at all (`wire::remote_write`), and limits on open
//! series, which only replicas can judge.

use crate::refusal::Reason;
use guard::{Limit, Limits};
use model::{LabelSet, Retention, TenantId, Text, TimestampMs};
use std::fmt::Write as _;
use wire::remote_write::{Error, RawLabels};

/// Why a series is refused: its reason and the sentence that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeriesFault {
    pub(crate) reason: Reason,
    pub(crate) text: String,
}

impl SeriesFault {
    /// The sentence, and whose limit it is if it is one.
    pub(crate) fn told(&self, tenant: &TenantId) -> String {
        match self.reason.limit_key() {
            "" => self.text.clone(),
            _ => format!("{} of tenant {tenant}", self.text),
        }
    }
}

fn fault<T>(reason: Reason, text: impl Into<String>) -> Result<T, SeriesFault> {
    Err(SeriesFault { reason, text: text.into() })
}

fn over<T>(reason: Reason, what: &str, found: u64, limit: u64) -> Result<T, SeriesFault> {
    let key = reason.limit_key();
    fault(reason, format!("{what} {found} over the limit of {limit} ({key})"))
}

/// How much the labels of one series may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelBounds {
    labels: Limit,
    name_bytes: Limit,
    value_bytes: Limit,
    bytes: Limit,
}

impl LabelBounds {
    /// Those of a tenant.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            labels: limits.max_labels,
            name_bytes: limits.max_label_name_bytes,
            value_bytes: limits.max_label_value_bytes,
            bytes: limits.max_labels_bytes,
        }
    }

    /// Wider ones: so many labels and bytes at least, and no bound for a single text.
    pub(crate) fn at_least(self, labels: u64, bytes: u64) -> Self {
        let wider = |limit: Limit, least: u64| Limit(limit.get().max(least));
        Self {
            labels: wider(self.labels, labels),
            name_bytes: Limit(0),
            value_bytes: Limit(0),
            bytes: wider(self.bytes, bytes),
        }
    }

    /// Whether a label by itself is within them.
    pub(crate) fn allow_label(&self, name: &[u8], value: &[u8]) -> bool {
        !self.name_bytes.is_exceeded_by(name.len() as u64)
            && !self.value_bytes.is_exceeded_by(value.len() as u64)
    }

    /// Whether so many labels of so many bytes are within them.
    pub(crate) fn allow(&self, labels: u64, bytes: u64) -> bool {
        !self.labels.is_exceeded_by(labels) && !self.bytes.is_exceeded_by(bytes)
    }

    fn check<'l, I: Iterator<Item = (&'l [u8], &'l [u8])>>(
        &self,
        labels: impl Fn() -> I,
    ) -> Result<(), SeriesFault> {
        let count = labels().count() as u64;
        if self.labels.is_exceeded_by(count) {
            return over(Reason::LabelCount, "labels", count, self.labels.0);
        }
        let mut bytes = 0;
        for (name, value) in labels() {
            let (name_len, value_len) = (name.len() as u64, value.len() as u64);
            if self.name_bytes.is_exceeded_by(name_len) {
                let limit = self.name_bytes.0;
                return over(Reason::LabelNameBytes, "bytes of a label name", name_len, limit);
            }
            if self.value_bytes.is_exceeded_by(value_len) {
                let limit = self.value_bytes.0;
                let what = format!("bytes of the value of label {}", shown(name));
                return over(Reason::LabelValueBytes, &what, value_len, limit);
            }
            bytes += name_len + value_len;
        }
        if self.bytes.is_exceeded_by(bytes) {
            return over(Reason::LabelsBytes, "bytes of labels", bytes, self.bytes.0);
        }
        Ok(())
    }
}

/// The label set that raw labels are, whether or not it may be stored. Texts that `neighbour` has
/// too, in the same place, are shared with it: a scrape's series differ in few.
///
/// # Errors
/// The outer one if the bytes are no protobuf: the whole body is bad. The inner one if this series
/// is refused.
pub(crate) fn raw_set(
    raw: RawLabels<'_>,
    bounds: &LabelBounds,
    neighbour: Option<&LabelSet>,
) -> Result<Result<LabelSet, SeriesFault>, Error> {
    let (mut pairs, mut count) = (Vec::with_capacity(32), 0_u64);
    for label in raw {
        let (name, value) = label?;
        // A label with an empty value is no label. Of too many not all are kept.
        if !value.is_empty() {
            count += 1;
            if !bounds.labels.is_exceeded_by(count) {
                pairs.push((name, value));
            }
        }
    }
    if bounds.labels.is_exceeded_by(count) {
        return Ok(over(Reason::LabelCount, "labels", count, bounds.labels.0));
    }
    Ok(bounds.check(|| pairs.iter().copied()).and_then(|()| as_set(&pairs, neighbour)))
}

/// Whether a label set may be stored; `bounds` are those that it was not held to before.
pub(crate) fn check_set(
    labels: LabelSet,
    bounds: Option<&LabelBounds>,
) -> Result<LabelSet, SeriesFault> {
    if labels.metric_name().is_empty() {
        return fault(Reason::NoMetricName, "no metric name");
    }
    if let Some(bounds) = bounds {
        if labels.get("").is_some() {
            return fault(Reason::NoLabelName, "label without a name");
        }
        bounds.check(|| labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))?;
    }
    Ok(labels)
}

fn as_set(pairs: &[(&[u8], &[u8])], neighbour: Option<&LabelSet>) -> Result<LabelSet, SeriesFault> {
    let mut texts = Vec::with_capacity(pairs.len());
    let mut shared = neighbour.into_iter().flat_map(LabelSet::iter).peekable();
    for (name, value) in pairs {
        let (name, value) = (text_of(name, name)?, text_of(value, name)?);
        if name.is_empty() {
            return fault(Reason::NoLabelName, "label without a name");
        }
        while shared.next_if(|(theirs, _)| ***theirs < *name).is_some() {}
        texts.push(match shared.peek() {
            Some((their_name, their_value)) if ***their_name == *name => {
                let same_value = ***their_value == *value;
                let value = if same_value { Text::clone(their_value) } else { value.into() };
                (Text::clone(their_name), value)
            }
            _ => (name.into(), value.into()),
        });
    }
    LabelSet::from_pairs(texts).or_else(|duplicate| {
        fault(Reason::DuplicateLabel, format!("duplicate label name {:?}", &*duplicate.0))
    })
}

/// A text of the label `name`.
pub(crate) fn text_of<'a>(bytes: &'a [u8], name: &[u8]) -> Result<&'a str, SeriesFault> {
    std::str::from_utf8(bytes)
        .or_else(|_| fault(Reason::NotUtf8, format!("invalid UTF-8 in label {}", shown(name))))
}

fn shown(name: &[u8]) -> String {
    let cut = &name[..name.len().min(64)];
    format!("{:?}", String::from_utf8_lossy(cut))
}

/// The times a sample may have, whatever its series, or those of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRules {
    min_ms: i64,
    max_ms: i64,
    now: TimestampMs,
}

impl TimeRules {
    /// The rules at `now` for series that are kept so long.
    pub(crate) fn new(limits: &Limits, retention: Retention, now: TimestampMs) -> Self {
        let future_ms = i64::try_from(limits.max_future_ms.get()).unwrap_or(i64::MAX);
        Self { min_ms: retention.first_kept_ms(now), max_ms: now.plus_ms(future_ms).0, now }
    }

    /// The same for series that are kept so long.
    pub(crate) fn of(self, retention: Retention) -> Self {
        Self { min_ms: retention.first_kept_ms(self.now), ..self }
    }

    /// Whether a sample at this time is taken.
    #[inline]
    pub(crate) fn allow(self, timestamp_ms: i64) -> bool {
        self.min_ms <= timestamp_ms && timestamp_ms <= self.max_ms
    }

    /// Why a sample at this time is not.
    pub(crate) fn fault(self, timestamp_ms: i64) -> SeriesFault {
        let away_ms = timestamp_ms.abs_diff(self.now.0);
        let (reason, text) = if timestamp_ms < self.min_ms {
            let kept_ms = self.min_ms.abs_diff(self.now.0);
            let text = format!(
                "sample at {timestamp_ms} is {away_ms} ms old, the retention is {kept_ms} ms (retention)"
            );
            (Reason::TooOld, text)
        } else {
            let allowed_ms = self.max_ms.abs_diff(self.now.0);
            let text = format!(
                "sample at {timestamp_ms} is {away_ms} ms in the future, {allowed_ms} ms are allowed (max_future)"
            );
            (Reason::TooFarInFuture, text)
        };
        SeriesFault { reason, text }
    }
}

/// The longest series in an error text, in bytes.
const SERIES_TEXT_MAX: usize = 512;

/// A series as it was sent, for an error text: `{job="a"}`, cut when long.
pub(crate) fn series_text(raw: RawLabels<'_>) -> String {
    let mut text = String::from("{");
    for label in raw {
        let Ok((name, value)) = label else { break };
        if text.len() > SERIES_TEXT_MAX {
            text.push_str(", …");
            break;
        }
        let comma = if text.len() == 1 { "" } else { ", " };
        let cut = |part: &[u8]| {
            String::from_utf8_lossy(&part[..part.len().min(SERIES_TEXT_MAX / 2)]).into_owned()
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{}={:?}", cut(name), cut(value));
    }
    text.push('}');
    text
}
