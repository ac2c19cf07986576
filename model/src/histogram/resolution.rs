//! Lowering a histogram's resolution: each bucket of schema `s` lies in one of schema `s - 1`.
//!
//! Not here: who wants it lower (`admit` says when; `promql` when two schemas meet).

use super::{BUCKETS_MAX, BadHistogram, Counts, Histogram, Span};

/// The schema with the narrowest buckets that is kept.
pub const SCHEMA_MAX: i8 = 8;
/// The schema with the widest buckets.
pub const SCHEMA_MIN: i8 = -4;
/// The fault of a histogram that has too many buckets however wide they are.
pub const OVER_LIMIT: BadHistogram = BadHistogram("too many buckets at the lowest resolution");
/// Schemas above [`SCHEMA_MAX`] that are taken and lowered to it.
const SCHEMA_RESERVED_MAX: i8 = 52;

impl Histogram {
    /// The histogram as it is kept: valid, of a schema that is known, with at most `buckets_max`
    /// buckets. The resolution is lowered where that helps; a histogram that fits stays as it is.
    ///
    /// # Errors
    /// The rule that it breaks; [`OVER_LIMIT`].
    pub fn admit(mut self, buckets_max: u64) -> Result<Self, BadHistogram> {
        if (SCHEMA_MAX + 1..=SCHEMA_RESERVED_MAX).contains(&self.schema) {
            self.check_layout()?;
            self = self.lowered(SCHEMA_MAX)?;
        }
        self.validate()?;
        while self.buckets() as u64 > buckets_max {
            if !(SCHEMA_MIN + 1..=SCHEMA_MAX).contains(&self.schema) {
                return Err(OVER_LIMIT);
            }
            let lower = self.schema - 1;
            self = self.lowered(lower)?;
        }
        Ok(self)
    }

    /// The same observations in the buckets of a lower schema. Spans and buckets have to fit each
    /// other, and neither schema may be that of custom buckets.
    fn lowered(self, schema: i8) -> Result<Self, BadHistogram> {
        let by = u32::try_from(self.schema - schema).unwrap_or(0);
        let (positive_spans, negative_spans, counts);
        match self.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                let add = u64::saturating_add;
                let positive = merged(&self.positive_spans, &positive, by, add)?;
                let negative = merged(&self.negative_spans, &negative, by, add)?;
                (positive_spans, negative_spans) = (positive.0, negative.0);
                let (positive, negative) = (positive.1, negative.1);
                counts = Counts::Integer { count, zero_count, positive, negative };
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let add = |a: f64, b: f64| a + b;
                let positive = merged(&self.positive_spans, &positive, by, add)?;
                let negative = merged(&self.negative_spans, &negative, by, add)?;
                (positive_spans, negative_spans) = (positive.0, negative.0);
                let (positive, negative) = (positive.1, negative.1);
                counts = Counts::Float { count, zero_count, positive, negative };
            }
        }
        Ok(Self { schema, positive_spans, negative_spans, counts, ..self })
    }
}

/// Each bucket's index and count, ascending.
fn placed<'a, T: Copy>(spans: &'a [Span], buckets: &'a [T]) -> impl Iterator<Item = (i64, T)> + 'a {
    let indexes = spans.iter().scan(0_i64, |next, span| {
        let first = *next + i64::from(span.offset);
        *next = first + i64::from(span.length);
        Some(first..*next)
    });
    indexes.flatten().zip(buckets.iter().copied())
}

/// Puts 2^`by` neighbours each into one bucket. Bucket `i` reaches up to base^i, so the last of
/// each group of neighbours has an index that 2^`by` divides.
fn merged<T: Copy>(
    spans: &[Span],
    buckets: &[T],
    by: u32,
    add: impl Fn(T, T) -> T,
) -> Result<(Vec<Span>, Vec<T>), BadHistogram> {
    let (mut into, mut counts): (Vec<Span>, Vec<T>) = (Vec::new(), Vec::new());
    let mut last: Option<i64> = None;
    for (index, count) in placed(spans, buckets).take(BUCKETS_MAX) {
        let index = ((index - 1) >> by.min(62)) + 1;
        match (last, counts.last_mut(), into.last_mut()) {
            (Some(at), Some(held), _) if at == index => *held = add(*held, count),
            (Some(at), _, Some(span)) if at + 1 == index => {
                span.length += 1;
                counts.push(count);
            }
            _ => {
                let offset = last.map_or(index, |at| index - at - 1);
                let offset =
                    i32::try_from(offset).or(Err(BadHistogram("an offset is too large")))?;
                into.push(Span { offset, length: 1 });
                counts.push(count);
            }
        }
        last = Some(index);
    }
    Ok((into, counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{CUSTOM_BUCKETS, ResetHint};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    /// Positive buckets of integers, the count fitting.
    fn integers(schema: i8, spans: &[Span], positive: &[u64]) -> Histogram {
        Histogram {
            schema,
            positive_spans: spans.to_vec(),
            sum: 1.0,
            reset_hint: ResetHint::Gauge,
            zero_threshold: 0.001,
            counts: Counts::Integer {
                count: positive.iter().sum::<u64>() + 2,
                zero_count: 2,
                positive: positive.to_vec(),
                negative: vec![],
            },
            ..Histogram::stale()
        }
    }

    #[test]
    fn buckets_are_merged_by_where_their_upper_bounds_lie() {
        // Upper bounds 2^(-1/2), 1, 2^(1/2), 2, 2^(5/2): below 1, up to 2, up to 8.
        let fine = integers(1, &[span(-1, 4), span(2, 1)], &[1, 2, 3, 4, 5]);
        let coarse = fine.lowered(0).unwrap();
        assert_eq!(coarse, integers(0, &[span(0, 2), span(1, 1)], &[3, 7, 5]));
    }

    #[test]
    fn a_histogram_that_fits_is_kept_as_it_was_sent() {
        let odd = integers(8, &[span(3, 0), span(0, 1), span(0, 1)], &[0, 7]);
        assert_eq!(odd.clone().admit(2).unwrap(), odd);
    }

    #[test]
    fn schemas_up_to_52_are_lowered_to_8_and_no_others_are_taken() {
        let at = |schema| integers(schema, &[span(1, 2)], &[1, 2]).admit(160);
        for schema in 9..=52 {
            assert_eq!(at(schema).unwrap(), integers(8, &[span(1, 1)], &[3]), "{schema}");
        }
        for schema in -4..=8 {
            assert_eq!(at(schema).unwrap().schema, schema);
        }
        for schema in (i8::MIN..-4).filter(|schema| *schema != CUSTOM_BUCKETS).chain(53..=i8::MAX) {
            assert_eq!(at(schema), Err(BadHistogram("unknown schema")), "{schema}");
        }
    }

    #[test]
    fn resolution_is_lowered_as_far_as_the_limit_asks_and_no_further() {
        let wide = integers(2, &[span(1, 8)], &[1; 8]);
        assert_eq!(wide.clone().admit(7).unwrap(), integers(1, &[span(1, 4)], &[2; 4]));
        assert_eq!(wide.clone().admit(1).unwrap(), integers(-1, &[span(1, 1)], &[8]));
        let apart = integers(0, &[span(-2000, 1), span(4000, 1)], &[1, 1]);
        assert_eq!(apart.admit(1), Err(OVER_LIMIT));
        let custom = Histogram {
            zero_threshold: 0.0,
            custom_values: vec![1.0],
            counts: Counts::Integer {
                count: 2,
                zero_count: 0,
                positive: vec![1, 1],
                negative: vec![],
            },
            ..integers(CUSTOM_BUCKETS, &[span(0, 2)], &[])
        };
        assert_eq!(custom.clone().admit(2).unwrap(), custom);
        assert_eq!(custom.admit(1), Err(OVER_LIMIT));
    }

    #[test]
    fn spans_that_do_not_fit_their_buckets_are_refused_before_anything_is_lowered() {
        let torn = integers(20, &[span(1, 3)], &[1, 2]);
        let message = "spans and buckets differ in number";
        assert_eq!(torn.admit(160), Err(BadHistogram(message)));
        let far = [span(i32::MAX, 0), span(i32::MAX, 0), span(i32::MAX, 1)];
        let far = integers(9, &far, &[1]);
        assert_eq!(far.admit(160), Err(BadHistogram("an offset is too large")));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_each_bucket_goes_where_its_bound_lies(
            spans in prop::collection::vec((-40_i32..40, 0_u32..6), 1..6),
            schema in -3_i8..=8,
            by in 1_u32..5,
        ) {
            // Only the first offset may be below zero.
            let first = |at: usize, offset: i32| if at == 0 { offset } else { offset.abs() };
            let spans: Vec<Span> =
                spans.iter().enumerate().map(|(at, (o, l))| span(first(at, *o), *l)).collect();
            let places: u32 = spans.iter().map(|span| span.length).sum();
            let counts: Vec<u64> = (1..=u64::from(places)).collect();
            let target = i8::try_from(i64::from(schema) - i64::from(by)).unwrap().max(-4);
            let by = u32::try_from(schema - target).unwrap();
            let mut expected = BTreeMap::new();
            for (index, count) in placed(&spans, &counts) {
                *expected.entry((index - 1).div_euclid(1 << by) + 1).or_insert(0) += count;
            }
            let fine = integers(schema, &spans, &counts);
            let coarse = fine.lowered(target).unwrap();
            prop_assert_eq!(coarse.validate(), Ok(()));
            let Counts::Integer { positive, .. } = &coarse.counts else { unreachable!() };
            let found: Vec<_> = placed(&coarse.positive_spans, positive).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
