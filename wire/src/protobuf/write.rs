//! Puts protobuf fields behind one another: for messages that are made here.

/// A signed number so that small ones of either sign are short.
pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1).cast_unsigned() ^ (number >> 63).cast_unsigned()
}

/// A field that is a varint, also if it is 0.
pub(crate) fn push_number(number: u8, value: u64, into: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3, into);
    push_varint(value, into);
}

/// A field that is a double, also if it is 0.
pub(crate) fn push_double(number: u8, value: f64, into: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | 1, into);
    into.extend_from_slice(&value.to_le_bytes());
}

/// A field that is a length and as many bytes.
pub(crate) fn push_bytes(number: u8, bytes: &[u8], into: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | 2, into);
    push_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

/// A number, seven bits a byte, the lowest first.
pub(crate) fn push_varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}

/// How many bytes a varint takes.
pub(crate) fn varint_len(number: u64) -> u64 {
    u64::from(64 - (number | 1).leading_zeros()).div_ceil(7)
}
