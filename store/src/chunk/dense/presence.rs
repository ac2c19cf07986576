//! What of a dense chunk says whether its samples are stale markers, without their values.
//!
//! Not here: which of them are wanted (`sstable/chunks.rs`).

use super::{CONSTANT, HAS_ODD, HAS_STARTS, INTEGERS, METHOD, RAW, read_odd};
use crate::bytes::{Damaged, Input};
use model::sample::STALE_NAN_BITS;

/// The places and bits of the values of a chunk of `count` samples that may be stale markers, if all
/// others are none; `None` if only decoding them tells.
pub(crate) fn odd_values(bytes: &[u8], count: usize) -> Result<Option<Vec<(usize, u64)>>, Damaged> {
    let mut input = Input::new(bytes);
    let flags = input.u8()?;
    if flags & HAS_STARTS != 0 {
        let len = input.count(1)?;
        input.take(len)?;
    }
    match flags & METHOD {
        // One value for all, which an exponent says is a decimal.
        CONSTANT if input.u8()? != RAW => Ok(Some(Vec::new())),
        CONSTANT => Ok((input.u64()? != STALE_NAN_BITS).then(Vec::new)),
        INTEGERS => {
            input.u8()?;
            let has_odd = flags & HAS_ODD != 0;
            Ok(Some(if has_odd { read_odd(&mut input, count)? } else { Vec::new() }))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::dense::encode;
    use model::sample::{is_stale, stale_marker};
    use proptest::prelude::*;

    #[test]
    fn a_chunk_of_integers_says_where_its_stale_markers_are_with_starts_or_without() {
        let mut values: Vec<f64> = (0_u32..300).map(|at| f64::from(at * at)).collect();
        for starts in [vec![], vec![7; 300]] {
            let none = encode(&values, &starts, None).bytes;
            assert_eq!(odd_values(&none, 300), Ok(Some(Vec::new())));
        }
        (values[0], values[299]) = (stale_marker(), stale_marker());
        let some = encode(&values, &[7; 300], None).bytes;
        let marks = vec![(0, STALE_NAN_BITS), (299, STALE_NAN_BITS)];
        assert_eq!(odd_values(&some, 300), Ok(Some(marks)));
        assert!(odd_values(&some, 299).is_err(), "one of them lies beyond the chunk");
        let ended = encode(&[stale_marker(); 9], &[], None).bytes;
        assert_eq!(odd_values(&ended, 9), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_told_without_decoding_is_so(
            values in prop::collection::vec(
                prop_oneof![
                    9 => (0_u32..50).prop_map(f64::from),
                    1 => prop_oneof![Just(stale_marker()), Just(f64::NAN), Just(0.1 + 0.2)],
                ],
                1..200,
            ),
            cut in 0_usize..400,
        ) {
            let bytes = encode(&values, &[], None).bytes;
            if let Some(odd) = odd_values(&bytes, values.len()).unwrap() {
                for (place, value) in values.iter().enumerate() {
                    let is_told = odd.contains(&(place, STALE_NAN_BITS));
                    prop_assert_eq!(is_told, is_stale(*value), "{}", place);
                }
            }
            // Damage is told, not met.
            let _ = odd_values(&bytes[..cut.min(bytes.len())], values.len());
        }
    }
}
