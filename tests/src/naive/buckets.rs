//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` of classic histograms.

use super::eval::{Naive, bare};
use super::histogram::Hist;
use super::notes::{Forced, of_metric};
use super::numbers::{open_metrics, percent_g};
use super::quote::quoted;
use super::rank::{self, Effect};
use super::value::{Failure, Sample, Val, Vector};
use model::LabelSet;
use promql::Span;
use promql::ast::{Call, Expr};
use std::cmp::Ordering;
use std::sync::Arc;

/// A cumulative bucket: its upper bound and how many observations are not above it.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The buckets of one histogram, and its labels without `le`.
type Classic = (LabelSet, Vec<Bucket>);

/// A native histogram and its labels.
type Native = (LabelSet, Arc<Hist>);

impl Naive<'_> {
    pub(super) fn buckets(
        &mut self,
        node: &Call,
        time: i64,
        vector: Vector,
        scalars: &[f64],
    ) -> Result<Vector, Failure> {
        let name = node.function.name;
        if name == "histogram_fraction" {
            let span = bare(&node.args[2]).span();
            let (classics, natives) = self.histograms(vector, span);
            let (lower, upper) = (scalars[0], scalars[1]);
            let mut out = Vector::new();
            for (labels, of) in natives {
                let (value, effect) = rank::fraction(lower, upper, &of);
                out.push(self.of_native(labels, value, effect, span));
            }
            let of = |(labels, buckets)| self.sample(labels, fraction(lower, upper, buckets));
            out.extend(classics.into_iter().map(of));
            return Ok(out);
        }
        // The place of the vector and of the first quantile among the arguments.
        let is_many = name == "histogram_quantiles";
        let (of_vector, of_first) = if is_many { (0, 2) } else { (1, 0) };
        for (index, q) in scalars.iter().enumerate() {
            if !(0.0..=1.0).contains(q) {
                let q = percent_g(*q);
                let text = format!("quantile value should be between 0 and 1, got {q}");
                self.notes.warn(text, bare(&node.args[of_first + index]).span());
            }
        }
        let span = bare(&node.args[of_vector]).span();
        let (mut classics, natives) = self.histograms(vector, span);
        let mut out = Vector::new();
        for q in scalars {
            let mut samples = Vector::new();
            for (labels, of) in &natives {
                let (value, effect) = rank::quantile(*q, of);
                samples.push(self.of_native(labels.clone(), value, effect, span));
            }
            for (labels, buckets) in &mut classics {
                let metric = if self.is_late() { labels.metric_name() } else { "" };
                let (value, forced) = quantile(*q, buckets, time);
                if let Some(forced) = forced {
                    self.notes.force(metric, span, forced);
                }
                samples.push(self.sample(labels.clone(), value));
            }
            if let (true, Some(Expr::String(label))) = (is_many, node.args.get(1).map(bare)) {
                samples.iter_mut().for_each(|sample| {
                    sample.labels.set(&*label.text(), open_metrics(*q));
                });
            }
            out.extend(samples);
        }
        Ok(out)
    }

    /// The answer of a native histogram, and what is to be said about it.
    fn of_native(&mut self, labels: LabelSet, value: f64, effect: Effect, span: Span) -> Sample {
        let text = match effect {
            Effect::None => "",
            Effect::Skewed => {
                "input to histogram_quantile has NaN observations, result is skewed higher"
            }
            Effect::Result => "input to histogram_quantile has NaN observations, result is NaN",
            Effect::Excluded => {
                "input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions"
            }
        };
        if !text.is_empty() {
            let metric = if self.is_late() { labels.metric_name() } else { "" };
            self.notes.inform(of_metric(text, metric), span);
        }
        self.sample(labels, value)
    }

    /// Classic and native histograms; where both have the same labels neither.
    fn histograms(&mut self, vector: Vector, span: Span) -> (Vec<Classic>, Vec<Native>) {
        let (mut floats, mut natives) = (Vector::new(), Vec::new());
        for sample in vector {
            match &sample.value {
                Val::Float(_) => floats.push(sample),
                Val::Histogram(of) => natives.push((sample.labels, Arc::clone(of))),
            }
        }
        let mut classics = self.classics(floats, span);
        natives.retain(|(labels, _)| {
            let Some(twin) = classics.iter().position(|(have, _)| have == labels) else {
                return true;
            };
            classics.remove(twin);
            let metric = if self.is_late() { labels.metric_name() } else { "" };
            let text = "vector contains a mix of classic and native histograms";
            self.notes.warn(of_metric(text, metric), span);
            false
        });
        (classics, natives)
    }

    fn sample(&self, mut labels: LabelSet, value: f64) -> Sample {
        self.drop_name(&mut labels);
        Sample { labels, drop_name: true, value: Val::Float(value) }
    }

    fn classics(&mut self, vector: Vector, span: Span) -> Vec<Classic> {
        let mut classics: Vec<Classic> = Vec::new();
        for mut sample in vector {
            let le = sample.labels.value("le").to_string();
            let Ok(bound) = le.parse() else {
                let metric = if self.is_late() { sample.labels.metric_name() } else { "" };
                let le = quoted(le.as_bytes());
                let text =
                    format!("bucket label \"le\" is missing or has a malformed value of {le}");
                self.notes.warn(of_metric(&text, metric), span);
                continue;
            };
            sample.labels.remove("le");
            let bucket = Bucket { bound, count: sample.value.float().unwrap_or(f64::NAN) };
            match classics.iter_mut().find(|(labels, _)| *labels == sample.labels) {
                Some((_, buckets)) => buckets.push(bucket),
                None => classics.push((sample.labels, vec![bucket])),
            }
        }
        classics
    }
}

/// Sorts buckets and adds those of the same bound up; `None` if there is none without a bound.
fn ordered(buckets: &mut Vec<Bucket>) -> Option<()> {
    buckets.sort_by(|a, b| a.bound.partial_cmp(&b.bound).unwrap_or(Ordering::Equal));
    if buckets.last()?.bound != f64::INFINITY {
        return None;
    }
    let mut ordered: Vec<Bucket> = Vec::new();
    for bucket in &*buckets {
        match ordered.last_mut() {
            Some(last) if last.bound == bucket.bound => last.count += bucket.count,
            _ => ordered.push(*bucket),
        }
    }
    *buckets = ordered;
    Some(())
}

/// Whether two counts are the same but for what rounding can do.
fn is_same(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < 1e-12 * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < 1e-12
}

/// Lifts buckets that count less than the one before.
fn lift(buckets: &mut [Bucket], time: i64) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if is_same(before, count) {
            if count != before {
                bucket.count = before;
            }
        } else if count < before {
            bucket.count = before;
            let diff = before - count;
            let new = Forced {
                least: bucket.bound,
                greatest: bucket.bound,
                diff,
                first: time,
                last: time,
                samples: 1,
            };
            let have = forced.get_or_insert(new);
            have.greatest = bucket.bound;
            have.diff = have.diff.max(diff);
        } else {
            before = count;
        }
    }
    forced
}

fn quantile(q: f64, buckets: &mut Vec<Bucket>, time: i64) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if ordered(buckets).is_none() {
        return (f64::NAN, None);
    }
    let forced = lift(buckets, time);
    (interpolated(q, buckets), forced)
}

fn interpolated(q: f64, buckets: &[Bucket]) -> f64 {
    let last = buckets.len() - 1;
    let all = buckets[last].count;
    if buckets.len() < 2 || all == 0.0 {
        return f64::NAN;
    }
    let rank = q * all;
    // Counts ascend, so this is the first that reaches the rank; NaN reaches none.
    let reaches = |bucket: &Bucket| bucket.count >= rank;
    let index = buckets[..last].partition_point(|bucket| !reaches(bucket));
    if index == last {
        return buckets[last - 1].bound;
    }
    if index == 0 && buckets[0].bound <= 0.0 {
        return buckets[0].bound;
    }
    let before = if index == 0 { Bucket { bound: 0.0, count: 0.0 } } else { buckets[index - 1] };
    let Bucket { bound, count } = buckets[index];
    before.bound + (bound - before.bound) * ((rank - before.count) / (count - before.count))
}

fn fraction(lower: f64, upper: f64, mut buckets: Vec<Bucket>) -> f64 {
    if ordered(&mut buckets).is_none() {
        return f64::NAN;
    }
    let all = buckets[buckets.len() - 1].count;
    if all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value: f64| {
        let rank = below(value, &buckets).unwrap_or(all);
        if rank > all { all } else { rank }
    };
    (rank(upper) - rank(lower)) / all
}

/// How many observations lie below a value; `None`: all.
fn below(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    let mut from = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for Bucket { bound, count } in buckets {
        if from >= value {
            return Some(rank);
        }
        if *bound > value {
            if from == f64::NEG_INFINITY {
                return Some(*count);
            }
            return Some(rank + (count - rank) * (value - from) / (bound - from));
        }
        (rank, from) = (*count, *bound);
    }
    None
}
