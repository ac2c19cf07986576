//! A real process from outside: what is loaded is sent by remote write, what is asked is asked of
//! the HTTP API, and each `clear` moves on to a tenant that nobody has written to.
//!
//! Samples that have a start go by remote write 2.0, since 1.0 does not carry it; others by 1.0. Of
//! an answer only what the JSON says is judged.

use crate::process::{Cumae, Launch, eventually};
use bench::http::{self, Connection};
use bench::remote_write::{HEADERS, HEADERS_V2, compress};
use model::{HistogramSample, LabelSet, SeriesColumns};
use promql::histogram::BucketView;
use promqltest::{Answer, Ask, Data, Sample, Samples, ShownHistogram, Subject};
use serde_json::Value as Json;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use wire::remote_write::{RequestV2, SeriesV2, encode_extras, encode_series};

/// As upstream's runner sets its engine up: every option on, 10,000 samples at most.
const UPSTREAM: &str = "\
self_metrics: false
tenancy: multi
query:
  features: promql-experimental-functions,promql-extended-range-selectors,\
promql-binop-fill-modifiers,promql-delayed-name-removal,use-start-timestamps
limits: {max_query_samples: 10000}
";

/// As a server is set up by default.
const DEFAULT: &str = "self_metrics: false\ntenancy: multi\n";

/// A process, a connection to it, and the tenant that is written to and asked.
#[derive(Debug)]
pub struct HttpSubject {
    cumae: Cumae,
    connection: Mutex<Connection>,
    tenants: usize,
}

impl HttpSubject {
    /// A process whose engine is set up as that of upstream's runner, with its data in `dir`.
    ///
    /// # Panics
    /// If it does not serve.
    #[must_use]
    pub fn upstream(dir: &Path) -> Self {
        Self::start(dir, UPSTREAM)
    }

    /// A process as it comes, with its data in `dir`.
    ///
    /// # Panics
    /// If it does not serve.
    #[must_use]
    pub fn default(dir: &Path) -> Self {
        Self::start(dir, DEFAULT)
    }

    /// A process as it comes, with these settings.
    ///
    /// # Panics
    /// If it does not serve.
    #[must_use]
    pub fn with(dir: &Path, config: &str) -> Self {
        let subject = Self::start(dir, &format!("{DEFAULT}{config}"));
        let is_ready = || subject.cumae.get("/-/ready").status == 200;
        assert!(eventually(is_ready), "it has all places: {}", subject.cumae.log());
        subject
    }

    /// Brings all that it holds into its densest form.
    ///
    /// # Panics
    /// If it does not.
    pub fn seal(&self) {
        let (status, text) = self.post("/ingester/flush?seal=true", &[], b"").expect("it answers");
        assert_eq!(status, 204, "{text}");
    }

    fn start(dir: &Path, config: &str) -> Self {
        let cumae = Launch::new(&dir.join("data")).config(config).start();
        let connection = Connection::open(cumae.address()).expect("a process that is ready serves");
        Self { cumae, connection: Mutex::new(connection), tenants: 0 }
    }

    fn tenant(&self) -> String {
        format!("script-{}", self.tenants)
    }

    /// Status and body.
    fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, String), String> {
        let tenant = self.tenant();
        let mut headers = headers.to_vec();
        headers.push(("X-Scope-OrgID", &tenant));
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = connection.send("POST", path, &headers, body);
        if sent.is_err() {
            *connection = Connection::open(self.cumae.address()).map_err(|e| e.to_string())?;
        }
        sent.map(|answer| (answer.status, answer.text())).map_err(|error| error.to_string())
    }
}

impl Subject for HttpSubject {
    fn clear(&mut self) {
        self.tenants += 1;
    }

    fn load(&mut self, series: &[SeriesColumns]) -> Result<(), String> {
        let (headers, message) = match series.iter().any(has_starts) {
            true => (HEADERS_V2, message_v2(series)),
            false => (HEADERS, message(series)),
        };
        match self.post("/api/v1/push", &headers, &compress(&message))? {
            (204, _) => Ok(()),
            (status, text) => Err(format!("remote write: {status} {text}")),
        }
    }

    fn ask(&self, ask: Ask<'_>) -> Result<Answer, String> {
        let (start, end) = (seconds(ask.start_ms), seconds(ask.end_ms));
        let step = seconds(ask.step_ms);
        let (path, form) = match ask.step_ms {
            0 => ("query", http::form(&[("query", ask.query), ("time", &start)])),
            _ => {
                let times =
                    [("query", ask.query), ("start", &start), ("end", &end), ("step", &step)];
                ("query_range", http::form(&times))
            }
        };
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let (_, body) = self.post(&format!("/api/v1/{path}"), &headers, form.as_bytes())?;
        let json: Json = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        match json["status"].as_str() {
            Some("success") => read(&json).ok_or_else(|| format!("not an answer: {body}")),
            _ => Err(reason(json["error"].as_str().unwrap_or(&body))),
        }
    }
}

/// Whether a sample of the series has a start.
fn has_starts(series: &SeriesColumns) -> bool {
    let (floats, histograms) = (&series.floats, &series.histograms);
    let mut starts = floats.start_timestamps_ms.iter().chain(&histograms.start_timestamps_ms);
    starts.any(|start| *start != 0)
}

/// The floats of a series: time, value, start.
fn floats(series: &SeriesColumns) -> Vec<(i64, f64, i64)> {
    let sample = |at| series.floats.sample(at);
    let samples = (0..series.floats.values.len()).map(sample);
    samples.map(|sample| (sample.timestamp_ms, sample.value, sample.start_timestamp_ms)).collect()
}

fn histograms(series: &SeriesColumns) -> Vec<HistogramSample> {
    (0..series.histograms.len()).map(|at| series.histograms.sample(at)).collect()
}

/// The message of remote write 1.0.
fn message(series: &[SeriesColumns]) -> Vec<u8> {
    let mut message = Vec::new();
    for one in series {
        let samples: Vec<(i64, f64)> =
            floats(one).iter().map(|(time, value, _)| (*time, *value)).collect();
        if !samples.is_empty() {
            encode_series(&one.labels, &samples, &mut message);
        }
        let histograms = histograms(one);
        if !histograms.is_empty() {
            encode_extras(&one.labels, &histograms, &[], &mut message);
        }
    }
    message
}

/// The message of remote write 2.0, which has no series without a sample.
fn message_v2(series: &[SeriesColumns]) -> Vec<u8> {
    let mut request = RequestV2::default();
    for one in series {
        let (samples, histograms) = (floats(one), histograms(one));
        if !samples.is_empty() || !histograms.is_empty() {
            let (samples, histograms) = (&samples[..], &histograms[..]);
            request.push(&one.labels, &SeriesV2 { samples, histograms, ..SeriesV2::default() });
        }
    }
    request.finish()
}

/// `-1.500`
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1_000, ms % 1_000)
}

/// What the engine says, without which parameter it is about.
fn reason(error: &str) -> String {
    error.strip_prefix("invalid parameter \"query\": ").unwrap_or(error).to_owned()
}

/// An answer of the query API.
fn read(json: &Json) -> Option<Answer> {
    let result = &json["data"]["result"];
    let data = match json["data"]["resultType"].as_str()? {
        "scalar" => Data::Scalar(number(&result[1])?),
        "string" => Data::Text(result[1].as_str()?.to_owned()),
        "vector" => Data::Vector(result.as_array()?.iter().map(element).collect::<Option<_>>()?),
        "matrix" => Data::Matrix(result.as_array()?.iter().map(series).collect::<Option<_>>()?),
        _ => return None,
    };
    let texts = |key: &str| -> Option<Vec<String>> {
        let texts = json.get(key).and_then(Json::as_array).into_iter().flatten();
        texts.map(|text| text.as_str().map(str::to_owned)).collect()
    };
    Some(Answer { data, warnings: texts("warnings")?, infos: texts("infos")? })
}

fn element(json: &Json) -> Option<(LabelSet, Sample)> {
    let sample = match json.get("histogram") {
        Some(pair) => Sample::Shown(histogram(&pair[1])?),
        None => Sample::Float(number(&json["value"][1])?),
    };
    Some((labels(&json["metric"])?, sample))
}

fn series(json: &Json) -> Option<(LabelSet, Samples)> {
    let mut samples = Samples::new();
    for pair in json.get("values").and_then(Json::as_array).into_iter().flatten() {
        samples.insert(millis(&pair[0])?, Sample::Float(number(&pair[1])?));
    }
    for pair in json.get("histograms").and_then(Json::as_array).into_iter().flatten() {
        samples.insert(millis(&pair[0])?, Sample::Shown(histogram(&pair[1])?));
    }
    Some((labels(&json["metric"])?, samples))
}

fn labels(json: &Json) -> Option<LabelSet> {
    let mut labels = LabelSet::default();
    for (name, value) in json.as_object()? {
        labels.set(name.as_str(), value.as_str()?);
    }
    Some(labels)
}

fn histogram(json: &Json) -> Option<ShownHistogram> {
    let buckets = json.get("buckets").and_then(Json::as_array).into_iter().flatten();
    let bucket = |json: &Json| {
        let (has_lower, has_upper) = match json[0].as_u64()? {
            0 => (false, true),
            1 => (true, false),
            2 => (false, false),
            3 => (true, true),
            _ => return None,
        };
        let (lower, upper) = (number(&json[1])?, number(&json[2])?);
        Some(BucketView { lower, upper, has_lower, has_upper, count: number(&json[3])? })
    };
    Some(ShownHistogram {
        count: number(&json["count"])?,
        sum: number(&json["sum"])?,
        buckets: buckets.map(bucket).collect::<Option<_>>()?,
    })
}

/// A float in a string.
fn number(json: &Json) -> Option<f64> {
    json.as_str()?.parse().ok()
}

/// Seconds as milliseconds.
fn millis(json: &Json) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "times of tests are small")]
    json.as_f64().map(|seconds| (seconds * 1_000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_all_that_it_says() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},
            "values":[[1.5,"2"],[3,"NaN"]],"histograms":[[4,{"count":"3","sum":"1e-07",
            "buckets":[[3,"-Inf","0.5","1"],[0,"0.5","+Inf","2"]]}]]}]},"warnings":["w"]}"#;
        let answer = read(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!((answer.warnings.len(), answer.infos.len()), (1, 0));
        let Data::Matrix(matrix) = answer.data else { panic!("no matrix") };
        let (labels, samples) = &matrix[0];
        assert_eq!(labels.to_string(), "{a=\"b\"}");
        assert!(matches!(samples[&1_500], Sample::Float(2.0)));
        assert!(matches!(samples[&3_000], Sample::Float(value) if value.is_nan()));
        let Sample::Shown(shown) = &samples[&4_000] else { panic!("{samples:?}") };
        assert_eq!((shown.count, shown.sum, shown.buckets.len()), (3.0, 1e-7, 2));
        assert_eq!(shown.buckets[0].lower, f64::NEG_INFINITY);
        assert!(shown.buckets[0].has_lower && !shown.buckets[1].has_lower);
    }

    #[test]
    fn times_are_written_to_the_millisecond_on_both_sides_of_zero() {
        let shown = [-1_500, -1, 0, 1, 60_000].map(seconds);
        assert_eq!(shown, ["-1.500", "-0.001", "0.000", "0.001", "60.000"]);
    }
}
