//! Whether a histogram is the expected one.

use crate::judge::same_float;
use model::histogram::{Counts, Histogram, Span};
use std::collections::BTreeMap;

/// Compares schema, bounds and buckets that count something; the hint only if one was stated.
pub(crate) fn same(want: &Histogram, have: &Histogram, is_hinted: bool) -> bool {
    let (counts, have_counts) = (totals(want), totals(have));
    want.schema == have.schema
        && want.zero_threshold == have.zero_threshold
        && want.custom_values == have.custom_values
        && same_float(want.sum, have.sum)
        && same_float(counts.0, have_counts.0)
        && same_float(counts.1, have_counts.1)
        && same_buckets(&buckets(want), &buckets(have))
        && (!is_hinted || want.reset_hint == have.reset_hint)
}

/// Count and zero count.
fn totals(histogram: &Histogram) -> (f64, f64) {
    match &histogram.counts {
        #[expect(clippy::cast_precision_loss, reason = "scripts count little")]
        Counts::Integer { count, zero_count, .. } => (*count as f64, *zero_count as f64),
        Counts::Float { count, zero_count, .. } => (*count, *zero_count),
    }
}

/// Counts by sign and place.
type Buckets = BTreeMap<(bool, i64), f64>;

fn buckets(histogram: &Histogram) -> Buckets {
    let mut buckets = Buckets::new();
    let mut put = |is_negative, spans: &[Span], counts: &mut dyn Iterator<Item = f64>| {
        let mut next = 0;
        for span in spans {
            next += i64::from(span.offset);
            for count in (&mut *counts).take(span.length as usize) {
                if count != 0.0 {
                    buckets.insert((is_negative, next), count);
                }
                next += 1;
            }
        }
    };
    let (positive, negative) = (&histogram.positive_spans, &histogram.negative_spans);
    match &histogram.counts {
        Counts::Integer { positive: p, negative: n, .. } => {
            put(false, positive, &mut p.iter().map(|count| *count as f64));
            put(true, negative, &mut n.iter().map(|count| *count as f64));
        }
        Counts::Float { positive: p, negative: n, .. } => {
            put(false, positive, &mut p.iter().copied());
            put(true, negative, &mut n.iter().copied());
        }
    }
    buckets
}

fn same_buckets(want: &Buckets, have: &Buckets) -> bool {
    want.keys().eq(have.keys()) && want.values().zip(have.values()).all(|(a, b)| same_float(*a, *b))
}
