//! The algebra as laws, over histograms of every shape.

use super::*;
use proptest::prelude::*;

/// A histogram in the notation of series descriptions.
pub(crate) fn of(text: &str) -> FloatHistogram {
    let series = crate::parse_series(&format!("m {{{{{text}}}}}")).unwrap();
    match &series.points(1).unwrap()[..] {
        [crate::Point::Histogram(histogram, _)] => FloatHistogram::new(histogram),
        points => panic!("{points:?}"),
    }
}

/// Whole counts, so that sums of a few are exact.
fn counts(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0_u8..20).prop_map(f64::from), len)
}

/// No bucket lies in the zero bucket, and the count is that of all of them.
fn finished(mut histogram: FloatHistogram) -> FloatHistogram {
    let first = histogram.first_beyond_zero(&histogram.positive);
    histogram.positive.cut_before(first, None);
    let first = histogram.first_beyond_zero(&histogram.negative);
    histogram.negative.cut_before(first, None);
    let buckets = histogram.positive.counts().iter().chain(histogram.negative.counts());
    histogram.count = histogram.zero_count + buckets.sum::<f64>();
    histogram
}

fn hint() -> impl Strategy<Value = ResetHint> {
    use ResetHint::{Gauge, No, Unknown, Yes};
    prop_oneof![Just(Unknown), Just(Gauge), Just(No), Just(Yes)]
}

fn span(offset: i32, length: usize) -> Vec<Span> {
    vec![Span { offset, length: u32::try_from(length).unwrap() }]
}

/// Of one of these schemas, with one of these zero buckets.
fn exponential(
    schema: impl Strategy<Value = i8>,
    zero_threshold: impl Strategy<Value = f64>,
) -> impl Strategy<Value = FloatHistogram> {
    let zero = (zero_threshold, 0_u8..9);
    let sides = ((-20_i32..20, counts(0..12)), (-20_i32..20, counts(0..12)));
    (schema, zero, sides, -100_i32..100, hint()).prop_map(|(schema, zero, sides, sum, hint)| {
        let ((offset, positive), (negative_offset, negative)) = sides;
        finished(FloatHistogram {
            hint,
            schema,
            zero_threshold: zero.0,
            zero_count: f64::from(zero.1),
            sum: f64::from(sum),
            positive: Buckets::new(&span(offset, positive.len()), positive, None),
            negative: Buckets::new(&span(negative_offset, negative.len()), negative, None),
            ..FloatHistogram::empty()
        })
    })
}

/// Bounds of every schema that is not below 0.
fn zero_threshold() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.25), Just(0.5), Just(2.0)]
}

pub(crate) fn custom() -> impl Strategy<Value = FloatHistogram> {
    let bounds = prop::sample::subsequence(vec![-5.0, -1.0, 0.0, 0.5, 1.0, 2.0, 10.0], 0..7);
    (bounds, counts(8), -100_i32..100, hint()).prop_map(|(bounds, mut counts, sum, hint)| {
        counts.truncate(bounds.len() + 1);
        finished(FloatHistogram {
            hint,
            schema: CUSTOM_BUCKETS,
            sum: f64::from(sum),
            positive: Buckets::new(&span(0, counts.len()), counts, None),
            custom_values: bounds.into(),
            ..FloatHistogram::empty()
        })
    })
}

/// Three histograms that come together: of several schemas, of several zero buckets, or custom.
/// (Where both differ, a zero bucket may come to lie within a bucket, and laws do not hold.)
fn three() -> impl Strategy<Value = [FloatHistogram; 3]> {
    let schemas = prop_oneof![Just(0.0), Just(1.0)].prop_flat_map(|zero| {
        let one = move || exponential(-4_i8..9, Just(zero)).boxed();
        (one(), one(), one())
    });
    let zeros = (0_i8..9).prop_flat_map(|schema| {
        let one = move || exponential(Just(schema), zero_threshold()).boxed();
        (one(), one(), one())
    });
    let customs = (custom(), custom(), custom());
    prop_oneof![schemas, zeros, customs].prop_map(<[_; 3]>::from)
}

fn plus(a: &FloatHistogram, b: &FloatHistogram) -> FloatHistogram {
    let mut sum = a.clone();
    sum.add(b).unwrap();
    sum.compact();
    sum
}

/// Counts are small and whole: nothing is rounded, so what is equal is the same.
fn check_same(a: &FloatHistogram, b: &FloatHistogram) -> Result<(), TestCaseError> {
    prop_assert!(a.same(b), "{a}\n{b}\n{a:?}\n{b:?}");
    Ok(())
}

fn total(histogram: &FloatHistogram) -> f64 {
    histogram.buckets().map(|bucket| bucket.count).sum()
}

proptest! {
    #[test]
    fn the_order_of_a_sum_does_not_matter([a, b, c] in three()) {
        check_same(&plus(&a, &b), &plus(&b, &a))?;
        check_same(&plus(&plus(&a, &b), &c), &plus(&a, &plus(&b, &c)))?;
    }

    #[test]
    fn no_observation_is_lost_in_a_sum([a, b, c] in three()) {
        let sum = plus(&plus(&a, &b), &c);
        prop_assert_eq!(sum.count, a.count + b.count + c.count);
        prop_assert_eq!(total(&sum), sum.count);
        let mut summed = Summed::new(a);
        summed.add(&b).unwrap();
        summed.add(&c).unwrap();
        let mut compensated = summed.total();
        compensated.compact();
        check_same(&compensated, &sum)?;
    }

    #[test]
    fn what_was_added_can_be_taken_away([a, b, _c] in three()) {
        let mut back = plus(&a, &b);
        back.sub(&b).unwrap();
        back.compact();
        prop_assert_eq!((back.count, back.sum), (a.count, a.sum));
        // Nothing is left of it but the resolution and the zero bucket that both can have.
        let mut nothing = b.clone();
        nothing.scale(0.0);
        check_same(&back, &plus(&a, &nothing))?;
    }

    #[test]
    fn a_mean_is_the_sum_divided([a, b, c] in three()) {
        let mut mean = Averaged::new(a.clone());
        mean.add(&b).unwrap();
        mean.add(&c).unwrap();
        let (mean, sum) = (mean.mean(), plus(&plus(&a, &b), &c));
        prop_assert!((mean.count * 3.0 - sum.count).abs() <= 1e-9);
        prop_assert!((total(&mean) * 3.0 - total(&sum)).abs() <= 1e-9);
    }

    #[test]
    fn a_mean_goes_on_where_the_sum_would_overflow([a, b, c] in three()) {
        let factor = f64::MAX / 30.0 / 20.0;
        let huge = [&a, &b, &c].map(|of| {
            let mut huge = of.clone();
            huge.scale(factor);
            huge
        });
        let mut moving = Averaged::new(huge[0].clone());
        for _ in 0..40 {
            for of in &huge[..] {
                moving.add(of).unwrap();
            }
        }
        let mean = moving.mean();
        let want = (a.count * 41.0 + (b.count + c.count) * 40.0) / 121.0 * factor;
        prop_assert!((mean.count - want).abs() <= want * 1e-9, "{} {want}", mean.count);
    }

    #[test]
    fn a_lower_resolution_keeps_every_count_between_its_bounds(a in exponential(-4_i8..9, zero_threshold()), less in 0_i8..5) {
        let reduced = a.at_most((a.schema - less).max(-4));
        prop_assert_eq!((reduced.count, reduced.sum, total(&reduced)), (a.count, a.sum, total(&a)));
        let below = |of: &FloatHistogram, bound: f64| -> f64 {
            of.buckets().filter(|bucket| bucket.upper <= bound * (1.0 + 1e-12)).map(|b| b.count).sum()
        };
        for bucket in reduced.positive_views() {
            prop_assert_eq!(below(&a, bucket.upper), below(&reduced, bucket.upper));
        }
    }

    #[test]
    fn a_counter_that_only_grew_was_not_reset([a, b, _c] in three()) {
        let later = plus(&a, &b).with_hint(ResetHint::Unknown);
        // A wider zero bucket or a lower resolution is no reset, a narrower or higher one is.
        prop_assert!(!later.is_reset_after(&a));
        prop_assert!(!later.is_reset_after(&later));
        let is_less = later.count > a.count;
        let earlier = a.clone().with_hint(ResetHint::Unknown);
        prop_assert!(!is_less || earlier.is_reset_after(&later));
        prop_assert!(earlier.clone().with_hint(ResetHint::Yes).is_reset_after(&earlier));
        prop_assert!(!earlier.with_hint(ResetHint::No).is_reset_after(&later));
    }

    #[test]
    fn quantiles_grow_and_fractions_lead_back([a, _b, _c] in three(), q in 0.01_f64..0.99) {
        prop_assume!(a.count > 0.0);
        let (value, _) = a.quantile(q);
        let (higher, _) = a.quantile((q + 0.005).min(1.0));
        prop_assert!(value <= higher + 1e-9 * value.abs(), "{value} {higher}");
        let (below, _) = a.fraction(f64::NEG_INFINITY, value);
        let (above, _) = a.fraction(value, f64::INFINITY);
        prop_assert!((below + above - 1.0).abs() < 1e-9);
        // Of those at zero exactly no share lies below it.
        if !a.is_custom() && (a.zero_threshold > 0.0 || a.zero_count == 0.0) {
            prop_assert!((below - q).abs() < 1e-6, "{a} {value} {below} {q}");
        }
    }

    #[test]
    fn trimming_leaves_what_lies_on_one_side([a, _b, _c] in three(), at in -6.0_f64..12.0) {
        let (mut lower, mut upper) = (a.clone(), a.clone());
        upper.trim_upper(at);
        lower.trim_lower(at);
        prop_assert!(upper.count <= a.count + 1e-9 && lower.count <= a.count + 1e-9);
        if !a.is_custom() {
            prop_assert!((upper.count + lower.count - a.count).abs() <= 1e-9 * (1.0 + a.count));
        }
        let mut again = upper.clone();
        again.trim_upper(at + 1e6);
        if !a.is_custom() {
            check_same(&again, &upper)?;
        }
    }

    #[test]
    fn a_stored_histogram_comes_back_as_it_was([a, _b, _c] in three()) {
        let stored = a.to_stored();
        prop_assert_eq!(&FloatHistogram::new(&stored).to_stored(), &stored);
        check_same(&FloatHistogram::new(&stored), &a)?;
    }

    #[test]
    fn no_bytes_make_the_algebra_panic(
        stored in wild(), other in wild(), value in any::<f64>(), q in any::<f64>(),
    ) {
        let (mut a, b) = (FloatHistogram::new(&stored), FloatHistogram::new(&other));
        let _ = (a.to_string(), a.quantile(q), a.fraction(value, q), a.variance());
        let _ = (a.is_reset_after(&b), b.is_reset_after(&a), a.same(&b), stored_hint(Some(&stored), &other));
        let mut mean = Averaged::new(a.clone());
        let _ = mean.add(&b);
        let _ = mean.mean();
        let mut trimmed = a.clone();
        trimmed.trim_upper(value);
        trimmed.trim_lower(q);
        let _ = a.sub(&b);
        let _ = a.add(&b);
        a.divide(value);
        let _ = a.to_stored();
    }
}

/// Whatever a damaged store could hand out.
fn wild() -> impl Strategy<Value = Histogram> {
    let number = || prop_oneof![any::<f64>(), Just(0.0), Just(1.0), Just(f64::NAN)];
    let offset = || prop_oneof![any::<i32>(), -5_i32..5];
    let spans = move || {
        let span = (offset(), 0_u32..4).prop_map(|(offset, length)| Span { offset, length });
        prop::collection::vec(span, 0..4)
    };
    let numbers = move || prop::collection::vec(number(), 0..6);
    let schema = prop_oneof![any::<i8>(), -5_i8..10, Just(CUSTOM_BUCKETS)];
    let head = (schema, number(), number(), number(), number());
    (head, spans(), spans(), numbers(), numbers(), numbers()).prop_map(
        |(head, positive_spans, negative_spans, custom_values, positive, negative)| Histogram {
            schema: head.0,
            zero_threshold: head.1,
            sum: head.2,
            reset_hint: ResetHint::Unknown,
            positive_spans,
            negative_spans,
            custom_values,
            counts: Counts::Float { count: head.3, zero_count: head.4, positive, negative },
        },
    )
}

#[test]
fn bounds_are_powers_and_the_last_finite_bucket_ends_at_the_greatest_float() {
    assert_eq!(bound::exponential(0, 0), 1.0);
    assert_eq!(bound::exponential(3, 0), 8.0);
    assert_eq!(bound::exponential(-1, -1), 0.25);
    assert_eq!(bound::exponential(-1074, 0), 5e-324);
    assert_eq!(bound::exponential(1024, 0), f64::MAX);
    assert_eq!(bound::exponential(1025, 0), f64::INFINITY);
    assert_eq!(bound::exponential(1024 << 8, 8), f64::MAX);
    assert_eq!(bound::exponential(64, -4), f64::MAX);
    assert_eq!(bound::exponential(i32::MIN, 8), 0.0);
}

#[test]
fn bounds_between_powers_are_upstreams_to_the_last_bit() {
    let bounds = |schema, indices: [i32; 3]| indices.map(|index| bound::exponential(index, schema));
    let root = std::f64::consts::SQRT_2.next_down();
    assert_eq!(bounds(1, [1, 3, -1]), [root, 2.0 * root, root / 2.0]);
    assert_eq!(bounds(2, [1, 3, 19]), [1.189207115002721, 1.6817928305074288, 26.90868528811886]);
    assert_eq!(
        bounds(3, [-7, -3, -1]),
        [0.5452538663326288, 0.7711054127039704, 0.9170040432046711]
    );
    assert_eq!(
        bounds(8, [-255, -127, -1]),
        [0.5013556375251013, 0.7090239421602076, 0.9972960560854698]
    );
}

#[test]
fn a_bucket_of_a_lower_resolution_holds_those_it_is_made_of() {
    let indices: Vec<i32> = (-3..=4).map(|index| bound::reduced(index, 1, 0)).collect();
    assert_eq!(indices, [-1, -1, 0, 0, 1, 1, 2, 2]);
    assert_eq!(bound::reduced(i32::MIN, 8, -4), (i32::MIN >> 12) + 1, "the least has none below");
}

#[test]
fn zero_buckets_meet_where_neither_cuts_a_bucket() {
    let narrow =
        of("count:7 z_bucket:1 z_bucket_w:0.1 buckets:[1 2] offset:0 n_buckets:[3] n_offset:0");
    let wide = of("count:5 z_bucket:5 z_bucket_w:0.7");
    // 0.7 lies within (0.5, 1], on both sides: the zero bucket has to reach to 1.
    let sum = plus(&narrow, &wide);
    assert_eq!(sum.to_string(), "{count:12, sum:0, [-1,1]:10, (1,2]:2}");
    assert!(sum.same(&plus(&wide, &narrow)));
}

#[test]
fn custom_histograms_meet_at_the_bounds_that_both_have() {
    let fine = of("schema:-53 count:10 custom_values:[1 2 3] buckets:[1 2 3 4]");
    let other = of("schema:-53 count:10 custom_values:[2 4] buckets:[5 2 3]");
    let mut sum = fine.clone();
    let merged = sum.add(&other).unwrap();
    assert!(merged.bounds_differed && !merged.hints_conflict);
    assert_eq!(sum.to_string(), "{count:20, sum:0, [-Inf,2]:8, (2,+Inf]:12}");
    let exponential = of("count:1");
    assert_eq!(sum.add(&exponential), Err(MixedBuckets));
    assert!(exponential.is_reset_after(&fine) && fine.is_reset_after(&exponential));
}

#[test]
fn hints_of_what_comes_together() {
    use ResetHint::{Gauge, No, Unknown, Yes};
    let cases = [
        (No, No, No, false),
        (Yes, No, Unknown, true),
        (Gauge, Yes, Gauge, false),
        (No, Gauge, Gauge, false),
        (Unknown, Yes, Unknown, false),
        (No, Unknown, Unknown, false),
    ];
    for (a, b, want, conflict) in cases {
        let mut sum = of("count:1").with_hint(a);
        let merged = sum.add(&of("count:1").with_hint(b)).unwrap();
        assert_eq!((sum.hint, merged.hints_conflict), (want, conflict), "{a:?} {b:?}");
    }
}

#[test]
fn a_store_knows_which_histogram_goes_on_from_the_one_before() {
    let hint =
        |before: &str, now: &str| stored_hint(Some(&of(before).to_stored()), &of(now).to_stored());
    assert_eq!(hint("count:1 buckets:[1]", "count:2 buckets:[2]"), ResetHint::No);
    assert_eq!(hint("count:2 buckets:[2]", "count:1 buckets:[1]"), ResetHint::Unknown);
    assert_eq!(hint("count:1 buckets:[1]", "count:9 buckets:[0 9]"), ResetHint::Unknown);
    assert_eq!(hint("schema:1 count:1", "count:2"), ResetHint::Unknown);
    assert_eq!(hint("count:1", "count:2 counter_reset_hint:gauge"), ResetHint::Gauge);
    assert_eq!(hint("count:1 counter_reset_hint:gauge", "count:2"), ResetHint::Unknown);
    assert_eq!(hint("count:1", "count:2 counter_reset_hint:reset"), ResetHint::Unknown);
    assert_eq!(hint("count:1", "count:2 counter_reset_hint:not_reset"), ResetHint::No);
    assert_eq!(
        stored_hint(None, &of("counter_reset_hint:not_reset").to_stored()),
        ResetHint::Unknown
    );
}

#[test]
fn what_rounding_takes_from_a_sum_comes_back() {
    let (one, huge) =
        (of("count:1 sum:1 buckets:[1]"), of("count:1e100 sum:1e100 buckets:[1e100]"));
    let mut less = huge.clone();
    less.scale(-1.0);
    let mut sum = Summed::new(one.clone());
    for of in [&huge, &one, &less] {
        sum.add(of).unwrap();
    }
    assert_eq!(sum.total().to_string(), "{count:2, sum:2, (0.5,1]:2}");
}
