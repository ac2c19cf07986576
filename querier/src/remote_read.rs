//! `read`: series as they are stored, for another Prometheus.
//!
//! All questions of a request are one query: in its turn, within its memory and time. What is
//! selected is held until it has been sent; chunks are made as the caller takes them.
//!
//! Not here: the bytes (`wire::remote_read`).

use crate::call::Call;
use crate::error::Error;
use crate::memory::Purse;
use crate::params::BODY_BYTES_MAX;
use crate::querier::Querier;
use crate::run::{self, Desk, SAMPLE_BYTES};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use guard::QueryLimits;
use model::read::{SelectBounds, Selection, Wanted};
use model::{Kind, QueryShard, SeriesColumns, TimeRange};
use promql::SeriesSource as _;
use std::convert::Infallible;
use std::sync::Arc;
use std::vec::IntoIter;
use wire::remote_read::{
    self, ReadQuery, ReadRequest, ResponseType, SAMPLES_TYPE, STREAMED_TYPE, SeriesFrames,
};

/// A part of the answer is sent when it has so many bytes.
const PART_BYTES: usize = 32 << 10;

pub(crate) async fn read(querier: Querier, call: Call) -> Result<Response, Error> {
    check_encoding(&call.headers)?;
    let request = remote_read::decode(&call.message, BODY_BYTES_MAX)
        .map_err(|error| Error::new(error.kind(), error.to_string()))?;
    let limits = querier.limits_of(&call.context.tenant);
    check_texts(&request, limits)?;
    let timeout = run::timeout(limits, None);
    let samples_max = samples_max(limits);
    let work = move |desk: &Desk| {
        let answer = answer(desk, request, samples_max);
        answer.map_err(|error| told(error, samples_max))
    };
    let (response, _) = run::run(&querier, &call.context, timeout, work).await?;
    Ok(response)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None => Ok(()),
        Some(value) if value.trim_ascii().eq_ignore_ascii_case(b"snappy") => Ok(()),
        Some(value) => {
            let value = String::from_utf8_lossy(value.get(..100).unwrap_or(value)).into_owned();
            let text = format!("content encoding {value:?} is not supported, send snappy");
            Err(Error::new(Kind::Unsupported, text))
        }
    }
}

/// A regex costs far more to compile than its length says, so together they may be as long as a
/// query.
fn check_texts(request: &ReadRequest, limits: &QueryLimits) -> Result<(), Error> {
    let matchers = request.queries.iter().flat_map(|query| &query.matchers);
    let len: usize = matchers.map(|matcher| matcher.name.len() + matcher.value.len()).sum();
    let max = limits.max_text_bytes;
    if u64::try_from(len).is_ok_and(|len| max.is_exceeded_by(len)) {
        let max = max.0;
        let text = format!("matchers of {len} bytes, limit `query.max_text_bytes` is {max}");
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// How many samples a query may hold: as many as are allowed, and as its bytes have room for.
fn samples_max(limits: &QueryLimits) -> u64 {
    limits.max_samples.get().min(limits.max_bytes.get() / SAMPLE_BYTES)
}

/// The refusal in the words that clients of remote read know.
fn told(error: Error, samples_max: u64) -> Error {
    let text = error.to_string();
    match error.kind() {
        Kind::Unexecutable if text.contains(" samples") => {
            Error::invalid(format!("exceeded sample limit ({samples_max}): {text}"))
        }
        _ => error,
    }
}

fn answer(desk: &Desk, request: ReadRequest, samples_max: u64) -> Result<Response, Error> {
    let mut left = samples_max;
    match request.response_type {
        ResponseType::Samples => {
            let mut results = Vec::with_capacity(request.queries.len());
            for query in request.queries {
                let series = select(desk, query, &mut left)?;
                results.push(result(desk, series)?);
            }
            samples(desk, &results)
        }
        ResponseType::StreamedXorChunks => {
            let mut results = Vec::with_capacity(request.queries.len());
            for (index, query) in (0..).zip(request.queries) {
                results.push((index, select(desk, query, &mut left)?.into_iter()));
            }
            let purse = Arc::clone(&desk.source.purse);
            let frames =
                Frames { results: results.into_iter(), open: None, series: None, _purse: purse };
            let body = Body::from_stream(stream::iter(frames.map(Ok::<_, Infallible>)));
            Ok(of_type(body, STREAMED_TYPE))
        }
    }
}

/// What a question selects. One without a matcher selects nothing.
fn select(desk: &Desk, query: ReadQuery, left: &mut u64) -> Result<Vec<SeriesColumns>, Error> {
    desk.check()?;
    for matcher in &query.matchers {
        matcher.compile().map_err(|error| Error::invalid(error.to_string()))?;
    }
    if query.matchers.is_empty() || query.end < query.start {
        return Ok(Vec::new());
    }
    let selection = Selection {
        matchers: query.matchers,
        range: TimeRange::inclusive(query.start, query.end),
        days: None,
        shard: QueryShard::ALL,
        bounds: SelectBounds { samples_max: *left, ..SelectBounds::NONE },
        wanted: Wanted::ALL,
    };
    let series = desk.source.select(&selection)?;
    *left = left.saturating_sub(series.iter().map(SeriesColumns::samples).sum());
    Ok(series)
}

/// One question's series, spelled out.
fn result(desk: &Desk, series: Vec<SeriesColumns>) -> Result<Vec<u8>, Error> {
    let (mut out, mut paid) = (Vec::new(), 0);
    for one in series {
        remote_read::push_series(&one, &mut out);
        if out.capacity() > paid {
            desk.check()?;
            desk.source.purse.take(to_u64(out.capacity() - paid))?;
            paid = out.capacity();
        }
    }
    Ok(out)
}

/// The whole answer in one block.
fn samples(desk: &Desk, results: &[Vec<u8>]) -> Result<Response, Error> {
    // Once as one message, once packed.
    let bytes: usize = results.iter().map(Vec::len).sum();
    let purse = &desk.source.purse;
    purse.take(to_u64(bytes).saturating_mul(2))?;
    let packed = remote_read::response(results).map_err(|error| {
        Error::new(Kind::Unexecutable, format!("the answer is too long: {error}"))
    })?;
    purse.settle(to_u64(packed.len()));
    let whole = Whole { bytes: Some(Bytes::from(packed)), _purse: Arc::clone(purse) };
    let body = Body::from_stream(stream::iter(whole.map(Ok::<_, Infallible>)));
    let mut response = of_type(body, SAMPLES_TYPE);
    let snappy = HeaderValue::from_static("snappy");
    response.headers_mut().insert(header::CONTENT_ENCODING, snappy);
    Ok(response)
}

fn of_type(body: Body, media_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// An answer in one part.
#[derive(Debug)]
struct Whole {
    bytes: Option<Bytes>,
    /// Given back when it was sent, or when nobody reads on.
    _purse: Arc<Purse>,
}

impl Iterator for Whole {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.bytes.take()
    }
}

/// The frames that are left, in parts.
#[derive(Debug)]
struct Frames {
    results: IntoIter<(u64, IntoIter<SeriesColumns>)>,
    /// The question whose series are being sent.
    open: Option<(u64, IntoIter<SeriesColumns>)>,
    series: Option<SeriesFrames>,
    /// Given back with the last byte, or when nobody reads on.
    _purse: Arc<Purse>,
}

impl Frames {
    /// Appends a frame, or goes on to the next series. False if nothing is left.
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(series) = &mut self.series {
            if !series.push_next(out) {
                self.series = None;
            }
            return true;
        }
        match &mut self.open {
            Some((index, series)) => match series.next() {
                Some(series) => self.series = Some(SeriesFrames::new(*index, series)),
                None => self.open = None,
            },
            None => match self.results.next() {
                Some(result) => self.open = Some(result),
                None => return false,
            },
        }
        true
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < PART_BYTES && self.push_next(&mut out) {}
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}
