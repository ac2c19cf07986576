//! `export`: series as lines of JSON, the same that `import` reads.
//!
//! All selectors are one query: in its turn, within its memory, samples and time. What is selected
//! is held until it has been sent; lines are made as the caller takes them.
//!
//! Native histograms have no such line and are left out, as are stale markers, which stand for no
//! value.
//!
//! # Invariants
//! - A line has at most [`LINE_SAMPLES`] samples, so that it can be read again wherever it goes.

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
use model::{Column, LabelSet, Matcher, QueryShard, TimeRange};
use promql::SeriesSource as _;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;

/// Samples of one line.
const LINE_SAMPLES: usize = 10_000;
/// A part of the answer is sent when it has so many bytes.
const PART_BYTES: usize = 32 << 10;

pub(crate) async fn export(querier: Querier, call: Call) -> Result<Response, Error> {
    if call.params.all("match[]").next().is_none() {
        return Err(Error::invalid("no match[] parameter provided"));
    }
    let matcher_sets = language::matcher_sets(&querier, &call, Some("match[]")).await?;
    let start = call.params.time_or("start", TIME_MIN)?;
    let end = call.params.time_or("end", querier.inner.clock.now())?;
    let limits = querier.limits_of(&call.context.tenant);
    let timeout = run::timeout(limits, None);
    let samples_max = limits.max_samples.get();
    let work = move |desk: &Desk| {
        let series = select(desk, matcher_sets, TimeRange::inclusive(start, end), samples_max)?;
        Ok((series, Arc::clone(&desk.source.purse)))
    };
    let ((series, purse), _) = run::run(&querier, &call.context, timeout, work).await?;
    let lines = Lines { series: series.into_iter(), open: None, _purse: purse };
    let mut response =
        Response::new(Body::from_stream(stream::iter(lines.map(Ok::<_, Infallible>))));
    let media_type = HeaderValue::from_static("application/stream+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// What is selected, each series once.
fn select(
    desk: &Desk,
    matcher_sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    mut left: u64,
) -> Result<BTreeMap<LabelSet, Column>, Error> {
    let mut found = BTreeMap::new();
    for matchers in matcher_sets {
        let bounds = SelectBounds { samples_max: left, ..SelectBounds::NONE };
        let selection = Selection {
            matchers,
            range,
            days: None,
            shard: QueryShard::ALL,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        for series in desk.source.select(&selection)? {
            desk.check()?;
            left = left.saturating_sub(series.samples());
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
