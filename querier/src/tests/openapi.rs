//! Every answer has the shape that Prometheus' own OpenAPI document gives it.
//!
//! Not held to it: `application` in `buildinfo`, which is ours, and string results, whose time the
//! document calls a string.

use super::support::{Data, Server, filled};
use axum::body::Body;
use axum::http::Request;
use serde_json::Value as Json;

const DOCUMENT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/api/openapi_3.1_golden.yaml");

/// Path in the document, and the same as it is called.
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

    fn schema(&self, path: &str, answer: &str) -> &Json {
        let schema = &self.0["paths"][path]["get"]["responses"][answer]["content"]["application/json"]
            ["schema"];
        assert!(schema.is_object(), "the document has {path} {answer}");
        schema
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

#[tokio::test]
async fn every_answer_has_the_documents_shape() {
    let document = Document::read();
    for server in [Server::single(Data::default()), Server::single(filled())] {
        for (path, call) in CALLS {
            let request = Request::get(format!("/api/v1/{call}")).body(Body::empty());
            let got = server.send(request.unwrap()).await;
            assert_eq!(got.status, 200, "{call}: {}", got.text());
            let mut json = got.json();
            if let Some(data) = json["data"].as_object_mut() {
                data.remove("application");
            }
            let fault = document.fault(document.schema(path, "200"), &json, call);
            assert_eq!(fault, None, "{}", got.text());
        }
    }
}

#[tokio::test]
async fn every_refusal_has_the_documents_shape() {
    let document = Document::read();
    let server = Server::single(Data::default());
    for (path, call) in REFUSED {
        let request = Request::get(format!("/api/v1/{call}")).body(Body::empty());
        let got = server.send(request.unwrap()).await;
        assert_eq!(got.error().0, 400, "{call}");
        let fault = document.fault(document.schema(path, "default"), &got.json(), call);
        assert_eq!(fault, None, "{}", got.text());
    }
}

#[test]
fn the_validator_sees_a_wrong_shape() {
    let document = Document::read();
    let schema = document.schema("/labels", "200");
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
