//! A thread with a small stack on which everything is done that may be done with a query.

use promql::{Cancel, EvalParams, LENGTH_MAX, ParseOptions, Query, SeriesSource, ValueType};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tests::memory::MemorySource;
use tests::random_series;

const STACK_BYTES: usize = 512 << 10;

/// The metrics `a` and `b` over ten minutes.
pub(super) fn source() -> Arc<MemorySource> {
    let mut source = MemorySource::default();
    for name in ["a", "b"] {
        random_series::series(name, 3, 600_000).iter().for_each(|series| source.add(series));
    }
    Arc::new(source)
}

/// What became of a query: whether it was answered, or with which words refused.
pub(super) type Ended = Result<(), String>;

/// Parses, prints, formats, plans, evaluates at a moment and over steps, and drops, on a stack of
/// 512 KiB; and the processor's time that it took.
pub(super) fn survives(source: &Arc<MemorySource>, query: &str) -> (Ended, Duration) {
    let (source, query) = (Arc::clone(source), query.to_owned());
    let work = move || {
        let began = processor_time();
        let ended = walk_through(&*source, &query);
        (ended, processor_time() - began)
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap_or_else(|_| panic!("a query made the engine panic"))
}

fn walk_through(source: &dyn SeriesSource, query: &str) -> Ended {
    let expr = promql::parse(query, ParseOptions::ALL).map_err(|error| error.to_string())?;
    let text = expr.to_string();
    if text.len() <= LENGTH_MAX {
        assert!(promql::parse(&text, ParseOptions::ALL).is_ok(), "what is printed parses: {text}");
    }
    let _ = promql::pretty(&expr);
    let query = Query { text: query, expr: &expr };
    let mut faults = Vec::new();
    let mut asked = vec![EvalParams::instant(500_000)];
    if matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        asked.push(EvalParams::range(400_000, 500_000, 50_000));
    }
    for params in asked {
        let answer = promql::evaluate(source, query, &params, &Cancel::default());
        faults.extend(answer.err().map(|error| error.to_string()));
    }
    drop(expr.clone());
    faults.into_iter().next().map_or(Ok(()), Err)
}

/// What this thread has used: other work on the machine does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(time.tv_sec.unsigned_abs(), nanos)
}
