//! The engine against a second implementation of the language, over data and queries made at
//! random; and that implementation against upstream's scripts.

#![expect(clippy::unwrap_used, reason = "it is all test, its helpers too")]

#[path = "random_queries/cached.rs"]
mod cached;

use model::sample::is_stale;
use model::{Matcher, SeriesColumns, TimeRange, TimestampMs};
use promql::{Cancel, EvalParams, Evaluation, Expr, ParseOptions, Query, SeriesSource, parse};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tests::StoreSource;
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

/// Asks the queries of a seed.
fn run_seed(seed: u64) -> Tally {
    let series = data::series(seed);
    let mut source = MemorySource::default();
    series.iter().for_each(|series| source.add(series));
    let naive_data = Data::new(&source.all());
    let mut sharded = source.clone();
    sharded.says_much = true;
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
            tally.failures.push(told(seed, &source, &naive_data, &question));
        }
        if difference(&expr, &want, &engine(&sharded, &expr, &question)).is_some() {
            tally
                .failures
                .push("in shards: ".to_string() + &told(seed, &sharded, &naive_data, &question));
        }
    }
    tally
}

#[test]
fn twenty_thousand_random_queries_are_answered_as_by_the_naive_evaluator_at_once_and_in_shards() {
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
    let rare: Vec<_> = all.answered.counts().iter().filter(|(_, count)| **count < 20).collect();
    assert!(rare.is_empty(), "answered with samples too rarely: {rare:?}");
    assert!(all.with_samples > 10_000, "{} have samples", all.with_samples);
}

/// Asks the same queries of the store, and of the naive evaluator over what should be in it.
fn check_store(seed: u64, when: &str, store: &StoreSource, wanted: &MemorySource) -> usize {
    const QUESTIONS: usize = 250;
    let data = Data::new(&wanted.all());
    let mut queries = Queries::new(seed + 5_000);
    let mut with_samples = 0;
    for _ in 0..QUESTIONS {
        let question = queries.question();
        let (expr, want, have) = both(store, &data, &question);
        with_samples += usize::from(judge::has_samples(&want));
        let is_different = difference(&expr, &want, &have).is_some();
        assert!(!is_different, "{when}: {}", told(seed, store, &data, &question));
    }
    with_samples
}

/// The samples whose place in their column leaves this remainder when halved.
fn half(series: &[SeriesColumns], remainder: usize) -> Vec<SeriesColumns> {
    let part = |of: &SeriesColumns| {
        let mut part = SeriesColumns { labels: of.labels.clone(), ..SeriesColumns::default() };
        for at in (0..of.floats.len()).filter(|at| at % 2 == remainder) {
            part.floats.push_sample(&of.floats.sample(at));
        }
        for at in (0..of.histograms.len()).filter(|at| at % 2 == remainder) {
            part.histograms.push_sample(of.histograms.sample(at));
        }
        part
    };
    series.iter().map(part).collect()
}

#[test]
fn late_writes_compaction_sealing_and_deletes_change_what_they_should_and_nothing_else() {
    let (mut asked, mut with_samples) = (0, 0);
    for seed in 1_000..1_004 {
        let series = data::series(seed);
        let store = StoreSource::new(seed).unwrap();
        let mut wanted = MemorySource::default();
        let mut check = |when: &str, store: &StoreSource, wanted: &MemorySource| {
            with_samples += check_store(seed, when, store, wanted);
            asked += 1;
        };
        store.write(&series, 1).unwrap();
        half(&series, 1).iter().for_each(|series| wanted.add(series));
        check("one half is flushed", &store, &wanted);
        store.write(&series, 0).unwrap();
        half(&series, 0).iter().for_each(|series| wanted.add(series));
        check("the other half came late", &store, &wanted);
        store.compact_and_seal().unwrap();
        check("all is compacted and sealed", &store, &wanted);
        let matcher = Matcher::equal("job", "j1");
        let range = TimeRange::inclusive(TimestampMs(900_000), TimestampMs(1_500_000));
        store.delete(&matcher, range).unwrap();
        wanted.delete(&matcher, range);
        check("something is deleted", &store, &wanted);
        store.compact_and_seal().unwrap();
        check("that is compacted", &store, &wanted);
    }
    assert_eq!(asked, 20);
    assert!(with_samples > 2_000, "only {with_samples} queries were answered with samples");
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
