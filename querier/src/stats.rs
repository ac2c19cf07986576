//! The `stats` block of an answer: what the query took.

use crate::cost::Spent;
use crate::number;
use crate::run::Took;
use std::io::Write;
use std::time::Duration;

/// The rendered block, if `param` asks for one, and a warning for a value that is on its way out.
pub(crate) fn render(param: &str, took: &Took, spent: &Spent) -> (Option<Vec<u8>>, Option<String>) {
    if param.is_empty() {
        return (None, None);
    }
    let mut out = Vec::new();
    push_timings(&mut out, took, spent);
    push_samples(&mut out, spent, param == "all");
    push_ours(&mut out, spent);
    let deprecated = !matches!(param, "true" | "all");
    let warning = deprecated.then(|| {
        format!(
            "value {param:?} for parameter \"stats\" is deprecated and will be rejected in the next \
             major release, use \"true\" or \"all\""
        )
    });
    (Some(out), warning)
}

pub(crate) fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

// Writing into memory does not fail.

fn push_timings(out: &mut Vec<u8>, took: &Took, spent: &Spent) {
    let (queued, evaluated) = (seconds(took.queued_ns), seconds(took.ran_ns));
    let total = seconds(took.queued_ns.saturating_add(took.ran_ns));
    let prepared = seconds(spent.plan_ns + spent.estimate_ns + spent.fetch_ns);
    let inner = seconds(spent.evaluate_ns());
    let _ = write!(
        out,
        "{{\"timings\":{{\"evalTotalTime\":{evaluated},\"resultSortTime\":0,\
         \"queryPreparationTime\":{prepared},\"innerEvalTime\":{inner},\"execQueueTime\":{queued},\
         \"execTotalTime\":{total}}}"
    );
}

fn push_samples(out: &mut Vec<u8>, spent: &Spent, by_step: bool) {
    let total: u64 = spent.samples_by_step.iter().map(|(_, count)| count).sum();
    let peak = spent.samples_peak;
    let _ = write!(out, ",\"samples\":{{\"totalQueryableSamples\":{total},\"peakSamples\":{peak}");
    if by_step {
        out.extend_from_slice(b",\"totalQueryableSamplesPerStep\":[");
        for (index, (moment, count)) in spent.samples_by_step.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",[" } else { b"[" });
            number::push_timestamp(out, *moment);
            let _ = write!(out, ",{count}]");
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn push_ours(out: &mut Vec<u8>, spent: &Spent) {
    let Spent { selections, series, samples, partitions, share, .. } = spent;
    let _ = write!(
        out,
        ",\"cumae\":{{\"selections\":{selections},\"partitions\":{partitions},\
         \"seriesRead\":{series},\"samplesRead\":{samples},\"bytesRead\":{},\
         \"cacheSegments\":{},\"cacheHits\":{}}}}}",
        spent.bytes(),
        share.segments,
        share.hits,
    );
}
