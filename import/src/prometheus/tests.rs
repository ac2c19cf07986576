//! Any bytes: refused or read, never a panic, and no allocation that the bytes do not bound.

use super::chunk;
use super::record;
use super::rows::Rows;
use super::tombstones::Tombstones;
use crate::bits::{Bits, XorFloat};
use crate::{Options, Report, Sink};
use model::mutation::MetricMetadata;
use model::{Exemplar, HistogramSample, LabelSet, Sample};
use proptest::prelude::*;

mod histograms;

#[derive(Debug, Default)]
struct Seen {
    samples: Vec<(LabelSet, Vec<(i64, u64)>)>,
    histograms: Vec<(LabelSet, Vec<HistogramSample>)>,
    exemplars: Vec<(LabelSet, Exemplar)>,
    metadata: Vec<MetricMetadata>,
}

impl Sink for Seen {
    fn samples(&mut self, labels: &LabelSet, samples: &[Sample]) -> store::Result<()> {
        let rows = samples.iter().map(|s| (s.timestamp_ms, s.value.to_bits())).collect();
        self.samples.push((labels.clone(), rows));
        Ok(())
    }
    fn histograms(&mut self, labels: &LabelSet, samples: &[HistogramSample]) -> store::Result<()> {
        self.histograms.push((labels.clone(), samples.to_vec()));
        Ok(())
    }
    fn exemplar(&mut self, labels: &LabelSet, exemplar: Exemplar) {
        self.exemplars.push((labels.clone(), exemplar));
    }
    fn metadata(&mut self, entry: MetricMetadata) {
        self.metadata.push(entry);
    }
    fn day_is_complete(&mut self) -> store::Result<()> {
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn uvarint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// A record in one fragment, as it lies in a segment.
fn fragment(record: &[u8]) -> Vec<u8> {
    let mut out = vec![1];
    out.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
    out.extend(crc32c::crc32c(record).to_be_bytes());
    out.extend(record);
    out
}

fn series_record(number: u64, name: &str) -> Vec<u8> {
    let mut record = vec![1];
    record.extend(number.to_be_bytes());
    record.push(1);
    for text in ["__name__", name] {
        record.extend(uvarint(text.len() as u64));
        record.extend(text.as_bytes());
    }
    record
}

fn sample_record(number: u64, at: i64, value: f64) -> Vec<u8> {
    let mut record = vec![2];
    record.extend(number.to_be_bytes());
    record.extend(at.to_be_bytes());
    record.extend([0, 0]);
    record.extend(value.to_bits().to_be_bytes());
    record
}

fn read_log(segment: &[u8], options: Options) -> (Seen, crate::Result<Report>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("wal")).unwrap();
    std::fs::write(directory.path().join("wal/00000000"), segment).unwrap();
    // Another segment behind it, so that damage in the first is no torn end.
    std::fs::write(directory.path().join("wal/00000001"), []).unwrap();
    let mut seen = Seen::default();
    let report = super::read(directory.path(), options, &mut seen, &mut |_| {});
    (seen, report)
}

#[test]
fn a_log_is_read_its_deletes_are_honoured_and_damage_is_named() {
    let mut log = fragment(&series_record(7, "up"));
    for at in 0..10 {
        log.extend(fragment(&sample_record(7, at, 0.5)));
    }
    let mut tombstone = vec![3];
    tombstone.extend(7_u64.to_be_bytes());
    // From 2 to 4, both included, in zigzag.
    tombstone.extend([4, 8]);
    log.extend(fragment(&tombstone));
    let (seen, report) = read_log(&log, Options::default());
    assert_eq!(report.unwrap().samples, 7);
    let times: Vec<i64> = seen.samples[0].1.iter().map(|row| row.0).collect();
    assert_eq!(times, [0, 1, 5, 6, 7, 8, 9]);

    let last = log.len() - 1;
    log[last] ^= 1;
    let error = read_log(&log, Options::default()).1.unwrap_err().to_string();
    assert!(error.contains("wal/00000000") && error.contains("at byte"), "{error}");
    let (_, report) = read_log(&log, Options { skip_damaged: true });
    let report = report.unwrap();
    assert_eq!(report.samples, 10, "without its tombstone nothing is deleted");
    assert!(report.damaged > 0);
}

#[test]
fn a_directory_of_something_else_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let read = super::read(directory.path(), Options::default(), &mut seen, &mut |_| {});
    assert!(read.unwrap_err().to_string().contains("not a Prometheus data directory"));
}

/// Writes bits, the highest of each byte first.
#[derive(Default)]
struct BitWriter(Vec<bool>);

impl BitWriter {
    fn put(&mut self, number: u64, count: u32) {
        self.0.extend((0..count).rev().map(|bit| number >> bit & 1 == 1));
    }
    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) == Some(&true)))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// Samples as an XOR chunk, each with the widest code.
fn xor_chunk(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut out = u16::try_from(samples.len()).unwrap().to_be_bytes().to_vec();
    let mut bits = BitWriter::default();
    let (mut step, mut before) = (0_i64, (0_i64, 0_u64));
    for (index, (at, value)) in samples.iter().enumerate() {
        let next = at.wrapping_sub(before.0);
        match index {
            0 => {
                let zigzag = (at << 1 ^ at >> 63).cast_unsigned();
                uvarint(zigzag).iter().for_each(|byte| bits.put((*byte).into(), 8));
                bits.put(value.to_bits(), 64);
            }
            1 => uvarint(next.cast_unsigned()).iter().for_each(|b| bits.put((*b).into(), 8)),
            _ => {
                bits.put(0b1111, 4);
                bits.put(next.wrapping_sub(step).cast_unsigned(), 64);
            }
        }
        if index > 0 {
            step = next;
            bits.put(0b11, 2);
            bits.put(0, 5);
            bits.put(0, 6);
            bits.put(before.1 ^ value.to_bits(), 64);
        }
        before = (*at, value.to_bits());
    }
    out.extend(bits.bytes());
    out
}

proptest! {
    #[test]
    fn a_chunk_comes_back_to_the_bit(samples in prop::collection::vec((any::<i64>(), any::<f64>()), 1..50)) {
        let mut decoded = Rows::default();
        let outcome = chunk::decode(chunk::encoding::XOR, &xor_chunk(&samples), &mut decoded);
        prop_assert_eq!(outcome, Ok(true));
        let bits = |(at, value): (i64, f64)| (at, value.to_bits());
        let have: Vec<_> = decoded.floats.iter().map(|s| bits((s.timestamp_ms, s.value))).collect();
        prop_assert_eq!(have, samples.into_iter().map(bits).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), encoding: u8) {
        let mut rows = Rows::default();
        let _ = chunk::decode(encoding % 5, &bytes, &mut rows);
        prop_assert!(rows.floats.capacity() <= bytes.len() * 8 + 8);
        // The smallest histogram takes four bits.
        prop_assert!(rows.histograms.capacity() <= bytes.len() * 4 + 8);
        let _ = Tombstones::decode(&bytes);
        let _ = record::entries(&bytes, &mut |_| Ok(()));
        let _ = XorFloat::default().read(&mut Bits::new(&bytes));
    }

    #[test]
    fn any_record_of_a_known_kind_is_read_or_refused(kind in 1_u8..14, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = record::entries(&[&[kind][..], &bytes].concat(), &mut |_| Ok(()));
    }

    #[test]
    fn any_segment_is_read_or_refused(
        parts in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8),
        flip: prop::sample::Index,
    ) {
        let mut segment = fragment(&series_record(7, "up"));
        for (kind, data) in &parts {
            let mut part = fragment(data);
            part[0] = *kind;
            segment.extend(part);
        }
        let at = flip.index(segment.len());
        segment[at] ^= 1;
        for skip_damaged in [false, true] {
            let (_, report) = read_log(&segment, Options { skip_damaged });
            prop_assert!(!skip_damaged || report.is_ok());
        }
    }

    #[test]
    fn any_file_of_a_block_or_of_the_head_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let directory = tempfile::tempdir().unwrap();
        let block = directory.path().join("01M7YG80W40PYZD228H7E4Q85W");
        for path in [block.join("chunks"), directory.path().join("chunks_head"), directory.path().join("wal")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(block.join("meta.json"), br#"{"minTime":0,"maxTime":9}"#).unwrap();
        // With the right beginnings, so that more than those is looked at.
        std::fs::write(block.join("chunks/000001"), [&[0x85, 0xBD, 0x40, 0xDD, 1, 0, 0, 0], &bytes[..]].concat()).unwrap();
        std::fs::write(block.join("index"), [&[0xBA, 0xAA, 0xD7, 0, 2], &bytes[..]].concat()).unwrap();
        std::fs::write(directory.path().join("chunks_head/000001"), [&[1, 0x30, 0xBC, 0x91, 1, 0, 0, 0], &bytes[..]].concat()).unwrap();
        let mut seen = Seen::default();
        let options = Options { skip_damaged: true };
        let report = super::read(directory.path(), options, &mut seen, &mut |_| {});
        prop_assert!(report.is_ok() && seen.samples.is_empty());
    }
}
