//! Several tenants read as one, by `X-Scope-OrgID: a|b`.

use super::support::{Data, Got, Memory, Server, encode};
use axum::body::Body;
use axum::http::Request;
use guard::{Limits, Tenancy};
use model::mutation::MetricType;
use serde_json::{Value as Json, json};

fn server() -> Server {
    let of = |value: f64, host: &str| {
        Data::default()
            .series(&[("__name__", "up"), ("host", host)], &[(60, value), (0, value)])
            .exemplars(&[("__name__", "up"), ("host", host)], &[(1, value, host)])
            .metadata("up", MetricType::Gauge, "help")
    };
    let marked = of(3.0, "z").series(&[("__name__", "m"), ("__tenant_id__", "x")], &[(0, 9.0)]);
    let tenants = [("a", of(1.0, "h")), ("b", of(2.0, "h")), ("c", marked)];
    let tenants = tenants.map(|(name, data)| (name.to_owned(), data)).into();
    Server::new(Memory { tenants, ..Memory::default() }, Tenancy::Multi, Limits::default())
}

async fn get(server: &Server, tenants: &str, path: &str, params: &[(&str, &str)]) -> Got {
    let request = Request::get(format!("/api/v1/{path}?{}", encode(params)));
    server.send(request.header("x-scope-orgid", tenants).body(Body::empty()).unwrap()).await
}

async fn values(server: &Server, tenants: &str, query: &str) -> Vec<(Json, String)> {
    let data = get(server, tenants, "query", &[("query", query)]).await.data();
    let rows = data["result"].as_array().unwrap().iter();
    rows.map(|row| (row["metric"].clone(), row["value"][1].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn equal_series_of_two_tenants_are_told_apart_by_a_label() {
    let server = server();
    let of = |tenant: &str| json!({"__name__": "up", "host": "h", "__tenant_id__": tenant});
    let expected = [(of("a"), "1".to_owned()), (of("b"), "2".to_owned())];
    assert_eq!(values(&server, "b|a|b", "up").await, expected);
    assert_eq!(values(&server, "a|b", "up{__tenant_id__=\"b\"}").await, expected[1..]);
    assert_eq!(values(&server, "a|b", "up{__tenant_id__!~\"b|c\"}").await, expected[..1]);
    assert_eq!(values(&server, "a|b", "sum(up)").await, [(json!({}), "3".to_owned())]);
    let alone = [(json!({"__name__": "up", "host": "h"}), "1".to_owned())];
    assert_eq!(values(&server, "a|a", "up").await, alone, "one tenant is not several");
}

#[tokio::test]
async fn a_stored_label_of_that_name_is_kept_under_another() {
    let server = server();
    let of = json!({"__name__": "m", "__tenant_id__": "c", "original___tenant_id__": "x"});
    assert_eq!(values(&server, "a|c", "m").await, [(of.clone(), "9".to_owned())]);
    let query = "m{original___tenant_id__=\"x\"}";
    assert_eq!(values(&server, "a|c", query).await, [(of, "9".to_owned())]);
    assert_eq!(values(&server, "a|c", "m{__tenant_id__=\"x\"}").await, []);
}

#[tokio::test]
async fn labels_series_metadata_exemplars_and_counts_are_of_all_of_them() {
    let server = server();
    let ask =
        async |path: &str, params: &[(&str, &str)]| get(&server, "a|c", path, params).await.data();
    let names = json!(["__name__", "__tenant_id__", "host", "original___tenant_id__"]);
    assert_eq!(ask("labels", &[]).await, names);
    assert_eq!(ask("label/__tenant_id__/values", &[]).await, json!(["a", "c"]));
    assert_eq!(ask("label/__tenant_id__/values", &[("match[]", "m")]).await, json!(["c"]));
    assert_eq!(ask("label/original___tenant_id__/values", &[]).await, json!(["x"]));
    assert_eq!(ask("label/host/values", &[]).await, json!(["h", "z"]));
    let series = ask("series", &[("match[]", "{host=\"h\"}")]).await;
    assert_eq!(series, json!([{"__name__": "up", "host": "h", "__tenant_id__": "a"}]));
    assert_eq!(ask("metadata", &[]).await["up"].as_array().unwrap().len(), 1);
    let exemplars = ask("query_exemplars", &[("query", "up{__tenant_id__=\"c\"}")]).await;
    assert_eq!(exemplars[0]["seriesLabels"]["__tenant_id__"], "c");
    assert_eq!(exemplars.as_array().unwrap().len(), 1);
    assert_eq!(ask("series/count", &[]).await, json!([3]));
}

#[tokio::test]
async fn what_changes_data_and_unknown_names_are_refused() {
    let server = server();
    let delete = Request::post("/api/v1/admin/tsdb/delete_series?match[]=up");
    let got = server.send(delete.header("x-scope-orgid", "a|b").body(Body::empty()).unwrap()).await;
    assert_eq!((got.error().0, got.error().2.as_str()), (400, "multiple org IDs present"));
    assert_eq!(get(&server, "a|b/c", "labels", &[]).await.status, 400);
    assert_eq!(get(&server, "a|b", "rules", &[]).await.data(), json!({"groups": []}));
}
