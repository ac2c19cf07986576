//! What the query API answers, as rows.

use serde_json::Value;

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Whether it is of a range: each series has many samples.
    pub(crate) is_matrix: bool,
    pub(crate) rows: Vec<Row>,
}

/// A series of an answer; a scalar or text is one without labels.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The metric's name first, then as they came.
    pub(crate) labels: Vec<(String, String)>,
    /// Ascending in time; floats and histograms.
    pub(crate) samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) time_ms: i64,
    /// As it was answered: a number's text; a histogram as JSON.
    pub(crate) text: String,
    /// `None`: not a number to be drawn.
    pub(crate) value: Option<f64>,
}

impl Answer {
    /// Reads `data` of an answer; `None` if it is none.
    pub(crate) fn read(data: &Value) -> Option<Self> {
        let (kind, result) = (data["resultType"].as_str()?, &data["result"]);
        if matches!(kind, "scalar" | "string") {
            let row = Row { labels: Vec::new(), samples: vec![sample(result)?] };
            return Some(Self { is_matrix: false, rows: vec![row] });
        }
        let rows = result.as_array()?.iter().map(row).collect::<Option<Vec<Row>>>()?;
        Some(Self { is_matrix: kind == "matrix", rows })
    }
}

fn row(series: &Value) -> Option<Row> {
    let mut labels: Vec<(String, String)> = series["metric"]
        .as_object()?
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect::<Option<_>>()?;
    labels.sort_by_key(|(name, _)| name != "__name__");
    let one = ["value", "histogram"].iter().filter_map(|key| series.get(key));
    let many = ["values", "histograms"].iter().filter_map(|key| series.get(key)?.as_array());
    let samples = one.chain(many.flatten()).map(sample);
    let mut samples = samples.collect::<Option<Vec<Sample>>>()?;
    samples.sort_by_key(|sample| sample.time_ms);
    Some(Row { labels, samples })
}

fn sample(pair: &Value) -> Option<Sample> {
    let [time, value] = pair.as_array()?.as_slice() else { return None };
    #[expect(clippy::cast_possible_truncation, reason = "a time far away is shown as far away")]
    let time_ms = (time.as_f64()? * 1_000.0).round() as i64;
    let (text, value) = match value.as_str() {
        Some(text) => (text.to_owned(), text.parse().ok()),
        None => (value.to_string(), None),
    };
    Some(Sample { time_ms, text, value })
}

impl Row {
    /// `name{label="value"}`.
    pub(crate) fn name(&self) -> String {
        let (name, rest) = match self.labels.split_first() {
            Some(((label, name), rest)) if label == "__name__" => (name.as_str(), rest),
            _ => ("", &self.labels[..]),
        };
        let pairs: Vec<String> =
            rest.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        match pairs.is_empty() && !name.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", pairs.join(", ")),
        }
    }
}
