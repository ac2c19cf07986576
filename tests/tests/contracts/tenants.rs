//! What a tenant may know of another: nothing. Sentence 13 of section 13; what is deleted with a tenant,
//! and what only operators see.

use super::{Server, data, http, json};
use bench::remote_write::{HEADERS_V2, Series, compress};
use model::mutation::{MetricMetadata, MetricType};
use model::{Exemplar, LabelSet};
use wire::remote_write::{RequestV2, SeriesV2};

/// What another tenant may learn by nothing: what is in `theirs`.
const SECRETS: [&str; 7] =
    ["hidden", "spruce", "larch", "alder", "trace-77", "told only", "theirs"];

/// Writes series, metadata and an exemplar whose every word is a secret, all of them of the tenant
/// `theirs`.
fn write_secrets(server: &Server) {
    let mut request = RequestV2::default();
    let labels = LabelSet::from_pairs([("__name__", "hidden_total"), ("spruce", "larch")]);
    let exemplar = Exemplar {
        timestamp_ms: server.now_s * 1_000,
        value: 1.0,
        labels: LabelSet::from_pairs([("alder", "trace-77")]).unwrap(),
    };
    let told = MetricMetadata {
        metric: "".into(),
        metric_type: MetricType::Counter,
        help: "told only here".into(),
        unit: "".into(),
    };
    request.push(
        &labels.unwrap(),
        &SeriesV2 {
            samples: &[(server.now_s * 1_000, 1.0, 0)],
            exemplars: &[exemplar],
            metadata: Some(&told),
            ..Default::default()
        },
    );
    let headers = [&HEADERS_V2[..], &[("X-Scope-OrgID", "theirs")]].concat();
    let body = compress(&request.finish());
    let answer = server.cumae.send("POST", "/api/v1/push", &headers, &body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[test]
fn s13_no_tenant_sees_another_s_label_names_values_metadata_exemplars_statistics_or_error_texts() {
    let server = Server::start();
    write_secrets(&server);
    let (start, end) = ((server.now_s - 600).to_string(), server.now_s.to_string());
    let every = "{__name__=~\".+\"}";
    let parameters = [
        ("query", every),
        ("match[]", every),
        ("selector", every),
        ("label_names[]", "__name__"),
        ("start", &start),
        ("end", &end),
        ("time", &end),
        ("step", "60"),
    ];
    let form = http::form(&parameters);
    let mut seen = String::new();
    for path in [
        "/api/v1/query",
        "/api/v1/query_range",
        "/api/v1/query_exemplars",
        "/api/v1/labels",
        "/api/v1/label/__name__/values",
        "/api/v1/label/spruce/values",
        "/api/v1/series",
        "/api/v1/series/count",
        "/api/v1/metadata",
        "/api/v1/targets/metadata",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/status/tsdb",
        "/api/v1/status/active_queries",
        "/api/v1/status/top_queries",
        "/api/v1/status/metric_names_stats",
        "/api/v1/cardinality/label_names",
        "/api/v1/cardinality/label_values",
        "/api/v1/user_stats",
        "/api/v1/explain",
        "/api/v1/export",
        "/federate",
        "/purger/delete_tenant_status",
    ] {
        let of = |tenant: &str| {
            let path = format!("{path}?{form}");
            server.cumae.send("GET", &path, &[("X-Scope-OrgID", tenant)], b"")
        };
        seen.push_str(&of("theirs").text());
        // What comes first may be remembered, for the other too.
        let other = of("other");
        assert_eq!(other.status, 200, "{path}: {}", other.text());
        tells_no_secret(path, &other.text());
        tells_no_secret(path, &of("filled").text());
    }
    // The list is good for something: the tenant itself finds each of them.
    for secret in &SECRETS {
        assert!(seen.contains(secret), "{secret}: {seen}");
    }
    error_texts(&server, &form);
}

fn tells_no_secret(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what}: {secret}: {text}");
    }
}

/// What is refused of another tenant names that one alone.
fn error_texts(server: &Server, form: &str) {
    let far = (server.now_s + 86_400) * 1_000;
    let bad: [(&str, &str, &[u8]); 8] = [
        ("GET", "/api/v1/query?query=sum(", b""),
        ("GET", "/api/v1/query_range?query=up&start=2&end=1&step=1", b""),
        ("GET", "/api/v1/series", b""),
        ("GET", "/api/v1/status/tsdb?limit=0", b""),
        ("GET", "/api/v1/status/config", b""),
        ("POST", "/api/v1/push", b"\xffnonsense"),
        ("POST", "/api/v1/import/prometheus", b"up{ 1\n"),
        ("POST", "/api/v1/read", b"nonsense"),
    ];
    for (method, path, body) in bad {
        let answer = server.cumae.send(method, path, &[("X-Scope-OrgID", "other")], body);
        assert!(answer.status >= 400, "{path}: {}", answer.text());
        tells_no_secret(path, &answer.text());
    }
    let many = Series::new("m", &[], &[(far, 1.0)]);
    tells_no_secret("push", &server.cumae.push_as("other", &[many]).text());
    // Who may see nobody's answer learns nothing by asking for the other.
    for path in ["/api/v1/query", "/distributor/all_user_stats", "/config", "/runtime_config"] {
        let answer = server.cumae.get(&format!("{path}?{form}"));
        assert!(answer.status >= 400, "{path}");
        tells_no_secret(path, &answer.text());
    }
}

#[test]
fn a_tenant_that_is_deleted_is_found_no_more_and_may_begin_anew_and_others_are_left_alone() {
    let server = Server::start();
    let other = Series::new("up", &[], &[(server.now_s * 1_000, 1.0)]);
    let again = Series::new("again", &[], &[(server.now_s * 1_000 + 600_000, 1.0)]);
    assert_eq!(server.cumae.push_as("other", &[other]).status, 204);
    let status = |tenant: &str| {
        let headers = [("X-Scope-OrgID", tenant)];
        json(&server.cumae.send("GET", "/purger/delete_tenant_status", &headers, b""))
    };
    assert_eq!(status("filled"), json!({"tenant_id": "filled", "blocks_deleted": false}));
    let delete = |tenant: &str| {
        server.cumae.send("POST", "/purger/delete_tenant", &[("X-Scope-OrgID", tenant)], b"").status
    };
    assert_eq!((delete("filled|other"), delete("filled")), (400, 200));
    assert_eq!(status("filled"), json!({"tenant_id": "filled", "blocks_deleted": true}));
    let whole = [("match[]", "{__name__!=\"\"}"), ("start", "0")];
    assert_eq!(data(&server.get("filled", "series", &whole)), json!([]));
    assert_eq!(data(&server.get("other", "series", &whole)).as_array().unwrap().len(), 1);
    assert_eq!(status("other")["blocks_deleted"], false);
    assert!(server.cumae.log().contains("tenant deleted as asked"));
    assert_eq!(server.cumae.push_as("filled", &[again]).status, 204);
    assert_eq!(data(&server.get("filled", "series", &whole)).as_array().unwrap().len(), 1);
}

#[test]
fn a_tenants_activity_is_its_own_and_only_operators_see_all() {
    let server = Server::start();
    let of = |tenant: &str| json(&server.get(tenant, "user_stats", &[]));
    assert_eq!(
        (of("filled")["numSeries"].clone(), of("empty")["numSeries"].clone()),
        (3.into(), 0.into())
    );
    for key in ["ingestionRate", "APIIngestionRate", "RuleIngestionRate"] {
        assert!(of("filled")[key].is_number(), "{key}");
    }
    let all = |headers: &[(&str, &str)]| {
        server.cumae.send("GET", "/distributor/all_user_stats", headers, b"")
    };
    assert_eq!(all(&[("X-Scope-OrgID", "filled")]).status, 403);
    for path in ["/config", "/runtime_config"] {
        assert_eq!(server.cumae.get(path).status, 403, "{path}");
    }
}
