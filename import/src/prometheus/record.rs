//! What a record of the log says.

use super::histogram;
use super::wal::Fault;
use crate::bytes::{Bad, Input};
use model::mutation::MetricType;
use model::{Exemplar, HistogramSample, LabelSet, Sample, Text};

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const TOMBSTONES: u8 = 3;
const EXEMPLARS: u8 = 4;
const CHUNK_MARKERS: u8 = 5;
const METADATA: u8 = 6;
const HISTOGRAMS: u8 = 7;
const FLOAT_HISTOGRAMS: u8 = 8;
const CUSTOM_HISTOGRAMS: u8 = 9;
const CUSTOM_FLOAT_HISTOGRAMS: u8 = 10;

/// One thing that a record says; a record says many of a kind.
#[derive(Debug)]
pub(super) enum Entry {
    Series(u64, LabelSet),
    Sample(u64, Sample),
    /// Both ends of the span are included.
    Tombstone(u64, (i64, i64)),
    Metadata {
        series: u64,
        metric_type: MetricType,
        help: Text,
        unit: Text,
    },
    Histogram(u64, HistogramSample),
    Exemplar(u64, Exemplar),
}

/// Hands each entry of a record to `visit`.
pub(super) fn entries(
    record: &[u8],
    visit: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut input = Input::new(record);
    let kind = input.u8()?;
    match kind {
        SERIES => {
            while !input.is_empty() {
                let (reference, labels) = (input.u64()?, labels(&mut input)?);
                visit(Entry::Series(reference, labels))?;
            }
        }
        SAMPLES => samples(&mut input, visit)?,
        TOMBSTONES => {
            while !input.is_empty() {
                let (reference, span) = (input.u64()?, (input.varint()?, input.varint()?));
                visit(Entry::Tombstone(reference, span))?;
            }
        }
        EXEMPLARS => exemplars(&mut input, visit)?,
        METADATA => metadata(&mut input, visit)?,
        CHUNK_MARKERS => {}
        HISTOGRAMS | CUSTOM_HISTOGRAMS => histograms(&mut input, false, visit)?,
        FLOAT_HISTOGRAMS | CUSTOM_FLOAT_HISTOGRAMS => histograms(&mut input, true, visit)?,
        _ => return Err(Fault::Kind(kind)),
    }
    Ok(())
}

fn labels(input: &mut Input<'_>) -> Result<LabelSet, Bad> {
    let mut pairs = Vec::new();
    for _ in 0..input.count()? {
        pairs.push((Text::from(input.text()?), Text::from(input.text()?)));
    }
    LabelSet::from_pairs(pairs).map_err(|_| Bad("a label occurs twice"))
}

fn samples(
    input: &mut Input<'_>,
    visit: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if input.is_empty() {
        return Ok(());
    }
    let (reference, time) = (input.u64()?, input.i64()?);
    while !input.is_empty() {
        let reference = reference.wrapping_add_signed(input.varint()?);
        let timestamp_ms = time.wrapping_add(input.varint()?);
        let value = input.f64()?;
        let sample = Sample { timestamp_ms, value, start_timestamp_ms: 0, revision: 0 };
        visit(Entry::Sample(reference, sample))?;
    }
    Ok(())
}

fn histograms(
    input: &mut Input<'_>,
    is_float: bool,
    visit: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if input.is_empty() {
        return Ok(());
    }
    let (reference, time) = (input.u64()?, input.i64()?);
    while !input.is_empty() {
        let reference = reference.wrapping_add_signed(input.varint()?);
        let timestamp_ms = time.wrapping_add(input.varint()?);
        visit(Entry::Histogram(reference, histogram::whole(input, timestamp_ms, is_float)?))?;
    }
    Ok(())
}

fn exemplars(
    input: &mut Input<'_>,
    visit: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if input.is_empty() {
        return Ok(());
    }
    let (reference, time) = (input.u64()?, input.i64()?);
    while !input.is_empty() {
        let reference = reference.wrapping_add_signed(input.varint()?);
        let timestamp_ms = time.wrapping_add(input.varint()?);
        let (value, labels) = (input.f64()?, labels(input)?);
        visit(Entry::Exemplar(reference, Exemplar { timestamp_ms, value, labels }))?;
    }
    Ok(())
}

fn metadata(
    input: &mut Input<'_>,
    visit: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while !input.is_empty() {
        let (series, metric_type) = (input.uvarint()?, metric_type(input.u8()?));
        let (mut help, mut unit) = (Text::default(), Text::default());
        for _ in 0..input.count()? {
            let (name, value) = (input.text()?, input.text()?);
            match name {
                "HELP" => help = value.into(),
                "UNIT" => unit = value.into(),
                _ => {}
            }
        }
        visit(Entry::Metadata { series, metric_type, help, unit })?;
    }
    Ok(())
}

fn metric_type(byte: u8) -> MetricType {
    match byte {
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
