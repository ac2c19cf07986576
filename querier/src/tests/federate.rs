//! `/federate`.

use super::support::{Data, Got, NOW_MS, Server, encode, filled};
use axum::body::Body;
use axum::http::Request;
use model::sample::stale_marker;

async fn federate(server: &Server, matches: &[&str], accept: &str) -> Got {
    let params: Vec<(&str, &str)> = matches.iter().map(|text| ("match[]", *text)).collect();
    let request = Request::get(format!("/federate?{}", encode(&params))).header("accept", accept);
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_newest_sample_of_each_series_is_told_with_its_time() {
    let got = federate(&Server::single(filled()), &["up", "c_total", "up"], "text/plain").await;
    assert_eq!(got.status, 200);
    assert_eq!(
        got.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    let expected = format!(
        "# TYPE c_total untyped\n\
         c_total{{instance=\"h:1\",job=\"a\"}} 3600 {NOW_MS}\n\
         # TYPE up untyped\n\
         up{{instance=\"h:1\",job=\"a\"}} 1 {NOW_MS}\n\
         up{{instance=\"h:2\",job=\"b\"}} 1 {NOW_MS}\n"
    );
    assert_eq!(got.text(), expected);
}

#[tokio::test]
async fn without_a_selector_the_answer_is_empty_and_a_bad_one_is_400_text() {
    let server = Server::single(filled());
    let got = federate(&server, &[], "").await;
    assert_eq!((got.status.as_u16(), got.text()), (200, ""));
    for bad in ["{", "up{", "{a=\"\"}", "1"] {
        let got = federate(&server, &["up", bad], "").await;
        assert_eq!(got.status, 400, "{bad}");
        assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
        assert!(got.text().ends_with('\n') && got.text().len() > 1, "{bad}");
    }
}

#[tokio::test]
async fn who_is_stale_or_silent_for_longer_than_the_lookback_is_left_out() {
    let data = Data::default()
        .series(&[("__name__", "m"), ("s", "ended")], &[(60, 1.0), (30, stale_marker())])
        .series(&[("__name__", "m"), ("s", "silent")], &[(300, 1.0)])
        .series(&[("__name__", "m"), ("s", "slow")], &[(299, 2.0)]);
    let got = federate(&Server::single(data), &["m"], "").await;
    let at = NOW_MS - 299_000;
    assert_eq!(got.text(), format!("# TYPE m untyped\nm{{s=\"slow\",instance=\"\"}} 2 {at}\n"));
}

#[tokio::test]
async fn names_that_are_not_plain_are_escaped_unless_the_caller_reads_them() {
    let data = Data::default().series(
        &[("__name__", "http.requests"), ("a.b", "x\"\\\n"), ("a_b", "y"), ("instance", "é")],
        &[(0, f64::INFINITY)],
    );
    let server = Server::single(data);
    let got = federate(&server, &["{\"http.requests\"}"], "text/plain;version=0.0.4").await;
    let expected = format!(
        "# TYPE http_requests untyped\n\
         http_requests{{a_b=\"x\\\"\\\\\\n\",instance=\"é\"}} +Inf {NOW_MS}\n"
    );
    assert_eq!(got.text(), expected);
    let accept = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1";
    let got = federate(&server, &["{\"http.requests\"}"], accept).await;
    let expected = format!(
        "# TYPE \"http.requests\" untyped\n\
         {{\"http.requests\",\"a.b\"=\"x\\\"\\\\\\n\",a_b=\"y\",instance=\"é\"}} +Inf {NOW_MS}\n"
    );
    assert_eq!(got.text(), expected);
    assert!(got.header("content-type").ends_with("escaping=allow-utf-8"));
}
