//! Histograms: what a writer of this form writes comes back; what is damaged is refused.

use super::super::chunk::encoding::{FLOAT_HISTOGRAM, HISTOGRAM};
use super::super::record::Entry;
use super::*;
use model::Histogram;
use model::histogram::{CUSTOM_BUCKETS, Counts, ResetHint, Span};
use std::sync::Arc;

const UNKNOWN: u8 = 0;
const RESET: u8 = 0b1000_0000;
const NO_RESET: u8 = 0b0100_0000;
const GAUGE: u8 = 0b1100_0000;

impl BitWriter {
    fn unsigned_varbit(&mut self, number: u64) {
        let bits = 64 - number.leading_zeros();
        self.width(bits);
        self.put(
            number,
            [0, 3, 6, 9, 12, 18, 25, 56, 64].into_iter().find(|w| *w >= bits).unwrap(),
        );
    }

    /// From just above minus a half to a half, as many bits as are needed.
    fn varbit(&mut self, number: i64) {
        let fits = |width: &u32| match *width {
            0 => number == 0,
            64 => true,
            width => (-(1 << (width - 1)) + 1..=1 << (width - 1)).contains(&number),
        };
        let width = [0, 3, 6, 9, 12, 18, 25, 56, 64].into_iter().find(fits).unwrap();
        self.width(width);
        self.put(number.cast_unsigned(), width);
    }

    fn width(&mut self, bits: u32) {
        match [0, 3, 6, 9, 12, 18, 25, 56, 64].into_iter().position(|width| width >= bits).unwrap()
        {
            8 => self.put(0xFF, 8),
            ones => self.put((1 << (ones + 1)) - 2, u32::try_from(ones).unwrap() + 1),
        }
    }

    fn float(&mut self, before: u64, value: u64) {
        match before ^ value {
            0 => self.put(0, 1),
            changed => {
                self.put(0b11, 2);
                self.put(0, 5 + 6);
                self.put(changed, 64);
            }
        }
    }
}

/// The numbers of a histogram in the order of a chunk: count, zero count, buckets; as bits if they
/// are floats, buckets as differences if not.
fn numbers(histogram: &Histogram) -> Vec<u64> {
    let differences = |list: &[u64]| {
        let mut before = 0;
        let next = |n: &u64| n.wrapping_sub(std::mem::replace(&mut before, *n));
        list.iter().map(next).collect::<Vec<u64>>()
    };
    let bits = |list: &[f64]| list.iter().map(|n| n.to_bits()).collect::<Vec<u64>>();
    match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            [vec![*count, *zero_count], differences(positive), differences(negative)].concat()
        }
        Counts::Float { count, zero_count, positive, negative } => {
            [bits(&[*count, *zero_count]), bits(positive), bits(negative)].concat()
        }
    }
}

fn put_layout(bits: &mut BitWriter, histogram: &Histogram) {
    match histogram.zero_threshold {
        0.0 => bits.put(0, 8),
        // The powers of two have numbers: 2^-128 is 116.
        at if at.to_bits() == 2_f64.powi(-128).to_bits() => bits.put(116, 8),
        at => {
            bits.put(255, 8);
            bits.put(at.to_bits(), 64);
        }
    }
    bits.varbit(histogram.schema.into());
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        bits.unsigned_varbit(spans.len() as u64);
        for span in spans {
            bits.unsigned_varbit(span.length.into());
            bits.varbit(span.offset.into());
        }
    }
    if histogram.schema == CUSTOM_BUCKETS {
        bits.unsigned_varbit(histogram.custom_values.len() as u64);
        for value in &histogram.custom_values {
            match (value * 1000.0).fract() == 0.0 && *value >= 0.0 {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                true => bits.unsigned_varbit((value * 1000.0) as u64 + 1),
                false => {
                    bits.unsigned_varbit(0);
                    bits.put(value.to_bits(), 64);
                }
            }
        }
    }
}

/// Histograms of one layout as a chunk; returns its encoding too.
fn histogram_chunk(header: u8, rows: &[(i64, Histogram)]) -> (u8, Vec<u8>) {
    let mut bits = BitWriter::default();
    let first = &rows[0].1;
    let is_float = matches!(first.counts, Counts::Float { .. });
    put_layout(&mut bits, first);
    let mut sum = 0;
    let mut before = vec![0_u64; numbers(first).len()];
    let mut change = before.clone();
    let (mut at_before, mut at_change) = (0_i64, 0_i64);
    for (index, (at, histogram)) in rows.iter().enumerate() {
        let step = at.wrapping_sub(at_before);
        match index {
            0 => bits.varbit(*at),
            1 if !is_float => bits.unsigned_varbit(step.cast_unsigned()),
            _ => bits.varbit(step.wrapping_sub(at_change)),
        }
        (at_before, at_change) = (*at, if index == 0 { 0 } else { step });
        let have = numbers(histogram);
        let is_stale = histogram.is_stale();
        let mut put = |bits: &mut BitWriter, place: usize| match (is_float, index) {
            (true, 0) => bits.put(have[place], 64),
            (true, _) => bits.float(before[place], have[place]),
            (false, 0) if place < 2 => bits.unsigned_varbit(have[place]),
            (false, 0) => bits.varbit(have[place].cast_signed()),
            (false, _) => {
                let now = have[place].wrapping_sub(before[place]);
                bits.varbit(now.wrapping_sub(change[place]).cast_signed());
                change[place] = now;
            }
        };
        put(&mut bits, 0);
        put(&mut bits, 1);
        match index {
            0 => bits.put(histogram.sum.to_bits(), 64),
            _ => bits.float(sum, histogram.sum.to_bits()),
        }
        sum = histogram.sum.to_bits();
        if !is_stale {
            (2..have.len()).for_each(|place| put(&mut bits, place));
        }
        before[..have.len()].clone_from_slice(&have);
    }
    let mut out = u16::try_from(rows.len()).unwrap().to_be_bytes().to_vec();
    out.push(header);
    out.extend(bits.bytes());
    (if is_float { FLOAT_HISTOGRAM } else { HISTOGRAM }, out)
}

/// A histogram as it lies in a record.
fn whole(hint: u8, histogram: &Histogram) -> Vec<u8> {
    let zigzag = |n: i64| uvarint((n << 1 ^ n >> 63).cast_unsigned());
    let is_float = matches!(histogram.counts, Counts::Float { .. });
    let all = numbers(histogram);
    let mut out = vec![hint];
    out.extend(zigzag(histogram.schema.into()));
    out.extend(histogram.zero_threshold.to_bits().to_be_bytes());
    let number = |n: u64| if is_float { n.to_be_bytes().to_vec() } else { uvarint(n) };
    out.extend([number(all[1]), number(all[0])].concat());
    out.extend(histogram.sum.to_bits().to_be_bytes());
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        out.extend(uvarint(spans.len() as u64));
        for span in spans {
            out.extend(zigzag(span.offset.into()));
            out.extend(uvarint(span.length.into()));
        }
    }
    let positive: u32 = histogram.positive_spans.iter().map(|span| span.length).sum();
    let (positive, negative) = all[2..].split_at(positive as usize);
    for buckets in [positive, negative] {
        out.extend(uvarint(buckets.len() as u64));
        for n in buckets {
            out.extend(if is_float { number(*n) } else { zigzag(n.cast_signed()) });
        }
    }
    if histogram.schema == CUSTOM_BUCKETS {
        out.extend(uvarint(histogram.custom_values.len() as u64));
        histogram.custom_values.iter().for_each(|v| out.extend(v.to_bits().to_be_bytes()));
    }
    out
}

fn record(kind: u8, number: u64, rows: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(number.to_be_bytes());
    out.extend(0_i64.to_be_bytes());
    for (at, bytes) in rows {
        out.push(0);
        out.extend(uvarint((at << 1 ^ at >> 63).cast_unsigned()));
        out.extend(bytes);
    }
    out
}

/// Of one layout: spans, schema and what goes with it, and the buckets of each sample.
#[derive(Clone, Debug)]
struct Series {
    schema: i8,
    zero_threshold: f64,
    positive: Vec<(i32, u32)>,
    negative: Vec<(i32, u32)>,
    is_float: bool,
    /// When, the sum, the counts of buckets; which are cut to what is needed. No counts: stale.
    rows: Vec<(i64, f64, Option<Vec<u32>>)>,
}

fn series() -> impl Strategy<Value = Series> {
    let spans = || prop::collection::vec((0_i32..40, 0_u32..5), 0..4);
    let layout = (
        prop_oneof![-4_i8..=8, Just(CUSTOM_BUCKETS)],
        prop_oneof![Just(0.0), Just(2_f64.powi(-128)), Just(0.3)],
        (spans(), spans()),
        any::<bool>(),
    );
    let counts = prop::collection::vec(0_u32..1000, 40);
    let row = (any::<i64>(), any::<f64>(), prop::option::weighted(0.8, counts));
    (layout, prop::collection::vec(row, 1..12)).prop_map(
        |((schema, zero_threshold, (positive, negative), is_float), rows)| match schema {
            CUSTOM_BUCKETS => Series {
                schema,
                zero_threshold: 0.0,
                positive: vec![(1, 4)],
                negative: vec![],
                is_float,
                rows,
            },
            _ => Series { schema, zero_threshold, positive, negative, is_float, rows },
        },
    )
}

impl Series {
    fn histogram(&self, sum: f64, counts: &[u32]) -> Histogram {
        let spans = |list: &[(i32, u32)]| {
            let span = |(offset, length): &(i32, u32)| Span { offset: *offset, length: *length };
            list.iter().map(span).collect::<Vec<_>>()
        };
        let len = |list: &[(i32, u32)]| list.iter().map(|span| span.1 as usize).sum::<usize>();
        let is_custom = self.schema == CUSTOM_BUCKETS;
        let zero = if is_custom { 0 } else { counts[39] };
        let (positive, negative) = counts.split_at(20);
        let (positive, negative) =
            (&positive[..len(&self.positive)], &negative[..len(&self.negative)]);
        let count: u64 = positive.iter().chain(negative).map(|n| u64::from(*n)).sum();
        let ints = |list: &[u32]| list.iter().map(|n| u64::from(*n)).collect();
        let floats = |list: &[u32]| list.iter().map(|n| f64::from(*n) / 3.0).collect();
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum,
            reset_hint: ResetHint::Unknown,
            positive_spans: spans(&self.positive),
            negative_spans: spans(&self.negative),
            custom_values: if is_custom { vec![-1.5, 0.005, 1.0 / 3.0, 2.0] } else { vec![] },
            counts: match self.is_float {
                false => Counts::Integer {
                    count: count + u64::from(zero),
                    zero_count: zero.into(),
                    positive: ints(positive),
                    negative: ints(negative),
                },
                true => Counts::Float {
                    count: 1.0 / 3.0,
                    zero_count: zero.into(),
                    positive: floats(positive),
                    negative: floats(negative),
                },
            },
        }
    }

    /// As Prometheus writes it: a stale marker has no buckets, and begins no chunk that goes on.
    fn rows(&self) -> Vec<(i64, Histogram)> {
        let one = |(at, sum, counts): &(i64, f64, Option<Vec<u32>>)| match counts {
            Some(counts) => (*at, self.histogram(*sum, counts)),
            None => (*at, self.stale()),
        };
        let rows = self.rows.iter().map(one);
        rows.skip_while(|(_, histogram)| histogram.is_stale()).collect()
    }

    fn stale(&self) -> Histogram {
        let (positive, negative) = (Vec::new(), Vec::new());
        let counts = Counts::Float { count: 0.0, zero_count: 0.0, positive, negative };
        match self.is_float {
            true => Histogram { counts, ..Histogram::stale() },
            false => Histogram::stale(),
        }
    }
}

/// What is expected of rows: stale markers are bare.
fn expected(rows: &[(i64, Histogram)], hint: impl Fn(usize) -> ResetHint) -> Vec<(i64, Histogram)> {
    let one = |(index, (at, histogram)): (usize, &(i64, Histogram))| {
        let histogram = match histogram.is_stale() {
            true => Histogram::stale(),
            false => histogram.clone(),
        };
        (*at, Histogram { reset_hint: hint(index), ..histogram })
    };
    rows.iter().enumerate().map(one).collect()
}

fn decoded(samples: &[HistogramSample]) -> Vec<(i64, Histogram)> {
    samples.iter().map(|s| (s.timestamp_ms, (*s.histogram).clone())).collect()
}

proptest! {
    #[test]
    fn a_chunk_of_histograms_comes_back_to_the_bit_and_its_header_is_the_hint(series in series(), header in 0_usize..4) {
        let rows = series.rows();
        prop_assume!(!rows.is_empty());
        let header = [UNKNOWN, RESET, NO_RESET, GAUGE][header];
        let (encoding, bytes) = histogram_chunk(header, &rows);
        let mut have = Rows::default();
        prop_assert_eq!(chunk::decode(encoding, &bytes, &mut have), Ok(true));
        let hint = |index: usize| match header {
            GAUGE => ResetHint::Gauge,
            RESET if index == 0 => ResetHint::Yes,
            _ => ResetHint::Unknown,
        };
        prop_assert_eq!(decoded(&have.histograms), expected(&rows, hint));
    }

    #[test]
    fn a_record_of_histograms_comes_back_to_the_bit(series in series(), hint in 0_u8..4) {
        let rows = series.rows();
        let is_custom = series.schema == CUSTOM_BUCKETS;
        let kind = 7 + u8::from(series.is_float) + 2 * u8::from(is_custom);
        let bytes: Vec<_> = rows.iter().map(|(at, one)| (*at, whole(hint, one))).collect();
        let mut have = Vec::new();
        let outcome = record::entries(&record(kind, 7, &bytes), &mut |entry| {
            let Entry::Histogram(7, sample) = entry else { panic!("{entry:?}") };
            have.push(sample);
            Ok(())
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        let hint = [ResetHint::Unknown, ResetHint::Yes, ResetHint::Unknown, ResetHint::Gauge][usize::from(hint)];
        prop_assert_eq!(decoded(&have), expected(&rows, |_| hint));
    }

    #[test]
    fn a_damaged_chunk_or_record_of_histograms_is_refused_or_valid_and_bounded(
        series in series(), at: prop::sample::Index, byte: u8,
    ) {
        let rows = series.rows();
        prop_assume!(!rows.is_empty());
        let (encoding, mut bytes) = histogram_chunk(UNKNOWN, &rows);
        let mut whole = record(7 + u8::from(series.is_float), 7, &[(5, whole(0, &rows[0].1))]);
        for len in 0..bytes.len() {
            let mut have = Rows::default();
            prop_assert!(chunk::decode(encoding, &bytes[..len], &mut have).is_err());
        }
        let (chunk_at, record_at) = (at.index(bytes.len()), at.index(whole.len()));
        bytes[chunk_at] = byte;
        whole[record_at] = byte;
        let mut have = Rows::default();
        let _ = chunk::decode(encoding, &bytes, &mut have);
        let _ = record::entries(&whole, &mut |entry| {
            if let Entry::Histogram(_, sample) = entry {
                have.histograms.push(sample);
            }
            Ok(())
        });
        for sample in &have.histograms {
            prop_assert_eq!(sample.histogram.validate(), Ok(()));
        }
    }
}

/// Two samples of one bucket, bit by bit.
#[test]
fn the_bits_of_a_chunk_are_those_of_prometheus() {
    // 2 samples, no header; zero threshold 2^-128; schema 3; a positive span of length 1 at offset
    // 0; no negative one; then time 10, count 2, zero count 1, sum 1.0, bucket 1; then 5 later,
    // 1 more, the same zero count, the same sum, 1 more in the bucket.
    let bits = concat!(
        "01110100",
        "10011",
        "10001",
        "10001",
        "0",
        "0",
        "110001010",
        "10010",
        "10001",
        "0011111111110000000000000000000000000000000000000000000000000000",
        "10001",
        "10101",
        "10001",
        "0",
        "0",
        "10001"
    );
    let mut writer = BitWriter::default();
    bits.bytes().for_each(|bit| writer.put(u64::from(bit == b'1'), 1));
    let mut have = Rows::default();
    let bytes = [&[0, 2, 0][..], &writer.bytes()].concat();
    assert_eq!(chunk::decode(HISTOGRAM, &bytes, &mut have), Ok(true));
    let one = |at, count: u64| {
        let (positive, negative) = (vec![count - 1], vec![]);
        let histogram = Histogram {
            schema: 3,
            zero_threshold: 2_f64.powi(-128),
            sum: 1.0,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            counts: Counts::Integer { count, zero_count: 1, positive, negative },
            ..Histogram::stale()
        };
        (at, histogram)
    };
    assert_eq!(decoded(&have.histograms), [one(10, 2), one(15, 3)]);
}

#[test]
fn a_small_chunk_that_would_unpack_to_much_is_refused() {
    let spans = (0..8000).map(|_| Span { offset: 0, length: 1 }).collect();
    let counts =
        Counts::Integer { count: 0, zero_count: 0, positive: vec![0; 8000], negative: Vec::new() };
    let large = Histogram { sum: 0.0, positive_spans: spans, counts, ..Histogram::stale() };
    let rows: Vec<_> = (0..2000).map(|at| (at, large.clone())).collect();
    let (encoding, bytes) = histogram_chunk(UNKNOWN, &rows);
    assert!(bytes.len() < 2_100_000, "{}", bytes.len());
    let mut have = Rows::default();
    let refused = chunk::decode(encoding, &bytes, &mut have).unwrap_err();
    assert_eq!(refused.0, "a chunk unpacks to more than 64 MiB");
    assert!(have.histograms.len() < 1000);
}

#[test]
fn a_log_gives_its_histograms_and_exemplars_and_what_contradicts_itself_is_named() {
    let series = Series {
        schema: 0,
        zero_threshold: 0.0,
        positive: vec![(0, 2)],
        negative: vec![],
        is_float: false,
        rows: Vec::new(),
    };
    let good = series.histogram(1.0, &[3; 40]);
    let bad = {
        let mut bad = good.clone();
        let Counts::Integer { count, .. } = &mut bad.counts else { panic!() };
        *count += 1;
        bad
    };
    let mut exemplars = vec![4];
    exemplars.extend(7_u64.to_be_bytes());
    exemplars.extend(100_i64.to_be_bytes());
    exemplars.extend([0, 6]);
    exemplars.extend(0.5_f64.to_bits().to_be_bytes());
    exemplars.extend([1, 2, b'i', b'd', 1, b'x']);
    let records = [
        series_record(7, "up"),
        record(7, 7, &[(1, whole(0, &good)), (2, whole(0, &bad)), (3, whole(0, &good))]),
        record(7, 7, &[(4, whole(0, &good)), (5, whole(0, &series.stale()))]),
        exemplars.clone(),
        sample_record(7, 6, 0.5),
    ];
    let log: Vec<u8> = records.iter().flat_map(|record| fragment(record)).collect();
    let error = read_log(&log, Options::default()).1.unwrap_err().to_string();
    assert!(error.contains("the count is not the sum of the buckets"), "{error}");
    let (seen, report) = read_log(&log, Options { skip_damaged: true });
    let report = report.unwrap();
    // The log is read twice: each time what is behind the bad one in its record is left out.
    assert_eq!((report.samples, report.exemplars, report.damaged), (4, 1, 2));
    let times: Vec<i64> = decoded(&seen.histograms[0].1).iter().map(|row| row.0).collect();
    assert_eq!(times, [1, 4, 5]);
    assert_eq!(seen.samples[0].1, [(6, 0.5_f64.to_bits())]);
    let labels = LabelSet::from_pairs([("id", "x")]).unwrap();
    assert_eq!(seen.exemplars[0].1, Exemplar { timestamp_ms: 103, value: 0.5, labels });

    let unknown: Vec<u8> = fragment(&exemplars);
    let (seen, report) = read_log(&unknown, Options::default());
    assert_eq!((seen.exemplars.len(), report.unwrap().without_series), (0, 1));
}

#[test]
fn a_head_chunk_gives_its_histograms_but_not_what_is_deleted_or_in_a_block() {
    let series = Series {
        schema: 0,
        zero_threshold: 0.0,
        positive: vec![(0, 2)],
        negative: vec![],
        is_float: true,
        rows: Vec::new(),
    };
    let rows: Vec<_> = (0..9).map(|at| (at, series.histogram(1.0, &[3; 40]))).collect();
    let (encoding, data) = histogram_chunk(RESET, &rows);
    let mut chunk = 7_u64.to_be_bytes().to_vec();
    chunk.extend([0; 16]);
    chunk.push(encoding);
    chunk.extend(uvarint(data.len() as u64));
    chunk.extend(&data);
    chunk.extend(crc32c::crc32c(&chunk).to_be_bytes());
    let file = [&[1, 0x30, 0xBC, 0x91, 1, 0, 0, 0], &chunk[..], &[0; 64]].concat();
    let mut tombstone = vec![3];
    tombstone.extend(7_u64.to_be_bytes());
    // From 2 to 4, both included, in zigzag.
    tombstone.extend([4, 8]);
    let log = [fragment(&series_record(7, "up")), fragment(&tombstone)].concat();

    let directory = tempfile::tempdir().unwrap();
    for part in ["wal", "chunks_head"] {
        std::fs::create_dir(directory.path().join(part)).unwrap();
    }
    std::fs::write(directory.path().join("wal/00000000"), log).unwrap();
    std::fs::write(directory.path().join("chunks_head/000001"), file).unwrap();
    let mut seen = Seen::default();
    let report = super::super::read(directory.path(), Options::default(), &mut seen, &mut |_| {});
    assert_eq!(report.unwrap().samples, 6);
    let have: Vec<_> = seen.histograms[0].1.iter().collect();
    let times: Vec<i64> = have.iter().map(|sample| sample.timestamp_ms).collect();
    assert_eq!(times, [0, 1, 5, 6, 7, 8]);
    assert_eq!(have[0].histogram.reset_hint, ResetHint::Yes);
    assert_eq!(have[5].histogram, Arc::new(rows[8].1.clone()));
}
