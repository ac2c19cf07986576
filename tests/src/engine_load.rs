//! Workload A or C against an engine alone: appends by number, without HTTP.

use bench::workload::Target;
use model::mutation::Mutation;
use model::{Context, LabelSet, Principal, RequestId, SeriesRef, TenantId, TimestampMs};
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use store::Engine;
use store::engine::{AppendLimits, Appended};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Reads labels as remote write has them.
fn labels(mut encoded: &[u8]) -> Outcome<LabelSet> {
    let mut pairs = Vec::new();
    while !encoded.is_empty() {
        let (pair, rest) = field(encoded)?;
        let (name, value) = field(pair)?;
        let (value, _) = field(value)?;
        pairs.push((std::str::from_utf8(name)?.to_owned(), std::str::from_utf8(value)?.to_owned()));
        encoded = rest;
    }
    Ok(LabelSet::from_pairs(pairs)?)
}

/// The bytes of a field with a length, and what is behind it.
fn field(bytes: &[u8]) -> Outcome<(&[u8], &[u8])> {
    let len = usize::from(*bytes.get(1).ok_or("a field ends early")?);
    if len > 127 {
        return Err("a field is too long for this reader".into());
    }
    bytes.get(2..).and_then(|rest| rest.split_at_checked(len)).ok_or("a field ends early".into())
}

/// A series' labels, if it is new, and its samples.
type Sent = (Option<LabelSet>, Vec<(i64, f64)>);

/// The load, and what it has sent.
#[derive(Debug)]
pub struct EngineLoad {
    targets: Vec<Target>,
    kept: Range<usize>,
    numbers: Vec<u32>,
    generation: u64,
    context: Arc<Context>,
    samples: u64,
    begin_ms: i64,
}

impl EngineLoad {
    /// So many targets, of each only the series at these places; the first round is at `begin_ms`.
    #[must_use]
    pub fn new(tenant: &TenantId, targets: u32, kept: Range<usize>, begin_ms: i64) -> Self {
        let context = Arc::new(Context {
            tenant: tenant.clone(),
            principal: Principal::Anonymous,
            request_id: RequestId(1),
            timeout_ms: 0,
            now: TimestampMs(0),
            ring_version: 0,
        });
        let targets = (0..targets).map(Target::new).collect();
        let (numbers, generation, samples) = (Vec::new(), 0, 0);
        Self { targets, kept, numbers, generation, context, samples, begin_ms }
    }

    /// Samples sent so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Sends all targets' next rounds, a target's in one request, and syncs once.
    ///
    /// # Errors
    /// What the engine says.
    pub fn send(&mut self, engine: &Engine, rounds: usize, now: TimestampMs) -> Outcome<()> {
        let kept = self.kept.clone();
        for (number, target) in self.targets.iter_mut().enumerate() {
            let mut columns: Vec<Sent> = kept.clone().map(|_| Sent::default()).collect();
            let known = self.numbers.get(number * kept.len()..).is_some_and(|of| !of.is_empty());
            let mut damaged = None;
            for _ in 0..rounds {
                let mut index = 0_usize;
                target.scrape(self.begin_ms, |encoded, at, value| {
                    let place = index;
                    index += 1;
                    let slot = place.checked_sub(kept.start).and_then(|i| columns.get_mut(i));
                    let Some((named, samples)) = slot else { return };
                    if !known && named.is_none() {
                        *named = labels(encoded).map_err(|error| damaged = Some(error)).ok();
                    }
                    samples.push((at, value));
                });
            }
            damaged.map_or(Ok(()), Err)?;
            let mut mutation = Mutation::empty(Arc::clone(&self.context));
            mutation.generation = self.generation;
            for (index, (named, samples)) in columns.into_iter().enumerate() {
                self.samples += samples.len() as u64;
                let who = match (named, self.numbers.get(number * kept.len() + index)) {
                    (None, Some(number)) => SeriesRef::Number(*number),
                    (named, _) => SeriesRef::Labels(named.ok_or("a series has no labels")?),
                };
                mutation.push(who, samples);
            }
            match engine.append(&mutation, AppendLimits::NONE, now)? {
                Appended::Queued { written, .. } => {
                    self.generation = written.generation;
                    if !known {
                        self.numbers.extend(written.numbers.iter().map(|(_, number)| number));
                    }
                }
                _ => return Err("labels are needed".into()),
            }
        }
        engine.sync().map_err(|_| "a sync failed")?;
        Ok(())
    }
}
