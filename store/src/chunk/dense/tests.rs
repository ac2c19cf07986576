//! The dense encoding: every bit comes back, whatever the method.

use super::*;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (-1000_i32..1000).prop_map(|n| f64::from(n).to_bits()),
        (0_i32..100_000).prop_map(|n| (f64::from(n) / 1000.0).to_bits()),
        Just(model::sample::STALE_NAN_BITS),
        Just((-0.0_f64).to_bits()),
        Just(1_u64),
    ]
}

/// Values of every kind that a chunk may turn out to be.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let counter = prop::collection::vec(0_u32..500, 1..1100).prop_map(|steps| {
        let mut sum = 0_u32;
        let step = |step| {
            sum += step;
            (f64::from(sum) / 100.0).to_bits()
        };
        steps.into_iter().map(step).collect::<Vec<_>>()
    });
    let sparse = prop::collection::vec(0_u32..60, 1..1100).prop_map(|draws| {
        let mut sum = 0_u32;
        let step = |draw| {
            sum += u32::from(draw == 0);
            f64::from(sum).to_bits()
        };
        draws.into_iter().map(step).collect::<Vec<_>>()
    });
    let constant = (value(), 1_usize..600).prop_map(|(bits, len)| vec![bits; len]);
    let others = prop::collection::vec(value(), 1..600);
    let base = prop_oneof![counter, sparse, constant, others];
    let odd = prop::collection::vec((any::<prop::sample::Index>(), value()), 0..3);
    (base, odd).prop_map(|(mut bits, odd)| {
        for (index, value) in odd {
            let index = index.index(bits.len());
            bits[index] = value;
        }
        bits.into_iter().map(f64::from_bits).collect()
    })
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn range(len: usize, ends: (prop::sample::Index, prop::sample::Index)) -> Range<usize> {
    let (a, b) = (ends.0.index(len + 1), ends.1.index(len + 1));
    a.min(b)..a.max(b)
}

proptest! {
    #[test]
    fn any_range_of_any_values_comes_back_bit_for_bit(
        values in values(),
        start in prop_oneof![Just(0_i64), any::<i64>()],
        ends: (prop::sample::Index, prop::sample::Index),
    ) {
        let starts: Vec<i64> = (0..).take(values.len()).map(|i: i64| start.wrapping_add(i % 3 * start.signum())).collect();
        let coded = encode(&values, &starts, None);
        let places = range(values.len(), ends);
        let (mut back, mut back_starts) = (Vec::new(), Vec::new());
        let ask = Ask { count: values.len(), places: places.clone(), is_difference: false };
        let known = Decoder::default().decode(&coded.bytes, &ask, &mut back, &mut back_starts).unwrap();
        prop_assert_eq!(bits(&back), bits(&values[places.clone()]));
        prop_assert!(known == Known::Nothing || !back.iter().any(|value| value.is_nan()));
        prop_assert!(known != Known::Ascends || back.is_sorted());
        back_starts.resize(back.len(), 0);
        prop_assert_eq!(&back_starts, &starts[places]);
    }

    #[test]
    fn buckets_come_back_out_of_their_differences(
        steps in prop::collection::vec((0_u32..7, 0_u32..5, 0_u32..3), 2..1200),
        odd: prop::sample::Index,
        ends: (prop::sample::Index, prop::sample::Index),
    ) {
        let mut sums = [0_u32; 3];
        let mut columns = [Vec::new(), Vec::new(), Vec::new()];
        for (a, b, c) in &steps {
            sums = [sums[0] + a, sums[1] + a + b, sums[2] + a + b + c];
            for (column, sum) in columns.iter_mut().zip(sums) {
                column.push(f64::from(sum));
            }
        }
        let odd = odd.index(steps.len());
        columns[1][odd] = f64::from_bits(model::sample::STALE_NAN_BITS);
        let places = range(steps.len(), ends);
        let (mut decoder, mut before) = (Decoder::default(), None);
        for column in &columns {
            let coded = encode(column, &[], before.as_ref());
            let ask = Ask { count: column.len(), places: places.clone(), is_difference: coded.is_difference };
            let mut back = Vec::new();
            decoder.decode(&coded.bytes, &ask, &mut back, &mut Vec::new()).unwrap();
            prop_assert_eq!(bits(&back), bits(&column[places.clone()]));
            before = coded.decimals;
        }
    }

    #[test]
    fn damaged_bytes_are_decoded_or_refused(
        values in values(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
        count in 0_usize..70_000,
    ) {
        let mut bytes = encode(&values, &[], None).bytes;
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        for count in [values.len(), count] {
            let ask = Ask { count, places: 0..count, is_difference: false };
            let mut back = Vec::new();
            let _ = Decoder::default().decode(&bytes, &ask, &mut back, &mut Vec::new());
            prop_assert!(back.len() <= count);
            bytes.truncate(cut.index(bytes.len() + 1));
        }
    }

    #[test]
    fn any_bytes_are_values_or_refused(bytes: Vec<u8>, count in 0_usize..2000) {
        let ask = Ask { count, places: 0..count, is_difference: false };
        let mut back = Vec::new();
        let _ = Decoder::default().decode(&bytes, &ask, &mut back, &mut Vec::new());
        prop_assert!(back.len() <= count);
    }
}

#[test]
fn of_a_counter_is_known_that_it_ascends_and_of_a_gauge_that_it_has_no_marker() {
    let known = |values: &[f64]| {
        let coded = encode(values, &[], None);
        let ask = Ask { count: values.len(), places: 0..values.len(), is_difference: false };
        Decoder::default().decode(&coded.bytes, &ask, &mut Vec::new(), &mut Vec::new()).unwrap()
    };
    let steps = (0..700_u32).map(|n| f64::from(n * 7 + n * n % 5) / 10.0).collect::<Vec<_>>();
    let counter: Vec<f64> = steps.iter().map(|step| step * 9.0).map(f64::round).collect();
    assert_eq!(known(&counter), Known::Ascends);
    assert_eq!(known(&[3.0; 700]), Known::Ascends);
    let gauge: Vec<f64> = (0..700_u32).map(|n| f64::from(n * 7919 % 101)).collect();
    assert_eq!(known(&gauge), Known::NoNan);
    let mut marked = counter;
    marked[500] = f64::from_bits(model::sample::STALE_NAN_BITS);
    assert_eq!(known(&marked), Known::Nothing);
}
