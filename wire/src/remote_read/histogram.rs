//! Chunks of native histograms: one layout, then numbers only.
//!
//! A chunk says of its first histogram whether the counter was reset before it, and of all others
//! that it was not, unless they are gauges. So one that is a reset, or has another layout, begins
//! a chunk. A stale marker has no buckets and ends one.

use super::bits::{BitWriter, Changing, XorFloat};
use model::Histogram;
use model::histogram::{CUSTOM_BUCKETS, Counts, ResetHint, Span};

/// A chunk that grows by histograms.
#[derive(Debug)]
pub(super) struct HistogramChunk {
    out: BitWriter,
    time: Changing,
    sum: XorFloat,
    numbers: Numbers,
    count: u16,
}

/// What changes from histogram to histogram: count, zero count, then each bucket.
#[derive(Debug)]
enum Numbers {
    Integers { count: Changing, zero_count: Changing, buckets: Vec<Changing> },
    Floats { count: XorFloat, zero_count: XorFloat, buckets: Vec<XorFloat> },
}

impl HistogramChunk {
    /// A chunk with one histogram.
    pub(super) fn start(at: i64, histogram: &Histogram) -> Self {
        let header = match histogram.reset_hint {
            ResetHint::Gauge => 0b1100_0000,
            ResetHint::Yes => 0b1000_0000,
            ResetHint::Unknown | ResetHint::No => 0,
        };
        let mut out = BitWriter::after(vec![0, 0, header]);
        push_layout(histogram, &mut out);
        out.varbit(at);
        let (sum, numbers) = Numbers::start(histogram, &mut out);
        Self { out, time: Changing::starting(at), sum, numbers, count: 1 }
    }

    /// Whether the counts are floats.
    pub(super) fn is_float(&self) -> bool {
        matches!(self.numbers, Numbers::Floats { .. })
    }

    pub(super) fn samples(&self) -> u16 {
        self.count
    }

    /// How many bytes it has so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Adds a histogram that [`may_follow`] the last one.
    pub(super) fn push(&mut self, at: i64, histogram: &Histogram) {
        let more = self.time.advance(at);
        match (self.count, self.is_float()) {
            (1, false) => self.out.unsigned_varbit(more.cast_unsigned()),
            _ => self.out.varbit(more),
        }
        self.count += 1;
        let (out, sum) = (&mut self.out, &mut self.sum);
        if histogram.is_stale() {
            self.numbers.repeat(out);
            sum.write(histogram.sum, out);
            return;
        }
        self.numbers.push(&histogram.counts, out, |out| sum.write(histogram.sum, out));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.out.finish();
        if let Some(head) = bytes.first_chunk_mut() {
            *head = self.count.to_be_bytes();
        }
        bytes
    }
}

impl Numbers {
    /// Writes a histogram's numbers whole.
    fn start(histogram: &Histogram, out: &mut BitWriter) -> (XorFloat, Self) {
        match &histogram.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                out.unsigned_varbit(*count);
                out.unsigned_varbit(*zero_count);
                let sum = XorFloat::start(histogram.sum, out);
                let buckets = differences(positive).chain(differences(negative));
                let buckets = buckets.inspect(|n| out.varbit(*n)).map(Changing::starting).collect();
                let [count, zero_count] =
                    [count, zero_count].map(|n| Changing::starting(n.cast_signed()));
                (sum, Self::Integers { count, zero_count, buckets })
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let [count, zero_count, sum] =
                    [*count, *zero_count, histogram.sum].map(|n| XorFloat::start(n, out));
                let buckets = positive.iter().chain(negative);
                let buckets = buckets.map(|n| XorFloat::start(*n, out)).collect();
                (sum, Self::Floats { count, zero_count, buckets })
            }
        }
    }

    /// Writes what changed; `sum` is written between the counts and the buckets.
    fn push(&mut self, counts: &Counts, out: &mut BitWriter, sum: impl FnOnce(&mut BitWriter)) {
        match (self, counts) {
            (
                Self::Integers { count, zero_count, buckets },
                Counts::Integer { count: all, zero_count: zero, positive, negative },
            ) => {
                out.varbit(count.advance(all.cast_signed()));
                out.varbit(zero_count.advance(zero.cast_signed()));
                sum(out);
                let next = differences(positive).chain(differences(negative));
                buckets.iter_mut().zip(next).for_each(|(last, n)| out.varbit(last.advance(n)));
            }
            (
                Self::Floats { count, zero_count, buckets },
                Counts::Float { count: all, zero_count: zero, positive, negative },
            ) => {
                count.write(*all, out);
                zero_count.write(*zero, out);
                sum(out);
                let next = positive.iter().chain(negative);
                buckets.iter_mut().zip(next).for_each(|(last, n)| last.write(*n, out));
            }
            // `may_follow` says that a chunk has one flavour.
            _ => {}
        }
    }

    /// Writes that no count changed.
    fn repeat(&self, out: &mut BitWriter) {
        // Of integers a zero is one bit, and so it is of floats.
        out.bits(0, 2);
    }
}

/// Each count as the difference from the one before.
fn differences(counts: &[u64]) -> impl Iterator<Item = i64> {
    let before = std::iter::once(&0).chain(counts);
    counts.iter().zip(before).map(|(count, before)| count.wrapping_sub(*before).cast_signed())
}

/// Whether `next` may stand behind `last` in one chunk.
pub(super) fn may_follow(last: &Histogram, next: &Histogram) -> bool {
    let is_gauge = |of: &Histogram| of.reset_hint == ResetHint::Gauge;
    if last.is_stale() {
        return false;
    }
    if next.is_stale() {
        return true;
    }
    let is_same_layout = last.schema == next.schema
        && last.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && last.positive_spans == next.positive_spans
        && last.negative_spans == next.negative_spans
        && last.custom_values == next.custom_values;
    is_same_layout
        && is_gauge(last) == is_gauge(next)
        && has_same_flavour(&last.counts, &next.counts)
        && (is_gauge(next) || next.reset_hint != ResetHint::Yes && !is_reset(last, next))
}

fn has_same_flavour(last: &Counts, next: &Counts) -> bool {
    std::mem::discriminant(last) == std::mem::discriminant(next)
}

/// Whether any count fell.
fn is_reset(last: &Histogram, next: &Histogram) -> bool {
    match (&last.counts, &next.counts) {
        (
            Counts::Integer { count, zero_count, positive, negative },
            Counts::Integer { count: all, zero_count: zero, positive: above, negative: below },
        ) => {
            all < count
                || zero < zero_count
                || has_less(positive, above)
                || has_less(negative, below)
        }
        (
            Counts::Float { count, zero_count, positive, negative },
            Counts::Float { count: all, zero_count: zero, positive: above, negative: below },
        ) => {
            all < count
                || zero < zero_count
                || has_less(positive, above)
                || has_less(negative, below)
        }
        _ => true,
    }
}

fn has_less<T: PartialOrd>(last: &[T], next: &[T]) -> bool {
    last.iter().zip(next).any(|(last, next)| next < last)
}

fn push_layout(histogram: &Histogram, out: &mut BitWriter) {
    push_zero_threshold(histogram.zero_threshold, out);
    out.varbit(histogram.schema.into());
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        push_spans(spans, out);
    }
    if histogram.schema == CUSTOM_BUCKETS {
        out.unsigned_varbit(histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| push_bound(*bound, out));
    }
}

fn push_spans(spans: &[Span], out: &mut BitWriter) {
    out.unsigned_varbit(spans.len() as u64);
    for span in spans {
        out.unsigned_varbit(span.length.into());
        out.varbit(span.offset.into());
    }
}

/// 0; or a byte that stands for half of a power of two from 2^-243 to 2^10; or 255 and the float.
fn push_zero_threshold(threshold: f64, out: &mut BitWriter) {
    let mantissa = threshold.to_bits() & ((1 << 52) - 1);
    let exponent = threshold.to_bits() >> 52;
    match exponent {
        0 if mantissa == 0 => out.bits(0, 8),
        780..=1033 if mantissa == 0 => out.bits(exponent - 779, 8),
        _ => {
            out.bits(255, 8);
            out.f64(threshold);
        }
    }
}

/// A whole number of thousandths plus one, or 0 and the float.
fn push_bound(bound: f64, out: &mut BitWriter) {
    let thousandths = (bound * 1000.0).round();
    if (0.0..=33_554_430.0).contains(&thousandths)
        && (thousandths / 1000.0).to_bits() == bound.to_bits()
    {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        out.unsigned_varbit(thousandths as u64 + 1);
    } else {
        out.bit(false);
        out.f64(bound);
    }
}
