//! `export`: series as lines of JSON, the same that `import` reads.
//!
//! What is asked for is selected piece by piece, as the caller takes the lines: a span of time, a part
//! of the series. A piece that holds too much is halved. Each is a query of its own: in its turn,
//! within its memory, samples and time. So a caller that reads slowly holds one piece, however much
//! it asked for; and an export may be larger than a query.
//!
//! Native histograms have no such line and are left out, as are stale markers, which stand for no
//! value.
//!
//! # Invariants
//! - Pieces share no sample, and are all of what is asked for.
//! - A line has at most [`LINE_SAMPLES`] samples, so that it can be read again wherever it goes.
//! - An error behind the first line breaks the answer off: no caller takes a part for the whole.

use crate::call::Call;
use crate::error::Error;
use crate::memory::Purse;
use crate::querier::Querier;
use crate::run::{self, Desk};
use crate::time_param::TIME_MIN;
use crate::{json, language, number};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use model::read::{SelectBounds, Selection};
use model::sample::is_stale;
use model::{Column, Context, Kind, LabelSet, Matcher, QueryShard, TimeRange, TimestampMs};
use promql::SeriesSource as _;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

/// Samples of one line.
const LINE_SAMPLES: usize = 10_000;
/// A part of the answer is sent when it has so many bytes.
const PART_BYTES: usize = 32 << 10;
/// What a piece holds at most, if it can be made so small: some 8 MiB.
const PIECE: SelectBounds =
    SelectBounds { series_max: 16 << 10, samples_max: 256 << 10, ..SelectBounds::NONE };
/// Down to this span pieces are halved in time: their lines are long enough.
const SPAN_LONG_MS: i64 = 6 * 3_600_000;
/// Then in series, into so many parts at most,
const SHARDS_MAX: u32 = 1 << 10;
/// and then in time again.
const SPAN_MIN_MS: i64 = 1_000;

pub(crate) async fn export(querier: Querier, call: Call) -> Result<Response, Error> {
    if call.params.all("match[]").next().is_none() {
        return Err(Error::invalid("no match[] parameter provided"));
    }
    let matcher_sets = language::matcher_sets(&querier, &call, Some("match[]")).await?;
    let start = call.params.time_or("start", TIME_MIN)?;
    let end = call.params.time_or("end", querier.inner.clock.now())?;
    let limits = querier.limits_of(&call.context.tenant);
    let (timeout, samples_max) = (run::timeout(limits, None), limits.max_samples.get());
    let all = Piece { range: TimeRange::inclusive(start, end), shard: QueryShard::ALL };
    let matcher_sets = Arc::new(matcher_sets);
    let left = vec![all];
    let context = Arc::clone(&call.context);
    let mut pieces = Pieces { querier, context, matcher_sets, timeout, samples_max, left };
    // What is wrong from the start is told as an answer of its own.
    let first = pieces.next().await?;
    let parts = stream::try_unfold((first, pieces), async |(mut lines, mut pieces)| {
        while let Some(open) = &mut lines {
            if let Some(part) = open.next() {
                return Ok(Some((part, (lines, pieces))));
            }
            // Given back before more is taken.
            drop(lines.take());
            lines = pieces.next().await.inspect_err(|error| {
                tracing::warn!(%error, "an export is broken off");
            })?;
        }
        Ok::<_, Error>(None)
    });
    let parts = futures_util::TryStreamExt::map_err(parts, io::Error::other);
    let mut response = Response::new(Body::from_stream(parts));
    let media_type = HeaderValue::from_static("application/stream+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// A part of what is asked for.
#[derive(Clone, Copy, Debug)]
struct Piece {
    range: TimeRange,
    shard: QueryShard,
}

impl Piece {
    /// Two that are it together, the earlier one first; `None` if it is as small as pieces are.
    fn halves(self) -> Option<[Self; 2]> {
        let Self { range: TimeRange { start, end }, shard } = self;
        let span = end.0.saturating_sub(start.0);
        if span > SPAN_LONG_MS || (shard.count >= SHARDS_MAX && span > SPAN_MIN_MS) {
            // Of the whole of time the span is more than there are numbers for.
            let middle = TimestampMs(start.0 / 2 + end.0 / 2);
            let of = |start, end| Self { range: TimeRange { start, end }, shard };
            return Some([of(start, middle), of(middle, end)]);
        }
        let count = 2 * shard.count.max(1);
        let of = |index| Self { range: self.range, shard: QueryShard { index, count } };
        (count <= SHARDS_MAX).then(|| [of(2 * shard.index), of(2 * shard.index + 1)])
    }
}

/// What is still to be selected.
struct Pieces {
    querier: Querier,
    context: Arc<Context>,
    matcher_sets: Arc<Vec<Vec<Matcher>>>,
    timeout: Duration,
    /// What one query may hold.
    samples_max: u64,
    /// The next one is the last.
    left: Vec<Piece>,
}

impl Pieces {
    /// The lines of the next piece that has some.
    async fn next(&mut self) -> Result<Option<Lines>, Error> {
        while let Some(piece) = self.left.pop() {
            let selected = match (self.select(piece, PIECE).await, piece.halves()) {
                (Err(error), Some([first, second])) if error.kind() == Kind::Unexecutable => {
                    self.left.extend([second, first]);
                    continue;
                }
                (Err(error), None) if error.kind() == Kind::Unexecutable => {
                    let bounds =
                        SelectBounds { samples_max: self.samples_max, ..SelectBounds::NONE };
                    self.select(piece, bounds).await?
                }
                (selected, _) => selected?,
            };
            if !selected.series.is_empty() {
                let series = selected.series.into_iter();
                return Ok(Some(Lines { series, open: None, _purse: selected.purse }));
            }
        }
        Ok(None)
    }

    async fn select(&self, piece: Piece, bounds: SelectBounds) -> Result<Selected, Error> {
        let matcher_sets = Arc::clone(&self.matcher_sets);
        let work = move |desk: &Desk| {
            let series = select(desk, &matcher_sets, piece, bounds)?;
            Ok(Selected { series, purse: Arc::clone(&desk.source.purse) })
        };
        let ran = run::run(&self.querier, &self.context, self.timeout, work).await;
        ran.map(|(selected, _)| selected)
    }
}

/// What a piece holds, each series once, and the memory of it.
struct Selected {
    series: BTreeMap<LabelSet, Column>,
    purse: Arc<Purse>,
}

fn select(
    desk: &Desk,
    matcher_sets: &[Vec<Matcher>],
    Piece { range, shard }: Piece,
    mut bounds: SelectBounds,
) -> Result<BTreeMap<LabelSet, Column>, Error> {
    let mut found = BTreeMap::new();
    for matchers in matcher_sets {
        let selection = Selection {
            matchers: matchers.clone(),
            range,
            days: None,
            shard,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        for series in desk.source.select(&selection)? {
            desk.check()?;
            bounds.samples_max = bounds.samples_max.saturating_sub(series.samples());
            found.insert(series.labels, series.floats);
        }
    }
    Ok(found)
}

/// The lines, part by part.
struct Lines {
    series: std::collections::btree_map::IntoIter<LabelSet, Column>,
    /// The series that is being sent, and how many of its samples were.
    open: Option<(LabelSet, Column, usize)>,
    /// Given back with the last byte, or when nobody reads on.
    _purse: Arc<Purse>,
}

impl Lines {
    /// Appends a line, or goes on to the next series. False if nothing is left.
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((labels, floats, sent)) = &mut self.open else {
            self.open = self.series.next().map(|(labels, floats)| (labels, floats, 0));
            return self.open.is_some();
        };
        let end = (*sent + LINE_SAMPLES).min(floats.values.len());
        push_line(out, labels, floats, *sent..end);
        *sent = end;
        if end == floats.values.len() {
            self.open = None;
        }
        true
    }
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < PART_BYTES && self.push_next(&mut out) {}
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

/// Appends the line of some samples; none if all of them are stale markers.
fn push_line(out: &mut Vec<u8>, labels: &LabelSet, floats: &Column, range: std::ops::Range<usize>) {
    let values = floats.values.get(range.clone()).unwrap_or_default();
    let times = floats.timestamps_ms.get(range).unwrap_or_default();
    let kept = || times.iter().zip(values).filter(|(_, value)| !is_stale(**value));
    if kept().next().is_none() {
        return;
    }
    out.extend_from_slice(b"{\"metric\":");
    json::push_labels(out, labels);
    out.extend_from_slice(b",\"values\":");
    for (index, (_, value)) in kept().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        push_value(out, *value);
    }
    out.extend_from_slice(b"],\"timestamps\":");
    for (index, (time, _)) in kept().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        // Writing into memory does not fail.
        let _ = write!(out, "{time}");
    }
    out.extend_from_slice(b"]}\n");
}

/// Appends a value; those that JSON has no number for are strings.
fn push_value(out: &mut Vec<u8>, value: f64) {
    match value {
        f64::INFINITY => out.extend_from_slice(b"\"Infinity\""),
        f64::NEG_INFINITY => out.extend_from_slice(b"\"-Infinity\""),
        value if value.is_nan() => out.extend_from_slice(b"\"NaN\""),
        value => number::push_sample(out, value),
    }
}
