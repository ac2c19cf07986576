//! Chunks of floats: times by the change of their distance, values by their bits that changed.

use super::bits::{BitWriter, Changing, XorFloat, fits};

/// A chunk of these samples: as many times as values, at most 65,535.
pub(super) fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = u16::try_from(times.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(16 + 4 * times.len());
    bytes.extend_from_slice(&count.to_be_bytes());
    let mut out = BitWriter::after(bytes);
    let mut samples = times.iter().zip(values);
    let Some((first, value)) = samples.next() else { return out.finish() };
    out.varint(*first);
    let (mut time, mut value) = (Changing::starting(*first), XorFloat::start(*value, &mut out));
    for (index, (at, next)) in samples.enumerate() {
        let more = time.advance(*at);
        match index {
            0 => out.uvarint(more.cast_unsigned()),
            _ => push_time(more, &mut out),
        }
        value.write(*next, &mut out);
    }
    out.finish()
}

fn push_time(more: i64, out: &mut BitWriter) {
    let widths = [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)];
    if more == 0 {
        out.bit(false);
    } else if let Some((mark, len, width)) =
        widths.into_iter().find(|(_, _, width)| fits(more, *width))
    {
        out.bits(mark, len);
        out.bits(more.cast_unsigned(), width);
    } else {
        out.bits(0b1111, 4);
        out.bits(more.cast_unsigned(), 64);
    }
}
