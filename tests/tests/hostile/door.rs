//! The same at the door of a real process: what comes in over HTTP, who leaves, who is sent away.

use bench::http::{self, Connection, Response};
use bench::remote_write::Series;
use serde_json::Value as Json;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use tests::process::{Cumae, Launch, PATIENCE, eventually, now, wall_ms};

const HOUR_S: i64 = 3_600;

/// A process with an hour of `m` for fifty targets that ends at the time it answers.
pub(super) fn filled(dir: &tempfile::TempDir, config: &str) -> (Cumae, i64) {
    let cumae = Launch::new(&dir.path().join("data"))
        .config(&format!("self_metrics: false\n{config}"))
        .start();
    let end_s = wall_ms() / 1_000 - 60;
    (cumae, end_s)
}

/// Writes an hour of `m` for fifty targets that ends at `end_s`.
pub(super) fn fill(cumae: &Cumae, tenant: &str, end_s: i64) {
    let one = |number: u32| {
        let value = |tick: i64| f64::from(u32::try_from(tick).unwrap_or(0) * number % 977);
        let samples: Vec<(i64, f64)> =
            (0..240).map(|tick| ((end_s - HOUR_S + tick * 15) * 1_000, value(tick))).collect();
        Series::new("m", &[("i", &number.to_string()), ("le", "1")], &samples)
    };
    let series: Vec<Series> = (0..50).map(one).collect();
    assert_eq!(cumae.push_as(tenant, &series).status, 204);
}

fn post(cumae: &Cumae, path: &str, form: &[(&str, &str)]) -> (Response, Duration) {
    let began = now();
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = format!("/api/v1/{path}");
    let response = cumae.send("POST", &path, &headers, http::form(form).as_bytes());
    (response, began.elapsed())
}

#[test]
fn b8_b9_texts_that_come_by_post_are_answered_or_refused_at_once_and_the_process_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (cumae, end_s) = filled(&dir, "");
    fill(&cumae, "default", end_s);
    let end = end_s.to_string();
    let all: Vec<String> = (0..5_000).map(|n| format!("host-{n}\\\\.example")).collect();
    let long = 500_000;
    let texts = [
        ("(".repeat(long), 400),
        ("-".repeat(long), 400),
        ("abs(".repeat(long / 4), 400),
        ("m^".repeat(long / 2), 400),
        (format!("m{}", "[1y:1ms]".repeat(long / 8)), 400),
        (format!("m{}", "-m".repeat(5_000)), 200),
        (vec!["m"; 5_000].join(" or "), 200),
        (format!("sum by ({}) (m)", vec!["i"; 100_000].join(",")), 200),
        (format!("\"{}\"", "\\xff".repeat(long / 4)), 200),
        ("x".repeat(1 << 20), 400),
        ("\u{fffd}\0".repeat(long / 4), 400),
        (format!("m{{i=~\"({})|7\"}}", all.join("|")), 200),
        (format!("m{{i=~\"{}|7\"}}", all.join("|")), 200),
        ("m{i=~\"(a{1000}){1000}\"}".to_owned(), 400),
        (format!("m{{i=~\"{}7{}\"}}", "(".repeat(60), ")".repeat(60)), 400),
        (format!("m{{i=~\"{}.+\"}}", "7".repeat(5_000)), 400),
        ("m{i=~\"(.*)(.*)(.*)(.*)7\"}".to_owned(), 200),
    ];
    for (text, status) in &texts {
        for path in ["query", "format_query", "parse_query"] {
            let (response, took) = post(&cumae, path, &[("query", text), ("time", &end)]);
            let shown = response.text();
            // A text that would grow too much when it is laid out is not.
            let is_too_long = path == "format_query" && response.status == 422;
            let status = if is_too_long { &422 } else { status };
            assert_eq!(response.status, *status, "{path} {text:.60}: {shown:.300}");
            assert!(took < Duration::from_secs(10), "{path} {text:.60}: {took:?}");
            // Not read as JSON: the tree of a chain is as deep as the chain is long.
            let is_good = shown.starts_with("{\"status\":\"success\",\"data\":");
            assert_eq!(is_good, *status == 200, "{shown:.300}");
        }
        let (response, took) = post(&cumae, "series", &[("match[]", text)]);
        assert!(matches!(response.status, 200 | 400), "{text:.60}: {}", response.status);
        assert!(took < Duration::from_secs(5), "series {text:.60}: {took:?}");
    }
    let (response, _) = post(&cumae, "query", &[("query", &"x".repeat(3 << 20))]);
    assert_eq!(response.status, 413);
    assert_eq!(cumae.api("status/active_queries", &[])["data"], serde_json::json!([]));
    assert_eq!(cumae.query("count(m)", seconds(end_s))[0]["value"][1], "50");
    assert!(cumae.terminate().is_success());
}

/// A second that f64 holds.
fn seconds(second: i64) -> f64 {
    Duration::from_secs(second.unsigned_abs()).as_secs_f64()
}

/// Queries that go on for ten seconds and longer, the second with much in memory.
pub(super) const TEN_SECONDS: [&str; 2] =
    ["sum(stddev_over_time(sum by (i) (m)[2h:1s]))", "stddev_over_time(vector(time())[1h:2ms])"];

/// Asks for three hours by the second and does not read the answer.
pub(super) fn ask(cumae: &Cumae, tenant: &str, query: &str, end_s: i64) -> TcpStream {
    let (start, end) = ((end_s - 10_800).to_string(), end_s.to_string());
    let form = http::form(&[("query", query), ("start", &start), ("end", &end), ("step", "1")]);
    let mut stream = TcpStream::connect(cumae.address()).unwrap();
    let head = format!("host: h\r\nx-scope-orgid: {tenant}\r\n");
    let request = format!("GET /api/v1/query_range?{form} HTTP/1.1\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The first of what is listed; null if nothing is.
fn first(answer: Json) -> Json {
    answer["data"].as_array().and_then(|data| data.first().cloned()).unwrap_or_default()
}

/// What is listed, once it runs and has gone on for half a second.
fn running(cumae: &Cumae) -> Json {
    let mut listed = Json::Null;
    let is_running = || {
        listed = first(cumae.api("status/active_queries", &[]));
        listed["state"] == "running" && listed["durationSeconds"].as_f64() > Some(0.5)
    };
    assert!(eventually(is_running), "{}", cumae.log());
    listed
}

/// Anonymous memory that is resident, in bytes; and the processor's time, in ticks of 10 ms.
fn used(cumae: &Cumae) -> (u64, u64) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", cumae.pid())).unwrap();
    let status = read("status");
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    (kib << 10, ticks(11) + ticks(12))
}

/// Whether a thread of the process has work for a processor now.
fn is_busy(cumae: &Cumae) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", cumae.pid())).unwrap();
    tasks.filter_map(Result::ok).any(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
    })
}

#[test]
fn closing_the_connection_of_a_ten_second_query_frees_its_processor_and_memory_within_100_ms() {
    let dir = tempfile::tempdir().unwrap();
    let (cumae, end_s) = filled(&dir, "limits: {max_query_samples: 0}\n");
    fill(&cumae, "default", end_s);
    // What the allocator keeps for the next one.
    let room = 64 << 20;
    for query in TEN_SECONDS {
        let mut times = Vec::new();
        for _ in 0..5 {
            let idle = used(&cumae).0;
            let stream = ask(&cumae, "default", query, end_s);
            let listed = running(&cumae);
            assert_eq!(listed["query"], query);
            let (held, before) = used(&cumae);
            assert!(is_busy(&cumae), "{query} is over too soon");
            let left = now();
            drop(stream);
            let free = || !is_busy(&cumae) && used(&cumae).0 < idle + room;
            assert!(wait(free), "{query}: {:?}, {idle} idle", used(&cumae));
            let took = left.elapsed();
            times.push(took);
            let after = used(&cumae);
            println!("{query}: {took:?}, held {} MiB, then {}", held >> 20, after.0 >> 20);
            // Whatever else the machine does: it takes no more of two processors than that.
            assert!((before..before + 20).contains(&after.1), "{before} to {} ticks", after.1);
            // It is not only asleep: nothing is left of it, and it takes no time any more.
            assert_eq!(cumae.api("status/active_queries", &[])["data"], serde_json::json!([]));
            let ticks = used(&cumae).1;
            let pause = now();
            assert!(wait(|| pause.elapsed() > Duration::from_millis(200)));
            assert!(used(&cumae).1 <= ticks + 3, "it goes on");
        }
        // A busy machine may delay one of them.
        times.sort();
        assert!(times[3] < Duration::from_millis(100), "{query}: {times:?}");
    }
}

/// Looks every half a millisecond, for [`PATIENCE`] at most.
fn wait(mut happened: impl FnMut() -> bool) -> bool {
    let began: Instant = now();
    while began.elapsed() < PATIENCE {
        if happened() {
            return true;
        }
        thread::park_timeout(Duration::from_micros(500));
    }
    false
}

#[test]
fn a_running_query_is_listed_with_what_it_asks_and_stopped_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let config = "tenancy: multi\nlimits: {max_query_samples: 0}\n";
    let (cumae, end_s) = filled(&dir, config);
    fill(&cumae, "one", end_s);
    let as_tenant = |method: &str, path: &str, tenant: &str| {
        cumae.send(method, &format!("/api/v1/{path}"), &[("X-Scope-OrgID", tenant)], b"")
    };
    let list = |tenant: &str| -> Json {
        let answer = as_tenant("GET", "status/active_queries", tenant);
        serde_json::from_slice(&answer.body).unwrap()
    };
    let nothing = serde_json::json!([]);
    let (start, end) = ((end_s - 10_800).to_string(), end_s.to_string());
    let form = [("query", TEN_SECONDS[0]), ("start", &start), ("end", &end), ("step", "1")];
    let path = format!("/api/v1/query_range?{}", http::form(&form));
    let address = cumae.address();
    let asker = thread::spawn(move || {
        let mut connection = Connection::open(address).unwrap();
        connection.send("GET", &path, &[("X-Scope-OrgID", "one")], b"").unwrap()
    });
    let mut listed = Json::Null;
    assert!(eventually(|| {
        listed = first(list("one"));
        listed["state"] == "running" && listed["samplesRead"].as_u64() > Some(0)
    }));
    assert_eq!(listed["query"], TEN_SECONDS[0]);
    assert_eq!(listed["start"], (end_s - 10_800) * 1_000);
    assert_eq!((&listed["end"], &listed["step"]), (&(end_s * 1_000).into(), &1_000.into()));
    assert_eq!(listed["samplesRead"], 50 * 240);
    assert!(listed["durationSeconds"].as_f64() > Some(0.0), "{listed}");
    let id = listed["id"].as_str().unwrap();
    assert_eq!(id.len(), 16);
    // Nobody else sees it or stops it.
    assert_eq!(list("two")["data"], nothing);
    let stop = format!("status/active_queries/{id}");
    assert_eq!(as_tenant("DELETE", &stop, "two").status, 404);
    assert_eq!(as_tenant("DELETE", &stop, "one").status, 204);
    let answer = asker.join().unwrap();
    let said: Json = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &said["errorType"]), (499, &"canceled".into()), "{said}");
    assert_eq!(said["error"], "query was canceled in query execution");
    assert_eq!(list("one")["data"], nothing);
    assert_eq!(as_tenant("DELETE", &stop, "one").status, 404, "it is gone");
    assert!(wait(|| !is_busy(&cumae)), "its work has ended too");
    assert!(cumae.log().contains("query canceled as asked"), "{}", cumae.log());
    assert!(cumae.log().contains(&format!("query_id={id}")), "{}", cumae.log());
}

#[test]
fn a_slow_query_has_a_line_in_the_log_that_says_whose_it_was_and_what_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let (cumae, end_s) = filled(&dir, "query: {slow_query: 1ms}\n");
    fill(&cumae, "default", end_s);
    let text = "sum(stddev_over_time(m[1h:1s]))";
    let answer = cumae.api("query", &[("query", text), ("time", &end_s.to_string())]);
    assert_eq!(answer["status"], "success", "{answer}");
    let line = || cumae.log().lines().find(|line| line.contains("slow query")).map(str::to_owned);
    assert!(eventually(|| line().is_some()), "{}", cumae.log());
    let line = line().unwrap();
    let samples = format!("samples_read={}", 50 * 240);
    for part in ["WARN", text, "tenant=", "default", "took_ms=", &samples, "outcome=", "success"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
