//! The protobuf wire format: keys, varints, lengths, and how to pass what is not known.
//!
//! Not here: making messages (`write.rs`).

pub(crate) mod write;

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// A field ends behind the end of its message.
    #[error("truncated message")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("varint too long")]
    Varint,
    /// A key without a field number or with a wire type that does not exist.
    #[error("invalid field key {0}")]
    Key(u64),
    /// A known field in another type's clothes.
    #[error("field {0} has the wrong wire type")]
    WireType(u32),
    /// A group that ends without a beginning, or nests too deep.
    #[error("invalid group")]
    Group,
}

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// Bytes not yet read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

/// Groups nest no deeper than this.
const GROUP_DEPTH_MAX: usize = 100;

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, ProtobufError> {
        match self.rest {
            [first @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            [first, second @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(first & 0x7f) | u64::from(*second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                // The tenth byte has room for one bit.
                if index == 9 && *byte > 1 {
                    return Err(ProtobufError::Varint);
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { ProtobufError::Truncated } else { ProtobufError::Varint })
    }

    /// The next field's number and wire type.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<(u32, WireType), ProtobufError> {
        let key = self.varint()?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(ProtobufError::Key(key)),
        };
        match u32::try_from(key) {
            Ok(key32) if key32 >= 8 => Ok((key32 >> 3, wire_type)),
            _ => Err(ProtobufError::Key(key)),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length and as many bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], ProtobufError> {
        let len = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Truncated)?;
        self.take(len)
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, ProtobufError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// The bytes of a known field, which has to be of wire type `Bytes`.
    #[inline]
    pub(crate) fn expect_bytes(
        &mut self,
        number: u32,
        wire_type: WireType,
    ) -> Result<&'a [u8], ProtobufError> {
        if wire_type == WireType::Bytes {
            self.bytes()
        } else {
            Err(ProtobufError::WireType(number))
        }
    }

    /// The varint of a known field.
    pub(crate) fn expect_varint(
        &mut self,
        number: u32,
        wire_type: WireType,
    ) -> Result<u64, ProtobufError> {
        if wire_type == WireType::Varint {
            self.varint()
        } else {
            Err(ProtobufError::WireType(number))
        }
    }

    /// The double of a known field.
    pub(crate) fn expect_double(
        &mut self,
        number: u32,
        wire_type: WireType,
    ) -> Result<f64, ProtobufError> {
        if wire_type == WireType::Fixed64 {
            self.fixed64().map(f64::from_bits)
        } else {
            Err(ProtobufError::WireType(number))
        }
    }

    /// Passes the value of a field that is not known.
    pub(crate) fn skip(&mut self, number: u32, wire_type: WireType) -> Result<(), ProtobufError> {
        match wire_type {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.take(8).map(drop),
            WireType::Bytes => self.bytes().map(drop),
            WireType::Fixed32 => self.take(4).map(drop),
            WireType::GroupEnd => Err(ProtobufError::Group),
            WireType::GroupStart => self.skip_group(number),
        }
    }

    /// Passes a group by counting, without recursion: its depth is the sender's choice.
    fn skip_group(&mut self, number: u32) -> Result<(), ProtobufError> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            match self.key()? {
                (number, WireType::GroupStart) if open.len() < GROUP_DEPTH_MAX => open.push(number),
                (_, WireType::GroupStart) => return Err(ProtobufError::Group),
                (number, WireType::GroupEnd) if number == innermost => drop(open.pop()),
                (_, WireType::GroupEnd) => return Err(ProtobufError::Group),
                (number, wire_type) => self.skip(number, wire_type)?,
            }
        }
        Ok(())
    }
}

/// The low half: what protobuf makes of a 32-bit field that was sent with more.
pub(crate) fn low32(varint: u64) -> u32 {
    let [a, b, c, d, ..] = varint.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
