//! `status/metric_names_stats`.

use super::support::{NOW_MS, Server, filled};
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
