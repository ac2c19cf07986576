//! Floats of a record, coded one by one, without the series' last value, so that a record can be
//! read without those before it:
//!
//! | code | operands | the value |
//! |---|---|---|
//! | `00..7f` | – | the integer |
//! | `80..bf` | n bytes | bits 5–4: exponent 0, 2, 3 or 6; bit 3: negative; bits 2–0: n − 1 |
//! | `c0..c7` | n bytes | the float's n high bytes, n = low 3 bits + 1; the others are 0 |
//! | `c8` | – | the value before |

use super::low_byte;
use crate::bytes::{Damaged, Input};
use crate::chunk::decimal;

const EXPONENTS: [u8; 4] = [0, 2, 3, 6];
const DECIMAL: u8 = 0x80;
const RAW: u8 = 0xc0;
const AGAIN: u8 = 0xc8;

#[inline]
pub(super) fn put_value(out: &mut Vec<u8>, value: f64, before: u64) {
    let bits = value.to_bits();
    if bits == before {
        out.push(AGAIN);
        return;
    }
    for (index, exponent) in EXPONENTS.iter().enumerate() {
        if let Some(mantissa) = decimal::mantissa(value, *exponent) {
            put_decimal(out, low_byte(index), mantissa);
            return;
        }
    }
    let zeros = bits.trailing_zeros().min(63) / 8;
    let bytes = bits.to_le_bytes();
    out.push(RAW | (7 - zeros.to_le_bytes()[0]));
    out.extend_from_slice(&bytes[zeros as usize..]);
}

#[inline]
fn put_decimal(out: &mut Vec<u8>, exponent_index: u8, mantissa: i64) {
    let magnitude = mantissa.unsigned_abs();
    if exponent_index == 0 && (0..0x80).contains(&mantissa) {
        out.push(magnitude.to_le_bytes()[0]);
        return;
    }
    let len = 8 - (magnitude | 1).leading_zeros() / 8;
    let sign = if mantissa < 0 { 8 } else { 0 };
    out.push(DECIMAL | exponent_index << 4 | sign | (len.to_le_bytes()[0] - 1));
    out.extend_from_slice(&magnitude.to_le_bytes()[..len as usize]);
}

#[inline]
pub(super) fn read_value(input: &mut Input<'_>, before: f64) -> Result<f64, Damaged> {
    let code = input.u8()?;
    match code {
        ..DECIMAL => Ok(f64::from(code)),
        DECIMAL..RAW => {
            let len = usize::from(code & 7) + 1;
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(input.take(len)?);
            let magnitude = u64::from_le_bytes(bytes).cast_signed();
            let mantissa = if code & 8 == 0 { magnitude } else { magnitude.wrapping_neg() };
            Ok(decimal::float(mantissa, EXPONENTS[usize::from(code >> 4 & 3)]))
        }
        RAW..AGAIN => {
            let len = usize::from(code & 7) + 1;
            let mut bytes = [0; 8];
            bytes[8 - len..].copy_from_slice(input.take(len)?);
            Ok(f64::from_bits(u64::from_le_bytes(bytes)))
        }
        AGAIN => Ok(before),
        _ => Err(Damaged("a value has an unknown code")),
    }
}
