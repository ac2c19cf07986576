//! What a compaction leaves out: samples that no read may show any more; and where the rest goes.
//!
//! # Invariants
//! - A cut is fixed when a compaction begins. What is hidden later stays in its output and is hidden
//!   from reads, as it was before.
//! - What a cut names is hidden from every read at that moment already: leaving it out changes no
//!   answer.
//!
//! Not here: which tombstones and rules of retention there are.

use crate::sstable::window::Window;
use crate::tombstone;
use model::{DayBucket, LabelSet, TenantId, Text};
use std::fmt::Debug;

/// What is hidden.
pub(crate) trait Cut: Debug + Send + Sync {
    /// Whether anything of a partition may be hidden. `false` spares a look at each of its series.
    fn touches(&self, tenant: &TenantId, metric: &str, day: DayBucket) -> bool;

    /// Adds the spans `[start, end)`, in milliseconds, in which a series' samples are hidden, of
    /// whatever revision. They come in any order and may overlap.
    fn spans(&self, tenant: &TenantId, labels: &Labels<'_>, spans: &mut Vec<(i64, i64)>);

    /// What tombstones hide of a series, each up to a revision.
    fn deleted(&self, tenant: &TenantId, labels: &Labels<'_>) -> tombstone::Hidden {
        let _ = (tenant, labels);
        tombstone::Hidden::default()
    }

    /// Where a series' samples of a day belong, which are at `now_at`. Only asked for partitions
    /// that it [touches](Self::touches).
    fn place(
        &self,
        tenant: &TenantId,
        labels: &Labels<'_>,
        day: DayBucket,
        now_at: Place,
    ) -> Place {
        let _ = (tenant, labels, day);
        now_at
    }

    /// Every tombstone up to this number is in the cut; 0 if there is none.
    fn tombstones_through(&self) -> u64 {
        0
    }
}

/// Which files samples belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) retention_class: u32,
    pub(crate) window: Window,
}

/// The labels of a series, as numbers of texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    /// Ascending.
    texts: &'a [Text],
    /// Name and value, ascending by name.
    pairs: &'a [(u32, u32)],
}

impl<'a> Labels<'a> {
    pub(crate) fn new(texts: &'a [Text], pairs: &'a [(u32, u32)]) -> Self {
        Self { texts, pairs }
    }

    /// The value of a label; empty if there is none.
    pub(crate) fn value(&self, name: &str) -> &'a str {
        let at = self.pairs.binary_search_by(|(n, _)| self.text(*n).cmp(name));
        at.ok().and_then(|at| self.pairs.get(at)).map_or("", |(_, value)| self.text(*value))
    }

    /// The labels as a set of their own.
    pub(crate) fn to_label_set(self) -> LabelSet {
        let text = |id: u32| self.texts.get(id as usize).cloned().unwrap_or_default();
        // The pairs of a series come from a label set.
        LabelSet::from_pairs(self.pairs.iter().map(|(n, v)| (text(*n), text(*v))))
            .unwrap_or_default()
    }

    fn text(&self, id: u32) -> &'a str {
        self.texts.get(id as usize).map_or("", |text| text)
    }
}

/// Two cuts at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Both<'a>(pub(crate) &'a dyn Cut, pub(crate) &'a dyn Cut);

impl Cut for Both<'_> {
    fn touches(&self, tenant: &TenantId, metric: &str, day: DayBucket) -> bool {
        self.0.touches(tenant, metric, day) || self.1.touches(tenant, metric, day)
    }

    fn spans(&self, tenant: &TenantId, labels: &Labels<'_>, spans: &mut Vec<(i64, i64)>) {
        self.0.spans(tenant, labels, spans);
        self.1.spans(tenant, labels, spans);
    }

    fn deleted(&self, tenant: &TenantId, labels: &Labels<'_>) -> tombstone::Hidden {
        let mut all = self.0.deleted(tenant, labels);
        all.add(self.1.deleted(tenant, labels));
        all
    }

    fn place(
        &self,
        tenant: &TenantId,
        labels: &Labels<'_>,
        day: DayBucket,
        now_at: Place,
    ) -> Place {
        self.1.place(tenant, labels, day, self.0.place(tenant, labels, day, now_at))
    }

    fn tombstones_through(&self) -> u64 {
        self.0.tombstones_through().max(self.1.tombstones_through())
    }
}

/// Spans in order, none touching another.
pub(crate) fn normalized(mut spans: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    spans.retain(|(start, end)| start < end);
    spans.sort_unstable();
    let mut apart: Vec<(i64, i64)> = Vec::with_capacity(spans.len());
    for (start, end) in spans {
        match apart.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => apart.push((start, end)),
        }
    }
    apart
}

/// How much of `[first, last]` lies in spans that are normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    Nothing,
    Part,
    All,
}

/// How much of the moments from `first_ms` to `last_ms`, both included, is hidden.
pub(crate) fn hidden(spans: &[(i64, i64)], first_ms: i64, last_ms: i64) -> Hidden {
    let at = spans.partition_point(|(_, end)| *end <= first_ms);
    match spans.get(at) {
        Some((start, end)) if *start <= first_ms && last_ms < *end => Hidden::All,
        Some((start, _)) if *start <= last_ms => Hidden::Part,
        _ => Hidden::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_moment_is_hidden_when_a_span_has_it(
            spans in prop::collection::vec((-9_i64..9, -9_i64..9), 0..6),
            first in -10_i64..10,
            len in 0_i64..8,
        ) {
            let is_in = |at: i64| spans.iter().any(|(start, end)| *start <= at && at < *end);
            let count = (first..=first + len).filter(|at| is_in(*at)).count();
            let expected = match count {
                0 => Hidden::Nothing,
                n if n == usize::try_from(len).unwrap() + 1 => Hidden::All,
                _ => Hidden::Part,
            };
            prop_assert_eq!(hidden(&normalized(spans), first, first + len), expected);
        }
    }

    #[test]
    fn a_label_that_is_not_there_is_empty() {
        let texts: Vec<Text> = ["a", "b", "job", "x"].into_iter().map(Text::from).collect();
        let labels = Labels::new(&texts, &[(0, 1), (2, 3)]);
        assert_eq!((labels.value("a"), labels.value("job"), labels.value("b")), ("b", "x", ""));
        assert_eq!(
            labels.to_label_set(),
            LabelSet::from_pairs([("a", "b"), ("job", "x")]).unwrap()
        );
    }
}
