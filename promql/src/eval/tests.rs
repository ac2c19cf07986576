//! The engine as a whole: limits, stopping, what is asked of the source, hostile queries.

use super::*;
use crate::source::SourceError;
use crate::{ParseOptions, parse};
use model::Kind;
use model::read::Selection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

/// Answers the same series to every selection and remembers what was asked.
#[derive(Default)]
struct Fixed {
    series: Vec<SeriesColumns>,
    asked: Mutex<Vec<Selection>>,
}

impl Fixed {
    /// Series `m{i="…"}` with a sample every 10 s from 0 to `samples`.
    fn with(series: usize, samples: i64) -> Self {
        let of = |number: usize| {
            let pairs = [("__name__", "m".to_string()), ("i", number.to_string())];
            let mut floats = Column::default();
            (0..samples).for_each(|at| floats.push(at * 10_000, 1.0));
            SeriesColumns {
                labels: LabelSet::from_pairs(pairs).unwrap(),
                floats,
                ..SeriesColumns::default()
            }
        };
        Self { series: (0..series).map(of).collect(), ..Self::default() }
    }
}

impl SeriesSource for Fixed {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        self.asked.lock().unwrap().push(selection.clone());
        Ok(self.series.clone())
    }
}

fn ask(source: &Fixed, text: &str, params: &EvalParams) -> Result<Evaluation, EvalError> {
    ask_with(source, text, params, &Cancel::default())
}

fn ask_with(
    source: &Fixed,
    text: &str,
    params: &EvalParams,
    cancel: &Cancel,
) -> Result<Evaluation, EvalError> {
    let expr = parse(text, ParseOptions::ALL).unwrap();
    evaluate(source, Query { text, expr: &expr }, params, cancel)
}

fn instant(source: &Fixed, text: &str) -> Result<Evaluation, EvalError> {
    ask(source, text, &EvalParams::instant(100_000))
}

#[test]
fn a_selection_is_asked_once_from_just_after_the_open_edge() {
    let source = Fixed::with(1, 20);
    let params = EvalParams::range(600_000, 700_000, 10_000);
    ask(&source, "rate(m[5m]) / rate(m[10m]) + m offset 5m - m @ 650", &params).unwrap();
    let asked = source.asked.lock().unwrap();
    let ranges: Vec<_> = asked.iter().map(|of| (of.range.start.0, of.range.end.0)).collect();
    assert_eq!(ranges, [(1, 700_001)]);
}

#[test]
fn what_a_query_has_twice_is_worked_out_once_and_right_in_both_places() {
    let source = Fixed::with(3, 200);
    let params = EvalParams::range(600_000, 700_000, 10_000);
    let text =
        "sum(sum_over_time(m[1m])) - 2 * sum(sum_over_time(m[1m])) + max(sum_over_time(m[1m]))";
    let other = "sum(sum_over_time(m[60s])) - 2 * sum(sum_over_time(m[1m] offset 0s)) + max(6 * m)";
    let (once, apart) = (ask(&source, text, &params), ask(&source, other, &params));
    assert_eq!(once.unwrap().value, apart.unwrap().value);
    // In a subquery the steps are others, so it is another value.
    let text = "sum(changes(m[1m])) + max_over_time(sum(changes(m[1m]))[5m:30s])";
    assert!(ask(&source, text, &params).is_ok());
}

#[test]
fn what_is_said_of_a_part_is_said_of_its_last_place() {
    let source = Fixed::with(1, 200);
    let text = "sum(rate(m[1m])) / count(rate(m[1m]))";
    let answer = ask(&source, text, &EvalParams::range(600_000, 700_000, 10_000)).unwrap();
    assert!(answer.infos[0].ends_with("(1:31)"), "{:?}", answer.infos);
}

#[test]
fn more_samples_than_the_limit_are_an_error_not_a_cut() {
    let source = Fixed::with(10, 11);
    let mut params = EvalParams::range(0, 100_000, 10_000);
    params.limits.samples_max = 110;
    assert!(ask(&source, "m", &params).is_ok());
    params.limits.samples_max = 109;
    let error = ask(&source, "m", &params).unwrap_err();
    assert_eq!(error.kind(), Kind::Unexecutable);
    assert_eq!(
        error.to_string(),
        "query processing would load too many samples into memory in query execution"
    );
}

#[test]
fn a_subquery_over_a_lifetime_is_refused_before_it_takes_memory() {
    let source = Fixed::with(2, 5);
    let error = instant(&source, "max_over_time(m[200y:1ms])").unwrap_err();
    assert_eq!(error, EvalError::TooManySamples);
}

#[test]
fn a_subquery_that_is_too_large_says_what_makes_it_so() {
    let source = Fixed::with(3, 5);
    let mut params = EvalParams::range(0, 60_000, 10_000);
    params.limits.bytes_max = 1 << 20;
    let error = ask(&source, "1 + max_over_time(sum_over_time(m[5m:2ms])[1m:1m])", &params);
    // From 1 m before the first window of 5 m.
    assert_eq!(error, Err(EvalError::SubqueryTooLarge { steps: 180_000, bytes_max: 1 << 20 }));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("180000 steps") && error.contains("a greater step"), "{error}");
}

#[test]
fn labels_that_double_in_every_call_hit_the_limit_of_bytes() {
    let source = Fixed::with(1, 11);
    let mut text = "label_replace(m, \"b\", \"xxxxxxxx\", \"\", \".*\")".to_string();
    for _ in 0..60 {
        text = format!("label_replace({text}, \"b\", \"$0$0\", \"b\", \".*\")");
    }
    let mut params = EvalParams::instant(100_000);
    params.limits.bytes_max = 1 << 20;
    assert_eq!(ask(&source, &text, &params), Err(EvalError::TooManyBytes(1 << 20)));
}

#[test]
fn many_different_selectors_are_planned_in_little_time() {
    let names: Vec<String> = (0..20_000).map(|n| format!("m{n}{{a=\"1\"}}")).collect();
    let offsets: Vec<String> = (0..5_000).map(|n| format!("m offset {n}h")).collect();
    let text = format!("{} or {}", names.join(" or "), offsets.join(" or "));
    let source = Fixed::default();
    let answer = instant(&source, &text).unwrap();
    assert_eq!(answer.value, Value::Vector(Vec::new()));
    assert_eq!(source.asked.lock().unwrap().len(), 25_000);
}

#[test]
fn a_caller_who_has_left_and_a_deadline_stop_the_evaluation() {
    let source = Fixed::with(1, 5);
    let left = Cancel::new(Arc::new(AtomicBool::new(true)));
    let params = EvalParams::instant(0);
    assert_eq!(ask_with(&source, "m", &params, &left), Err(EvalError::Canceled));
    let flag = Arc::new(AtomicBool::new(false));
    let late = Cancel::new(Arc::clone(&flag)).with_deadline(|| true);
    assert_eq!(ask_with(&source, "m", &params, &late), Err(EvalError::Timeout));
    assert!(!flag.load(Ordering::Relaxed));
}

#[test]
fn a_long_evaluation_notices_that_the_caller_leaves() {
    let source = Fixed::with(50, 100);
    let asked = Arc::new(AtomicBool::new(false));
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let cancel =
        Cancel::new(asked).with_deadline(move || counted.fetch_add(1, Ordering::Relaxed) > 20);
    let params = EvalParams::range(0, 990_000, 10);
    let error = ask_with(&source, "sum(m) by (i) + max(m)", &params, &cancel).unwrap_err();
    assert_eq!(error, EvalError::Timeout);
    assert_eq!(count.load(Ordering::Relaxed), 22, "it stops at once");
}

#[test]
fn one_series_with_wide_windows_can_be_stopped() {
    let source = Fixed::with(1, 20_000);
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let cancel =
        Cancel::default().with_deadline(move || counted.fetch_add(1, Ordering::Relaxed) > 100);
    let params = EvalParams::range(0, 200_000_000, 10_000);
    let text = "quantile_over_time(0.5, m[30d])";
    assert_eq!(ask_with(&source, text, &params, &cancel), Err(EvalError::Timeout));
    assert!(count.load(Ordering::Relaxed) < 110, "it stops soon");
}

#[test]
fn the_deepest_query_fits_a_small_stack_and_a_chain_needs_none() {
    let (done, wait) = mpsc::sync_channel(1);
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let thread = small.spawn(move || {
        let source = Fixed::with(1, 11);
        let mut deep = "m".to_string();
        while parse(&format!("abs(-(sum({deep})))"), ParseOptions::ALL).is_ok() {
            deep = format!("abs(-(sum({deep})))");
        }
        let chain = format!("m{}", " + m".repeat(20_000));
        let deep_calls = instant(&source, &deep);
        let nested = instant(&source, &nested_subqueries());
        done.send((deep_calls, nested, instant(&source, &chain))).unwrap();
    });
    thread.unwrap().join().unwrap();
    let (deep, nested, chain) = wait.recv().unwrap();
    assert!(deep.is_ok() && nested.is_ok());
    let Value::Vector(vector) = chain.unwrap().value else { panic!() };
    assert_eq!(vector[0].value, 20_001.0);
}

fn nested_subqueries() -> String {
    let mut text = "m".to_string();
    loop {
        let next = format!("max_over_time({text}[10s:10s])");
        if parse(&next, ParseOptions::ALL).is_err() {
            return text;
        }
        text = next;
    }
}

#[test]
fn names_that_drop_at_once_make_an_error_where_late_ones_do_not() {
    let mut source = Fixed::with(1, 11);
    let mut other = source.series[0].clone();
    other.labels.set("__name__", "n");
    source.series.push(other);
    let text = "label_replace({i=\"0\"} * 1, \"i\", \"x\", \"i\", \"0\")";
    assert_eq!(instant(&source, text), Err(EvalError::same_labels()));
    let mut params = EvalParams::instant(100_000);
    params.delayed_name_removal = true;
    let kept = "label_replace({i=\"0\"} * 1, \"kept\", \"$1\", \"__name__\", \"(.*)\")";
    let Value::Vector(vector) = ask(&source, kept, &params).unwrap().value else { panic!() };
    assert_eq!(vector.len(), 2);
}

#[test]
fn a_range_query_of_a_string_or_range_vector_is_invalid() {
    let source = Fixed::with(1, 1);
    let params = EvalParams::range(0, 10, 10);
    for text in ["\"a\"", "m[1m]", "m[1m:1s]"] {
        assert_eq!(ask(&source, text, &params).unwrap_err().kind(), Kind::Invalid, "{text}");
    }
    let backwards = EvalParams::range(10, 0, 10);
    assert_eq!(ask(&source, "m", &backwards).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_range_query_of_one_step_is_a_matrix() {
    let source = Fixed::with(1, 11);
    let answer = ask(&source, "m", &EvalParams::range(0, 0, 10)).unwrap();
    assert!(matches!(answer.value, Value::Matrix(matrix) if matrix.len() == 1));
}

#[test]
fn no_moment_overflows() {
    let source = Fixed::with(1, 11);
    for moment in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        for text in ["m", "m offset 290y", "m offset -290y", "rate(m[290y])", "m @ 9e15"] {
            let _ = ask(&source, text, &EvalParams::instant(moment));
            let later = moment.saturating_add(100);
            let _ = ask(&source, text, &EvalParams::range(moment, later, 10));
        }
        let _ = ask(&source, "sum_over_time(m[1h:1m] offset 290y)", &EvalParams::instant(moment));
        let _ = ask(&source, "timestamp(m) + time() + hour()", &EvalParams::instant(moment));
    }
}
