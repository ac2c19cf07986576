use super::*;
use proptest::prelude::*;

#[test]
fn a_histogram_counts_as_many_samples_as_in_prometheus_by_its_spans_and_buckets() {
    assert_eq!(Histogram::stale().samples(), 11);
    let span = Span { offset: 0, length: 2 };
    let counts =
        Counts::Float { count: 3.0, zero_count: 0.0, positive: vec![1.0, 2.0], negative: vec![] };
    let mut histogram = Histogram { positive_spans: vec![span], counts, ..Histogram::stale() };
    assert_eq!(histogram.samples(), 12);
    histogram.custom_values = vec![0.5];
    assert_eq!(histogram.samples(), 13);
}

fn span_lists() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec((0_i32..5, 0_u32..4), 0..4).prop_map(|spans| {
        spans.into_iter().map(|(offset, length)| Span { offset, length }).collect()
    })
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(1.5), Just(0.0)]
}

pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
    let head = (-5_i8..9, float(), float(), 0_u8..4, any::<bool>());
    (head, span_lists(), span_lists(), prop::collection::vec(float(), 0..3), any::<u64>()).prop_map(
        |(head, positive_spans, negative_spans, custom_values, seed)| {
            let (schema, zero_threshold, sum, hint, is_float) = head;
            let of = |spans: &[Span]| {
                let len: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
                (0..len).map(|n| seed.rotate_left(7) >> (n % 60)).collect::<Vec<u64>>()
            };
            let floats = |ints: Vec<u64>| ints.into_iter().map(f64::from_bits).collect();
            let (positive, negative) = (of(&positive_spans), of(&negative_spans));
            let counts = match is_float {
                false => Counts::Integer { count: seed, zero_count: 3, positive, negative },
                true => Counts::Float {
                    count: 2.5,
                    zero_count: f64::from_bits(seed),
                    positive: floats(positive),
                    negative: floats(negative),
                },
            };
            let hints = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge];
            let reset_hint = hints[usize::from(hint)];
            Histogram {
                schema,
                zero_threshold,
                sum,
                reset_hint,
                positive_spans,
                negative_spans,
                custom_values,
                counts,
            }
        },
    )
}

proptest! {
    #[test]
    fn canonical_bytes_are_one_to_one_with_histograms(one in histogram(), byte: u8, at: prop::sample::Index) {
        let mut bytes = one.canonical();
        let mut left = &bytes[..];
        prop_assert_eq!(Histogram::read_canonical(&mut left).unwrap().canonical(), bytes.clone());
        prop_assert!(left.is_empty());
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let mut left = &bytes[..];
        if let Ok(read) = Histogram::read_canonical(&mut left) {
            let taken = bytes.len() - left.len();
            prop_assert_eq!(read.canonical(), &bytes[..taken]);
        }
        for len in 0..index {
            let _ = Histogram::read_canonical(&mut &bytes[..len]);
        }
    }
}

fn valid() -> Histogram {
    Histogram {
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 1, length: 1 }],
        sum: 4.0,
        counts: Counts::Integer {
            count: 7,
            zero_count: 1,
            positive: vec![1, 2, 3],
            negative: vec![],
        },
        ..Histogram::stale()
    }
}

fn custom(values: &[f64], offset: i32, buckets: &[u64]) -> Histogram {
    let length = u32::try_from(buckets.len()).unwrap();
    Histogram {
        schema: CUSTOM_BUCKETS,
        sum: 1.0,
        positive_spans: vec![Span { offset, length }],
        custom_values: values.to_vec(),
        counts: Counts::Integer {
            count: buckets.iter().sum(),
            zero_count: 0,
            positive: buckets.to_vec(),
            negative: vec![],
        },
        ..Histogram::stale()
    }
}

#[test]
fn a_histogram_is_refused_for_what_contradicts_itself() {
    assert_eq!(valid().validate(), Ok(()));
    assert_eq!(Histogram::stale().validate(), Ok(()));
    assert_eq!(custom(&[1.0, 2.0], 1, &[4, 5]).validate(), Ok(()));
    let bad = [
        Histogram { schema: 9, ..valid() },
        Histogram { schema: -5, ..valid() },
        Histogram { custom_values: vec![1.0], ..valid() },
        Histogram { positive_spans: vec![Span { offset: 0, length: 2 }], ..valid() },
        Histogram {
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: -1, length: 1 }],
            ..valid()
        },
        Histogram { positive_spans: vec![Span { offset: 0, length: u32::MAX }], ..valid() },
        custom(&[1.0, 2.0], 1, &[4, 5, 6]),
        custom(&[1.0, 2.0], -1, &[4]),
        custom(&[2.0, 2.0], 0, &[4]),
        custom(&[f64::INFINITY], 0, &[4]),
        Histogram { zero_threshold: 1.0, ..custom(&[1.0], 0, &[4]) },
    ];
    for one in bad {
        assert!(one.validate().is_err(), "{one:?}");
    }
    let mut short = valid();
    let Counts::Integer { count, .. } = &mut short.counts else { panic!() };
    *count = 8;
    assert!(short.validate().is_err());
    // Observations of NaN are in no bucket.
    short.sum = f64::NAN;
    assert_eq!(short.validate(), Ok(()));
}
