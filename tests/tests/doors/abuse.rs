//! Connections meant to do harm: slow ones, large ones, many, and bytes that two servers could read
//! differently. The process answers or closes, and goes on for everybody else.

use bench::http::Connection;
use bench::remote_write::Series;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use tests::process::{Cumae, Launch, eventually, now, wall_ms};

/// A process that gives up slow headers after a second and idle connections after three.
fn launched(dir: &tempfile::TempDir, server: &str) -> Cumae {
    let config = format!("self_metrics: false\nserver: {{{server}}}\n");
    Launch::new(&dir.path().join("data")).config(&config).start()
}

fn is_well(cumae: &Cumae) {
    assert_eq!(cumae.get("/-/ready").status, 200);
    let one = Series::new("up", &[("job", "a")], &[(wall_ms(), 1.0)]);
    assert_eq!(cumae.push(&[one]).status, 204);
}

/// Everything that is answered until the connection is closed; `None` if it is not closed in time.
fn exchange(cumae: &Cumae, bytes: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(cumae.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    // The answer may come before everything is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(_) => return None,
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn headers_that_trickle_and_connections_that_say_nothing_are_closed_and_nobody_waits_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "header_timeout: 1s, idle_timeout: 3s");
    let mut slow: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(cumae.address()).unwrap()).collect();
    let began = now();
    let (mut asked, mut open) = (0, slow.len());
    while open > slow.len() / 2 && began.elapsed() < Duration::from_secs(20) {
        // The first half sends a header byte by byte, the other half nothing.
        for stream in &mut slow[..100] {
            let _ = stream.write_all(b"G");
        }
        is_well(&cumae);
        asked += 1;
        open = slow.iter().filter(|stream| is_open(stream)).count();
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{open} are open, {:?}", began.elapsed());
    assert!(asked > 2, "others were served meanwhile");
    assert!(eventually(|| slow.iter().all(|stream| !is_open(stream))));
    // Who asks now and then is not idle.
    let mut patient = Connection::open(cumae.address()).unwrap();
    for _ in 0..3 {
        assert_eq!(patient.send("GET", "/-/ready", &[], b"").unwrap().status, 200);
    }
    is_well(&cumae);
}

/// Whether the peer has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let looked = (&*stream).read(&mut byte);
    stream.set_nonblocking(false).unwrap();
    looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sends a request that is answered at once, alone, and with the end of its connection.
fn ends_with(cumae: &Cumae, what: &str, request: &str, status: &str) {
    let began = now();
    let answer = exchange(cumae, request.as_bytes());
    assert!(answer.is_some(), "{what}: the connection stays open");
    let answer = answer.unwrap_or_default();
    let wanted = ["1.1", "1.0"].map(|version| format!("HTTP/{version} {status}"));
    assert!(wanted.iter().any(|wanted| answer.starts_with(wanted)), "{what}: {answer:.200}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{what}: {answer}");
    assert!(began.elapsed() < Duration::from_secs(1), "{what}: {:?}", began.elapsed());
    is_well(cumae);
}

#[test]
fn a_body_whose_chunks_are_none_is_refused_at_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "header_timeout: 1s, idle_timeout: 2s");
    let json = "Content-Type: application/json\r\n";
    let doors = [
        ("/api/v1/push", "", "zz\r\n"),
        ("/v1/metrics", json, "zz\r\n"),
        ("/write", "", "1\r\na\r\nzz\r\n"),
        ("/api/v1/read", "", "zz\r\n"),
    ];
    for (path, headers, body) in doors {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}");
        let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}");
        ends_with(&cumae, path, &request, "400");
    }
}

#[test]
fn what_two_servers_could_read_differently_is_refused_or_ends_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "header_timeout: 1s, idle_timeout: 2s");
    let get = "GET /-/ready HTTP/1.1\r\n";
    let post = "POST /api/v1/push HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..101).map(|number| format!("h{number}: 1\r\n")).collect();
    let rows = [
        ("two lengths", format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "400"),
        ("a length with a sign", format!("{post}Content-Length: +1\r\n\r\na"), "400"),
        ("a length below zero", format!("{post}Content-Length: -1\r\n\r\na"), "400"),
        ("not chunked last", format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n"), "400"),
        ("a folded header", format!("{get}Host: x\r\nA: b\r\n c\r\n\r\n"), "400"),
        ("a blank before the colon", format!("{get}Host : x\r\n\r\n"), "400"),
        ("two hosts", format!("{get}Host: x\r\nHost: y\r\n\r\n"), "400"),
        ("another host", "GET http://y/-/ready HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        (
            "two credentials",
            format!("{get}Host: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"),
            "400",
        ),
        ("no host", format!("{get}\r\n"), "400"),
        ("a carriage return alone", "GET /-/ready HTTP/1.1\rHost: x\r\r".to_owned(), "400"),
        ("a header of no text", format!("{get}Host: x\r\nA: \0\r\n\r\n"), "400"),
        (
            "an old version in chunks",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "400",
        ),
        ("101 headers", format!("{get}Host: x\r\n{many}\r\n"), "431"),
        ("a header of 70 KiB", format!("{get}Host: x\r\nA: {}\r\n\r\n", "a".repeat(70_000)), "431"),
        ("a path of 70 KiB", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)), "4"),
    ];
    for (what, request, status) in &rows {
        ends_with(&cumae, what, request, status);
    }
    // HTTP/2 is not spoken: who begins with it is told nothing, and at once.
    let preface = exchange(&cumae, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(preface.as_deref(), Some(""));
    for values in [["default", "default"], ["default", "other"]] {
        let headers = values.map(|value| ("X-Scope-OrgID", value));
        assert_eq!(cumae.send("GET", "/api/v1/labels", &headers, b"").status, 400);
    }
    let joined = [("X-Scope-OrgID", "default,other")];
    assert_eq!(cumae.send("POST", "/api/v1/push", &joined, b"").status, 400);
}

#[test]
fn where_a_body_ends_is_read_as_everybody_reads_it_or_it_is_the_last_of_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "header_timeout: 1s, idle_timeout: 2s");
    let post = "POST /api/v1/push HTTP/1.1\r\nHost: x\r\n";
    let chunks = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    let hidden = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    let rows = [
        ("not chunked at all", format!("{post}Transfer-Encoding: identity\r\n\r\n{hidden}"), "400"),
        ("nearly chunked", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), "400"),
        ("a line feed alone behind a chunk's length", format!("{chunks}0\n\n{hidden}"), "400"),
        ("a line feed alone in an extension", format!("{chunks}0;a\nb\r\n\r\n{hidden}"), "400"),
        ("an extension of a chunk", format!("{chunks}0;a=b\r\n\r\n{hidden}"), "204"),
        (
            "a tenant in a trailer",
            format!("{chunks}0\r\nX-Scope-OrgID: a|b\r\n\r\n{hidden}"),
            "204",
        ),
        (
            "a length and chunks",
            format!(
                "{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
            "204",
        ),
        (
            "chunks and a length",
            format!(
                "{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"
            ),
            "204",
        ),
    ];
    for (what, request, status) in &rows {
        ends_with(&cumae, what, request, status);
    }
}

#[test]
fn o6_ten_thousand_idle_connections_and_a_thousand_active_ones_take_little_memory() {
    let idle = 10_000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let caps = "max_connections: 12000, max_connections_per_address: 12000";
    let cumae = launched(&dir, caps);
    is_well(&cumae);
    let before = cumae.rss_bytes();
    let held: Vec<TcpStream> =
        (0..idle).map(|_| TcpStream::connect(cumae.address()).unwrap()).collect();
    let mut active: Vec<Connection> =
        (0..1_000).map(|_| Connection::open(cumae.address()).unwrap()).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..2 {
        for connection in &mut active {
            let began = now();
            assert_eq!(connection.send("GET", "/-/ready", &[], b"").unwrap().status, 200);
            slowest = slowest.max(began.elapsed());
        }
    }
    let open = || {
        let metrics = cumae.get("/metrics").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("cumae_http_connections "));
        line.and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
    };
    assert!(eventually(|| open() > idle + 1_000), "{} are open", open());
    let more = cumae.rss_bytes().saturating_sub(before);
    println!("{} connections: {} MiB more, slowest answer {slowest:?}", open(), more >> 20);
    assert!(more < 200 << 20, "{} MiB", more >> 20);
    is_well(&cumae);
    drop(held);
}

#[test]
fn connections_over_the_cap_of_all_or_of_an_address_are_closed_at_once_and_those_within_go_on() {
    for key in ["max_connections", "max_connections_per_address"] {
        let dir = tempfile::tempdir().unwrap();
        let cumae = launched(&dir, &format!("{key}: 5"));
        let mut within: Vec<Connection> =
            (0..5).map(|_| Connection::open(cumae.address()).unwrap()).collect();
        for connection in &mut within {
            assert_eq!(connection.send("GET", "/-/ready", &[], b"").unwrap().status, 200);
        }
        let past = exchange(&cumae, b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(past, "", "{key}");
        for connection in &mut within {
            assert_eq!(connection.send("GET", "/-/ready", &[], b"").unwrap().status, 200, "{key}");
        }
    }
}
