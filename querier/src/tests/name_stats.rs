//! `status/metric_names_stats`.

use super::support::{Memory, NOW_MS, Server, filled, one_tenant};
use crate::Settings;
use guard::{Limit, Limits, QueryLimits};
use serde_json::{Value as Json, json};

/// Names and counts, in their order.
fn counts(json: &Json) -> Vec<(&str, u64)> {
    let rows = json["records"].as_array().unwrap().iter();
    rows.map(|row| {
        (row["metricName"].as_str().unwrap(), row["queryRequestsCount"].as_u64().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn metrics_are_ranked_by_how_often_they_are_asked_for_the_least_first() {
    let server = Server::single(filled());
    for query in ["up", "up / up", "sum(rate(c_total[5m])) or gone", "{job=\"a\"}", "1", "up("] {
        server.get("query", &[("query", query)]).await;
    }
    let ask = async |params: &[(&str, &str)]| server.get("status/metric_names_stats", params).await;
    let all = ask(&[]).await.json();
    assert_eq!(
        (all["status"].as_str(), all["statsCollectedRecordsTotal"].as_u64()),
        (Some("success"), Some(5))
    );
    assert_eq!(all["statsCollectedSince"], NOW_MS / 1_000);
    let expected = [("http.requests", 0), ("old", 0), ("c_total", 1), ("gone", 1), ("up", 2)];
    assert_eq!(counts(&all), expected);
    let row = json!({"metricName": "up", "queryRequestsCount": 2, "lastRequestTimestamp": NOW_MS / 1_000});
    assert_eq!(all["records"][4], row);
    assert_eq!(counts(&ask(&[("le", "0"), ("limit", "1")]).await.json()), expected[..1]);
    assert_eq!(counts(&ask(&[("match_pattern", "^c")]).await.json()), expected[2..3]);
    for bad in [("limit", "-1"), ("limit", "x"), ("le", "-1"), ("match_pattern", "(")] {
        assert_eq!(ask(&[bad]).await.error().0, 400, "{bad:?}");
    }
}

#[tokio::test]
async fn more_names_than_a_query_may_read_are_422_and_name_the_limit() {
    for (max_series, status) in [(4, 200), (3, 422)] {
        let query = QueryLimits { max_series: Limit(max_series), ..QueryLimits::default() };
        let tenants = [("default".to_owned(), filled())].into();
        let memory = Memory { tenants, ..Memory::default() };
        let server = Server::new(memory, one_tenant(), Limits { query, ..Limits::default() });
        let got = server.get("status/metric_names_stats", &[]).await;
        assert_eq!(got.status, status, "{}", got.text());
        assert!(status == 200 || got.text().contains("max_query_series"), "{}", got.text());
    }
}

#[tokio::test]
async fn names_are_paid_for_out_of_the_memory_of_queries() {
    let tenants = [("default".to_owned(), filled())].into();
    let memory = Memory { tenants, ..Memory::default() };
    let settings = Settings { memory_bytes: 100, ..Settings::default() };
    let server = Server::with(memory, one_tenant(), Limits::default(), settings);
    let (status, _, text) = server.get("status/metric_names_stats", &[]).await.error();
    assert!(status == 422 && text.contains("query.memory"), "{text}");
}
