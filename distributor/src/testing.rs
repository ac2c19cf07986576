//! Parts for tests: a clock that stands, replicas in memory, requests as bytes.

use crate::{Config, Distributor, Parts};
use cluster::{Member, NodeIndex, Roles, Topology, TopologyConfig};
use guard::{LimitTable, Limits, Tenancy};
use model::mutation::{MetricMetadata, Mutation, SeriesRefusal, WriteAnswer, Written};
use model::read::{LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery, Selection};
use model::sample::SampleKind;
use model::{
    Clock, Context, Exemplar, HistogramSample, Kind, LabelSet, SeriesColumns, SeriesRef, TenantId,
    Text, TimestampMs,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use wire::remote_write::encode_series;
use wire::replica::{Answer, Replica, ReplicaError};

/// The time of every test.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

pub(crate) fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// `[("a", "b")]` as a label set.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

/// `members` ingesters that keep `replication_factor` copies.
pub(crate) fn topology(members: u16, replication_factor: usize) -> Topology {
    let member = |number: u16| Member {
        name: format!("n{number}"),
        address: format!("127.0.0.1:{}", 9000 + number),
        roles: Roles::ALL,
        rack: String::new(),
    };
    let mut config = TopologyConfig::alone("n0");
    config.members = (0..members).map(member).collect();
    config.replication_factor = replication_factor;
    Topology::new(config).unwrap()
}

#[derive(Debug)]
pub(crate) struct StandingClock {
    now_ms: AtomicI64,
}

impl StandingClock {
    pub(crate) fn advance(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Relaxed);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Relaxed))
    }

    fn monotonic_ns(&self) -> u64 {
        (self.now_ms.load(Relaxed) - NOW_MS).cast_unsigned() * 1_000_000
    }
}

/// What a replica does with the next writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Fails(Kind),
    /// What has a sample of this time is too large, and nothing else.
    TooLargeAt(i64),
    Silent,
    RefusesNewSeries,
    AlwaysNeedsLabels,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    generation: u64,
    numbers: Vec<(TenantId, LabelSet)>,
    samples: BTreeMap<(TenantId, LabelSet), BTreeMap<i64, f64>>,
    /// The starts of those samples, 0 if unknown.
    starts: BTreeMap<(TenantId, LabelSet), BTreeMap<i64, i64>>,
    histograms: BTreeMap<(TenantId, LabelSet), Vec<HistogramSample>>,
    exemplars: BTreeMap<(TenantId, LabelSet), Vec<Exemplar>>,
    metadata: Vec<MetricMetadata>,
    by_number: u64,
    by_labels: u64,
    writes: u64,
}

/// A replica in memory.
#[derive(Debug)]
pub(crate) struct FakeReplica {
    name: String,
    state: Mutex<State>,
}

impl FakeReplica {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let state = State {
            mood: Mood::Well,
            generation: 100,
            numbers: Vec::new(),
            samples: BTreeMap::new(),
            starts: BTreeMap::new(),
            histograms: BTreeMap::new(),
            exemplars: BTreeMap::new(),
            metadata: Vec::new(),
            by_number: 0,
            by_labels: 0,
            writes: 0,
        };
        Arc::new(Self { name: name.to_owned(), state: Mutex::new(state) })
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// Starts anew: another generation, and no number is known.
    pub(crate) fn restart(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.numbers.clear();
    }

    /// What it keeps of a series.
    pub(crate) fn samples(&self, tenant: &str, labels: &LabelSet) -> Vec<(i64, f64)> {
        let state = self.state.lock();
        let kept = state.samples.get(&(id(tenant), labels.clone()));
        kept.map(|kept| kept.iter().map(|(time, value)| (*time, *value)).collect())
            .unwrap_or_default()
    }

    /// What it keeps of a series' histograms and exemplars, in order of arrival.
    pub(crate) fn extras(
        &self,
        tenant: &str,
        labels: &LabelSet,
    ) -> (Vec<HistogramSample>, Vec<Exemplar>) {
        let (state, key) = (self.state.lock(), (id(tenant), labels.clone()));
        let histograms = state.histograms.get(&key).cloned().unwrap_or_default();
        (histograms, state.exemplars.get(&key).cloned().unwrap_or_default())
    }

    pub(crate) fn series(&self) -> usize {
        self.state.lock().samples.len()
    }

    /// How many series came by number and how many by labels.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.by_number, state.by_labels)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    pub(crate) fn metadata(&self) -> Vec<MetricMetadata> {
        self.state.lock().metadata.clone()
    }

    pub(crate) fn metadata_names(&self) -> Vec<Text> {
        self.state.lock().metadata.iter().map(|one| one.metric.clone()).collect()
    }

    /// Since when a series' samples count, by their times.
    pub(crate) fn starts(&self, tenant: &str, labels: &LabelSet) -> Vec<(i64, i64)> {
        let state = self.state.lock();
        let kept = state.starts.get(&(id(tenant), labels.clone()));
        kept.map(|kept| kept.iter().map(|(time, start)| (*time, *start)).collect())
            .unwrap_or_default()
    }
}

impl State {
    fn keep(&mut self, mutation: &Mutation) -> WriteAnswer {
        self.writes += 1;
        let by_number =
            mutation.series.iter().any(|rows| matches!(rows.series, SeriesRef::Number(_)));
        let unknown = by_number && mutation.generation != self.generation;
        if unknown || self.mood == Mood::AlwaysNeedsLabels {
            return WriteAnswer::NeedLabels;
        }
        self.metadata.extend(mutation.metadata.iter().cloned());
        let mut written = Written { generation: self.generation, ..Written::default() };
        let mut start = 0;
        for (rows, index) in mutation.series.iter().zip(0..) {
            let samples = start..rows.sample_end as usize;
            start = samples.end;
            let tenant = mutation.context.tenant.clone();
            let key = match &rows.series {
                SeriesRef::Number(number) => {
                    self.by_number += 1;
                    self.numbers[*number as usize].clone()
                }
                SeriesRef::Labels(labels) => {
                    self.by_labels += 1;
                    (tenant, labels.clone())
                }
            };
            if self.mood == Mood::RefusesNewSeries && !self.samples.contains_key(&key) {
                written.refused.push((index, SeriesRefusal::SeriesLimit { limit: 1 }));
                continue;
            }
            if matches!(rows.series, SeriesRef::Labels(_)) {
                let known = self.numbers.iter().position(|known| *known == key);
                let number = known.unwrap_or_else(|| {
                    self.numbers.push(key.clone());
                    self.numbers.len() - 1
                });
                written.numbers.push((index, u32::try_from(number).unwrap()));
            }
            let own = mutation.exemplars.iter().filter(|(of, _)| *of == index);
            for (_, exemplar) in own {
                self.exemplars.entry(key.clone()).or_default().push(exemplar.clone());
            }
            self.keep_samples(mutation, key, samples);
        }
        assert_eq!(start, mutation.timestamps_ms.len(), "the last row ends with the samples");
        WriteAnswer::Written(written)
    }

    fn keep_samples(&mut self, mutation: &Mutation, key: (TenantId, LabelSet), at: Range<usize>) {
        let no_starts = mutation.start_timestamps_ms.is_empty();
        assert!(no_starts || mutation.start_timestamps_ms.len() == mutation.timestamps_ms.len());
        let start = |at: usize| mutation.start_timestamps_ms.get(at).copied().unwrap_or(0);
        let times = mutation.timestamps_ms[at.clone()].iter().copied();
        if mutation.kind == SampleKind::Histogram {
            let kept = self.histograms.entry(key).or_default();
            kept.extend(times.zip(at).map(|(timestamp_ms, at)| HistogramSample {
                timestamp_ms,
                histogram: Arc::clone(&mutation.histograms[at]),
                start_timestamp_ms: start(at),
                revision: mutation.revision,
            }));
            return;
        }
        let starts = self.starts.entry(key.clone()).or_default();
        starts.extend(times.clone().zip(at.clone().map(start)));
        let kept = self.samples.entry(key).or_default();
        kept.extend(times.zip(mutation.values[at].iter().copied()));
    }
}

impl Replica for FakeReplica {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        let mut state = self.state.lock();
        let answer = match state.mood {
            Mood::Silent => return Box::pin(std::future::pending()),
            Mood::Fails(kind) => Err(ReplicaError {
                replica: self.name.clone(),
                kind,
                message: "connection refused".to_owned(),
            }),
            Mood::TooLargeAt(at) if mutation.timestamps_ms.contains(&at) => Err(ReplicaError {
                replica: self.name.clone(),
                kind: Kind::TooLarge,
                message: "a record of too many bytes".to_owned(),
            }),
            _ => Ok(state.keep(&mutation)),
        };
        Box::pin(std::future::ready(answer))
    }

    fn select(&self, _: Arc<Context>, _: Selection) -> Answer<Vec<SeriesColumns>> {
        unreachable!("nobody reads here")
    }

    fn labels(&self, _: Arc<Context>, _: LabelQuery) -> Answer<LabelAnswer> {
        unreachable!("nobody reads here")
    }

    fn metadata(&self, _: Arc<Context>, _: MetadataQuery) -> Answer<MetadataAnswer> {
        unreachable!("nobody reads here")
    }

    fn exemplars(
        &self,
        _: Arc<Context>,
        _: model::read::ExemplarQuery,
    ) -> Answer<Vec<model::exemplar::SeriesExemplars>> {
        unreachable!("nobody reads exemplars here")
    }

    fn delete(&self, _: Arc<Context>, _: model::DeleteRequest) -> Answer<model::DeleteAnswer> {
        unreachable!("nobody deletes here")
    }

    fn tombstones(&self, _: Arc<Context>) -> Answer<Vec<model::Tombstone>> {
        unreachable!("nobody reads here")
    }

    fn purge(&self, _: Arc<Context>) -> Answer<()> {
        unreachable!("nobody deletes here")
    }
}

/// A distributor over replicas in memory.
pub(crate) struct Rig {
    pub(crate) distributor: Distributor,
    pub(crate) replicas: Vec<Arc<FakeReplica>>,
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) registry: prometheus::Registry,
}

/// What a rig is made of.
pub(crate) struct RigConfig {
    pub(crate) members: u16,
    pub(crate) replication_factor: usize,
    pub(crate) limits: Limits,
    pub(crate) tenancy: Tenancy,
    pub(crate) config: Config,
}

impl Default for RigConfig {
    fn default() -> Self {
        Self {
            members: 1,
            replication_factor: 1,
            limits: Limits::default(),
            tenancy: Tenancy::Single(id("default")),
            config: Config::default(),
        }
    }
}

pub(crate) fn rig(config: RigConfig) -> Rig {
    let topology = topology(config.members, config.replication_factor);
    let replicas: Vec<_> =
        (0..config.members).map(|number| FakeReplica::new(&format!("n{number}"))).collect();
    let clock = Arc::new(StandingClock { now_ms: AtomicI64::new(NOW_MS) });
    let registry = prometheus::Registry::new();
    let by_node = (0..).map(NodeIndex).zip(replicas.iter().cloned());
    let parts = Parts {
        topology: Arc::new(topology),
        replicas: by_node.map(|(node, replica)| (node, replica as Arc<dyn Replica>)).collect(),
        limits: Arc::new(LimitTable::new(config.limits)),
        tenancy: config.tenancy,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        seed: 7,
        registry: registry.clone(),
    };
    let distributor = Distributor::new(config.config, parts).unwrap();
    Rig { distributor, replicas, clock, registry }
}

/// One node, one copy, with these limits.
pub(crate) fn alone(limits: Limits) -> Rig {
    rig(RigConfig { limits, ..RigConfig::default() })
}

/// A `WriteRequest` of these series.
pub(crate) fn request(series: &[(&LabelSet, &[(i64, f64)])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (labels, samples) in series {
        encode_series(labels, samples, &mut body);
    }
    body
}

/// A field with a length, for messages that no encoder would write.
pub(crate) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(number.into(), &content.to_vec(), &mut bytes);
    bytes
}

/// A label as it stands in a series.
pub(crate) fn raw_label(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name), field(2, value)].concat())
}

/// A series of raw labels with one sample now.
pub(crate) fn raw_series(raw_labels: &[Vec<u8>]) -> Vec<u8> {
    let only_sample = request(&[(&LabelSet::default(), &[(NOW_MS, 1.0)])]);
    field(1, &[raw_labels.concat(), only_sample[2..].to_vec()].concat())
}

pub(crate) fn compressed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

pub(crate) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Every value of a counter by its labels, joined with commas.
pub(crate) fn counter(registry: &prometheus::Registry, name: &str) -> HashMap<String, f64> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family.map(|family| family.get_metric().to_vec()).unwrap_or_default();
    let labels = |metric: &prometheus::proto::Metric| {
        let values: Vec<_> =
            metric.get_label().iter().map(|pair| pair.value().to_owned()).collect();
        values.join(",")
    };
    metrics.iter().map(|metric| (labels(metric), metric.get_counter().get_value())).collect()
}
