//! Warnings and infos: what went on during an evaluation that the asker should know.
//!
//! Texts and places are those of Prometheus. A text is kept once; its last place stays.

use crate::math::format::{general, two_digits};
use crate::quote::quoted;
use crate::span::{Span, line_column};
use std::collections::HashMap;

/// What is said of classic histograms whose buckets decrease.
const NOT_MONOTONIC: &str = "needed to be fixed for monotonicity";
/// What is said of start timestamps that lie before the sample before.
const START_OVERLAPS: &str = "sample has start time that overlaps";

/// Whether a rendered annotation may tell numbers of everything that was evaluated, so that those of
/// two parts of a range are not that of the whole.
#[must_use]
pub fn is_tally(text: &str) -> bool {
    text.contains(NOT_MONOTONIC) || text.contains(START_OVERLAPS)
}

/// A rendered annotation without the place in the query that it ends with.
#[must_use]
pub fn without_place(text: &str) -> &str {
    text.rfind(" (").map_or(text, |at| &text[..at])
}

/// How grave an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Severity {
    Info,
    Warning,
}

/// The annotations of one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    entries: Vec<Entry>,
    by_text: HashMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    severity: Severity,
    text: String,
    span: Span,
    forced: Option<Forced>,
    /// How often it was said, if the text tells.
    told: Option<u64>,
}

/// What is worth saying about a series' histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AboutHistograms {
    /// Both floats and histograms are in a window.
    MixedWithFloats,
    /// Histograms are left out of a window that has floats too.
    IgnoredInWindow,
    /// Exponential and custom ones meet.
    MixedBuckets,
    /// Classic buckets of the same labels are there too.
    MixedWithClassic,
    /// A function of counters was given gauges.
    NotCounter,
    /// A function of gauges was given counters.
    NotGauge,
    /// A start lies before the sample before it.
    StartOverlap,
    /// A quantile lies among observations of NaN.
    QuantileIsNan,
    /// Observations of NaN make a quantile higher.
    QuantileIsSkewed,
    /// Observations of NaN are in no fraction.
    FractionExcludesNan,
}

/// What histograms come together in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `+`
    Addition,
    /// `-`
    Subtraction,
    /// An aggregation, over series or over time.
    Aggregation,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// How far the buckets of classic histograms had to be lifted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forced {
    /// The lowest and the highest bound of a lifted bucket.
    pub(crate) buckets: (f64, f64),
    /// The greatest lift.
    pub(crate) diff_max: f64,
    /// The first and the last time it happened, in milliseconds since 1970.
    pub(crate) times_ms: (i64, i64),
    /// How many samples were touched.
    pub(crate) samples: u64,
}

impl Forced {
    fn merge(&mut self, other: Self) {
        self.buckets.0 = self.buckets.0.min(other.buckets.0);
        self.buckets.1 = self.buckets.1.max(other.buckets.1);
        self.diff_max = self.diff_max.max(other.diff_max);
        self.times_ms.0 = self.times_ms.0.min(other.times_ms.0);
        self.times_ms.1 = self.times_ms.1.max(other.times_ms.1);
        self.samples += other.samples;
    }
}

impl Annotations {
    fn add(&mut self, severity: Severity, text: String, span: Span, forced: Option<Forced>) {
        if let Some(entry) = self.by_text.get(&text).and_then(|at| self.entries.get_mut(*at)) {
            entry.span = span;
            if let Some(told) = &mut entry.told {
                *told += 1;
            }
            if let (Some(have), Some(new)) = (&mut entry.forced, forced) {
                have.merge(new);
            }
            return;
        }
        self.by_text.insert(text.clone(), self.entries.len());
        self.entries.push(Entry { severity, text, span, forced, told: None });
    }

    /// Adds those of another part of the evaluation, as if they had been made here.
    pub(crate) fn absorb(&mut self, other: Self) {
        for Entry { severity, text, span, forced, told } in other.entries {
            let known = self.by_text.get(&text).copied();
            self.add(severity, text, span, forced);
            let entry = match known {
                Some(at) => self.entries.get_mut(at),
                None => self.entries.last_mut(),
            };
            if let (Some(entry), Some(more)) = (entry, told) {
                // One of them was added already where there was a count.
                entry.told = Some(entry.told.map_or(more, |told| told.saturating_add(more - 1)));
            }
        }
    }

    fn warn(&mut self, text: impl Into<String>, span: Span) {
        self.add(Severity::Warning, text.into(), span, None);
    }

    fn inform(&mut self, text: impl Into<String>, span: Span) {
        self.add(Severity::Info, text.into(), span, None);
    }

    /// A quantile outside of 0 to 1.
    pub(crate) fn invalid_quantile(&mut self, q: f64, span: Span) {
        let text = format!("quantile value should be between 0 and 1, got {}", general(q));
        self.warn(text, span);
    }

    /// A ratio outside of -1 to 1.
    pub(crate) fn invalid_ratio(&mut self, ratio: f64, used: f64, span: Span) {
        let (ratio, used) = (general(ratio), general(used));
        let text =
            format!("ratio value should be between -1 and 1, got {ratio}, capping to {used}");
        self.warn(text, span);
    }

    /// `sort` in a range query.
    pub(crate) fn sort_in_range_query(&mut self, span: Span) {
        self.warn(
            "sort is ineffective for range queries since results are always ordered by labels",
            span,
        );
    }

    /// A bucket without a usable `le`.
    pub(crate) fn bad_bucket_label(&mut self, metric: &str, value: &str, span: Span) {
        let text =
            format!("bucket label \"le\" is missing or has a malformed value of {}", quoted(value));
        self.warn(with_metric(text, metric), span);
    }

    /// `rate` of something that is not named like a counter.
    pub(crate) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        let text = format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
            quoted(metric)
        );
        self.inform(text, span);
    }

    /// An operator that has no meaning for what it was given.
    pub(crate) fn incompatible_types(&mut self, left: &str, op: &str, right: &str, span: Span) {
        let text = format!(
            "incompatible sample types encountered for binary operator {}: {left} {op} {right}",
            quoted(op)
        );
        self.inform(text, span);
    }

    /// Something about a series' histograms.
    pub(crate) fn about(&mut self, what: AboutHistograms, metric: &str, span: Span) {
        use AboutHistograms as About;
        let name = quoted(metric);
        match what {
            About::MixedWithFloats => self.warn(
                format!("encountered a mix of histograms and floats for metric name {name}"),
                span,
            ),
            About::IgnoredInWindow => self.inform(
                format!(
                    "ignored histograms in a range containing both floats and histograms for \
                     metric name {name}"
                ),
                span,
            ),
            About::MixedBuckets => self.warn(
                format!(
                    "vector contains a mix of histograms with exponential and custom buckets \
                     schemas for metric name {name}"
                ),
                span,
            ),
            About::NotCounter => {
                self.warn(format!("this native histogram metric is not a counter: {name}"), span);
            }
            About::NotGauge => {
                self.warn(format!("this native histogram metric is not a gauge: {name}"), span);
            }
            About::StartOverlap => self.start_overlap(&name, span),
            About::MixedWithClassic => {
                let text = "vector contains a mix of classic and native histograms";
                self.warn(with_metric(text.into(), metric), span);
            }
            About::QuantileIsNan | About::QuantileIsSkewed | About::FractionExcludesNan => {
                self.inform(with_metric(nan_text(what).into(), metric), span);
            }
        }
    }

    fn start_overlap(&mut self, name: &str, span: Span) {
        let text = format!("{START_OVERLAPS} with previous sample timestamp for metric {name}");
        self.warn(text.clone(), span);
        if let Some(entry) = self.by_text.get(&text).and_then(|at| self.entries.get_mut(*at)) {
            entry.told.get_or_insert(1);
        }
    }

    /// Floats and histograms in one group.
    pub(crate) fn mixed_in_aggregation(&mut self, span: Span) {
        self.warn("encountered a mix of histograms and floats for aggregation", span);
    }

    /// A histogram that an aggregation leaves out.
    pub(crate) fn ignored_in_aggregation(&mut self, aggregation: &str, span: Span) {
        self.inform(format!("ignored histogram in {aggregation} aggregation"), span);
    }

    /// Exponential and custom histograms as operands.
    pub(crate) fn incompatible_buckets(&mut self, op: &str, span: Span) {
        let text = format!("incompatible bucket layout encountered for binary operator {op}");
        self.warn(text, span);
    }

    /// One histogram says that it was reset, the other that it was not.
    pub(crate) fn hints_conflict(&mut self, operation: Operation, span: Span) {
        let operation = operation.as_str();
        self.warn(format!("conflicting counter resets during histogram {operation}"), span);
    }

    /// Custom values differed.
    pub(crate) fn bounds_differed(&mut self, operation: Operation, span: Span) {
        let operation = operation.as_str();
        self.inform(format!("mismatched custom buckets were reconciled during {operation}"), span);
    }

    /// `rate` of something whose type is not that of a counter.
    pub(crate) fn type_not_counter(&mut self, metric: &str, kind: &str, span: Span) {
        let text = format!(
            "metric might not be a counter, __type__ label is not set to \"counter\" or \
             \"histogram\", got {}: {}",
            quoted(kind),
            quoted(metric)
        );
        self.inform(text, span);
    }

    /// Buckets that decrease.
    pub(crate) fn forced_monotonicity(&mut self, metric: &str, span: Span, forced: Forced) {
        let text = format!(
            "input to histogram_quantile {NOT_MONOTONIC} (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
        );
        let text = with_metric(text, metric);
        self.add(Severity::Info, text, span, Some(forced));
    }

    /// The texts with their places in `query`: warnings and infos.
    pub(crate) fn into_texts(self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for entry in self.entries {
            let place = line_column(query, entry.span.start);
            let mut forced = entry.forced.map(forced_text).unwrap_or_default();
            if let Some(told) = entry.told.filter(|told| *told > 1) {
                forced = format!(" ({told} occurrences)");
            }
            match entry.severity {
                Severity::Warning => {
                    warnings.push(format!("PromQL warning: {}{forced} ({place})", entry.text));
                }
                Severity::Info => {
                    infos.push(format!("PromQL info: {}{forced} ({place})", entry.text));
                }
            }
        }
        (warnings, infos)
    }
}

fn nan_text(what: AboutHistograms) -> &'static str {
    match what {
        AboutHistograms::QuantileIsNan => {
            "input to histogram_quantile has NaN observations, result is NaN"
        }
        AboutHistograms::QuantileIsSkewed => {
            "input to histogram_quantile has NaN observations, result is skewed higher"
        }
        _ => {
            "input to histogram_fraction has NaN observations, which are excluded from all \
             fractions"
        }
    }
}

fn with_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {}", quoted(metric)) }
}

fn forced_text(forced: Forced) -> String {
    format!(
        ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
        general(forced.buckets.0),
        general(forced.buckets.1),
        two_digits(forced.diff_max),
        forced.samples,
        crate::functions::date::rfc3339(forced.times_ms.0),
        crate::functions::date::rfc3339(forced.times_ms.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_with_its_last_place() {
        let mut notes = Annotations::default();
        notes.invalid_quantile(2.0, Span::new(0, 1));
        notes.invalid_quantile(2.0, Span::new(4, 5));
        notes.possible_non_counter("x", Span::new(4, 5));
        let (warnings, infos) = notes.into_texts("a\n\nquery");
        assert_eq!(
            warnings,
            ["PromQL warning: quantile value should be between 0 and 1, got 2 (3:2)"]
        );
        assert_eq!(infos.len(), 1);
    }

    #[test]
    fn texts_stand_in_gos_quotes() {
        let mut notes = Annotations::default();
        notes.possible_non_counter("a\u{a0}\u{7}\u{85}é\"", Span::new(0, 1));
        let (_, infos) = notes.into_texts("q");
        assert!(infos[0].contains(r#": "a\u00a0\a\u0085é\"" (1:1)"#), "{infos:?}");
    }
}
