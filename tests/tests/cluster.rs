//! Three real processes on loopback, three copies, QUORUM: what any of them may be asked, what the
//! death of one and of two means, and that tenants never see each other.

#![cfg(test)]

use bench::http::{self, Response};
use bench::remote_write::{self, Series};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tests::process::{Cumae, Launch, eventually, free_address, now, wall_ms};

const NAMES: [&str; 3] = ["n0", "n1", "n2"];

/// A cluster of three, each in a directory of its own.
struct Trio {
    dir: tempfile::TempDir,
    peers: [SocketAddr; 3],
    http: [SocketAddr; 3],
    nodes: [Option<Cumae>; 3],
}

impl Trio {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addresses = || [(); 3].map(|()| free_address());
        let mut trio =
            Self { dir, peers: addresses(), http: addresses(), nodes: [None, None, None] };
        (0..3).for_each(|node| trio.revive(node));
        // Ready is a node that reaches a quorum; here each has both connections to both others.
        let connected = |node| trio.node(node).log().matches("connected to peer").count() >= 4;
        (0..3).for_each(|node| assert!(eventually(|| connected(node)), "{}", trio.logs()));
        (0..3).for_each(|node| trio.wait_until_ready(node));
        trio
    }

    fn config(&self, node: usize) -> String {
        let members: Vec<String> = (0..3)
            .map(|i| format!("    - {{node: {}, address: '{}'}}\n", NAMES[i], self.peers[i]))
            .collect();
        format!(
            "self_metrics: false\ntenancy: multi\ncluster:\n  name: trio\n  node: {}\n  \
             listen: {}\n  secret: a long secret of the trio\n  replication_factor: 3\n  \
             members:\n{}",
            NAMES[node],
            self.peers[node],
            members.concat()
        )
    }

    fn data(&self, node: usize) -> PathBuf {
        self.dir.path().join(NAMES[node])
    }

    fn revive(&mut self, node: usize) {
        let launch = Launch::new(&self.data(node)).listen(self.http[node]);
        self.nodes[node] = Some(launch.config(&self.config(node)).start());
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].take().unwrap().kill_9();
    }

    fn node(&self, node: usize) -> &Cumae {
        self.nodes[node].as_ref().unwrap()
    }

    fn wait_until_ready(&self, node: usize) {
        let is_ready = || self.node(node).get("/-/ready").status == 200;
        assert!(eventually(is_ready), "{}", self.logs());
    }

    fn logs(&self) -> String {
        let log = |node: &Cumae| {
            let log = node.log();
            let lines: Vec<&str> = log.lines().rev().take(15).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.nodes.iter().flatten().map(log).collect::<Vec<_>>().join("\n---\n")
    }
}

fn push(address: SocketAddr, tenant: &str, series: &[Series]) -> std::io::Result<Response> {
    let mut headers = remote_write::HEADERS.to_vec();
    headers.push(("X-Scope-OrgID", tenant));
    http::request(address, "POST", "/api/v1/push", &headers, &remote_write::body(series))
}

fn ask(address: SocketAddr, tenant: &str, path: &str) -> std::io::Result<Response> {
    http::request(address, "GET", path, &[("X-Scope-OrgID", tenant)], b"")
}

fn query_path(query: &str, time_ms: i64) -> String {
    let time = format!("{}.{:03}", time_ms / 1_000, time_ms % 1_000);
    format!("/api/v1/query?{}", http::form(&[("query", query), ("time", &time)]))
}

fn data(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice::<Value>(&response.body).unwrap()["data"].take()
}

/// Every route that answers from stored data.
fn routes(time_ms: i64) -> Vec<String> {
    let (start, end) = (time_ms / 1_000 - 600, time_ms / 1_000 + 60);
    let form = |pairs: &[(&str, &str)]| http::form(pairs);
    let (from, to) = (start.to_string(), end.to_string());
    let range = |query: &str| {
        let pairs = [("query", query), ("start", &*from), ("end", &*to), ("step", "15")];
        format!("/api/v1/query_range?{}", http::form(&pairs))
    };
    vec![
        query_path("requests_total", time_ms),
        query_path("sum by (node) (rate(requests_total[5m]))", time_ms),
        query_path("{job=\"load\"}", time_ms),
        query_path("{__name__=~\".+\"}[10m]", time_ms),
        range("requests_total"),
        range("count({job=~\".+\"})"),
        "/api/v1/labels".into(),
        format!("/api/v1/labels?{}", form(&[("match[]", "requests_total")])),
        "/api/v1/label/__name__/values".into(),
        "/api/v1/label/node/values".into(),
        format!("/api/v1/series?{}", form(&[("match[]", "{__name__=~\".+\"}")])),
        format!("/api/v1/series?{}", form(&[("match[]", "requests_total"), ("start", &from)])),
        "/api/v1/metadata".into(),
    ]
}

#[test]
fn writes_into_any_node_are_answered_alike_by_every_node_and_tenants_never_mix() {
    let trio = Trio::start();
    let time = wall_ms();
    for (node, name) in NAMES.iter().enumerate() {
        let samples: Vec<(i64, f64)> = (0..20)
            .map(|i| (time - i * 15_000, f64::from(1_000 - i32::try_from(i).unwrap())))
            .rev()
            .collect();
        let series = Series::new("requests_total", &[("job", "load"), ("node", name)], &samples);
        let response = push(trio.http[node], "red", &[series]).unwrap();
        assert_eq!(response.status, 204, "{}\n{}", response.text(), trio.logs());
        let secret = format!("blue_secret_{name}");
        let series = Series::new(&secret, &[("job", &secret), (&secret, "x")], &[(time, 7.0)]);
        assert_eq!(push(trio.http[node], "blue", &[series]).unwrap().status, 204);
    }
    for route in routes(time) {
        let answers = trio.http.map(|address| data(&ask(address, "red", &route).unwrap()));
        assert_eq!(answers[0], answers[1], "{route}");
        assert_eq!(answers[0], answers[2], "{route}");
        assert!(!answers[0].to_string().contains("blue"), "{route}: {}", answers[0]);
        for address in trio.http {
            let blue = data(&ask(address, "blue", &route).unwrap()).to_string();
            assert!(
                !blue.contains("requests_total") && !blue.contains("\"load\""),
                "{route}: {blue}"
            );
        }
    }
    let names = data(&ask(trio.http[2], "red", "/api/v1/label/node/values").unwrap());
    assert_eq!(names, json!(["n0", "n1", "n2"]));
    let values = data(&ask(trio.http[1], "red", &query_path("requests_total", time)).unwrap());
    assert_eq!(values["result"].as_array().unwrap().len(), 3, "{values}");
    let blue = data(&ask(trio.http[0], "blue", "/api/v1/label/__name__/values").unwrap());
    assert_eq!(blue, json!(["blue_secret_n0", "blue_secret_n1", "blue_secret_n2"]));
    // Without a tenant nobody sees anything.
    let nobody = http::request(trio.http[0], "GET", "/api/v1/labels", &[], b"").unwrap();
    assert_eq!(nobody.status, 401, "{}", nobody.text());
}

/// What was acknowledged: series, and the time and value of its sample.
type Acknowledged = Mutex<Vec<(String, i64, u64)>>;

/// Senders and askers that try everything at most twice, the second time elsewhere.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    sent: AtomicU64,
    asked: AtomicU64,
    acknowledged: Acknowledged,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn twice(
        &self,
        addresses: [SocketAddr; 2],
        good: u16,
        request: impl Fn(SocketAddr) -> std::io::Result<Response>,
    ) {
        let mut last = String::new();
        for address in addresses {
            match request(address) {
                Ok(response) if response.status == good => return,
                Ok(response) => last = format!("{} {}", response.status, response.text()),
                Err(error) => last = error.to_string(),
            }
        }
        self.failures.lock().unwrap().push(last);
    }

    /// Waits until so many more writes were sent, and some queries asked.
    fn go_on(&self, more: u64) {
        let (sent, asked) = (self.sent.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed));
        let is_done = || {
            let now = (self.sent.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed));
            now.0 >= sent + more && now.1 >= asked + 10
        };
        assert!(eventually(is_done), "the load stands still");
    }

    fn send(&self, sender: usize, addresses: [SocketAddr; 2], start: i64) {
        let name = format!("load_{sender}_total");
        for i in 0_u32.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let (time, value) = (start + i64::from(i), u64::from(i));
            let sample = [(time, f64::from(i))];
            let series = [Series::new(&name, &[("job", "load")], &sample)];
            let before = self.failures.lock().unwrap().len();
            self.twice(addresses, 204, |address| push(address, "red", &series));
            if self.failures.lock().unwrap().len() == before {
                self.acknowledged.lock().unwrap().push((name.clone(), time, value));
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ask(&self, addresses: [SocketAddr; 2], time: i64) {
        while !self.stop.load(Ordering::Relaxed) {
            for query in ["load_0_total", "count({job=\"load\"})"] {
                self.twice(addresses, 200, |address| ask(address, "red", &query_path(query, time)));
                self.asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// That a node answers every acknowledged sample, with its value.
fn assert_answers_all(trio: &Trio, node: usize, acknowledged: &[(String, i64, u64)], end: i64) {
    for sender in 0..3 {
        let name = format!("load_{sender}_total");
        let route = query_path(&format!("{name}[1h]"), end);
        let answer = data(&ask(trio.http[node], "red", &route).unwrap());
        let empty = Vec::new();
        let values = answer["result"][0]["values"].as_array().unwrap_or(&empty);
        let have: std::collections::HashMap<String, String> = values
            .iter()
            .map(|pair| (pair[0].to_string(), pair[1].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(have.len(), values.len(), "each timestamp once");
        for (_, time, value) in acknowledged.iter().filter(|(of, ..)| *of == name) {
            let time = Value::from(*time).as_f64().unwrap() / 1_000.0;
            let got = have.get(&json!(time).to_string());
            let got = got.or_else(|| have.get(&format!("{time}")));
            assert_eq!(got, Some(&value.to_string()), "{name} at {time} from {}", NAMES[node]);
        }
    }
}

/// Sends and asks while the third node dies; what was acknowledged. The first choice of one sender
/// and one asker is the node that dies.
fn kill_the_third_under_load(trio: &mut Trio, start: i64) -> Vec<(String, i64, u64)> {
    let load = Arc::new(Load::default());
    let [a, b, c] = trio.http;
    let mut threads = Vec::new();
    for (sender, addresses) in [[a, b], [b, a], [c, a]].into_iter().enumerate() {
        let load = Arc::clone(&load);
        threads.push(thread::spawn(move || load.send(sender, addresses, start)));
    }
    for addresses in [[a, b], [c, b]] {
        let load = Arc::clone(&load);
        threads.push(thread::spawn(move || load.ask(addresses, start + 1_000)));
    }
    load.go_on(150);
    trio.kill(2);
    load.go_on(300);
    load.stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let failures = std::mem::take(&mut *load.failures.lock().unwrap());
    assert!(failures.is_empty(), "after one retry: {failures:?}\n{}", trio.logs());
    std::mem::take(&mut *load.acknowledged.lock().unwrap())
}

/// That a node which stands alone acknowledges nothing, answers nothing, and says when to come back.
fn assert_alone(address: SocketAddr, series: &[Series], time: i64) {
    let refused = push(address, "red", series).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    for route in routes(time) {
        let refused = ask(address, "red", &route).unwrap();
        assert_eq!(refused.status, 503, "{route}: {}", refused.text());
        assert!(refused.header("retry-after").is_some(), "{route}: {:?}", refused.headers);
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(body["errorType"], "unavailable", "{route}: {body}");
    }
}

#[test]
fn one_death_under_load_costs_one_retry_and_two_deaths_are_503_until_they_return() {
    let mut trio = Trio::start();
    let start = wall_ms() - 600_000;
    let end = start + 600_000;
    let acknowledged = kill_the_third_under_load(&mut trio, start);
    assert!(acknowledged.len() >= 450, "{}", acknowledged.len());
    assert_answers_all(&trio, 0, &acknowledged, end);
    assert_answers_all(&trio, 1, &acknowledged, end);

    // The dead one comes back: it answers the same, and takes writes again.
    trio.revive(2);
    let [a, _, c] = trio.http;
    let late = [Series::new("late", &[("job", "load")], &[(start, 1.0)])];
    let written = |address| push(address, "red", &late).is_ok_and(|r| r.status == 204);
    assert!(eventually(|| written(c)), "{}", trio.logs());
    trio.wait_until_ready(2);
    assert_answers_all(&trio, 2, &acknowledged, end);

    trio.kill(1);
    trio.kill(2);
    let lost = [Series::new("lost", &[("job", "load")], &[(start, 1.0)])];
    assert_alone(a, &lost, start);

    // They return; the retried write is taken, and all that was ever acknowledged is there.
    trio.revive(1);
    trio.revive(2);
    assert!(eventually(|| push(a, "red", &lost).unwrap().status == 204), "{}", trio.logs());
    for node in 0..3 {
        trio.wait_until_ready(node);
        assert_answers_all(&trio, node, &acknowledged, end);
    }
}

#[test]
fn s8_a_stale_marker_ends_a_series_at_once_in_an_instant_query_through_every_replica_and_after_compaction()
 {
    let trio = Trio::start();
    let now = wall_ms() / 1_000 * 1_000;
    let write = |node: usize, at: i64, value: f64| {
        let series = [Series::new("up", &[("job", "a")], &[(at, value)])];
        assert_eq!(push(trio.http[node], "red", &series).unwrap().status, 204, "{}", trio.logs());
    };
    let is_there = |node: usize, at: i64| {
        let answer = data(&ask(trio.http[node], "red", &query_path("up", at)).unwrap());
        !answer["result"].as_array().unwrap().is_empty()
    };
    write(0, now - 10_000, 1.0);
    assert!((0..3).all(|node| is_there(node, now)), "within the lookback");
    write(1, now - 5_000, f64::from_bits(model::sample::STALE_NAN_BITS));
    let ends = |when: &str| {
        for node in 0..3 {
            assert!(is_there(node, now - 5_001), "{when}: {node}");
            assert!(!is_there(node, now - 5_000) && !is_there(node, now), "{when}: {node}");
        }
    };
    ends("in memory");
    for path in ["/ingester/flush", "/ingester/flush?seal=true"] {
        for address in trio.http {
            let flushed = http::request(address, "POST", path, &[], b"").unwrap();
            assert_eq!(flushed.status, 204, "{path}: {}", flushed.text());
        }
        ends(path);
    }
}

#[test]
fn a_node_with_another_secret_or_member_list_is_refused_by_name_in_both_logs() {
    for (from, to, told) in [
        ("secret: a long secret of the trio", "secret: another", "cluster.secret differs"),
        ("replication_factor: 3", "replication_factor: 2", "cluster.members or replication_factor"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let addresses = || [(); 3].map(|()| free_address());
        let mut trio =
            Trio { dir, peers: addresses(), http: addresses(), nodes: [None, None, None] };
        trio.revive(0);
        let config = trio.config(1).replace(from, to);
        let other = Launch::new(&trio.data(1)).config(&config).start();
        assert!(eventually(|| trio.node(0).log().contains(told)), "{told}: {}", trio.logs());
        assert!(eventually(|| other.log().contains(told)), "{told}: {}", other.log());
        let series = [Series::new("up", &[("job", "a")], &[(wall_ms(), 1.0)])];
        assert_eq!(push(trio.http[0], "red", &series).unwrap().status, 503);
    }
}

/// Sends a signal to a process of ours.
fn signal(cumae: &Cumae, signal: rustix::process::Signal) {
    let pid = i32::try_from(cumae.pid()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_frozen_node_holds_up_neither_writes_nor_queries() {
    let trio = Trio::start();
    let time = wall_ms();
    let series = |value| [Series::new("m", &[("job", "load")], &[(time, value)])];
    assert_eq!(push(trio.http[0], "red", &series(1.0)).unwrap().status, 204);
    for frozen in 1..3 {
        signal(trio.node(frozen), rustix::process::Signal::STOP);
        let begin = now();
        for address in [trio.http[0], trio.http[3 - frozen]] {
            for i in 0..5 {
                let response = push(address, "red", &series(f64::from(i + 2))).unwrap();
                assert_eq!(response.status, 204, "{}\n{}", response.text(), trio.logs());
                let response = ask(address, "red", &query_path("m", time)).unwrap();
                assert_eq!(response.status, 200, "{}", response.text());
                let response = ask(address, "red", &query_path("{job=\"load\"}", time)).unwrap();
                assert_eq!(response.status, 200, "{}", response.text());
            }
        }
        // Far less than a time limit: at most one pause before another replica is asked, each.
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        signal(trio.node(frozen), rustix::process::Signal::CONT);
        let route = query_path("m", time);
        assert!(
            eventually(|| ask(trio.http[frozen], "red", &route).is_ok_and(|r| r.status == 200))
        );
    }
}

#[test]
fn a_distributor_two_ingesters_and_a_querier_find_each_other_by_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["door", "keep-a", "keep-b", "desk"];
    let roles = ["distributor", "ingester", "ingester", "querier"];
    let peers = names.map(|_| free_address());
    let members: Vec<String> = (0..4)
        .map(|i| {
            let (name, address, role) = (names[i], peers[i], roles[i]);
            format!("    - {{node: {name}, address: '{address}', roles: [{role}]}}\n")
        })
        .collect();
    let start = |i: usize| {
        let config = format!(
            "self_metrics: false\nroles: [{}]\ncluster:\n  node: {}\n  listen: {}\n  \
             replication_factor: 2\n  members:\n{}",
            roles[i],
            names[i],
            peers[i],
            members.concat()
        );
        Launch::new(&dir.path().join(names[i])).config(&config).start()
    };
    let [door, keep, other, desk] = [start(0), start(1), start(2), start(3)];
    for cumae in [&door, &keep, &other, &desk] {
        assert!(eventually(|| cumae.get("/-/ready").status == 200), "{}", cumae.log());
    }
    let time = wall_ms();
    let series = [Series::new("up", &[("job", "a")], &[(time, 1.0)])];
    let pushed = door.push(&series);
    assert_eq!(pushed.status, 204, "{}\n{}", pushed.text(), door.log());
    let answer = data(&desk.get(&query_path("up", time)));
    assert_eq!(answer["result"][0]["metric"], json!({"__name__": "up", "job": "a"}), "{answer}");
    // Each does its own work only.
    assert_eq!(desk.push(&series).status, 404);
    assert_eq!(door.get(&query_path("up", time)).status, 404);
    assert_eq!(keep.get(&query_path("up", time)).status, 404);
    // Two copies, and a quorum of two is both.
    other.kill_9();
    assert_eq!(door.push(&series).status, 503);
    assert_eq!(desk.get(&query_path("up", time)).status, 503);
}

#[test]
fn data_that_was_written_alone_is_not_taken_for_a_copy_of_three_until_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let addresses = || [(); 3].map(|()| free_address());
    let trio = Trio { dir, peers: addresses(), http: addresses(), nodes: [None, None, None] };
    let time = wall_ms();
    let series = [Series::new("m", &[("job", "load")], &[(time, 1.0)])];
    let alone = "self_metrics: false\ntenancy: multi\n";
    let written = |cumae: &Cumae| push(cumae.address(), "red", &series).unwrap().status;
    let answered = |cumae: &Cumae| {
        let answer = data(&ask(cumae.address(), "red", &query_path("m", time)).unwrap());
        answer["result"].as_array().unwrap().len()
    };
    let path = trio.data(0);
    // Started under three before there is any data: a list may be corrected then.
    let early = Launch::new(&path).config(&trio.config(0)).start();
    assert!(early.terminate().is_success());
    let first = Launch::new(&path).config(alone).start();
    assert_eq!(written(&first), 204);
    first.kill_9();

    let refused = Launch::new(&path).config(&trio.config(0)).run();
    assert!(refused.status.is_some() && !refused.is_success(), "{}", refused.log);
    let told =
        "was: all data on this node alone; is: replication_factor 3 on n0, n1, n2; this is n0.";
    assert!(refused.log.contains(told), "{}", refused.log);
    // What was goes on.
    let again = Launch::new(&path).config(alone).start();
    assert_eq!(answered(&again), 1);
    again.kill_9();

    let code = refused.log.split("cluster.accept_layout: '").nth(1).unwrap();
    let accepted = format!("  accept_layout: '{}'\n", code.split('\'').next().unwrap());
    let config = format!("{}{accepted}", trio.config(0));
    let third = Launch::new(&path).config(&config).start();
    assert!(third.log().contains("the layout has changed, as accepted"), "{}", third.log());
    third.kill_9();
    // Said once, it is the layout; and the way back has to be said too.
    let fourth = Launch::new(&path).config(&trio.config(0)).start();
    fourth.kill_9();
    let back = Launch::new(&path).config(alone).run();
    assert!(!back.is_success() && back.log.contains("is: all data on this node alone"));
}
