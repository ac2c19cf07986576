//! The head: what is in the log and in the head's chunks, and not yet in a block.
//!
//! The log is read twice: first for who the series are and what was deleted, then for the samples.

use super::chunk;
use super::file::Source;
use super::record::{self, Entry};
use super::rows::Rows;
use super::tombstones::Tombstones;
use super::wal::{self, Fault};
use super::{Progress, numbered};
use crate::bytes::{Bad, Input};
use crate::{Error, Options, Report, Result, Sink};
use model::mutation::MetricMetadata;
use model::{LabelSet, METRIC_NAME, Sample};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const CHUNKS_MAGIC: u32 = 0x0130_BC91;
/// Series, first and last moment, encoding.
const CHUNK_HEADER_BYTES: usize = 25;
/// The bit of the encoding that says: out of order.
const IS_OUT_OF_ORDER: u8 = 0x80;
/// Bytes of samples of the log that are held until they are handed over, series by series.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Reads the logs and the head's chunks. In the log in order, what is before `from` is in blocks.
pub(super) fn read(
    directory: &Path,
    from: i64,
    options: Options,
    sink: &mut dyn Sink,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let segments = wal::segments(&directory.join("wal"))?;
    let mut head = Head::default();
    progress(Progress::Log(segments.len()));
    head.define(&segments, options, sink, report)?;
    let chunks = numbered(&directory.join("chunks_head"))?;
    progress(Progress::HeadChunks(chunks.len()));
    for (_, path) in &chunks {
        if let Err(error) = head.chunks(path, from, options, sink, report) {
            report.note(error, options)?;
        }
    }
    head.samples(&segments, from, options, sink, report)?;
    let out_of_order = wal::segments(&directory.join("wbl"))?;
    head.samples(&out_of_order, i64::MIN, options, sink, report)
}

/// Who the series are, and what of them was deleted.
#[derive(Debug, Default)]
struct Head {
    /// Several numbers may stand for one series.
    by_number: HashMap<u64, usize>,
    by_labels: HashMap<LabelSet, usize>,
    labels: Vec<LabelSet>,
    tombstones: Tombstones,
}

impl Head {
    fn define(
        &mut self,
        segments: &[PathBuf],
        options: Options,
        sink: &mut dyn Sink,
        report: &mut Report,
    ) -> Result<()> {
        let (mut exemplars, mut lost) = (0, 0);
        wal::read(segments, options, report, &mut |record| {
            record::entries(record, &mut |entry| {
                match entry {
                    Entry::Series(number, labels) => self.add(number, labels),
                    Entry::Tombstone(number, span) => {
                        if let Some(series) = self.by_number.get(&number) {
                            self.tombstones.add(*series as u64, span);
                        }
                    }
                    Entry::Metadata { series, metric_type, help, unit } => {
                        let labels = self.by_number.get(&series).map(|index| &self.labels[*index]);
                        if let Some(metric) = labels.and_then(|labels| labels.get(METRIC_NAME)) {
                            let metric = metric.clone();
                            sink.metadata(MetricMetadata { metric, metric_type, help, unit });
                        }
                    }
                    Entry::Exemplar(number, exemplar) => {
                        let labels = self.by_number.get(&number).map(|index| &self.labels[*index]);
                        match labels {
                            Some(labels) => {
                                sink.exemplar(labels, exemplar);
                                exemplars += 1;
                            }
                            None => lost += 1,
                        }
                    }
                    Entry::Sample(..) | Entry::Histogram(..) => {}
                }
                Ok(())
            })
        })?;
        report.exemplars += exemplars;
        report.without_series += lost;
        Ok(())
    }

    fn add(&mut self, number: u64, labels: LabelSet) {
        let index = *self.by_labels.entry(labels.clone()).or_insert(self.labels.len());
        if index == self.labels.len() {
            self.labels.push(labels);
        }
        self.by_number.insert(number, index);
    }

    /// Hands over the samples of a log.
    fn samples(
        &self,
        segments: &[PathBuf],
        from: i64,
        options: Options,
        sink: &mut dyn Sink,
        report: &mut Report,
    ) -> Result<()> {
        let mut held = vec![Rows::default(); self.labels.len()];
        let (mut held_bytes, mut lost, mut given) = (0, 0, 0);
        wal::read(segments, options, report, &mut |record| {
            record::entries(record, &mut |entry| {
                let (number, at, bytes) = match &entry {
                    Entry::Sample(number, one) => (number, one.timestamp_ms, size_of::<Sample>()),
                    Entry::Histogram(number, one) => {
                        (number, one.timestamp_ms, one.histogram.bytes())
                    }
                    _ => return Ok(()),
                };
                let Some(series) = self.by_number.get(number) else {
                    lost += 1;
                    return Ok(());
                };
                if at >= from {
                    held_bytes += bytes;
                    match entry {
                        Entry::Sample(_, sample) => held[*series].floats.push(sample),
                        Entry::Histogram(_, sample) => held[*series].histograms.push(sample),
                        _ => {}
                    }
                }
                Ok(())
            })?;
            if held_bytes >= HELD_BYTES_MAX {
                held_bytes = 0;
                given += self.hand_over(&mut held, sink).map_err(Fault::Sink)?;
            }
            Ok(())
        })?;
        given += self.hand_over(&mut held, sink)?;
        report.samples += given;
        report.without_series += lost;
        Ok(())
    }

    fn hand_over(&self, held: &mut [Rows], sink: &mut dyn Sink) -> store::Result<u64> {
        let mut given = 0;
        for (series, rows) in held.iter_mut().enumerate() {
            self.tombstones.apply(series as u64, rows, (0, 0));
            given += rows.hand_over(&self.labels[series], sink)?;
            *rows = Rows::default();
        }
        Ok(given)
    }

    /// Hands over the chunks of a file.
    fn chunks(
        &self,
        path: &Path,
        from: i64,
        options: Options,
        sink: &mut dyn Sink,
        report: &mut Report,
    ) -> Result<()> {
        let source = Source::open(path)?;
        let mut bytes = Vec::new();
        source.read_some(0, 8, &mut bytes)?;
        if Input::new(&bytes).u32() != Ok(CHUNKS_MAGIC) || bytes.get(4) != Some(&1) {
            // A file that was begun a moment before the end is empty.
            let is_empty = bytes.iter().all(|byte| *byte == 0);
            let bad = Bad("not a file of head chunks of version 1");
            return if is_empty { Ok(()) } else { Err(source.damaged(0, bad)) };
        }
        let (mut at, mut rows) = (8, Rows::default());
        while at < source.bytes {
            source.read_some(at, CHUNK_HEADER_BYTES as u64 + 5, &mut bytes)?;
            // The file is as long as it may become, from its beginning.
            if bytes.iter().all(|byte| *byte == 0) {
                break;
            }
            let len = bytes.get(CHUNK_HEADER_BYTES..).unwrap_or_default();
            let len = Input::new(len).uvarint().map_err(|bad| source.damaged(at, bad))?;
            source.read_some(at, len.saturating_add(CHUNK_HEADER_BYTES as u64 + 9), &mut bytes)?;
            let parsed = HeadChunk::decode(&bytes).map_err(|bad| source.damaged(at, bad))?;
            if let Err(error) = self.chunk(&source, at, &parsed, from, &mut rows, sink, report) {
                report.note(error, options)?;
            }
            at += parsed.bytes;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a chunk needs on its way")]
    fn chunk(
        &self,
        source: &Source,
        at: u64,
        head: &HeadChunk<'_>,
        from: i64,
        rows: &mut Rows,
        sink: &mut dyn Sink,
        report: &mut Report,
    ) -> Result<()> {
        let Some(series) = self.by_number.get(&head.series) else {
            report.without_series += 1;
            return Ok(());
        };
        rows.clear();
        let encoding = head.encoding & !IS_OUT_OF_ORDER;
        if !chunk::decode(encoding, head.data, rows).map_err(|bad| source.damaged(at, bad))? {
            let what = format!("a chunk of encoding {encoding}");
            return Err(Error::Unsupported { path: source.path.clone(), offset: at, what });
        }
        if head.encoding & IS_OUT_OF_ORDER == 0 {
            rows.retain_since((0, 0), |at| at >= from);
        }
        self.tombstones.apply(*series as u64, rows, (0, 0));
        report.samples += rows.hand_over(&self.labels[*series], sink)?;
        Ok(())
    }
}

/// A chunk of the head, as it lies in its file.
#[derive(Debug)]
struct HeadChunk<'a> {
    series: u64,
    encoding: u8,
    data: &'a [u8],
    /// How many bytes all of it takes.
    bytes: u64,
}

impl<'a> HeadChunk<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, Bad> {
        let mut input = Input::new(bytes);
        let series = input.u64()?;
        let _span = (input.u64()?, input.u64()?);
        let encoding = input.u8()?;
        let len = input.count()?;
        let data = input.take(len)?;
        let summed = bytes.len() - input.len();
        let sum = crc32c::crc32c(bytes.get(..summed).unwrap_or_default());
        match input.u32()? == sum {
            true => Ok(Self { series, encoding, data, bytes: (summed + 4) as u64 }),
            false => Err(Bad("checksum mismatch")),
        }
    }
}
