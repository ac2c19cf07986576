//! Each limit of CONTRACTS.md 14 on the way in, at its value and one past it; and bodies that come
//! slowly.

use super::*;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::Request;
use futures_util::StreamExt;
use std::time::Duration;

/// Sends `message` to a tenant with these limits.
async fn answer(limits: &Limits, message: &[u8]) -> Response {
    limited(limits.clone()).await.push(message).await
}

/// A series `up` with more labels.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    let mut labels = up();
    for (name, value) in more {
        labels.set(*name, *value);
    }
    request(&[(&labels, &[(NOW_MS, 1.0)])])
}

#[tokio::test]
async fn each_limit_of_a_series_takes_its_value_and_refuses_one_more_by_its_key() {
    let default = Limits::default();
    let name = |bytes: usize| with(&[(&"n".repeat(bytes), "v")]);
    let value = |bytes: usize| with(&[("n", &"v".repeat(bytes))]);
    let labels = |count: usize| {
        let names: Vec<String> = (0..count - 2).map(|number| format!("l{number}")).collect();
        with(&names.iter().map(|name| (&**name, "v")).collect::<Vec<_>>())
    };
    // `__name__`, `up`, `job`, `a` and `n` are 15 bytes.
    let all = |bytes: usize| {
        let names: Vec<String> = (0..8).map(|number| format!("l{number}")).collect();
        let mut more: Vec<(&str, String)> =
            names.iter().map(|name| (&**name, "v".repeat(2_000))).collect();
        more.push(("n", "v".repeat(bytes - 15 - 8 * 2_002)));
        with(&more.iter().map(|(name, value)| (*name, &**value)).collect::<Vec<_>>())
    };
    let at = |ms: i64| request(&[(&up(), &[(NOW_MS + ms, 1.0)])]);
    let kept = Limits { retention_ms: Limit(3_600_000), ..default.clone() };
    for (key, limits, at_limit, past) in [
        ("max_label_name_bytes", &default, name(1_024), name(1_025)),
        ("max_label_value_bytes", &default, value(2_048), value(2_049)),
        ("max_labels", &default, labels(64), labels(65)),
        ("max_labels_bytes", &default, all(16_384), all(16_385)),
        ("max_future", &default, at(600_000), at(600_001)),
        ("retention", &kept, at(-3_600_000), at(-3_600_001)),
    ] {
        let taken = answer(limits, &at_limit).await;
        assert_eq!((taken.status, &*taken.body), (204, ""), "{key}");
        let refused = answer(limits, &past).await;
        assert_eq!(refused.status, 400, "{key}");
        // Its limit is named, its key, whose it is, and of which series.
        let named = format!("({key}) of tenant default\n");
        assert!(refused.body.ends_with(&named), "{key}: {}", refused.body);
        assert!(refused.body.contains("__name__=\"up\""), "{key}: {}", refused.body);
    }
}

#[tokio::test]
async fn each_limit_of_a_request_takes_its_value_and_refuses_one_more_as_413() {
    let many = |count: i64| {
        let samples: Vec<_> = (0..count).map(|at| (NOW_MS + at, 1.0)).collect();
        request(&[(&up(), &samples)])
    };
    let one = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let limits = |change: fn(&mut Limits, Limit), limit: usize| {
        let mut limits = Limits::default();
        change(&mut limits, Limit(limit as u64));
        limits
    };
    let sent = compressed(&one).len();
    let of_body: fn(&mut Limits, Limit) = |all, limit| all.max_request_bytes = limit;
    let decoded: fn(&mut Limits, Limit) = |all, limit| all.max_decoded_bytes = limit;
    let series: fn(&mut Limits, Limit) = |all, limit| all.max_request_series = limit;
    let samples: fn(&mut Limits, Limit) = |all, limit| all.max_request_samples = limit;
    for (key, change, limit, message) in [
        ("max_request_bytes", of_body, sent, one.clone()),
        ("max_decoded_bytes", decoded, one.len(), one.clone()),
        ("max_request_series", series, 5, one.repeat(5)),
        ("max_request_samples", samples, 7, many(7)),
    ] {
        let taken = answer(&limits(change, limit), &message).await;
        assert_eq!((taken.status, &*taken.body), (204, ""), "{key}");
        let refused = answer(&limits(change, limit - 1), &message).await;
        assert_eq!(refused.status, 413, "{key}: {}", refused.body);
        let off = answer(&limits(change, 0), &message).await;
        assert_eq!(off.status, 204, "{key} switched off");
    }
}

#[tokio::test]
async fn the_default_of_series_in_a_request_is_fifty_thousand_and_of_samples_five_hundred_thousand()
{
    let one = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let series = |count: usize| one.repeat(count);
    let burst = Limits::default();
    assert_eq!(answer(&burst, &series(50_000)).await.status, 204);
    assert_eq!(answer(&burst, &series(50_001)).await.status, 413);
    let samples: Vec<_> = (0..500_001).map(|at| (NOW_MS - at, 1.0)).collect();
    assert_eq!(answer(&burst, &request(&[(&up(), &samples[..500_000])])).await.status, 204);
    assert_eq!(answer(&burst, &request(&[(&up(), &samples)])).await.status, 413);
}

#[tokio::test]
async fn the_burst_is_taken_whole_and_one_more_sample_waits() {
    let limits = Limits { ingestion_rate: Limit(10), ingestion_burst: 20, ..Limits::default() };
    let server = limited(limits).await;
    let samples: Vec<_> = (0..20).map(|at| (NOW_MS + at, 1.0)).collect();
    assert_eq!(server.push(&request(&[(&up(), &samples)])).await.status, 204);
    let one = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let refused = server.push(&one).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    server.rig.clock.advance(1_000);
    assert_eq!(server.push(&one).await.status, 204);
}

const OTLP_GAUGE: &[u8] =
    br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"up","gauge":
    {"dataPoints":[{"timeUnixNano":"1700000000000000000","asDouble":1}]}}]}]}]}"#;

/// A body of which nothing is kept: all of it is too far in the future, and of OTLP a sum has a kind
/// that is not taken.
fn future_of(path: &str) -> Vec<u8> {
    let at = NOW_MS + 86_400_000;
    match path {
        PUSH => compressed(&request(&[(&up(), &[(at, 1.0)])])),
        path if path.contains("otlp") => {
            let body = String::from_utf8(OTLP_GAUGE.to_vec()).unwrap();
            body.replace("\"gauge\":\n    {", "\"sum\":{\"aggregationTemporality\":1,").into_bytes()
        }
        _ => format!("up 1 {at}\n").into_bytes(),
    }
}

#[tokio::test]
async fn tenants_begin_at_their_rate_up_to_their_number_at_every_door_and_known_ones_go_on() {
    type Door<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>);
    let doors: [Door<'_>; 3] = [
        (PUSH, &[], bytes_of(RW1)),
        ("/otlp/v1/metrics", &[("Content-Type", "application/json")], OTLP_GAUGE.to_vec()),
        ("/api/v1/import/prometheus", &[], b"up 1\n".to_vec()),
    ];
    for (path, headers, body) in &doors {
        let config = Config { new_tenants_per_second: 1, tenants_max: 12, ..Config::default() };
        let tenancy = Tenancy::Multi;
        let server = Server::new(rig(RigConfig { config, tenancy, ..RigConfig::default() })).await;
        let write = async |tenant: &str| {
            let headers = [*headers, &[("X-Scope-OrgID", tenant)]].concat();
            let response = server.post(path, &headers, body).await;
            let comes_back = response.header("retry-after").is_some();
            (response.status, comes_back, response.body)
        };
        let taken = async |tenant: &str| write(tenant).await.0 / 100 == 2;
        for number in 0..10 {
            // Of whom nothing is written has not begun and takes nobody's place.
            let future = future_of(path);
            for (nobody, body) in (0..20).zip([b"", &b"\xffnonsense"[..], &future].iter().cycle()) {
                let tenant = format!("nobody-{nobody}");
                server.post(path, &[*headers, &[("X-Scope-OrgID", &tenant)]].concat(), body).await;
            }
            let (status, _, told) = write(&format!("t{number}")).await;
            assert_eq!(status / 100, 2, "{path} {number}: {told}");
        }
        let (status, comes_back, told) = write("t10").await;
        assert_eq!((status, comes_back), (503, true), "{path}");
        assert!(told.contains("write.new_tenants_per_second"), "{told}");
        assert!(taken("t9").await, "{path}");
        server.rig.clock.advance(2_000);
        assert!(taken("t10").await && taken("t11").await, "{path}: at their number");
        server.rig.clock.advance(1_000);
        let (status, comes_back, told) = write("t12").await;
        assert_eq!((status, comes_back), (503, true), "{path}: one past it");
        assert!(told.contains("write.max_tenants"), "{told}");
        assert!(taken("t0").await, "{path}");
        // Who has not written for two hours makes room.
        server.rig.clock.advance(7_200_000);
        assert!(taken("t12").await, "{path}");
        let metrics = server.rig.registry.gather();
        let names = metrics.iter().flat_map(|family| family.get_metric());
        let mut names = names.flat_map(|metric| metric.get_label());
        assert!(!names.any(|label| label.value().starts_with("nobody")), "{path}");
    }
}

#[tokio::test]
async fn what_is_refused_of_tenants_that_never_wrote_is_counted_together_by_its_reason() {
    let json: &[(&str, &str)] = &[("Content-Type", "application/json")];
    for (path, headers, key) in [
        (PUSH, &[][..], "float,too_far_in_future,"),
        ("/otlp/v1/metrics", json, "float,temporality,"),
        ("/api/v1/import/prometheus", &[], "float,too_far_in_future,"),
    ] {
        let server =
            Server::new(rig(RigConfig { tenancy: Tenancy::Multi, ..RigConfig::default() })).await;
        let body = match path {
            "/api/v1/import/prometheus" => format!("up 1 {}\n", NOW_MS + 86_400_000).into_bytes(),
            path => future_of(path),
        };
        for tenant in ["nobody", "somebody", "nobody"] {
            server.post(path, &[headers, &[("X-Scope-OrgID", tenant)]].concat(), &body).await;
        }
        let count = |name: &str| {
            let family = format!("cumae_distributor_samples_{name}_total");
            counter(&server.rig.registry, &family)
        };
        assert_eq!(count("refused").into_iter().collect::<Vec<_>>(), [(key.to_owned(), 3.0)]);
        assert_eq!(count("received")["float,"], 3.0, "{path}");
        // Who begins is counted by its name from then on.
        let wrote = server.post(PUSH, &[("X-Scope-OrgID", "nobody")], &bytes_of(RW1)).await;
        assert_eq!(wrote.status, 204);
        server.post(path, &[headers, &[("X-Scope-OrgID", "nobody")]].concat(), &body).await;
        let named = format!("{key}nobody");
        assert_eq!((count("refused")[key], count("refused")[&*named]), (3.0, 1.0), "{path}");
        assert_eq!((count("received")["float,"], count("received")["float,nobody"]), (3.0, 2.0));
    }
}

#[tokio::test]
async fn a_request_whose_samples_are_all_refused_begins_no_tenant_by_what_it_says_of_its_metrics() {
    let at = NOW_MS + 86_400_000;
    let text = format!("# HELP up it is\n# TYPE up gauge\nup 1 {at}\n").into_bytes();
    let otlp = String::from_utf8(OTLP_GAUGE.to_vec()).unwrap();
    let otlp = otlp.replace("1700000000000000000", "1800000000000000000").into_bytes();
    let json: &[(&str, &str)] = &[("Content-Type", "application/json")];
    for (path, headers, body) in
        [("/otlp/v1/metrics", json, otlp), ("/api/v1/import/prometheus", &[], text)]
    {
        let server = server().await;
        server.post(path, headers, &body).await;
        assert_eq!(server.rig.replicas[0].metadata(), [], "{path}");
        assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
        server.post(path, headers, &body).await;
        assert_eq!(server.rig.replicas[0].metadata_names(), ["up".into()], "{path}");
    }
}

#[tokio::test]
async fn a_body_at_its_limit_in_chunks_is_taken_and_one_byte_more_is_413() {
    let one = compressed(&request(&[(&up(), &[(NOW_MS, 1.0)])]));
    for (less, status) in [(0, 204), (1, 413)] {
        let max_request_bytes = Limit((one.len() - less) as u64);
        let server = limited(Limits { max_request_bytes, ..Limits::default() }).await;
        let mut body = Vec::new();
        for part in one.chunks(7) {
            body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let head = format!(
            "POST {PUSH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let response = server.exchange(&[head.as_bytes(), &body].concat()).await;
        assert_eq!(response.status, status);
    }
}

/// What a sender gets whose body never ends, with so many bytes each second: status, after how many
/// seconds, and whether it shall come again.
async fn endless(bytes_per_second: usize) -> (u16, u64, bool) {
    let rig = alone(Limits::default());
    let part = Bytes::from(vec![b'x'; bytes_per_second]);
    let parts = futures_util::stream::repeat(part).then(|part| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(part)
    });
    let request = Request::post(PUSH).body(Body::from_stream(parts)).unwrap();
    let began = tokio::time::Instant::now();
    let response = super::super::write(State(rig.distributor.clone()), request).await;
    let waits = response.headers().contains_key("retry-after");
    (response.status().as_u16(), began.elapsed().as_secs(), waits)
}

#[tokio::test(start_paused = true)]
async fn a_body_slower_than_a_kibibyte_a_second_ends_after_ten_seconds_and_any_after_twenty() {
    assert_eq!(endless(1).await, (503, 10, true));
    assert_eq!(endless(1_000).await, (503, 10, true));
    assert_eq!(endless(1_100).await, (503, 20, true));
    assert_eq!(endless(1 << 20).await, (503, 20, true));
    // Who is quick enough to send too much is told so.
    assert_eq!(endless(4 << 20).await, (413, 9, false));
}
