//! One series of a request, undecoded: where its labels are, and its samples in columns.
//!
//! A series begins with its labels, as every known encoder writes it; then [`SeriesView`] gives
//! them as one slice of the body. Labels behind the samples are legal protobuf all the same: the
//! [`Tail`] tells of them, and [`SeriesView::gather_labels`] brings them together. The start of a
//! series comes with each sample, or, from older senders of 2.0, once for all of them.

use super::Version;
use super::extra::ExtraIter;
use super::metadata::MetadataRefs;
use crate::protobuf::{Cursor, ProtobufError, WireType};

/// The key byte of field 1 with a length: a label of a series, or a list of references.
const LABEL_KEY: u8 = 0x0a;
/// The key byte of field 2 with a length: a sample of a series.
const SAMPLE_KEY: u8 = 0x12;

/// One `TimeSeries`, undecoded.
#[derive(Clone, Copy, Debug)]
pub struct SeriesView<'a> {
    pub(super) message: &'a [u8],
    pub(super) offset: usize,
    pub(super) version: Version,
}

/// Where the samples of a series go.
#[derive(Clone, Debug, Default)]
pub struct SampleColumns {
    /// When, in milliseconds since 1970.
    pub timestamps_ms: Vec<i64>,
    /// What.
    pub values: Vec<f64>,
    /// Since when, in milliseconds since 1970, 0 if unknown: one per value, or none at all while
    /// no start is known.
    pub start_timestamps_ms: Vec<i64>,
}

impl SampleColumns {
    /// Keeps the first `len` samples.
    pub fn truncate(&mut self, len: usize) {
        self.timestamps_ms.truncate(len);
        self.values.truncate(len);
        self.start_timestamps_ms.truncate(len);
    }

    /// Puts the sample at `from` in the place of the one at `to`, which is before it.
    pub fn move_down(&mut self, from: usize, to: usize) {
        self.timestamps_ms[to] = self.timestamps_ms[from];
        self.values[to] = self.values[from];
        if let Some(start_ms) = self.start_timestamps_ms.get(from).copied() {
            self.start_timestamps_ms[to] = start_ms;
        }
    }

    fn push(&mut self, (timestamp_ms, value): (i64, f64)) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    fn push_with_start(&mut self, sample: (i64, f64), start_ms: i64) {
        if start_ms != 0 {
            self.start_timestamps_ms.resize(self.values.len(), 0);
        }
        let has_starts = start_ms != 0 || !self.start_timestamps_ms.is_empty();
        self.push(sample);
        if has_starts {
            self.start_timestamps_ms.push(start_ms);
        }
    }

    /// Gives the samples from `first` on that say no start of their own this one.
    fn start_from(&mut self, first: usize, start_ms: i64) {
        self.start_timestamps_ms.resize(self.values.len(), 0);
        for own in &mut self.start_timestamps_ms[first..] {
            if *own == 0 {
                *own = start_ms;
            }
        }
    }
}

/// What stood in a series beside the labels at its front and its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Whether there are native histograms: [`SeriesView::extras`] has them.
    pub has_histograms: bool,
    /// Whether there are exemplars, likewise.
    pub has_exemplars: bool,
    /// More labels, behind something that is no label.
    pub has_more_labels: bool,
    /// What the series' metric means (2.0).
    pub metadata: Option<MetadataRefs>,
    /// The start of the whole series (2.0, as older senders say it), which has been given to its
    /// float samples; 0 if unknown.
    pub start_timestamp_ms: i64,
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
    ///
    /// [`Error::Protobuf`]: super::Error::Protobuf
    pub fn leading_labels(&self) -> Result<&'a [u8], ProtobufError> {
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
    ///
    /// [`Error::Protobuf`]: super::Error::Protobuf
    #[inline]
    pub fn read_samples(
        &self,
        labels_len: usize,
        columns: &mut SampleColumns,
    ) -> Result<Tail, ProtobufError> {
        let mut cursor = Cursor::new(self.message.get(labels_len..).unwrap_or_default());
        let mut tail = Tail::default();
        let first = columns.values.len();
        while !cursor.is_empty() {
            if let [SAMPLE_KEY, rest @ ..] = cursor.rest {
                cursor.rest = rest;
                let message = cursor.bytes()?;
                match self.version {
                    Version::One => columns.push(sample(message)?),
                    Version::Two => push_sample_with_start(message, columns)?,
                }
            } else {
                match self.version {
                    Version::One => other_field(&mut cursor, &mut tail, columns)?,
                    Version::Two => other_field_of_2(&mut cursor, &mut tail, columns)?,
                }
            }
        }
        if tail.start_timestamp_ms != 0 {
            columns.start_from(first, tail.start_timestamp_ms);
        }
        Ok(tail)
    }

    /// How many samples, native histograms and exemplars there are, without decoding one.
    ///
    /// # Errors
    /// [`Error::Protobuf`].
    ///
    /// [`Error::Protobuf`]: super::Error::Protobuf
    pub fn items(&self) -> Result<u64, ProtobufError> {
        let (mut cursor, mut items) = (Cursor::new(self.message), 0);
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.key()?;
            cursor.skip(number, wire_type)?;
            items += u64::from(matches!(number, 2..=4));
        }
        Ok(items)
    }

    /// The native histograms and exemplars, in the order sent. Ends after an error.
    #[must_use]
    pub fn extras(&self) -> ExtraIter<'a> {
        ExtraIter::new(self.message, self.version)
    }

    /// Brings all labels together at the end of `buffer`, in the form [`leading_labels`] gives them in.
    ///
    /// # Errors
    /// [`Error::Protobuf`].
    ///
    /// [`leading_labels`]: Self::leading_labels
    /// [`Error::Protobuf`]: super::Error::Protobuf
    pub fn gather_labels(&self, buffer: &mut Vec<u8>) -> Result<(), ProtobufError> {
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
            columns.push(sample(cursor.expect_bytes(number, wire_type)?)?);
        }
        3 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_exemplars = true;
        }
        4 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_histograms = true;
        }
        _ => cursor.skip(number, wire_type)?,
    }
    Ok(())
}

/// A field of a 2.0 series that is no sample with a plain key.
fn other_field_of_2(
    cursor: &mut Cursor<'_>,
    tail: &mut Tail,
    columns: &mut SampleColumns,
) -> Result<(), ProtobufError> {
    let (number, wire_type) = cursor.key()?;
    match number {
        1 if wire_type == WireType::Varint => {
            cursor.varint()?;
            tail.has_more_labels = true;
        }
        1 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_more_labels = true;
        }
        2 => push_sample_with_start(cursor.expect_bytes(number, wire_type)?, columns)?,
        3 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_histograms = true;
        }
        4 => {
            cursor.expect_bytes(number, wire_type)?;
            tail.has_exemplars = true;
        }
        5 => {
            let message = cursor.expect_bytes(number, wire_type)?;
            tail.metadata.get_or_insert_default().merge(message)?;
        }
        6 => tail.start_timestamp_ms = cursor.expect_varint(number, wire_type)?.cast_signed(),
        _ => cursor.skip(number, wire_type)?,
    }
    Ok(())
}

/// `Sample{value=1 double, timestamp=2 int64, start_timestamp=3 int64}`.
#[inline]
fn push_sample_with_start(
    message: &[u8],
    columns: &mut SampleColumns,
) -> Result<(), ProtobufError> {
    if let Some((head, tail)) = message.split_at_checked(PLAIN_BYTES)
        && let Some(plain) = plain_sample(head)
        && let Some(start_ms) = plain_start(tail)
    {
        columns.push_with_start(plain, start_ms);
        return Ok(());
    }
    let sample = sample(message)?;
    let mut cursor = Cursor::new(message);
    let mut start_ms = 0;
    while !cursor.is_empty() {
        match cursor.key()? {
            (number @ 3, wire_type) => {
                start_ms = cursor.expect_varint(number, wire_type)?.cast_signed();
            }
            (number, wire_type) => cursor.skip(number, wire_type)?,
        }
    }
    columns.push_with_start(sample, start_ms);
    Ok(())
}

/// A start as every encoder writes it today, behind a plain sample: none, or one of six bytes.
#[inline]
fn plain_start(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [] => Some(0),
        [0x18, t0, t1, t2, t3, t4, t5] => six_bytes([t0, t1, t2, t3, t4, t5]),
        _ => None,
    }
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

/// The bytes of a plain sample.
const PLAIN_BYTES: usize = 16;

/// A sample as every encoder writes it today: value, then a timestamp of six bytes, and nothing else.
#[inline]
fn plain_sample(message: &[u8]) -> Option<(i64, f64)> {
    let message: &[u8; PLAIN_BYTES] = message.try_into().ok()?;
    let [0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, time @ ..] = *message else {
        return None;
    };
    let timestamp_ms = six_bytes(time)?;
    Some((timestamp_ms, f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7])))
}

/// A varint of exactly six bytes: a time from 2004 to 2109.
#[inline]
fn six_bytes([t0, t1, t2, t3, t4, t5]: [u8; 6]) -> Option<i64> {
    if t0 & t1 & t2 & t3 & t4 & 0x80 == 0 || t5 & 0x80 != 0 {
        return None;
    }
    let part = |byte: u8, index: u32| i64::from(byte & 0x7f) << (7 * index);
    Some(part(t0, 0) | part(t1, 1) | part(t2, 2) | part(t3, 3) | part(t4, 4) | part(t5, 5))
}
