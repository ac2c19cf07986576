//! The engine against upstream's scripts and answers, and against scripts of our own.
//!
//! What does not pass yet is listed by name in `not_yet_passing.txt` beside this file. The list has
//! to be exact: a case that begins to fail and one that begins to pass both fail the test. With
//! `UPDATE_EXPECTED=1` in the environment the list is written anew instead.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it is all test, its helpers too"
)]

use promql::{EvalParams, ParseOptions};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tests::promqltest::{Ask, EngineSubject, Outcome, Report, evaluate, parse_script, run};
use tests::{compliance, shared};

const LIST: &str = "tests/not_yet_passing.txt";

fn reports(folder: &Path) -> BTreeMap<String, Report> {
    let mut reports = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script = parse_script(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        reports.insert(name, run(&script, &mut EngineSubject::upstream()));
    }
    reports
}

/// One line for each case that does not pass: where it stands, and why.
fn not_passing(reports: &BTreeMap<String, Report>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, report) in reports {
        for (line, outcome) in &report.cases {
            match outcome {
                Outcome::Passed => {}
                Outcome::Histograms => lines.push(format!("{name}:{line} native histograms")),
                Outcome::Failed(_) => lines.push(format!("{name}:{line} fails")),
            }
        }
    }
    lines
}

fn print_table(reports: &BTreeMap<String, Report>) {
    let (mut passed, mut total) = (0, 0);
    println!("{:<28}{:>8}{:>8}{:>12}{:>8}", "script", "passed", "failed", "histograms", "total");
    for (name, report) in reports {
        let histograms = report.cases.iter().filter(|(_, of)| matches!(of, Outcome::Histograms));
        let histograms = histograms.count();
        let failed = report.cases.len() - report.passed() - histograms;
        let len = report.cases.len();
        println!("{name:<28}{:>8}{failed:>8}{histograms:>12}{len:>8}", report.passed());
        (passed, total) = (passed + report.passed(), total + len);
    }
    println!("{:<28}{passed:>8}{:>28}", "all", total);
    for (name, report) in reports {
        for (line, outcome) in &report.cases {
            if let Outcome::Failed(reason) = outcome {
                let reason: String = reason.chars().take(300).collect();
                println!("{name}:{line} {reason}");
            }
        }
    }
}

#[test]
fn upstream_scripts_pass_but_for_the_listed_cases() {
    let Some(folder) = shared::folder("promqltest") else {
        println!("../shared/promqltest IS MISSING: only our own scripts are run");
        return;
    };
    let reports = reports(&folder);
    print_table(&reports);
    let have = not_passing(&reports);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(LIST);
    if std::env::var("UPDATE_EXPECTED").is_ok() {
        fs::write(&path, have.join("\n") + "\n").unwrap();
        return;
    }
    let listed = fs::read_to_string(&path).unwrap();
    let listed: Vec<&str> = listed.lines().collect();
    let worse: Vec<&String> = have.iter().filter(|line| !listed.contains(&line.as_str())).collect();
    assert!(worse.is_empty(), "these cases passed before: {worse:#?}");
    let better: Vec<&&str> =
        listed.iter().filter(|line| !have.iter().any(|have| have == *line)).collect();
    assert!(better.is_empty(), "these cases pass now, take them off the list: {better:#?}");
}

#[test]
fn our_own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../promql/testdata");
    let reports = reports(&folder);
    assert!(!reports.is_empty());
    print_table(&reports);
    assert_eq!(not_passing(&reports), Vec::<String>::new());
}

#[test]
fn compliance_queries_are_answered_as_upstream_does() {
    let Some(folder) = shared::folder("promql-compliance") else {
        println!("../shared/promql-compliance IS MISSING: its 322 queries are not asked");
        return;
    };
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let source = compliance::source(&compliance::read_data(&read("data.jsonl")));
    let golden = compliance::read_golden(&read("golden.jsonl"));
    let params = EvalParams::instant(0);
    let ask = |query: &str, start_ms, step_ms| {
        let ask = Ask { query, start_ms, end_ms: compliance::END_MS, step_ms };
        evaluate(&source, ask, &params, ParseOptions::default())
    };
    let mut faults = Vec::new();
    for golden in &golden {
        let query = &golden.query;
        let range = ask(query, compliance::START_MS, compliance::STEP_MS);
        let instant = ask(query, compliance::END_MS, 0);
        let checked = golden.check_range(&range).and_then(|()| golden.check_instant(&instant));
        if let Err(reason) = checked {
            faults.push(format!("{query}: {reason}"));
        }
    }
    println!("compliance: {} of {} queries", golden.len() - faults.len(), golden.len());
    assert_eq!((golden.len(), &faults[..]), (322, &[][..] as &[String]));
}
