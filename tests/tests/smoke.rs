//! The real binary, from its start to its end: what a newcomer meets in the first minute.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bench::http;
use bench::remote_write::{self, Series};
use model::mutation::{MetricMetadata, MetricType};
use serde_json::json;
use std::time::Duration;
use tests::process::{Cumae, Launch, command, eventually, now, wall_ms};

const QUIET: &str = "self_metrics: false\n";

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A process that does not write its own metrics, with its data in `dir`.
fn quiet(dir: &tempfile::TempDir) -> Cumae {
    Launch::new(&dir.path().join("data")).config(QUIET).start()
}

fn seconds(time_ms: i64) -> f64 {
    Duration::from_millis(time_ms.unsigned_abs()).as_secs_f64()
}

#[test]
fn what_is_pushed_is_answered_and_is_there_after_a_restart() {
    let dir = dir();
    let cumae = quiet(&dir);
    let time = wall_ms() - 1_000;
    let up = Series::new("up", &[("job", "a"), ("instance", "b")], &[(time, 1.0)]);
    let pushed = cumae.push(&[up]);
    assert_eq!((pushed.status, pushed.text().as_str()), (204, ""));

    let expected = json!([{
        "metric": {"__name__": "up", "instance": "b", "job": "a"},
        "value": [seconds(time), "1"],
    }]);
    assert_eq!(cumae.query("up", seconds(time)), expected);
    assert_eq!(cumae.api("label/job/values", &[])["data"], json!(["a"]));
    let series = cumae.api("series", &[("match[]", "{job=~\".+\"}")]);
    assert_eq!(series["data"], json!([expected[0]["metric"]]));

    let ended = cumae.terminate();
    assert!(ended.status.is_some_and(|status| status.success()), "{}", ended.log);
    let again = quiet(&dir);
    assert_eq!(again.query("up", seconds(time)), expected);
}

#[test]
fn what_has_expired_by_its_rule_is_neither_taken_nor_shown_and_the_rest_is() {
    const DAY: i64 = 86_400_000;
    let dir = dir();
    let launch = |retention: &str| {
        let config = format!("{QUIET}limits: {retention}\n");
        Launch::new(&dir.path().join("data")).config(&config).start()
    };
    let cumae = launch("{retention: 30d, retention_rules: [{'{__name__=~\"debug_.*\"}': 3d}]}");
    let (now, old) = (wall_ms(), wall_ms() - 5 * DAY);
    let debug = |times: &[i64]| {
        let samples: Vec<(i64, f64)> = times.iter().map(|time| (*time, 1.0)).collect();
        Series::new("debug_x", &[("job", "a")], &samples)
    };
    let up = Series::new("up", &[("job", "b")], &[(old, 1.0), (now, 1.0)]);
    let pushed = cumae.push(&[debug(&[old, now - 2 * DAY, now]), up.clone()]);
    assert_eq!(pushed.status, 400);
    assert!(pushed.text().starts_with("1 of 5 samples refused: "), "{}", pushed.text());
    assert!(
        pushed.text().contains("the retention is 259200000 ms (retention)"),
        "{}",
        pushed.text()
    );

    let counts = |cumae: &Cumae| {
        ["a", "b"].map(|job| {
            let query = format!("count_over_time({{job=\"{job}\"}}[20d])");
            let counted = cumae.query(&query, seconds(now));
            counted[0]["value"][1].as_str().unwrap_or_default().to_owned()
        })
    };
    assert_eq!(counts(&cumae), ["2", "2"]);
    assert_eq!(cumae.send("POST", "/ingester/flush", &[], b"").status, 204);
    assert_eq!(counts(&cumae), ["2", "2"]);
    assert!(cumae.terminate().status.is_some_and(|status| status.success()));

    // Less is kept from now on.
    let cumae = launch("{retention: 1d}");
    assert_eq!(counts(&cumae), ["1", "1"]);
    let files = || std::fs::read_dir(dir.path().join("data/store/sstables")).unwrap().count();
    // Of each of the two series the day of now.
    assert!(eventually(|| files() <= 2), "the space is back: {} files", files());
    assert_eq!(counts(&cumae), ["1", "1"]);
    assert!(cumae.terminate().status.is_some_and(|status| status.success()));

    // More is kept again: what was hidden stays away, and may be sent again.
    let cumae = launch("{retention: 30d}");
    assert_eq!(counts(&cumae), ["1", "1"]);
    assert_eq!(cumae.push(&[up]).status, 204);
    assert_eq!(counts(&cumae), ["1", "2"]);
}

#[test]
fn health_readiness_metrics_and_wrong_paths_answer_as_promised() {
    let dir = dir();
    let cumae = quiet(&dir);
    for path in ["/-/healthy", "/-/ready", "/ready", "/", "/api/v1/status/buildinfo"] {
        assert_eq!(cumae.get(path).status, 200, "{path}");
        assert_eq!(cumae.send("HEAD", path, &[], b"").status, 200, "{path}");
    }
    let metrics = cumae.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for name in ["process_resident_memory_bytes ", "cumae_build_info{", "cumae_http_connections "] {
        assert!(metrics.text().contains(name), "{name}");
    }
    let unknown = cumae.get("/nowhere");
    assert_eq!((unknown.status, unknown.text().trim()), (404, "404 page not found"));
    let wrong = cumae.send("DELETE", "/api/v1/query", &[], b"");
    assert_eq!(wrong.status, 405);
    assert!(wrong.header("allow").is_some_and(|methods| methods.contains("POST")), "{wrong:?}");
}

#[test]
fn a_second_process_on_the_directory_is_refused_and_the_first_goes_on() {
    let dir = dir();
    let first = quiet(&dir);
    let second = Launch::new(first.data_dir()).run();
    assert!(second.status.is_some_and(|status| status.code() == Some(1)), "{second:?}");
    assert!(second.log.contains("in use by another cumae"), "{}", second.log);
    assert!(second.log.contains(&first.pid().to_string()), "{}", second.log);
    assert_eq!(first.get("/-/ready").status, 200);
}

#[test]
fn faults_of_the_configuration_are_told_all_at_once_and_nothing_starts() {
    let dir = dir();
    let yaml = "server: {lissten: x}\nlimits: {max_series: lots}\ntenancy: both\n";
    let ended = Launch::new(&dir.path().join("data")).config(yaml).run();
    assert!(ended.status.is_some_and(|status| !status.success()), "{ended:?}");
    for key in ["server.lissten", "limits.max_series", "tenancy"] {
        assert!(ended.log.contains(key), "{key}: {}", ended.log);
    }
    assert!(!dir.path().join("data").exists(), "nothing was written");
}

#[test]
fn off_loopback_it_does_not_start_unless_told_so() {
    let dir = dir();
    let open = "0.0.0.0:0".parse().unwrap();
    let refused = Launch::new(&dir.path().join("data")).listen(open).run();
    assert!(refused.log.contains("server.allow_unauthenticated: true"), "{}", refused.log);
    assert!(refused.status.is_some_and(|status| !status.success()), "{refused:?}");
}

#[test]
fn bad_input_gets_the_right_answer_at_once_and_leaves_memory_alone() {
    let dir = dir();
    let cumae = quiet(&dir);
    let nameless =
        Series { labels: vec![("a".into(), "b".into())], samples: vec![(wall_ms(), 1.0)] };
    let whole = remote_write::body(&[Series::new("up", &[], &[(wall_ms(), 1.0)])]);
    // A snappy header that claims 2.5 GiB, then a few bytes.
    let claim = [0x80, 0x80, 0x80, 0x80, 0x0a, 0xf0, 1, 2, 3];
    let writes: [(&str, Vec<u8>, u16); 5] = [
        ("truncated snappy", whole[..whole.len() / 2].to_vec(), 400),
        ("no snappy at all", b"hello".to_vec(), 400),
        ("a claim of 2.5 GiB", claim.to_vec(), 413),
        ("garbage protobuf", remote_write::compress(&[0xff; 300]), 400),
        ("no metric name", remote_write::body(&[nameless]), 400),
    ];
    let queries: [(&str, String, u16); 2] = [
        ("10,000 parentheses", format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)), 400),
        ("a query of 1 MB", "1+".repeat(500_000) + "1", 400),
    ];
    // The first request of a kind pays for what the process keeps.
    assert_eq!(cumae.push(&[Series::new("up", &[], &[(wall_ms(), 1.0)])]).status, 204);
    let before = cumae.rss_bytes();
    for (what, body, status) in &writes {
        let started = now();
        let answer = cumae.send("POST", "/api/v1/push", &remote_write::HEADERS, body);
        let took = started.elapsed();
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        assert!(took < Duration::from_millis(100), "{what} took {took:?}");
    }
    for (what, query, status) in &queries {
        let form = http::form(&[("query", query)]);
        let started = now();
        let header = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = cumae.send("POST", "/api/v1/query", &header, form.as_bytes());
        let took = started.elapsed();
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        assert!(took < Duration::from_millis(100), "{what} took {took:?}");
        assert!(answer.text().contains("\"errorType\":\"bad_data\""), "{what}: {}", answer.text());
    }
    let grown = cumae.rss_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {grown} bytes");
    assert_eq!(cumae.get("/-/healthy").status, 200);
}

#[test]
fn its_own_metrics_are_there_to_look_at_soon_after_the_start() {
    let dir = dir();
    let cumae = Launch::new(&dir.path().join("data")).start();
    let started = now();
    let seen = eventually(|| {
        let result =
            cumae.query("process_resident_memory_bytes{job=\"cumae\"}", seconds(wall_ms()));
        result[0]["metric"]["instance"].as_str().is_some_and(|id| id.len() == 16)
    });
    assert!(seen && started.elapsed() < Duration::from_secs(30), "{}", cumae.log());
    let ended = cumae.terminate();
    // Of the disk it says what is so.
    let mut warned = ended.log.lines().filter(|line| line.contains("WARN"));
    let is_quiet = warned.all(|line| line.contains("less than a quarter of the disk is free"));
    assert!(is_quiet, "a start on an empty directory is quiet: {}", ended.log);
}

#[test]
fn a_tenant_sees_nothing_of_another_on_any_route() {
    let dir = dir();
    let cumae = Launch::new(&dir.path().join("data"))
        .config("tenancy: multi\nself_metrics: false\n")
        .start();
    let time = wall_ms() - 1_000;
    let secret = Series::new("secret_total", &[("who", "acme")], &[(time, 42.0)]);
    assert_eq!(cumae.push_as("acme", &[secret]).status, 204);
    let when = seconds(time).to_string();
    let paths = [
        format!("/api/v1/query?query=secret_total&time={when}"),
        format!("/api/v1/query?query={}&time={when}", http::escape("{who=~\".+\"}")),
        format!("/api/v1/query_range?query=secret_total&start={when}&end={when}&step=1"),
        "/api/v1/labels".to_owned(),
        "/api/v1/label/who/values".to_owned(),
        "/api/v1/label/__name__/values".to_owned(),
        "/api/v1/series?match[]=secret_total".to_owned(),
        "/api/v1/metadata".to_owned(),
    ];
    for path in paths {
        let own = cumae.send("GET", &path, &[("X-Scope-OrgID", "acme")], b"");
        let other = cumae.send("GET", &path, &[("X-Scope-OrgID", "umbrella")], b"");
        let nobody = cumae.get(&path);
        assert_eq!((own.status, other.status, nobody.status), (200, 200, 401), "{path}");
        assert!(!other.text().contains("secret") && !other.text().contains("acme"), "{path}");
        let knows = own.text().contains("secret")
            || own.text().contains("who")
            || own.text().contains("acme");
        assert!(knows || path.ends_with("metadata"), "{path}: {}", own.text());
    }
}

#[test]
fn a_flush_that_is_asked_for_puts_everything_into_sstables_and_is_read_from_there() {
    let dir = dir();
    let cumae = quiet(&dir);
    let time = wall_ms() - 1_000;
    assert_eq!(
        cumae.push(&[Series::new("a", &[], &[(time, 1.0), (time - 1_000, 2.0)])]).status,
        204
    );
    assert_eq!(cumae.send("POST", "/ingester/flush", &[], b"").status, 204);
    assert!(cumae.get("/metrics").text().contains("\ncumae_store_sstable_samples 2\n"));
    // Late for what is flushed, and older than all of it.
    let late = Series::new("a", &[], &[(time - 500, 3.0), (time - 7_200_000, 4.0)]);
    assert_eq!(cumae.push(&[late]).status, 204);
    let values =
        json!([[seconds(time - 1_000), "2"], [seconds(time - 500), "3"], [seconds(time), "1"],]);
    assert_eq!(cumae.query("a[1m]", seconds(time))[0]["values"], values);
    assert_eq!(cumae.query("a", seconds(time - 7_200_000))[0]["value"][1], "4");
}

/// Matches the metrics that are deleted, wholly or in part, and one that is not.
const DELETED_AND_KEPT: &str = "{__name__=~\"del|part|keep\"}";

/// What every route says about them. Not `explain`, which estimates by the index, and not
/// `user_stats`, which counts series that are open, deleted or not.
fn every_route(cumae: &Cumae, end_s: f64) -> Vec<serde_json::Value> {
    let (start, end) = ((end_s - 3_600.0).to_string(), end_s.to_string());
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let with = |more: &[(&'static str, &'static str)]| {
        let all: Vec<(&str, &str)> = range.iter().copied().chain(more.iter().copied()).collect();
        all
    };
    let every = ("match[]", DELETED_AND_KEPT);
    let samples = format!("{DELETED_AND_KEPT}[1h]");
    [
        cumae.api("query", &[("query", &samples), ("time", &end)]),
        cumae.api("query_range", &with(&[("query", DELETED_AND_KEPT), ("step", "60")])),
        cumae.api("query", &[("query", "count({job!=\"\"})"), ("time", &end)]),
        cumae.api("series", &with(&[every])),
        cumae.api("labels", &with(&[every])),
        cumae.api("labels", &with(&[])),
        cumae.api("label/__name__/values", &with(&[])),
        cumae.api("label/secret/values", &with(&[])),
        cumae.api("label/job/values", &with(&[every])),
        cumae.api("query_exemplars", &with(&[("query", "del")])),
        cumae.api("status/tsdb", &with(&[])),
        cumae.api("series/count", &[]),
    ]
    .map(|answer| answer["data"].clone())
    .into_iter()
    .chain([
        cumae.api("cardinality/label_names", &with(&[])),
        cumae.api("cardinality/label_values", &with(&[("label_names[]", "secret")])),
        cumae.api("cardinality/label_values", &with(&[("label_names[]", "__name__")])),
    ])
    .chain(routes_without_json(cumae, end_s))
    .collect()
}

/// What the routes say of them that answer with lines or with bytes.
fn routes_without_json(cumae: &Cumae, end_s: f64) -> [serde_json::Value; 3] {
    let every = ("match[]", DELETED_AND_KEPT);
    let (start, end) = ((end_s - 3_600.0).to_string(), end_s.to_string());
    let export = http::form(&[every, ("start", &start), ("end", &end)]);
    let texts = [format!("/federate?{}", http::form(&[every])), format!("/api/v1/export?{export}")]
        .map(|path| cumae.get(&path));
    let [federate, export] = texts.map(|answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        json!(answer.text())
    });
    let headers = [("Content-Encoding", "snappy")];
    let answer = cumae.send("POST", "/api/v1/read", &headers, &read_request());
    assert_eq!(answer.status, 200, "{}", answer.text());
    [federate, export, json!(answer.body)]
}

/// A remote read of all that they have.
fn read_request() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        assert!(length < 0x80, "of one byte");
        [&[number << 3 | 2, length], bytes].concat()
    };
    // Matching by a regular expression is type 2.
    let matcher = [&[0x08, 2][..], &field(2, b"__name__"), &field(3, b"del|part|keep")].concat();
    let end_ms = [&[0x10][..], &[0xFF; 6], &[0x7F]].concat();
    remote_write::compress(&field(1, &[end_ms, field(3, &matcher)].concat()))
}

/// Tells what a metric means.
fn describe(cumae: &Cumae, metric: &str, help: &str) {
    let (metric, help, unit) = (metric.into(), help.into(), "".into());
    let told = MetricMetadata { metric, metric_type: MetricType::Gauge, help, unit };
    let mut message = Vec::new();
    wire::remote_write::encode_metadata(&told, &mut message);
    let body = remote_write::compress(&message);
    assert_eq!(cumae.send("POST", "/api/v1/push", &remote_write::HEADERS, &body).status, 204);
}

/// What is said of what metrics mean.
fn described(cumae: &Cumae) -> String {
    cumae.api("metadata", &[])["data"].to_string()
}

/// The files below a directory that hold a text.
fn files_with(directory: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_is_deleted_is_on_no_route_whatever_happens_and_its_bytes_leave_the_disk() {
    const NEEDLE: &str = "needle-5e1f";
    let dir = dir();
    let mut cumae = quiet(&dir);
    let time = wall_ms() - 60_000;
    let end_s = seconds(time + 120_000);
    let at = |n: i32| time - i64::from(n) * 30_000;
    let samples: Vec<(i64, f64)> = (0..60).map(|n| (at(n), n.into())).rev().collect();
    let (deleted_from, deleted_to) = (at(40), at(10));
    let (inside, outside): (Vec<_>, Vec<_>) =
        samples.iter().partition(|(at, _)| (deleted_from..=deleted_to).contains(at));
    let keep = |job| Series::new("keep", &[("job", job)], &samples);
    let part = |samples: &[_]| Series::new("part", &[("job", "gone")], samples);
    let deleted =
        [Series::new("del", &[("job", "gone"), ("secret", NEEDLE)], &inside), part(&inside)];
    assert_eq!(cumae.push(&[keep("a"), keep("gone"), part(&outside)]).status, 204);
    describe(&cumae, "keep", "stays");
    let (without, described_without) = (every_route(&cumae, end_s), described(&cumae));
    describe(&cumae, "del", NEEDLE);
    assert!(described(&cumae).contains(NEEDLE) && described_without.contains("stays"));
    assert_eq!(cumae.push(&deleted).status, 204);
    assert_ne!(every_route(&cumae, end_s), without);
    assert!(!files_with(cumae.data_dir(), NEEDLE).is_empty());

    let range = [seconds(deleted_from), seconds(deleted_to)].map(|end| end.to_string());
    let matcher = "{__name__=~\"del|part\",job=\"gone\"}";
    let form = [("match[]", matcher), ("start", &range[0]), ("end", &range[1])];
    let delete = format!("/api/v1/admin/tsdb/delete_series?{}", http::form(&form));
    assert_eq!(cumae.send("GET", &delete, &[], b"").status, 405);
    assert_eq!(cumae.send("POST", &delete, &[], b"").status, 204);
    assert_eq!(every_route(&cumae, end_s), without, "at once");
    assert!(cumae.log().contains("series deleted as asked"), "{}", cumae.log());
    cumae.kill_9();
    cumae = quiet(&dir);
    assert_eq!(every_route(&cumae, end_s), without, "after kill -9");
    assert_eq!(cumae.push(&deleted).status, 204);
    assert_eq!(every_route(&cumae, end_s), without, "what comes late");
    for path in ["/ingester/flush", "/ingester/flush?seal=true"] {
        assert_eq!(cumae.send("POST", path, &[], b"").status, 204, "{path}");
        assert_eq!(every_route(&cumae, end_s), without, "{path}");
    }
    let clean = "/api/v1/admin/tsdb/clean_tombstones";
    assert_eq!(cumae.send("PUT", clean, &[], b"").status, 204);
    assert!(
        eventually(|| files_with(cumae.data_dir(), NEEDLE).is_empty()),
        "{:?}\n{}",
        files_with(cumae.data_dir(), NEEDLE),
        cumae.log()
    );
    assert_eq!(every_route(&cumae, end_s), without, "after the purge");
    assert_eq!(described(&cumae), described_without, "after the purge");
    assert!(cumae.terminate().status.is_some());
    let again = quiet(&dir);
    assert_eq!(every_route(&again, end_s), without, "after a restart");
    assert_eq!(described(&again), described_without, "after a restart");
}

#[test]
fn a_read_that_more_deletes_touch_than_its_tenant_may_meet_is_422_and_names_the_limit() {
    let dir = dir();
    let config = "tenancy: multi\nself_metrics: false\noverrides: {a: {max_query_tombstones: 2}}\n";
    let cumae = Launch::new(&dir.path().join("data")).config(config).start();
    let time = wall_ms() - 60_000;
    let (start, end) = (seconds(time - 5_000).to_string(), seconds(time).to_string());
    let routes = [
        format!("query?query=m&time={end}"),
        format!("query_range?query=m&start={start}&end={end}&step=1"),
        format!("labels?match[]=m&start={start}&end={end}"),
        format!("label/job/values?match[]=m&start={start}&end={end}"),
        format!("series?match[]=m&start={start}&end={end}"),
        format!("query_exemplars?query=m&start={start}&end={end}"),
        "status/tsdb".to_owned(),
    ];
    let send = |method, tenant, path: &str| {
        cumae.send(method, &format!("/api/v1/{path}"), &[("X-Scope-OrgID", tenant)], b"")
    };
    let delete = |job: &str| {
        for tenant in ["a", "b"] {
            let path = format!("admin/tsdb/delete_series?match[]=m%7Bjob%3D%22{job}%22%7D");
            assert_eq!(send("POST", tenant, &path).status, 204);
        }
    };
    for tenant in ["a", "b"] {
        let up = Series::new("m", &[("job", "kept")], &[(time - 1_000, 1.0)]);
        assert_eq!(cumae.push_as(tenant, &[up]).status, 204);
    }
    delete("x");
    delete("y");
    for path in &routes {
        assert_eq!(send("GET", "a", path).status, 200, "{path} at the limit");
    }
    delete("z");
    for path in &routes {
        let refused = send("GET", "a", path);
        let limit = "3 deletes touch the query: limit `max_query_tombstones` 2 of tenant `a`";
        assert_eq!(refused.status, 422, "{path} past the limit");
        assert!(refused.text().contains(limit), "{path}: {}", refused.text());
        assert!(!refused.text().contains("max_query_series"), "{path}: {}", refused.text());
        assert_eq!(send("GET", "b", path).status, 200, "{path} of another tenant");
    }
    assert_eq!(send("GET", "a", &format!("query?query=other&time={end}")).status, 200);
}

/// What `cumae query` prints of this server, and what it says beside.
fn asked(cumae: &Cumae, args: &[&str]) -> (bool, String, String) {
    let server = format!("http://{}", cumae.address());
    let done = command(&[&["query", "--server", &server], args].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

#[test]
fn query_prints_tables_json_csv_and_charts_of_what_a_server_answers() {
    let dir = dir();
    let cumae =
        Launch::new(&dir.path().join("data")).config(&format!("{QUIET}tenancy: multi\n")).start();
    let start = wall_ms() / 1_000 - 600;
    let series = |job: &str, factor: i32| {
        let at = |n: i32| ((start + i64::from(n) * 10) * 1_000, f64::from(n * factor));
        Series::new("x_total", &[("job", job)], &(0..=60).map(at).collect::<Vec<_>>())
    };
    assert_eq!(cumae.push_as("team", &[series("a", 1), series("b, c", 2)]).status, 204);
    let (begin, end) = (start.to_string(), (start + 600).to_string());
    let ask = |args: &[&str]| asked(&cumae, &[&["--tenant", "team"], args].concat());
    let good = |args: &[&str]| {
        let (is_good, out, err) = ask(args);
        assert!(is_good && err.is_empty(), "{args:?}: {err}");
        out
    };

    let table = good(&["x_total", "--time", &end]);
    assert_eq!(table, "x_total{job=\"a\"}     60\nx_total{job=\"b, c\"}  120\n");
    assert_eq!(good(&["count(x_total)", "--time", "-1s"]), "2\n");
    let json: serde_json::Value =
        serde_json::from_str(&good(&["x_total", "--time", &end, "--format", "json"])).unwrap();
    assert_eq!(json["data"]["result"][1]["value"][1], "120");
    let csv = good(&["x_total", "--start", &begin, "--end", &end, "--step", "5m", "-f", "csv"]);
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[..2], ["__name__,job,timestamp,value", &format!("x_total,a,{begin}.000,0")]);
    assert_eq!((rows.len(), rows[6]), (7, &*format!("x_total,\"b, c\",{end}.000,120")));
    let table = good(&["x_total", "--start", &begin, "--end", &end, "--step", "5m"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines.len(), lines[0]), (8, "x_total{job=\"a\"}"));
    assert!(lines[3].ends_with("Z  60") && lines[7].ends_with("Z  120"), "{table}");
    let chart = good(&["x_total", "--start", &begin, "--end", &end, "-f", "chart"]);
    let lines: Vec<&str> = chart.lines().collect();
    assert!(lines[0].trim_start().starts_with("120 ┤") && lines[0].ends_with('+'), "{chart}");
    assert!(chart.ends_with("  ● x_total{job=\"a\"}\n  + x_total{job=\"b, c\"}\n"), "{chart}");
    let bars = good(&["x_total", "--time", &end, "-f", "chart"]);
    let bar = |line: usize| bars.lines().nth(line).unwrap().matches('█').count();
    assert!(bar(1) > 20 && bar(0).abs_diff(bar(1) / 2) <= 1, "{bars}");
    assert!(!chart.contains('\x1b'), "no colours where no terminal is");
}

#[test]
fn query_tells_what_the_server_refuses_with_a_caret_and_what_it_warns_of() {
    let dir = dir();
    let cumae = quiet(&dir);
    let (is_good, out, err) = asked(&cumae, &["sum(x[5m]) + 1"]);
    assert!(!is_good && out.is_empty());
    assert!(
        err.contains("1:5: parse error: ") && err.ends_with("\n  sum(x[5m]) + 1\n      ^\n\n"),
        "{err}"
    );
    let warned = asked(&cumae, &["quantile(7, vector(1))"]);
    assert!(
        warned.0 && warned.2.starts_with("warning: PromQL warning: quantile value"),
        "{warned:?}"
    );
    let (is_good, _, err) = asked(&cumae, &["x", "--tenant", "other"]);
    assert!(!is_good && err == "cumae: access to this tenant is denied\n", "{err}");
    let (is_good, _, err) = asked(&cumae, &["x", "--start", "then"]);
    assert!(!is_good && err.starts_with("cumae: --start: cannot parse \"then\""), "{err}");
    let gone = tests::process::free_address().to_string();
    let refused = command(&["query", "x", "--server", &gone]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().starts_with(&format!("cumae: {gone}: ")));
    let tls = command(&["query", "x", "--server", "https://example.org"]);
    assert!(String::from_utf8(tls.stderr).unwrap().contains("TLS is not spoken here"));
}
