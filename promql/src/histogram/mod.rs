//! The algebra of native histograms: what one is to the engine, and what can be done with it.
//!
//! A [`FloatHistogram`] counts in floats, whatever flavour it was stored in. Its buckets are places
//! and counts side by side, ascending by place; a place may hold a zero if it was written so. Spans
//! exist only on the way in and out.
//!
//! # Invariants
//! - Exponential bucket `i` of schema `s` ends at 2^(i/2^s), bound included; custom bucket `i` at
//!   the i-th custom value, the last one at infinity.
//! - Two histograms come together at the lower resolution, with the wider zero bucket, or with the
//!   custom values that both have; an exponential and a custom one do not come together.
//! - No count, bound or place of a stored histogram makes this code panic or loop.
//!
//! Not here: which samples are worked on (`eval`), what is said about them (`annotations`).

mod arithmetic;
mod bound;
mod buckets;
mod rank;
mod reset;
mod spread;
mod summed;
#[cfg(test)]
mod tests;
mod text;
mod trim;
mod view;
mod zero;

pub(crate) use arithmetic::Merged;
pub use arithmetic::MixedBuckets;
pub(crate) use rank::NanEffect;
pub(crate) use reset::stats_hint;
pub use reset::stored_hint;
pub(crate) use summed::{Averaged, Summed};
pub use view::BucketView;

use buckets::Buckets;
use model::histogram::{CUSTOM_BUCKETS, Counts, Histogram, ResetHint, Span};
use std::sync::Arc;

/// The finest resolution there is. Histograms of a finer one are brought to it.
const SCHEMA_MAX: i8 = 8;

/// A native histogram that counts in floats.
#[derive(Clone, Debug)]
pub struct FloatHistogram {
    pub(crate) hint: ResetHint,
    pub(crate) schema: i8,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: f64,
    pub(crate) count: f64,
    pub(crate) sum: f64,
    positive: Buckets,
    negative: Buckets,
    custom_values: Arc<[f64]>,
}

impl FloatHistogram {
    /// A stored histogram, counted in floats.
    #[must_use]
    pub fn new(stored: &Histogram) -> Self {
        Self::like(stored, None)
    }

    /// A stored histogram that probably has the layout of `other`: what is the same is shared.
    pub(crate) fn like(stored: &Histogram, other: Option<&Self>) -> Self {
        let whole = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect();
        let (count, zero_count, positive, negative): (_, _, Vec<f64>, Vec<f64>) =
            match &stored.counts {
                Counts::Integer { count, zero_count, positive, negative } => {
                    (*count as f64, *zero_count as f64, whole(positive), whole(negative))
                }
                Counts::Float { count, zero_count, positive, negative } => {
                    (*count, *zero_count, positive.clone(), negative.clone())
                }
            };
        let like = |of: fn(&Self) -> &Buckets| other.map(of);
        let custom_values = match other {
            Some(other) if *other.custom_values == *stored.custom_values => {
                Arc::clone(&other.custom_values)
            }
            _ => stored.custom_values.as_slice().into(),
        };
        let mut histogram = Self {
            hint: stored.reset_hint,
            schema: stored.schema,
            zero_threshold: stored.zero_threshold,
            zero_count,
            count,
            sum: stored.sum,
            positive: Buckets::new(&stored.positive_spans, positive, like(|of| &of.positive)),
            negative: Buckets::new(&stored.negative_spans, negative, like(|of| &of.negative)),
            custom_values,
        };
        if histogram.schema > SCHEMA_MAX {
            histogram.reduce_to(SCHEMA_MAX);
        }
        histogram
    }

    /// Only what `histogram_count`, `histogram_sum` and `histogram_avg` ask for: no buckets.
    pub(crate) fn without_buckets(stored: &Histogram) -> Self {
        let count = match &stored.counts {
            Counts::Integer { count, .. } => *count as f64,
            Counts::Float { count, .. } => *count,
        };
        Self {
            hint: stored.reset_hint,
            schema: stored.schema.min(SCHEMA_MAX),
            count,
            sum: stored.sum,
            ..Self::empty()
        }
    }

    /// Nothing was observed.
    fn empty() -> Self {
        Self {
            hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_values: Arc::default(),
        }
    }

    /// Nothing was observed, in the schema and with the custom values of `self`.
    pub(crate) fn emptied(&self) -> Self {
        let custom_values = Arc::clone(&self.custom_values);
        Self { schema: self.schema, custom_values, ..Self::empty() }
    }

    /// As it is stored and answered.
    #[must_use]
    pub fn to_stored(&self) -> Histogram {
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            reset_hint: self.hint,
            positive_spans: self.positive.spans(),
            negative_spans: self.negative.spans(),
            custom_values: self.custom_values.to_vec(),
            counts: Counts::Float {
                count: self.count,
                zero_count: self.zero_count,
                positive: self.positive.counts().to_vec(),
                negative: self.negative.counts().to_vec(),
            },
        }
    }

    /// Whether its buckets end at custom values.
    pub(crate) fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BUCKETS
    }

    /// The same with another hint.
    pub(crate) fn with_hint(mut self, hint: ResetHint) -> Self {
        self.hint = hint;
        self
    }

    /// Whether it is marked as a gauge.
    pub(crate) fn is_gauge(&self) -> bool {
        self.hint == ResetHint::Gauge
    }

    /// Leaves out buckets that hold nothing.
    pub(crate) fn compact(&mut self) {
        self.positive.compact(None);
        self.negative.compact(None);
    }

    /// Its weight as upstream counts it: in samples of 16 bytes.
    pub(crate) fn samples(&self) -> u64 {
        model::histogram::samples_of(self.parts())
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> u64 {
        168 + 8 * self.parts()
    }

    /// Spans, buckets and custom bounds.
    fn parts(&self) -> u64 {
        let spans = self.positive.runs() + self.negative.runs();
        let buckets = self.positive.len() + self.negative.len() + self.custom_values.len();
        (spans + buckets) as u64
    }

    /// Whether both say the same: bounds and counts to the last bit, whatever empty buckets are
    /// written down, whatever the hints.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        self.schema == other.schema
            && self.custom_values == other.custom_values
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.positive.same(&other.positive)
            && self.negative.same(&other.negative)
    }
}

/// Consecutive places as spans.
fn spans_of(indices: &[i32]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0_i32;
    for index in indices {
        match spans.last_mut() {
            Some(last) if *index == next => last.length += 1,
            _ => spans.push(Span { offset: index.saturating_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
    }
    spans
}
