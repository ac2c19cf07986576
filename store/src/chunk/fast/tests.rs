//! The fast encoding: every bit comes back, and any bytes are decoded or refused.

use super::*;
use model::Sample;
use proptest::prelude::*;

fn round_trip(samples: &[(i64, u64, i64)]) {
    let mut encoder = Encoder::default();
    for (timestamp_ms, bits, start_ms) in samples {
        encoder.push(*timestamp_ms, f64::from_bits(*bits), *start_ms);
    }
    let Some(chunk) = encoder.seal(0) else {
        assert!(samples.is_empty());
        return;
    };
    let mut back = Vec::new();
    chunk
        .head
        .decode(&chunk.bytes, |timestamp_ms, value, start_ms| {
            back.push((timestamp_ms, value.to_bits(), start_ms));
            true
        })
        .unwrap();
    assert_eq!(back, samples);
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (-1000_i32..1000).prop_map(|n| f64::from(n).to_bits()),
        (0_i32..100_000).prop_map(|n| (f64::from(n) / 1000.0).to_bits()),
        Just(model::sample::STALE_NAN_BITS),
        Just((-0.0_f64).to_bits()),
        Just(f64::NAN.to_bits()),
        Just(1.0_f64.to_bits()),
    ]
}

proptest! {
    #[test]
    fn decoding_gives_every_bit_back(
        samples in prop::collection::vec(
            (prop_oneof![Just(15_000_i64), 1..100_000_i64, any::<i64>()], value(),
             prop_oneof![9 => Just(7_i64), 1 => any::<i64>()]),
            0..300,
        )
    ) {
        let mut time = 0_i64;
        let samples: Vec<_> = samples
            .into_iter()
            .map(|(step, bits, start)| {
                time = time.wrapping_add(step);
                (time, bits, start)
            })
            .collect();
        round_trip(&samples);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, count in 0_u32..10_000, first: i64) {
        let mut seen = 0;
        let _ = decode(&bytes, first, count, |_, _, _| { seen += 1; true });
        prop_assert!(seen <= count);
        let (mut timestamps_ms, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut columns = Columns {
            timestamps_ms: &mut timestamps_ms,
            values: &mut values,
            starts: &mut starts,
            start_ms: i64::MIN,
            end_ms: i64::MAX,
        };
        let _ = decode_columns(&bytes, first, count, &mut columns);
        prop_assert!(values.len() <= count as usize && values.len() == timestamps_ms.len());
    }

    #[test]
    fn columns_get_what_each_visit_gets(
        samples in prop::collection::vec((1_i64..4, 0_u8..3, 0_i64..2), 1..200),
        start_ms in -10_i64..400,
        len in 0_i64..400,
    ) {
        let mut encoder = Encoder::default();
        let mut at = 0;
        for (step, value, start) in samples {
            at += if step == 3 { 7 } else { 1 };
            encoder.push(at, f64::from(value / 2), start / 2 * 5);
        }
        let chunk = encoder.seal(0).unwrap();
        let end_ms = start_ms + len;
        let mut expected = Vec::new();
        chunk.head.decode(&chunk.bytes, |at, value, start| {
            if (start_ms..end_ms).contains(&at) {
                expected.push((at, value, start));
            }
            true
        }).unwrap();
        let (mut timestamps_ms, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut columns = Columns {
            timestamps_ms: &mut timestamps_ms,
            values: &mut values,
            starts: &mut starts,
            start_ms,
            end_ms,
        };
        decode_columns(&chunk.bytes, chunk.head.first_ms, chunk.head.count, &mut columns).unwrap();
        starts.resize(values.len(), 0);
        let found: Vec<_> = timestamps_ms.into_iter().zip(values).zip(starts)
            .map(|((at, value), start)| (at, value, start)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_constant_costs_next_to_nothing_and_a_counter_about_a_byte() {
    let size = |value: &dyn Fn(i32) -> f64| {
        let samples: Vec<Sample> = (0..240)
            .map(|i| Sample {
                timestamp_ms: i64::from(i) * 15_000,
                value: value(i),
                start_timestamp_ms: 0,
                revision: 0,
            })
            .collect();
        Chunk::of(&samples).unwrap().bytes.len()
    };
    assert!(size(&|_| 12_345_678.0) < 20);
    assert!(size(&|i| f64::from(i * 7)) < 250);
    assert!(size(&|i| f64::from(i * 123) / 100.0) < 490);
    assert!(size(&|i| f64::from(i).sqrt()) < 240 * 9);
}
