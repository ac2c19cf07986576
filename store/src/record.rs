//! The payload of a log record: one mutation, whole, for one tenant.
//!
//! It names series by the numbers of one generation and carries the definitions that a reader may
//! not have yet. It has room for what D15 asks for: revision, kind, start timestamps, principal,
//! request id, deadline, ring version. `FORMAT.md` draws it.
//!
//! Values are coded one by one, without the series' last value, so that a record can be read
//! without those before it:
//!
//! | code | operands | the value |
//! |---|---|---|
//! | `00..7f` | – | the integer |
//! | `80..bf` | n bytes | bits 5–4: exponent 0, 2, 3 or 6; bit 3: negative; bits 2–0: n − 1 |
//! | `c0..c7` | n bytes | the float's n high bytes, n = low 3 bits + 1; the others are 0 |
//! | `c8` | – | the value before |
//!
//! Not here: framing and checksums (`commit_log.rs`), definitions (`definitions.rs`).

use crate::bytes::{Damaged, Input, put_ivarint, put_text, put_uvarint};
use crate::chunk::decimal;
use crate::definitions;
use crate::head::symbols::Symbols;
use crate::head::{Carried, NUMBER_STEP, REFUSED};
use model::mutation::{MetricMetadata, MetricType, Mutation};
use model::sample::SampleKind;
use model::{LabelSet, Principal, Sample, TenantId};

const VERSION: u8 = 1;

const HAS_STARTS: u8 = 1;
/// Each series has one sample, and all are of the same moment.
const IS_ROW: u8 = 2;
const HAS_DEFINITIONS: u8 = 4;
const HAS_METADATA: u8 = 8;

const KIND_FLOAT: u8 = 0;

const EXPONENTS: [u8; 4] = [0, 2, 3, 6];
const DECIMAL: u8 = 0x80;
const RAW: u8 = 0xc0;
const AGAIN: u8 = 0xc8;

/// What a record is made of.
pub(crate) struct Parts<'a> {
    pub(crate) mutation: &'a Mutation,
    pub(crate) generation: u64,
    /// For each series its number, or [`REFUSED`].
    pub(crate) numbers: &'a [u32],
    pub(crate) carried: &'a [Carried],
    /// The metadata that is news.
    pub(crate) metadata: &'a [&'a MetricMetadata],
}

/// Codes a mutation; the symbols are needed for definitions only. `None` if its columns do not fit its series, or its kind is not known here.
pub(crate) fn encode(parts: &Parts<'_>, symbols: Option<&Symbols>) -> Option<Vec<u8>> {
    let mutation = parts.mutation;
    let rows = Rows::of(mutation, parts.numbers)?;
    let mut out = Vec::with_capacity(128 + 6 * mutation.values.len());
    let has = |yes: bool, flag: u8| if yes { flag } else { 0 };
    let flags = has(!mutation.start_timestamps_ms.is_empty(), HAS_STARTS)
        | has(rows.is_row, IS_ROW)
        | has(symbols.is_some() && !parts.carried.is_empty(), HAS_DEFINITIONS)
        | has(!parts.metadata.is_empty(), HAS_METADATA);
    out.extend_from_slice(&[VERSION, flags, KIND_FLOAT]);
    put_context(&mut out, mutation);
    out.extend_from_slice(&parts.generation.to_le_bytes());
    put_uvarint(&mut out, u64::from(mutation.revision));
    if let Some(symbols) = symbols.filter(|_| !parts.carried.is_empty()) {
        let series = parts.carried.iter().map(|carried| (carried.number, &*carried.labels));
        definitions::encode(&mut out, symbols, series);
    }
    if !parts.metadata.is_empty() {
        put_metadata(&mut out, parts.metadata.iter().copied());
    }
    rows.put(&mut out);
    Some(out)
}

fn put_context(out: &mut Vec<u8>, mutation: &Mutation) {
    let context = &*mutation.context;
    put_text(out, context.tenant.as_str());
    match &context.principal {
        Principal::Anonymous => out.push(0),
        Principal::System => out.push(1),
        Principal::Named(name) => {
            out.push(2);
            put_text(out, name);
        }
    }
    out.extend_from_slice(&context.request_id.0.to_le_bytes());
    put_uvarint(out, u64::from(context.timeout_ms));
    put_uvarint(out, context.ring_version);
}

/// Appends metadata: a count, then metric, type, help and unit of each.
pub(crate) fn put_metadata<'a>(
    out: &mut Vec<u8>,
    entries: impl ExactSizeIterator<Item = &'a MetricMetadata>,
) {
    put_uvarint(out, entries.len() as u64);
    for entry in entries {
        put_text(out, &entry.metric);
        out.push(METRIC_TYPES.iter().position(|t| *t == entry.metric_type).map_or(0, low_byte));
        put_text(out, &entry.help);
        put_text(out, &entry.unit);
    }
}

const METRIC_TYPES: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// Reads metadata.
pub(crate) fn read_metadata(input: &mut Input<'_>) -> Result<Vec<MetricMetadata>, Damaged> {
    let read = |input: &mut Input<'_>| {
        let metric = input.text()?.into();
        let metric_type = METRIC_TYPES.get(usize::from(input.u8()?)).copied();
        let metric_type = metric_type.ok_or(Damaged("a metric has an unknown type"))?;
        Ok(MetricMetadata {
            metric,
            metric_type,
            help: input.text()?.into(),
            unit: input.text()?.into(),
        })
    };
    (0..input.count(4)?).map(|_| read(input)).collect()
}

/// The samples of a mutation, without the refused series.
struct Rows<'a> {
    mutation: &'a Mutation,
    numbers: &'a [u32],
    is_row: bool,
}

impl<'a> Rows<'a> {
    fn of(mutation: &'a Mutation, numbers: &'a [u32]) -> Option<Self> {
        let (len, starts) = (mutation.values.len(), mutation.start_timestamps_ms.len());
        let ends = || mutation.series.iter().map(|rows| rows.sample_end as usize);
        let sound = mutation.kind == SampleKind::Float
            && mutation.timestamps_ms.len() == len
            && (starts == 0 || starts == len)
            && numbers.len() == mutation.series.len()
            && ends().is_sorted()
            && ends().next_back().unwrap_or(0) == len;
        let first = mutation.timestamps_ms.first();
        let is_row = ends().zip(1..).all(|(end, count)| end == count)
            && mutation.timestamps_ms.iter().all(|at| Some(at) == first);
        sound.then_some(Self { mutation, numbers, is_row })
    }

    /// Each series that is kept: number, and its samples' indexes.
    fn kept(&self) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> + Clone + '_ {
        let ends = self.mutation.series.iter().map(|rows| rows.sample_end as usize);
        let starts = std::iter::once(0).chain(ends.clone());
        let ranges = starts.zip(ends).map(|(start, end)| start..end);
        self.numbers.iter().copied().zip(ranges).filter(|(number, _)| *number != REFUSED)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.put_numbers(out);
        if self.is_row {
            put_ivarint(out, self.mutation.timestamps_ms.first().copied().unwrap_or(0));
        } else {
            self.put_times(out);
        }
        let mut before = 0;
        for value in self.kept().flat_map(|(_, range)| &self.mutation.values[range]) {
            put_value(out, *value, before);
            before = value.to_bits();
        }
        if !self.mutation.start_timestamps_ms.is_empty() {
            let mut before = 0;
            for start in
                self.kept().flat_map(|(_, range)| &self.mutation.start_timestamps_ms[range])
            {
                put_ivarint(out, start.wrapping_sub(before));
                before = *start;
            }
        }
    }

    /// Runs of neighbours: how many runs, then of each the step to it and its length.
    fn put_numbers(&self, out: &mut Vec<u8>) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (number, _) in self.kept() {
            match runs.last_mut() {
                Some((first, len)) if Some(number) == next_number(*first, *len) => *len += 1,
                _ => runs.push((number, 1)),
            }
        }
        put_uvarint(out, runs.len() as u64);
        let mut expected = 0_i64;
        for (first, len) in runs {
            put_ivarint(out, i64::from(first) - expected);
            put_uvarint(out, u64::from(len));
            expected = i64::from(first) + i64::from(len) * i64::from(NUMBER_STEP);
        }
    }

    /// For each series 0 if it has the times of the series before, else their count and steps.
    fn put_times(&self, out: &mut Vec<u8>) {
        let times = &self.mutation.timestamps_ms;
        let mut before: &[i64] = &[];
        for (_, range) in self.kept() {
            let own = &times[range];
            if own == before && !own.is_empty() {
                out.push(0);
                continue;
            }
            put_uvarint(out, own.len() as u64 + 1);
            let mut last = before.first().copied().unwrap_or(0);
            for at in own {
                put_ivarint(out, at.wrapping_sub(last));
                last = *at;
            }
            before = own;
        }
    }
}

fn next_number(first: u32, len: u32) -> Option<u32> {
    len.checked_mul(NUMBER_STEP).and_then(|step| first.checked_add(step))
}

#[inline]
fn put_value(out: &mut Vec<u8>, value: f64, before: u64) {
    let bits = value.to_bits();
    if bits == before {
        out.push(AGAIN);
        return;
    }
    for (index, exponent) in EXPONENTS.iter().enumerate() {
        if let Some(mantissa) = decimal::mantissa(value, *exponent) {
            put_decimal(out, low_byte(index), mantissa);
            return;
        }
    }
    let zeros = bits.trailing_zeros().min(63) / 8;
    let bytes = bits.to_le_bytes();
    out.push(RAW | (7 - zeros.to_le_bytes()[0]));
    out.extend_from_slice(&bytes[zeros as usize..]);
}

#[inline]
fn put_decimal(out: &mut Vec<u8>, exponent_index: u8, mantissa: i64) {
    let magnitude = mantissa.unsigned_abs();
    if exponent_index == 0 && (0..0x80).contains(&mantissa) {
        out.push(magnitude.to_le_bytes()[0]);
        return;
    }
    let len = 8 - (magnitude | 1).leading_zeros() / 8;
    let sign = if mantissa < 0 { 8 } else { 0 };
    out.push(DECIMAL | exponent_index << 4 | sign | (len.to_le_bytes()[0] - 1));
    out.extend_from_slice(&magnitude.to_le_bytes()[..len as usize]);
}

#[inline]
fn read_value(input: &mut Input<'_>, before: f64) -> Result<f64, Damaged> {
    let code = input.u8()?;
    match code {
        ..DECIMAL => Ok(f64::from(code)),
        DECIMAL..RAW => {
            let len = usize::from(code & 7) + 1;
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(input.take(len)?);
            let magnitude = u64::from_le_bytes(bytes).cast_signed();
            let mantissa = if code & 8 == 0 { magnitude } else { magnitude.wrapping_neg() };
            Ok(decimal::float(mantissa, EXPONENTS[usize::from(code >> 4 & 3)]))
        }
        RAW..AGAIN => {
            let len = usize::from(code & 7) + 1;
            let mut bytes = [0; 8];
            bytes[8 - len..].copy_from_slice(input.take(len)?);
            Ok(f64::from_bits(u64::from_le_bytes(bytes)))
        }
        AGAIN => Ok(before),
        _ => Err(Damaged("a value has an unknown code")),
    }
}

/// A record that was read; its samples are decoded by [`Record::rows`].
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) generation: u64,
    pub(crate) definitions: Vec<(u32, LabelSet)>,
    pub(crate) metadata: Vec<MetricMetadata>,
    revision: u32,
    flags: u8,
    rest: Input<'a>,
}

/// Reads a record but for its samples.
pub(crate) fn decode(payload: &[u8]) -> Result<Record<'_>, Damaged> {
    let mut input = Input::new(payload);
    let [version, flags, kind] = input.array()?;
    if version != VERSION || kind != KIND_FLOAT {
        return Err(Damaged("a record of an unknown version or kind"));
    }
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
    Ok(Record { tenant, generation, definitions, metadata, revision, flags, rest: input })
}

impl Record<'_> {
    /// Decodes the samples and hands them to `visit`, series by series.
    ///
    /// Nothing is handed over unless all of it makes sense.
    pub(crate) fn rows(&self, mut visit: impl FnMut(u32, &[Sample])) -> Result<(), Damaged> {
        let mut input = self.rest;
        let runs: Vec<(i64, u64)> = (0..input.count(2)?)
            .map(|_| Ok((input.ivarint()?, input.uvarint()?)))
            .collect::<Result<_, Damaged>>()?;
        let series = runs.iter().fold(0_u64, |sum, (_, len)| sum.saturating_add(*len));
        // Each series takes a byte at least: its value, or the count of its times.
        let series = usize::try_from(series).ok().filter(|count| *count <= input.len());
        let series = series.ok_or(Damaged("a record names more series than it holds"))?;
        let (ends, times) = read_times(&mut input, self.flags & IS_ROW != 0, series)?;
        let mut samples = Vec::with_capacity(times.len());
        let mut value = 0.0;
        for timestamp_ms in times {
            value = read_value(&mut input, value)?;
            samples.push(Sample {
                timestamp_ms,
                value,
                start_timestamp_ms: 0,
                revision: self.revision,
            });
        }
        if self.flags & HAS_STARTS != 0 {
            let mut start = 0_i64;
            for sample in &mut samples {
                start = start.wrapping_add(input.ivarint()?);
                sample.start_timestamp_ms = start;
            }
        }
        if !input.is_empty() {
            return Err(Damaged("a record goes on behind its end"));
        }
        let numbers = numbers(&runs)?;
        let mut first = 0;
        for (number, end) in numbers.zip(ends) {
            visit(number, samples.get(first..end).unwrap_or(&[]));
            first = end;
        }
        Ok(())
    }
}

/// For each series where its samples end, and all their times.
fn read_times(
    input: &mut Input<'_>,
    is_row: bool,
    series: usize,
) -> Result<(Vec<usize>, Vec<i64>), Damaged> {
    if is_row {
        let at = input.ivarint()?;
        return Ok(((1..=series).collect(), vec![at; series]));
    }
    let (mut ends, mut times) = (Vec::with_capacity(series), Vec::new());
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
    Ok((ends, times))
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Context, RequestId, SeriesRef};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Time, bits of the value, start.
    type Samples = Vec<(i64, u64, i64)>;

    fn mutation(series: Vec<(u32, Samples)>, has_starts: bool) -> (Mutation, Vec<u32>) {
        let context = Context {
            tenant: TenantId::parse("t").unwrap(),
            principal: Principal::Named("someone".into()),
            request_id: RequestId(7),
            timeout_ms: 9,
            now: model::TimestampMs(0),
            ring_version: 0,
        };
        let mut mutation = Mutation::empty(Arc::new(context));
        let mut numbers = Vec::new();
        for (number, samples) in series {
            numbers.push(number);
            if has_starts {
                mutation.start_timestamps_ms.extend(samples.iter().map(|s| s.2));
            }
            let samples = samples.iter().map(|(at, bits, _)| (*at, f64::from_bits(*bits)));
            mutation.push(SeriesRef::Number(number), samples);
        }
        (mutation, numbers)
    }

    fn encoded(mutation: &Mutation, numbers: &[u32]) -> Vec<u8> {
        let parts = Parts { mutation, generation: 5, numbers, carried: &[], metadata: &[] };
        encode(&parts, None).unwrap()
    }

    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (-300_i32..300).prop_map(|n| f64::from(n).to_bits()),
            (-100_000_i32..100_000).prop_map(|n| (f64::from(n) / 1000.0).to_bits()),
            Just(0_u64),
        ]
    }

    fn samples() -> impl Strategy<Value = Vec<(i64, u64, i64)>> {
        let at = prop_oneof![Just(15_000_i64), 0_i64..100, any::<i64>()];
        prop_oneof![
            at.clone().prop_map(|at| vec![(at, 0, 0)]),
            prop::collection::vec((at, value(), any::<i64>()), 0..5),
        ]
    }

    proptest! {
        #[test]
        fn a_record_gives_every_sample_back(
            series in prop::collection::vec(
                (prop_oneof![(0_u32..20).prop_map(|n| n * 16), any::<u32>()], samples()), 0..20),
            has_starts: bool,
        ) {
            let (mutation, numbers) = mutation(series.clone(), has_starts);
            let bytes = encoded(&mutation, &numbers);
            let record = decode(&bytes).unwrap();
            prop_assert_eq!((record.tenant.as_str(), record.generation), ("t", 5));
            let mut back = Vec::new();
            record.rows(|number, samples| {
                let samples: Vec<_> = samples
                    .iter()
                    .map(|s| (s.timestamp_ms, s.value.to_bits(), s.start_timestamp_ms))
                    .collect();
                back.push((number, samples));
            }).unwrap();
            let expected: Vec<_> = series
                .into_iter()
                .filter(|(number, _)| *number != REFUSED)
                .map(|(number, mut samples)| {
                    samples.iter_mut().for_each(|s| if !has_starts { s.2 = 0 });
                    (number, samples)
                })
                .collect();
            prop_assert_eq!(back, expected);
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(
            series in prop::collection::vec((any::<u32>(), samples()), 0..5),
            at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        ) {
            let (mutation, numbers) = mutation(series, false);
            let mut bytes = encoded(&mutation, &numbers);
            let index = at.index(bytes.len());
            bytes[index] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(record) = decode(&bytes) {
                let _ = record.rows(|_, _| ());
            }
        }
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let labels = [("__name__", "up"), ("job", "j")];
        let mut symbols = Symbols::new(0);
        let ids = symbols.intern_labels(&LabelSet::from_pairs(labels).unwrap());
        let samples = |value: f64| vec![(1000, value.to_bits(), 0)];
        let (mutation, numbers) = mutation(vec![(5, samples(1.0)), (21, samples(-2.5))], false);
        let carried = [Carried { number: 5, labels: ids, is_last: false }];
        let parts = Parts {
            mutation: &mutation,
            generation: 5,
            numbers: &numbers,
            carried: &carried,
            metadata: &[],
        };
        let bytes = encode(&parts, Some(&symbols)).unwrap();
        assert_eq!(crate::bytes::dump(&bytes), crate::bytes::documented("the payload of a record"));
    }

    #[test]
    fn a_scrape_row_takes_a_few_bytes_a_sample() {
        let row = (0..1000_u32).map(|n| {
            let value = if n % 2 == 0 { f64::from(n % 7) } else { f64::from(n) * 1234.56 };
            (n * 16, vec![(1_700_000_000_000, value.to_bits(), 0)])
        });
        let (mutation, numbers) = mutation(row.collect(), false);
        let bytes = encoded(&mutation, &numbers).len();
        assert!(bytes < 4_000, "{bytes} bytes for 1,000 samples");
    }
}
