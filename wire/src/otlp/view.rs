//! The way through an `ExportMetricsServiceRequest`, message by message, over borrowed bytes.
//!
//! Reading a message goes over its fields once and keeps slices of what is inside; what repeats is
//! a [`Repeated`], which goes over the fields again when it is asked for. So nothing is allocated,
//! and the order of fields, which protobuf leaves to the sender, does not matter. Of a field that
//! occurs twice and should not, the last one counts.

use super::Error;
use super::any_value::Attributes;
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
    fn new(message: &'a [u8], number: u32, element: WireType) -> Self {
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
fn fixed64(cursor: &mut Cursor<'_>, number: u32, wire_type: WireType) -> Result<u64> {
    Ok(cursor.expect_double(number, wire_type)?.to_bits())
}

fn zigzag(varint: u64) -> i32 {
    // A 32-bit field that was sent with more keeps its low half, as protobuf has it.
    let [a, b, c, d, ..] = varint.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    (low >> 1).cast_signed() ^ -((low & 1).cast_signed())
}

/// A whole request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    message: &'a [u8],
}

impl<'a> Request<'a> {
    /// Over a decoded body.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { message }
    }

    /// What each resource reports.
    pub fn resources(self) -> impl Iterator<Item = Result<ResourceMetrics<'a>>> {
        Repeated::new(self.message, 1).messages().map(|message| ResourceMetrics::read(message?))
    }
}

/// What one resource reports.
#[derive(Clone, Copy, Debug)]
pub struct ResourceMetrics<'a> {
    message: &'a [u8],
    resource: &'a [u8],
}

impl<'a> ResourceMetrics<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut view = Self { message, resource: &[] };
        each_field(message, |cursor, number, wire_type| {
            match number {
                1 => view.resource = cursor.expect_bytes(number, wire_type)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(view)
    }

    /// Who the resource is.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.resource, 1)
    }

    /// What each of its scopes reports.
    pub fn scopes(&self) -> impl Iterator<Item = Result<ScopeMetrics<'a>>> + use<'a> {
        Repeated::new(self.message, 2).messages().map(|message| ScopeMetrics::read(message?))
    }
}

/// What one scope (a library that measures) reports. Texts as sent: not yet known to be UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct ScopeMetrics<'a> {
    message: &'a [u8],
    scope: &'a [u8],
    /// The scope's name, often empty.
    pub name: &'a [u8],
    /// Its version.
    pub version: &'a [u8],
    /// Where its schema is.
    pub schema_url: &'a [u8],
}

impl<'a> ScopeMetrics<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut view = Self { message, scope: &[], name: &[], version: &[], schema_url: &[] };
        each_field(message, |cursor, number, wire_type| {
            match number {
                1 => view.scope = cursor.expect_bytes(number, wire_type)?,
                3 => view.schema_url = cursor.expect_bytes(number, wire_type)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let scope = view.scope;
        each_field(scope, |cursor, number, wire_type| {
            match number {
                1 => view.name = cursor.expect_bytes(number, wire_type)?,
                2 => view.version = cursor.expect_bytes(number, wire_type)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(view)
    }

    /// What else is said of the scope.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.scope, 3)
    }

    /// Its metrics.
    pub fn metrics(&self) -> impl Iterator<Item = Result<Metric<'a>>> + use<'a> {
        Repeated::new(self.message, 2).messages().map(|message| Metric::read(message?))
    }
}

/// What a point's value is counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Nobody said.
    #[default]
    Unspecified,
    /// From the point before.
    Delta,
    /// From the start.
    Cumulative,
}

/// What kind of points a metric has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "OTLP's own words")]
pub enum Data {
    /// None that is known.
    #[default]
    Unknown,
    Gauge,
    Sum {
        temporality: Temporality,
        is_monotonic: bool,
    },
    Histogram(Temporality),
    ExponentialHistogram(Temporality),
    Summary,
}

/// One metric. Texts as sent: not yet known to be UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What it means.
    pub description: &'a [u8],
    /// Its unit, in UCUM.
    pub unit: &'a [u8],
    /// What its points are.
    pub data: Data,
    points: &'a [u8],
}

impl<'a> Metric<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut view =
            Self { name: &[], description: &[], unit: &[], data: Data::Unknown, points: &[] };
        let mut field = 0;
        each_field(message, |cursor, number, wire_type| {
            match number {
                1 => view.name = cursor.expect_bytes(number, wire_type)?,
                2 => view.description = cursor.expect_bytes(number, wire_type)?,
                3 => view.unit = cursor.expect_bytes(number, wire_type)?,
                5 | 7 | 9 | 10 | 11 => {
                    (field, view.points) = (number, cursor.expect_bytes(number, wire_type)?);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        view.data = data(field, view.points)?;
        Ok(view)
    }

    /// Its points.
    pub fn points(&self) -> impl Iterator<Item = Result<Point<'a>>> + use<'a> {
        let data = self.data;
        Repeated::new(self.points, 1).messages().map(move |message| Point::read(message?, data))
    }
}

/// The kind that a field of a metric stands for, and what is said for all of its points.
fn data(field: u32, message: &[u8]) -> Result<Data> {
    let (mut temporality, mut is_monotonic) = (Temporality::default(), false);
    each_field(message, |cursor, number, wire_type| {
        match (field, number) {
            (7 | 9 | 10, 2) => {
                temporality = match cursor.expect_varint(number, wire_type)? {
                    1 => Temporality::Delta,
                    2 => Temporality::Cumulative,
                    _ => Temporality::Unspecified,
                }
            }
            (7, 3) => is_monotonic = cursor.expect_varint(number, wire_type)? != 0,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(match field {
        5 => Data::Gauge,
        7 => Data::Sum { temporality, is_monotonic },
        9 => Data::Histogram(temporality),
        10 => Data::ExponentialHistogram(temporality),
        11 => Data::Summary,
        _ => Data::Unknown,
    })
}

/// One point of a metric.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    /// Which of the metric's series it belongs to.
    pub attributes: Attributes<'a>,
    /// When its counting began, in nanoseconds since 1970; 0 if unknown.
    pub start_ns: u64,
    /// When it was, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether it only says that there is no value.
    pub has_no_recorded_value: bool,
    /// What it says.
    pub value: PointValue<'a>,
    exemplars: Repeated<'a>,
}

/// What a point says.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "OTLP's own words")]
pub enum PointValue<'a> {
    /// Of a gauge or a sum; `None` if there is no value.
    Number(Option<f64>),
    Histogram {
        count: u64,
        sum: Option<f64>,
        /// How many observations lie in each bucket.
        bucket_counts: Numbers<'a>,
        /// The bits of the buckets' upper bounds; the last bucket has none.
        explicit_bounds: Numbers<'a>,
    },
    Exponential {
        count: u64,
        sum: Option<f64>,
        scale: i32,
        zero_count: u64,
        zero_threshold: f64,
        positive: ExponentialBuckets<'a>,
        negative: ExponentialBuckets<'a>,
    },
    Summary {
        count: u64,
        sum: f64,
        /// Quantile and value.
        quantiles: Repeated<'a>,
    },
}

/// The buckets of one side of an exponential histogram.
#[derive(Clone, Debug)]
pub struct ExponentialBuckets<'a> {
    /// The index of the first bucket.
    pub offset: i32,
    /// How many observations lie in each.
    pub counts: Numbers<'a>,
}

impl<'a> ExponentialBuckets<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut offset = 0;
        each_field(message, |cursor, number, wire_type| {
            match number {
                1 => offset = zigzag(cursor.expect_varint(number, wire_type)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { offset, counts: Numbers::new(message, 2, WireType::Varint) })
    }
}

/// Where the fields that all points have stand in one kind of point.
struct Places {
    attributes: u32,
    exemplars: u32,
    flags: u32,
}

impl Places {
    fn of(data: Data) -> Self {
        let (attributes, exemplars, flags) = match data {
            Data::Histogram(_) => (9, 8, 10),
            Data::ExponentialHistogram(_) => (1, 11, 10),
            // A summary has no exemplars; its field 5 is the sum.
            Data::Summary => (7, 0, 8),
            Data::Unknown | Data::Gauge | Data::Sum { .. } => (7, 5, 8),
        };
        Self { attributes, exemplars, flags }
    }
}

/// The fields of a point that are no lists, as they come.
#[derive(Default)]
struct Scalars<'a> {
    start_ns: u64,
    time_ns: u64,
    flags: u64,
    number: Option<f64>,
    count: u64,
    sum: Option<f64>,
    scale: i32,
    zero_count: u64,
    zero_threshold: f64,
    positive: &'a [u8],
    negative: &'a [u8],
}

impl<'a> Scalars<'a> {
    fn read(message: &'a [u8], data: Data, places: &Places) -> Result<Self> {
        let mut scalars = Self::default();
        each_field(message, |cursor, number, wire_type| {
            match number {
                2 => scalars.start_ns = fixed64(cursor, number, wire_type)?,
                3 => scalars.time_ns = fixed64(cursor, number, wire_type)?,
                _ if number == places.flags => {
                    scalars.flags = cursor.expect_varint(number, wire_type)?;
                }
                _ => return scalars.own(data, cursor, number, wire_type),
            }
            Ok(true)
        })?;
        Ok(scalars)
    }

    /// A field of this kind of point.
    fn own(
        &mut self,
        data: Data,
        cursor: &mut Cursor<'a>,
        number: u32,
        wire_type: WireType,
    ) -> Result<bool> {
        match (data, number) {
            (Data::Gauge | Data::Sum { .. }, 4) => {
                self.number = Some(cursor.expect_double(number, wire_type)?);
            }
            (Data::Gauge | Data::Sum { .. }, 6) => {
                let integer = fixed64(cursor, number, wire_type)?.cast_signed();
                self.number = Some(as_f64(integer));
            }
            (Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary, 4) => {
                self.count = fixed64(cursor, number, wire_type)?;
            }
            (Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary, 5) => {
                self.sum = Some(cursor.expect_double(number, wire_type)?);
            }
            (Data::ExponentialHistogram(_), 6) => {
                self.scale = zigzag(cursor.expect_varint(number, wire_type)?);
            }
            (Data::ExponentialHistogram(_), 7) => {
                self.zero_count = fixed64(cursor, number, wire_type)?;
            }
            (Data::ExponentialHistogram(_), 8) => {
                self.positive = cursor.expect_bytes(number, wire_type)?;
            }
            (Data::ExponentialHistogram(_), 9) => {
                self.negative = cursor.expect_bytes(number, wire_type)?;
            }
            (Data::ExponentialHistogram(_), 14) => {
                self.zero_threshold = cursor.expect_double(number, wire_type)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// An integer as samples have it: exact up to 2^53, and the nearest number there is beyond.
#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn as_f64(integer: i64) -> f64 {
    integer as f64
}

impl<'a> Point<'a> {
    fn read(message: &'a [u8], data: Data) -> Result<Self> {
        let places = Places::of(data);
        let scalars = Scalars::read(message, data, &places)?;
        let Scalars { count, sum, scale, zero_count, zero_threshold, .. } = scalars;
        let value = match data {
            Data::Unknown | Data::Gauge | Data::Sum { .. } => PointValue::Number(scalars.number),
            Data::Histogram(_) => PointValue::Histogram {
                count,
                sum,
                bucket_counts: Numbers::new(message, 6, WireType::Fixed64),
                explicit_bounds: Numbers::new(message, 7, WireType::Fixed64),
            },
            Data::ExponentialHistogram(_) => {
                let positive = ExponentialBuckets::read(scalars.positive)?;
                let negative = ExponentialBuckets::read(scalars.negative)?;
                PointValue::Exponential {
                    count,
                    sum,
                    scale,
                    zero_count,
                    zero_threshold,
                    positive,
                    negative,
                }
            }
            Data::Summary => PointValue::Summary {
                count,
                sum: sum.unwrap_or(0.0),
                quantiles: Repeated::new(message, 6),
            },
        };
        Ok(Self {
            attributes: Attributes::new(message, places.attributes),
            start_ns: scalars.start_ns,
            time_ns: scalars.time_ns,
            has_no_recorded_value: scalars.flags & 1 == 1,
            value,
            exemplars: Repeated::new(message, places.exemplars),
        })
    }

    /// Its exemplars.
    pub fn exemplars(&self) -> impl Iterator<Item = Result<ExemplarPoint<'a>>> + use<'a> {
        self.exemplars.messages().map(|message| ExemplarPoint::read(message?))
    }
}

impl<'a> Repeated<'a> {
    /// The quantiles of a summary, each with its value.
    pub fn quantiles(self) -> impl Iterator<Item = Result<(f64, f64)>> + use<'a> {
        self.messages().map(|message| {
            let (mut quantile, mut value) = (0.0, 0.0);
            each_field(message?, |cursor, number, wire_type| {
                match number {
                    1 => quantile = cursor.expect_double(number, wire_type)?,
                    2 => value = cursor.expect_double(number, wire_type)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            Ok((quantile, value))
        })
    }
}

/// An example of what a point counted.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarPoint<'a> {
    /// When it was, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What was measured; `None` if there is no value.
    pub value: Option<f64>,
    /// The trace it was measured in, often 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// The span, often 8 bytes, or none.
    pub span_id: &'a [u8],
    /// Attributes that the point's series do not have.
    pub attributes: Attributes<'a>,
}

impl<'a> ExemplarPoint<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let attributes = Attributes::new(message, 7);
        let mut view = Self { time_ns: 0, value: None, trace_id: &[], span_id: &[], attributes };
        each_field(message, |cursor, number, wire_type| {
            match number {
                2 => view.time_ns = fixed64(cursor, number, wire_type)?,
                3 => view.value = Some(cursor.expect_double(number, wire_type)?),
                6 => {
                    let integer = fixed64(cursor, number, wire_type)?.cast_signed();
                    view.value = Some(as_f64(integer));
                }
                4 => view.span_id = cursor.expect_bytes(number, wire_type)?,
                5 => view.trace_id = cursor.expect_bytes(number, wire_type)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(view)
    }
}
