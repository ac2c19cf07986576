//! Labels as they were sent: spelled out (1.0), or as references to symbols (2.0).
//!
//! Either way they are the fields number 1 of a message, so a slice of the message stands for them.

use super::Error;
use super::symbols::Symbols;
use crate::protobuf::{Cursor, ProtobufError, WireType, low32};

/// The labels of a series or of an exemplar, undecoded.
#[derive(Clone, Copy, Debug)]
pub struct RawLabels<'a> {
    bytes: &'a [u8],
    symbols: Option<Symbols<'a>>,
}

impl<'a> RawLabels<'a> {
    /// Over what [`leading_labels`] gives, or any message that has its labels in field 1; other
    /// fields are passed. With `symbols` they are references.
    ///
    /// [`leading_labels`]: super::SeriesView::leading_labels
    #[must_use]
    pub fn new(bytes: &'a [u8], symbols: Option<Symbols<'a>>) -> Self {
        Self { bytes, symbols }
    }

    /// Name and value of each label, as sent: not yet known to be UTF-8. Ends after an error.
    #[must_use]
    pub fn iter(&self) -> LabelIter<'a> {
        LabelIter { labels: *self, pieces: self.pieces() }
    }

    /// Each label undecoded. Ends after an error.
    #[inline]
    #[must_use]
    pub fn pieces(&self) -> PieceIter<'a> {
        PieceIter(match self.symbols {
            None => Form::Spelled(Cursor::new(self.bytes)),
            Some(_) => Form::Referred(ReferenceIter::new(self.bytes)),
        })
    }

    /// Name and value of one of its pieces.
    ///
    /// # Errors
    /// [`Error`] if it is no message, or refers to a symbol that does not exist.
    #[inline]
    pub fn label(&self, piece: Piece<'a>) -> Result<(&'a [u8], &'a [u8]), Error> {
        match (piece, self.symbols) {
            (Piece::Spelled(message), _) => Ok(spelled(Cursor::new(message))?),
            (Piece::Referred(name, value), Some(symbols)) => {
                Ok((symbols.get(name)?, symbols.get(value)?))
            }
            (Piece::Referred(..), None) => Err(Error::OddReferences),
        }
    }
}

impl<'a> IntoIterator for RawLabels<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Error>;
    type IntoIter = LabelIter<'a>;

    fn into_iter(self) -> LabelIter<'a> {
        self.iter()
    }
}

/// A label's name and value, as sent.
type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// A label, undecoded. Equal pieces of one request are equal labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Its message.
    Spelled(&'a [u8]),
    /// The places of the symbols of its name and of its value.
    Referred(u32, u32),
}

/// The labels out of their raw bytes.
#[derive(Clone, Debug)]
pub struct LabelIter<'a> {
    labels: RawLabels<'a>,
    pieces: PieceIter<'a>,
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = Result<RawLabel<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.pieces.next()?.and_then(|piece| self.labels.label(piece));
        if label.is_err() {
            self.pieces.end();
        }
        Some(label)
    }
}

/// The pieces of raw labels.
#[derive(Clone, Debug)]
pub struct PieceIter<'a>(Form<'a>);

#[derive(Clone, Debug)]
enum Form<'a> {
    Spelled(Cursor<'a>),
    Referred(ReferenceIter<'a>),
}

impl<'a> PieceIter<'a> {
    #[inline]
    fn read(&mut self) -> Result<Option<Piece<'a>>, Error> {
        match &mut self.0 {
            Form::Spelled(fields) => Ok(message(fields)?.map(Piece::Spelled)),
            Form::Referred(references) => {
                let Some(name) = references.next() else { return Ok(None) };
                let value = references.next().ok_or(Error::OddReferences)?;
                Ok(Some(Piece::Referred(name?, value?)))
            }
        }
    }

    fn end(&mut self) {
        self.0 = Form::Spelled(Cursor::new(&[]));
    }
}

impl<'a> Iterator for PieceIter<'a> {
    type Item = Result<Piece<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.read();
        if piece.is_err() {
            self.end();
        }
        piece.transpose()
    }
}

/// The message of the next label that is spelled out.
#[inline]
fn message<'a>(fields: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, ProtobufError> {
    while !fields.is_empty() {
        match fields.key()? {
            (number @ 1, wire_type) => return fields.expect_bytes(number, wire_type).map(Some),
            (number, wire_type) => fields.skip(number, wire_type)?,
        }
    }
    Ok(None)
}

/// A label that is spelled out.
#[inline]
fn spelled(mut label: Cursor<'_>) -> Result<RawLabel<'_>, ProtobufError> {
    let (mut name, mut value): RawLabel<'_> = (b"", b"");
    while !label.is_empty() {
        let (number, wire_type) = label.key()?;
        match number {
            1 => name = label.expect_bytes(number, wire_type)?,
            2 => value = label.expect_bytes(number, wire_type)?,
            _ => label.skip(number, wire_type)?,
        }
    }
    Ok((name, value))
}

/// The references out of raw labels, whose list may be packed or not, whole or in pieces.
#[derive(Clone, Debug)]
pub struct ReferenceIter<'a> {
    fields: Cursor<'a>,
    /// What is left of the packed list that was begun.
    packed: Cursor<'a>,
}

impl<'a> ReferenceIter<'a> {
    /// Over the raw labels of a 2.0 message; fields of other numbers are passed.
    #[inline]
    #[must_use]
    pub fn new(raw: &'a [u8]) -> Self {
        Self { fields: Cursor::new(raw), packed: Cursor::new(&[]) }
    }

    #[inline]
    fn read(&mut self) -> Result<Option<u32>, ProtobufError> {
        while self.packed.is_empty() {
            if self.fields.is_empty() {
                return Ok(None);
            }
            match self.fields.key()? {
                (1, WireType::Bytes) => self.packed = Cursor::new(self.fields.bytes()?),
                (1, WireType::Varint) => return Ok(Some(low32(self.fields.varint()?))),
                (1, _) => return Err(ProtobufError::WireType(1)),
                (number, wire_type) => self.fields.skip(number, wire_type)?,
            }
        }
        self.packed.varint().map(|varint| Some(low32(varint)))
    }
}

impl Iterator for ReferenceIter<'_> {
    type Item = Result<u32, ProtobufError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let reference = self.read();
        if reference.is_err() {
            (self.fields.rest, self.packed.rest) = (&[], &[]);
        }
        reference.transpose()
    }
}
