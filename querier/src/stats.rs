//! The `stats` block of an answer: what the query took.

use crate::run::Took;
use std::io::Write;
use std::time::Duration;

/// The rendered block, if `param` asks for one, and a warning for a value that is on its way out.
pub(crate) fn render(param: &str, took: &Took) -> (Option<Vec<u8>>, Option<String>) {
    if param.is_empty() {
        return (None, None);
    }
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let (queued, evaluated) = (seconds(took.queued_ns), seconds(took.ran_ns));
    let total = seconds(took.queued_ns.saturating_add(took.ran_ns));
    let samples = took.samples_read;
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
