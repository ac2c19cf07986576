//! The engine against upstream's scripts and answers, and against scripts of our own.
//!
//! Every case has to pass, in every variant.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it is all test, its helpers too"
)]

use model::LabelSet;
use promql::{EvalParams, ParseOptions, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tests::promqltest::{
    Ask, Command, EngineSubject, Outcome, Report, Script, Subject, parse_script, run,
};
use tests::random::census::Census;
use tests::random_series::Numbers;
use tests::{HttpSubject, StoreSubject};
use tests::{compliance, random_query, random_series, shared};

/// The engine over a table, names dropped late or not, with what it fetches at once or in shards.
fn engine(are_names_late: bool, in_shards: bool) -> EngineSubject {
    let mut subject = EngineSubject::upstream();
    subject.params.delayed_name_removal = are_names_late;
    subject.source.says_much = in_shards;
    subject.params.workers = 2;
    subject
}

/// The scripts of a folder by their names.
fn scripts(folder: &Path) -> BTreeMap<String, Script> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of_scripts = paths.filter(|path| path.extension().is_some_and(|it| it == "test"));
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script = parse_script(&fs::read_to_string(&path).unwrap());
        let script = script.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, script)
    };
    of_scripts.map(read).collect()
}

/// The reports of a folder's scripts, with names dropped late or not; scripts whose name ends in the
/// other way are left out.
fn reports(
    folder: &Path,
    are_names_late: bool,
    subject: &mut dyn Subject,
) -> BTreeMap<String, Report> {
    let mut scripts = scripts(folder);
    let other = if are_names_late { "_early.test" } else { "_late.test" };
    scripts.retain(|name, _| !name.ends_with(other));
    scripts.into_iter().map(|(name, script)| (name, run(&script, subject))).collect()
}

/// One line for each case that does not pass: where it stands, and why.
fn not_passing(reports: &BTreeMap<String, Report>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, report) in reports {
        for (line, outcome) in &report.cases {
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed(_) => lines.push(format!("{name}:{line} fails")),
            }
        }
    }
    lines
}

fn print_table(reports: &BTreeMap<String, Report>) {
    let (mut passed, mut total) = (0, 0);
    println!("{:<28}{:>8}{:>8}{:>8}", "script", "passed", "failed", "total");
    for (name, report) in reports {
        let len = report.cases.len();
        let failed = len - report.passed();
        println!("{name:<28}{:>8}{failed:>8}{len:>8}", report.passed());
        (passed, total) = (passed + report.passed(), total + len);
    }
    println!("{:<28}{passed:>8}{:>8}{total:>8}", "all", total - passed);
    for (name, report) in reports {
        for (line, outcome) in &report.cases {
            if let Outcome::Failed(reason) = outcome {
                let reason: String = reason.to_string().chars().take(300).collect();
                println!("{name}:{line} {reason}");
            }
        }
    }
}

#[test]
fn upstream_scripts_pass_at_once_and_in_shards() {
    let Some(folder) = shared::folder("promqltest") else {
        println!("../shared/promqltest IS MISSING: only our own scripts are run");
        return;
    };
    for in_shards in [false, true] {
        check_upstream(&folder, &mut engine(true, in_shards));
    }
}

#[test]
fn upstream_scripts_pass_over_a_store_that_has_flushed_compacted_and_sealed() {
    let Some(folder) = shared::folder("promqltest") else {
        println!("../shared/promqltest IS MISSING: only our own scripts are run");
        return;
    };
    check_upstream(&folder, &mut StoreSubject::upstream().unwrap());
}

#[test]
fn upstream_scripts_pass_over_http() {
    let Some(folder) = shared::folder("promqltest") else {
        println!("../shared/promqltest IS MISSING: only our own scripts are run");
        return;
    };
    // A tenant for each scenario, all of one process.
    let dir = tempfile::tempdir().unwrap();
    check_upstream(&folder, &mut HttpSubject::upstream(dir.path()));
}

fn check_upstream(folder: &Path, subject: &mut dyn Subject) {
    let reports = reports(folder, true, subject);
    print_table(&reports);
    assert_eq!(not_passing(&reports), Vec::<String>::new());
    let cases: usize = reports.values().map(|report| report.cases.len()).sum();
    assert_eq!(cases, 1_439);
}

#[test]
fn our_own_scripts_pass_with_names_dropped_late_and_at_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../promql/testdata");
    for (are_names_late, in_shards) in [(true, false), (false, false), (true, true), (false, true)]
    {
        let reports = reports(&folder, are_names_late, &mut engine(are_names_late, in_shards));
        assert!(reports.len() > 4);
        print_table(&reports);
        assert_eq!(not_passing(&reports), Vec::<String>::new());
    }
}

#[test]
fn our_own_scripts_ask_for_every_function_aggregation_operator_and_modifier() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../promql/testdata");
    let mut census = Census::new();
    for command in scripts(&folder).into_values().flat_map(|script| script.commands) {
        if let Command::Eval(case) = command {
            census.count(&promql::parse(&case.query, ParseOptions::ALL).unwrap());
        }
    }
    let missing: Vec<_> = census.counts().iter().filter(|(_, count)| **count == 0).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn compliance_queries_are_answered_as_upstream_does() {
    let mut subject = EngineSubject::upstream();
    subject.params = EvalParams::instant(0);
    subject.options = ParseOptions::default();
    check_compliance(&mut subject);
}

#[test]
fn s9_its_promql_queries_agree_with_prometheus_within_1e_5_with_no_tweaks() {
    let dir = tempfile::tempdir().unwrap();
    check_compliance(&mut HttpSubject::default(dir.path()));
}

fn check_compliance(subject: &mut dyn Subject) {
    let Some(folder) = shared::folder("promql-compliance") else {
        println!("../shared/promql-compliance IS MISSING: its 322 queries are not asked");
        return;
    };
    let (asked, faults) = compliance::faults(&folder, subject);
    println!("compliance: {} of {asked} queries", asked - faults.len());
    assert_eq!((asked, faults), (322, Vec::new()));
}

/// Queries whose value at a step depends on that step alone.
const STEPWISE: &[&str] = &[
    "a",
    "a offset 1m",
    "a offset -90s",
    "a @ 600",
    "-a + 1",
    "rate(a[2m])",
    "increase(a[5m] offset 30s)",
    "delta(a[70s])",
    "irate(a[3m])",
    "idelta(a[3m])",
    "sum_over_time(a[2m])",
    "avg_over_time(a[10m])",
    "min_over_time(a[4m])",
    "max_over_time(a[4m])",
    "ts_of_max_over_time(a[4m])",
    "ts_of_min_over_time(a[4m])",
    "count_over_time(a[47s])",
    "stddev_over_time(a[3m])",
    "quantile_over_time(0.3, a[3m])",
    "mad_over_time(a[3m])",
    "last_over_time(a[3m])",
    "first_over_time(a[3m])",
    "changes(a[5m])",
    "resets(a[9m])",
    "deriv(a[3m])",
    "predict_linear(a[3m], 60)",
    "double_exponential_smoothing(a[3m], 0.4, 0.6)",
    "absent_over_time(a{job=\"j1\", instance=\"i1\"}[30s])",
    "absent(a{instance=\"i2\"})",
    "rate(a[3m] anchored)",
    "increase(a[3m] smoothed)",
    "a smoothed",
    "timestamp(a)",
    "sum by (job) (rate(a[2m]))",
    "avg without (instance) (a)",
    "stdvar(a)",
    "max by (job) (a)",
    "min(a)",
    "count by (instance) (a > 100)",
    "quantile by (job) (0.7, a)",
    "topk by (job) (2, a)",
    "bottomk(scalar(count(b)) - 5, a)",
    "limitk(3, a)",
    "limit_ratio(0.5, a)",
    "count_values by (job) (\"v\", clamp_max(a, 3))",
    "a + b",
    "a / on (job, instance) group_left b",
    "a > bool b",
    "a < b",
    "a * on (job) group_left sum by (job) (b)",
    "a and b > 200",
    "a unless on (instance) b < 300",
    "a > 500 or b > 200 or vector(1)",
    "a + on (job, instance) fill (0) b",
    "a - on (job, instance) fill_left (7) b",
    "scalar(a{job=\"j0\", instance=\"i0\"})",
    "max_over_time(sum by (job) (a)[5m:20s])",
    "rate(max_over_time(a[1m])[5m:30s] offset 10s)",
    "sum_over_time((a > 100)[3m:])",
    "label_replace(a, \"x\", \"$1\", \"instance\", \"i(.)\")",
    "hour(a) + scalar(minute()) + time()",
    "round(a, 7) % 5",
    "histogram_quantile(0.5, label_replace(a, \"le\", \"$1\", \"instance\", \"i(.)\"))",
    "histogram_quantile(0.5, label_replace(a, \"le\", \"+Inf\", \"instance\", \"i3\"))",
];

/// The samples of a matrix at one time.
fn at_step(value: &Value, time: i64) -> BTreeMap<LabelSet, f64> {
    let Value::Matrix(matrix) = value else { panic!("{value:?}") };
    let mut found = BTreeMap::new();
    for series in matrix {
        if let Ok(index) = series.floats.timestamps_ms.binary_search(&time) {
            found.insert(series.labels.clone(), series.floats.values[index]);
        }
    }
    found
}

/// Whether both hold the same series with the same values, up to `tolerance`.
fn same(a: &BTreeMap<LabelSet, f64>, b: &BTreeMap<LabelSet, f64>, tolerance: f64) -> bool {
    let same = |a: f64, b: f64| {
        a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * (a.abs() + b.abs())
    };
    a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| same(*a, *b))
}

/// What an instant query answers, as a step of a range query would.
fn at_instant(value: Value) -> BTreeMap<LabelSet, f64> {
    match value {
        Value::Vector(vector) => vector.into_iter().map(|of| (of.labels, of.value)).collect(),
        Value::Scalar { value, .. } => [(LabelSet::default(), value)].into(),
        other => panic!("{other:?}"),
    }
}

/// Asks for a range and for each of its steps; the samples of the range, none if it fails.
fn check_steps(subject: &EngineSubject, query: &str, step_ms: i64, tolerance: f64) -> usize {
    const START_MS: i64 = 30_000;
    let range = Ask { query, start_ms: START_MS, end_ms: UNTIL_MS, step_ms };
    let Ok(range) = subject.evaluate(range) else { return 0 };
    let mut samples = 0;
    let mut time = START_MS;
    while time <= UNTIL_MS {
        let ask = Ask { query, start_ms: time, end_ms: time, step_ms: 0 };
        let want =
            subject.evaluate(ask).unwrap_or_else(|error| panic!("{query} at {time}: {error}"));
        let have = at_step(&range.value, time);
        samples += have.len();
        let want = at_instant(want.value);
        assert!(same(&have, &want, tolerance), "{query} at {time}:\n{have:?}\n{want:?}");
        time += step_ms;
    }
    samples
}

const UNTIL_MS: i64 = 3_600_000;

/// Two metrics over an hour.
fn random_subject(seed: u64) -> EngineSubject {
    let mut subject = EngineSubject::upstream();
    subject.params.limits.samples_max = 1_000_000;
    subject.params.delayed_name_removal = seed.is_multiple_of(2);
    subject.load(&random_series::series("a", seed, UNTIL_MS)).unwrap();
    subject.load(&random_series::series("b", seed + 100, UNTIL_MS)).unwrap();
    subject
}

#[test]
fn every_step_of_a_range_query_is_the_instant_query_of_its_time() {
    let mut answered = BTreeMap::new();
    for seed in 1..=4 {
        let subject = random_subject(seed);
        for query in STEPWISE {
            // Sums over windows that overlap are put together of parts: the last digit may differ.
            let is_sum = ["sum_over_time", "avg_over_time"].iter().any(|name| query.contains(name));
            let tolerance = if is_sum { 4.0 * f64::EPSILON } else { 0.0 };
            *answered.entry(*query).or_insert(0) += check_steps(&subject, query, 37_000, tolerance);
        }
    }
    let silent: Vec<_> = answered.iter().filter(|(_, samples)| **samples == 0).collect();
    assert!(silent.is_empty(), "nothing is compared by {silent:?}");
}

#[test]
fn so_is_every_step_of_a_query_made_at_random() {
    // The order of series may differ between both, and with it the last digit of a sum.
    let mut answered = 0;
    for seed in 1..=4 {
        let subject = random_subject(seed);
        let mut numbers = Numbers::new(seed);
        for _ in 0..150 {
            let query = random_query::vector(&mut numbers, 4).replace("end()", "3000");
            answered += usize::from(check_steps(&subject, &query, 311_000, 1e-9) > 0);
        }
    }
    assert!(answered > 150, "only {answered} of 600 queries were answered with samples");
}
