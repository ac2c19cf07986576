//! Measures `sum by (job) (rate(m[5m]))` and others over series in memory: milliseconds each.
//!
//! `cargo run --release -p tests --example query_speed [part of a query]`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures and tells")]

use model::read::Selection;
use model::{Column, LabelSet, SeriesColumns};
use promql::{Cancel, EvalParams, ParseOptions, Query, SeriesSource, SourceError};
use std::error::Error;
use std::time::{Duration, Instant};

const SERIES: u32 = 10_000;
const SAMPLES: u32 = 240;
const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000;

const QUERIES: &[&str] = &[
    "m",
    "rate(m[5m])",
    "sum by (job) (rate(m[5m]))",
    "sum(m)",
    "avg_over_time(m[5m])",
    "max_over_time(m[30m])",
    "quantile_over_time(0.9, m[5m])",
    "stddev_over_time(m[5m])",
    "m / on (instance, job, shard) m",
    "topk(5, m)",
    "quantile by (job) (0.9, m)",
    "max_over_time(sum(rate(m[1m]))[10m:1m])",
];

/// Gives out all it has: the cost of a store is not in the measure, the copy of its answer is.
struct Ready(Vec<SeriesColumns>);

impl SeriesSource for Ready {
    fn select(&self, _: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        Ok(self.0.clone())
    }
}

fn series(number: u32) -> Result<SeriesColumns, Box<dyn Error>> {
    let labels = LabelSet::from_pairs([
        ("__name__", "m".to_string()),
        ("job", format!("job-{}", number % 10)),
        ("instance", format!("10.0.{}.{}:9100", number / 100 % 100, number / 1_000)),
        ("shard", number.to_string()),
        ("cluster", "eu-1".to_string()),
    ])?;
    let mut floats = Column::default();
    for sample in 0..SAMPLES {
        // A counter with its own slope that starts again now and then.
        let value = f64::from((sample + number) % 200) * f64::from(number % 7 + 1) * 1.5;
        floats.push(START_MS + i64::from(sample) * STEP_MS + i64::from(number % 1_000), value);
    }
    Ok(SeriesColumns { labels, floats, ..SeriesColumns::default() })
}

fn ask(source: &Ready, text: &str) -> Result<(Duration, usize), Box<dyn Error>> {
    let expr = promql::parse(text, ParseOptions::default())?;
    let end_ms = START_MS + i64::from(SAMPLES) * STEP_MS;
    let params = EvalParams::range(START_MS, end_ms, STEP_MS);
    let started = Instant::now();
    let query = Query { text, expr: &expr };
    let answer = promql::evaluate(source, query, &params, &Cancel::default())?;
    let took = started.elapsed();
    let promql::Value::Matrix(matrix) = answer.value else { return Ok((took, 0)) };
    Ok((took, matrix.len()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let all: Result<Vec<SeriesColumns>, _> = (0..SERIES).map(series).collect();
    let mut all = all?;
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    let source = Ready(all);
    println!("{SERIES} series x {SAMPLES} samples, 1 h at 15 s; best of 5");
    let copy = Instant::now();
    let copied = source.0.clone();
    println!("{:>9.1} ms  (a copy of all samples: {})", ms(copy.elapsed()), copied.len());
    drop(copied);
    // An argument picks the queries that contain it.
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for text in QUERIES.iter().filter(|text| text.contains(&wanted)) {
        let mut best = Duration::MAX;
        let mut len = 0;
        for _ in 0..5 {
            let (took, found) = ask(&source, text)?;
            best = best.min(took);
            len = found;
        }
        println!("{:>9.1} ms  {text}  ({len} series)", ms(best));
    }
    Ok(())
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
