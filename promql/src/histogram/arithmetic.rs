//! Adding, subtracting and scaling.

use super::summed::Lost;
use super::{Buckets, FloatHistogram, bound};
use model::histogram::ResetHint;
use std::borrow::Cow;
use std::sync::Arc;

/// An exponential and a custom histogram do not come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixedBuckets;

impl std::fmt::Display for MixedBuckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "cannot apply this operation on histograms with a mix of exponential and custom bucket \
             schemas",
        )
    }
}

impl std::error::Error for MixedBuckets {}

/// What is worth saying about two histograms that came together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// One was a reset, the other one was not.
    pub(crate) hints_conflict: bool,
    /// Their custom values differed, and only the common ones are left.
    pub(crate) bounds_differed: bool,
}

impl FloatHistogram {
    /// Adds `other`.
    pub(crate) fn add(&mut self, other: &Self) -> Result<Merged, MixedBuckets> {
        self.combine(other, 1.0, None)
    }

    /// Subtracts `other`.
    pub(crate) fn sub(&mut self, other: &Self) -> Result<Merged, MixedBuckets> {
        self.combine(other, -1.0, None)
    }

    /// Adds `sign` times `other`; what is lost in adding is kept in `lost`, if it is given.
    pub(super) fn combine(
        &mut self,
        other: &Self,
        sign: f64,
        mut lost: Option<&mut Lost>,
    ) -> Result<Merged, MixedBuckets> {
        if self.is_custom() != other.is_custom() {
            return Err(MixedBuckets);
        }
        let hints_conflict = self.meet_hint(other.hint);
        if !self.is_custom() {
            let zero = self.meet_zero(other, lost.as_deref_mut());
            self.add_totals(sign * zero.sum, sign * zero.compensation, lost.as_deref_mut());
        }
        self.add_count_and_sum(other, sign, lost.as_deref_mut());
        let mut bounds_differed = false;
        if self.is_custom() {
            bounds_differed = !same_bounds(&self.custom_values, &other.custom_values);
            self.add_custom(other, sign, lost, bounds_differed);
        } else {
            self.add_exponential(other, sign, lost);
        }
        Ok(Merged { hints_conflict, bounds_differed })
    }

    fn add_totals(&mut self, zero: f64, zero_lost: f64, lost: Option<&mut Lost>) {
        match lost {
            Some(lost) => {
                lost.add(|lost| &mut lost.zero_count, &mut self.zero_count, zero);
                lost.add(|lost| &mut lost.zero_count, &mut self.zero_count, zero_lost);
            }
            None => self.zero_count += zero,
        }
    }

    fn add_count_and_sum(&mut self, other: &Self, sign: f64, lost: Option<&mut Lost>) {
        match lost {
            Some(lost) => {
                lost.add(|lost| &mut lost.count, &mut self.count, sign * other.count);
                lost.add(|lost| &mut lost.sum, &mut self.sum, sign * other.sum);
            }
            None => {
                self.count += sign * other.count;
                self.sum += sign * other.sum;
            }
        }
    }

    fn add_custom(&mut self, other: &Self, sign: f64, lost: Option<&mut Lost>, differ: bool) {
        let lost = lost.map(|lost| &mut lost.positive);
        if !differ {
            self.positive.add(&other.positive, 0, sign, lost, &[]);
            return;
        }
        let common = bound::common(&self.custom_values, &other.custom_values);
        let (theirs, theirs_lost) =
            other.positive.moved(&[], |index| bound::within(index, &other.custom_values, &common));
        let have_lost = lost.as_ref().map_or(&[][..], |lost| lost);
        let (mine, mine_lost) = self
            .positive
            .moved(have_lost, |index| bound::within(index, &self.custom_values, &common));
        self.positive = mine;
        match lost {
            Some(lost) => {
                *lost = mine_lost;
                self.positive.add(&theirs, 0, sign, Some(lost), &theirs_lost);
                self.positive.compact(Some(lost));
            }
            None => {
                self.positive.add(&theirs, 0, sign, None, &[]);
                self.positive.compact(None);
            }
        }
        self.custom_values = common.into();
    }

    fn add_exponential(&mut self, other: &Self, sign: f64, lost: Option<&mut Lost>) {
        let schema = self.schema.min(other.schema);
        let (positive, negative) = match lost {
            Some(lost) => {
                self.reduce(schema, Some(lost));
                (Some(&mut lost.positive), Some(&mut lost.negative))
            }
            None => {
                self.reduce(schema, None);
                (None, None)
            }
        };
        let add = |to: &mut Buckets, from: &Buckets, lost: Option<&mut Vec<f64>>, zero: f64| {
            let (from, from_lost) = reduced(from, other.schema, schema);
            let first = beyond(&from, schema, zero);
            to.add(&from, first, sign, lost, &from_lost);
        };
        add(&mut self.positive, &other.positive, positive, self.zero_threshold);
        add(&mut self.negative, &other.negative, negative, self.zero_threshold);
    }

    /// Brings the buckets to a lower resolution.
    pub(super) fn reduce_to(&mut self, schema: i8) {
        self.reduce(schema, None);
    }

    fn reduce(&mut self, schema: i8, lost: Option<&mut Lost>) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let to = |index| bound::reduced(index, self.schema, schema);
        match lost {
            Some(lost) => {
                (self.positive, lost.positive) = self.positive.moved(&lost.positive, to);
                (self.negative, lost.negative) = self.negative.moved(&lost.negative, to);
            }
            None => {
                self.positive = plainly_moved(&self.positive, to);
                self.negative = plainly_moved(&self.negative, to);
            }
        }
        self.schema = schema;
    }

    /// A copy of at most this resolution; what cannot be brought to it stays as it is.
    pub(crate) fn at_most(&self, schema: i8) -> Self {
        let mut copy = self.clone();
        copy.reduce_to(schema);
        copy
    }

    /// The hint of what comes of a histogram with this hint; whether they contradict each other.
    fn meet_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (hint, conflict) = match (self.hint, other) {
            (mine, other) if mine == other => (mine, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.hint = hint;
        conflict
    }

    fn map_counts(&mut self, f: impl Fn(f64) -> f64) {
        for value in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *value = f(*value);
        }
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.counts_mut().iter_mut().for_each(|count| *count = f(*count));
        }
    }

    /// Multiplies. What has turned negative is a gauge.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.map_counts(|value| value * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides. By zero no bucket is left.
    pub(crate) fn divide(&mut self, by: f64) {
        if by == 0.0 {
            (self.positive, self.negative) = (Buckets::default(), Buckets::default());
        }
        self.map_counts(|value| value / by);
        if by < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }
}

/// Whether the bounds are the same.
pub(super) fn same_bounds(a: &Arc<[f64]>, b: &Arc<[f64]>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// The buckets at a lower resolution, and what was lost in adding them up.
pub(super) fn reduced(buckets: &Buckets, from: i8, to: i8) -> (Cow<'_, Buckets>, Vec<f64>) {
    if to >= from {
        return (Cow::Borrowed(buckets), Vec::new());
    }
    let (moved, lost) = buckets.moved(&[], |index| bound::reduced(index, from, to));
    (Cow::Owned(moved), lost)
}

fn plainly_moved(buckets: &Buckets, to: impl Fn(i32) -> i32) -> Buckets {
    let (mut moved, lost) = buckets.moved(&[], to);
    moved.counts_mut().iter_mut().zip(lost).for_each(|(count, lost)| *count += lost);
    moved
}

/// The first bucket that reaches beyond a zero bucket of this width.
fn beyond(buckets: &Buckets, schema: i8, zero: f64) -> usize {
    let is_inside = |index: &&i32| !bound::is_above(bound::exponential(**index, schema), zero);
    if zero == 0.0 { 0 } else { buckets.indices().iter().take_while(is_inside).count() }
}
