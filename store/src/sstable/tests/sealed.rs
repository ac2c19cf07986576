//! Sealed files: as documented, as good as their unsealed twins, and damaged.

use super::{Series, every_changed_byte_is_found_out, open, select, ups, write};
use crate::bytes::{documented, dump};
use crate::manifest::sstable_path;
use crate::sim::SimDisk;
use crate::sstable::writer::Encoding;
use model::sample::STALE_NAN_BITS;
use model::{Matcher, Sample, SeriesColumns, TimeRange, TimestampMs};
use proptest::prelude::*;

fn label(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A histogram's two buckets, and a gauge that ends with a stale marker.
fn example() -> Series {
    let times = (0..150_u32).map(|i| i64::from(i) * 15_000);
    let of = |values: &dyn Fn(u32) -> f64| -> Vec<Sample> {
        let sample = |(i, timestamp_ms)| Sample {
            timestamp_ms,
            value: values(i),
            start_timestamp_ms: 0,
            revision: 0,
        };
        (0..).zip(times.clone()).map(sample).collect()
    };
    let fast = |i: u32| i * 3 + i * i % 7;
    let stale = f64::from_bits(STALE_NAN_BITS);
    vec![
        (label(&[("__name__", "h_bucket"), ("le", "+Inf")]), of(&|i| f64::from(fast(i) + i / 2))),
        (label(&[("__name__", "h_bucket"), ("le", "1")]), of(&|i| f64::from(fast(i)))),
        (
            label(&[("__name__", "up")]),
            of(&|i| if i == 149 { stale } else { f64::from(i * i % 11) / 10.0 }),
        ),
    ]
}

#[test]
fn the_format_is_the_documented_one() {
    let disk = SimDisk::new(1);
    let meta = write(&disk, &example(), Encoding::Dense);
    let bytes = disk.bytes_of(&sstable_path(meta.id)).unwrap();
    assert_eq!(dump(&bytes), documented("a sealed sstable"));
    assert_eq!((meta.series, meta.samples), (3, 450));
}

#[test]
fn a_changed_byte_anywhere_is_found_out_and_never_a_wrong_answer() {
    let disk = SimDisk::new(1);
    let meta = write(&disk, &example(), Encoding::Dense);
    assert_eq!(every_changed_byte_is_found_out(&disk, &meta), 450);
}

#[test]
fn a_few_samples_sealed_read_as_before() {
    let (fast, sealed) = (SimDisk::new(1), SimDisk::new(2));
    let one = write(&fast, &ups(), Encoding::Fast);
    let other = write(&sealed, &ups(), Encoding::Dense);
    let (one, other) = (open(&fast, &one).unwrap(), open(&sealed, &other).unwrap());
    let all = |tables| bits(select(tables, Vec::new(), TimeRange::ALL).unwrap());
    assert_eq!(all(&one), all(&other));
}

/// What can be compared: NaN is like itself.
fn bits(series: Vec<SeriesColumns>) -> Vec<(String, Vec<i64>, Vec<u64>)> {
    let of = |series: SeriesColumns| {
        let values = series.floats.values.iter().map(|value| value.to_bits()).collect();
        (series.labels.to_string(), series.floats.timestamps_ms.to_vec(), values)
    };
    series.into_iter().map(of).collect()
}

/// How a series comes about: its times' jitter and gaps, its values, what is sent twice.
fn history() -> impl Strategy<Value = Vec<Sample>> {
    let step = prop_oneof![20 => Just(0_i64), 1 => -3_i64..4, 1 => 0_i64..200_000];
    let value = prop_oneof![
        8 => (0_u32..7).prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(f64::from_bits(STALE_NAN_BITS)),
    ];
    let one =
        (step, value, prop_oneof![9 => Just(0_u32), 1 => 0_u32..3], prop::bool::weighted(0.02));
    let start = prop_oneof![2 => Just(0_i64), 1 => any::<i64>()];
    (prop::collection::vec(one, 1..700), start, any::<bool>(), any::<bool>()).prop_map(
        |(steps, start, jitters, counts)| {
            let (mut at, mut sum, mut samples) = (80_000_000_i64, 0.0, Vec::new());
            for (step, value, revision, again) in steps {
                at += 15_000 + if jitters { step } else { 0 };
                sum = if counts && value.is_finite() { sum + value.abs().min(1e6) } else { value };
                let sample =
                    Sample { timestamp_ms: at, value: sum, start_timestamp_ms: start, revision };
                samples.push(sample);
                if again {
                    samples.push(Sample { value: 3.0, ..sample });
                }
            }
            samples
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_sealed_file_answers_as_its_unsealed_twin(
        histories in prop::collection::vec(history(), 1..5),
        spread in 0_u32..3,
        start in 79_000_000_i64..95_000_000,
        len in 0_i64..12_000_000,
        chosen in 0_usize..8,
    ) {
        // Buckets count what their lower neighbours count, at the same times.
        let mut series: Series = Vec::new();
        for (number, history) in histories.iter().enumerate() {
            let number = number.to_string();
            let buckets = ["0.5", "2", "10", "+Inf"].iter().zip(1..).take(spread as usize * 2);
            for (le, factor) in buckets {
                let pairs = label(&[("__name__", "h"), ("le", le), ("number", &number)]);
                let times = |sample: &Sample| Sample { value: sample.value * f64::from(factor), ..*sample };
                series.push((pairs, history.iter().map(times).collect()));
            }
            series.push((label(&[("__name__", "g"), ("number", &number)]), history.clone()));
        }
        let (fast, sealed) = (SimDisk::new(1), SimDisk::new(2));
        let (one, other) = (write(&fast, &series, Encoding::Fast), write(&sealed, &series, Encoding::Dense));
        let (one, other) = (open(&fast, &one).unwrap(), open(&sealed, &other).unwrap());
        let one_bucket = vec![Matcher::equal("__name__", "h"), Matcher::equal("le", ["0.5", "2", "10", "+Inf"][chosen % 4])];
        let range = TimeRange { start: TimestampMs(start), end: TimestampMs(start + len) };
        for range in [TimeRange::ALL, range] {
            for matchers in [Vec::new(), one_bucket.clone()] {
                let ask = |tables| bits(select(tables, matchers.clone(), range).unwrap());
                prop_assert_eq!(ask(&one), ask(&other));
            }
        }
    }
}
