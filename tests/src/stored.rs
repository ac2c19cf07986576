//! The real store beneath the engine: what is loaded is written in two rounds, each flushed, then
//! compacted and sealed before anything is asked.

use model::delete::DeleteRequest;
use model::mutation::Mutation;
use model::read::Selection;
use model::sample::SampleKind;
use model::{
    Context, Kind, Matcher, Principal, RequestId, SeriesColumns, SeriesRef, TenantId, TimeRange,
    TimestampMs,
};
use promql::{EvalParams, ParseOptions, SeriesSource, SourceError};
use promqltest::{Answer, Ask, Subject, evaluate};
use std::sync::Arc;
use store::engine::{AppendLimits, Appended, Parts};
use store::sim::SimDisk;
use store::{Config, Engine};

/// When everything happens; samples are older.
const NOW: TimestampMs = TimestampMs(1_760_000_000_000);

/// An engine over a store on a disk in memory.
#[derive(Debug)]
pub struct StoreSubject {
    source: StoreSource,
    params: EvalParams,
    options: ParseOptions,
    loads: u64,
}

/// A store on a disk in memory, with one tenant.
#[derive(Debug)]
pub struct StoreSource {
    store: Engine,
    tenant: TenantId,
}

impl StoreSource {
    /// An empty store.
    ///
    /// # Errors
    /// What the store says.
    pub fn new(seed: u64) -> Result<Self, String> {
        let parts = Parts {
            disk: Arc::new(SimDisk::new(seed)),
            cluster_name: "test".into(),
            generation_seed: seed,
        };
        let store = Engine::open(parts, Config::default(), NOW).map_err(|e| e.to_string())?.0;
        let tenant = TenantId::parse("t").map_err(|error| format!("{error:?}"))?;
        Ok(Self { store, tenant })
    }

    /// Writes the samples whose place in their column leaves this remainder when halved, and
    /// flushes.
    ///
    /// # Errors
    /// What the store says.
    pub fn write(&self, series: &[SeriesColumns], remainder: usize) -> Result<(), String> {
        self.append_part(series, |index| index % 2 == remainder)?;
        self.flush()
    }

    /// Writes samples that stay in memory.
    ///
    /// # Errors
    /// What the store says.
    pub fn append(&self, series: &[SeriesColumns]) -> Result<(), String> {
        self.append_part(series, |_| true)?;
        self.store.sync().map(drop).map_err(|error| format!("{error:?}"))
    }

    /// Brings what is in memory to disk.
    ///
    /// # Errors
    /// What the store says.
    pub fn flush(&self) -> Result<(), String> {
        self.store.sync().map_err(|error| format!("{error:?}"))?;
        self.store.flush(NOW).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// The versions of ranges.
    #[must_use]
    pub fn versions(&self, ranges: &[TimeRange]) -> Vec<u64> {
        self.store.versions(&self.tenant, ranges, NOW)
    }

    fn append_part(
        &self,
        series: &[SeriesColumns],
        is_part: impl Fn(&usize) -> bool,
    ) -> Result<(), String> {
        for of in series {
            let (mut floats, mut histograms) = (self.mutation(), self.mutation());
            histograms.kind = SampleKind::Histogram;
            for sample in (0..of.floats.len()).filter(&is_part).map(|at| of.floats.sample(at)) {
                floats.timestamps_ms.push(sample.timestamp_ms);
                floats.values.push(sample.value);
                floats.start_timestamps_ms.push(sample.start_timestamp_ms);
            }
            let places = (0..of.histograms.len()).filter(&is_part);
            for sample in places.map(|at| of.histograms.sample(at)) {
                histograms.timestamps_ms.push(sample.timestamp_ms);
                histograms.histograms.push(sample.histogram);
                histograms.start_timestamps_ms.push(sample.start_timestamp_ms);
            }
            for mut mutation in [floats, histograms] {
                if !mutation.timestamps_ms.is_empty() {
                    mutation.end_series(SeriesRef::Labels(of.labels.clone()));
                    self.append_one(&mutation)?;
                }
            }
        }
        Ok(())
    }

    fn mutation(&self) -> Mutation {
        Mutation::empty(Arc::new(Context {
            tenant: self.tenant.clone(),
            principal: Principal::Anonymous,
            request_id: RequestId(1),
            timeout_ms: 0,
            now: TimestampMs(0),
            ring_version: 0,
        }))
    }

    fn append_one(&self, mutation: &Mutation) -> Result<(), String> {
        match self.store.append(mutation, AppendLimits::NONE, NOW) {
            Ok(Appended::Queued { .. }) => Ok(()),
            other => Err(format!("not written: {other:?}")),
        }
    }

    /// Hides what a matcher matches in a time range.
    ///
    /// # Errors
    /// What the store says.
    pub fn delete(&self, matcher: &Matcher, range: TimeRange) -> Result<(), String> {
        let matcher_sets = vec![vec![matcher.clone()]];
        let request = DeleteRequest { matcher_sets, range, revision_max: 0 };
        let answer = self.store.delete(&self.tenant, &request, NOW);
        answer.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Compacts what is due, and brings every window into its dense form.
    ///
    /// # Errors
    /// What the store says.
    pub fn compact_and_seal(&self) -> Result<(), String> {
        let run = |compaction| {
            let report = self.store.compact(&compaction, NOW, &mut |_| true);
            report.map(|_| ()).map_err(|error| error.to_string())
        };
        for chance in 0..100 {
            let Some(compaction) = self.store.next_compaction(NOW, chance) else { break };
            run(compaction)?;
        }
        for lot in self.store.windows_to_seal() {
            if let Some(compaction) = self.store.seal(lot).map_err(|error| error.to_string())? {
                run(compaction)?;
            }
        }
        match self.store.windows_to_seal().len() {
            0 => Ok(()),
            open => Err(format!("{open} windows are not sealed")),
        }
    }
}

impl SeriesSource for StoreSource {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        self.store
            .select(&self.tenant, selection, NOW)
            .map_err(|error| SourceError { kind: Kind::Internal, message: error.to_string() })
    }
}

impl StoreSubject {
    /// As upstream's runner sets its engine up.
    ///
    /// # Errors
    /// What the store says.
    pub fn upstream() -> Result<Self, String> {
        let like = promqltest::EngineSubject::upstream();
        let source = StoreSource::new(1)?;
        Ok(Self { source, params: like.params, options: like.options, loads: 0 })
    }
}

impl Subject for StoreSubject {
    fn clear(&mut self) {
        self.loads += 1;
        match StoreSource::new(self.loads) {
            Ok(source) => self.source = source,
            // A disk in memory refuses nothing; a store that is not new would fail the cases.
            Err(_) => self.params.limits.samples_max = 0,
        }
    }

    fn load(&mut self, series: &[SeriesColumns]) -> Result<(), String> {
        self.source.write(series, 1)?;
        self.source.write(series, 0)?;
        self.source.compact_and_seal()
    }

    fn ask(&self, ask: Ask<'_>) -> Result<Answer, String> {
        evaluate(&self.source, ask, &self.params, self.options).map(Answer::from)
    }
}
