//! `status/tsdb`, `cardinality/*`, `series/count`.

use super::support::{Data, Memory, NOW_MS, Server, filled, one_tenant};
use guard::Limits;
use serde_json::{Value as Json, json};

/// The contract's example: two series of `up`.
fn two() -> Data {
    Data::default()
        .series(&[("__name__", "up"), ("job", "a"), ("instance", "x")], &[(60, 1.0)])
        .series(&[("__name__", "up"), ("job", "a"), ("instance", "yy")], &[(60, 1.0)])
}

#[tokio::test]
async fn the_contracts_example_of_status_tsdb_is_counted() {
    let json = Server::single(two()).get("status/tsdb", &[("limit", "2")]).await.data();
    let (start, end) = (NOW_MS - 3_600_000, NOW_MS);
    assert_eq!(
        json,
        json!({
            "headStats": {"numSeries": 2, "numLabelPairs": 4, "chunkCount": 0, "minTime": start, "maxTime": end},
            "seriesCountByMetricName": [{"name": "up", "value": 2}],
            "labelValueCountByLabelName": [{"name": "instance", "value": 2}, {"name": "__name__", "value": 1}],
            "memoryInBytesByLabelName": [{"name": "instance", "value": 3}, {"name": "__name__", "value": 2}],
            "seriesCountByLabelValuePair": [{"name": "__name__=up", "value": 2}, {"name": "job=a", "value": 2}],
        })
    );
}

fn metrics(json: &Json) -> Vec<&str> {
    let rows = json["seriesCountByMetricName"].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn any_day_and_any_selector_can_be_looked_at() {
    let server = Server::single(filled());
    let of = async |params: &[(&str, &str)]| server.get("status/tsdb", params).await.data();
    assert_eq!(metrics(&of(&[]).await), ["up", "c_total", "http.requests"]);
    // Ten days before 2023-11-14T22:13:20Z.
    let day = of(&[("date", "2023-11-04")]).await;
    assert_eq!(metrics(&day), ["old"]);
    assert_eq!(day["headStats"]["minTime"], 1_699_056_000_000_i64);
    assert_eq!(day["headStats"]["maxTime"], 1_699_142_399_999_i64);
    assert_eq!(metrics(&of(&[("date", "2023-11-05")]).await), Vec::<&str>::new());
    assert_eq!(metrics(&of(&[("start", "0")]).await), ["up", "c_total", "http.requests", "old"]);
    assert_eq!(
        metrics(&of(&[("match[]", "{job=\"a\"}")]).await),
        ["c_total", "http.requests", "up"]
    );
    for bad in ["2023-13-01", "today", "2023-11-04T00:00:00Z"] {
        let (status, _, text) = server.get("status/tsdb", &[("date", bad)]).await.error();
        assert_eq!(status, 400);
        assert!(text.starts_with("invalid parameter \"date\""), "{text}");
    }
}

#[tokio::test]
async fn the_limits_of_the_number_of_rows_hold_at_and_one_past_their_values() {
    let server = Server::single(two());
    let status = async |path: &str, limit: &str| {
        server.get(path, &[("limit", limit), ("label_names[]", "job")]).await.status.as_u16()
    };
    for (limit, expected) in [("1", 200), ("10000", 200), ("0", 400), ("10001", 400), ("x", 400)] {
        assert_eq!(status("status/tsdb", limit).await, expected, "{limit}");
    }
    for path in ["cardinality/label_names", "cardinality/label_values"] {
        for (limit, expected) in [("0", 200), ("500", 200), ("-1", 400), ("501", 400), ("x", 400)] {
            assert_eq!(status(path, limit).await, expected, "{path} {limit}");
        }
    }
}

#[tokio::test]
async fn labels_are_ranked_by_their_values() {
    let server = Server::single(two());
    let got = server.get("cardinality/label_names", &[]).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(
        got.json(),
        json!({"label_values_count_total": 4, "label_names_count": 3, "cardinality": [
            {"label_name": "instance", "label_values_count": 2},
            {"label_name": "__name__", "label_values_count": 1},
            {"label_name": "job", "label_values_count": 1},
        ]})
    );
    let got =
        server.get("cardinality/label_names", &[("limit", "1"), ("selector", "{instance=\"x\"}")]);
    assert_eq!(
        got.await.json(),
        json!({"label_values_count_total": 3, "label_names_count": 3, "cardinality": [
            {"label_name": "__name__", "label_values_count": 1},
        ]})
    );
    let (status, _, text) =
        server.get("cardinality/label_names", &[("selector", "{")]).await.error();
    assert_eq!(status, 400);
    assert!(text.starts_with("invalid parameter \"selector\""), "{text}");
}

#[tokio::test]
async fn values_are_ranked_by_their_series() {
    let server = Server::single(filled());
    let names = [("label_names[]", "job"), ("label_names[]", "nothing"), ("label_names[]", "job")];
    let got = server.get("cardinality/label_values", &names).await.json();
    assert_eq!(
        got,
        json!({"series_count_total": 4, "labels": [
            {"label_name": "job", "label_values_count": 2, "series_count": 4, "cardinality": [
                {"label_value": "a", "series_count": 3},
                {"label_value": "b", "series_count": 1},
            ]},
            {"label_name": "nothing", "label_values_count": 0, "series_count": 0, "cardinality": []},
        ]})
    );
    let (status, _, text) = server.get("cardinality/label_values", &[]).await.error();
    assert_eq!((status, text.as_str()), (400, "'label_names[]' param is required"));
}

#[tokio::test]
async fn series_are_counted_of_all_times_unless_a_time_is_given() {
    let server = Server::single(filled());
    let count = async |params: &[(&str, &str)]| server.get("series/count", params).await.data();
    assert_eq!(count(&[]).await, json!([5]));
    assert_eq!(count(&[("start", "1699999000")]).await, json!([4]));
    assert_eq!(count(&[("match[]", "up")]).await, json!([2]));
    assert_eq!(Server::single(Data::default()).get("series/count", &[]).await.data(), json!([0]));
}

#[tokio::test]
async fn more_series_than_are_held_at_a_time_are_counted_part_by_part() {
    let mut data = Data::default();
    for number in 0..120_000 {
        data = data.series(&[("__name__", "m"), ("n", &number.to_string())], &[(0, 1.0)]);
    }
    let memory = Memory { tenants: [("default".to_owned(), data)].into(), ..Memory::default() };
    let server = Server::new(memory, one_tenant(), Limits::default());
    let names = [("label_names[]", "n"), ("limit", "0")];
    let got = server.get("cardinality/label_values", &names).await.json();
    assert_eq!(got["series_count_total"], 120_000);
    assert_eq!(got["labels"][0]["label_values_count"], 120_000);
}
