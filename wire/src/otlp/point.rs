//! One point of a metric: what all kinds have, and what each kind says.
//!
//! The kinds have the same fields in different places.

use super::any_value::Attributes;
use super::fields::{Numbers, Repeated, Result, each_field, fixed64, zigzag};
use super::view::Data;
use crate::protobuf::{Cursor, WireType};

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
    pub(super) fn read(message: &'a [u8], data: Data) -> Result<Self> {
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
