//! Reports of `cumae bench` as people read them.

use bench::write::Progress;
use serde_json::Value;
use std::sync::atomic::Ordering;

/// Cells of the bar.
const BAR_CELLS: u64 = 40;

/// How far a run has come, in one line.
pub(super) fn bar(progress: &Progress) -> String {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let (sent, samples, errors) = (of(&progress.sent), of(&progress.samples), of(&progress.errors));
    let cells = sent.saturating_mul(BAR_CELLS) / samples.max(1);
    let bar: String = (0..BAR_CELLS).map(|cell| if cell < cells { '#' } else { '.' }).collect();
    let percent = sent.saturating_mul(100) / samples.max(1);
    format!("[{bar}] {percent:3} %, {errors} errors")
}

/// Of `cumae bench write`.
pub(super) fn write(report: &Value) -> String {
    let mut text = format!(
        "{} series, {} samples in {} requests over {} connections ({})\n",
        whole(&report["series"]),
        whole(&report["samples"]),
        whole(&report["requests"]),
        whole(&report["connections"]),
        report["protocol"].as_str().unwrap_or_default(),
    );
    text += &format!(
        "  sent in {} s: {} samples/s, {} bytes each\n",
        tenths(&report["sending_seconds"]),
        whole(&report["samples_per_second"]),
        tenths(&report["body_bytes_per_sample"]),
    );
    text += &latencies(&report["request_ms"], "  ");
    text += &errors(report, "  ");
    if !report["server_cpu_seconds"].is_null() {
        text += &format!(
            "  server: {} CPU-s, {} samples/CPU-s; {} MiB of memory, {} MiB at most, {} bytes/series\n",
            tenths(&report["server_cpu_seconds"]),
            whole(&report["samples_per_server_cpu_second"]),
            mib(&report["anonymous_bytes"]),
            mib(&report["anonymous_bytes_peak"]),
            whole(&report["anonymous_bytes_per_series"]),
        );
    }
    text += &format!(
        "  the server counts {} series, {} samples: {}\n",
        whole(&report["series_counted"]),
        whole(&report["samples_counted"]),
        if report["complete"] == true { "all there" } else { "NOT what was sent" },
    );
    text
}

/// Of `cumae bench read`.
pub(super) fn read(report: &Value) -> String {
    let mut text = format!(
        "{} answers in {} s over {} connections: {} a second\n",
        whole(&report["answers"]),
        tenths(&report["seconds"]),
        whole(&report["connections"]),
        tenths(&report["answers_per_second"]),
    );
    text += &latencies(&report["request_ms"], "  ");
    if !report["server_cpu_seconds"].is_null() {
        text += &format!(
            "  server: {} CPU-s, {} CPU-ms an answer; {} MiB of memory, {} MiB at most\n",
            tenths(&report["server_cpu_seconds"]),
            tenths(&report["server_cpu_ms_per_answer"]),
            mib(&report["anonymous_bytes"]),
            mib(&report["anonymous_bytes_peak"]),
        );
    }
    for query in report["queries"].as_array().into_iter().flatten() {
        text += &format!("{}\n", query["query"].as_str().unwrap_or_default());
        text += &format!(
            "  {} answers of {} bytes\n",
            whole(&query["answers"]),
            whole(&query["answer_bytes"])
        );
        text += &latencies(&query["request_ms"], "  ");
        text += &errors(query, "  ");
    }
    text
}

/// Of `cumae bench verify`.
pub(super) fn verify(report: &Value) -> String {
    let line = |(name, value): (&String, &Value)| match value {
        Value::Number(_) => format!("{:>15}  {}\n", whole(value), name.replace('_', " ")),
        Value::Array(faults) => {
            faults.iter().map(|of| format!("  {}\n", of.as_str().unwrap_or(""))).collect()
        }
        Value::Bool(holds) => {
            let words = if *holds { "all acknowledged samples are there, once" } else { "BROKEN" };
            format!("{words}\n")
        }
        Value::String(text) => format!("  {}: {text}\n", name.replace('_', " ")),
        Value::Null | Value::Object(_) => String::new(),
    };
    report.as_object().into_iter().flatten().map(line).collect()
}

fn latencies(summary: &Value, indent: &str) -> String {
    let [p50, p90, p99, max] = ["p50", "p90", "p99", "max"].map(|name| tenths(&summary[name]));
    format!("{indent}latency, ms: p50 {p50}, p90 {p90}, p99 {p99}, max {max}\n")
}

/// A line only if there are some.
fn errors(report: &Value, indent: &str) -> String {
    match report["errors"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => {
            let first = report["first_error"].as_str().unwrap_or_default();
            format!("{indent}{count} ERRORS, the first: {first}\n")
        }
    }
}

/// A count with commas between thousands; `-` if it is not known.
fn whole(value: &Value) -> String {
    let Some(value) = value.as_f64() else { return "-".to_owned() };
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn tenths(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

fn mib(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{:.0}", value / 1_048_576.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_have_commas_and_what_is_not_known_a_dash() {
        let counts = [json!(0), json!(999), json!(1_000), json!(24_000_000.4), Value::Null];
        assert_eq!(counts.each_ref().map(whole), ["0", "999", "1,000", "24,000,000", "-"]);
    }

    #[test]
    fn a_server_that_counts_something_else_is_not_praised() {
        let mut report =
            json!({"series": 2_000, "complete": false, "errors": 3, "first_error": "503"});
        assert!(write(&report).contains("NOT what was sent"));
        assert!(write(&report).contains("3 ERRORS, the first: 503"));
        report["complete"] = json!(true);
        assert!(write(&report).contains("all there"));
    }

    #[test]
    fn the_bar_is_full_when_all_is_sent() {
        let progress = Progress::default();
        progress.samples.store(200, Ordering::Relaxed);
        assert!(bar(&progress).contains(". ") || bar(&progress).contains("  0 %"));
        progress.sent.store(200, Ordering::Relaxed);
        assert!(bar(&progress).contains(&"#".repeat(40)) && bar(&progress).contains("100 %"));
    }
}
