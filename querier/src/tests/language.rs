//! `format_query` and `parse_query`.

use super::support::{Data, Server};
use serde_json::{Value as Json, json};

async fn tree(query: &str) -> Json {
    Server::single(Data::default()).post("parse_query", &[("query", query)]).await.data()
}

fn selector(name: &str) -> Json {
    json!({
        "type": "vectorSelector", "name": name, "offset": 0, "timestamp": null, "startOrEnd": null,
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
            "matching": {"card": "one-to-one", "labels": ["job"], "on": true, "include": []},
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
            "type": "subquery", "expr": selector("x"), "range": 3_600_000, "offset": 0,
            "step": 60_000, "timestamp": 5_000, "startOrEnd": null
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
