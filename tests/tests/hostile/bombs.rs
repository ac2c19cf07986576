//! B10 at the door: queries that would take all memory are refused in words, and the process never
//! had much more than the limit.

use super::door::{fill, filled};
use serde_json::Value as Json;
use std::fs;
use std::time::Duration;
use tests::process::{Cumae, now};

/// The limit of a query's memory here, and how much more the process may take than that: answers,
/// copies on the way, and what the allocator keeps.
const LIMIT_MIB: u64 = 64;
const ROOM_MIB: u64 = 3 * LIMIT_MIB;

/// Asked at a moment. With what they are refused; an empty text if they are answered.
const AT_A_MOMENT: &[(&str, &str)] = &[
    ("vector(1)[10y:1ms]", "too many samples"),
    ("sum_over_time(vector(1)[5h:1ms])", "bytes of memory"),
    ("m[10y:1ms]", "too many samples"),
    ("quantile_over_time(0.5, (m + 1)[5h:1ms])", "bytes of memory"),
    ("max_over_time(count_values(\"v\", vector(time()))[1h:50ms])", "bytes of memory"),
    ("max_over_time(count_values(\"v\", m)[1h:50ms])", "bytes of memory"),
    ("max_over_time((m + on (i) group_left m)[1h:50ms])", "bytes of memory"),
    ("max_over_time((m or on (i) m)[5h:50ms])", "bytes of memory"),
    ("max_over_time(topk(1e9, m)[5h:50ms])", "bytes of memory"),
    ("max_over_time(label_replace(m, \"x\", \"$1\", \"i\", \"(.*)\")[5h:50ms])", "bytes of memory"),
    ("max_over_time(sort(m)[5h:50ms])", "bytes of memory"),
    ("max_over_time(rate(m[5m])[5h:50ms])", "bytes of memory"),
    ("max_over_time(sum_over_time(vector(1)[1m:1s])[2h:1ms])", "bytes of memory"),
    ("rate(rate(vector(1)[1m:1s])[2h:1ms])", "bytes of memory"),
    ("m * on () m", "many-to-many matching not allowed"),
    ("m + on (le) group_left m", "found duplicate series"),
    ("topk(1e9, m)", ""),
    ("count_values(\"v\", m)", ""),
    ("m * on () group_left sum(m)", ""),
    ("{__name__=~\".+\"}", ""),
];

/// The most that was ever resident, in MiB.
fn peak_mib(cumae: &Cumae) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cumae.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn b10_queries_that_would_take_all_memory_are_refused_and_the_process_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let limits = format!("limits: {{max_query_bytes: {LIMIT_MIB}MiB}}\n");
    let (cumae, end_s) = filled(&dir, &limits);
    fill(&cumae, "default", end_s);
    let idle = peak_mib(&cumae);
    let end = end_s.to_string();
    // 100 bytes that double with each call.
    let mut doubled = "label_replace(m, \"x\", \"aaaaaaaaaaaaaaaa\", \"\", \"\")".to_owned();
    for _ in 0..40 {
        doubled = format!("label_replace({doubled}, \"x\", \"$1$1\", \"x\", \"(.*)\")");
    }
    let joined = format!("label_join(m, \"x\", \"-\", {})", vec!["\"le\""; 90_000].join(","));
    let doubled = [(doubled.as_str(), "bytes of memory"), (joined.as_str(), "")];
    for (query, reason) in AT_A_MOMENT.iter().chain(&doubled) {
        let before = peak_mib(&cumae);
        let began = now();
        let form = bench::http::form(&[("query", query), ("time", &end)]);
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = cumae.send("POST", "/api/v1/query", &kind, form.as_bytes());
        let (took, peak) = (began.elapsed(), peak_mib(&cumae));
        println!("{query:.70}: {took:?}, {} MiB more, {}", peak - before, answer.status);
        let text = answer.text();
        match *reason {
            "" => assert_eq!(answer.status, 200, "{query:.90}: {text:.300}"),
            reason => {
                assert_eq!(answer.status, 422, "{query:.90}: {text:.300}");
                assert!(text.contains(reason), "{query:.90}: {text:.300}");
            }
        }
        assert!(took < Duration::from_secs(20), "{query:.90}: {took:?}");
        assert!(peak < idle + LIMIT_MIB + ROOM_MIB, "{query:.90}: {peak} MiB, {idle} idle");
    }
    let steps = [("query", "m"), ("start", "1"), ("end", &end), ("step", "0.001")];
    let answer: Json = cumae.api("query_range", &steps);
    assert!(answer["error"].as_str().unwrap().contains("maximum resolution of 11,000 points"));
    assert!(cumae.terminate().is_success());
}

#[test]
fn b10_a_selector_of_more_series_than_a_query_may_read_is_refused_by_the_limits_name() {
    let dir = tempfile::tempdir().unwrap();
    let (cumae, end_s) = filled(&dir, "limits: {max_query_series: 49}\n");
    fill(&cumae, "default", end_s);
    let end = end_s.to_string();
    for query in ["{__name__=~\".+\"}", "m", "sum(rate(m[5m]))", "m and m{i=\"1\"}"] {
        let answer = cumae.api("query", &[("query", query), ("time", &end)]);
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("`max_query_series` 49"), "{query}: {error}");
    }
    assert_eq!(
        cumae.api("query", &[("query", "m{i=~\"1.\"}"), ("time", &end)])["status"],
        "success"
    );
}
