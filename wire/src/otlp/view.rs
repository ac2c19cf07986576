//! The way through an `ExportMetricsServiceRequest` down to its metrics, message by message, over
//! borrowed bytes.
//!
//! Not here: points of a metric (`point.rs`), how fields are read (`fields.rs`).

use super::any_value::Attributes;
use super::fields::{Repeated, Result, each_field};
use super::point::Point;

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

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.message.is_empty()
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
