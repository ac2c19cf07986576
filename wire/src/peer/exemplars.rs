//! How questions about exemplars and their answers look on the wire.
//!
//! # Invariants
//! - Decoded exemplars of a series ascend strictly, and so do the series of a part.
//!
//! Not here: which question it is, how parts come together (`message.rs`).

use crate::peer::codec::{DecodeError, Reader, SymbolTable, SymbolWriter, Writer, bad};
use crate::peer::message::{parts_of, set_bytes};
use crate::peer::query::{read_matchers, read_range, write_matchers, write_range};
use model::exemplar::SeriesExemplars;
use model::read::ExemplarQuery;
use model::{Exemplar, LabelSet};

pub(crate) fn write_exemplar_query(out: &mut Writer, query: &ExemplarQuery) {
    out.len(query.matcher_sets.len());
    query.matcher_sets.iter().for_each(|matchers| write_matchers(out, matchers));
    write_range(out, query.range);
    out.u64(query.exemplars_max);
    out.u64(query.tombstones_max);
}

pub(crate) fn read_exemplar_query(from: &mut Reader<'_>) -> Result<ExemplarQuery, DecodeError> {
    let matcher_sets = from.list(1, read_matchers)?;
    let range = read_range(from)?;
    let exemplars_max = from.u64()?;
    Ok(ExemplarQuery { matcher_sets, range, exemplars_max, tombstones_max: from.u64()? })
}

/// One exemplar and whose it is: what a part is cut between.
type Row<'a> = (&'a LabelSet, &'a Exemplar);

/// The parts of an answer. A series that does not fit goes on in the next part.
pub(crate) fn exemplar_parts(kind: u8, series: &[SeriesExemplars]) -> Vec<Vec<u8>> {
    let rows: Vec<Row<'_>> = series
        .iter()
        .flat_map(|of| of.exemplars.iter().map(|exemplar| (&of.labels, exemplar)))
        .collect();
    let bytes = |(labels, one): &Row<'_>| set_bytes(labels) + set_bytes(&one.labels) + 20;
    parts_of(kind, &rows, bytes, write_rows)
}

fn write_rows(out: &mut Writer, rows: &[Row<'_>]) {
    let symbols = SymbolWriter::of(rows.iter().flat_map(|(labels, one)| [*labels, &one.labels]));
    symbols.write_table(out);
    let series: Vec<&[Row<'_>]> = rows.chunk_by(|(a, _), (b, _)| a == b).collect();
    out.len(series.len());
    for rows in series {
        if let Some((labels, _)) = rows.first() {
            symbols.write_set(out, labels);
        }
        out.len(rows.len());
        for (_, one) in rows {
            out.i64(one.timestamp_ms);
            out.u64_fixed(one.value.to_bits());
            symbols.write_set(out, &one.labels);
        }
    }
}

pub(crate) fn read_exemplars(from: &mut Reader<'_>) -> Result<Vec<SeriesExemplars>, DecodeError> {
    let symbols = SymbolTable::read(from)?;
    let series = from.list(2, |r| {
        let labels = symbols.read_set(r)?;
        let exemplars = r.list(10, |r| {
            let (timestamp_ms, bits) = (r.i64()?, r.u64_fixed()?);
            let labels = symbols.read_set(r)?;
            Ok(Exemplar { timestamp_ms, value: f64::from_bits(bits), labels })
        })?;
        if exemplars.is_empty() || !exemplars.is_sorted_by(|a, b| a < b) {
            return bad("exemplars do not ascend");
        }
        Ok(SeriesExemplars { labels, exemplars })
    })?;
    match series.is_sorted_by(|a: &SeriesExemplars, b| a.labels < b.labels) {
        true => Ok(series),
        false => bad("labels do not ascend"),
    }
}

/// Adds the series of the next part; the first may go on with the last one.
pub(crate) fn go_on(
    all: &mut Vec<SeriesExemplars>,
    more: Vec<SeriesExemplars>,
) -> Result<(), DecodeError> {
    for series in more {
        match all.last_mut() {
            Some(last) if last.labels > series.labels => return bad("labels do not ascend"),
            Some(last) if last.labels == series.labels => {
                if last.exemplars.last() >= series.exemplars.first() {
                    return bad("exemplars do not ascend");
                }
                last.exemplars.extend(series.exemplars);
            }
            _ => all.push(series),
        }
    }
    Ok(())
}
