//! The load tool itself: it writes in three languages, asks, and proves; and it can say no.

use serde_json::Value;
use std::path::Path;
use std::thread;
use tests::process::{Cumae, Launch, command, eventually, free_address};

const QUIET: &str = "self_metrics: false\n";

/// A report of `cumae bench`, and whether its status was 0.
fn bench(target: &str, words: &[&str], flags: &[&str]) -> (Value, bool) {
    let always = ["--target", target, "--json"];
    let output = command(&[&["bench"], words, &always, flags].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|error| panic!("{words:?}: {error}: {said}")), output.status.success())
}

fn started(data: &Path, target: std::net::SocketAddr) -> Cumae {
    Launch::new(data).config(QUIET).listen(target).start()
}

#[test]
fn each_workload_is_counted_in_each_language_before_a_figure_counts() {
    let dir = tempfile::tempdir().unwrap();
    for (place, (protocol, workload)) in
        [("rw1", "a"), ("rw2", "E"), ("otlp", "c")].into_iter().enumerate()
    {
        let cumae = Launch::new(&dir.path().join(place.to_string())).config(QUIET).start();
        let (target, pid) = (cumae.address().to_string(), cumae.pid().to_string());
        let flags = ["--protocol", protocol, "--workload", workload, "--pid", &pid];
        let size = ["--series", "2000", "--rounds", "6", "--settle", "0"];
        let flags = [&flags[..], &size].concat();
        let (report, is_good) = bench(&target, &["write"], &flags);
        assert!(is_good && report["complete"] == true, "{protocol}: {report:#}");
        let series = if workload == "E" { 4_000.0 } else { 2_000.0 };
        assert_eq!((&report["series_counted"], &report["errors"]), (&series.into(), &0.into()));
        assert_eq!(report["samples_counted"], 12_000.0);
        assert!(report["anonymous_bytes"].as_f64() > Some(1e6), "{report:#}");
        assert!(report["request_ms"]["max"].as_f64() >= report["request_ms"]["p50"].as_f64());

        let end = report["end_ms"].to_string();
        let flags = ["--seconds", "1", "--range", "60", "--end-ms", &end, "--pid", &pid];
        let (report, is_good) = bench(&target, &["read"], &flags);
        assert!(is_good && report["errors"] == 0, "{report:#}");
        let queries = report["queries"].as_array().unwrap();
        assert_eq!(queries.len(), 6);
        assert!(queries.iter().all(|of| of["answers"].as_u64() > Some(0)), "{report:#}");
        // An answer without a series has less than 100 bytes; one of them asks for a host that is not here.
        let full = |of: &&Value| of["answer_bytes"].as_u64() > Some(100);
        assert!(queries.iter().filter(full).count() >= 4, "{report:#}");
        let (report, is_good) = bench(&target, &["read"], &["--query", "sum(", "--seconds", "1"]);
        assert!(is_good && report["answers"] == 0, "{report:#}");
        assert!(report["queries"][0]["first_error"].as_str().unwrap().contains("parse error"));
    }
}

#[test]
fn a_target_rate_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = Launch::new(&dir.path().join("data")).config(QUIET).start();
    let flags = ["--series", "1000", "--rounds", "6", "--rate", "4000", "--settle", "0"];
    let (report, _) = bench(
        &cumae.address().to_string(),
        &["write"],
        &[&flags[..], &["--samples-per-request", "500"]].concat(),
    );
    // The last of 12 requests is due after 5,500 samples.
    let took = report["sending_seconds"].as_f64().unwrap();
    assert!((1.3..6.0).contains(&took), "{report:#}");
}

#[test]
fn what_was_acknowledged_before_and_after_a_kill_is_proven_and_what_was_not_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (data, target) = (dir.path().join("data"), free_address());
    let (ledger, address) = (dir.path().join("ledger"), target.to_string());
    let cumae = started(&data, target);
    let file = ledger.display().to_string();
    let flags = ["--ledger", &file, "--seconds", "4", "--interval", "20", "--series", "300"];
    let acknowledged =
        || std::fs::read_to_string(&ledger).unwrap_or_default().matches("ok ").count();
    let (written, again) = thread::scope(|scope| {
        let writer = scope.spawn(|| bench(&address, &["verify", "write"], &flags).0);
        assert!(eventually(|| acknowledged() > 30));
        cumae.kill_9();
        let again = started(&data, target);
        let before = acknowledged();
        assert!(eventually(|| acknowledged() > before + 30));
        (writer.join().unwrap(), again)
    });
    assert!(written["requests_unanswered"].as_u64() > Some(0), "{written:#}");
    let (proof, holds) = bench(&address, &["verify", "read"], &["--ledger", &file]);
    assert!(holds && proof["holds"] == true, "{proof:#}");
    assert_eq!(proof["samples_acknowledged"], written["samples_acknowledged"]);

    // Another batch's acknowledgement, of a time at which nothing was sent.
    let lie = std::fs::read_to_string(&ledger).unwrap() + "ok 1 1700000000000\n";
    std::fs::write(&ledger, lie).unwrap();
    let (proof, holds) = bench(&address, &["verify", "read"], &["--ledger", &file]);
    assert!(!holds);
    // A few of the hundred are stale markers, which no range of samples shows.
    let missing = proof["missing"].as_u64().unwrap();
    assert!((90..=100).contains(&missing) && proof["holds"] == false, "{proof:#}");
    drop(again);
}
