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
use crate::peer::columns::{read_series, select_parts};
use crate::peer::delete::{
    read_delete, read_delete_answer, read_tombstones, tombstone_bytes, write_delete,
    write_delete_answer, write_tombstones,
};
use crate::peer::exemplars::{
    self, exemplar_parts, read_exemplar_query, read_exemplars, write_exemplar_query,
};
use crate::peer::mutation::{
    read_answer, read_context, read_metadata, read_mutation, write_answer, write_context,
    write_metadata, write_mutation,
};
use crate::peer::query::{
    read_label_query, read_range, read_selection, write_label_query, write_range, write_selection,
};
use crate::replica::{RANGES_MAX, ReplicaError, RingAnswer};
use model::exemplar::SeriesExemplars;
use model::mutation::{MetricMetadata, Mutation, WriteAnswer};
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{
    Context, DeleteAnswer, DeleteRequest, Kind, LabelSet, SeriesColumns, Text, TimeRange, Tombstone,
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
    /// Exemplars.
    Exemplars(Arc<Context>, ExemplarQuery),
    /// How much a select would return.
    Estimate(Arc<Context>, Selection),
    /// The versions of ranges.
    Versions(Arc<Context>, Vec<TimeRange>),
    /// What there is of the tenant just now.
    Activity(Arc<Context>),
    /// Who has what, over a database.
    Ring(Arc<Context>),
    /// Delete this.
    Delete(Arc<Context>, DeleteRequest),
    /// All tombstones.
    Tombstones(Arc<Context>),
    /// Let deleted bytes leave the disk soon.
    Purge(Arc<Context>),
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
    /// To a question about exemplars.
    Exemplars(Vec<SeriesExemplars>),
    /// To a question about how much a select would return.
    Estimate(Estimate),
    /// To a question about versions, one a range.
    Versions(Vec<u64>),
    /// To a question about what there is just now.
    Activity(Activity),
    /// To a question about the ring.
    Ring(RingAnswer),
    /// To a delete.
    Delete(DeleteAnswer),
    /// To a question about tombstones.
    Tombstones(Vec<Tombstone>),
    /// To a purge.
    Purge,
    /// No.
    Failed(Kind, String),
}

impl Request {
    /// Who asks, for whom, for how long.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        match self {
            Self::Write(mutation) => &mutation.context,
            Self::Select(context, _)
            | Self::Labels(context, _)
            | Self::Metadata(context, _)
            | Self::Exemplars(context, _)
            | Self::Estimate(context, _)
            | Self::Versions(context, _)
            | Self::Delete(context, _)
            | Self::Activity(context)
            | Self::Ring(context)
            | Self::Tombstones(context)
            | Self::Purge(context) => context,
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
            Self::Exemplars(..) => 4,
            Self::Estimate(..) => 5,
            Self::Versions(..) => 6,
            Self::Activity(_) => 7,
            Self::Ring(_) => 8,
            Self::Delete(..) => 16,
            Self::Tombstones(_) => 17,
            Self::Purge(_) => 18,
        };
        out.u8(kind);
        write_context(&mut out, self.context());
        match self {
            Self::Write(mutation) => write_mutation(&mut out, mutation),
            Self::Select(_, selection) | Self::Estimate(_, selection) => {
                write_selection(&mut out, selection)
            }
            Self::Labels(_, query) => write_label_query(&mut out, query),
            Self::Metadata(_, query) => {
                out.u8(u8::from(query.metric.is_some()));
                query.metric.iter().for_each(|metric| out.text(metric));
            }
            Self::Exemplars(_, query) => write_exemplar_query(&mut out, query),
            Self::Versions(_, ranges) => {
                out.len(ranges.len());
                ranges.iter().for_each(|range| write_range(&mut out, *range));
            }
            Self::Delete(_, request) => write_delete(&mut out, request),
            Self::Activity(_) | Self::Ring(_) | Self::Tombstones(_) | Self::Purge(_) => {}
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
            4 => Self::Exemplars(context, read_exemplar_query(&mut from)?),
            5 => Self::Estimate(context, read_selection(&mut from)?),
            6 => Self::Versions(context, read_ranges(&mut from)?),
            7 => Self::Activity(context),
            8 => Self::Ring(context),
            16 => Self::Delete(context, read_delete(&mut from)?),
            17 => Self::Tombstones(context),
            18 => Self::Purge(context),
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
            Self::Exemplars(series) => exemplar_parts(6, series),
            Self::Estimate(Estimate { partitions, series, samples }) => vec![part(7, |out| {
                [partitions, series, samples].into_iter().for_each(|number| out.u64(*number));
            })],
            Self::Versions(versions) => vec![part(8, |out| write_versions(out, versions))],
            Self::Activity(Activity { series, samples }) => vec![part(9, |out| {
                out.u64(*series);
                out.u64(*samples);
            })],
            Self::Ring(ring) => vec![part(10, |out| write_ring(out, ring))],
            Self::Delete(answer) => vec![part(16, |out| write_delete_answer(out, *answer))],
            Self::Tombstones(list) => parts_of(17, list, tombstone_bytes, write_tombstones),
            Self::Purge => vec![part(18, |_| {})],
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
        6 => Response::Exemplars(read_exemplars(&mut from)?),
        7 => {
            let (partitions, series, samples) = (from.u64()?, from.u64()?, from.u64()?);
            Response::Estimate(Estimate { partitions, series, samples })
        }
        8 => Response::Versions(from.list(8, Reader::u64_fixed)?),
        9 => Response::Activity(Activity { series: from.u64()?, samples: from.u64()? }),
        10 => Response::Ring(read_ring(&mut from)?),
        16 => Response::Delete(read_delete_answer(&mut from)?),
        17 => Response::Tombstones(read_tombstones(&mut from)?),
        18 => Response::Purge,
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
        (Response::Exemplars(mut all), Response::Exemplars(more)) => {
            exemplars::go_on(&mut all, more)?;
            Ok(Response::Exemplars(all))
        }
        (Response::Tombstones(mut all), Response::Tombstones(more)) => {
            all.extend(more);
            Ok(Response::Tombstones(all))
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
                let ascends = |before: &[i64], more: &[i64]| match (before.last(), more.first()) {
                    (Some(before), Some(more)) => before < more,
                    _ => true,
                };
                let (floats, histograms) = (&series.floats, &series.histograms);
                if !ascends(&last.floats.timestamps_ms, &floats.timestamps_ms)
                    || !ascends(&last.histograms.timestamps_ms, &histograms.timestamps_ms)
                    || series.is_empty()
                {
                    return bad("a series goes on before its end");
                }
                last.floats.append(series.floats);
                last.histograms.append(series.histograms);
            }
            Some(last) if last.labels > series.labels => return bad("labels do not ascend"),
            _ => all.push(series),
        }
    }
    Ok(())
}

fn read_ranges(from: &mut Reader<'_>) -> Result<Vec<TimeRange>, DecodeError> {
    let ranges = from.list(2, read_range)?;
    if ranges.len() > RANGES_MAX { bad("too many ranges") } else { Ok(ranges) }
}

fn write_ring(out: &mut Writer, ring: &RingAnswer) {
    out.bytes(&ring.row);
    out.len(ring.addresses.len());
    for (who, address) in &ring.addresses {
        out.out.extend_from_slice(&who.to_be_bytes());
        out.text(address);
    }
}

fn read_ring(from: &mut Reader<'_>) -> Result<RingAnswer, DecodeError> {
    let row = from.bytes()?.to_vec();
    let address =
        |from: &mut Reader<'_>| Ok((u128::from_be_bytes(from.array()?), from.text()?.to_owned()));
    Ok(RingAnswer { row, addresses: from.list(17, address)? })
}

fn write_versions(out: &mut Writer, versions: &[u64]) {
    out.len(versions.len());
    versions.iter().for_each(|version| out.u64_fixed(*version));
}

fn part(kind: u8, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(kind);
    write(&mut out);
    out.out
}

/// Cuts a list where its parts reach [`PART_BYTES`].
pub(crate) fn parts_of<T>(
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

fn text_bytes(text: &Text) -> usize {
    text.len() + 2
}

pub(crate) fn set_bytes(labels: &LabelSet) -> usize {
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

/// The place of an item in a table that lists every member.
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

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
