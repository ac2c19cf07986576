//! The parser against upstream's verdicts (`../shared/promql-parser/cases.jsonl`) and against our
//! own list, which `CUMAE_REWRITE=1 cargo test -p promql` writes anew from what the parser says.

use crate::{ParseOptions, parse, parse_series, pretty};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A path in the shared data, if it is there; in CI it has to be.
fn shared(path: &str) -> Option<PathBuf> {
    let full = root().join("../../shared").join(path);
    if full.exists() {
        return Some(full);
    }
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!is_ci, "{} is missing: in CI it has to be there", full.display());
    println!("{} IS MISSING: WHAT IT HOLDS IS NOT TESTED", full.display());
    None
}

fn cases(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(cases: &[Value]) {
    let mut wrong = 0;
    for case in cases {
        let got = verdict(case["query"].as_str().unwrap());
        if got != *case {
            wrong += 1;
            println!("want {case}\n got {got}\n");
        }
    }
    println!("parser cases: {} of {} pass", cases.len() - wrong, cases.len());
    assert_eq!(wrong, 0, "of {}", cases.len());
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
fn every_upstream_case_has_upstreams_verdict_type_texts_and_error() {
    let Some(path) = shared("promql-parser/cases.jsonl") else { return };
    let cases = cases(&path);
    assert_eq!(cases.len(), 481);
    check(&cases);
}

#[test]
fn our_own_cases_keep_their_verdicts() {
    let path = root().join("testdata/parser_cases.jsonl");
    let mut cases = cases(&path);
    if std::env::var("CUMAE_REWRITE").as_deref() == Ok("1") {
        for case in &mut cases {
            *case = verdict(case["query"].as_str().unwrap());
        }
        let lines: Vec<_> = cases.iter().map(|case| format!("{case}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
    }
    check(&cases);
}

/// The lines of upstream's engine scripts, if they are there.
fn script_lines() -> Vec<String> {
    let Some(folder) = shared("promqltest") else { return Vec::new() };
    let files = std::fs::read_dir(&folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|name| name == "test"));
    let texts = scripts.map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The query of an `eval` line.
fn eval_query(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("eval")?.split_once(' ')?;
    let words = if rest.starts_with("range") { 7 } else { 3 };
    let mut rest = rest;
    for _ in 0..words {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    Some(rest.trim())
}

#[test]
fn every_query_of_the_scripts_parses_and_prints_to_the_same_tree() {
    let lines = script_lines();
    let queries: Vec<_> = lines.iter().filter_map(|line| eval_query(line)).collect();
    for query in &queries {
        let expr = parse(query, ParseOptions::ALL).unwrap_or_else(|e| panic!("{query}: {e}"));
        for text in [expr.to_string(), pretty(&expr).unwrap()] {
            let again = parse(&text, ParseOptions::ALL).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(again.to_string(), expr.to_string(), "{query}");
        }
    }
    println!("{} queries of scripts parse", queries.len());
}

#[test]
fn every_series_the_scripts_load_is_read() {
    let mut series = 0;
    let mut loading = false;
    for line in script_lines() {
        if line.starts_with("load") {
            loading = true;
        } else if line.trim().is_empty() || !line.starts_with([' ', '\t']) {
            loading = false;
        } else if loading && !line.contains("@st") && !line.trim_start().starts_with('#') {
            parse_series(line.trim()).unwrap_or_else(|e| panic!("{line}: {e}"));
            series += 1;
        }
    }
    println!("{series} series of scripts are read");
}
