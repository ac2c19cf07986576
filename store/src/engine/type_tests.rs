//! Histograms, starts, revisions and exemplars through a flush, a seal and a restart.

use super::compact::tests::seal;
use super::tests::{NOW, labels, mutation, open, tenant, write};
use super::*;
use crate::sim::SimDisk;
use model::histogram::{Counts, Span};
use model::read::SelectBounds;
use model::sample::SampleKind;
use model::{Exemplar, Histogram, HistogramSample, LabelSet, Sample, TimeRange};

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
    let selection = Selection { matchers, range: all(), days: None, bounds };
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
