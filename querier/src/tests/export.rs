//! `/api/v1/export`.

use super::support::{Data, Got, Memory, NOW_MS, Server, encode, filled, one_tenant};
use axum::body::Body;
use axum::http::Request;
use guard::Limits;
use model::sample::stale_marker;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn export(server: &Server, params: &[(&str, &str)]) -> Got {
    let request = Request::get(format!("/api/v1/export?{}", encode(params)));
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn series_are_lines_of_json_each_once() {
    let data = Data::default()
        .series(&[("__name__", "up"), ("job", "a\"")], &[(30, 1.0), (15, 2.5), (0, -0.0)])
        .series(
            &[("__name__", "x")],
            &[(3, f64::NAN), (2, f64::INFINITY), (1, f64::NEG_INFINITY), (0, 1e21)],
        );
    let selectors = [("match[]", "up"), ("match[]", "{job=~\"a.*\"}"), ("match[]", "x")];
    let got = export(&Server::single(data), &selectors).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-type"), "application/stream+json");
    let at = |seconds: i64| NOW_MS - seconds * 1000;
    let want = format!(
        "{{\"metric\":{{\"__name__\":\"up\",\"instance\":\"\",\"job\":\"a\\\"\"}},\"values\":[1,2.5,-0],\"timestamps\":[{},{},{}]}}\n\
         {{\"metric\":{{\"__name__\":\"x\"}},\"values\":[\"NaN\",\"Infinity\",\"-Infinity\",1e+21],\"timestamps\":[{},{},{},{}]}}\n",
        at(30),
        at(15),
        at(0),
        at(3),
        at(2),
        at(1),
        at(0)
    );
    assert_eq!(got.text(), want.replace("\"instance\":\"\",", ""));
}

#[tokio::test]
async fn start_and_end_are_inclusive_and_stale_markers_are_no_values() {
    let data = Data::default()
        .series(&[("__name__", "m")], &[(40, 1.0), (30, 2.0), (20, stale_marker()), (10, 3.0)])
        .series(&[("__name__", "n")], &[(20, stale_marker())]);
    let (start, end) = ((NOW_MS / 1000 - 30).to_string(), (NOW_MS / 1000 - 10).to_string());
    let params = [("match[]", "{__name__=~\"m|n\"}"), ("start", &*start), ("end", &*end)];
    let got = export(&Server::single(data), &params).await;
    let (first, last) = (NOW_MS - 30_000, NOW_MS - 10_000);
    let want = format!(
        "{{\"metric\":{{\"__name__\":\"m\"}},\"values\":[2,3],\"timestamps\":[{first},{last}]}}\n"
    );
    assert_eq!(got.text(), want);
}

#[tokio::test]
async fn without_a_selector_or_with_a_bad_one_it_is_400() {
    let server = Server::single(filled());
    assert_eq!(export(&server, &[]).await.status, 400);
    assert_eq!(export(&server, &[("match[]", "{")]).await.status, 400);
    assert_eq!(export(&server, &[("match[]", "up"), ("start", "x")]).await.status, 400);
    let got = export(&server, &[("match[]", "nothing")]).await;
    assert_eq!((got.status.as_u16(), got.text()), (200, ""));
}

#[tokio::test]
async fn a_long_series_is_several_lines() {
    let samples: Vec<(i64, f64)> = (0..25_000).rev().map(|ago| (ago, 1.0)).collect();
    let data = Data::default().series(&[("__name__", "m")], &samples);
    let got = export(&Server::single(data), &[("match[]", "m")]).await;
    let count = |line: &str| line.matches(",1").count();
    assert_eq!(got.text().lines().count(), 3);
    assert!(got.text().lines().all(|line| count(line) <= 20_000));
    assert_eq!(got.text().matches(&format!("{NOW_MS}]")).count(), 1);
}

/// The samples of the lines by series, in the order of the lines, and how many lines there are.
fn read_back(text: &str) -> (BTreeMap<String, Vec<(i64, f64)>>, usize) {
    let mut read: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let times = line["timestamps"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap());
        let values = line["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        read.entry(line["metric"].to_string()).or_default().extend(times.zip(values));
    }
    (read, text.lines().count())
}

#[tokio::test]
async fn what_is_too_much_for_one_piece_comes_in_several_and_each_sample_once() {
    // 24 series of 40,000 samples, one a second: some 3.7 pieces, over half a day.
    let mut data = Data::default();
    let names: Vec<String> = (0..24).map(|number| number.to_string()).collect();
    for (name, offset) in names.iter().zip(0_u32..) {
        let samples: Vec<(i64, f64)> =
            (0..40_000_i64).rev().map(|ago| (ago, f64::from(offset))).collect();
        data = data.series(&[("__name__", "m"), ("i", name)], &samples);
    }
    let got = export(&Server::single(data), &[("match[]", "m"), ("match[]", "{i=\"3\"}")]).await;
    assert_eq!(got.status, 200);
    let (read, lines) = read_back(got.text());
    assert!(lines > 24 * 4 && read.len() == 24, "{lines}");
    let times: Vec<i64> = (0..40_000_i64).rev().map(|ago| NOW_MS - ago * 1000).collect();
    for (labels, samples) in &read {
        let mut own: Vec<i64> = samples.iter().map(|(at, _)| *at).collect();
        own.sort_unstable();
        assert!(own == times, "{labels}");
    }
}

#[tokio::test]
async fn more_series_than_a_piece_has_come_in_several_too_also_of_one_moment() {
    let mut data = Data::default();
    for number in 0..40_000 {
        data = data.series(&[("__name__", "m"), ("i", &number.to_string())], &[(0, 1.0)]);
    }
    let got = export(&Server::single(data), &[("match[]", "m")]).await;
    let (read, lines) = read_back(got.text());
    assert_eq!((read.len(), lines), (40_000, 40_000));
}

/// What comes over a socket, to its end, for `GET /api/v1/export?match[]=m`.
async fn over_a_socket(server: &Server) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = server.router();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "GET /api/v1/export?match[]=m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    // How it ends is what is looked at.
    let _ = stream.read_to_end(&mut got).await;
    serving.abort();
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn an_export_that_cannot_go_on_ends_without_the_end_of_its_body_and_the_caller_knows() {
    let selects = Arc::new(AtomicU64::new(0));
    let with = |selects_max: Option<u64>| {
        let mut data = Data::default();
        for number in 0..40_000 {
            data = data.series(&[("__name__", "m"), ("i", &number.to_string())], &[(0, 1.0)]);
        }
        selects.store(0, Ordering::SeqCst);
        let memory = Memory {
            tenants: [("default".to_owned(), data)].into(),
            selects: Arc::clone(&selects),
            selects_max,
            ..Memory::default()
        };
        Server::new(memory, one_tenant(), Limits::default())
    };
    let whole = over_a_socket(&with(None)).await;
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{}", &whole[..200]);
    assert!(whole.to_ascii_lowercase().contains("transfer-encoding: chunked"));
    assert!(whole.ends_with("\r\n0\r\n\r\n"), "its last chunk says that it is all");
    // All of its pieces but the last one come.
    let pieces = selects.load(Ordering::SeqCst);
    let part = over_a_socket(&with(Some(pieces - 1))).await;
    assert!(part.starts_with("HTTP/1.1 200 OK\r\n") && part.len() > 100_000, "{}", part.len());
    assert!(part.len() < whole.len() && !part.contains("\r\n0\r\n\r\n"), "no last chunk");
    // What fails from the start is an answer of its own.
    let refused = over_a_socket(&with(Some(0))).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.to_ascii_lowercase().contains("\r\nretry-after: "), "{refused}");
}
