//! What a series has beside float samples: native histograms and exemplars, one after the other.

use super::exemplar::ExemplarView;
use super::histogram::HistogramView;
use super::{Error, Version};
use crate::protobuf::{Cursor, ProtobufError};

/// What a series has beside float samples.
#[derive(Clone, Debug)]
pub enum Extra<'a> {
    /// A native histogram.
    Histogram(Box<HistogramView>),
    /// An exemplar.
    Exemplar(ExemplarView<'a>),
}

/// The native histograms and exemplars of a series.
#[derive(Clone, Debug)]
pub struct ExtraIter<'a> {
    cursor: Cursor<'a>,
    version: Version,
}

impl<'a> ExtraIter<'a> {
    pub(super) fn new(message: &'a [u8], version: Version) -> Self {
        Self { cursor: Cursor::new(message), version }
    }

    fn read(&mut self) -> Result<Option<Extra<'a>>, ProtobufError> {
        while !self.cursor.is_empty() {
            let (number, wire_type) = self.cursor.key()?;
            match (self.version, number) {
                (Version::One, 3) | (Version::Two, 4) => {
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    return Ok(Some(Extra::Exemplar(ExemplarView::read(message)?)));
                }
                (Version::One, 4) | (Version::Two, 3) => {
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    return Ok(Some(Extra::Histogram(Box::new(HistogramView::read(message)?))));
                }
                _ => self.cursor.skip(number, wire_type)?,
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for ExtraIter<'a> {
    type Item = Result<Extra<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let extra = self.read();
        if extra.is_err() {
            self.cursor.rest = &[];
        }
        extra.map_err(Error::from).transpose()
    }
}
