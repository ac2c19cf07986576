//! The bytes of protobuf messages, as far as senders of metrics need them.

/// Appends a field of bytes, a text or a message.
pub(crate) fn push_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    push_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Appends a field of an integer.
pub(crate) fn push_uint(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3);
    push_varint(message, value);
}

/// Appends a field of eight bytes: a double or a `fixed64`.
pub(crate) fn push_eight(message: &mut Vec<u8>, field: u8, bytes: [u8; 8]) {
    message.push(field << 3 | 1);
    message.extend_from_slice(&bytes);
}

/// Appends an integer as seven bits a byte.
pub(crate) fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    message.push(value.to_le_bytes()[0]);
}

/// Takes a field of bytes off the front, whatever its number; `None` if there is none.
pub(crate) fn take_bytes<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (_, mut rest) = message.split_first()?;
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 28 {
            break;
        }
    }
    let (bytes, rest) = rest.split_at_checked(len)?;
    *message = rest;
    Some(bytes)
}
