//! Parameters: each rule of CONTRACTS.md 3.3, 3.5 and 4.1, over HTTP.

use super::support::{Data, Got, NOW_MS, Server, encode, filled};
use axum::body::Body;
use axum::http::Request;
use serde_json::json;

fn bad_data(got: &Got) -> String {
    let (status, kind, text) = got.error();
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
    text
}

#[tokio::test]
async fn a_bad_time_is_named_with_its_parameter() {
    let server = Server::single(Data::default());
    for text in ["abc", "2023-11-14", "0x10", "Inf", "NaN", "1e300", " 1"] {
        let got = server.get("query", &[("query", "1"), ("time", text)]).await;
        let refusal = format!(
            "invalid parameter \"time\": invalid time value for 'time': cannot parse {text:?} to a \
             valid timestamp"
        );
        assert_eq!(bad_data(&got), refusal);
        let range = [("query", "1"), ("start", text), ("end", "1"), ("step", "1")];
        let got = server.get("query_range", &range).await;
        let refusal =
            format!("invalid parameter \"start\": cannot parse {text:?} to a valid timestamp");
        assert_eq!(bad_data(&got), refusal);
        for path in ["labels", "label/job/values", "query_exemplars"] {
            let got = server.get(path, &[("query", "up"), ("end", text)]).await;
            assert!(
                bad_data(&got).starts_with("invalid parameter \"end\": invalid time value for")
            );
        }
    }
}

#[tokio::test]
async fn times_are_answered_as_they_were_asked() {
    let server = Server::single(Data::default());
    let table = [
        ("4", json!(4)),
        ("1.5", json!(1.5)),
        ("2023-11-14T22:13:20.25Z", json!(1_700_000_000.25)),
        ("1700000000000", json!(1_700_000_000_000_i64)),
        ("", json!(NOW_MS / 1_000)),
    ];
    for (text, seconds) in table {
        let got = server.get("query", &[("query", "1"), ("time", text)]).await;
        assert_eq!(got.data()["result"], json!([seconds, "1"]), "{text}");
    }
}

#[tokio::test]
async fn the_extreme_times_of_clients_are_all_time() {
    let server = Server::single(filled());
    let range =
        [("start", "-292273086-05-16T16:47:06Z"), ("end", "292277025-08-18T07:12:54.999999999Z")];
    let jobs = server.get("label/job/values", &range).await.data();
    assert_eq!(jobs, json!(["a", "b", "gone"]));
}

#[tokio::test]
async fn a_range_has_a_start_an_end_and_a_step() {
    let server = Server::single(Data::default());
    let ask = async |start: &str, end: &str, step: &str| {
        let params = [("query", "1"), ("start", start), ("end", end), ("step", step)];
        bad_data(&server.get("query_range", &params).await)
    };
    assert_eq!(
        ask("2", "1", "1").await,
        "invalid parameter \"end\": end timestamp must not be before start time"
    );
    let zero = "invalid parameter \"step\": zero or negative query resolution step widths are not \
                accepted. Try a positive integer";
    for step in ["0", "-1", "0s", "0.0001"] {
        assert_eq!(ask("1", "2", step).await, zero, "{step}");
    }
    for step in ["", "1h30", "1x", "abc"] {
        let refusal =
            format!("invalid parameter \"step\": cannot parse {step:?} to a valid duration");
        assert_eq!(ask("1", "2", step).await, refusal);
    }
    assert_eq!(
        ask("1", "2", "1e10").await,
        "invalid parameter \"step\": cannot parse \"1e10\" to a valid duration. It overflows int64"
    );
    assert_eq!(
        ask("", "2", "1").await,
        "invalid parameter \"start\": cannot parse \"\" to a valid timestamp"
    );
}

#[tokio::test]
async fn eleven_thousand_and_one_points_pass_and_one_more_does_not() {
    let server = Server::single(Data::default());
    let ask = async |end: &str| {
        let params = [("query", "1"), ("start", "0"), ("end", end), ("step", "1")];
        server.get("query_range", &params).await
    };
    let points = ask("11000").await.data()["result"][0]["values"].as_array().unwrap().len();
    assert_eq!(points, 11_001);
    for end in ["11001", "292277025-08-18T07:12:54.999999999Z"] {
        assert_eq!(
            bad_data(&ask(end).await),
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)"
        );
    }
}

#[tokio::test]
async fn a_range_query_answers_scalars_and_vectors_only() {
    let server = Server::single(Data::default());
    for (query, name) in [("up[5m]", "range vector"), ("\"a\"", "string")] {
        let params = [("query", query), ("start", "0"), ("end", "1"), ("step", "1")];
        let refusal = format!(
            "invalid parameter \"query\": invalid expression type {name:?} for range query, must be \
             Scalar or instant Vector"
        );
        assert_eq!(bad_data(&server.get("query_range", &params).await), refusal);
    }
    let params = [("query", "7"), ("start", "0"), ("end", "1"), ("step", "1")];
    assert_eq!(
        server.get("query_range", &params).await.data(),
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[0, "7"], [1, "7"]]}]})
    );
}

#[tokio::test]
async fn a_duration_that_the_querys_step_spoils_is_refused_with_its_place() {
    let server = Server::single(filled());
    for path in ["query", "explain"] {
        let (status, kind, text) = server.get(path, &[("query", "rate(up[step()])")]).await.error();
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path}");
        let refusal = "invalid parameter \"query\": 8:14: duration must be greater than 0";
        assert_eq!(text, refusal, "{path}");
    }
}

#[tokio::test]
async fn a_limit_cuts_series_and_says_so() {
    let server = Server::single(filled());
    let warned = async |path: &str, params: &[(&str, &str)]| {
        let got = server.get(path, params).await;
        let json = got.json();
        let data = got.data();
        let rows = data.get("result").unwrap_or(&data).as_array().unwrap().len();
        (rows, json.get("warnings") == Some(&json!(["results truncated due to limit"])))
    };
    let at = |limit: &'static str| [("query", "{job=\"a\"}"), ("limit", limit)];
    assert_eq!(warned("query", &at("2")).await, (2, true));
    assert_eq!(warned("query", &at("3")).await, (3, false));
    assert_eq!(warned("query", &at("0")).await, (3, false));
    let range = |limit: &'static str| {
        [
            ("query", "up"),
            ("start", "1699999000"),
            ("end", "1700000000"),
            ("step", "60"),
            ("limit", limit),
        ]
    };
    assert_eq!(warned("query_range", &range("1")).await, (1, true));
    assert_eq!(warned("query_range", &range("2")).await, (2, false));
    assert_eq!(warned("labels", &[("limit", "2")]).await, (2, true));
    assert_eq!(warned("labels", &[("limit", "4")]).await, (4, false));
    assert_eq!(warned("label/job/values", &[("limit", "1")]).await, (1, true));
    assert_eq!(warned("series", &[("match[]", "up"), ("limit", "1")]).await, (1, true));
    for path in ["query", "labels", "label/job/values", "series"] {
        let got = server.get(path, &[("query", "1"), ("match[]", "up"), ("limit", "-1")]).await;
        assert_eq!(bad_data(&got), "invalid parameter \"limit\": limit must be non-negative");
    }
}

#[tokio::test]
async fn a_lookback_delta_replaces_the_default_for_one_query() {
    let server = Server::single(Data::default().series(&[("__name__", "x")], &[(120, 1.0)]));
    let rows = async |lookback: &str| {
        let got = server.get("query", &[("query", "x"), ("lookback_delta", lookback)]).await;
        got.data()["result"].as_array().unwrap().len()
    };
    assert_eq!((rows("").await, rows("1m").await, rows("150").await), (1, 0, 1));
    let got = server.get("query", &[("query", "x"), ("lookback_delta", "1x")]).await;
    assert_eq!(
        bad_data(&got),
        "error parsing lookback delta duration: cannot parse \"1x\" to a valid duration"
    );
}

#[tokio::test]
async fn stats_come_when_asked_for_and_odd_values_are_warned_about() {
    let server = Server::single(filled());
    let ask = async |stats: &str| server.get("query", &[("query", "up"), ("stats", stats)]).await;
    assert!(ask("").await.data().get("stats").is_none());
    let stats = ask("true").await.data()["stats"].clone();
    let timings = ["evalTotalTime", "resultSortTime", "queryPreparationTime"];
    assert!(timings.iter().all(|key| stats["timings"][key].is_number()), "{stats}");
    assert!(stats["samples"]["peakSamples"].is_u64(), "{stats}");
    assert!(ask("true").await.json().get("warnings").is_none());
    assert_eq!(
        ask("foo").await.json()["warnings"],
        json!([
            "value \"foo\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
        ])
    );
}

#[tokio::test]
async fn a_form_value_beats_the_urls_and_other_bodies_are_ignored() {
    let server = Server::single(Data::default());
    let post = async |content_type: &str, form: &[(&str, &str)]| {
        let request = Request::post("/api/v1/query?query=1&time=7")
            .header("content-type", content_type)
            .body(Body::from(encode(form)));
        server.send(request.unwrap()).await.data()["result"].clone()
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post(form, &[("query", "2")]).await, json!([7, "2"]));
    assert_eq!(post("application/json", &[("query", "2")]).await, json!([7, "1"]));
}

#[tokio::test]
async fn rules_check_what_they_are_asked() {
    let server = Server::single(Data::default());
    let refusal =
        async |key: &str, value: &str| bad_data(&server.get("rules", &[(key, value)]).await);
    assert_eq!(refusal("type", "x").await, "invalid parameter \"type\": not supported value \"x\"");
    assert!(
        refusal("exclude_alerts", "x").await.starts_with("invalid parameter \"exclude_alerts\"")
    );
    assert!(refusal("group_next_token", "x").await.contains("group_limit needs to be present"));
    assert!(refusal("group_limit", "0").await.contains("greater than 0"));
    assert!(refusal("group_limit", "x").await.contains("valid number"));
    assert!(refusal("match[]", "{").await.starts_with("1:2: parse error: "));
    let unknown = [("group_limit", "1"), ("group_next_token", "x")];
    assert!(bad_data(&server.get("rules", &unknown).await).contains("group_next_token"));
    let fine = [
        ("type", "record"),
        ("rule_name[]", "a"),
        ("rule_group[]", "b"),
        ("file[]", "c"),
        ("exclude_alerts", "true"),
        ("match[]", "up"),
        ("group_limit", "1"),
    ];
    assert_eq!(server.get("rules", &fine).await.data(), json!({"groups": []}));
}
