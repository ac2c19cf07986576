//! The parser against upstream's verdicts: `../shared/promql-parser/cases.jsonl`, or our own short
//! list where that folder is missing.

use promql::{ParseOptions, parse, pretty};
use serde_json::Value;
use std::path::PathBuf;

fn cases() -> Vec<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../../shared/promql-parser/cases.jsonl");
    let path = if shared.exists() {
        shared
    } else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{} is missing: in CI the whole list has to run",
            shared.display()
        );
        println!("{} is missing: OUR OWN SHORT LIST RUNS INSTEAD", shared.display());
        root.join("testdata/parser_cases.jsonl")
    };
    let text = std::fs::read_to_string(&path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What we say about the query of a case, in the form of the case.
fn verdict(query: &str) -> Value {
    match parse(query, ParseOptions::ALL) {
        Err(error) => serde_json::json!({
            "query": query, "ok": false, "error": error.to_string(),
        }),
        Ok(expr) => serde_json::json!({
            "query": query,
            "ok": true,
            "type": expr.value_type().as_str(),
            "string": expr.to_string(),
            "pretty": pretty(&expr).unwrap(),
            "ok_without_experimental": parse(query, ParseOptions::NONE).is_ok(),
        }),
    }
}

#[test]
fn every_case_has_upstreams_verdict_type_texts_and_error() {
    let cases = cases();
    let mut wrong = 0;
    for case in &cases {
        let got = verdict(case["query"].as_str().unwrap());
        if got != *case {
            wrong += 1;
            println!("want {case}\n got {got}\n");
        }
    }
    println!("parser cases: {} of {} pass", cases.len() - wrong, cases.len());
    assert_eq!(wrong, 0, "of {}", cases.len());
}
