//! Reading a record back.

use super::metadata::read_metadata;
use super::value::read_value;
use super::{
    HAS_DEFINITIONS, HAS_EXEMPLARS, HAS_METADATA, HAS_STARTS, IS_ROW, KIND_FLOAT, KIND_HISTOGRAM,
    VERSION,
};
use crate::bytes::{Damaged, Input};
use crate::chunk::histogram::read_histogram;
use crate::definitions;
use crate::exemplar;
use crate::head::{NUMBER_STEP, REFUSED};
use model::mutation::MetricMetadata;
use model::sample::SampleKind;
use model::{Exemplar, HistogramSample, LabelSet, Sample, TenantId};
use std::sync::Arc;

/// A record that was read; its samples are decoded by [`Record::rows`].
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) generation: u64,
    pub(crate) definitions: Vec<(u32, LabelSet)>,
    pub(crate) metadata: Vec<MetricMetadata>,
    /// Each with its series' number.
    pub(crate) exemplars: Vec<(u32, Exemplar)>,
    kind: SampleKind,
    /// That of all its samples.
    pub(crate) revision: u32,
    flags: u8,
    rest: Input<'a>,
}

/// Reads a record but for its samples.
pub(crate) fn decode(payload: &[u8]) -> Result<Record<'_>, Damaged> {
    let mut input = Input::new(payload);
    let [version, flags, kind] = input.array()?;
    let kind = match (version, kind) {
        (VERSION, KIND_FLOAT) => SampleKind::Float,
        (VERSION, KIND_HISTOGRAM) => SampleKind::Histogram,
        _ => return Err(Damaged("a record of an unknown version or kind")),
    };
    let tenant = TenantId::parse(input.text()?).map_err(|_| Damaged("not a tenant's name"))?;
    match input.u8()? {
        0 | 1 => {}
        2 => drop(input.text()?),
        _ => return Err(Damaged("an unknown principal")),
    }
    let _request_id = input.u64()?;
    let (_timeout_ms, _ring_version) = (input.uvarint32()?, input.uvarint()?);
    let generation = input.u64()?;
    let revision = input.uvarint32()?;
    let mut definitions = Vec::new();
    if flags & HAS_DEFINITIONS != 0 {
        definitions::decode(&mut input, |number, labels| definitions.push((number, labels)))?;
    }
    let metadata = if flags & HAS_METADATA != 0 { read_metadata(&mut input)? } else { Vec::new() };
    let exemplars =
        if flags & HAS_EXEMPLARS != 0 { read_exemplars(&mut input)? } else { Vec::new() };
    let rest = input;
    Ok(Record { tenant, generation, definitions, metadata, exemplars, kind, revision, flags, rest })
}

/// Reads a list of exemplars, each with its series' number.
pub(crate) fn read_exemplars(input: &mut Input<'_>) -> Result<Vec<(u32, Exemplar)>, Damaged> {
    (0..input.count(11)?).map(|_| Ok((input.uvarint32()?, exemplar::read(input)?))).collect()
}

/// The samples of one series in a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Samples<'a> {
    Floats(&'a [Sample]),
    Histograms(&'a [HistogramSample]),
}

impl Samples<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Floats(samples) => samples.len(),
            Self::Histograms(samples) => samples.len(),
        }
    }
}

/// Room for the samples of a record, to be used again for the next: what is given back in one piece
/// of that size costs the allocator more than the decoding.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// For each series where its samples end.
    ends: Vec<usize>,
    times: Vec<i64>,
    floats: Vec<Sample>,
    histograms: Vec<HistogramSample>,
}

impl Record<'_> {
    /// Decodes the samples and hands them to `visit`, series by series.
    ///
    /// Nothing is handed over unless all of it makes sense.
    pub(crate) fn rows(
        &self,
        room: &mut Room,
        mut visit: impl FnMut(u32, Samples<'_>),
    ) -> Result<(), Damaged> {
        let mut input = self.rest;
        let runs: Vec<(i64, u64)> = (0..input.count(2)?)
            .map(|_| Ok((input.ivarint()?, input.uvarint()?)))
            .collect::<Result<_, Damaged>>()?;
        let Room { ends, times, floats, histograms } = room;
        let series = runs.iter().fold(0_u64, |sum, (_, len)| sum.saturating_add(*len));
        // Each series takes a byte at least: its value, or the count of its times.
        let series = usize::try_from(series).ok().filter(|count| *count <= input.len());
        let series = series.ok_or(Damaged("a record names more series than it holds"))?;
        read_times(&mut input, self.flags & IS_ROW != 0, series, (ends, times))?;
        match self.kind {
            SampleKind::Float => self.floats(&mut input, times, floats)?,
            SampleKind::Histogram => self.histograms(&mut input, times, histograms)?,
        }
        if !input.is_empty() {
            return Err(Damaged("a record goes on behind its end"));
        }
        let numbers = numbers(&runs)?;
        let mut first = 0;
        for (number, &mut end) in numbers.zip(ends) {
            let samples = match self.kind {
                SampleKind::Float => Samples::Floats(floats.get(first..end).unwrap_or(&[])),
                SampleKind::Histogram => {
                    Samples::Histograms(histograms.get(first..end).unwrap_or(&[]))
                }
            };
            visit(number, samples);
            first = end;
        }
        // They are counted, and might be needed by nobody else.
        histograms.clear();
        Ok(())
    }

    fn floats(
        &self,
        input: &mut Input<'_>,
        times: &[i64],
        samples: &mut Vec<Sample>,
    ) -> Result<(), Damaged> {
        samples.clear();
        let (mut value, revision) = (0.0, self.revision);
        for &timestamp_ms in times {
            value = read_value(input, value)?;
            samples.push(Sample { timestamp_ms, value, start_timestamp_ms: 0, revision });
        }
        self.starts(input, samples.iter_mut().map(|sample| &mut sample.start_timestamp_ms))
    }

    fn histograms(
        &self,
        input: &mut Input<'_>,
        times: &[i64],
        samples: &mut Vec<HistogramSample>,
    ) -> Result<(), Damaged> {
        samples.clear();
        for &timestamp_ms in times {
            let histogram = Arc::new(read_histogram(input)?);
            let (start_timestamp_ms, revision) = (0, self.revision);
            samples.push(HistogramSample { timestamp_ms, histogram, start_timestamp_ms, revision });
        }
        self.starts(input, samples.iter_mut().map(|sample| &mut sample.start_timestamp_ms))
    }

    fn starts<'s>(
        &self,
        input: &mut Input<'_>,
        places: impl Iterator<Item = &'s mut i64>,
    ) -> Result<(), Damaged> {
        if self.flags & HAS_STARTS == 0 {
            return Ok(());
        }
        let mut start = 0_i64;
        for place in places {
            start = start.wrapping_add(input.ivarint()?);
            *place = start;
        }
        Ok(())
    }
}

/// For each series where its samples end, and all their times.
fn read_times(
    input: &mut Input<'_>,
    is_row: bool,
    series: usize,
    (ends, times): (&mut Vec<usize>, &mut Vec<i64>),
) -> Result<(), Damaged> {
    ends.clear();
    times.clear();
    if is_row {
        let at = input.ivarint()?;
        ends.extend(1..=series);
        times.resize(series, at);
        return Ok(());
    }
    let mut before = 0..0;
    for _ in 0..series {
        let start = times.len();
        match input.uvarint()? {
            0 => times.extend_from_within(before.clone()),
            count => {
                let mut last = times.get(before.start).copied().unwrap_or(0_i64);
                // What a false count asks for ends with the input.
                for _ in 1..count {
                    last = last.wrapping_add(input.ivarint()?);
                    times.push(last);
                }
            }
        }
        // Every sample has a value behind, of a byte at least.
        if times.len() > input.len() {
            return Err(Damaged("a record names more samples than it holds"));
        }
        before = start..times.len();
        ends.push(times.len());
    }
    Ok(())
}

/// The numbers of the runs, one by one.
fn numbers(runs: &[(i64, u64)]) -> Result<impl Iterator<Item = u32> + '_, Damaged> {
    let step = i64::from(NUMBER_STEP);
    let mut expected = 0_i64;
    let mut firsts = Vec::with_capacity(runs.len());
    for (gap, len) in runs {
        let first = expected.checked_add(*gap).and_then(|first| u32::try_from(first).ok());
        let first = first.ok_or(Damaged("a series' number is out of range"))?;
        let len = i64::try_from(*len).unwrap_or(i64::MAX);
        let end = len.checked_mul(step).and_then(|span| span.checked_add(i64::from(first)));
        expected = end
            .filter(|end| *end <= i64::from(u32::MAX) + step)
            .ok_or(Damaged("a series' number is out of range"))?;
        firsts.push((first, len));
    }
    Ok(firsts.into_iter().flat_map(move |(first, len)| {
        (0..len).map(move |index| u32::try_from(i64::from(first) + index * step).unwrap_or(REFUSED))
    }))
}
