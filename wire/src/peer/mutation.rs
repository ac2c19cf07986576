//! How a context, a mutation, its answer and metadata look on the wire.
//!
//! # Invariants
//! - A decoded mutation has as many values, or histograms, as timestamps, and its series' ends ascend to that count.

use crate::peer::codec::{DecodeError, Reader, SymbolTable, SymbolWriter, Writer, bad};
use crate::peer::columns::{read_histograms, write_histograms};
use model::mutation::{
    MetricMetadata, MetricType, Mutation, SeriesRefusal, SeriesRows, WriteAnswer, Written,
};
use model::sample::SampleKind;
use model::{Context, Exemplar, Principal, RequestId, SeriesRef, TenantId, TimestampMs};
use std::sync::Arc;

pub(crate) fn write_metadata(out: &mut Writer, list: &[MetricMetadata]) {
    out.len(list.len());
    for metadata in list {
        out.text(&metadata.metric);
        out.u8(metadata.metric_type.to_byte());
        out.text(&metadata.help);
        out.text(&metadata.unit);
    }
}

pub(crate) fn read_metadata(from: &mut Reader<'_>) -> Result<Vec<MetricMetadata>, DecodeError> {
    from.list(4, |r| {
        let metric = r.text()?.into();
        let Some(metric_type) = MetricType::from_byte(r.u8()?) else {
            return bad("an unknown metric type");
        };
        Ok(MetricMetadata { metric, metric_type, help: r.text()?.into(), unit: r.text()?.into() })
    })
}

pub(crate) fn write_context(out: &mut Writer, context: &Context) {
    match &context.principal {
        Principal::Anonymous => out.u8(0),
        Principal::System => out.u8(1),
        Principal::Named(name) => {
            out.u8(2);
            out.text(name);
        }
    }
    out.text(context.tenant.as_str());
    out.u64_fixed(context.request_id.0);
    out.u64(context.timeout_ms.into());
    out.i64(context.now.0);
    out.u64(context.ring_version);
}

pub(crate) fn read_context(from: &mut Reader<'_>) -> Result<Context, DecodeError> {
    let principal = match from.u8()? {
        0 => Principal::Anonymous,
        1 => Principal::System,
        2 => Principal::Named(from.text()?.into()),
        _ => return bad("an unknown principal"),
    };
    let Ok(tenant) = TenantId::parse(from.text()?) else { return bad("not a tenant") };
    let request_id = RequestId(from.u64_fixed()?);
    let (timeout_ms, now, ring_version) = (from.u32()?, TimestampMs(from.i64()?), from.u64()?);
    Ok(Context { tenant, principal, request_id, timeout_ms, now, ring_version })
}

pub(crate) fn write_mutation(out: &mut Writer, mutation: &Mutation) {
    out.u64_fixed(mutation.generation);
    out.u64(mutation.revision.into());
    out.u8(match mutation.kind {
        SampleKind::Float => 0,
        SampleKind::Histogram => 1,
    });
    let sets = mutation.series.iter().filter_map(|rows| match &rows.series {
        SeriesRef::Labels(labels) => Some(labels),
        SeriesRef::Number(_) => None,
    });
    let exemplars = mutation.exemplars.iter().map(|(_, exemplar)| &exemplar.labels);
    let symbols = SymbolWriter::of(sets.chain(exemplars));
    symbols.write_table(out);
    out.len(mutation.series.len());
    let mut start = 0;
    for rows in &mutation.series {
        match &rows.series {
            SeriesRef::Number(number) => {
                out.u8(0);
                out.u64((*number).into());
            }
            SeriesRef::Labels(labels) => {
                out.u8(1);
                symbols.write_set(out, labels);
            }
        }
        out.u64(rows.sample_end.saturating_sub(start).into());
        start = rows.sample_end;
    }
    out.len(mutation.timestamps_ms.len());
    out.deltas(&mutation.timestamps_ms);
    match mutation.kind {
        SampleKind::Float => out.floats(&mutation.values),
        SampleKind::Histogram => write_histograms(out, &mutation.histograms),
    }
    out.u8(u8::from(!mutation.start_timestamps_ms.is_empty()));
    out.deltas(&mutation.start_timestamps_ms);
    out.len(mutation.exemplars.len());
    for (series, exemplar) in &mutation.exemplars {
        out.u64((*series).into());
        out.i64(exemplar.timestamp_ms);
        out.u64_fixed(exemplar.value.to_bits());
        symbols.write_set(out, &exemplar.labels);
    }
    write_metadata(out, &mutation.metadata);
}

pub(crate) fn read_mutation(
    from: &mut Reader<'_>,
    context: Arc<Context>,
) -> Result<Mutation, DecodeError> {
    let generation = from.u64_fixed()?;
    let revision = from.u32()?;
    let kind = match from.u8()? {
        0 => SampleKind::Float,
        1 => SampleKind::Histogram,
        _ => return bad("an unknown kind of sample"),
    };
    let symbols = SymbolTable::read(from)?;
    let mut series = from.list(3, |r| {
        let series = match r.u8()? {
            0 => SeriesRef::Number(r.u32()?),
            1 => SeriesRef::Labels(symbols.read_set(r)?),
            _ => return bad("an unknown way to name a series"),
        };
        Ok(SeriesRows { series, sample_end: r.u32()? })
    })?;
    let mut end = 0_u32;
    for rows in &mut series {
        end = end.checked_add(rows.sample_end).map_or_else(|| bad("too many samples"), Ok)?;
        rows.sample_end = end;
    }
    let count = from.count(9)?;
    if u32::try_from(count) != Ok(end) {
        return bad("samples that belong to no series");
    }
    let timestamps_ms = from.deltas(count)?;
    let (values, histograms) = match kind {
        SampleKind::Float => (from.floats(count)?, Vec::new()),
        SampleKind::Histogram => (Vec::new(), read_histograms(from, count)?),
    };
    let start_timestamps_ms = match from.u8()? {
        0 => Vec::new(),
        1 => from.deltas(count)?,
        _ => return bad("an unknown choice of start timestamps"),
    };
    let exemplars = from.list(11, |r| {
        let place = r.u32()?;
        if place as usize >= series.len() {
            return bad("an exemplar that belongs to no series");
        }
        let timestamp_ms = r.i64()?;
        let value = f64::from_bits(r.u64_fixed()?);
        Ok((place, Exemplar { timestamp_ms, value, labels: symbols.read_set(r)? }))
    })?;
    let metadata = read_metadata(from)?;
    let (series, context) = (series, context);
    Ok(Mutation {
        context,
        generation,
        revision,
        kind,
        series,
        timestamps_ms,
        values,
        histograms,
        start_timestamps_ms,
        exemplars,
        metadata,
    })
}

pub(crate) fn write_answer(out: &mut Writer, answer: &WriteAnswer) {
    let WriteAnswer::Written(written) = answer else {
        out.u8(0);
        return;
    };
    out.u8(1);
    out.u64_fixed(written.generation);
    out.len(written.numbers.len());
    for (index, number) in &written.numbers {
        out.u64((*index).into());
        out.u64((*number).into());
    }
    out.len(written.refused.len());
    for (index, refusal) in &written.refused {
        out.u64((*index).into());
        let (kind, limit) = match refusal {
            SeriesRefusal::SeriesLimit { limit } => (0, limit),
            SeriesRefusal::MetricSeriesLimit { limit } => (1, limit),
        };
        out.u8(kind);
        out.u64(*limit);
    }
}

pub(crate) fn read_answer(from: &mut Reader<'_>) -> Result<WriteAnswer, DecodeError> {
    match from.u8()? {
        0 => return Ok(WriteAnswer::NeedLabels),
        1 => {}
        _ => return bad("an unknown answer to a write"),
    }
    let generation = from.u64_fixed()?;
    let numbers = from.list(2, |r| Ok((r.u32()?, r.u32()?)))?;
    let refused = from.list(3, |r| {
        let index = r.u32()?;
        let refusal = match (r.u8()?, r.u64()?) {
            (0, limit) => SeriesRefusal::SeriesLimit { limit },
            (1, limit) => SeriesRefusal::MetricSeriesLimit { limit },
            _ => return bad("an unknown refusal"),
        };
        Ok((index, refusal))
    })?;
    Ok(WriteAnswer::Written(Written { generation, numbers, refused }))
}
