//! B10: queries that would take for ever, or all memory; and how soon they let go.

use model::{Column, LabelSet, SeriesColumns};
use promql::{Cancel, EvalParams, Limits, ParseOptions, Query};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;
use tests::memory::MemorySource;

/// The limits of a query as a server has them by default.
pub(super) fn server_limits() -> Limits {
    Limits {
        samples_max: 50_000_000,
        series_max: 500_000,
        fetched_samples_max: u64::MAX,
        bytes_max: 512 << 20,
    }
}

/// 200 series of an hour, a sample every five seconds, and a classic histogram.
fn source() -> MemorySource {
    let mut source = MemorySource::default();
    for number in 0..200_i32 {
        let mut labels = LabelSet::default();
        labels.set("__name__", "m");
        labels.set("i", number.to_string().as_str());
        labels.set("le", f64::from(number % 20).to_string().as_str());
        labels.set("g", (number / 20).to_string().as_str());
        let mut floats = Column::default();
        for tick in 0..720_i32 {
            floats.push(i64::from(tick) * 5_000, f64::from(tick * number % 977));
        }
        source.add(&SeriesColumns { labels, floats, ..SeriesColumns::default() });
    }
    source
}

/// Queries that go on for seconds, each in another part of the engine.
const LONG: &[&str] = &[
    "vector(1)[5h:1ms]",
    "sum_over_time(vector(1)[5h:1ms])",
    "avg_over_time(vector(1)[5h:1ms])",
    "stddev_over_time(vector(1)[5h:1ms])",
    "quantile_over_time(0.5, vector(time())[5h:1ms])",
    "mad_over_time(vector(time())[5h:1ms])",
    "deriv(vector(1)[5h:1ms])",
    "rate(vector(1)[5h:1ms])",
    "changes(vector(1)[5h:1ms])",
    "double_exponential_smoothing(vector(1)[5h:1ms], 0.3, 0.3)",
    "last_over_time((vector(1) + vector(2) * vector(3))[4h:1ms])",
    "max_over_time(sum(m)[1h:5ms])",
    "max_over_time(topk(5, m)[1h:50ms])",
    "max_over_time(quantile(0.5, m)[1h:50ms])",
    "max_over_time(count_values(\"v\", m)[1h:100ms])",
    "max_over_time(histogram_quantile(0.9, m)[1h:50ms])",
    "max_over_time((m * on (i) group_left m)[1h:100ms])",
    "max_over_time((m and m unless m or m)[1h:100ms])",
    "max_over_time(quantile_over_time(0.9, m[10m])[1h:100ms])",
    "max_over_time(label_replace(m, \"a\", \"$1\", \"i\", \"(.*)\")[1h:100ms])",
    "max_over_time(sort(m)[1h:100ms])",
    "max_over_time(histogram_quantiles(m, \"q\", time() % 3600 / 3600)[1h:50ms])",
    "max_over_time(absent(m)[1h:1ms])",
    "max_over_time(hour(vector(time()))[5h:1ms])",
    "max_over_time(vector(scalar(vector(1)))[5h:1ms])",
    "min_over_time(vector(time())[5h:1ms])",
    "quantile_over_time(0.5, (vector(time()) % 977)[5h:1ms])",
    "mad_over_time((vector(time()) % 977)[5h:1ms])",
];

/// A query that was told to stop: what it said, and how much of the processor it used after that;
/// none if it was over already.
struct LetGo {
    said: Result<(), String>,
    used: Option<Duration>,
}

/// Lets a query run for a while on a thread of its own and tells it to stop.
fn let_go(source: &Arc<MemorySource>, query: &'static str, after: Duration) -> LetGo {
    let flag = Arc::new(AtomicBool::new(false));
    let cancel = Cancel::new(Arc::clone(&flag));
    let (begin, begun) = sync_channel(1);
    let (done, ended) = sync_channel(1);
    let source = Arc::clone(source);
    let worker = thread::spawn(move || {
        let task = fs::read_link("/proc/thread-self").unwrap();
        begin.send(task.clone()).unwrap();
        let expr = promql::parse(query, ParseOptions::ALL).unwrap();
        let mut params = EvalParams::instant(3_600_000);
        params.limits = server_limits();
        let query = Query { text: query, expr: &expr };
        let answer = promql::evaluate(&*source, query, &params, &cancel);
        let said = answer.map(|_| ()).map_err(|error| error.to_string());
        done.send((said, used(&task))).unwrap();
    });
    let task = begun.recv().unwrap();
    let answer = match ended.recv_timeout(after) {
        Ok((said, _)) => LetGo { said, used: None },
        Err(_) => {
            let before = used(&task);
            flag.store(true, Ordering::Relaxed);
            let (said, after) = ended.recv().unwrap();
            LetGo { said, used: Some(after.saturating_sub(before)) }
        }
    };
    worker.join().unwrap();
    answer
}

/// The processor's time that a thread of this process has used.
fn used(task: &Path) -> Duration {
    let stat = fs::read_to_string(Path::new("/proc").join(task).join("schedstat"));
    let nanos = stat.ok().and_then(|stat| stat.split(' ').next()?.parse().ok());
    nanos.map(Duration::from_nanos).unwrap_or_default()
}

#[test]
fn b10_a_query_that_is_told_to_stop_stops_within_100_ms_wherever_it_is() {
    let source = Arc::new(source());
    let (mut late, mut stopped) = (Vec::new(), 0);
    for query in LONG {
        for after_ms in [60, 150, 400] {
            let LetGo { said, used } = let_go(&source, query, Duration::from_millis(after_ms));
            println!("{query} after {after_ms} ms: {used:?} {said:?}");
            stopped += usize::from(said.is_err_and(|said| said.contains("canceled")));
            if used.is_some_and(|used| used > Duration::from_millis(100)) {
                late.push(format!("{query} told after {after_ms} ms: {used:?}"));
            }
        }
    }
    assert!(late.is_empty(), "{late:#?}");
    assert!(stopped > LONG.len(), "only {stopped} of {} were still running", 3 * LONG.len());
}

#[test]
fn series_that_come_one_after_the_other_cost_what_they_are_and_not_each_pair_of_them() {
    let mut source = MemorySource::default();
    for pod in 0..200_i64 {
        for metric in ["a", "b"] {
            let mut labels = LabelSet::default();
            labels.set("__name__", metric);
            labels.set("d", "x");
            labels.set("pod", pod.to_string().as_str());
            let mut floats = Column::default();
            (0..14_i64).for_each(|tick| floats.push((pod * 14 + tick) * 30_000, 7.0));
            source.add(&SeriesColumns { labels, floats, ..SeriesColumns::default() });
        }
    }
    let text = "a / on (d) b";
    let expr = promql::parse(text, ParseOptions::ALL).unwrap();
    let mut params = EvalParams::instant(0);
    (params.end_ms, params.step_ms, params.lookback_ms) = (2_799 * 30_000, 30_000, 30_000);
    params.limits = server_limits();
    let answer =
        promql::evaluate(&source, Query { text, expr: &expr }, &params, &Cancel::default());
    let promql::Value::Matrix(series) = answer.unwrap().value else { panic!("no matrix") };
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].floats.values, vec![1.0; 2_800]);
}
