//! Fields of messages over borrowed bytes: those that occur once, those that repeat, and numbers that
//! may be packed.
//!
//! Reading a message goes over its fields once and keeps slices of what is inside; what repeats is a
//! [`Repeated`], which goes over the fields again when it is asked for. So nothing is allocated, and
//! the order of fields, which protobuf leaves to the sender, does not matter. Of a field that occurs
//! twice and should not, the last one counts.

use super::Error;
use crate::protobuf::{Cursor, ProtobufError, WireType};

/// What all of these messages are read with.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// A field that occurs any number of times in a message.
#[derive(Clone, Copy, Debug)]
pub struct Repeated<'a> {
    message: &'a [u8],
    number: u32,
}

impl<'a> Repeated<'a> {
    pub(super) fn new(message: &'a [u8], number: u32) -> Self {
        Self { message, number }
    }

    /// The messages, undecoded. Ends after an error.
    pub(super) fn messages(self) -> impl Iterator<Item = Result<&'a [u8]>> {
        let mut cursor = Cursor::new(self.message);
        std::iter::from_fn(move || {
            let next = next_bytes(&mut cursor, self.number);
            if next.is_err() {
                cursor.rest = &[];
            }
            next.transpose()
        })
    }
}

fn next_bytes<'a>(cursor: &mut Cursor<'a>, wanted: u32) -> Result<Option<&'a [u8]>> {
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.key()?;
        if number == wanted {
            return Ok(Some(cursor.expect_bytes(number, wire_type)?));
        }
        cursor.skip(number, wire_type)?;
    }
    Ok(None)
}

/// Numbers that repeat in a message, packed or one by one.
#[derive(Clone, Debug)]
pub struct Numbers<'a> {
    rest: Cursor<'a>,
    packed: Cursor<'a>,
    number: u32,
    element: WireType,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(message: &'a [u8], number: u32, element: WireType) -> Self {
        Self { rest: Cursor::new(message), packed: Cursor::new(&[]), number, element }
    }

    fn read(&mut self) -> Result<Option<u64>> {
        loop {
            if !self.packed.is_empty() {
                return one(&mut self.packed, self.element).map(Some);
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let (number, wire_type) = self.rest.key()?;
            if number != self.number {
                self.rest.skip(number, wire_type)?;
            } else if wire_type == WireType::Bytes {
                self.packed = Cursor::new(self.rest.bytes()?);
            } else if wire_type == self.element {
                return one(&mut self.rest, self.element).map(Some);
            } else {
                return Err(ProtobufError::WireType(number).into());
            }
        }
    }
}

fn one(cursor: &mut Cursor<'_>, element: WireType) -> Result<u64> {
    Ok(if element == WireType::Varint { cursor.varint()? } else { cursor.fixed64()? })
}

/// Each number's bits. Ends after an error.
impl Iterator for Numbers<'_> {
    type Item = Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read();
        if next.is_err() {
            (self.rest, self.packed) = (Cursor::new(&[]), Cursor::new(&[]));
        }
        next.transpose()
    }
}

/// Goes over the fields of a message; `visit` takes those it knows and returns `false` for others.
pub(super) fn each_field<'a>(
    message: &'a [u8],
    mut visit: impl FnMut(&mut Cursor<'a>, u32, WireType) -> Result<bool>,
) -> Result<()> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.key()?;
        if !visit(&mut cursor, number, wire_type)? {
            cursor.skip(number, wire_type)?;
        }
    }
    Ok(())
}

/// A fixed 64-bit field.
pub(super) fn fixed64(cursor: &mut Cursor<'_>, number: u32, wire_type: WireType) -> Result<u64> {
    Ok(cursor.expect_double(number, wire_type)?.to_bits())
}

pub(super) fn zigzag(varint: u64) -> i32 {
    // A 32-bit field that was sent with more keeps its low half, as protobuf has it.
    let [a, b, c, d, ..] = varint.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    (low >> 1).cast_signed() ^ -((low & 1).cast_signed())
}
