//! One exemplar of either version, its labels undecoded.

use super::labels::RawLabels;
use super::symbols::Symbols;
use crate::protobuf::{Cursor, ProtobufError};

/// One exemplar of a series.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarView<'a> {
    message: &'a [u8],
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What was observed.
    pub value: f64,
}

impl<'a> ExemplarView<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ProtobufError> {
        let mut cursor = Cursor::new(message);
        let mut view = Self { message, timestamp_ms: 0, value: 0.0 };
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.key()?;
            match number {
                2 => view.value = cursor.expect_double(number, wire_type)?,
                3 => view.timestamp_ms = cursor.expect_varint(number, wire_type)?.cast_signed(),
                _ => cursor.skip(number, wire_type)?,
            }
        }
        Ok(view)
    }

    /// Its own labels; references if there are `symbols`.
    #[must_use]
    pub fn labels(&self, symbols: Option<Symbols<'a>>) -> RawLabels<'a> {
        RawLabels::new(self.message, symbols)
    }
}
