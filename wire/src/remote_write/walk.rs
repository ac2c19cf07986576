//! The way through a request, field by field, over borrowed bytes.
//!
//! Not here: what is in a series (`series.rs`).

use super::metadata::MetadataView;
use super::series::SeriesView;
use super::{Error, Version};
use crate::protobuf::Cursor;

/// Walks over the fields of a request.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    cursor: Cursor<'a>,
    len: usize,
    version: Version,
    saw_own: bool,
    saw_other: bool,
}

/// A field of a request.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// A series.
    Series(SeriesView<'a>),
    /// What a metric means; in 2.0 each series says so itself.
    Metadata(MetadataView<'a>),
}

impl<'a> Walk<'a> {
    /// At the beginning of a decoded body of this version.
    #[must_use]
    pub fn new(message: &'a [u8], version: Version) -> Self {
        let (cursor, len) = (Cursor::new(message), message.len());
        Self { cursor, len, version, saw_own: false, saw_other: false }
    }

    /// The next series or metadata; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Protobuf`], or at the end [`Error::OtherVersion`].
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, Error> {
        while !self.cursor.is_empty() {
            let (number, wire_type) = self.cursor.key()?;
            match (self.version, number) {
                (Version::One, 1) | (Version::Two, 5) => {
                    self.saw_own = true;
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    let offset = self.len - self.cursor.rest.len() - message.len();
                    let view = SeriesView { message, offset, version: self.version };
                    return Ok(Some(Field::Series(view)));
                }
                (Version::One, 3) => {
                    self.saw_own = true;
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    return Ok(Some(Field::Metadata(MetadataView::read(message)?)));
                }
                (version, _) => {
                    // Fields 4 and 5 are those of 2.0, where 1 to 3 are reserved.
                    let is_of_version_2 = matches!(number, 4 | 5);
                    let is_known = is_of_version_2 || matches!(number, 1 | 3);
                    let is_own = is_of_version_2 == (version == Version::Two);
                    self.saw_own |= is_known && is_own;
                    self.saw_other |= is_known && !is_own;
                    self.cursor.skip(number, wire_type)?;
                }
            }
        }
        if self.saw_other && !self.saw_own {
            return Err(Error::OtherVersion(self.version));
        }
        Ok(None)
    }
}
