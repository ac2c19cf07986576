//! What a metric means: a message of its own (1.0), or part of each series (2.0).

use super::Error;
use super::symbols::Symbols;
use crate::protobuf::{Cursor, ProtobufError, low32};
use model::mutation::MetricType;

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
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ProtobufError> {
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

/// The `Metadata` of a 2.0 series; its texts are symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MetadataRefs {
    /// The metric's type.
    pub metric_type: MetricType,
    /// Where its help text stands; 0 is the empty text.
    pub help: u32,
    /// Where its unit stands.
    pub unit: u32,
}

impl MetadataRefs {
    /// Takes in what a message says; what it leaves out stays.
    pub(super) fn merge(&mut self, message: &[u8]) -> Result<(), ProtobufError> {
        let mut cursor = Cursor::new(message);
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.key()?;
            match number {
                1 => self.metric_type = metric_type(cursor.expect_varint(number, wire_type)?),
                3 => self.help = low32(cursor.expect_varint(number, wire_type)?),
                4 => self.unit = low32(cursor.expect_varint(number, wire_type)?),
                _ => cursor.skip(number, wire_type)?,
            }
        }
        Ok(())
    }

    /// The same in texts, for the series of this name.
    ///
    /// # Errors
    /// [`Error::Symbol`] if one of them does not exist.
    pub fn view<'a>(self, name: &'a [u8], symbols: Symbols<'a>) -> Result<MetadataView<'a>, Error> {
        let Self { metric_type, help, unit } = self;
        let metric = family(name, metric_type);
        Ok(MetadataView { metric, metric_type, help: symbols.get(help)?, unit: symbols.get(unit)? })
    }
}

/// The name of the metric family that a series of this name and type belongs to: what a series of
/// a classic histogram or of a summary has at its end does not count.
fn family(name: &[u8], metric_type: MetricType) -> &[u8] {
    let ends: &[&[u8]] = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => &[b"_bucket", b"_count", b"_sum"],
        MetricType::Summary => &[b"_count", b"_sum"],
        _ => &[],
    };
    ends.iter()
        .find_map(|end| name.strip_suffix(*end))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(name)
}

fn metric_type(number: u64) -> MetricType {
    match low32(number) {
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
