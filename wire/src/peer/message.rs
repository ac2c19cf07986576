//! What peers say to each other: requests to a replica, and its answers in parts.
//!
//! An answer travels in parts of about [`PART_BYTES`], each decodable alone, so that neither side
//! needs a frame as large as the answer. A series that does not fit goes on in the next part.
//!
//! # Invariants
//! - Decoding what was encoded gives the same; junk gives a [`DecodeError`].
//! - Decoded columns ascend strictly, and have as many values as timestamps.
//!
//! Not here: frames (`frame.rs`), sockets.

use crate::peer::codec::{DecodeError, Reader, SymbolTable, SymbolWriter, Writer, bad};
use crate::replica::ReplicaError;
use model::matcher::MatchOp;
use model::mutation::{
    MetricMetadata, MetricType, Mutation, SeriesRefusal, SeriesRows, WriteAnswer, Written,
};
use model::read::{
    LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, MetadataQuery, SelectBounds, Selection,
};
use model::sample::SampleKind;
use model::{
    Column, Context, DayBucket, Kind, LabelSet, Matcher, Principal, RequestId, SeriesColumns,
    SeriesRef, TenantId, Text, TimeRange, TimestampMs,
};
use std::sync::Arc;

/// About how large a part of an answer is.
pub const PART_BYTES: usize = 1 << 20;

/// A question to a replica.
#[derive(Clone, Debug)]
pub enum Request {
    /// Keep this.
    Write(Mutation),
    /// Samples.
    Select(Arc<Context>, Selection),
    /// Labels.
    Labels(Arc<Context>, LabelQuery),
    /// Metadata.
    Metadata(Arc<Context>, MetadataQuery),
}

/// A whole answer of a replica.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To a write.
    Write(WriteAnswer),
    /// To a select.
    Select(Vec<SeriesColumns>),
    /// To a question about labels.
    Labels(LabelAnswer),
    /// To a question about metadata.
    Metadata(MetadataAnswer),
    /// No.
    Failed(Kind, String),
}

impl Request {
    /// Who asks, for whom, for how long.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        match self {
            Self::Write(mutation) => &mutation.context,
            Self::Select(context, _) | Self::Labels(context, _) | Self::Metadata(context, _) => {
                context
            }
        }
    }

    /// The request as bytes: kind, context, body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let kind = match self {
            Self::Write(_) => 0,
            Self::Select(..) => 1,
            Self::Labels(..) => 2,
            Self::Metadata(..) => 3,
        };
        out.u8(kind);
        write_context(&mut out, self.context());
        match self {
            Self::Write(mutation) => write_mutation(&mut out, mutation),
            Self::Select(_, selection) => write_selection(&mut out, selection),
            Self::Labels(_, query) => write_label_query(&mut out, query),
            Self::Metadata(_, query) => {
                out.u8(u8::from(query.metric.is_some()));
                query.metric.iter().for_each(|metric| out.text(metric));
            }
        }
        out.out
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not one request.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let kind = from.u8()?;
        let context = Arc::new(read_context(&mut from)?);
        let request = match kind {
            0 => Self::Write(read_mutation(&mut from, context)?),
            1 => Self::Select(context, read_selection(&mut from)?),
            2 => Self::Labels(context, read_label_query(&mut from)?),
            3 => {
                let metric = match from.u8()? {
                    0 => None,
                    1 => Some(Text::from(from.text()?)),
                    _ => return bad("an unknown choice of metric"),
                };
                Self::Metadata(context, MetadataQuery { metric })
            }
            _ => return bad("an unknown request"),
        };
        from.end()?;
        Ok(request)
    }
}

impl Response {
    /// The parts of the answer, at least one.
    #[must_use]
    pub fn encode(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Write(answer) => vec![part(0, |out| write_answer(out, answer))],
            Self::Select(series) => select_parts(series),
            Self::Labels(LabelAnswer::Texts(texts)) => parts_of(2, texts, text_bytes, write_texts),
            Self::Labels(LabelAnswer::Series(sets)) => parts_of(3, sets, set_bytes, write_sets),
            Self::Metadata(list) => parts_of(4, list, metadata_bytes, write_metadata),
            Self::Failed(kind, message) => vec![part(5, |out| {
                out.u8(kind_to_byte(*kind));
                out.text(message);
            })],
        }
    }

    /// Puts the parts of an answer together.
    ///
    /// # Errors
    /// [`DecodeError`] if a part is not one, or they do not belong together.
    pub fn decode<B: AsRef<[u8]>>(parts: &[B]) -> Result<Self, DecodeError> {
        let mut whole = None;
        for bytes in parts {
            let part = decode_part(bytes.as_ref())?;
            whole = Some(match whole {
                None => part,
                Some(before) => join_parts(before, part)?,
            });
        }
        whole.map_or_else(|| bad("an answer without a part"), Ok)
    }

    /// The refusal as the caller of `replica` sees it.
    #[must_use]
    pub fn failed(error: &ReplicaError) -> Self {
        Self::Failed(error.kind, error.message.clone())
    }
}

fn decode_part(bytes: &[u8]) -> Result<Response, DecodeError> {
    let mut from = Reader::new(bytes);
    let part = match from.u8()? {
        0 => Response::Write(read_answer(&mut from)?),
        1 => {
            let mut series = Vec::new();
            go_on(&mut series, read_series(&mut from)?)?;
            Response::Select(series)
        }
        2 => Response::Labels(LabelAnswer::Texts(from.list(1, |r| Ok(Text::from(r.text()?)))?)),
        3 => {
            let symbols = SymbolTable::read(&mut from)?;
            Response::Labels(LabelAnswer::Series(from.list(1, |r| symbols.read_set(r))?))
        }
        4 => Response::Metadata(read_metadata(&mut from)?),
        5 => Response::Failed(kind_of_byte(from.u8()?)?, from.text()?.to_owned()),
        _ => return bad("an unknown answer"),
    };
    from.end()?;
    Ok(part)
}

fn join_parts(before: Response, part: Response) -> Result<Response, DecodeError> {
    match (before, part) {
        (Response::Select(mut all), Response::Select(more)) => {
            go_on(&mut all, more)?;
            Ok(Response::Select(all))
        }
        (
            Response::Labels(LabelAnswer::Texts(mut all)),
            Response::Labels(LabelAnswer::Texts(m)),
        ) => {
            all.extend(m);
            Ok(Response::Labels(LabelAnswer::Texts(all)))
        }
        (
            Response::Labels(LabelAnswer::Series(mut all)),
            Response::Labels(LabelAnswer::Series(more)),
        ) => {
            all.extend(more);
            Ok(Response::Labels(LabelAnswer::Series(all)))
        }
        (Response::Metadata(mut all), Response::Metadata(more)) => {
            all.extend(more);
            Ok(Response::Metadata(all))
        }
        // The replica broke off: what came before is void.
        (_, failed @ Response::Failed(..)) => Ok(failed),
        _ => bad("parts that do not belong together"),
    }
}

/// Adds series; one that is the last one again goes on where that ended.
fn go_on(all: &mut Vec<SeriesColumns>, more: Vec<SeriesColumns>) -> Result<(), DecodeError> {
    for series in more {
        match all.last_mut() {
            Some(last) if last.labels == series.labels => {
                if last.floats.timestamps_ms.last() >= series.floats.timestamps_ms.first() {
                    return bad("a series goes on before its end");
                }
                last.floats.timestamps_ms.extend(series.floats.timestamps_ms);
                last.floats.values.extend(series.floats.values);
            }
            Some(last) if last.labels > series.labels => return bad("labels do not ascend"),
            _ => all.push(series),
        }
    }
    Ok(())
}

fn part(kind: u8, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(kind);
    write(&mut out);
    out.out
}

/// Cuts a list where its parts reach [`PART_BYTES`].
fn parts_of<T>(
    kind: u8,
    items: &[T],
    bytes: impl Fn(&T) -> usize,
    write: impl Fn(&mut Writer, &[T]),
) -> Vec<Vec<u8>> {
    let (mut parts, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, item) in items.iter().enumerate() {
        size += bytes(item);
        if size >= PART_BYTES {
            parts.push(part(kind, |out| write(out, &items[start..=index])));
            (start, size) = (index + 1, 0);
        }
    }
    if start < items.len() || parts.is_empty() {
        parts.push(part(kind, |out| write(out, &items[start..])));
    }
    parts
}

/// Series cut into runs of samples that fit a part, so that a part never exceeds it by much.
fn select_parts(series: &[SeriesColumns]) -> Vec<Vec<u8>> {
    const RUN: usize = PART_BYTES / 16;
    let mut runs: Vec<Run<'_>> = Vec::with_capacity(series.len());
    for one in series {
        let (times, values) = (&one.floats.timestamps_ms, &one.floats.values);
        if times.is_empty() {
            runs.push(Run { labels: &one.labels, timestamps_ms: &[], values: &[] });
        }
        for (timestamps_ms, values) in times.chunks(RUN).zip(values.chunks(RUN)) {
            runs.push(Run { labels: &one.labels, timestamps_ms, values });
        }
    }
    parts_of(1, &runs, |run| set_bytes(run.labels) + run.values.len() * 10, write_runs)
}

struct Run<'a> {
    labels: &'a LabelSet,
    timestamps_ms: &'a [i64],
    values: &'a [f64],
}

fn write_runs(out: &mut Writer, runs: &[Run<'_>]) {
    let symbols = SymbolWriter::of(runs.iter().map(|run| run.labels));
    symbols.write_table(out);
    out.len(runs.len());
    for run in runs {
        symbols.write_set(out, run.labels);
        out.len(run.timestamps_ms.len());
        out.deltas(run.timestamps_ms);
        out.floats(run.values);
    }
}

fn read_series(from: &mut Reader<'_>) -> Result<Vec<SeriesColumns>, DecodeError> {
    let symbols = SymbolTable::read(from)?;
    from.list(2, |r| {
        let labels = symbols.read_set(r)?;
        let count = r.count(9)?;
        let timestamps_ms = r.deltas(count)?;
        if !timestamps_ms.is_sorted_by(|a, b| a < b) {
            return bad("timestamps do not ascend");
        }
        Ok(SeriesColumns { labels, floats: Column { timestamps_ms, values: r.floats(count)? } })
    })
}

fn text_bytes(text: &Text) -> usize {
    text.len() + 2
}

fn set_bytes(labels: &LabelSet) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + 2
}

fn metadata_bytes(metadata: &MetricMetadata) -> usize {
    metadata.metric.len() + metadata.help.len() + metadata.unit.len() + 8
}

fn write_texts(out: &mut Writer, texts: &[Text]) {
    out.len(texts.len());
    texts.iter().for_each(|text| out.text(text));
}

fn write_sets(out: &mut Writer, sets: &[LabelSet]) {
    let symbols = SymbolWriter::of(sets.iter());
    symbols.write_table(out);
    out.len(sets.len());
    sets.iter().for_each(|labels| symbols.write_set(out, labels));
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

const KINDS: [Kind; 13] = [
    Kind::Invalid,
    Kind::Unauthenticated,
    Kind::Denied,
    Kind::Unexecutable,
    Kind::Limited,
    Kind::NotFound,
    Kind::TooLarge,
    Kind::Unsupported,
    Kind::Canceled,
    Kind::Timeout,
    Kind::Unavailable,
    Kind::Corrupt,
    Kind::Internal,
];

const MATCH_OPS: [MatchOp; 4] =
    [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

fn place_of<T: PartialEq>(table: &[T], item: &T) -> u8 {
    let place =
        table.iter().position(|have| have == item).and_then(|place| u8::try_from(place).ok());
    assert!(place.is_some(), "the table lists every member");
    place.unwrap_or_default()
}

fn kind_to_byte(kind: Kind) -> u8 {
    place_of(&KINDS, &kind)
}

fn kind_of_byte(byte: u8) -> Result<Kind, DecodeError> {
    KINDS.get(usize::from(byte)).copied().map_or_else(|| bad("an unknown kind"), Ok)
}

fn write_metadata(out: &mut Writer, list: &[MetricMetadata]) {
    out.len(list.len());
    for metadata in list {
        out.text(&metadata.metric);
        out.u8(place_of(&METRIC_TYPES, &metadata.metric_type));
        out.text(&metadata.help);
        out.text(&metadata.unit);
    }
}

fn read_metadata(from: &mut Reader<'_>) -> Result<Vec<MetricMetadata>, DecodeError> {
    from.list(4, |r| {
        let metric = r.text()?.into();
        let byte = usize::from(r.u8()?);
        let Some(metric_type) = METRIC_TYPES.get(byte).copied() else {
            return bad("an unknown metric type");
        };
        Ok(MetricMetadata { metric, metric_type, help: r.text()?.into(), unit: r.text()?.into() })
    })
}

fn write_context(out: &mut Writer, context: &Context) {
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
    out.u64(context.ring_version);
}

fn read_context(from: &mut Reader<'_>) -> Result<Context, DecodeError> {
    let principal = match from.u8()? {
        0 => Principal::Anonymous,
        1 => Principal::System,
        2 => Principal::Named(from.text()?.into()),
        _ => return bad("an unknown principal"),
    };
    let Ok(tenant) = TenantId::parse(from.text()?) else { return bad("not a tenant") };
    let request_id = RequestId(from.u64_fixed()?);
    let (timeout_ms, ring_version) = (from.u32()?, from.u64()?);
    Ok(Context { tenant, principal, request_id, timeout_ms, ring_version })
}

fn write_mutation(out: &mut Writer, mutation: &Mutation) {
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
    let symbols = SymbolWriter::of(sets);
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
    out.floats(&mutation.values);
    out.u8(u8::from(!mutation.start_timestamps_ms.is_empty()));
    out.deltas(&mutation.start_timestamps_ms);
    write_metadata(out, &mutation.metadata);
}

fn read_mutation(from: &mut Reader<'_>, context: Arc<Context>) -> Result<Mutation, DecodeError> {
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
    let values = from.floats(count)?;
    let start_timestamps_ms = match from.u8()? {
        0 => Vec::new(),
        1 => from.deltas(count)?,
        _ => return bad("an unknown choice of start timestamps"),
    };
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
        start_timestamps_ms,
        metadata,
    })
}

fn write_answer(out: &mut Writer, answer: &WriteAnswer) {
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

fn read_answer(from: &mut Reader<'_>) -> Result<WriteAnswer, DecodeError> {
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

fn write_matchers(out: &mut Writer, matchers: &[Matcher]) {
    out.len(matchers.len());
    for matcher in matchers {
        out.text(&matcher.name);
        out.u8(place_of(&MATCH_OPS, &matcher.op));
        out.text(&matcher.value);
    }
}

fn read_matchers(from: &mut Reader<'_>) -> Result<Vec<Matcher>, DecodeError> {
    from.list(3, |r| {
        let name = r.text()?;
        let Some(op) = MATCH_OPS.get(usize::from(r.u8()?)).copied() else {
            return bad("an unknown operator");
        };
        Ok(Matcher::new(name, op, r.text()?))
    })
}

fn write_range(out: &mut Writer, range: TimeRange) {
    out.i64(range.start.0);
    out.i64(range.end.0);
}

fn read_range(from: &mut Reader<'_>) -> Result<TimeRange, DecodeError> {
    Ok(TimeRange { start: TimestampMs(from.i64()?), end: TimestampMs(from.i64()?) })
}

fn write_selection(out: &mut Writer, selection: &Selection) {
    write_matchers(out, &selection.matchers);
    write_range(out, selection.range);
    out.u8(u8::from(selection.days.is_some()));
    if let Some(days) = &selection.days {
        out.len(days.len());
        days.iter().for_each(|day| out.i64(day.0.into()));
    }
    out.u64(selection.bounds.series_max);
    out.u64(selection.bounds.samples_max);
}

fn read_selection(from: &mut Reader<'_>) -> Result<Selection, DecodeError> {
    let matchers = read_matchers(from)?;
    let range = read_range(from)?;
    let days = match from.u8()? {
        0 => None,
        1 => Some(from.list(1, |r| Ok(DayBucket(r.i32()?)))?),
        _ => return bad("an unknown choice of days"),
    };
    let bounds = SelectBounds { series_max: from.u64()?, samples_max: from.u64()? };
    Ok(Selection { matchers, range, days, bounds })
}

fn write_label_query(out: &mut Writer, query: &LabelQuery) {
    match &query.want {
        LabelWant::Names => out.u8(0),
        LabelWant::Values(name) => {
            out.u8(1);
            out.text(name);
        }
        LabelWant::Series => out.u8(2),
    }
    out.len(query.matcher_sets.len());
    query.matcher_sets.iter().for_each(|matchers| write_matchers(out, matchers));
    write_range(out, query.range);
    out.u64(query.limit);
}

fn read_label_query(from: &mut Reader<'_>) -> Result<LabelQuery, DecodeError> {
    let want = match from.u8()? {
        0 => LabelWant::Names,
        1 => LabelWant::Values(from.text()?.into()),
        2 => LabelWant::Series,
        _ => return bad("an unknown want"),
    };
    let matcher_sets = from.list(1, read_matchers)?;
    let range = read_range(from)?;
    Ok(LabelQuery { want, matcher_sets, range, limit: from.u64()? })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
