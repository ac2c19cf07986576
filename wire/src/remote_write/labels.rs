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
        let form = match self.symbols {
            None => Form::Spelled(Cursor::new(self.bytes)),
            Some(symbols) => Form::Referred(ReferenceIter::new(self.bytes), symbols),
        };
        LabelIter { form }
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

/// The labels out of their raw bytes.
#[derive(Clone, Debug)]
pub struct LabelIter<'a> {
    form: Form<'a>,
}

#[derive(Clone, Debug)]
enum Form<'a> {
    Spelled(Cursor<'a>),
    Referred(ReferenceIter<'a>, Symbols<'a>),
}

impl<'a> LabelIter<'a> {
    fn read(&mut self) -> Result<Option<RawLabel<'a>>, Error> {
        let (references, symbols) = match &mut self.form {
            Form::Spelled(fields) => return Ok(spelled(fields)?),
            Form::Referred(references, symbols) => (references, symbols),
        };
        let Some(name) = references.next() else { return Ok(None) };
        let value = references.next().ok_or(Error::OddReferences)?;
        Ok(Some((symbols.get(name?)?, symbols.get(value?)?)))
    }
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.read();
        if label.is_err() {
            self.form = Form::Spelled(Cursor::new(&[]));
        }
        label.transpose()
    }
}

/// The next label that is spelled out.
fn spelled<'a>(fields: &mut Cursor<'a>) -> Result<Option<RawLabel<'a>>, ProtobufError> {
    let mut label = loop {
        if fields.is_empty() {
            return Ok(None);
        }
        match fields.key()? {
            (number @ 1, wire_type) => break Cursor::new(fields.expect_bytes(number, wire_type)?),
            (number, wire_type) => fields.skip(number, wire_type)?,
        }
    };
    let (mut name, mut value): RawLabel<'_> = (b"", b"");
    while !label.is_empty() {
        let (number, wire_type) = label.key()?;
        match number {
            1 => name = label.expect_bytes(number, wire_type)?,
            2 => value = label.expect_bytes(number, wire_type)?,
            _ => label.skip(number, wire_type)?,
        }
    }
    Ok(Some((name, value)))
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
