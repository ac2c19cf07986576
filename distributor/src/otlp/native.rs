//! Native histograms out of exponential ones, and out of those with bounds of their own.
//!
//! OTLP's bucket of index `i` is ours of index `i + 1`: theirs are named after their lower bound,
//! ours after the upper one. A finer resolution than we have is lowered by adding neighbours up.

use super::Stop;
use super::points::fault;
use model::Histogram;
use model::histogram::{
    BUCKETS_MAX, CUSTOM_BUCKETS, Counts, ResetHint, SCHEMA_MAX, SCHEMA_MIN, Span,
};
use wire::otlp::{ExponentialBuckets, Point, PointValue};

/// The width of the zero bucket if the sender does not say.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets up to so many are said as such; more become a gap between spans.
const GAP_MAX: i64 = 2;

/// Buckets under way: spans and their absolute counts.
#[derive(Debug, Default)]
struct Buckets {
    spans: Vec<Span>,
    counts: Vec<u64>,
    /// The index behind the last bucket.
    end: i64,
}

impl Buckets {
    /// Adds to the bucket at `index`, which is not before the last one.
    fn add(&mut self, index: i64, count: u64) -> Result<(), Stop> {
        if count == 0 {
            return Ok(());
        }
        if index < self.end
            && let Some(last) = self.counts.last_mut()
        {
            *last = last.checked_add(count).ok_or_else(|| fault("a bucket's count overflows"))?;
            return Ok(());
        }
        let gap = index - self.end;
        match self.spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                for _ in 0..gap {
                    span.length += 1;
                    self.counts.push(0);
                }
                span.length += 1;
            }
            _ => {
                let offset =
                    i32::try_from(gap).map_err(|_| fault("a bucket's index is too far"))?;
                self.spans.push(Span { offset, length: 1 });
            }
        }
        self.counts.push(count);
        self.end = index + 1;
        if self.counts.len() > BUCKETS_MAX {
            return Err(fault("too many buckets").into());
        }
        Ok(())
    }
}

/// One side of an exponential histogram, its resolution lowered by `scale_down`.
fn side(buckets: &ExponentialBuckets<'_>, scale_down: u32) -> Result<Buckets, Stop> {
    let mut made = Buckets::default();
    for (index, count) in (i64::from(buckets.offset)..).zip(buckets.counts.clone()) {
        made.add((index >> scale_down) + 1, count?)?;
    }
    Ok(made)
}

/// The native histogram of an exponential point.
pub(super) fn exponential(point: &Point<'_>, reset_hint: ResetHint) -> Result<Histogram, Stop> {
    let PointValue::Exponential {
        count,
        sum,
        scale,
        zero_count,
        zero_threshold,
        positive,
        negative,
    } = &point.value
    else {
        return Err(fault("not an exponential histogram").into());
    };
    if point.has_no_recorded_value {
        return Ok(Histogram { reset_hint, ..Histogram::stale() });
    }
    let lowest = i32::from(SCHEMA_MIN);
    if *scale < lowest {
        return Err(fault(format!("scale {scale} is below {lowest}")).into());
    }
    let schema = i8::try_from(*scale).unwrap_or(SCHEMA_MAX).min(SCHEMA_MAX);
    // An index has 32 bits: shifted by more it is as if shifted by all of them.
    let scale_down = u32::try_from(scale - i32::from(schema)).unwrap_or(0).min(63);
    let (positive, negative) = (side(positive, scale_down)?, side(negative, scale_down)?);
    Ok(Histogram {
        schema,
        zero_threshold: if *zero_threshold == 0.0 { ZERO_THRESHOLD } else { *zero_threshold },
        sum: sum.unwrap_or(0.0),
        reset_hint,
        positive_spans: positive.spans,
        negative_spans: negative.spans,
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: *count,
            zero_count: *zero_count,
            positive: positive.counts,
            negative: negative.counts,
        },
    })
}

/// The native histogram, with custom buckets, of a point that has its own bounds.
pub(super) fn custom_buckets(point: &Point<'_>, reset_hint: ResetHint) -> Result<Histogram, Stop> {
    let PointValue::Histogram { count, sum, bucket_counts, explicit_bounds } = &point.value else {
        return Err(fault("not a histogram").into());
    };
    if point.has_no_recorded_value {
        return Ok(Histogram { reset_hint, ..Histogram::stale() });
    }
    let mut custom_values = Vec::new();
    for bound in explicit_bounds.clone() {
        if custom_values.len() == BUCKETS_MAX {
            return Err(fault("too many buckets").into());
        }
        custom_values.push(f64::from_bits(bound?));
    }
    // The last bucket is up to +Inf, which is not written.
    if custom_values.last() == Some(&f64::INFINITY) {
        custom_values.pop();
    }
    let mut buckets = Buckets::default();
    for (index, in_bucket) in (0..).zip(bucket_counts.clone()) {
        buckets.add(index, in_bucket?)?;
    }
    Ok(Histogram {
        schema: CUSTOM_BUCKETS,
        zero_threshold: 0.0,
        sum: sum.unwrap_or(0.0),
        reset_hint,
        positive_spans: buckets.spans,
        negative_spans: Vec::new(),
        custom_values,
        counts: Counts::Integer {
            count: *count,
            zero_count: 0,
            positive: buckets.counts,
            negative: Vec::new(),
        },
    })
}
