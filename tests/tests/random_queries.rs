//! The engine against a second implementation of the language, over data and queries made at
//! random; and that implementation against upstream's scripts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it is all test, its helpers too"
)]

use promql::{Cancel, EvalParams, Expr, ParseOptions, Query, parse};
use std::fs;
use std::path::Path;
use tests::memory::MemorySource;
use tests::naive::{self, Data, NaiveSubject};
use tests::promqltest::{Outcome, parse_script, run};
use tests::random::census::Census;
use tests::random::data;
use tests::random::judge::{self, Outcome as Answered, difference};
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
                let reason: String = reason.chars().take(400).collect();
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

/// So many seeds, each with data of its own …
const SEEDS: u64 = 40;
/// … and so many queries.
const QUERIES: usize = 500;

#[derive(Default)]
struct Tally {
    census: Census,
    /// Of queries that were answered with samples.
    answered: Census,
    refused: usize,
    failed: usize,
    with_samples: usize,
    failures: Vec<String>,
}

/// Asks both.
fn both(source: &MemorySource, data: &Data, question: &Question) -> (Expr, Answered, Answered) {
    let expr = parse(&question.text, ParseOptions::ALL).unwrap();
    let want = naive::evaluate(data, &question.text, &expr, &question.params);
    let query = Query { text: &question.text, expr: &expr };
    let have = promql::evaluate(source, query, &question.params, &Cancel::default());
    (expr, want, have.map_err(|error| error.to_string()))
}

/// The shortest part of a query that shows a difference.
fn shrunk(source: &MemorySource, data: &Data, question: &Question) -> (Question, String) {
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

/// Asks the queries of a seed.
fn run_seed(seed: u64) -> Tally {
    let series = data::series(seed);
    let mut source = MemorySource::default();
    series.iter().for_each(|series| source.add(series));
    let naive_data = Data::new(&source.all());
    let mut queries = Queries::new(seed);
    let mut tally = Tally { census: Census::new(), answered: Census::new(), ..Tally::default() };
    for _ in 0..QUERIES {
        let question = queries.question();
        if parse(&question.text, ParseOptions::ALL).is_err() {
            tally.refused += 1;
            continue;
        }
        let (expr, want, have) = both(&source, &naive_data, &question);
        tally.census.count(&expr);
        tally.failed += usize::from(want.is_err());
        if judge::has_samples(&want) {
            tally.with_samples += 1;
            tally.answered.count(&expr);
        }
        if difference(&expr, &want, &have).is_some() {
            let (question, reason) = shrunk(&source, &naive_data, &question);
            let Question { text, params } = question;
            let EvalParams { start_ms, end_ms, step_ms, .. } = params;
            let (late, lookback_ms) = (params.delayed_name_removal, params.lookback_ms);
            tally.failures.push(format!(
                "seed {seed}, {start_ms} to {end_ms} by {step_ms}, names late {late}, lookback \
                 {lookback_ms}\n  {text}\n{reason}"
            ));
        }
    }
    tally
}

#[test]
fn twenty_thousand_random_queries_are_answered_as_by_the_naive_evaluator() {
    let mut all = Tally { census: Census::new(), answered: Census::new(), ..Tally::default() };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let half = |part: u64| {
            move || (0..SEEDS).filter(|s| s % 2 == part).map(run_seed).collect::<Vec<_>>()
        };
        let threads = [scope.spawn(half(0)), scope.spawn(half(1))];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for tally in tallies {
        all.census.merge(&tally.census);
        all.answered.merge(&tally.answered);
        all.refused += tally.refused;
        all.failed += tally.failed;
        all.with_samples += tally.with_samples;
        all.failures.extend(tally.failures);
    }
    let Tally { refused, failed, with_samples, .. } = &all;
    println!("{refused} do not parse, {failed} fail, {with_samples} have samples");
    for (name, count) in all.census.counts() {
        println!("{name:<32}{count:>8}{:>8}", all.answered.counts()[name]);
    }
    let len = all.failures.len();
    let first: Vec<String> = all.failures.into_iter().take(400).collect();
    assert!(first.is_empty(), "{len} differ:\n{}", first.join("\n\n"));
    let rare: Vec<_> = all.census.counts().iter().filter(|(_, count)| **count < 50).collect();
    assert!(rare.is_empty(), "drawn too rarely: {rare:?}");
}
