//! Upstream's compliance queries over synthetic data, and what the upstream engine answers.

use model::sample::stale_marker;
use model::{Column, LabelSet, SeriesColumns};
use promqltest::{Answer, Ask, Data, Sample, Subject};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// When the range queries start, in milliseconds since 1970.
pub const START_MS: i64 = 1_699_999_800_000;
/// When they end, and when instant queries are asked.
pub const END_MS: i64 = 1_700_000_400_000;
/// Their step.
pub const STEP_MS: i64 = 30_000;

/// Values differ at most this, relative to the smaller magnitude.
const SAME: f64 = 1e-5;

/// The samples of a data file: one series a line.
///
/// # Panics
/// If the file is not in its form.
#[must_use]
pub fn read_data(text: &str) -> Vec<SeriesColumns> {
    text.lines().map(|line| series(&serde_json::from_str(line).unwrap_or_default())).collect()
}

fn series(json: &Json) -> SeriesColumns {
    let start_ms = json["start_ms"].as_i64().unwrap_or_default();
    let step_ms = json["step_ms"].as_i64();
    let mut floats = Column::default();
    for (index, value) in json["values"].as_array().into_iter().flatten().enumerate() {
        let offset_ms = match step_ms {
            Some(step_ms) => i64::try_from(index).unwrap_or(0) * step_ms,
            None => json["offsets_ms"][index].as_i64().unwrap_or_default(),
        };
        floats.push(start_ms + offset_ms, value.as_f64().unwrap_or_else(stale_marker));
    }
    SeriesColumns { labels: labels(&json["metric"]), floats, ..SeriesColumns::default() }
}

fn labels(json: &Json) -> LabelSet {
    let mut labels = LabelSet::default();
    for (name, value) in json.as_object().into_iter().flatten() {
        labels.set(name.as_str(), value.as_str().unwrap_or_default());
    }
    labels
}

/// Loads the data of upstream's folder and asks all queries; how many, and what was wrong with the answers.
///
/// # Panics
/// If a file cannot be read, or the data not be loaded.
pub fn faults(folder: &Path, subject: &mut dyn Subject) -> (usize, Vec<String>) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("the folder is whole");
    subject.load(&read_data(&read("data.jsonl"))).expect("it takes the data");
    let golden = read_golden(&read("golden.jsonl"));
    let ask = |query: &str, start_ms, step_ms| {
        subject.ask(Ask { query, start_ms, end_ms: END_MS, step_ms })
    };
    let fault = |golden: &Golden| {
        let range = ask(&golden.query, START_MS, STEP_MS);
        let instant = ask(&golden.query, END_MS, 0);
        let checked = golden.check_range(&range).and_then(|()| golden.check_instant(&instant));
        checked.err().map(|reason| format!("{}: {reason}", golden.query))
    };
    (golden.len(), golden.iter().filter_map(fault).collect())
}

/// What the upstream engine answers to a query.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The query.
    pub query: String,
    json: Json,
}

/// The answers of a file: one query a line.
#[must_use]
pub fn read_golden(text: &str) -> Vec<Golden> {
    let golden = |line| {
        let json: Json = serde_json::from_str(line).unwrap_or_default();
        Golden { query: json["query"].as_str().unwrap_or_default().into(), json }
    };
    text.lines().map(golden).collect()
}

type Samples = BTreeMap<LabelSet, Vec<(i64, f64)>>;

impl Golden {
    /// The text of the failure, if the query has to fail.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.json["error"].as_str()
    }

    /// Whether an answer to the range query is the same, annotations included.
    ///
    /// # Errors
    /// What differs.
    pub fn check_range(&self, have: &Result<Answer, String>) -> Result<(), String> {
        let have = match (have, self.error()) {
            (Err(_), Some(_)) => return Ok(()),
            (Ok(_), Some(error)) => return Err(format!("has to fail: {error}")),
            (Err(error), None) => return Err(format!("failed: {error}")),
            (Ok(have), None) => have,
        };
        let Data::Matrix(matrix) = &have.data else {
            return Err(format!("no matrix: {:?}", have.data));
        };
        let have_samples = matrix.iter().map(|(labels, samples)| {
            let samples = samples.iter().map(|(time, of)| (*time, float(of)));
            (labels.clone(), samples.collect())
        });
        same_samples(&self.range(), &have_samples.collect())?;
        self.check_texts("warnings", &have.warnings)?;
        self.check_texts("infos", &have.infos)
    }

    /// Whether an answer to the instant query is the same.
    ///
    /// # Errors
    /// What differs.
    pub fn check_instant(&self, have: &Result<Answer, String>) -> Result<(), String> {
        let value = match have {
            Err(_) if self.error().is_some() => return Ok(()),
            Err(error) => return Err(format!("failed: {error}")),
            Ok(have) => &have.data,
        };
        if let Some(want) = self.json["instant_scalar"].as_str() {
            return match value {
                Data::Scalar(value) if same(number(want), *value) => Ok(()),
                other => Err(format!("expected {want}, got {other:?}")),
            };
        }
        let Data::Vector(vector) = value else { return Err(format!("no vector: {value:?}")) };
        let have: Samples =
            vector.iter().map(|(labels, of)| (labels.clone(), vec![(END_MS, float(of))])).collect();
        let want = self.json["instant"].as_array().into_iter().flatten().map(|series| {
            let value = number(series["value"].as_str().unwrap_or_default());
            (labels(&series["metric"]), vec![(END_MS, value)])
        });
        same_samples(&want.collect(), &have)
    }

    fn range(&self) -> Samples {
        let series = self.json["range"].as_array().into_iter().flatten();
        let sample = |pair: &Json| {
            let seconds = pair[0].as_i64().unwrap_or_default();
            (START_MS + seconds * 1_000, number(pair[1].as_str().unwrap_or_default()))
        };
        let samples =
            |series: &Json| series["values"].as_array().into_iter().flatten().map(sample).collect();
        series.map(|series| (labels(&series["metric"]), samples(series))).collect()
    }

    fn check_texts(&self, key: &str, have: &[String]) -> Result<(), String> {
        let want = self.json[key].as_array().into_iter().flatten();
        let mut want: Vec<&str> = want.filter_map(Json::as_str).collect();
        let mut have: Vec<&str> = have.iter().map(String::as_str).collect();
        want.sort_unstable();
        have.sort_unstable();
        if want == have { Ok(()) } else { Err(format!("{key}: expected {want:?}, got {have:?}")) }
    }
}

fn same_samples(want: &Samples, have: &Samples) -> Result<(), String> {
    let names = |samples: &Samples| samples.keys().map(ToString::to_string).collect::<Vec<_>>();
    if !want.keys().eq(have.keys()) {
        return Err(format!("expected series {:?}, got {:?}", names(want), names(have)));
    }
    for ((labels, want), have) in want.iter().zip(have.values()) {
        let times = |samples: &[(i64, f64)]| samples.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        if times(want) != times(have) {
            return Err(format!(
                "{labels}: expected samples at {:?}, got {:?}",
                times(want),
                times(have)
            ));
        }
        for ((at, want), (_, have)) in want.iter().zip(have) {
            if !same(*want, *have) {
                return Err(format!("{labels} at {at}: expected {want}, got {have}"));
            }
        }
    }
    Ok(())
}

/// A float; the answers of this list hold nothing else.
fn float(sample: &Sample) -> f64 {
    if let Sample::Float(value) = sample { *value } else { f64::NAN }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= SAME * a.abs().min(b.abs())
}
