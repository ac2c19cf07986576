//! Histograms, starts, revisions and exemplars through a flush, a seal and a restart.

use super::compact::tests::seal;
use super::tests::{NOW, labels, mutation, open, tenant, write};
use super::*;
use crate::error::Error;
use crate::sim::SimDisk;
use model::histogram::{Counts, Span};
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection};
use model::sample::SampleKind;
use model::{
    Exemplar, Histogram, HistogramSample, LabelSet, Matcher, Sample, SeriesColumns, SeriesRef,
    TimeRange,
};

fn histogram(n: u64) -> Arc<Histogram> {
    Arc::new(Histogram {
        sum: 2.5,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        counts: Counts::Integer {
            count: n + 1,
            zero_count: 0,
            positive: vec![n, 1],
            negative: vec![],
        },
        ..Histogram::stale()
    })
}

fn series() -> LabelSet {
    labels(&[("__name__", "h"), ("job", "j")])
}

fn all() -> TimeRange {
    TimeRange { start: TimestampMs(i64::MIN), end: TimestampMs(i64::MAX) }
}

fn append(engine: &Engine, samples: &[(i64, u64)], revision: u32) {
    let mut m = mutation("t");
    (m.kind, m.revision) = (SampleKind::Histogram, revision);
    for (at, n) in samples {
        m.timestamps_ms.push(NOW.0 + at);
        m.histograms.push(histogram(*n));
        m.start_timestamps_ms.push(NOW.0 - 9);
    }
    m.end_series(SeriesRef::Labels(series()));
    write(engine, &m);
}

fn append_float(engine: &Engine, at: i64, revision: u32) {
    let mut m = mutation("t");
    m.revision = revision;
    m.push(SeriesRef::Labels(series()), [(NOW.0 + at, 7.0)]);
    write(engine, &m);
}

fn select(engine: &Engine) -> Vec<SeriesColumns> {
    let matchers = vec![];
    let bounds = SelectBounds::NONE;
    let selection = Selection {
        matchers,
        range: all(),
        days: None,
        shard: model::QueryShard::ALL,
        bounds,
        wanted: model::read::Wanted::ALL,
    };
    engine.select(&tenant("t"), &selection, NOW).unwrap()
}

fn expected() -> Vec<SeriesColumns> {
    let mut one = SeriesColumns { labels: series(), ..SeriesColumns::default() };
    for (at, n) in [(0_i64, 1_u64), (1000, 2), (2000, 9), (3000, 5)] {
        one.histograms.push_sample(HistogramSample {
            timestamp_ms: NOW.0 + at,
            histogram: histogram(n),
            start_timestamp_ms: NOW.0 - 9,
            revision: if at == 3000 { 2 } else { 0 },
        });
    }
    one.floats.push_sample(&Sample {
        timestamp_ms: NOW.0 + 4000,
        value: 7.0,
        start_timestamp_ms: 0,
        revision: 3,
    });
    vec![one]
}

#[test]
fn of_each_moment_one_sample_of_either_kind_survives_flush_seal_and_restart() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    append(&engine, &[(0, 1), (2000, 3), (1000, 2), (4000, 4)], 0);
    append_float(&engine, 1000, 0);
    append_float(&engine, 3000, 1);
    engine.flush(NOW).unwrap();
    append(&engine, &[(2000, 9)], 0);
    append(&engine, &[(3000, 5)], 2);
    append_float(&engine, 4000, 3);
    assert_eq!(select(&engine), expected(), "from head and file");
    drop(engine);
    let (engine, _) = open(&disk);
    assert_eq!(select(&engine), expected(), "replayed");
    engine.flush(NOW).unwrap();
    assert_eq!(select(&engine), expected(), "from two files");
    seal(&engine);
    assert_eq!(select(&engine), expected(), "sealed");
    drop(engine);
    assert_eq!(select(&open(&disk).0), expected(), "reopened");
}

#[test]
fn exemplars_survive_flush_and_restart_and_are_found_by_matchers_and_range() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let exemplar = |at: i64, trace: &str| Exemplar {
        timestamp_ms: NOW.0 + at,
        value: 0.5,
        labels: labels(&[("trace_id", trace)]),
    };
    let mut m = mutation("t");
    m.push(SeriesRef::Labels(series()), [(NOW.0, 1.0)]);
    m.exemplars = vec![(0, exemplar(0, "a")), (0, exemplar(5, "b")), (0, exemplar(5, "b"))];
    write(&engine, &m);
    let job = |value: &str| vec![vec![Matcher::new("job", model::MatchOp::Equal, value)]];
    let ask = |engine: &Engine, value: &str, range: TimeRange| {
        let found = engine.exemplars(&tenant("t"), &job(value), range, NOW).unwrap();
        found.into_iter().flat_map(|series| series.exemplars).collect::<Vec<_>>()
    };
    let both = vec![exemplar(0, "a"), exemplar(5, "b")];
    assert_eq!(ask(&engine, "j", all()), both);
    assert_eq!(ask(&engine, "k", all()), vec![]);
    let until = TimeRange { start: NOW, end: TimestampMs(NOW.0 + 5) };
    assert_eq!(ask(&engine, "j", until), both[..1]);
    drop(engine);
    let (engine, _) = open(&disk);
    assert_eq!(ask(&engine, "j", all()), both, "replayed");
    engine.flush(NOW).unwrap();
    assert_eq!(ask(&engine, "j", all()), both, "flushed");
    drop(engine);
    assert_eq!(ask(&open(&disk).0, "j", all()), both, "from the checkpoint");
}

/// A series with one float now and exemplars at these times after it, each of its own value.
fn with_exemplars(name: &str, times: impl Iterator<Item = i64>) -> Mutation {
    let mut m = mutation("t");
    m.push(SeriesRef::Labels(labels(&[("__name__", name)])), [(NOW.0, 1.0)]);
    for (at, value) in times.zip(0_u32..) {
        let (timestamp_ms, value, labels) = (NOW.0 + at, value.into(), LabelSet::default());
        m.exemplars.push((0, Exemplar { timestamp_ms, value, labels }));
    }
    m
}

fn append_within(engine: &Engine, m: &Mutation, exemplars_max: u64, now: TimestampMs) {
    let limits = AppendLimits { exemplars_max, ..AppendLimits::NONE };
    engine.append(m, limits, now).unwrap();
    engine.sync().unwrap();
}

#[test]
fn of_too_many_exemplars_the_oldest_go_whosever_they_are_and_are_counted() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let counts = || (engine.stats().exemplars, engine.stats().exemplars_lost_limit_total);
    append_within(&engine, &with_exemplars("a", (0..50).map(|n| n * 60_000)), 100, NOW);
    // Those of other shards count alike.
    for n in 0..50_i64 {
        let other = labels(&[("__name__", "b"), ("instance", &n.to_string())]);
        let mut m = with_exemplars("b", [-1_000_000 + n].into_iter());
        m.series[0].series = SeriesRef::Labels(other);
        append_within(&engine, &m, 100, NOW);
    }
    assert_eq!(counts(), (100, 0), "at the limit");
    append_within(&engine, &with_exemplars("c", [-1].into_iter()), 100, NOW);
    assert_eq!(counts(), (88, 13), "one past it: the oldest, and an eighth to spare");
    // Also when each is of a series of its own, many more in all than there may be.
    for n in 0..4000_i64 {
        append_within(&engine, &with_exemplars(&format!("s{n}"), [-2 - n].into_iter()), 100, NOW);
    }
    let stats = engine.stats();
    assert!((88..=100).contains(&stats.exemplars), "{}", stats.exemplars);
    assert_eq!(stats.exemplars + stats.exemplars_lost_limit_total, 4101);
    let found = engine.exemplars(&tenant("t"), &[vec![]], all(), NOW).unwrap();
    assert_eq!(found.iter().map(|one| one.exemplars.len() as u64).sum::<u64>(), stats.exemplars);
    let of_a = found.iter().find(|one| one.labels == labels(&[("__name__", "a")])).unwrap();
    assert_eq!(of_a.exemplars.len(), 50, "the newest stay");
}

#[test]
fn exemplars_of_one_moment_go_too_when_they_are_too_many() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    append_within(&engine, &with_exemplars("a", (0..400).map(|_| 7)), 100, NOW);
    let stats = engine.stats();
    assert!(stats.exemplars <= 100, "{}", stats.exemplars);
    assert_eq!(stats.exemplars + stats.exemplars_lost_limit_total, 400);
}

#[test]
fn a_repeated_exemplar_is_held_once() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    for _ in 0..3 {
        append_within(&engine, &with_exemplars("a", (0..20).map(|n| n * 60_000)), u64::MAX, NOW);
    }
    assert_eq!((engine.stats().exemplars, engine.stats().exemplars_lost_limit_total), (20, 0));
}

#[test]
fn exemplars_leave_with_a_series_that_is_idle_and_are_counted() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    append_within(&engine, &with_exemplars("a", 0..3), u64::MAX, NOW);
    let idle_ms = engine.config.series_idle_ms;
    let later = TimestampMs(NOW.0 + idle_ms);
    engine.flush(NOW).unwrap();
    engine.flush(later).unwrap();
    assert_eq!(engine.stats().exemplars, 3);
    // An exemplar alone keeps its series, too.
    let mut m = with_exemplars("a", 9..10);
    (m.timestamps_ms, m.values, m.series[0].sample_end) = (vec![], vec![], 0);
    append_within(&engine, &m, u64::MAX, later);
    engine.flush(TimestampMs(later.0 + 2_000)).unwrap();
    assert_eq!((engine.stats().exemplars, engine.stats().series), (4, 1));
    engine.flush(TimestampMs(later.0 + idle_ms + 2_000)).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.exemplars, stats.series, stats.exemplars_lost_idle_total), (0, 0, 4));
}

#[test]
fn exemplars_older_than_their_series_is_kept_leave_with_a_flush_and_are_no_loss() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let hour_ms = 3_600_000;
    let day = model::Retention::from_ms(86_400_000);
    let default = model::RetentionRules { default: day, rules: vec![] };
    let rules = crate::RetentionConfig { default, tenants: Default::default() };
    engine.set_retention(&rules, NOW).unwrap();
    let m = with_exemplars("a", [-23 * hour_ms, -2 * hour_ms].into_iter());
    append_within(&engine, &m, u64::MAX, NOW);
    engine.flush(NOW).unwrap();
    assert_eq!(engine.stats().exemplars, 2);
    let later = TimestampMs(NOW.0 + 2 * hour_ms);
    append_within(&engine, &with_exemplars("a", std::iter::empty()), u64::MAX, later);
    let shown = engine.exemplars(&tenant("t"), &[vec![]], all(), later).unwrap();
    assert_eq!(shown[0].exemplars.len(), 1);
    engine.flush(later).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.exemplars, stats.exemplars_lost_limit_total), (1, 0));
    assert_eq!(stats.exemplars_lost_idle_total, 0);
}

#[test]
fn more_exemplars_than_one_frame_of_a_checkpoint_has_come_back() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    for series in 0..50 {
        let m = with_exemplars(&format!("s{series}"), (0..500).map(|n| n * 60_000));
        append_within(&engine, &m, u64::MAX, NOW);
    }
    engine.flush(NOW).unwrap();
    let before = engine.exemplars(&tenant("t"), &[vec![]], all(), NOW).unwrap();
    assert_eq!(before.iter().map(|one| one.exemplars.len()).sum::<usize>(), 25_000);
    drop(engine);
    let (engine, _) = open(&disk);
    assert_eq!(engine.exemplars(&tenant("t"), &[vec![]], all(), NOW).unwrap(), before);
}

#[test]
fn more_exemplars_than_a_query_may_have_are_an_error_and_no_cut() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    append_within(&engine, &with_exemplars("a", (0..5).map(|n| n * 60_000)), u64::MAX, NOW);
    let ask = |exemplars_max| {
        let (matcher_sets, range) = (vec![vec![]], all());
        let query = model::read::ExemplarQuery {
            matcher_sets,
            range,
            exemplars_max,
            tombstones_max: u64::MAX,
        };
        engine.exemplars_at(&tenant("t"), &query, NOW)
    };
    assert_eq!(ask(5).unwrap()[0].exemplars.len(), 5);
    assert!(matches!(ask(4), Err(Error::TooManySamples { samples_max: 4 })));
}

#[test]
fn a_delete_after_a_restart_takes_histograms_of_every_revision() {
    let disk = SimDisk::new(1);
    append(&open(&disk).0, &[(0, 1)], 2);
    let (engine, _) = open(&disk);
    let request =
        model::DeleteRequest { matcher_sets: vec![vec![]], range: all(), revision_max: 0 };
    assert_eq!(engine.delete(&tenant("t"), &request, NOW).unwrap().revision_max, 2);
    assert_eq!(select(&engine), vec![]);
}

#[test]
fn a_histogram_counts_by_its_size_where_the_samples_of_a_read_are_limited() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    append(&engine, &[(0, 1), (1_000, 2)], 0);
    append_float(&engine, 2_000, 0);
    // A span and two buckets are worth twelve samples.
    let read = |samples_max| {
        let bounds = SelectBounds { samples_max, ..SelectBounds::NONE };
        let (matchers, shard) = (vec![], model::QueryShard::ALL);
        let selection = Selection {
            matchers,
            range: all(),
            days: None,
            shard,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        engine.select(&tenant("t"), &selection, NOW)
    };
    for place in ["head", "sstable", "both"] {
        assert_eq!(read(25).unwrap()[0].histograms.len(), 2, "{place}");
        assert!(
            matches!(read(24), Err(Error::TooManySamples { samples_max: 24 })),
            "{place} past the limit"
        );
        match place {
            "head" => drop(engine.flush(NOW).unwrap()),
            // Equal ones are one.
            _ => append(&engine, &[(0, 1), (1_000, 2)], 0),
        }
    }
}

#[test]
fn a_dump_tells_starts_revisions_exemplars_and_what_metrics_mean() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    append(&engine, &[(0, 1)], 3);
    let mut m = with_exemplars("up", [5].into_iter());
    m.start_timestamps_ms = vec![NOW.0 - 7];
    let [metric, help, unit] = ["up", "whether it is", "b"].map(model::Text::from);
    let metric_type = model::mutation::MetricType::Gauge;
    m.metadata.push(model::mutation::MetricMetadata { metric, metric_type, help, unit });
    write(&engine, &m);
    let dumped = |directory: &str| {
        let mut all = Vec::new();
        for path in disk.paths().iter().filter(|path| path.starts_with(directory)) {
            let mut keep = |line| {
                all.push(line);
                true
            };
            crate::inspect::dump(&disk, path, &mut keep).unwrap();
        }
        all.join("\n")
    };
    let says = |dump: &str, wanted: &[String]| {
        wanted.iter().for_each(|text| assert!(dump.contains(text.as_str()), "{text}: {dump}"));
    };
    let [float, histogram] = [NOW.0 - 7, NOW.0 - 9].map(|at| format!(" since {at}"));
    let samples = [format!("{} 1{float}\n", NOW.0), format!("{histogram} revision 3")];
    let rest = ["whether it is".to_owned(), format!("timestamp_ms: {}", NOW.0 + 5)];
    says(&(dumped("log/") + "\n"), &samples);
    says(&dumped("log/"), &rest);
    engine.flush(NOW).unwrap();
    says(&(dumped("sstables/") + "\n"), &samples);
    says(&dumped("checkpoints/"), &rest);
    seal(&engine);
    says(&(dumped("sstables/") + "\n"), &samples);
}
