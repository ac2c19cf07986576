//! Native histograms: buckets by their index in a map, and what can be done with them.
//!
//! Not here: which functions use what, and what they complain about.

use super::data::is_stale;
use super::numbers::{Kahan, percent_g};
use model::histogram::{CUSTOM_BUCKETS, Counts, Histogram, ResetHint, Span};
use std::collections::BTreeMap;

type Buckets = BTreeMap<i32, f64>;

/// A histogram of floats.
#[derive(Clone, Debug, Default)]
pub struct Hist {
    pub(super) schema: i32,
    pub(super) threshold: f64,
    pub(super) zero: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) hint: ResetHint,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
    pub(super) bounds: Vec<f64>,
}

/// A bucket: its bounds and how many observations lie between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// Exponential and custom buckets do not go together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incompatible;

/// What else came of an addition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Added {
    /// One says that its counter was reset, the other that it was not.
    pub(super) is_collision: bool,
    /// Different custom bounds were reduced to those they share.
    pub(super) is_reconciled: bool,
}

fn buckets(spans: &[Span], counts: &[f64]) -> Buckets {
    let mut buckets = Buckets::new();
    let mut index = 0;
    let mut counts = counts.iter();
    for span in spans {
        index += span.offset;
        for _ in 0..span.length {
            buckets.insert(index, counts.next().copied().unwrap_or(0.0));
            index += 1;
        }
    }
    buckets
}

impl Hist {
    /// Reads a stored one.
    #[must_use]
    pub fn new(of: &Histogram) -> Self {
        let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<_>>();
        let (count, zero, positive, negative) = match &of.counts {
            Counts::Float { count, zero_count, positive, negative } => {
                (*count, *zero_count, positive.clone(), negative.clone())
            }
            Counts::Integer { count, zero_count, positive, negative } => {
                (*count as f64, *zero_count as f64, floats(positive), floats(negative))
            }
        };
        Self {
            schema: i32::from(of.schema),
            threshold: of.zero_threshold,
            zero,
            count,
            sum: of.sum,
            hint: of.reset_hint,
            positive: buckets(&of.positive_spans, &positive),
            negative: buckets(&of.negative_spans, &negative),
            bounds: of.custom_values.clone(),
        }
    }

    /// As it is stored, each bucket with a span of its own.
    pub(super) fn stored(&self) -> Histogram {
        let spans = |buckets: &Buckets| {
            let mut next = 0;
            let span = |index: &i32| {
                let offset = index - next;
                next = index + 1;
                Span { offset, length: 1 }
            };
            buckets.keys().map(span).collect::<Vec<_>>()
        };
        Histogram {
            schema: i8::try_from(self.schema).unwrap_or(CUSTOM_BUCKETS),
            zero_threshold: self.threshold,
            sum: self.sum,
            reset_hint: self.hint,
            positive_spans: spans(&self.positive),
            negative_spans: spans(&self.negative),
            custom_values: self.bounds.clone(),
            counts: Counts::Float {
                count: self.count,
                zero_count: self.zero,
                positive: self.positive.values().copied().collect(),
                negative: self.negative.values().copied().collect(),
            },
        }
    }

    pub(super) fn is_custom(&self) -> bool {
        self.schema == i32::from(CUSTOM_BUCKETS)
    }

    /// The upper bound of a positive bucket.
    pub(super) fn upper(&self, index: i32) -> f64 {
        if self.is_custom() {
            return match usize::try_from(index) {
                Err(_) => f64::NEG_INFINITY,
                Ok(index) => self.bounds.get(index).copied().unwrap_or(f64::INFINITY),
            };
        }
        exponential(index, self.schema)
    }

    /// Lower and upper bound of a positive bucket.
    fn range(&self, index: i32) -> (f64, f64) {
        (self.upper(index - 1), self.upper(index))
    }

    /// All buckets, ascending, those beside the zero bucket cut at its threshold.
    pub(super) fn all(&self) -> Vec<Bucket> {
        let mut all = Vec::new();
        let cut = |lower: f64| if lower > 0.0 { lower.max(self.threshold) } else { lower };
        for (index, count) in self.negative.iter().rev() {
            let (lower, upper) = self.range(*index);
            all.push(Bucket { lower: -upper, upper: -cut(lower), count: *count });
        }
        if self.zero > 0.0 {
            let t = self.threshold;
            all.push(Bucket { lower: -t, upper: t, count: self.zero });
        }
        for (index, count) in &self.positive {
            let (lower, upper) = self.range(*index);
            all.push(Bucket { lower: cut(lower), upper, count: *count });
        }
        all
    }

    /// Takes empty buckets away.
    pub(super) fn compact(mut self) -> Self {
        self.positive.retain(|_, count| *count != 0.0);
        self.negative.retain(|_, count| *count != 0.0);
        self
    }

    fn each(&mut self, f: impl Fn(f64) -> f64) {
        let Self { zero, count, sum, positive, negative, .. } = self;
        let scalars = [zero, count, sum];
        let buckets = positive.values_mut().chain(negative.values_mut());
        scalars.into_iter().chain(buckets).for_each(|value| *value = f(*value));
    }

    pub(super) fn mul(mut self, factor: f64) -> Self {
        self.each(|value| value * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
        self
    }

    pub(super) fn div(mut self, divisor: f64) -> Self {
        self.each(|value| value / divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        } else if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
        self
    }

    /// To a coarser schema: each step joins two neighbours.
    pub(super) fn reduced(mut self, schema: i32) -> Self {
        if self.is_custom() || schema >= self.schema {
            return self;
        }
        let shift = self.schema - schema;
        let join = |of: &Buckets| {
            let mut joined = Buckets::new();
            for (index, count) in of {
                *joined.entry(((index - 1) >> shift) + 1).or_default() += count;
            }
            joined
        };
        (self.positive, self.negative) = (join(&self.positive), join(&self.negative));
        self.schema = schema;
        self
    }

    /// The least threshold from `threshold` on that lies in no populated bucket.
    fn clear_threshold(&self, mut threshold: f64) -> f64 {
        loop {
            let before = threshold;
            for (index, count) in self.positive.iter().chain(&self.negative) {
                let (lower, upper) = self.range(*index);
                if *count != 0.0 && lower < threshold && threshold < upper {
                    threshold = upper;
                }
            }
            if threshold == before {
                return threshold;
            }
        }
    }

    /// With a wider zero bucket, that takes in what lies within.
    fn widened(mut self, threshold: f64) -> Self {
        if threshold <= self.threshold {
            return self;
        }
        let bound = |index: i32| exponential(index - 1, self.schema);
        for buckets in [&mut self.positive, &mut self.negative] {
            for (index, count) in std::mem::take(buckets) {
                if bound(index) < threshold {
                    self.zero += count;
                } else if count != 0.0 {
                    buckets.insert(index, count);
                }
            }
        }
        self.threshold = threshold;
        self
    }

    /// To the custom bounds that both have.
    fn remapped(mut self, bounds: &[f64]) -> Self {
        let mut buckets: BTreeMap<i32, Kahan> = BTreeMap::new();
        for (index, count) in &self.positive {
            let own = self.upper(*index);
            let to = bounds.iter().position(|bound| *bound >= own).unwrap_or(bounds.len());
            buckets.entry(i32::try_from(to).unwrap_or(0)).or_default().add(*count);
        }
        self.positive = buckets.into_iter().map(|(index, count)| (index, count.total())).collect();
        self.bounds = bounds.to_vec();
        self
    }

    /// Both with the same layout.
    fn aligned(self, other: Self) -> Result<(Self, Self, bool), Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        if self.is_custom() {
            if self.bounds == other.bounds {
                return Ok((self, other, false));
            }
            let shared = |bound: &&f64| other.bounds.contains(bound);
            let bounds: Vec<f64> = self.bounds.iter().filter(shared).copied().collect();
            return Ok((self.remapped(&bounds).compact(), other.remapped(&bounds).compact(), true));
        }
        let (mut a, mut b) = (self, other);
        // Thresholds first: a coarser bucket reaches further towards zero.
        while a.threshold != b.threshold {
            if a.threshold > b.threshold {
                let threshold = b.clear_threshold(a.threshold);
                b = b.widened(threshold);
            } else {
                let threshold = a.clear_threshold(b.threshold);
                a = a.widened(threshold);
            }
        }
        let schema = a.schema.min(b.schema);
        Ok((a.reduced(schema), b.reduced(schema), false))
    }

    fn join_hints(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (joined, is_collision) = match (self.hint, other) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.hint = joined;
        is_collision
    }

    /// Adds `other` times `sign`.
    pub(super) fn plus(self, other: &Self, sign: f64) -> Result<(Self, Added), Incompatible> {
        let (mut sum, other, is_reconciled) = self.aligned(other.clone())?;
        let is_collision = sum.join_hints(other.hint);
        sum.zero += sign * other.zero;
        sum.count += sign * other.count;
        sum.sum += sign * other.sum;
        for (index, count) in other.positive {
            *sum.positive.entry(index).or_default() += sign * count;
        }
        for (index, count) in other.negative {
            *sum.negative.entry(index).or_default() += sign * count;
        }
        if is_reconciled {
            sum = sum.compact();
        }
        Ok((sum, Added { is_collision, is_reconciled }))
    }

    /// Whether the same but for empty buckets, by what `is_same` says of two numbers. Of hints only a
    /// gauge's counts: whether a sample says that its counter went on depends on how far back the
    /// one before it is.
    #[must_use]
    pub fn is_close(&self, other: &Self, is_same: impl Fn(f64, f64) -> bool) -> bool {
        let (a, b) = (self.clone().compact(), other.clone().compact());
        let places =
            |a: &Buckets, b: &Buckets| -> Vec<i32> { a.keys().chain(b.keys()).copied().collect() };
        // What is left of counts that cancel out is as good as nothing, beside all of them.
        let is_nothing = |a: f64, b: f64| (a - b).abs() <= 1e-13 * self.count.abs();
        let are_same = |a: &Buckets, b: &Buckets| {
            let of = |buckets: &Buckets, at: i32| buckets.get(&at).copied().unwrap_or(0.0);
            places(a, b).into_iter().all(|at| {
                let (a, b) = (of(a, at), of(b, at));
                is_same(a, b) || is_nothing(a, b)
            })
        };
        a.schema == b.schema
            && (a.hint == ResetHint::Gauge) == (b.hint == ResetHint::Gauge)
            && a.bounds == b.bounds
            && is_same(a.threshold, b.threshold)
            && is_same(a.zero, b.zero)
            && is_same(a.count, b.count)
            && is_same(a.sum, b.sum)
            && are_same(&a.positive, &b.positive)
            && are_same(&a.negative, &b.negative)
    }

    /// Whether the same to the last bit; neither hints nor empty buckets count: a store may add and
    /// leave out those.
    pub(super) fn is_equal(&self, other: &Self) -> bool {
        let bits = |of: &Buckets| -> Vec<(i32, u64)> {
            let filled = of.iter().filter(|(_, count)| **count != 0.0);
            filled.map(|(index, count)| (*index, count.to_bits())).collect()
        };
        self.schema == other.schema
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && self.threshold == other.threshold
            && self.zero.to_bits() == other.zero.to_bits()
            && self.bounds == other.bounds
            && bits(&self.positive) == bits(&other.positive)
            && bits(&self.negative) == bits(&other.negative)
    }

    /// Whether the counter was reset after `before`.
    pub(super) fn is_reset_after(&self, before: &Self) -> bool {
        match self.hint {
            ResetHint::Yes => return true,
            ResetHint::No => return false,
            _ => {}
        }
        if self.count < before.count || self.is_custom() && !before.is_custom() {
            return true;
        }
        if self.is_custom() && self.bounds != before.bounds {
            let shared = |bound: &&f64| before.bounds.contains(bound);
            let bounds: Vec<f64> = self.bounds.iter().filter(shared).copied().collect();
            let (now, before) = (self.clone().remapped(&bounds), before.clone().remapped(&bounds));
            let fell = |(index, count): (&i32, &f64)| {
                now.positive.get(index).copied().unwrap_or(0.0) < *count
            };
            return before.positive.iter().any(fell);
        }
        if self.schema > before.schema || self.threshold < before.threshold {
            return true;
        }
        let widened = match self.threshold == before.threshold {
            true => before.zero,
            false if before.clear_threshold(self.threshold) != self.threshold => return true,
            false => before.clone().widened(self.threshold).zero,
        };
        if self.zero < widened {
            return true;
        }
        let before = before.clone().reduced(self.schema);
        let fell = |now: &Buckets, before: &Buckets| {
            let seen = before.iter().filter(|(index, _)| {
                self.threshold == 0.0 || self.is_custom() || self.upper(**index) > self.threshold
            });
            let fell = |(index, count): (&i32, &f64)| match now.get(index) {
                Some(now) => now < count,
                None => *count != 0.0,
            };
            seen.into_iter().any(fell)
        };
        fell(&self.positive, &before.positive) || fell(&self.negative, &before.negative)
    }

    /// With the hint that a store gives it, which knows the sample before: a gauge stays one, what
    /// goes on from that says so, the rest is unknown.
    pub(super) fn hinted(mut self, before: Option<&Self>) -> Self {
        if self.hint == ResetHint::Gauge {
            return self;
        }
        let is_told = self.hint == ResetHint::Yes;
        self.hint = ResetHint::Unknown;
        let goes_on = before.is_some_and(|before| {
            !is_stale(before.sum)
                && before.hint != ResetHint::Gauge
                && (self.schema, self.threshold) == (before.schema, before.threshold)
                && self.bounds == before.bounds
                && !self.is_reset_after(before)
        });
        if goes_on && !is_told {
            self.hint = ResetHint::No;
        }
        self
    }

    pub(super) fn is_infinite(&self) -> bool {
        let buckets = self.positive.values().chain(self.negative.values());
        [self.zero, self.count, self.sum].iter().chain(buckets).any(|value| value.is_infinite())
    }
}

/// Upper bound of a bucket of an exponential schema.
fn exponential(index: i32, schema: i32) -> f64 {
    if schema > 0 && index % 2 == 0 {
        return exponential(index / 2, schema - 1);
    }
    if schema > 0 {
        // Upstream's table was made so, with a square root that is a little too small.
        let root = (-f64::from(schema)).exp2().exp2();
        let root = if schema == 1 { root.next_down() } else { root };
        return exponential(index - 1, schema) * root;
    }
    let bound = (f64::from(index) * (-f64::from(schema)).exp2()).exp2();
    if bound.is_finite() { bound } else { f64::MAX }
}

/// `{count:3, sum:5, [-2,-1):1, …}`
pub(super) fn text(of: &Hist) -> String {
    let mut text = format!("{{count:{}, sum:{}", percent_g(of.count), percent_g(of.sum));
    let mut put = |open: char, (lower, upper): (f64, f64), close: char, count: f64| {
        let [lower, upper, count] = [lower, upper, count].map(percent_g);
        text.push_str(&format!(", {open}{lower},{upper}{close}:{count}"));
    };
    for (index, count) in of.negative.iter().rev().filter(|(_, count)| **count != 0.0) {
        let (lower, upper) = of.range(*index);
        put('[', (-upper, -lower), ')', *count);
    }
    if of.zero != 0.0 {
        put('[', (-of.threshold, of.threshold), ']', of.zero);
    }
    for (index, count) in of.positive.iter().filter(|(_, count)| **count != 0.0) {
        let open = if of.is_custom() && *index == 0 { '[' } else { '(' };
        put(open, of.range(*index), ']', *count);
    }
    text + "}"
}

/// A sum of histograms that keeps what rounding lost.
#[derive(Clone, Debug)]
pub(super) struct Total {
    sum: Hist,
    lost: Option<Hist>,
}

impl Total {
    pub(super) fn new(first: Hist) -> Self {
        Self { sum: first, lost: None }
    }

    pub(super) fn is_infinite(&self) -> bool {
        self.sum.is_infinite()
    }

    pub(super) fn add(&mut self, other: &Hist) -> Result<Added, Incompatible> {
        let (mut sum, other, is_reconciled) = self.sum.clone().aligned(other.clone())?;
        let lost = self.lost.take().unwrap_or_default();
        // What was lost lies where the sum does.
        let mut lost = match is_reconciled {
            true => lost.remapped(&sum.bounds),
            false => Hist { schema: self.sum.schema, threshold: self.sum.threshold, ..lost }
                .widened(sum.threshold)
                .reduced(sum.schema),
        };
        let is_collision = sum.join_hints(other.hint);
        let add = |sum: &mut f64, lost: &mut f64, value: f64| {
            let mut kahan = Kahan { sum: *sum, lost: *lost };
            kahan.add(value);
            (*sum, *lost) = (kahan.sum, kahan.lost);
        };
        add(&mut sum.zero, &mut lost.zero, other.zero);
        add(&mut sum.count, &mut lost.count, other.count);
        add(&mut sum.sum, &mut lost.sum, other.sum);
        for (index, count) in other.positive {
            let (sum, lost) =
                (sum.positive.entry(index).or_default(), lost.positive.entry(index).or_default());
            add(sum, lost, count);
        }
        for (index, count) in other.negative {
            let (sum, lost) =
                (sum.negative.entry(index).or_default(), lost.negative.entry(index).or_default());
            add(sum, lost, count);
        }
        (self.sum, self.lost) = (sum, Some(lost));
        Ok(Added { is_collision, is_reconciled })
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum.mul(factor), lost: self.lost.map(|lost| lost.mul(factor)) }
    }

    pub(super) fn divided(self, divisor: f64) -> Self {
        Self { sum: self.sum.div(divisor), lost: self.lost.map(|lost| lost.div(divisor)) }
    }

    pub(super) fn finish(self) -> Hist {
        let Self { mut sum, lost } = self;
        let Some(lost) = lost else { return sum };
        sum.zero += lost.zero;
        sum.count += lost.count;
        sum.sum += lost.sum;
        for (index, count) in lost.positive {
            *sum.positive.entry(index).or_default() += count;
        }
        for (index, count) in lost.negative {
            *sum.negative.entry(index).or_default() += count;
        }
        sum
    }
}
