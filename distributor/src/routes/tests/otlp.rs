//! CONTRACTS.md section 6, over a real socket. Requests are written as JSON; in protobuf they are
//! the bytes that JSON stands for.

use super::*;
use model::histogram::{Counts, Span};
use model::sample::STALE_NAN_BITS;
use model::{Exemplar, Histogram, LabelSet};
use wire::otlp::Form;

mod histograms;
mod labels;

const PATH: &str = "/otlp/v1/metrics";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");

/// The example of the contract.
const SHOP: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[
   {"key":"service.name","value":{"stringValue":"shop"}},{"key":"service.instance.id","value":{"stringValue":"a1"}},
   {"key":"host.name","value":{"stringValue":"h1"}}]},
 "scopeMetrics":[{"metrics":[{"name":"http.requests","unit":"1","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
   {"attributes":[{"key":"http.method","value":{"stringValue":"GET"}}],"timeUnixNano":"1700000015000000000","asInt":"7"}]}}]}]}]}"#;

/// A request with one metric of a resource that has no attributes.
fn metric(metric: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#)
}

fn protobuf(json: &str) -> Vec<u8> {
    wire::otlp::from_json(json.as_bytes(), &mut |_| true).unwrap()
}

impl Server {
    async fn otlp(&self, json: &str) -> Response {
        self.post(PATH, &[JSON], json.as_bytes()).await
    }

    /// The values of a series, in order of time.
    fn values(&self, pairs: &[(&str, &str)]) -> Vec<f64> {
        let samples = self.rig.replicas[0].samples("default", &labels(pairs));
        samples.into_iter().map(|(_, value)| value).collect()
    }

    fn extras(&self, pairs: &[(&str, &str)]) -> (Vec<model::HistogramSample>, Vec<Exemplar>) {
        self.rig.replicas[0].extras("default", &labels(pairs))
    }
}

async fn with_otlp(otlp: guard::OtlpSettings) -> Server {
    limited(Limits { otlp, ..Limits::default() }).await
}

fn shop() -> LabelSet {
    labels(&[
        ("__name__", "http_requests_total"),
        ("http_method", "GET"),
        ("instance", "a1"),
        ("job", "shop"),
    ])
}

#[tokio::test]
async fn the_example_of_the_contract_is_stored_as_it_says_from_either_form_on_every_path() {
    let (json, protobuf) = (SHOP.as_bytes().to_vec(), protobuf(SHOP));
    for path in ["/api/v1/otlp/v1/metrics", PATH, "/v1/metrics"] {
        for (content_type, body, answer) in [(JSON, &json, "{}"), (PROTOBUF, &protobuf, "")] {
            let server = server().await;
            let response = server.post(path, &[content_type], body).await;
            assert_eq!((response.status, &*response.body), (200, answer), "{path}");
            assert_eq!(response.header("content-type"), Some(content_type.1));
            let at = NOW_MS + 15_000;
            let replica = &server.rig.replicas[0];
            assert_eq!(replica.samples("default", &shop()), [(at, 7.0)]);
            let target = [
                ("__name__", "target_info"),
                ("host_name", "h1"),
                ("instance", "a1"),
                ("job", "shop"),
            ];
            assert_eq!(replica.samples("default", &labels(&target)), [(at, 1.0)]);
            assert_eq!(replica.series(), 2);
            assert_eq!(replica.metadata_names(), ["http_requests_total".into()]);
        }
    }
}

#[tokio::test]
async fn the_forms_and_encodings_of_the_contract_are_taken_and_no_others() {
    let server = server().await;
    let protobuf = protobuf(SHOP);
    for (content_type, status) in [
        ("application/x-protobuf; charset=utf-8", 200),
        ("Application/X-Protobuf", 200),
        ("application/json; charset=utf-8", 400),
        ("text/plain", 415),
        ("", 415),
    ] {
        let response = server.post(PATH, &[("Content-Type", content_type)], &protobuf).await;
        assert_eq!(response.status, status, "{content_type}");
    }
    assert_eq!(server.post(PATH, &[], &protobuf).await.status, 415);
    for (encoding, status) in [("identity", 200), ("snappy", 415), ("gzip, gzip", 415)] {
        let headers = [PROTOBUF, ("Content-Encoding", encoding)];
        assert_eq!(server.post(PATH, &headers, &protobuf).await.status, status, "{encoding}");
    }
    let headers = [PROTOBUF, ("Content-Encoding", "gzip")];
    assert_eq!(server.post(PATH, &headers, &gzipped(&protobuf)).await.status, 200);
    assert_eq!(server.post(PATH, &headers, &protobuf).await.status, 400);
    let cut = &gzipped(&protobuf)[..20];
    assert_eq!(server.post(PATH, &headers, cut).await.status, 400);
}

#[tokio::test]
async fn a_bad_body_is_400_with_a_status_in_the_same_form() {
    let server = server().await;
    let response = server.otlp("{").await;
    assert_eq!(response.status, 400);
    assert!(response.body.starts_with(r#"{"code":3,"message":"json: "#), "{}", response.body);
    let response = server.post(PATH, &[PROTOBUF], b"\x0a\x05x").await;
    assert_eq!(response.status, 400);
    assert_eq!(response.body, "\u{8}\u{3}\u{12}\u{1b}protobuf: truncated message");
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn an_empty_request_is_200() {
    let server = server().await;
    assert_eq!(server.post(PATH, &[PROTOBUF], b"").await.status, 200);
    assert_eq!(server.otlp("{}").await.status, 200);
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn what_is_refused_is_counted_and_told_and_the_rest_is_stored() {
    let server = server().await;
    let far = NOW_MS + 11 * 60_000;
    let body = metric(&format!(
        r#"{{"name":"x","gauge":{{"dataPoints":[
            {{"timeUnixNano":"{NOW_MS}000000","asDouble":1.5}},
            {{"timeUnixNano":"{far}000000","asDouble":2.5}}]}}}}"#
    ));
    let response = server.otlp(&body).await;
    assert_eq!(response.status, 200);
    assert!(response.body.contains(r#""rejectedDataPoints":"1""#), "{}", response.body);
    assert!(response.body.contains("1 of 2 samples refused"), "{}", response.body);
    assert_eq!(server.values(&[("__name__", "x")]), [1.5]);
}

#[tokio::test]
async fn a_point_at_a_wrong_time_takes_nothing_from_what_is_said_of_its_resource() {
    let server = server().await;
    let far = NOW_MS + 11 * 60_000;
    let point = r#"{"attributes":[{"key":"http.method""#;
    let two = format!(r#"{{"timeUnixNano":"{far}000000","asInt":"8"}},{point}"#);
    let response = server.otlp(&SHOP.replace(point, &two)).await;
    assert!(response.body.contains(r#""rejectedDataPoints":"1""#), "{}", response.body);
    let target =
        [("__name__", "target_info"), ("host_name", "h1"), ("instance", "a1"), ("job", "shop")];
    let kept = server.rig.replicas[0].samples("default", &labels(&target));
    assert_eq!(kept, [(NOW_MS + 15_000, 1.0)]);
}

#[tokio::test]
async fn what_is_said_of_metrics_is_cut_and_left_out_as_it_is_of_a_remote_write() {
    let server = server().await;
    let told = |name: &str, unit: &str, point: &str| {
        format!(
            r#"{{"name":"{name}","unit":"{unit}","description":"{}","gauge":{{"dataPoints":[
            {{"timeUnixNano":"{NOW_MS}000000"{point}}}]}}}}"#,
            "d".repeat(4096)
        )
    };
    let (long, value) = ("n".repeat(2049), r#","asDouble":1"#);
    let metrics = [
        told("kept", "", value),
        told("of_a_long_unit", &"u".repeat(1 << 20), value),
        told(&long, "", value),
        told("without_a_value", "", ""),
    ];
    server.otlp(&metric(&metrics.join(","))).await;
    let [kept] = &server.rig.replicas[0].metadata()[..] else {
        panic!("{:?}", server.rig.replicas[0].metadata_names())
    };
    assert_eq!((&*kept.metric, &*kept.help), ("kept", &*"d".repeat(1024)));
}

#[tokio::test]
async fn delta_is_refused_by_its_name_unless_the_tenant_takes_it() {
    let body = metric(
        r#"{"name":"d","sum":{"aggregationTemporality":1,"isMonotonic":true,
        "dataPoints":[{"timeUnixNano":"1700000000000000000","asInt":1},{"timeUnixNano":"1700000001000000000","asInt":2}]}}"#,
    );
    let server = server().await;
    let response = server.otlp(&body).await;
    assert_eq!(response.status, 200);
    assert!(response.body.contains(r#""rejectedDataPoints":"2""#), "{}", response.body);
    let why = r#"invalid temporality and type combination for metric \"d\""#;
    assert!(response.body.contains(why), "{}", response.body);
    assert_eq!(server.rig.replicas[0].writes(), 0);

    let otlp = guard::OtlpSettings { allow_delta_temporality: true, ..Default::default() };
    let server = with_otlp(otlp).await;
    assert_eq!(server.otlp(&body).await.body, "{}");
    assert_eq!(server.values(&[("__name__", "d_total")]), [1.0, 2.0]);
}

#[tokio::test]
async fn an_unspecified_temporality_is_refused() {
    let server = server().await;
    let sum =
        r#"{"name":"u","sum":{"dataPoints":[{"timeUnixNano":"1700000000000000000","asInt":1}]}}"#;
    let response = server.otlp(&metric(sum)).await;
    assert!(response.body.contains(r#""rejectedDataPoints":"1""#), "{}", response.body);
}

#[tokio::test]
async fn the_start_of_a_point_comes_with_its_samples() {
    let server = server().await;
    let body = SHOP
        .replace("\"timeUnixNano\"", r#""startTimeUnixNano":"1699999999000000000","timeUnixNano""#);
    assert_eq!(server.otlp(&body).await.body, "{}");
    assert_eq!(
        server.rig.replicas[0].starts("default", &shop()),
        [(NOW_MS + 15_000, NOW_MS - 1000)]
    );
}

#[tokio::test]
async fn a_point_without_a_recorded_value_is_a_stale_marker() {
    let server = server().await;
    let point = r#"{"timeUnixNano":"1700000000000000000","flags":1}"#;
    for data in [
        format!(r#""gauge":{{"dataPoints":[{point}]}}"#),
        format!(r#""exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{point}]}}"#),
        format!(r#""histogram":{{"aggregationTemporality":2,"dataPoints":[{point}]}}"#),
    ] {
        assert_eq!(server.otlp(&metric(&format!(r#"{{"name":"g",{data}}}"#))).await.body, "{}");
    }
    for name in ["g", "g_count"] {
        assert_eq!(server.values(&[("__name__", name)])[0].to_bits(), STALE_NAN_BITS, "{name}");
    }
    let (histograms, _) = server.extras(&[("__name__", "g")]);
    assert!(histograms[0].histogram.is_stale());
}

#[tokio::test]
async fn a_point_without_a_value_is_refused() {
    let server = server().await;
    let body = metric(r#"{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"1"}]}}"#);
    let response = server.otlp(&body).await;
    assert!(response.body.contains("a point without a value"), "{}", response.body);
}

/// A request of a resource with these attributes and one gauge `g` with those.
fn gauge(resource: &[(&str, &str)], point: &[(&str, &str)]) -> String {
    let list = |pairs: &[(&str, &str)]| {
        let one = |(key, value): &(&str, &str)| {
            format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
        };
        pairs.iter().map(one).collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{}]}},"scopeMetrics":[
        {{"scope":{{"name":"lib","version":"1","attributes":[{{"key":"x.y","value":{{"intValue":5}}}}]}},"schemaUrl":"u",
         "metrics":[{{"name":"g","gauge":{{"dataPoints":[{{"timeUnixNano":"1700000000000000000","asInt":1,"attributes":[{}]}}]}}}}]}}]}}]}}"#,
        list(resource),
        list(point)
    )
}

#[tokio::test]
async fn the_limits_of_remote_write_hold_and_are_told_in_the_same_form() {
    let many = |points: usize| {
        let point = |n: usize| {
            format!(
                r#"{{"timeUnixNano":"1700000000000000000","asInt":1,"attributes":[{{"key":"n","value":{{"intValue":{n}}}}}]}}"#
            )
        };
        let points: Vec<String> = (0..points).map(point).collect();
        metric(&format!(r#"{{"name":"m","gauge":{{"dataPoints":[{}]}}}}"#, points.join(",")))
    };
    let server = limited(Limits { max_request_series: Limit(3), ..Limits::default() }).await;
    assert_eq!(server.otlp(&many(3)).await.status, 200);
    let response = server.otlp(&many(4)).await;
    assert_eq!(response.status, 413);
    assert!(response.body.contains("max_request_series"), "{}", response.body);

    // Points are counted, not what they become: each of these is four series.
    let histogram = |points: usize| {
        let point = r#"{"timeUnixNano":"1700000000000000000","count":"3","sum":1,"bucketCounts":[1,2],"explicitBounds":[1]}"#;
        let points = vec![point; points].join(",");
        metric(&format!(
            r#"{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{points}]}}}}"#
        ))
    };
    assert_eq!(server.otlp(&histogram(3)).await.status, 200);
    assert_eq!(server.otlp(&histogram(4)).await.status, 413);

    let limits = Limits { ingestion_rate: Limit(1), ingestion_burst: 2, ..Limits::default() };
    let server = limited(limits).await;
    assert_eq!(server.otlp(&many(2)).await.status, 200);
    let response = server.otlp(&many(2)).await;
    assert_eq!(response.status, 429);
    assert!(response.header("retry-after").is_some());
    assert!(response.body.starts_with(r#"{"code":8,"#), "{}", response.body);

    let server = limited(Limits { max_decoded_bytes: Limit(2000), ..Limits::default() }).await;
    assert_eq!(server.otlp(&many(4)).await.status, 200);
    assert_eq!(server.otlp(&many(400)).await.status, 413);
}

#[tokio::test]
async fn a_fault_of_ours_is_503_with_a_time_to_come_back_and_never_500() {
    for kind in [Kind::Internal, Kind::Corrupt, Kind::Unavailable, Kind::Timeout] {
        let server = server().await;
        server.rig.replicas[0].set_mood(Mood::Fails(kind));
        let response = server.otlp(SHOP).await;
        assert_eq!(response.status, 503, "{kind:?}");
        assert!(response.header("retry-after").is_some());
    }
    // One of the distributor's own, which no replica can bring about.
    let server = server().await;
    let fault = crate::error::Error::Internal("a task ended early".to_owned());
    let response = super::super::otlp::refusal(&server.rig.distributor, Form::Json, &fault);
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_point_has_so_many_exemplars_and_attributes_and_no_more_and_what_is_over_is_told() {
    let server = server().await;
    let point = |attributes: usize, exemplars: usize| {
        let key = |n| format!(r#"{{"key":"k{n}","value":{{"intValue":1}}}}"#);
        let exemplar = |n| format!(r#"{{"timeUnixNano":"{}","asDouble":1}}"#, 1_000_000 * (n + 1));
        let attributes: Vec<String> = (0..attributes).map(key).collect();
        let exemplars: Vec<String> = (0..exemplars).map(exemplar).collect();
        metric(&format!(
            r#"{{"name":"m","gauge":{{"dataPoints":[{{"timeUnixNano":"1700000000000000000","asInt":1,
            "attributes":[{}],"exemplars":[{}]}}]}}}}"#,
            attributes.join(","),
            exemplars.join(",")
        ))
    };
    assert_eq!(server.otlp(&point(0, 1024)).await.body, "{}");
    let told = server.otlp(&point(0, 1025)).await.body;
    assert!(told.contains("too many exemplars of one point"), "{told}");
    assert_eq!(server.values(&[("__name__", "m")]).len(), 1, "the point is kept");
    // So many are read, whatever becomes of them.
    let told = server.otlp(&point(1024, 0)).await.body;
    assert!(told.contains("labels 1025 over the limit of 64 (max_labels)"), "{told}");
    let told = server.otlp(&point(1025, 0)).await.body;
    assert!(told.contains("more than 1024 attributes (max_labels)"), "{told}");
    assert!(told.contains(r#""rejectedDataPoints":"1""#), "{told}");
}

#[tokio::test]
async fn a_body_that_becomes_too_large_is_refused_before_memory_is_taken_for_it() {
    let server = limited(Limits { max_decoded_bytes: Limit(1 << 20), ..Limits::default() }).await;
    let gzip = [PROTOBUF, ("Content-Encoding", "gzip")];
    let response = server.post(PATH, &gzip, &gzipped(&vec![0; 100 << 20])).await;
    assert_eq!(response.status, 413);
    // A label of the resource, repeated in each series, is longer than the request.
    let resource = "x".repeat(2000);
    let point = |n: usize| {
        format!(
            r#"{{"timeUnixNano":"1","asInt":1,"attributes":[{{"key":"n","value":{{"intValue":{n}}}}}]}}"#
        )
    };
    let points = (0..1000).map(point).collect::<Vec<_>>().join(",");
    let body = metric(&format!(r#"{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}"#));
    let resource = format!(
        r#""resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{resource}"}}}}]}},"scopeMetrics""#
    );
    let body = body.replace(r#""scopeMetrics""#, &resource);
    assert!(body.len() < 100_000);
    let response = server.otlp(&body).await;
    assert_eq!(response.status, 413, "{}", response.body);
    assert!(response.body.contains("max_decoded_bytes"), "{}", response.body);
}

#[tokio::test]
async fn text_that_is_not_utf_8_refuses_its_points_and_no_others() {
    let server = server().await;
    let mut body = protobuf(&gauge(&[], &[("k", "\u{fffd}")]));
    let at = body.windows(3).position(|three| three == "\u{fffd}".as_bytes()).unwrap();
    body[at..at + 3].copy_from_slice(&[0xff, 0xff, 0xff]);
    body.extend_from_slice(&protobuf(SHOP));
    let response = server.post(PATH, &[PROTOBUF], &body).await;
    assert_eq!(response.status, 200);
    assert!(response.body.contains("invalid UTF-8 in attribute"), "{}", response.body);
    assert_eq!(server.rig.replicas[0].samples("default", &shop()).len(), 1);
}
