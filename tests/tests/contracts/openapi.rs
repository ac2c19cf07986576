//! Sentence 12 of section 13: every answer has the shape that Prometheus' own OpenAPI document gives it.
//!
//! Not held to it: `application` in `buildinfo`, which is ours, and string results, whose time the
//! document calls a string.

use super::Json;
use bench::http::Response;
use bench::remote_write::{HEADERS, Series, compress};
use std::collections::BTreeSet;
use tests::process::{Cumae, Launch, wall_ms};

const DOCUMENT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/api/openapi_3.1_golden.yaml");
const PREFIXES: [&str; 3] = ["", "/prometheus", "/api/prom"];
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// Path in the document, and the same as it is called, by each method that the document has but those
/// of bodies and changes.
const CALLS: &[(&str, &str)] = &[
    ("/query", "query?query=up"),
    ("/query", "query?query=up[10m]"),
    ("/query", "query?query=1&stats=all"),
    ("/query", "query?query=nothing"),
    ("/query", "query?query=up&limit=1"),
    ("/query_range", "query_range?query=up&start=1699999000&end=1700000000&step=60"),
    (
        "/query_range",
        "query_range?query=rate(up[5m])&start=1699999000&end=1700000000&step=60&stats=true",
    ),
    ("/query_exemplars", "query_exemplars?query=up"),
    ("/format_query", "format_query?query=sum(up)by(job)"),
    ("/parse_query", "parse_query?query=sum(up)by(job)"),
    ("/labels", "labels"),
    ("/labels", "labels?limit=1"),
    ("/label/{name}/values", "label/job/values"),
    ("/series", "series?match[]=up"),
    ("/metadata", "metadata"),
    ("/scrape_pools", "scrape_pools"),
    ("/targets", "targets"),
    ("/targets/metadata", "targets/metadata"),
    ("/rules", "rules"),
    ("/alerts", "alerts"),
    ("/alertmanagers", "alertmanagers"),
    ("/status/config", "status/config"),
    ("/status/runtimeinfo", "status/runtimeinfo"),
    ("/status/buildinfo", "status/buildinfo"),
    ("/status/flags", "status/flags"),
    ("/status/tsdb", "status/tsdb"),
    ("/status/walreplay", "status/walreplay"),
    ("/notifications", "notifications"),
    ("/features", "features"),
];

/// Calls that are refused, and the path whose default answer the refusal has to be.
const REFUSED: &[(&str, &str)] = &[
    ("/query", "query?query=sum("),
    ("/query_range", "query_range?query=up&start=2&end=1&step=1"),
    ("/labels", "labels?match[]={"),
    ("/series", "series"),
    ("/status/tsdb", "status/tsdb?limit=0"),
    ("/status/tsdb", "status/tsdb?limit=10001"),
    ("/rules", "rules?type=x"),
];

struct Document(Json);

impl Document {
    fn read() -> Self {
        let text = std::fs::read_to_string(DOCUMENT).unwrap();
        Self(serde_saphyr::from_str(&text).unwrap())
    }

    fn schema(&self, path: &str, method: &str, answer: &str) -> &Json {
        let schema = &self.0["paths"][path][method]["responses"][answer]["content"]["application/json"]
            ["schema"];
        assert!(schema.is_object(), "the document has {method} {path} {answer}");
        schema
    }

    /// The methods that a path has.
    fn methods(&self, path: &str) -> Vec<String> {
        let methods = self.0["paths"][path].as_object().into_iter().flatten();
        let methods: Vec<String> = methods.map(|(method, _)| method.clone()).collect();
        let is_method = |method: &String| ["get", "post", "put", "delete"].contains(&&**method);
        methods.into_iter().filter(is_method).collect()
    }

    fn all_methods(&self) -> BTreeSet<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap().keys();
        let of = |path: &String| {
            self.methods(path).into_iter().map(|method| (path.clone(), method)).collect::<Vec<_>>()
        };
        paths.flat_map(of).collect()
    }

    fn check(&self, path: &str, method: &str, status: u16, got: &Response, asked: &str) {
        assert_eq!(got.status, status, "{method} {asked}: {}", got.text());
        assert_eq!(got.header("content-type"), Some("application/json"), "{method} {asked}");
        let mut json = super::json(got);
        if let Some(data) = json["data"].as_object_mut() {
            data.remove("application");
        }
        let schema = self.schema(path, method, &status.to_string());
        assert_eq!(self.fault(schema, &json, asked), None, "{method} {asked}: {}", got.text());
    }

    /// What about `value` is not as `schema` says.
    fn fault(&self, schema: &Json, value: &Json, at: &str) -> Option<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let target = self.0.pointer(name.trim_start_matches('#')).unwrap();
            return self.fault(target, value, at);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[key].as_array() {
                let faults: Vec<String> =
                    choices.iter().filter_map(|one| self.fault(one, value, at)).collect();
                if faults.len() == choices.len() {
                    return Some(faults.join(" and "));
                }
            }
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Some(format!("{at}: {value} is none of {allowed:?}"));
        }
        let is = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("number") => value.is_number(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("boolean") => value.is_boolean(),
            Some(other) => panic!("type {other}"),
            None => true,
        };
        if !is {
            return Some(format!("{at}: {value} is no {}", schema["type"]));
        }
        self.fault_inside(schema, value, at)
    }

    fn fault_inside(&self, schema: &Json, value: &Json, at: &str) -> Option<String> {
        if let Some(items) = value.as_array() {
            let len = items.len() as u64;
            let few = schema["minItems"].as_u64().is_some_and(|min| len < min);
            let many = schema["maxItems"].as_u64().is_some_and(|max| len > max);
            if few || many {
                return Some(format!("{at}: {len} items"));
            }
            let each = items.iter().enumerate();
            return each
                .filter_map(|(index, item)| {
                    self.fault(&schema["items"], item, &format!("{at}[{index}]"))
                })
                .next();
        }
        let fields = value.as_object()?;
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Some(format!("{at}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            let at = format!("{at}.{name}");
            let fault = match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Json::Null, Json::Bool(false)) => Some(format!("{at}: not in the document")),
                (Json::Null, Json::Bool(true) | Json::Null) => None,
                (Json::Null, more) => self.fault(more, field, &at),
                (known, _) => self.fault(known, field, &at),
            };
            if fault.is_some() {
                return fault;
            }
        }
        None
    }
}

/// What changes something, and how it is answered when it is done.
const CHANGES: &[(&str, &str, u16)] = &[
    ("/admin/tsdb/snapshot", "admin/tsdb/snapshot", 200),
    ("/admin/tsdb/delete_series", "admin/tsdb/delete_series?match[]=gone", 204),
    ("/admin/tsdb/clean_tombstones", "admin/tsdb/clean_tombstones", 204),
];

/// What takes a body that is no form, and has no JSON to answer when it was taken.
const BODIES: &[(&str, &str)] = &[("/read", "read"), ("/write", "write"), ("/otlp/v1/metrics", "")];

/// Paths that are 404 on purpose.
const ABSENT: &[&str] = &[
    "/search/metric_names",
    "/search/label_names",
    "/search/label_values",
    "/scrape_pools/config",
    "/targets/relabel_steps",
    "/status/tsdb/blocks",
    "/status/self_metrics",
];

fn start(dir: &tempfile::TempDir, name: &str, is_filled: bool) -> Cumae {
    let config = "self_metrics: false\n";
    let cumae = Launch::new(&dir.path().join(name)).config(config).start();
    if is_filled {
        let (now, then) = (wall_ms(), 1_700_000_000_000);
        let up = |job: &str| Series::new("up", &[("job", job)], &[(then, 1.0), (now, 0.0)]);
        assert_eq!(cumae.push(&[up("a"), up("b")]).status, 204);
        let told = b"# HELP c_total help\n# TYPE c_total counter\nc_total{job=\"a\"} 1\n";
        assert_eq!(cumae.send("POST", "/api/v1/import/prometheus", &[], told).status, 204);
    }
    cumae
}

fn call(cumae: &Cumae, method: &str, prefix: &str, call: &str) -> Response {
    match (method, call.split_once('?')) {
        ("post", Some((path, form))) => {
            let path = format!("{prefix}/api/v1/{path}");
            cumae.send("POST", &path, &[FORM], form.as_bytes())
        }
        (method, _) => {
            cumae.send(&method.to_uppercase(), &format!("{prefix}/api/v1/{call}"), &[], b"")
        }
    }
}

#[test]
fn s12_every_answer_of_sections_4_and_10_under_p_api_v1_validates_against_the_openapi_document_of_prometheus_openapi_3_1_golden_yaml_beside_this_file_up_to_the_keys_marked_ours_and_the_paths_of_section_1_that_are_404_on_purpose()
 {
    let document = Document::read();
    let dir = tempfile::tempdir().unwrap();
    let mut called = BTreeSet::new();
    for (name, is_filled) in [("empty", false), ("filled", true)] {
        let cumae = start(&dir, name, is_filled);
        for prefix in PREFIXES {
            for (path, asked) in CALLS {
                for method in document.methods(path) {
                    let got = call(&cumae, &method, prefix, asked);
                    document.check(path, &method, 200, &got, asked);
                    called.insert((path.to_string(), method));
                }
            }
            for (path, asked, status) in CHANGES {
                for method in document.methods(path) {
                    let got = cumae.send(
                        &method.to_uppercase(),
                        &format!("{prefix}/api/v1/{asked}"),
                        &[],
                        b"",
                    );
                    match status {
                        200 => document.check(path, &method, 200, &got, asked),
                        _ => assert_eq!((got.status, &*got.body), (*status, &b""[..]), "{asked}"),
                    }
                    called.insert((path.to_string(), method));
                }
            }
            for (path, asked) in BODIES {
                let path_called = match *asked {
                    "" => "/api/v1/otlp/v1/metrics".to_owned(),
                    asked => format!("{prefix}/api/v1/{asked}"),
                };
                let packed = compress(b"");
                let body = if *asked == "read" { &packed[..] } else { b"" };
                let headers = if *asked == "read" { &HEADERS[..2] } else { &HEADERS[..1] };
                let got = cumae.send("POST", &path_called, headers, body);
                assert_eq!(got.status / 100, 2, "{path_called}: {}", got.text());
                assert_ne!(got.header("content-type"), Some("application/json"), "{path_called}");
                called.insert((path.to_string(), "post".to_owned()));
            }
            for path in ABSENT {
                for method in document.methods(path) {
                    let got = call(&cumae, &method, prefix, path.trim_start_matches('/'));
                    let told = (got.status, got.text());
                    assert_eq!(told, (404, "404 page not found\n".to_owned()), "{path}");
                    called.insert((path.to_string(), method));
                }
            }
        }
    }
    assert_eq!(called, document.all_methods(), "each of the document was asked");
}

#[test]
fn every_refusal_has_the_documents_shape() {
    let document = Document::read();
    let dir = tempfile::tempdir().unwrap();
    let cumae = start(&dir, "data", false);
    for (path, asked) in REFUSED {
        for method in document.methods(path) {
            let got = call(&cumae, &method, "", asked);
            assert_eq!(got.status, 400, "{asked}: {}", got.text());
            let schema = document.schema(path, &method, "default");
            assert_eq!(document.fault(schema, &super::json(&got), asked), None, "{}", got.text());
        }
    }
}

#[test]
fn the_validator_sees_a_wrong_shape() {
    let document = Document::read();
    let schema = document.schema("/labels", "get", "200");
    for wrong in [
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":[1]}"#,
        r#"{"status":"x","data":[]}"#,
        r#"{"status":"success","data":[],"more":1}"#,
    ] {
        let json: Json = serde_json::from_str(wrong).unwrap();
        assert!(document.fault(schema, &json, "").is_some(), "{wrong}");
    }
}
