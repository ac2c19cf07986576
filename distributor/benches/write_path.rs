//! What a sample costs between its body and the replica: `cargo bench -p distributor`.
//!
//! Bodies as workload A has them: targets of 1,000 series with 19 to 21 labels (480 bytes of label
//! text), 2,000 samples a request, each scrape in the same order. The replica keeps nothing, so what
//! is measured is snappy, the walk with its look-ups, and making the mutation.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench")]

use cluster::{NodeIndex, Topology, TopologyConfig};
use distributor::{Config, Distributor, Parts};
use guard::{Limit, LimitTable, Limits, Tenancy};
use model::mutation::{Mutation, WriteAnswer, Written};
use model::read::{LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery, Selection};
use model::{
    Clock, Context, Kind, LabelSet, Principal, SeriesColumns, SeriesRef, TenantId, TimestampMs,
};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use wire::remote_write::{
    Encoding, Field, Form, RawLabels, SampleColumns, Version, Walk, decompress, encode_series,
};
use wire::replica::{Answer, Replica, ReplicaError};

const SERIES_PER_TARGET: usize = 1000;
const TARGETS: usize = 100;
const TARGETS_PER_REQUEST: usize = 2;
const NOW_MS: i64 = 1_700_000_000_000;
const ROUNDS: i64 = 20;

fn main() {
    let rounds: Vec<Vec<Vec<u8>>> = (0..3).map(round).collect();
    let samples = TARGETS * SERIES_PER_TARGET;
    let bytes: usize = rounds[0].iter().map(Vec::len).sum();
    println!("{samples} series, {:.1} bytes of snappy per sample", per(bytes as f64, samples));

    let mut buffer = Vec::new();
    let mut bench = |name: &str, work: &mut dyn FnMut(&[u8])| {
        let began = cpu_ns();
        for number in 0..ROUNDS {
            for body in &rounds[usize::try_from(number % 3).unwrap()] {
                let len = decompress(body, Encoding::Snappy, Limit(0), &mut buffer).unwrap();
                work(&buffer[..len]);
            }
        }
        report(name, began, samples * usize::try_from(ROUNDS).unwrap());
    };
    bench("snappy", &mut |_| {});
    bench("snappy, walk", &mut |message| walk(message, false));
    bench("snappy, walk, every label looked at", &mut |message| walk(message, true));

    // One more argument, a count of replicas, leaves the others out: for a profiler.
    let only: Option<u16> = std::env::args().find_map(|argument| argument.parse().ok());
    for replicas in [1, 3].into_iter().filter(|count| only.is_none_or(|only| only == *count)) {
        whole_path(&rounds, samples, replicas);
    }
}

fn per(total: f64, count: usize) -> f64 {
    total / f64::from(u32::try_from(count).unwrap())
}

/// CPU time of this thread, which does all the work; a busy machine does not count.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn report(name: &str, began: f64, samples: usize) {
    let ns = per(cpu_ns() - began, samples);
    println!("{ns:8.1} ns a sample  {:6.2} M/s  {name}", 1000.0 / ns);
}

fn walk(message: &[u8], labels: bool) {
    let mut walk = Walk::new(message, Version::One);
    let mut columns = SampleColumns::default();
    while let Some(field) = walk.next_field().unwrap() {
        let Field::Series(view) = field else { continue };
        let raw = view.leading_labels().unwrap();
        if labels {
            for label in RawLabels::new(raw, None) {
                black_box(label.unwrap());
            }
        }
        view.read_samples(raw.len(), &mut columns).unwrap();
    }
    black_box(columns);
}

fn whole_path(rounds: &[Vec<Vec<u8>>], samples: usize, replicas: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let distributor = distributor(replicas);
    let tenant = TenantId::parse("default").unwrap();
    let write = |body: &[u8]| {
        let written =
            distributor.write_body(tenant.clone(), Principal::Anonymous, Form::default(), body);
        assert_eq!(runtime.block_on(written).unwrap().message(), None);
    };
    let began = cpu_ns();
    rounds[0].iter().for_each(|body| write(body));
    report(&format!("whole path to {replicas} replicas, every series new"), began, samples);
    let began = cpu_ns();
    for number in 0..ROUNDS {
        rounds[usize::try_from(number % 3).unwrap()].iter().for_each(|body| write(body));
    }
    let all = samples * usize::try_from(ROUNDS).unwrap();
    report(&format!("whole path to {replicas} replicas, every series known"), began, all);
}

fn distributor(replicas: u16) -> Distributor {
    let mut config = TopologyConfig::alone("n0");
    let first = config.members[0].clone();
    let member = |number: u16| cluster::Member {
        name: format!("n{number}"),
        address: format!("127.0.0.1:{}", 9000 + number),
        ..first.clone()
    };
    config.members = (0..replicas).map(member).collect();
    config.replication_factor = usize::from(replicas);
    let limits = Limits { ingestion_rate: Limit(0), ..Limits::default() };
    let null = |node| (NodeIndex(node), Arc::new(NullReplica::default()) as Arc<dyn Replica>);
    let parts = Parts {
        topology: Arc::new(Topology::new(config).unwrap()),
        replicas: (0..replicas).map(null).collect::<BTreeMap<_, _>>(),
        limits: Arc::new(LimitTable::new(limits)),
        tenancy: Tenancy::Single(TenantId::parse("default").unwrap()),
        clock: Arc::new(StandingClock),
        seed: 1,
        registry: prometheus::Registry::new(),
    };
    Distributor::new(Config::default(), parts).unwrap()
}

/// One scrape of every target, as request bodies.
fn round(number: i64) -> Vec<Vec<u8>> {
    let timestamp_ms = NOW_MS + number * 15_000;
    (0..TARGETS / TARGETS_PER_REQUEST)
        .map(|request| {
            let mut body = Vec::new();
            for target in request * TARGETS_PER_REQUEST..(request + 1) * TARGETS_PER_REQUEST {
                for series in 0..SERIES_PER_TARGET {
                    let value = if series % 2 == 0 { 1.0 } else { (series as f64) * 0.37 };
                    encode_series(&labels(target, series), &[(timestamp_ms, value)], &mut body);
                }
            }
            snap::raw::Encoder::new().compress_vec(&body).unwrap()
        })
        .collect()
}

fn labels(target: usize, series: usize) -> LabelSet {
    let mut pairs = vec![
        ("__name__".to_owned(), format!("node_subsystem_{}_seconds_total", series / 8)),
        ("job".to_owned(), "integrations/node_exporter".to_owned()),
        ("instance".to_owned(), format!("node-{target:04}.cluster-a.example.net:9100")),
        ("mode".to_owned(), format!("mode_{}", series % 8)),
    ];
    for number in 0..15 + series % 3 {
        let value = format!("value-of-label-{number:02}-{:02}", (target + number) % 7);
        pairs.push((format!("label_{number:02}"), value));
    }
    LabelSet::from_pairs(pairs).unwrap()
}

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(NOW_MS)
    }

    fn monotonic_ns(&self) -> u64 {
        1
    }
}

/// Keeps nothing and numbers everything.
#[derive(Debug, Default)]
struct NullReplica {
    next: AtomicU32,
}

impl Replica for NullReplica {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        let mut written = Written { generation: 1, ..Written::default() };
        for (rows, index) in mutation.series.iter().zip(0..) {
            if matches!(rows.series, SeriesRef::Labels(_)) {
                written.numbers.push((index, self.next.fetch_add(1, Relaxed)));
            }
        }
        black_box(mutation);
        Box::pin(std::future::ready(Ok(WriteAnswer::Written(written))))
    }

    fn select(&self, _: Arc<Context>, _: Selection) -> Answer<Vec<SeriesColumns>> {
        no()
    }

    fn labels(&self, _: Arc<Context>, _: LabelQuery) -> Answer<LabelAnswer> {
        no()
    }

    fn metadata(&self, _: Arc<Context>, _: MetadataQuery) -> Answer<MetadataAnswer> {
        no()
    }

    fn exemplars(
        &self,
        _: Arc<Context>,
        _: model::read::ExemplarQuery,
    ) -> Answer<Vec<model::exemplar::SeriesExemplars>> {
        no()
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

fn no<T: Send + 'static>() -> Answer<T> {
    let error = ReplicaError {
        replica: "null".to_owned(),
        kind: Kind::Unexecutable,
        message: "nothing is kept here".to_owned(),
    };
    Box::pin(std::future::ready(Err(error)))
}
