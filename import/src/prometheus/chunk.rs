//! Chunks: the samples of one series, as Prometheus codes them.

use super::histogram;
use super::rows::Rows;
use crate::bits::{Bits, XorFloat};
use crate::bytes::{Bad, Input};
use model::Sample;

/// How a chunk is coded.
pub(super) mod encoding {
    pub(crate) const XOR: u8 = 1;
    pub(crate) const HISTOGRAM: u8 = 2;
    pub(crate) const FLOAT_HISTOGRAM: u8 = 3;
}

/// Decodes a chunk; its samples come behind those that are there. Returns whether the encoding is
/// known.
pub(super) fn decode(encoding: u8, data: &[u8], rows: &mut Rows) -> Result<bool, Bad> {
    match encoding {
        encoding::XOR => xor(data, &mut rows.floats)?,
        encoding::HISTOGRAM => histogram::integers(data, &mut rows.histograms)?,
        encoding::FLOAT_HISTOGRAM => histogram::floats(data, &mut rows.histograms)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn xor(data: &[u8], samples: &mut Vec<Sample>) -> Result<(), Bad> {
    let mut input = Input::new(data);
    let count = usize::from(input.u16()?);
    let mut bits = Bits::new(input.take(input.len())?);
    // A sample takes two bits at least.
    samples.reserve(count.min(bits.left() / 2 + 1));
    let (mut at, mut step, mut value) = (0_i64, 0_i64, XorFloat::default());
    for index in 0..count {
        match index {
            0 => {
                at = bits.varint()?;
                value = XorFloat::new(bits.f64()?);
            }
            1 => step = bits.uvarint()?.cast_signed(),
            _ => {
                let change = match bits.ones(4)? {
                    0 => 0,
                    1 => bits.signed(14)?,
                    2 => bits.signed(17)?,
                    3 => bits.signed(20)?,
                    _ => bits.bits(64)?.cast_signed(),
                };
                step = step.wrapping_add(change);
            }
        }
        if index > 0 {
            at = at.wrapping_add(step);
            value.read(&mut bits)?;
        }
        let value = value.value();
        samples.push(Sample { timestamp_ms: at, value, start_timestamp_ms: 0, revision: 0 });
    }
    Ok(())
}
