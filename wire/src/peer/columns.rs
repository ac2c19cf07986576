//! How series and their samples look on the wire: floats, histograms, starts, revisions.
//!
//! # Invariants
//! - Decoded columns ascend strictly, and what they have beside timestamps is as long as these.
//!
//! Not here: how an answer is put together from parts (`message.rs`).

use crate::peer::codec::{DecodeError, Reader, SymbolTable, SymbolWriter, Writer, bad};
use crate::peer::message::{PART_BYTES, parts_of, set_bytes};
use model::{Column, Histogram, HistogramColumn, SeriesColumns};
use std::ops::Range;
use std::sync::Arc;

const HAS_STARTS: u8 = 1;
const HAS_REVISIONS: u8 = 2;
const HAS_HISTOGRAMS: u8 = 4;
const HAS_HISTOGRAM_STARTS: u8 = 8;
const HAS_HISTOGRAM_REVISIONS: u8 = 16;
const FLAGS: u8 = 31;

/// A run of a series' samples that fits a part.
struct Run<'a> {
    of: &'a SeriesColumns,
    floats: Range<usize>,
    histograms: Range<usize>,
    bytes: usize,
}

/// Series cut into runs of samples that fit a part, so that a part never exceeds it by much.
pub(crate) fn select_parts(series: &[SeriesColumns]) -> Vec<Vec<u8>> {
    const RUN: usize = PART_BYTES / 16;
    let mut runs: Vec<Run<'_>> = Vec::with_capacity(series.len());
    for of in series {
        let own = set_bytes(&of.labels);
        let (floats, len) = (of.floats.len(), of.histograms.len());
        let mut start = 0;
        while start < floats || (len == 0 && floats == 0 && start == 0) {
            let end = (start + RUN).min(floats);
            let bytes = own + (end - start) * 10;
            runs.push(Run { of, floats: start..end, histograms: 0..0, bytes });
            start = end.max(start + 1);
        }
        let mut start = 0;
        while start < len {
            let (mut end, mut bytes) = (start, own);
            while end < len && (end == start || bytes < PART_BYTES) {
                bytes += of.histograms.values[end].bytes();
                end += 1;
            }
            runs.push(Run { of, floats: 0..0, histograms: start..end, bytes });
            start = end;
        }
    }
    parts_of(1, &runs, |run| run.bytes, write_runs)
}

fn write_runs(out: &mut Writer, runs: &[Run<'_>]) {
    let symbols = SymbolWriter::of(runs.iter().map(|run| &run.of.labels));
    symbols.write_table(out);
    out.len(runs.len());
    for run in runs {
        symbols.write_set(out, &run.of.labels);
        let (floats, histograms) = (&run.of.floats, &run.of.histograms);
        let starts = part(&floats.start_timestamps_ms, &run.floats);
        let revisions = part(&floats.revisions, &run.floats);
        let histogram_starts = part(&histograms.start_timestamps_ms, &run.histograms);
        let histogram_revisions = part(&histograms.revisions, &run.histograms);
        let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        out.u8(flag(!starts.is_empty(), HAS_STARTS)
            | flag(!revisions.is_empty(), HAS_REVISIONS)
            | flag(!run.histograms.is_empty(), HAS_HISTOGRAMS)
            | flag(!histogram_starts.is_empty(), HAS_HISTOGRAM_STARTS)
            | flag(!histogram_revisions.is_empty(), HAS_HISTOGRAM_REVISIONS));
        out.len(run.floats.len());
        out.deltas(part(&floats.timestamps_ms, &run.floats));
        out.floats(part(&floats.values, &run.floats));
        out.deltas(starts);
        revisions.iter().for_each(|revision| out.u64((*revision).into()));
        if !run.histograms.is_empty() {
            out.len(run.histograms.len());
            out.deltas(part(&histograms.timestamps_ms, &run.histograms));
            write_histograms(out, part(&histograms.values, &run.histograms));
            out.deltas(histogram_starts);
            histogram_revisions.iter().for_each(|revision| out.u64((*revision).into()));
        }
    }
}

/// A part of a column; empty if it is left out.
fn part<'a, T>(column: &'a [T], range: &Range<usize>) -> &'a [T] {
    column.get(range.clone()).unwrap_or(&[])
}

pub(crate) fn read_series(from: &mut Reader<'_>) -> Result<Vec<SeriesColumns>, DecodeError> {
    let symbols = SymbolTable::read(from)?;
    from.list(3, |r| {
        let labels = symbols.read_set(r)?;
        let flags = r.u8()?;
        if flags & !FLAGS != 0 {
            return bad("unknown flags of a series");
        }
        let count = r.count(9)?;
        let floats = Column {
            timestamps_ms: ascending(r, count)?.into(),
            values: r.floats(count)?,
            start_timestamps_ms: if_there(flags & HAS_STARTS, || r.deltas(count))?,
            revisions: if_there(flags & HAS_REVISIONS, || revisions(r, count))?,
            known: model::column::Known::Nothing,
        };
        let count = if flags & HAS_HISTOGRAMS == 0 { 0 } else { r.count(2)? };
        let histograms = HistogramColumn {
            timestamps_ms: ascending(r, count)?,
            values: read_histograms(r, count)?,
            start_timestamps_ms: if_there(flags & HAS_HISTOGRAM_STARTS, || r.deltas(count))?,
            revisions: if_there(flags & HAS_HISTOGRAM_REVISIONS, || revisions(r, count))?,
        };
        Ok(SeriesColumns { labels, floats, histograms })
    })
}

fn ascending(from: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, DecodeError> {
    let timestamps_ms = from.deltas(count)?;
    let ascends = timestamps_ms.is_sorted_by(|a, b| a < b);
    if ascends { Ok(timestamps_ms) } else { bad("timestamps do not ascend") }
}

fn if_there<T>(
    flag: u8,
    read: impl FnOnce() -> Result<Vec<T>, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if flag == 0 { Ok(Vec::new()) } else { read() }
}

fn revisions(from: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, DecodeError> {
    (0..count).map(|_| from.u32()).collect()
}

/// Appends histograms, each as its canonical bytes.
pub(crate) fn write_histograms(out: &mut Writer, histograms: &[Arc<Histogram>]) {
    histograms.iter().for_each(|histogram| histogram.put_canonical(&mut out.out));
}

/// Reads so many histograms.
pub(crate) fn read_histograms(
    from: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<Arc<Histogram>>, DecodeError> {
    (0..count).map(|_| from.histogram().map(Arc::new)).collect()
}
