//! Decimals: which floats are a small integer divided by a power of ten, bit for bit.
//!
//! Most metrics are written by people or by counters: 17, 0.25, 1234.567. As integers their
//! differences are short. A float for which no exponent fits is left as it is.

/// The largest exponent tried. 10^15 is the largest power below the mantissa's bound.
pub(crate) const EXPONENT_MAX: u8 = 12;

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Adding it rounds a float of less than 2^51 to an integer, to nearest, ties to even.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const MANTISSA_MAX: f64 = 2_251_799_813_685_248.0;

/// The integer `m` with `m / 10^exponent == value`, to the bit, if there is one below 2^51.
#[inline]
pub(crate) fn mantissa(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[usize::from(exponent & 15)];
    let scaled = value * power;
    if scaled.is_nan() || scaled.abs() >= MANTISSA_MAX {
        return None;
    }
    let rounded = (scaled + ROUNDER) - ROUNDER;
    // A negative zero comes out as a positive one, so its bits differ and it is no decimal.
    #[expect(clippy::cast_possible_truncation, reason = "it is an integer below 2^51")]
    let integer = rounded as i64;
    (float(integer, exponent).to_bits() == value.to_bits()).then_some(integer)
}

/// `mantissa / 10^exponent`, rounded once. Any bits are fine.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "a mantissa that was found lies below 2^51")]
pub(crate) fn float(mantissa: i64, exponent: u8) -> f64 {
    mantissa as f64 / POWERS[usize::from(exponent & 15)]
}

/// Appends the floats of mantissas, which are below 2^51; others come out as some float.
pub(crate) fn extend_floats(mantissas: &[i64], exponent: u8, into: &mut Vec<f64>) {
    match exponent {
        // A division costs more than all the rest.
        0 => into.extend(mantissas.iter().map(|mantissa| converted(*mantissa))),
        _ => {
            let power = POWERS[usize::from(exponent & 15)];
            into.extend(mantissas.iter().map(|mantissa| converted(*mantissa) / power));
        }
    }
}

/// `mantissa as f64` of one below 2^51, several at once where the processor has no instruction for
/// that: the lowest bits of a float between 2^52 and 2^53 count its units.
#[inline]
fn converted(mantissa: i64) -> f64 {
    f64::from_bits(ROUNDER.to_bits().wrapping_add(mantissa.cast_unsigned())) - ROUNDER
}

/// The smallest exponent that fits, and its mantissa.
pub(crate) fn smallest(value: f64) -> Option<(u8, i64)> {
    (0..=EXPONENT_MAX).find_map(|e| mantissa(value, e).map(|m| (e, m)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_with_few_digits_is_a_decimal() {
        assert_eq!(smallest(0.25), Some((2, 25)));
        assert_eq!(smallest(-1234.567), Some((3, -1_234_567)));
        assert_eq!(smallest(0.0), Some((0, 0)));
        assert_eq!(smallest(1e15), Some((0, 1_000_000_000_000_000)));
    }

    #[test]
    fn what_would_lose_a_bit_is_none() {
        let odd = [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1 + 0.2, f64::MIN_POSITIVE];
        for value in odd {
            assert_eq!(smallest(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_mantissa_gives_the_float_back(bits: u64, exponent in 0..=EXPONENT_MAX) {
            let value = f64::from_bits(bits);
            if let Some(integer) = mantissa(value, exponent) {
                prop_assert_eq!(float(integer, exponent).to_bits(), bits);
            }
        }

        #[test]
        fn mantissas_become_floats_many_at_a_time_as_one_by_one(
            mantissas in prop::collection::vec(-(1_i64 << 51) + 1..1 << 51, 0..70),
            small in prop::collection::vec(-9_i64..9, 0..70),
            exponent in 0..=EXPONENT_MAX,
        ) {
            let mantissas = [mantissas, small].concat();
            let mut floats = Vec::new();
            extend_floats(&mantissas, exponent, &mut floats);
            let expected = mantissas.iter().map(|m| float(*m, exponent).to_bits());
            prop_assert!(floats.iter().map(|float| float.to_bits()).eq(expected));
        }
    }
}
