//! Snapshots, backups and bulk loads with the real binary, as an operator's script would.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bench::remote_write::Series;
use serde_json::Value;
use std::path::Path;
use tests::process::{Cumae, Ended, Launch, wall_ms};

const QUIET: &str = "self_metrics: false\n";

fn start(data: &Path) -> Cumae {
    Launch::new(data).config(QUIET).start()
}

/// A command beside the server, or on its own.
fn command(data: &Path, server: Option<&Cumae>, args: &[&str]) -> Ended {
    let launch = Launch::new(data).args(args.iter().copied());
    match server {
        Some(server) => launch.listen(server.address()).run(),
        None => launch.run(),
    }
}

fn push(cumae: &Cumae, time: i64, value: f64) {
    let series: Vec<Series> = (0..20)
        .map(|n| Series::new("m", &[("n", &n.to_string())], &[(time, value + f64::from(n))]))
        .collect();
    assert_eq!(cumae.push(&series).status, 204);
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century")]
fn all(cumae: &Cumae, time: i64) -> (Value, Value) {
    let at = time as f64 / 1e3 + 1.0;
    (cumae.query("m[1h]", at), cumae.query("sum by (n) (count_over_time(m[1h]))", at))
}

#[test]
fn a_snapshot_of_a_running_server_goes_through_a_backup_into_a_new_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let backup_text = backup.display().to_string();
    let cumae = start(&data);
    let time = wall_ms() - 60_000;
    (0..10).for_each(|turn| push(&cumae, time + turn, 1.0));
    let expected = all(&cumae, time);
    let taken = command(&data, Some(&cumae), &["snapshot", "create"]);
    assert!(taken.is_success(), "{}", taken.log);
    let name = taken.printed.trim();
    (10..20).for_each(|turn| push(&cumae, time + turn, 2.0));
    assert_ne!(all(&cumae, time), expected);

    let listed = command(&data, Some(&cumae), &["snapshot", "list"]);
    assert!(listed.printed.contains(name), "{}", listed.printed);
    let verified = command(&data, Some(&cumae), &["snapshot", "verify", name]);
    assert!(verified.is_success() && verified.printed.contains("is sound"), "{}", verified.log);
    let copied = command(&data, Some(&cumae), &["snapshot", "copy", name, &backup_text]);
    assert!(copied.is_success() && copied.printed.contains(" 0 bytes were there"));
    let again = command(&data, Some(&cumae), &["snapshot", "copy", name, &backup_text]);
    assert!(again.printed.contains("0 files and 0 bytes copied"), "{}", again.printed);
    // A second one, by HTTP, shares what it can.
    let path = "/prometheus/api/v1/admin/tsdb/snapshot";
    let answer = cumae.send("PUT", path, &[], b"");
    assert_eq!(answer.status, 200);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let second = answer["data"]["name"].as_str().unwrap();
    let copied = command(&data, Some(&cumae), &["snapshot", "copy", second, &backup_text]);
    assert!(!copied.printed.contains(" 0 bytes were there"), "{}", copied.printed);
    cumae.kill_9();

    let new = dir.path().join("new");
    let new_text = new.display().to_string();
    let from = ["--from", &backup_text];
    let args = [&["snapshot", "restore", name, &new_text][..], &from].concat();
    let restored = command(&data, None, &args);
    assert!(restored.is_success(), "{}", restored.log);
    assert_eq!(all(&start(&new), time), expected);
    let refused = command(&data, None, &args);
    assert!(!refused.is_success() && refused.log.contains("is not empty"), "{}", refused.log);

    flip_a_byte(&backup.join("objects"));
    let damaged = command(&data, None, &[&["snapshot", "verify", name][..], &from].concat());
    let damaged_2 = command(&data, None, &[&["snapshot", "verify", second][..], &from].concat());
    assert!(!damaged.is_success() || !damaged_2.is_success());
    let said = damaged.printed + &damaged_2.printed;
    assert!(said.contains("objects/") && said.contains("at byte"), "{said}");
    let deleted = command(&data, None, &["snapshot", "delete", name]);
    assert!(deleted.is_success(), "{}", deleted.log);
    assert!(!command(&data, None, &["snapshot", "verify", name]).is_success());
}

/// In the largest of them.
fn flip_a_byte(objects: &Path) {
    let files = std::fs::read_dir(objects).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
}

#[test]
fn a_stopped_directory_gives_a_snapshot_too_and_one_without_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let nothing = command(&data, None, &["snapshot", "create"]);
    assert!(!nothing.is_success() && nothing.log.contains("holds no data"), "{}", nothing.log);
    let cumae = start(&data);
    let time = wall_ms() - 60_000;
    push(&cumae, time, 1.0);
    let expected = all(&cumae, time);
    cumae.kill_9();
    let taken = command(&data, None, &["snapshot", "create"]);
    assert!(taken.is_success(), "{}", taken.log);
    let new = dir.path().join("new");
    let args = ["snapshot", "restore", taken.printed.trim(), &new.display().to_string()];
    assert!(command(&data, None, &args).is_success());
    assert_eq!(all(&start(&new), time), expected);
}

/// The minutes of which there is data.
const MINUTES: i32 = 60;

/// Two jobs, a sample of each series every 15 of these seconds: counters that start anew now and
/// then, gauges, a histogram and what they are.
fn services(start_ms: i64, seconds: std::ops::Range<i32>) -> Vec<Series> {
    let mut series = Vec::new();
    let mut add = |name: &str, labels: &[(&str, &str)], value: &dyn Fn(f64) -> f64| {
        let at = |second: i32| (start_ms + 1_000 * i64::from(second), value(f64::from(second)));
        let samples: Vec<(i64, f64)> = seconds.clone().step_by(15).map(at).collect();
        series.push(Series::new(name, labels, &samples));
    };
    for (job, instance, number) in
        [("api", "a", 1.0), ("api", "b", 2.0), ("web", "c", 3.0), ("web", "d", 5.0)]
    {
        let own = [("job", job), ("instance", instance)];
        for (code, share) in [("200", 7.0), ("404", 1.0), ("500", 0.3)] {
            // Starts anew every 25 minutes.
            add("requests_total", &[own[0], own[1], ("code", code)], &|second| {
                (second % 1_500.0) * share * number
            });
        }
        add("memory_bytes", &own, &|second| 1e6 * number + 1e5 * (second / 90.0).sin());
        add("up", &own, &|second| f64::from(u8::from((second / 300.0).floor() % 4.0 != number)));
        add(
            "build_info",
            &[own[0], own[1], ("version", if number < 3.0 { "1" } else { "2" })],
            &|_| 1.0,
        );
        for (le, share) in [("0.1", 0.4), ("0.5", 0.7), ("1", 0.9), ("+Inf", 1.0)] {
            add("latency_seconds_bucket", &[own[0], own[1], ("le", le)], &|second| {
                (second * share * number).floor()
            });
        }
        add("latency_seconds_sum", &own, &|second| second * 0.3 * number);
        add("latency_seconds_count", &own, &|second| (second * number).floor());
    }
    series
}

/// At one moment.
const INSTANT: [&str; 30] = [
    "requests_total",
    "up == 0",
    "memory_bytes{job=~\"a.*\"}",
    "{__name__=~\"latency.*\", le!=\"1\"}",
    "rate(requests_total[5m])",
    "increase(requests_total{code!=\"200\"}[30m])",
    "irate(requests_total{code=\"500\"}[2m])",
    "resets(requests_total[1h])",
    "changes(up[1h])",
    "delta(memory_bytes[10m])",
    "deriv(memory_bytes[10m])",
    "predict_linear(memory_bytes[20m], 600)",
    "sum by (job) (rate(requests_total[5m]))",
    "sum without (instance, code) (rate(requests_total[5m]))",
    "topk(2, sum by (instance) (requests_total))",
    "quantile(0.9, memory_bytes)",
    "stddev by (job) (memory_bytes)",
    "count_values(\"state\", up)",
    "avg_over_time(up[1h])",
    "max_over_time(memory_bytes[30m]) - min_over_time(memory_bytes[30m])",
    "quantile_over_time(0.5, memory_bytes[30m])",
    "count_over_time(latency_seconds_bucket{job=\"web\"}[45m])",
    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.5, rate(latency_seconds_bucket[10m]))",
    "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])",
    "requests_total offset 20m",
    "sum(requests_total @ start()) - sum(requests_total offset 10m)",
    "memory_bytes * on (instance) group_left (version) build_info",
    "requests_total{code=\"200\"} and on (instance) (up == 1)",
    "memory_bytes[3m]",
];

/// Over most of the time there is.
const RANGE: [&str; 20] = [
    "requests_total{code=\"200\"}",
    "rate(requests_total[5m])",
    "sum by (code) (rate(requests_total[2m]))",
    "sum(rate(requests_total{code=\"500\"}[5m])) / sum(rate(requests_total[5m]))",
    "histogram_quantile(0.99, sum by (job, le) (rate(latency_seconds_bucket[5m])))",
    "avg by (job) (memory_bytes)",
    "max_over_time(memory_bytes[5m])",
    "min_over_time(sum(up)[10m:1m])",
    "increase(latency_seconds_count[3m] offset 5m)",
    "memory_bytes - memory_bytes offset 15m",
    "up * on (instance, job) group_left (version) build_info",
    "up == 0 unless on (job) (up{instance=\"a\"} == 1)",
    "count(up == 1) or vector(0)",
    "bottomk(1, memory_bytes)",
    "absent_over_time(up{job=\"gone\"}[5m])",
    "label_replace(up, \"where\", \"$1\", \"instance\", \"(.*)\")",
    "sort_desc(sum by (instance) (requests_total))",
    "clamp_max(irate(requests_total[1m]), 10)",
    "rate(requests_total[5m] @ end())",
    "stdvar_over_time(memory_bytes[10m]) > bool 1e8",
];

/// The whole answers to all of them, of times up to the end of the data.
fn answers(cumae: &Cumae, start_ms: i64) -> Vec<(&'static str, Value)> {
    let at = |minute: i32| (start_ms / 1_000 + 60 * i64::from(minute)).to_string();
    let mut all = Vec::new();
    for (index, query) in (0..).zip(INSTANT) {
        let time = at(MINUTES - 1 - index % 7);
        all.push((query, cumae.api("query", &[("query", query), ("time", &time)])));
    }
    let (start, end) = (at(6), at(MINUTES - 1));
    for query in RANGE {
        let range = [("query", query), ("start", &*start), ("end", &*end), ("step", "50")];
        all.push((query, cumae.api("query_range", &range)));
    }
    all
}

#[test]
fn a_snapshot_under_load_answers_fifty_queries_as_the_original_did_at_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (data, new) = (dir.path().join("data"), dir.path().join("new"));
    let cumae = start(&data);
    let start_ms = (wall_ms() / 1_000 - 2 * 60 * i64::from(MINUTES)) * 1_000;
    let end_s = 60 * MINUTES;
    for (from, to) in [(0, 1_200), (1_200, 2_400), (2_400, end_s)] {
        assert_eq!(cumae.push(&services(start_ms, from..to)).status, 204);
        if from < 2_400 {
            // The last third is in the head and in the log only.
            assert_eq!(cumae.send("POST", "/ingester/flush", &[], b"").status, 204);
        }
    }
    let expected = answers(&cumae, start_ms);
    for (query, answer) in &expected {
        let result = &answer["data"]["result"];
        assert!(
            answer["status"] == "success" && result != &serde_json::json!([]),
            "{query}: {answer}"
        );
    }

    // The same series go on, and new ones come, while the snapshot is taken.
    let mut written_s = end_s;
    let name = std::thread::scope(|scope| {
        let taken = scope.spawn(|| command(&data, Some(&cumae), &["snapshot", "create"]));
        while !taken.is_finished() {
            assert_eq!(cumae.push(&services(start_ms, written_s..written_s + 1)).status, 204);
            written_s += 15;
        }
        let taken = taken.join().unwrap();
        assert!(taken.is_success(), "{}", taken.log);
        taken.printed.trim().to_owned()
    });
    assert!(written_s > end_s, "it was taken under load");
    // What comes after it changes the past: it is not in the snapshot.
    let late = services(start_ms + 5_000, 300..end_s - 300);
    assert_eq!(cumae.push(&late).status, 204);
    let delete = "/api/v1/admin/tsdb/delete_series?match[]=up%7Bjob%3D%22web%22%7D";
    assert_eq!(cumae.send("POST", delete, &[], b"").status, 204);
    let after = answers(&cumae, start_ms);
    let changed = expected.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(changed > 25, "only {changed} answers of the original have changed");
    cumae.kill_9();

    let args = ["snapshot", "restore", &name, &new.display().to_string()];
    let restored = command(&data, None, &args);
    assert!(restored.is_success(), "{}", restored.log);
    let restored = start(&new);
    for ((query, before), (_, now)) in expected.iter().zip(answers(&restored, start_ms)) {
        assert_eq!(*before, now, "{query}");
    }
}
