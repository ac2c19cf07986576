//! The `trace` block of an answer: where its time went.
//!
//! Phases: `queue` waits for a turn, `parse` makes a tree of the text, `plan` cuts the query and asks
//! for versions, `estimate` asks how much is to be read, `fetch` waits for samples (replicas decode
//! them in this time), `evaluate` is the rest of the work, `encode` writes the answer.

use crate::cost::Spent;
use crate::json;
use crate::run::Took;
use crate::stats::seconds;
use model::Clock;
use std::io::Write;
use std::sync::Arc;

/// A trace that ends with the answer's last byte.
#[derive(Debug)]
pub(crate) struct Trace {
    clock: Arc<dyn Clock>,
    /// All that is known before the answer is encoded.
    known: Vec<u8>,
    encode_ns: u64,
}

impl Trace {
    pub(crate) fn new(clock: Arc<dyn Clock>, took: &Took, spent: &Spent) -> Self {
        let mut known = Vec::new();
        push_fetches(&mut known, spent);
        let phases = [
            ("queue", took.queued_ns),
            ("parse", spent.parse_ns),
            ("plan", spent.plan_ns),
            ("estimate", spent.estimate_ns),
            ("fetch", spent.fetch_ns),
            ("evaluate", spent.evaluate_ns()),
        ];
        known.extend_from_slice(b",\"phases\":{");
        for (phase, ns) in phases {
            // Writing into memory does not fail.
            let _ = write!(known, "\"{phase}\":{},", seconds(ns));
        }
        Self { clock, known, encode_ns: 0 }
    }

    /// Times a part of the encoding.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began_ns = self.clock.monotonic_ns();
        let result = work();
        self.encode_ns += self.clock.monotonic_ns().saturating_sub(began_ns);
        result
    }

    /// Writes `,"trace":{…}`.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"trace\":{");
        out.extend_from_slice(&self.known);
        // Writing into memory does not fail.
        let _ = write!(out, "\"encode\":{}}}}}", seconds(self.encode_ns));
    }
}

fn push_fetches(out: &mut Vec<u8>, spent: &Spent) {
    let (segments, hits) = (spent.share.segments, spent.share.hits);
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "\"cacheSegments\":{segments},\"cacheHits\":{hits},\"selections\":{},\"fetches\":[",
        spent.selections
    );
    for (index, fetch) in spent.fetches.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"selector\":" } else { b"{\"selector\":" });
        json::push_string(out, &fetch.selector);
        let _ = write!(
            out,
            ",\"start\":{},\"end\":{},\"shard\":\"{}/{}\",\"seconds\":{},\"series\":{},\
             \"samples\":{}}}",
            fetch.range.start.0,
            fetch.range.end.0.saturating_sub(1),
            fetch.shard.index.saturating_add(1),
            fetch.shard.count.max(1),
            seconds(fetch.ns),
            fetch.series,
            fetch.samples,
        );
    }
    out.push(b']');
}
