//! The buckets of one sign: places and counts, side by side.

use super::spans_of;
use crate::math::kahan::Kahan;
use model::histogram::Span;
use std::sync::Arc;

/// Buckets of one sign, ascending by place. Histograms of one series mostly share their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    indices: Arc<[i32]>,
    counts: Vec<f64>,
}

impl Buckets {
    /// Buckets at the places that spans say; those of `like`, if they are the same.
    pub(super) fn new(spans: &[Span], mut counts: Vec<f64>, like: Option<&Self>) -> Self {
        let mut indices = Vec::with_capacity(counts.len());
        let mut next = 0_i64;
        for span in spans {
            // Only the first span may lie before zero; whatever a damaged one says, places ascend.
            let offset = i64::from(span.offset);
            next += if indices.is_empty() { offset } else { offset.max(0) };
            let places = (counts.len() - indices.len()).min(span.length as usize);
            for _ in 0..places {
                indices.push(i32::try_from(next.clamp(-MAX, MAX)).unwrap_or(0));
                next += 1;
            }
        }
        counts.truncate(indices.len());
        let indices = match like {
            Some(like) if *like.indices == *indices => Arc::clone(&like.indices),
            _ => indices.into(),
        };
        Self { indices, counts }
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(super) fn counts(&self) -> &[f64] {
        &self.counts
    }

    pub(super) fn counts_mut(&mut self) -> &mut [f64] {
        &mut self.counts
    }

    pub(super) fn indices(&self) -> &[i32] {
        &self.indices
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, f64)> + '_ {
        self.indices.iter().copied().zip(self.counts.iter().copied())
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        spans_of(&self.indices)
    }

    /// How many spans they would make.
    pub(super) fn runs(&self) -> usize {
        let gaps = self.indices.windows(2).filter(|two| two[0].saturating_add(1) != two[1]);
        gaps.count() + usize::from(!self.indices.is_empty())
    }

    /// Whether the buckets that hold something are the same.
    pub(super) fn same(&self, other: &Self) -> bool {
        let filled = |of: &(i32, f64)| of.1 != 0.0;
        let bits = |(index, count): (i32, f64)| (index, count.to_bits());
        self.iter().filter(filled).map(bits).eq(other.iter().filter(filled).map(bits))
    }

    /// Leaves out what the filter does not keep; `lost` goes with it.
    fn retain(&mut self, lost: Option<&mut Vec<f64>>, keep: impl Fn(i32, f64, f64) -> bool) {
        let mut no_lost = Vec::new();
        let lost = lost.unwrap_or(&mut no_lost);
        let mut indices = Vec::with_capacity(self.indices.len());
        for (at, index) in self.indices.iter().enumerate() {
            let (count, less) = (self.counts[at], lost.get(at).copied().unwrap_or(0.0));
            if keep(*index, count, less) {
                let place = indices.len();
                self.counts[place] = count;
                if let Some(to) = lost.get_mut(place) {
                    *to = less;
                }
                indices.push(*index);
            }
        }
        if indices.len() < self.counts.len() {
            self.counts.truncate(indices.len());
            lost.truncate(indices.len());
            self.indices = indices.into();
        }
    }

    /// Leaves out buckets that hold nothing.
    pub(super) fn compact(&mut self, lost: Option<&mut Vec<f64>>) {
        let is_empty = |count: &f64| *count == 0.0;
        if self.counts.iter().any(is_empty) {
            self.retain(lost, |_, count, less| count != 0.0 || less != 0.0);
        }
    }

    /// Leaves out buckets that hold nothing, and those before the place `from`.
    pub(super) fn cut_before(&mut self, from: i32, lost: Option<&mut Vec<f64>>) {
        self.retain(lost, |index, count, less| index >= from && (count != 0.0 || less != 0.0));
    }

    /// The same buckets at other places, in the same order; those that fall on one place are added
    /// up. With what was lost in adding.
    pub(super) fn moved(&self, lost: &[f64], to: impl Fn(i32) -> i32) -> (Self, Vec<f64>) {
        let (mut indices, mut sums): (Vec<i32>, Vec<Kahan>) = (Vec::new(), Vec::new());
        for (at, (index, count)) in self.iter().enumerate() {
            let (index, less) = (to(index), lost.get(at).copied().unwrap_or(0.0));
            match (indices.last(), sums.last_mut()) {
                (Some(last), Some(sum)) if *last == index => {
                    sum.add(count);
                    sum.add(less);
                }
                _ => {
                    indices.push(index);
                    sums.push(Kahan { sum: count, compensation: less });
                }
            }
        }
        let lost = sums.iter().map(|sum| sum.compensation).collect();
        let counts = sums.iter().map(|sum| sum.sum).collect();
        (Self { indices: indices.into(), counts }, lost)
    }

    /// Adds `sign` times the other's buckets from its `first` on. What is lost in adding is kept in
    /// `lost`, if it is given; `other_lost` is what the other had lost.
    pub(super) fn add(
        &mut self,
        other: &Self,
        first: usize,
        sign: f64,
        lost: Option<&mut Vec<f64>>,
        other_lost: &[f64],
    ) {
        let (indices, counts) = (&other.indices[first..], &other.counts[first..]);
        let Some(lost) = lost else {
            self.make_room(indices, None);
            for (place, count) in places(&self.indices, indices).zip(counts) {
                self.counts[place] += sign * count;
            }
            return;
        };
        self.make_room(indices, Some(lost));
        for (at, (place, count)) in places(&self.indices, indices).zip(counts).enumerate() {
            let mut sum = Kahan { sum: self.counts[place], compensation: lost[place] };
            sum.add(sign * count);
            if let Some(less) = other_lost.get(first + at).filter(|less| **less != 0.0) {
                sum.add(sign * less);
            }
            (self.counts[place], lost[place]) = (sum.sum, sum.compensation);
        }
    }

    /// Adds empty buckets, so that there is one at each of these places.
    fn make_room(&mut self, wanted: &[i32], lost: Option<&mut Vec<f64>>) {
        if *self.indices == *wanted || is_within(wanted, &self.indices) {
            return;
        }
        let all = union(&self.indices, wanted);
        let spread = |values: &[f64]| {
            let mut spread = vec![0.0; all.len()];
            for (place, value) in places(&all, &self.indices).zip(values) {
                spread[place] = *value;
            }
            spread
        };
        let counts = spread(&self.counts);
        if let Some(lost) = lost {
            *lost = spread(lost);
        }
        self.counts = counts;
        self.indices = all.into();
    }
}

/// No place is farther from 0 than this.
const MAX: i64 = i32::MAX as i64 - 1;

/// Where each of `wanted` is among `all`, which has them all.
fn places<'a>(all: &'a [i32], wanted: &'a [i32]) -> impl Iterator<Item = usize> + 'a {
    let mut at = 0;
    wanted.iter().map(move |index| {
        while all[at] < *index {
            at += 1;
        }
        at
    })
}

fn is_within(wanted: &[i32], all: &[i32]) -> bool {
    let mut all = all.iter();
    wanted.iter().all(|index| all.by_ref().find(|have| *have >= index) == Some(index))
}

fn union(a: &[i32], b: &[i32]) -> Vec<i32> {
    let (mut i, mut j) = (0, 0);
    let mut union = Vec::with_capacity(a.len().max(b.len()));
    loop {
        let next = match (a.get(i), b.get(j)) {
            (None, None) => return union,
            (Some(a), None) => *a,
            (None, Some(b)) => *b,
            (Some(a), Some(b)) => *a.min(b),
        };
        i += usize::from(a.get(i) == Some(&next));
        j += usize::from(b.get(j) == Some(&next));
        union.push(next);
    }
}
