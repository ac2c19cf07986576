//! Section 14: the defaults; and limits that the store keeps, at their values and one past them, at the
//! door.

use bench::remote_write::{HEADERS, Series, compress};
use model::histogram::{Counts, ResetHint, Span};
use model::{Exemplar, Histogram, HistogramSample, LabelSet};
use std::sync::Arc;
use tests::process::{Cumae, Launch, wall_ms};
use wire::remote_write::{encode_extras, encode_series};

fn limited(dir: &tempfile::TempDir, limits: &str) -> Cumae {
    let config = format!("self_metrics: false\nlimits: {{{limits}}}\n");
    Launch::new(&dir.path().join("data")).config(&config).start()
}

fn labels(name: &str) -> LabelSet {
    LabelSet::from_pairs([("__name__", name)]).unwrap()
}

fn seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
}

fn metric(cumae: &Cumae, name: &str) -> String {
    let text = cumae.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or("none").to_owned()
}

/// Key and default, as `cumae config print` says them.
const DEFAULTS: &str = "
    limits.max_request_bytes 32MiB           limits.max_decoded_bytes 32MiB
    limits.max_request_series 50000          limits.max_request_samples 500000
    limits.ingestion_rate 1000000            limits.ingestion_burst 0
    limits.max_series 5000000                limits.max_series_per_metric 1000000
    limits.max_labels 64                     limits.max_label_name_bytes 1KiB
    limits.max_label_value_bytes 2KiB        limits.max_labels_bytes 16KiB
    limits.max_future 10m                    limits.retention 0s
    limits.max_exemplars 100000              limits.max_metadata 100000
    limits.max_native_histogram_buckets 160  query.max_text_bytes 512KiB
    query.max_depth 128                      query.evaluation_interval 1m
    limits.max_query_series 500000           limits.max_query_samples 50000000
    limits.max_query_bytes 512MiB            limits.query_timeout 2m
    limits.max_query_concurrency 20          limits.max_query_queue 100
    query.memory 0                           limits.max_query_tombstones 100000
    disk.reserve 0                           server.max_connections 10000
    server.max_connections_per_address 1000";

#[test]
fn the_defaults_are_those_of_section_14() {
    let printed = tests::process::command(&["config", "print"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    let (mut section, mut found) = ("", std::collections::BTreeMap::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match (line.starts_with("  "), line.trim().split_once(':')) {
            (false, Some((name, ""))) => section = name,
            (true, Some((key, value))) => {
                found.insert(format!("{section}.{key}"), value.trim().to_owned());
            }
            _ => {}
        }
    }
    let words: Vec<&str> = DEFAULTS.split_whitespace().collect();
    for pair in words.chunks(2) {
        assert_eq!(found.get(pair[0]).map(String::as_str), Some(pair[1]), "{}", pair[0]);
    }
    // What 0 stands for where it is not "none".
    for part in ["0 is 5 % of it, at most 10GiB", "0 is 40 % of the machine's", "two seconds of"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn a_subquery_without_a_step_has_that_of_the_configuration() {
    for (config, points) in [("", "5"), ("query: {evaluation_interval: 30s}\n", "10")] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("self_metrics: false\n{config}");
        let cumae = Launch::new(&dir.path().join("data")).config(&config).start();
        let found = cumae.query("count_over_time(vector(1)[5m:])", 1_700_000_040.0);
        assert_eq!(found[0]["value"][1], points);
    }
}

#[test]
fn max_series_per_metric_takes_its_value_and_refuses_one_more_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = limited(&dir, "max_series_per_metric: 3");
    let at = wall_ms();
    let of = |metric: &'static str, number: &str| {
        cumae.push(&[Series::new(metric, &[("i", number)], &[(at, 1.0)])])
    };
    for number in ["1", "2", "3"] {
        assert_eq!(of("m", number).status, 204, "at the limit");
    }
    let past = of("m", "4");
    assert_eq!(past.status, 400);
    let told = past.text();
    for part in ["1 of 1 samples refused", "limit of 3", "(max_series_per_metric)", "m", "default"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(of("m", "2").status, 204, "known ones go on");
    assert_eq!(of("other", "4").status, 204, "and other metrics");
    assert_eq!(cumae.query("count(m)", seconds(at))[0]["value"][1], "3");
}

#[test]
fn max_series_takes_its_value_and_refuses_one_more_by_its_key_and_known_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = limited(&dir, "max_series: 3");
    let at = wall_ms();
    let of = |metric: &str| cumae.push(&[Series::new(metric, &[], &[(at, 1.0)])]);
    for metric in ["a", "b", "c"] {
        assert_eq!(of(metric).status, 204, "at the limit");
    }
    let past = of("d");
    assert_eq!(past.status, 400);
    for part in ["1 of 1 samples refused", "limit of 3", "(max_series)", "metric d", "default"] {
        assert!(past.text().contains(part), "{part}: {}", past.text());
    }
    assert_eq!(of("b").status, 204, "known ones go on");
    assert_eq!(cumae.query("count({__name__=~\".+\"})", seconds(at))[0]["value"][1], "3");
}

#[test]
fn max_exemplars_is_kept_and_past_it_the_oldest_go_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = limited(&dir, "max_exemplars: 100");
    let start = wall_ms() / 60_000 * 60_000 - 7_200_000;
    let trace = LabelSet::from_pairs([("trace_id", "t")]).unwrap();
    let send = |minutes: std::ops::Range<i64>| {
        let at = |minute: i64| start + minute * 60_000;
        let exemplar =
            |timestamp_ms: i64| Exemplar { timestamp_ms, value: 1.0, labels: trace.clone() };
        let exemplars: Vec<Exemplar> = minutes.clone().map(at).map(exemplar).collect();
        let mut body = Vec::new();
        encode_series(&labels("m"), &[(at(minutes.end), 1.0)], &mut body);
        encode_extras(&labels("m"), &[], &exemplars, &mut body);
        let answer = cumae.send("POST", "/api/v1/push", &HEADERS, &compress(&body));
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    // How many there are, and the minute of the oldest and the newest.
    let found = || {
        let (from, to) = ((start / 1_000).to_string(), (start / 1_000 + 7_200).to_string());
        let query = [("query", "m"), ("start", &*from), ("end", &*to)];
        let answer = cumae.api("query_exemplars", &query);
        let all = answer["data"][0]["exemplars"].as_array().unwrap().clone();
        let minute = |one: Option<&serde_json::Value>| {
            (one.unwrap()["timestamp"].as_i64().unwrap() - start / 1_000) / 60
        };
        (all.len(), minute(all.first()), minute(all.last()))
    };
    let lost = "cumae_store_exemplars_lost_limit_total";
    send(0..100);
    assert_eq!((found(), metric(&cumae, lost)), ((100, 0, 99), "0".to_owned()), "at the limit");
    send(100..101);
    let (kept, oldest, newest) = found();
    assert_eq!(newest, 100, "one past it");
    assert!(kept <= 100 && oldest > 0, "{kept}, {oldest}");
    assert_eq!(metric(&cumae, lost), (101 - kept).to_string());
}

#[test]
fn max_metadata_is_kept_and_past_it_the_oldest_goes_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = limited(&dir, "max_metadata: 3");
    let say = |name: &str| {
        let text = format!("# HELP {name} what it is\n# TYPE {name} gauge\n{name} 1\n");
        let answer = cumae.send("POST", "/api/v1/import/prometheus", &[], text.as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    let known = || {
        let answer = cumae.api("metadata", &[]);
        let names = answer["data"].as_object().unwrap().keys().cloned();
        (names.collect::<Vec<_>>(), metric(&cumae, "cumae_store_metadata_lost_limit_total"))
    };
    ["c", "b", "a"].into_iter().for_each(say);
    assert_eq!(known(), (["a", "b", "c"].map(str::to_owned).into(), "0".to_owned()), "at it");
    say("d");
    assert_eq!(known(), (["a", "b", "d"].map(str::to_owned).into(), "1".to_owned()), "past it");
}

/// A histogram of so many buckets, each with one observation, behind one another.
fn histogram(schema: i8, buckets: u32, timestamp_ms: i64) -> HistogramSample {
    let custom = schema == model::histogram::CUSTOM_BUCKETS;
    let histogram = Histogram {
        schema,
        zero_threshold: 0.0,
        sum: 1.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: buckets }],
        negative_spans: Vec::new(),
        custom_values: (1..buckets).filter(|_| custom).map(f64::from).collect(),
        counts: Counts::Integer {
            count: buckets.into(),
            zero_count: 0,
            positive: vec![1; usize::try_from(buckets).unwrap()],
            negative: Vec::new(),
        },
    };
    HistogramSample {
        timestamp_ms,
        histogram: Arc::new(histogram),
        start_timestamp_ms: 0,
        revision: 0,
    }
}

#[test]
fn max_native_histogram_buckets_keeps_its_value_lowers_one_more_and_refuses_what_cannot_be_lowered()
{
    let dir = tempfile::tempdir().unwrap();
    let cumae = limited(&dir, "max_native_histogram_buckets: 8");
    let at = wall_ms();
    let send = |name: &str, schema: i8, buckets: u32| {
        let mut body = Vec::new();
        encode_extras(&labels(name), &[histogram(schema, buckets, at)], &[], &mut body);
        cumae.send("POST", "/api/v1/push", &HEADERS, &compress(&body))
    };
    let kept = |name: &str| {
        let found = cumae.query(name, seconds(at));
        found[0]["histogram"][1]["buckets"].as_array().map(Vec::len)
    };
    assert_eq!(send("at_limit", 2, 8).status, 204);
    assert_eq!(kept("at_limit"), Some(8));
    assert_eq!(send("past", 2, 9).status, 204);
    assert_eq!(kept("past"), Some(5), "its resolution is lowered");
    let custom = model::histogram::CUSTOM_BUCKETS;
    assert_eq!(send("custom_at_limit", custom, 8).status, 204);
    assert_eq!(kept("custom_at_limit"), Some(8));
    let refused = send("custom_past", custom, 9);
    assert_eq!(refused.status, 400);
    let told = refused.text();
    assert!(told.contains("(max_native_histogram_buckets)"), "{told}");
    assert_eq!(kept("custom_past"), None);
}
