//! The way through a `WriteRequest`, field by field, over borrowed bytes.
//!
//! A series begins with its labels, as every known encoder writes it; then [`SeriesView`] gives
//! them as one slice of the body. Labels behind the samples are legal protobuf all the same: the
//! [`Tail`] tells of them, and [`SeriesView::gather_labels`] brings them together.

use super::Error;
use super::exemplar::ExemplarView;
use super::histogram::HistogramView;
use crate::protobuf::{Cursor, ProtobufError, WireType};
use model::mutation::MetricType;

/// The key byte of field 1 with a length: a label of a series.
const LABEL_KEY: u8 = 0x0a;
/// The key byte of field 2 with a length: a sample of a series.
const SAMPLE_KEY: u8 = 0x12;

/// Walks over the fields of a `WriteRequest`.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    cursor: Cursor<'a>,
    len: usize,
    saw_version1: bool,
    saw_version2: bool,
}

/// A field of a `WriteRequest`.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// A series.
    Series(SeriesView<'a>),
    /// What a metric means.
    Metadata(MetadataView<'a>),
}

impl<'a> Walk<'a> {
    /// At the beginning of a decoded body.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        let (cursor, len) = (Cursor::new(message), message.len());
        Self { cursor, len, saw_version1: false, saw_version2: false }
    }

    /// The next series or metadata; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Protobuf`], or at the end [`Error::OnlyVersion2Fields`].
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, Error> {
        while !self.cursor.is_empty() {
            let (number, wire_type) = self.cursor.key()?;
            match number {
                1 => {
                    self.saw_version1 = true;
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    let offset = self.len - self.cursor.rest.len() - message.len();
                    return Ok(Some(Field::Series(SeriesView { message, offset })));
                }
                3 => {
                    self.saw_version1 = true;
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    return Ok(Some(Field::Metadata(MetadataView::read(message)?)));
                }
                _ => {
                    self.saw_version2 |= matches!(number, 4 | 5);
                    self.cursor.skip(number, wire_type)?;
                }
            }
        }
        if self.saw_version2 && !self.saw_version1 {
            return Err(Error::OnlyVersion2Fields);
        }
        Ok(None)
    }
}

/// One `TimeSeries`, undecoded.
#[derive(Clone, Copy, Debug)]
pub struct SeriesView<'a> {
    message: &'a [u8],
    offset: usize,
}

/// Where the samples of a series go.
#[derive(Clone, Debug, Default)]
pub struct SampleColumns {
    /// When, in milliseconds since 1970.
    pub timestamps_ms: Vec<i64>,
    /// What.
    pub values: Vec<f64>,
}

/// What stood in a series beside the labels at its front and its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Whether there are native histograms or exemplars: [`SeriesView::extras`] has them.
    pub has_extras: bool,
    /// More labels, behind something that is no label.
    pub has_more_labels: bool,
}

impl<'a> SeriesView<'a> {
    /// The whole message.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// Where the message begins in the decoded body.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The first `len` bytes, if the labels could end there: nothing follows, or no label does.
    #[inline]
    #[must_use]
    pub fn labels_of_len(&self, len: usize) -> Option<&'a [u8]> {
        let (labels, rest) = self.message.split_at_checked(len)?;
        (rest.first() != Some(&LABEL_KEY)).then_some(labels)
    }

    /// The labels at the front, as sent: keys, lengths and all. Labels are passed by their length,
    /// not looked into.
    ///
    /// # Errors
    /// [`Error::Protobuf`] if a label ends behind the series.
    pub fn leading_labels(&self) -> Result<&'a [u8], Error> {
        let mut cursor = Cursor::new(self.message);
        while cursor.rest.first() == Some(&LABEL_KEY) {
            cursor.rest = &cursor.rest[1..];
            cursor.bytes()?;
        }
        Ok(&self.message[..self.message.len() - cursor.rest.len()])
    }

    /// Decodes what follows the first `labels_len` bytes, samples into `columns`.
    ///
    /// # Errors
    /// [`Error::Protobuf`]; `columns` may have got some of the samples by then.
    #[inline]
    pub fn read_samples(
        &self,
        labels_len: usize,
        columns: &mut SampleColumns,
    ) -> Result<Tail, Error> {
        let mut cursor = Cursor::new(self.message.get(labels_len..).unwrap_or_default());
        let mut tail = Tail::default();
        while !cursor.is_empty() {
            if let [SAMPLE_KEY, rest @ ..] = cursor.rest {
                cursor.rest = rest;
                let (timestamp_ms, value) = sample(cursor.bytes()?)?;
                columns.timestamps_ms.push(timestamp_ms);
                columns.values.push(value);
            } else {
                other_field(&mut cursor, &mut tail, columns)?;
            }
        }
        Ok(tail)
    }

    /// The native histograms and exemplars, in the order sent. Ends after an error.
    #[must_use]
    pub fn extras(&self) -> ExtraIter<'a> {
        ExtraIter { cursor: Cursor::new(self.message) }
    }

    /// Brings all labels together in `buffer`, in the form [`leading_labels`] gives them in.
    ///
    /// # Errors
    /// [`Error::Protobuf`].
    ///
    /// [`leading_labels`]: Self::leading_labels
    pub fn gather_labels(&self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.clear();
        let mut cursor = Cursor::new(self.message);
        while !cursor.is_empty() {
            let before = cursor.rest;
            let (number, wire_type) = cursor.key()?;
            cursor.skip(number, wire_type)?;
            if number == 1 {
                buffer.extend_from_slice(&before[..before.len() - cursor.rest.len()]);
            }
        }
        Ok(())
    }
}

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
}

impl<'a> ExtraIter<'a> {
    fn read(&mut self) -> Result<Option<Extra<'a>>, ProtobufError> {
        while !self.cursor.is_empty() {
            match self.cursor.key()? {
                (number @ 3, wire_type) => {
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    return Ok(Some(Extra::Exemplar(ExemplarView::read(message)?)));
                }
                (number @ 4, wire_type) => {
                    let message = self.cursor.expect_bytes(number, wire_type)?;
                    return Ok(Some(Extra::Histogram(Box::new(HistogramView::read(message)?))));
                }
                (number, wire_type) => self.cursor.skip(number, wire_type)?,
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

#[cold]
fn other_field(
    cursor: &mut Cursor<'_>,
    tail: &mut Tail,
    columns: &mut SampleColumns,
) -> Result<(), ProtobufError> {
    let (number, wire_type) = cursor.key()?;
    match number {
        1 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_more_labels = true;
        }
        2 => {
            let (timestamp_ms, value) = sample(cursor.expect_bytes(number, wire_type)?)?;
            columns.timestamps_ms.push(timestamp_ms);
            columns.values.push(value);
        }
        3 | 4 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_extras = true;
        }
        _ => cursor.skip(number, wire_type)?,
    }
    Ok(())
}

/// `Sample{value=1 double, timestamp=2 int64}`; what is missing is 0, the last one said counts.
#[inline]
fn sample(message: &[u8]) -> Result<(i64, f64), ProtobufError> {
    if let Some(plain) = plain_sample(message) {
        return Ok(plain);
    }
    let mut cursor = Cursor::new(message);
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while !cursor.is_empty() {
        match cursor.key()? {
            (1, WireType::Fixed64) => value = f64::from_bits(cursor.fixed64()?),
            (2, WireType::Varint) => timestamp_ms = cursor.varint()?.cast_signed(),
            (number @ (1 | 2), _) => return Err(ProtobufError::WireType(number)),
            (number, wire_type) => cursor.skip(number, wire_type)?,
        }
    }
    Ok((timestamp_ms, value))
}

/// A sample as every encoder writes it today: value, then a timestamp of six bytes (from 2004 to
/// 2109), and nothing else.
#[inline]
fn plain_sample(message: &[u8]) -> Option<(i64, f64)> {
    let message: &[u8; 16] = message.try_into().ok()?;
    let [0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, t0, t1, t2, t3, t4, t5] = *message else {
        return None;
    };
    if t0 & t1 & t2 & t3 & t4 & 0x80 == 0 || t5 & 0x80 != 0 {
        return None;
    }
    let part = |byte: u8, index: u32| i64::from(byte & 0x7f) << (7 * index);
    let timestamp_ms =
        part(t0, 0) | part(t1, 1) | part(t2, 2) | part(t3, 3) | part(t4, 4) | part(t5, 5);
    Some((timestamp_ms, f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7])))
}

/// A label's name and value, as sent.
type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// The labels of a series out of their raw bytes, name and value as sent: not yet known to be UTF-8.
#[derive(Clone, Debug)]
pub struct LabelIter<'a> {
    cursor: Cursor<'a>,
}

impl<'a> LabelIter<'a> {
    /// Over raw labels as [`SeriesView::leading_labels`] gives them, or any message that has its
    /// labels in field 1; other fields are passed.
    #[must_use]
    pub fn new(raw: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(raw) }
    }

    fn read(&mut self) -> Result<Option<RawLabel<'a>>, Error> {
        let mut label = loop {
            if self.cursor.is_empty() {
                return Ok(None);
            }
            match self.cursor.key()? {
                (number @ 1, wire_type) => {
                    break Cursor::new(self.cursor.expect_bytes(number, wire_type)?);
                }
                (number, wire_type) => self.cursor.skip(number, wire_type)?,
            }
        };
        let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
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
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.read();
        if label.is_err() {
            self.cursor.rest = &[];
        }
        label.transpose()
    }
}

/// One `MetricMetadata`; texts as sent, not yet known to be UTF-8.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetadataView<'a> {
    /// The metric family's name.
    pub metric: &'a [u8],
    /// Its type.
    pub metric_type: MetricType,
    /// Its help text.
    pub help: &'a [u8],
    /// Its unit.
    pub unit: &'a [u8],
}

impl<'a> MetadataView<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ProtobufError> {
        let mut cursor = Cursor::new(message);
        let mut view = Self::default();
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.key()?;
            match number {
                1 => view.metric_type = metric_type(cursor.expect_varint(number, wire_type)?),
                2 => view.metric = cursor.expect_bytes(number, wire_type)?,
                4 => view.help = cursor.expect_bytes(number, wire_type)?,
                5 => view.unit = cursor.expect_bytes(number, wire_type)?,
                _ => cursor.skip(number, wire_type)?,
            }
        }
        Ok(view)
    }
}

fn metric_type(number: u64) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}
