//! The engine against a second implementation of the language, over data and queries made at
//! random; and that implementation against upstream's scripts.

#![expect(clippy::unwrap_used, reason = "it is all test, its helpers too")]

#[path = "random_queries/cached.rs"]
mod cached;
#[path = "random_queries/twenty_thousand.rs"]
mod twenty_thousand;

use model::sample::is_stale;
use promql::{Cancel, EvalParams, Evaluation, Expr, ParseOptions, Query, SeriesSource, parse};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tests::memory::MemorySource;
use tests::naive::{self, Data, NaiveSubject};
use tests::promqltest::{Outcome, parse_script, run};
use tests::random::data;
use tests::random::judge::{Outcome as Answered, difference};
use tests::random::queries::{Queries, Question};
use tests::shared;

/// Failed cases of the scripts in a folder, and how many passed.
fn failures(folder: &Path, are_names_late: bool) -> (Vec<String>, usize) {
    let (mut failures, mut passed) = (Vec::new(), 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let other = if are_names_late { "_early.test" } else { "_late.test" };
        if !name.ends_with(".test") || name.ends_with(other) {
            continue;
        }
        let script = parse_script(&fs::read_to_string(&path).unwrap()).unwrap();
        let report = run(&script, &mut NaiveSubject::new(are_names_late));
        passed += report.passed();
        for (line, outcome) in report.cases {
            if let Outcome::Failed(reason) = outcome {
                let reason: String = reason.to_string().chars().take(400).collect();
                failures.push(format!("{name}:{line} {reason}"));
            }
        }
    }
    (failures, passed)
}

#[test]
fn the_naive_evaluator_passes_upstreams_scripts() {
    let Some(folder) = shared::folder("promqltest") else {
        println!("../shared/promqltest IS MISSING: only our own scripts are run");
        return;
    };
    let (failures, passed) = failures(&folder, true);
    println!("{passed} cases pass");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_naive_evaluator_passes_our_own_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../promql/testdata");
    for are_names_late in [true, false] {
        let (failures, passed) = failures(&folder, are_names_late);
        assert!(passed > 100, "only {passed} cases");
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}

/// Asks both. Whoever can be asked for series can stand beneath the engine.
fn both(source: &dyn SeriesSource, data: &Data, question: &Question) -> (Expr, Answered, Answered) {
    let expr = parse(&question.text, ParseOptions::ALL).unwrap();
    let want = naive::evaluate(data, &question.text, &expr, &question.params);
    let have = engine(source, &expr, question);
    (expr, want, have)
}

/// Asks the engine.
fn engine(source: &dyn SeriesSource, expr: &Expr, question: &Question) -> Answered {
    let query = Query { text: &question.text, expr };
    let answer = promql::evaluate(source, query, &question.params, &Cancel::default());
    answer.map_err(|error| error.to_string())
}

/// The shortest part of a query that shows a difference.
fn shrunk(source: &dyn SeriesSource, data: &Data, question: &Question) -> (Question, String) {
    let mut best = question.clone();
    let mut reason = String::new();
    let mut texts = vec![question.text.clone()];
    let expr = parse(&question.text, ParseOptions::ALL).unwrap();
    parts(&expr, &mut |part| {
        let span = part.span();
        texts.push(question.text[span.start as usize..span.end as usize].to_string());
    });
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    for text in texts {
        if parse(&text, ParseOptions::ALL).is_err() {
            continue;
        }
        let mut steps = vec![question.params.clone()];
        let mut time = question.params.start_ms;
        while question.params.step_ms > 0 && time <= question.params.end_ms {
            let params =
                EvalParams { start_ms: time, end_ms: time, step_ms: 0, ..question.params.clone() };
            steps.push(params);
            time += question.params.step_ms;
        }
        for params in steps {
            let smaller = Question { text: text.clone(), params };
            let (expr, want, have) = both(source, data, &smaller);
            if let Some(difference) = difference(&expr, &want, &have) {
                (best, reason) = (smaller, difference);
            }
        }
    }
    (best, reason)
}

fn parts(expr: &Expr, each: &mut dyn FnMut(&Expr)) {
    each(expr);
    match expr {
        Expr::Subquery(node) => parts(&node.expr, each),
        Expr::Call(node) => node.args.iter().for_each(|arg| parts(arg, each)),
        Expr::Aggregation(node) => {
            parts(&node.expr, each);
            node.param.iter().for_each(|param| parts(param, each));
        }
        Expr::Binary(node) => {
            parts(&node.first, each);
            node.links.iter().for_each(|link| parts(&link.rhs, each));
        }
        Expr::Unary(node) => parts(&node.expr, each),
        Expr::Paren(node) => parts(&node.expr, each),
        _ => {}
    }
}

/// What differs, as short as can be.
fn told(seed: u64, source: &dyn SeriesSource, data: &Data, question: &Question) -> String {
    let (Question { text, params }, reason) = shrunk(source, data, question);
    let EvalParams { start_ms, end_ms, step_ms, lookback_ms, .. } = params;
    let flags = [
        ("names late", params.delayed_name_removal),
        ("starts", params.use_start_timestamps),
        ("types", params.type_and_unit_labels),
    ];
    format!(
        "seed {seed}, {start_ms} to {end_ms} by {step_ms}, lookback {lookback_ms}, {flags:?}\n  \
         {text}\n{reason}"
    )
}

/// How many queries show that something is wrong with who answers.
fn caught(source: &MemorySource, wrong: impl Fn(&Expr, &Question) -> Answered) -> usize {
    let data = Data::new(&source.all());
    let mut queries = Queries::new(7);
    let is_caught = |_: &usize| {
        let question = queries.question();
        let expr = parse(&question.text, ParseOptions::ALL).unwrap();
        let want = naive::evaluate(&data, &question.text, &expr, &question.params);
        difference(&expr, &want, &wrong(&expr, &question)).is_some()
    };
    (0..2_000).filter(is_caught).count()
}

/// `tests/external/plant_engine_bugs.py` breaks the engine in these ways and asks the queries above.
#[test]
fn every_bug_that_can_be_planted_has_its_place_in_the_engine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("external/engine_bugs.json")).unwrap();
    let plants: Vec<BTreeMap<String, String>> = serde_json::from_str(&text).unwrap();
    assert!(plants.len() >= 8);
    for plant in plants {
        let source = fs::read_to_string(root.join("../promql/src").join(&plant["file"])).unwrap();
        assert_eq!(source.matches(&plant["right"]).count(), 1, "{plant:?}");
        assert_ne!(plant["right"], plant["wrong"]);
    }
}

#[test]
fn an_engine_that_is_a_little_wrong_is_caught() {
    let mut source = MemorySource::default();
    data::series(7).iter().for_each(|series| source.add(series));
    let with = |change: fn(&mut EvalParams)| {
        caught(&source, |expr, question| {
            let mut question = question.clone();
            change(&mut question.params);
            engine(&source, expr, &question)
        })
    };
    assert_eq!(with(|_| {}), 0, "a right one is not");
    assert!(with(|params| params.lookback_ms -= 1_000) > 0, "it looks back a second less");
    assert!(with(|params| params.subquery_step_ms += 1_000) > 0, "its subqueries step wrongly");
    let late = |params: &mut EvalParams| params.delayed_name_removal ^= true;
    assert!(with(late) > 0, "names are dropped at the wrong time");
    assert!(with(|params| params.use_start_timestamps ^= true) > 0, "starts are looked at");
    let silent = caught(&source, |expr, question| {
        let evaluation = engine(&source, expr, question)?;
        Ok(Evaluation { infos: Vec::new(), ..evaluation })
    });
    assert!(silent > 0, "infos are lost");
    let mut without_ends = MemorySource::default();
    for mut series in source.all() {
        for value in &mut series.floats.values {
            *value = if is_stale(*value) { 0.0 } else { *value };
        }
        without_ends.add(&series);
    }
    let deaf = caught(&source, |expr, question| engine(&without_ends, expr, question));
    assert!(deaf > 0, "stale markers are taken for numbers");
}
