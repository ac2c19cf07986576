//! The payload of a log record: one mutation, whole, for one tenant.
//!
//! It names series by the numbers of one generation and carries the definitions that a reader may
//! not have yet. It has room for what D15 asks for: revision, kind, start timestamps, principal,
//! request id, deadline, ring version. `FORMAT.md` draws it.
//!
//! Not here: framing and checksums (`commit_log.rs`), definitions (`definitions.rs`).

mod metadata;
mod read;
mod value;

pub(crate) use metadata::{metadata_bytes, put_metadata, read_metadata};
pub(crate) use read::{Room, Samples, decode, read_exemplars};

use crate::bytes::{put_ivarint, put_text, put_uvarint};
use crate::definitions;
use crate::exemplar;
use crate::head::symbols::Symbols;
use crate::head::{Carried, NUMBER_STEP, REFUSED};
use model::mutation::{MetricMetadata, Mutation};
use model::sample::SampleKind;
use model::{Exemplar, Principal};
use value::put_value;

const VERSION: u8 = 1;

const HAS_STARTS: u8 = 1;
/// Each series has one sample, and all are of the same moment.
const IS_ROW: u8 = 2;
const HAS_DEFINITIONS: u8 = 4;
const HAS_METADATA: u8 = 8;
const HAS_EXEMPLARS: u8 = 16;

const KIND_FLOAT: u8 = 0;
const KIND_HISTOGRAM: u8 = 1;

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
    let exemplars = rows.exemplars();
    let histograms: usize = mutation.histograms.iter().map(|one| 40 + 2 * one.buckets()).sum();
    let mut out = Vec::with_capacity(128 + 6 * mutation.values.len() + histograms);
    let has = |yes: bool, flag: u8| if yes { flag } else { 0 };
    let flags = has(!mutation.start_timestamps_ms.is_empty(), HAS_STARTS)
        | has(rows.is_row, IS_ROW)
        | has(symbols.is_some() && !parts.carried.is_empty(), HAS_DEFINITIONS)
        | has(!parts.metadata.is_empty(), HAS_METADATA)
        | has(!exemplars.is_empty(), HAS_EXEMPLARS);
    let kind = match mutation.kind {
        SampleKind::Float => KIND_FLOAT,
        SampleKind::Histogram => KIND_HISTOGRAM,
    };
    out.extend_from_slice(&[VERSION, flags, kind]);
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
    if !exemplars.is_empty() {
        put_uvarint(&mut out, exemplars.len() as u64);
        for (number, exemplar) in exemplars {
            put_uvarint(&mut out, u64::from(number));
            exemplar::put(&mut out, exemplar);
        }
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

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// The samples of a mutation, without the refused series.
struct Rows<'a> {
    mutation: &'a Mutation,
    numbers: &'a [u32],
    is_row: bool,
}

impl<'a> Rows<'a> {
    fn of(mutation: &'a Mutation, numbers: &'a [u32]) -> Option<Self> {
        let (len, starts) = (mutation.timestamps_ms.len(), mutation.start_timestamps_ms.len());
        let values = match mutation.kind {
            SampleKind::Float => (len, 0),
            SampleKind::Histogram => (0, len),
        };
        let ends = || mutation.series.iter().map(|rows| rows.sample_end as usize);
        let sound = (mutation.values.len(), mutation.histograms.len()) == values
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

    /// The exemplars of kept series, with these' numbers.
    fn exemplars(&self) -> Vec<(u32, &'a Exemplar)> {
        let number = |series: u32| self.numbers.get(series as usize).copied();
        let all = self.mutation.exemplars.iter();
        all.filter_map(|(series, exemplar)| Some((number(*series)?, exemplar)))
            .filter(|(number, _)| *number != REFUSED)
            .collect()
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.put_numbers(out);
        if self.is_row {
            put_ivarint(out, self.mutation.timestamps_ms.first().copied().unwrap_or(0));
        } else {
            self.put_times(out);
        }
        match self.mutation.kind {
            SampleKind::Float => {
                let mut before = 0;
                for value in self.kept().flat_map(|(_, range)| &self.mutation.values[range]) {
                    put_value(out, *value, before);
                    before = value.to_bits();
                }
            }
            SampleKind::Histogram => {
                let all = self.kept().flat_map(|(_, range)| &self.mutation.histograms[range]);
                all.for_each(|histogram| histogram.put_canonical(out));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::histogram::tests::histogram;
    use model::{Context, Histogram, HistogramSample, LabelSet, RequestId, SeriesRef, TenantId};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Time, bits of the value, start.
    type Triples = Vec<(i64, u64, i64)>;

    fn mutation(series: Vec<(u32, Triples)>, has_starts: bool) -> (Mutation, Vec<u32>) {
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

    /// When, what, since when.
    type HistogramRows = Vec<(i64, Histogram, i64)>;

    fn histograms(
        series: &[(u32, HistogramRows)],
        exemplars: &[(prop::sample::Index, i64, u64)],
    ) -> (Mutation, Vec<u32>) {
        let (mut mutation, _) = mutation(vec![], false);
        (mutation.kind, mutation.revision) = (SampleKind::Histogram, 2);
        for (number, samples) in series {
            for (at, histogram, start) in samples {
                mutation.timestamps_ms.push(*at);
                mutation.histograms.push(Arc::new(histogram.clone()));
                mutation.start_timestamps_ms.push(*start);
            }
            mutation.end_series(SeriesRef::Number(*number));
        }
        for (index, timestamp_ms, bits) in exemplars {
            let labels = LabelSet::from_pairs([("trace_id", "t")]).unwrap();
            let (timestamp_ms, value) = (*timestamp_ms, f64::from_bits(*bits));
            let index = u32::try_from(index.index(series.len())).unwrap();
            mutation.exemplars.push((index, Exemplar { timestamp_ms, value, labels }));
        }
        (mutation, series.iter().map(|(number, _)| *number).collect())
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
            record.rows(&mut Room::default(), |number, samples| {
                let Samples::Floats(samples) = samples else { panic!("floats") };
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
        fn a_record_gives_every_histogram_and_exemplar_back(
            series in prop::collection::vec(
                (any::<u32>(), prop::collection::vec((any::<i64>(), histogram(), any::<i64>()), 0..3)), 1..5),
            exemplars in prop::collection::vec((any::<prop::sample::Index>(), any::<i64>(), any::<u64>()), 0..4),
            at: prop::sample::Index, byte: u8,
        ) {
            let (mutation, numbers) = histograms(&series, &exemplars);
            let mut bytes = encoded(&mutation, &numbers);
            let record = decode(&bytes).unwrap();
            let expected: Vec<_> = mutation
                .exemplars
                .iter()
                .map(|(index, exemplar)| (numbers[*index as usize], exemplar.clone()))
                .filter(|(number, _)| *number != REFUSED)
                .collect();
            prop_assert_eq!(&record.exemplars, &expected);
            let mut back = Vec::new();
            record.rows(&mut Room::default(), |number, samples| {
                let Samples::Histograms(samples) = samples else { panic!("histograms") };
                let of = |s: &HistogramSample| {
                    (s.timestamp_ms, (*s.histogram).clone(), s.start_timestamp_ms)
                };
                assert!(samples.iter().all(|sample| sample.revision == 2));
                back.push((number, samples.iter().map(of).collect::<Vec<_>>()));
            }).unwrap();
            let kept = series.into_iter().filter(|(number, _)| *number != REFUSED);
            prop_assert_eq!(back, kept.collect::<Vec<_>>());
            let index = at.index(bytes.len());
            bytes[index] = byte;
            if let Ok(record) = decode(&bytes) {
                let _ = record.rows(&mut Room::default(), |_, _| ());
            }
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
                let _ = record.rows(&mut Room::default(), |_, _| ());
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
