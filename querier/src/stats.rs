//! The `stats` block of an answer: what the query took.

use crate::run::Finished;
use std::io::Write;
use std::time::Duration;

/// The rendered block, if `param` asks for one, and a warning for a value that is on its way out.
pub(crate) fn render(param: &str, finished: &Finished) -> (Option<Vec<u8>>, Option<String>) {
    if param.is_empty() {
        return (None, None);
    }
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let (queued, evaluated) = (seconds(finished.queued_ns), seconds(finished.evaluated_ns));
    let total = seconds(finished.queued_ns.saturating_add(finished.evaluated_ns));
    let samples = finished.samples_read;
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "{{\"timings\":{{\"evalTotalTime\":{evaluated},\"resultSortTime\":0,\
         \"queryPreparationTime\":0,\"innerEvalTime\":{evaluated},\"execQueueTime\":{queued},\
         \"execTotalTime\":{total}}},\"samples\":{{\"totalQueryableSamples\":{samples},\
         \"peakSamples\":{samples}}}}}"
    );
    let deprecated = !matches!(param, "true" | "all");
    let warning = deprecated.then(|| {
        format!(
            "value {param:?} for parameter \"stats\" is deprecated and will be rejected in the next \
             major release, use \"true\" or \"all\""
        )
    });
    (Some(out), warning)
}
