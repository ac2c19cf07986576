//! Answers as streams of JSON: the envelope and its rows, chunk by chunk.
//!
//! # Invariants
//! - `status` is the first key, `resultType` comes before `result`, an empty result is `[]`.
//! - No more than one chunk of text is held at a time; what has been written is dropped.
//!
//! Not here: which series are answered, and how many (`query.rs`).

use crate::memory::Purse;
use crate::trace::Trace;
use crate::{histogram_json, json, number};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use model::{Column, HistogramColumn, LabelSet, SeriesColumns, Text};
use promql::{InstantSample, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::vec::IntoIter;

/// A chunk is sent when it has so many bytes.
const CHUNK_BYTES: usize = 32 << 10;

/// Samples of one series that are written between two looks at the chunk's size.
const SAMPLES_PER_TURN: usize = 256;

/// The most warnings, and the most infos, that an answer spells out.
const ANNOTATIONS_MAX: usize = 10;

/// The warning of an answer that `limit` has cut.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// What the engine and the handlers have to say beside the data.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// What may make the answer other than meant.
    pub(crate) warnings: Vec<String>,
    /// What may be of interest.
    pub(crate) infos: Vec<String>,
}

/// What an answer consists of.
#[derive(Debug)]
pub(crate) enum Data {
    /// The value of a query.
    Query(Box<QueryAnswer>),
    /// Names or values.
    Texts(Vec<Text>),
    /// Label sets.
    LabelSets(Vec<LabelSet>),
    /// Anything small, rendered.
    Json(Vec<u8>),
}

/// The value of a query, and what is said beside it.
#[derive(Debug)]
pub(crate) struct QueryAnswer {
    /// The value.
    pub(crate) value: Value,
    /// The rendered `stats`, if they were asked for.
    pub(crate) stats: Option<Vec<u8>>,
    /// Where the time went, if that was asked for.
    pub(crate) trace: Option<Trace>,
    /// The memory of the value, until all of it was sent.
    pub(crate) purse: Option<Arc<Purse>>,
}

/// The answer with this data: status 200, streamed.
pub(crate) fn success(data: Data, annotations: &Annotations) -> Response {
    success_holding(data, annotations, None)
}

/// As [`success`], for data whose memory has been taken: it goes back when all of it is sent.
pub(crate) fn success_holding(
    data: Data,
    annotations: &Annotations,
    purse: Option<Arc<Purse>>,
) -> Response {
    let chunks = chunks(data, annotations, purse).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(stream::iter(chunks)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The answer's text, chunk by chunk.
fn chunks(data: Data, annotations: &Annotations, held: Option<Arc<Purse>>) -> Chunks {
    let mut head = b"{\"status\":\"success\",\"data\":".to_vec();
    let mut tail = Vec::new();
    let (mut of_query, mut trace, mut purse) = (Vec::new(), None, held);
    let rows = match data {
        Data::Query(answer) => {
            let value = answer.value;
            (trace, purse) = (answer.trace, answer.purse);
            head.extend_from_slice(b"{\"resultType\":\"");
            head.extend_from_slice(result_type(&value).as_bytes());
            head.extend_from_slice(b"\",\"result\":[");
            of_query.push(b']');
            if let Some(stats) = answer.stats {
                of_query.extend_from_slice(b",\"stats\":");
                of_query.extend_from_slice(&stats);
            }
            tail.push(b'}');
            query_rows(value, &mut head)
        }
        Data::Texts(texts) => {
            head.push(b'[');
            tail.push(b']');
            Rows::Texts(texts.into_iter())
        }
        Data::LabelSets(sets) => {
            head.push(b'[');
            tail.push(b']');
            Rows::LabelSets(sets.into_iter())
        }
        Data::Json(json) => {
            head.extend_from_slice(&json);
            Rows::None
        }
    };
    push_annotations(&mut tail, "warnings", "warning", &annotations.warnings);
    push_annotations(&mut tail, "infos", "info", &annotations.infos);
    tail.push(b'}');
    Chunks { buffer: head, rows, of_query, trace, tail: Some(tail), first: true, _purse: purse }
}

fn result_type(value: &Value) -> &'static str {
    match value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    }
}

/// The rows of a value; a scalar or a string is written into `head` at once.
fn query_rows(value: Value, head: &mut Vec<u8>) -> Rows {
    match value {
        Value::Scalar { timestamp_ms, value } => {
            number::push_timestamp(head, timestamp_ms);
            head.extend_from_slice(b",\"");
            number::push_plain(head, value);
            head.push(b'"');
            Rows::None
        }
        Value::String { timestamp_ms, text } => {
            number::push_timestamp(head, timestamp_ms);
            head.push(b',');
            json::push_string(head, &text);
            Rows::None
        }
        Value::Vector(samples) => Rows::Vector(samples.into_iter()),
        Value::Matrix(series) => Rows::Matrix { series: series.into_iter(), open: None },
    }
}

fn push_annotations(out: &mut Vec<u8>, key: &str, one: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    let mut shown: Vec<&str> = texts.iter().take(ANNOTATIONS_MAX).map(String::as_str).collect();
    let omitted = format!("{} more {one} annotations omitted", texts.len() - shown.len());
    if texts.len() > shown.len() {
        shown.push(&omitted);
    }
    json::push_strings(out, &shown);
}

/// What is left to be written.
#[derive(Debug)]
struct Chunks {
    buffer: Vec<u8>,
    rows: Rows,
    /// What follows the rows of a query, but for the trace.
    of_query: Vec<u8>,
    trace: Option<Trace>,
    tail: Option<Vec<u8>>,
    first: bool,
    /// Given back with the last byte, or when nobody reads on.
    _purse: Option<Arc<Purse>>,
}

#[derive(Debug)]
enum Rows {
    None,
    Vector(IntoIter<InstantSample>),
    Matrix { series: IntoIter<SeriesColumns>, open: Option<Box<OpenSeries>> },
    Texts(IntoIter<Text>),
    LabelSets(IntoIter<LabelSet>),
}

/// A series whose samples are being written.
#[derive(Debug)]
struct OpenSeries {
    floats: Column,
    histograms: HistogramColumn,
    next: usize,
    next_histogram: usize,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.tail.as_ref()?;
        let mut out = std::mem::take(&mut self.buffer);
        out.reserve(CHUNK_BYTES.saturating_sub(out.len()));
        let is_done = match self.trace.take() {
            Some(mut trace) => {
                let is_done = trace.time(|| self.fill(&mut out));
                self.trace = Some(trace);
                is_done
            }
            None => self.fill(&mut out),
        };
        if is_done {
            out.extend_from_slice(&self.of_query);
            if let Some(trace) = &self.trace {
                trace.push(&mut out);
            }
            out.extend_from_slice(&self.tail.take()?);
        }
        Some(Bytes::from(out))
    }
}

impl Chunks {
    /// Writes rows until the chunk is full. True if no row was left.
    fn fill(&mut self, out: &mut Vec<u8>) -> bool {
        while out.len() < CHUNK_BYTES {
            if !self.push_turn(out) {
                return true;
            }
        }
        false
    }

    /// Writes the next row, or the next samples of the open one. False if nothing was left.
    fn push_turn(&mut self, out: &mut Vec<u8>) -> bool {
        if let Rows::Matrix { open, .. } = &mut self.rows
            && let Some(series) = open
        {
            if !series.push_turn(out) {
                *open = None;
            }
            return true;
        }
        let at = out.len();
        if !self.first {
            out.push(b',');
        }
        let some = self.rows.push_row(out);
        if some {
            self.first = false;
        } else {
            out.truncate(at);
        }
        some
    }
}

impl Rows {
    fn push_row(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::None => return false,
            Self::Vector(samples) => {
                let Some(sample) = samples.next() else { return false };
                out.extend_from_slice(b"{\"metric\":");
                json::push_labels(out, &sample.labels);
                if let Some(histogram) = &sample.histogram {
                    out.extend_from_slice(b",\"histogram\":");
                    histogram_json::push_sample(out, sample.timestamp_ms, histogram);
                } else {
                    out.extend_from_slice(b",\"value\":");
                    json::push_sample(out, sample.timestamp_ms, sample.value);
                }
                out.push(b'}');
            }
            Self::Matrix { series, open } => {
                let Some(series) = series.next() else { return false };
                out.extend_from_slice(b"{\"metric\":");
                json::push_labels(out, &series.labels);
                let (floats, histograms) = (series.floats, series.histograms);
                let series = OpenSeries { floats, histograms, next: 0, next_histogram: 0 };
                *open = Some(Box::new(series));
            }
            Self::Texts(texts) => {
                let Some(text) = texts.next() else { return false };
                json::push_string(out, &text);
            }
            Self::LabelSets(sets) => {
                let Some(labels) = sets.next() else { return false };
                json::push_labels(out, &labels);
            }
        }
        true
    }
}

impl OpenSeries {
    /// Writes the next samples. False if those were the last ones.
    fn push_turn(&mut self, out: &mut Vec<u8>) -> bool {
        // A series without any sample has an empty list of floats.
        if self.next < self.floats.len() || self.histograms.is_empty() {
            self.push_floats(out);
        } else if let Some(histogram) = self.histograms.values.get(self.next_histogram) {
            let key: &[u8] = if self.next_histogram == 0 { b",\"histograms\":[" } else { b"," };
            out.extend_from_slice(key);
            let at = self.histograms.timestamps_ms.get(self.next_histogram);
            histogram_json::push_sample(out, at.copied().unwrap_or_default(), histogram);
            // One at a time: each may be long.
            self.next_histogram += 1;
            if self.next_histogram == self.histograms.len() {
                out.push(b']');
            }
        }
        let more = self.next < self.floats.len() || self.next_histogram < self.histograms.len();
        if !more {
            out.push(b'}');
        }
        more
    }

    fn push_floats(&mut self, out: &mut Vec<u8>) {
        let end = (self.next + SAMPLES_PER_TURN).min(self.floats.len());
        let times = self.floats.timestamps_ms.get(self.next..end).unwrap_or_default();
        let values = self.floats.values.get(self.next..end).unwrap_or_default();
        if self.next == 0 {
            out.extend_from_slice(b",\"values\":[");
        }
        for (index, (timestamp_ms, value)) in times.iter().zip(values).enumerate() {
            if self.next + index > 0 {
                out.push(b',');
            }
            json::push_sample(out, *timestamp_ms, *value);
        }
        self.next = end;
        if end == self.floats.len() {
            out.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;

    fn text(data: Data, annotations: &Annotations) -> String {
        let bytes: Vec<u8> = chunks(data, annotations, None).flatten().collect();
        String::from_utf8(bytes).unwrap()
    }

    fn of_query(value: Value, stats: Option<Vec<u8>>) -> Data {
        Data::Query(Box::new(QueryAnswer { value, stats, trace: None, purse: None }))
    }

    fn query(value: Value) -> String {
        text(of_query(value, None), &Annotations::default())
    }

    fn labels(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesColumns {
        let mut floats = Column::default();
        for (timestamp_ms, value) in samples {
            floats.push(*timestamp_ms, *value);
        }
        SeriesColumns { labels: labels(pairs), floats, ..SeriesColumns::default() }
    }

    #[test]
    fn values_are_written_as_the_contract_shows_them() {
        let at = 1_700_000_000_000;
        let up = labels(&[("__name__", "up"), ("job", "a")]);
        let vector =
            vec![InstantSample { labels: up, timestamp_ms: at, value: 1.0, histogram: None }];
        assert_eq!(
            query(Value::Vector(vector)),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1700000000,"1"]}]}}"#
        );
        let matrix = vec![series(&[("job", "a")], &[(at, 1.0), (at + 15_000, 2.5)])];
        assert_eq!(
            query(Value::Matrix(matrix)),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"a"},"values":[[1700000000,"1"],[1700000015,"2.5"]]}]}}"#
        );
        assert_eq!(
            query(Value::Scalar { timestamp_ms: at, value: 1e21 }),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000,"1000000000000000000000"]}}"#
        );
        assert_eq!(
            query(Value::String { timestamp_ms: at, text: "h\"i".to_owned() }),
            r#"{"status":"success","data":{"resultType":"string","result":[1700000000,"h\"i"]}}"#
        );
        for (value, kind) in [(Value::Vector(vec![]), "vector"), (Value::Matrix(vec![]), "matrix")]
        {
            let empty =
                format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[]}}}}"#);
            assert_eq!(query(value), empty);
        }
    }

    #[test]
    fn a_series_has_a_key_for_each_kind_of_sample_that_it_has() {
        let mut histograms = HistogramColumn::default();
        let histogram =
            std::sync::Arc::new(model::Histogram { sum: 2.5, ..model::Histogram::stale() });
        for timestamp_ms in [1_000, 2_000] {
            histograms.push_sample(model::HistogramSample {
                timestamp_ms,
                histogram: histogram.clone(),
                start_timestamp_ms: 0,
                revision: 0,
            });
        }
        let both =
            SeriesColumns { histograms, ..series(&[("n", "1")], &[(500, 1.0), (3_000, 2.0)]) };
        let only = SeriesColumns { floats: Column::default(), ..both.clone() };
        let shown = r#""histograms":[[1,{"count":"0","sum":"2.5"}],[2,{"count":"0","sum":"2.5"}]]"#;
        let expected = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"n":"1"}},"values":[[0.500,"1"],[3,"2"]],{shown}}},{{"metric":{{"n":"1"}},{shown}}}]}}}}"#
        );
        assert_eq!(query(Value::Matrix(vec![both, only])), expected);
        let (labels, value) = (labels(&[("n", "1")]), f64::NAN);
        let one = InstantSample { labels, timestamp_ms: 1_000, value, histogram: Some(histogram) };
        assert_eq!(
            query(Value::Vector(vec![one])),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"n":"1"},"histogram":[1,{"count":"0","sum":"2.5"}]}]}}"#
        );
    }

    #[test]
    fn names_and_label_sets_are_lists_and_stats_follow_the_result() {
        let none = Annotations::default();
        let empty = r#"{"status":"success","data":[]}"#;
        assert_eq!(text(Data::Texts(vec![]), &none), empty);
        assert_eq!(text(Data::LabelSets(vec![]), &none), empty);
        assert_eq!(
            text(Data::Texts(vec!["a".into(), "b".into()]), &none),
            r#"{"status":"success","data":["a","b"]}"#
        );
        assert_eq!(
            text(Data::LabelSets(vec![labels(&[("a", "1")]), labels(&[])]), &none),
            r#"{"status":"success","data":[{"a":"1"},{}]}"#
        );
        assert_eq!(
            text(of_query(Value::Vector(vec![]), Some(b"{}".to_vec())), &none),
            r#"{"status":"success","data":{"resultType":"vector","result":[],"stats":{}}}"#
        );
    }

    #[test]
    fn ten_annotations_are_spelled_out_and_the_rest_is_counted() {
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let annotations = Annotations { warnings: many(10), infos: many(13) };
        let json: Json = serde_json::from_str(&text(Data::Texts(vec![]), &annotations)).unwrap();
        assert_eq!(json["warnings"].as_array().unwrap().len(), 10);
        assert_eq!(json["infos"].as_array().unwrap().len(), 11);
        assert_eq!(json["infos"][10], "3 more info annotations omitted");
    }

    #[test]
    fn a_large_matrix_is_sent_in_chunks_and_reads_back_whole() {
        let column: Vec<(i64, f64)> = (0..11_001).map(|n| (n * 1_000, 0.5)).collect();
        let matrix: Vec<SeriesColumns> =
            (0..5).map(|n| series(&[("n", &n.to_string())], &column)).collect();
        let data = of_query(Value::Matrix(matrix), None);
        let parts: Vec<Bytes> = chunks(data, &Annotations::default(), None).collect();
        assert!(parts.len() > 10 && parts.iter().all(|part| part.len() < 2 * CHUNK_BYTES));
        let json: Json = serde_json::from_slice(&parts.concat()).unwrap();
        for n in 0..5 {
            let one = &json["data"]["result"][n];
            assert_eq!(one["metric"]["n"], n.to_string());
            assert_eq!(one["values"].as_array().unwrap().len(), 11_001);
            assert_eq!(one["values"][11_000], serde_json::json!([11_000, "0.5"]));
        }
    }
}
