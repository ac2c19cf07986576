//! `format_query` and `parse_query`.

use super::support::{Data, Server};
use serde_json::{Value as Json, json};

async fn tree(query: &str) -> Json {
    Server::single(Data::default()).post("parse_query", &[("query", query)]).await.data()
}

fn selector(name: &str) -> Json {
    json!({
        "type": "vectorSelector", "name": name, "offset": 0, "offsetExpr": null, "timestamp": null,
        "startOrEnd": null, "anchored": false, "smoothed": false,
        "matchers": [{"type": "=", "name": "__name__", "value": name}]
    })
}

fn number(text: &str) -> Json {
    json!({"type": "numberLiteral", "val": text})
}

#[tokio::test]
async fn a_binary_expression_is_a_tree_of_two_sides() {
    assert_eq!(
        tree("up / on (job) down").await,
        json!({
            "type": "binaryExpr", "op": "/", "bool": false,
            "matching": {
                "card": "one-to-one", "labels": ["job"], "on": true, "include": [],
                "fillValues": {"lhs": null, "rhs": null}
            },
            "lhs": selector("up"), "rhs": selector("down")
        })
    );
    assert_eq!(
        tree("up > bool 2").await,
        json!({
            "type": "binaryExpr", "op": ">", "bool": true, "matching": null,
            "lhs": selector("up"), "rhs": number("2")
        })
    );
}

#[tokio::test]
async fn a_chain_nests_to_the_left() {
    let pair = |op: &str, lhs: Json, rhs: Json| json!({"type": "binaryExpr", "op": op, "bool": false, "matching": null, "lhs": lhs, "rhs": rhs});
    let inner = pair("-", number("1"), number("2"));
    assert_eq!(tree("1 - 2 + 3 - 4").await, pair("-", pair("+", inner, number("3")), number("4")));
}

#[tokio::test]
async fn every_kind_of_node_has_its_type() {
    assert_eq!(
        tree("topk by (a) (2, x)").await,
        json!({
            "type": "aggregation", "op": "topk", "expr": selector("x"), "param": number("2"),
            "grouping": ["a"], "without": false
        })
    );
    let rate = tree("rate(x[5m] offset 1m)").await;
    assert_eq!(
        rate["func"],
        json!({"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"})
    );
    assert_eq!(rate["args"][0]["type"], "matrixSelector");
    assert_eq!(rate["args"][0]["range"], 300_000);
    assert_eq!(rate["args"][0]["offset"], 60_000);
    let subquery = tree("x[1h:1m] @ 5").await;
    assert_eq!(
        subquery,
        json!({
            "type": "subquery", "expr": selector("x"), "range": 3_600_000, "rangeExpr": null,
            "offset": 0, "offsetExpr": null, "step": 60_000, "stepExpr": null, "timestamp": 5_000, "startOrEnd": null
        })
    );
    assert_eq!(tree("x @ end()").await["startOrEnd"], "end");
    assert_eq!(
        tree("-(x)").await,
        json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": selector("x")}})
    );
    assert_eq!(tree("\"a\\\"b\"").await, json!({"type": "stringLiteral", "val": "a\"b"}));
    assert_eq!(tree("sum(x)").await["param"], Json::Null);
}

/// The tree with all experiments switched on.
fn experimental(query: &str) -> Json {
    let expr = promql::parse(query, promql::ParseOptions::ALL).unwrap();
    serde_json::from_slice(&crate::tree(&expr)).unwrap()
}

#[test]
fn durations_that_are_worked_out_windows_with_edges_and_fill_values_stand_in_the_tree() {
    let number = |val: &str, is_duration: bool| json!({"type": "numberLiteral", "val": val, "duration": is_duration});
    let node = |op: &str, lhs: Json, rhs: Json, wrapped: bool| json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped});
    let none = Json::Null;
    let step = || node("step", none.clone(), none.clone(), false);

    let matrix = experimental("x[5m + step() - 2] offset -step()");
    let sum = node("+", number("300", true), step(), false);
    assert_eq!(matrix["rangeExpr"], node("-", sum, number("2", false), false));
    assert_eq!(matrix["offsetExpr"], node("-", none.clone(), step(), false));
    assert_eq!((&matrix["range"], &matrix["offset"]), (&json!(0), &json!(0)));

    let subquery = experimental("x[(1h):min_of((range() * 2), 1m)]");
    let product =
        node("*", node("range", none.clone(), none.clone(), false), number("2", false), true);
    assert_eq!(subquery["rangeExpr"], node("+", none.clone(), number("3600", true), true));
    assert_eq!(subquery["stepExpr"], node("min_of", product, number("60", true), false));

    let edges = experimental("rate(x[5m] smoothed)")["args"][0].clone();
    assert_eq!((&edges["anchored"], &edges["smoothed"]), (&json!(false), &json!(true)));
    assert_eq!(experimental("increase(x[5m] anchored)")["args"][0]["anchored"], true);

    let filled = experimental("a + on (b) fill_left (1.5) c");
    assert_eq!(filled["matching"]["fillValues"], json!({"lhs": 1.5, "rhs": null}));
}

#[tokio::test]
async fn the_longest_chain_is_written_without_deep_recursion() {
    let query = format!("0{}", "+0".repeat(200_000));
    let got = Server::single(Data::default()).post("parse_query", &[("query", &query)]).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.text().matches("\"binaryExpr\"").count(), 200_000);
    assert_eq!(got.text().matches("\"rhs\"").count(), 200_000);
}

#[tokio::test]
async fn a_query_is_formatted() {
    let server = Server::single(Data::default());
    let query = [("query", "sum  by(job)(rate( x [5m] ))")];
    assert_eq!(server.get("format_query", &query).await.data(), "sum by (job) (rate(x[5m]))");
    assert_eq!(server.post("format_query", &query).await.data(), "sum by (job) (rate(x[5m]))");
    let error = server.get("format_query", &[("query", "sum(")]).await.error();
    assert!(error.2.starts_with("invalid parameter \"query\": 1:5: parse error: "), "{}", error.2);
}
