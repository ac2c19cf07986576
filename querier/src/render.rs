//! Answers as streams of JSON: the envelope and its rows, chunk by chunk.
//!
//! # Invariants
//! - `status` is the first key, `resultType` comes before `result`, an empty result is `[]`.
//! - No more than one chunk of text is held at a time; what has been written is dropped.
//!
//! Not here: which series are answered, and how many (`query.rs`).

use crate::histogram;
use crate::json;
use crate::number;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use model::{Column, HistogramColumn, LabelSet, SeriesColumns, Text};
use promql::{InstantSample, Value};
use std::convert::Infallible;
use std::vec::IntoIter;

/// A chunk is sent when it has so many bytes.
const CHUNK_BYTES: usize = 32 << 10;

/// Samples of one series that are written between two looks at the chunk's size.
const SAMPLES_PER_TURN: usize = 256;

/// Histograms of one series that are written between two looks at the chunk's size.
const HISTOGRAMS_PER_TURN: usize = 4;

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
    /// The value of a query, and the rendered `stats`, if they were asked for.
    Query(Value, Option<Vec<u8>>),
    /// Names or values.
    Texts(Vec<Text>),
    /// Label sets.
    LabelSets(Vec<LabelSet>),
    /// Anything small, rendered.
    Json(Vec<u8>),
}

/// The answer with this data: status 200, streamed.
pub(crate) fn success(data: Data, annotations: &Annotations) -> Response {
    let chunks = chunks(data, annotations).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(stream::iter(chunks)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The answer's text, chunk by chunk.
fn chunks(data: Data, annotations: &Annotations) -> Chunks {
    let mut head = b"{\"status\":\"success\",\"data\":".to_vec();
    let mut tail = Vec::new();
    let rows = match data {
        Data::Query(value, stats) => {
            head.extend_from_slice(b"{\"resultType\":\"");
            head.extend_from_slice(result_type(&value).as_bytes());
            head.extend_from_slice(b"\",\"result\":[");
            tail.push(b']');
            if let Some(stats) = stats {
                tail.extend_from_slice(b",\"stats\":");
                tail.extend_from_slice(&stats);
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
    Chunks { buffer: head, rows, tail: Some(tail), first: true }
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
    tail: Option<Vec<u8>>,
    first: bool,
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
    /// Whether all floats are written.
    is_in_histograms: bool,
    /// The next one of the kind that is being written.
    next: usize,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.tail.as_ref()?;
        let mut out = std::mem::take(&mut self.buffer);
        out.reserve(CHUNK_BYTES.saturating_sub(out.len()));
        while out.len() < CHUNK_BYTES {
            if !self.push_turn(&mut out) {
                out.extend_from_slice(&self.tail.take()?);
                break;
            }
        }
        Some(Bytes::from(out))
    }
}

impl Chunks {
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
                match &sample.histogram {
                    Some(of) => {
                        out.extend_from_slice(b",\"histogram\":");
                        histogram::push_sample(out, sample.timestamp_ms, of);
                    }
                    None => {
                        out.extend_from_slice(b",\"value\":");
                        json::push_sample(out, sample.timestamp_ms, sample.value);
                    }
                }
                out.push(b'}');
            }
            Self::Matrix { series, open } => {
                let Some(series) = series.next() else { return false };
                out.extend_from_slice(b"{\"metric\":");
                json::push_labels(out, &series.labels);
                let SeriesColumns { floats, histograms, .. } = series;
                let is_in_histograms = false;
                let series = OpenSeries { floats, histograms, is_in_histograms, next: 0 };
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
        if self.is_in_histograms {
            return self.push_histograms(out);
        }
        if self.next == 0 && !self.floats.is_empty() {
            out.extend_from_slice(b",\"values\":[");
        }
        let end = (self.next + SAMPLES_PER_TURN).min(self.floats.len());
        let times = self.floats.timestamps_ms.get(self.next..end).unwrap_or_default();
        let values = self.floats.values.get(self.next..end).unwrap_or_default();
        for (index, (timestamp_ms, value)) in times.iter().zip(values).enumerate() {
            if self.next + index > 0 {
                out.push(b',');
            }
            json::push_sample(out, *timestamp_ms, *value);
        }
        self.next = end;
        if end < self.floats.len() {
            return true;
        }
        if !self.floats.is_empty() {
            out.push(b']');
        }
        (self.is_in_histograms, self.next) = (true, 0);
        true
    }

    fn push_histograms(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next == 0 && !self.histograms.is_empty() {
            out.extend_from_slice(b",\"histograms\":[");
        }
        let end = (self.next + HISTOGRAMS_PER_TURN).min(self.histograms.len());
        histogram::push_samples(out, &self.histograms, self.next, end);
        self.next = end;
        if end < self.histograms.len() {
            return true;
        }
        if !self.histograms.is_empty() {
            out.push(b']');
        }
        out.push(b'}');
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;

    fn text(data: Data, annotations: &Annotations) -> String {
        let bytes: Vec<u8> = chunks(data, annotations).flatten().collect();
        String::from_utf8(bytes).unwrap()
    }

    fn query(value: Value) -> String {
        text(Data::Query(value, None), &Annotations::default())
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
    fn a_series_of_both_kinds_has_a_list_of_each_and_none_of_what_it_lacks() {
        let mut both = series(&[("job", "a")], &[(1_000, 1.0)]);
        for timestamp_ms in 2..8 {
            both.histograms.push_sample(model::sample::HistogramSample {
                timestamp_ms: timestamp_ms * 1_000,
                histogram: std::sync::Arc::new(model::histogram::Histogram {
                    sum: 1.0,
                    ..model::histogram::Histogram::stale()
                }),
                start_timestamp_ms: 0,
                revision: 0,
            });
        }
        let only = SeriesColumns { floats: Column::default(), ..both.clone() };
        let json: Json = serde_json::from_str(&query(Value::Matrix(vec![both, only]))).unwrap();
        let result = &json["data"]["result"];
        assert_eq!(result[0]["values"].as_array().map(Vec::len), Some(1));
        assert_eq!(result[0]["histograms"].as_array().map(Vec::len), Some(6));
        assert_eq!(result[0]["histograms"][5][1]["sum"], "1");
        assert!(result[1].get("values").is_none());
        assert_eq!(result[1]["histograms"][0][0], 2);
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
            text(Data::Query(Value::Vector(vec![]), Some(b"{}".to_vec())), &none),
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
        let data = Data::Query(Value::Matrix(matrix), None);
        let parts: Vec<Bytes> = chunks(data, &Annotations::default()).collect();
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
