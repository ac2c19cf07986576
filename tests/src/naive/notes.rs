//! Annotations: each text once, with the place where it came up last.

use super::numbers::{percent_2g, percent_g};
use promql::{Span, line_column};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Info,
    Warning,
}

/// How far buckets of classic histograms had to be lifted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forced {
    pub(super) least: f64,
    pub(super) greatest: f64,
    pub(super) diff: f64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) samples: u32,
}

#[derive(Debug)]
struct Note {
    severity: Severity,
    span: Span,
    forced: Option<Forced>,
    /// How often, if that is told.
    times: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, Note>);

impl Notes {
    pub(super) fn warn(&mut self, text: impl Into<String>, span: Span) {
        self.0.insert(
            text.into(),
            Note { severity: Severity::Warning, span, forced: None, times: None },
        );
    }

    pub(super) fn inform(&mut self, text: impl Into<String>, span: Span) {
        self.0.insert(
            text.into(),
            Note { severity: Severity::Info, span, forced: None, times: None },
        );
    }

    pub(super) fn force(&mut self, metric: &str, span: Span, mut forced: Forced) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        let text = of_metric(text, metric);
        if let Some(Note { forced: Some(have), .. }) = self.0.get(&text) {
            forced.least = forced.least.min(have.least);
            forced.greatest = forced.greatest.max(have.greatest);
            forced.diff = forced.diff.max(have.diff);
            forced.first = forced.first.min(have.first);
            forced.last = forced.last.max(have.last);
            forced.samples += have.samples;
        }
        self.0.insert(
            text,
            Note { severity: Severity::Info, span, forced: Some(forced), times: None },
        );
    }

    /// Start times that overlap; the place of the first stays.
    pub(super) fn overlap(&mut self, metric: &str, span: Span) {
        let text = format!(
            "sample has start time that overlaps with previous sample timestamp for metric \
             {metric:?}"
        );
        let note = Note { severity: Severity::Warning, span, forced: None, times: Some(0) };
        let have = self.0.entry(text).or_insert(note);
        have.times = have.times.map(|times| times + 1);
    }

    /// Warnings and infos of a query.
    pub(super) fn texts(self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (text, note) in self.0 {
            let place = line_column(query, note.span.start);
            let mut more = note.forced.map(forced_text).unwrap_or_default();
            if let Some(times @ 2..) = note.times {
                more = format!(" ({times} occurrences)");
            }
            match note.severity {
                Severity::Warning => {
                    warnings.push(format!("PromQL warning: {text}{more} ({place})"))
                }
                Severity::Info => infos.push(format!("PromQL info: {text}{more} ({place})")),
            }
        }
        (warnings, infos)
    }
}

pub(super) fn of_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.into() } else { format!("{text} for metric name {metric:?}") }
}

fn forced_text(forced: Forced) -> String {
    format!(
        ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
        percent_g(forced.least),
        percent_g(forced.greatest),
        percent_2g(forced.diff),
        forced.samples,
        rfc3339(forced.first),
        rfc3339(forced.last),
    )
}

fn rfc3339(time: i64) -> String {
    let seconds = time / 1000;
    let date = super::dates::date(seconds);
    let (hour, minute) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60);
    let second = seconds.rem_euclid(60);
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", date.0, date.1, date.2)
}
