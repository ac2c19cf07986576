//! Imports: live all at once or not at all, joined with what is there, and idempotent.

use super::{ImportOptions, ImportReport};
use crate::disk::Disk;
use crate::engine::{Engine, Job, Parts};
use crate::sim::SimDisk;
use crate::{Config, Error, RetentionConfig};
use model::histogram::Counts;
use model::mutation::{MetricMetadata, MetricType};
use model::read::{MetadataQuery, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{
    DeleteRequest, Exemplar, Histogram, HistogramSample, LabelSet, MatchOp, Matcher, Retention,
    RetentionRules, Sample, TenantId, TimeRange, TimestampMs,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static STARTS: AtomicU64 = AtomicU64::new(1);
const NOW: TimestampMs = TimestampMs(1_760_000_000_000);

fn open(disk: &SimDisk) -> Engine {
    let parts = Parts {
        disk: Arc::new(disk.clone()),
        cluster_name: "c".to_owned(),
        generation_seed: STARTS.fetch_add(1, Ordering::Relaxed),
    };
    Engine::open(parts, Config::default(), NOW).unwrap().0
}

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn load(engine: &Engine, revision: u32, value: f64) -> Result<ImportReport, Error> {
    let default = RetentionRules::all(Retention::from_ms(10 * 86_400_000));
    engine.set_retention(&RetentionConfig { default, ..RetentionConfig::default() }, NOW)?;
    let mut import = engine.import(ImportOptions { tenant: tenant(), revision }, NOW);
    for day in 0..12 {
        for series in 0..5_u8 {
            let name = format!("s{series}");
            let labels = LabelSet::from_pairs([("__name__", "m"), ("s", name.as_str())]).unwrap();
            let at = |minute: i64| NOW.0 - day * DAY_MS - minute * 60_000;
            let sample = |minute| Sample {
                timestamp_ms: at(minute),
                value: value + f64::from(series),
                start_timestamp_ms: 0,
                revision: 0,
            };
            // Backwards: any order will do.
            import.samples(&labels, &(0..30).map(sample).collect::<Vec<_>>())?;
        }
        import.write()?;
    }
    import.metadata(MetricMetadata {
        metric: "m".into(),
        metric_type: MetricType::Gauge,
        help: "h".into(),
        unit: "".into(),
    });
    import.finish()
}

fn answer(engine: &Engine) -> Vec<(LabelSet, Vec<i64>, Vec<f64>)> {
    let selection = Selection {
        matchers: vec![Matcher::new("__name__", MatchOp::Equal, "m")],
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    };
    let series = engine.select(&tenant(), &selection, NOW).unwrap().into_iter();
    series.map(|one| (one.labels, one.floats.timestamps_ms.to_vec(), one.floats.values)).collect()
}

#[test]
fn importing_twice_changes_no_answer_no_file_and_no_metadata() {
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    let first = load(&engine, 0, 1.0).unwrap();
    assert!(first.samples > 1_000 && first.samples_expired > 100, "{first:?}");
    assert_eq!(first.samples + first.samples_expired, 12 * 5 * 30);
    assert_eq!((first.metadata, first.sstables_known), (1, 0));
    let expected = answer(&engine);
    assert_eq!(expected.iter().map(|one| one.1.len() as u64).sum::<u64>(), first.samples);
    let files = engine.stats().sstables;

    let second = load(&engine, 0, 1.0).unwrap();
    assert_eq!((second.sstables, second.sstables_known), (0, first.sstables));
    assert_eq!((second.samples, second.metadata), (first.samples, 0));
    assert_eq!(answer(&engine), expected);
    assert_eq!(engine.stats().sstables, files);
    drop(engine);
    disk.power_cut();
    let engine = open(&disk);
    assert_eq!(answer(&engine), expected);
    assert_eq!(engine.metadata(&tenant(), &MetadataQuery { metric: None }).len(), 1);
}

#[test]
fn a_raised_revision_wins_over_greater_values() {
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    load(&engine, 0, 9.0).unwrap();
    load(&engine, 0, 1.0).unwrap();
    assert_eq!(answer(&engine)[0].2[0], 9.0, "the greater value wins within a revision");
    load(&engine, 1, 1.0).unwrap();
    assert!(
        answer(&engine)
            .iter()
            .zip([1.0, 2.0, 3.0])
            .all(|(one, value)| { one.2.iter().all(|have| (have - value).abs() < 1e-9) })
    );
}

#[test]
fn stopped_at_every_call_all_of_an_import_is_there_or_nothing_and_no_file_is_left() {
    let whole = SimDisk::new(0);
    let first = {
        open(&whole);
        whole.calls()
    };
    load(&open(&whole), 0, 1.0).unwrap();
    let expected = answer(&open(&whole));
    let (mut kept, mut gone) = (0, 0);
    for stop_at in first..=whole.calls() {
        let disk = SimDisk::new(stop_at);
        drop(open(&disk));
        disk.stop_at(stop_at);
        let engine = Engine::open(
            Parts {
                disk: Arc::new(disk.clone()),
                cluster_name: "c".to_owned(),
                generation_seed: 7,
            },
            Config::default(),
            NOW,
        );
        let done = engine.is_ok_and(|(engine, _)| load(&engine, 0, 1.0).is_ok());
        disk.power_cut();
        let engine = open(&disk);
        let found = answer(&engine);
        match found.is_empty() {
            true => gone += 1,
            false => kept += 1,
        }
        assert!(found == expected || (found.is_empty() && !done), "stop at {stop_at}");
        assert_eq!(disk.list("sstables").unwrap().len() as u64, engine.stats().sstables);
    }
    assert!(kept > 0 && gone > 20, "{kept} {gone}");
}

fn metric(labels: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs([&[("__name__", "m")], labels].concat()).unwrap()
}

fn histogram(at: i64, count: u64) -> HistogramSample {
    let counts =
        Counts::Integer { count, zero_count: count, positive: Vec::new(), negative: Vec::new() };
    let histogram = Arc::new(Histogram { sum: 1.0, counts, ..Histogram::stale() });
    HistogramSample { timestamp_ms: at, histogram, start_timestamp_ms: 0, revision: 0 }
}

/// Hours of histograms and exemplars, the newest first.
fn load_histograms(engine: &Engine, hours: i64) -> ImportReport {
    let revision = engine.seen_revision(&tenant());
    let mut import = engine.import(ImportOptions { tenant: tenant(), revision }, NOW);
    for hour in 0..hours {
        let at = NOW.0 - hour * 3_600_000;
        let labels = metric(&[("s", &(hour % 3).to_string())]);
        import.histograms(&labels, &[histogram(at, 3), histogram(at - 1, 2)]).unwrap();
        let (value, of) = (0.5, metric(&[("trace_id", &hour.to_string())]));
        import.exemplar(&labels, Exemplar { timestamp_ms: at, value, labels: of });
    }
    import.finish().unwrap()
}

fn histograms(engine: &Engine) -> Vec<(i64, u32)> {
    let matchers = vec![Matcher::new("__name__", MatchOp::Equal, "m")];
    let selection = Selection {
        matchers,
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    };
    let series = engine.select(&tenant(), &selection, NOW).unwrap();
    let samples = series
        .iter()
        .flat_map(|one| (0..one.histograms.len()).map(|index| one.histograms.sample(index)));
    samples.map(|sample| (sample.timestamp_ms, sample.revision)).collect()
}

fn exemplars(engine: &Engine) -> usize {
    let every = [vec![Matcher::new("__name__", MatchOp::Equal, "m")]];
    let found = engine.exemplars(&tenant(), &every, TimeRange::ALL, NOW).unwrap();
    found.iter().map(|series| series.exemplars.len()).sum()
}

#[test]
fn histograms_and_exemplars_are_there_once_after_two_imports_and_a_power_cut() {
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    let first = load_histograms(&engine, 60);
    assert_eq!((first.samples, first.exemplars, first.revision), (120, 60, 0));
    let expected = histograms(&engine);
    assert_eq!((expected.len(), exemplars(&engine)), (120, 60));
    let second = load_histograms(&engine, 60);
    assert_eq!((second.sstables, second.sstables_known), (0, first.sstables));
    assert_eq!((second.samples, second.exemplars), (120, 0));
    drop(engine);
    disk.power_cut();
    let engine = open(&disk);
    assert_eq!((histograms(&engine), exemplars(&engine)), (expected, 60));
}

fn delete(engine: &Engine, hours: i64) {
    let matcher_sets = vec![vec![Matcher::new("__name__", MatchOp::Equal, "m")]];
    let range = TimeRange { start: TimestampMs(NOW.0 - hours * 3_600_000 + 1), end: NOW };
    let request = DeleteRequest { matcher_sets, range, revision_max: 0 };
    engine.delete(&tenant(), &request, NOW).unwrap();
}

#[test]
fn an_import_after_a_delete_is_hidden_unless_its_revision_is_one_that_no_delete_hides() {
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    load_histograms(&engine, 10);
    delete(&engine, 4);
    // The newest sample is where the delete ends, and one moment before it is another.
    let left = histograms(&engine);
    assert_eq!(left.len(), 20 - 7);

    let options = ImportOptions { tenant: tenant(), revision: 0 };
    let mut plain = engine.import(options, NOW);
    let again: Vec<_> = (0..4).map(|hour| histogram(NOW.0 - 1 - hour * 3_600_000, 2)).collect();
    plain.histograms(&metric(&[("s", "0")]), &again).unwrap();
    assert_eq!(plain.finish().unwrap().samples_hidden, 4);
    assert_eq!(histograms(&engine), left, "hidden");

    for repeated in [false, true] {
        let seen = load_histograms(&engine, 10);
        assert_eq!((seen.revision, seen.samples_hidden), (1, 0));
        assert_eq!(seen.sstables == 0, repeated, "{seen:?}");
        let shown = histograms(&engine);
        assert_eq!(shown.len(), 20);
        assert!(shown.iter().all(|(_, revision)| *revision == 1));
    }
    // The next delete hides that too, and the next import is above it.
    delete(&engine, 4);
    assert_eq!(histograms(&engine).len(), 20 - 7);
    assert_eq!((engine.seen_revision(&tenant()), load_histograms(&engine, 10).revision), (2, 2));
    assert_eq!(histograms(&engine).len(), 20);
    assert_eq!(engine.seen_revision(&TenantId::parse("other").unwrap()), 0);
    drop(engine);
    let engine = open(&disk);
    assert_eq!(histograms(&engine).len(), 20, "reopened");
}

#[test]
fn an_import_of_older_data_is_taken_once_the_retention_is_lengthened_again() {
    let keep = |engine: &Engine, days: u64| {
        let default = RetentionRules::all(Retention::from_ms(days * 86_400_000));
        let rules = RetentionConfig { default, ..RetentionConfig::default() };
        engine.set_retention(&rules, NOW).unwrap();
        while let Some(due) = engine.next_pass(NOW).unwrap() {
            engine.compact(&due, NOW, &mut |_| true).unwrap();
        }
        engine.run(Job::Expire, NOW).unwrap();
    };
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    let hours = 30 * 24;
    load_histograms(&engine, hours);
    keep(&engine, 3);
    let short = histograms(&engine).len();
    assert_eq!(short, 2 * 3 * 24 + 1);
    let refused = load_histograms(&engine, hours);
    assert_eq!(refused.samples, short as u64);
    assert_eq!(refused.samples_expired, 2 * hours.unsigned_abs() - short as u64);
    assert!(refused.exemplars_expired > 0);
    keep(&engine, 60);
    assert_eq!(histograms(&engine).len(), short, "nothing comes back by itself");
    assert_eq!(load_histograms(&engine, hours).samples_expired, 0);
    let all = 2 * usize::try_from(hours).unwrap();
    assert_eq!(histograms(&engine).len(), all);
    drop(engine);
    let engine = open(&disk);
    keep(&engine, 60);
    assert_eq!(histograms(&engine).len(), all, "reopened");
}

#[test]
fn an_import_is_not_swallowed_by_a_file_that_rules_of_before_still_hide() {
    let set = |engine: &Engine, days: u64| {
        let default = RetentionRules::all(Retention::from_ms(days * 86_400_000));
        let rules = RetentionConfig { default, ..RetentionConfig::default() };
        engine.set_retention(&rules, NOW).unwrap();
    };
    let engine = open(&SimDisk::new(0));
    let hours = 30 * 24;
    let all = 2 * usize::try_from(hours).unwrap();
    set(&engine, 60);
    load_histograms(&engine, hours);
    set(&engine, 3);
    set(&engine, 60);
    assert_eq!(histograms(&engine).len(), 2 * 3 * 24 + 1, "no pass has been there");
    load_histograms(&engine, hours);
    assert_eq!(histograms(&engine).len(), all);
    while let Some(due) = engine.next_pass(NOW).unwrap() {
        engine.compact(&due, NOW, &mut |_| true).unwrap();
    }
    engine.run(Job::Expire, NOW).unwrap();
    assert_eq!(histograms(&engine).len(), all, "after the pass");
    let again = load_histograms(&engine, hours);
    assert_eq!(histograms(&engine).len(), all);
    assert!(again.sstables_known > 0, "{again:?}");
}

#[test]
fn a_delete_in_the_middle_of_an_import_is_counted_for_the_series_after_it() {
    let engine = open(&SimDisk::new(0));
    delete(&engine, 4);
    let mut import = engine.import(ImportOptions { tenant: tenant(), revision: 0 }, NOW);
    let take = |import: &mut super::Import<'_>, series: &str| {
        let samples: Vec<_> = (1..7).map(|hour| histogram(NOW.0 - hour * 3_600_000, 2)).collect();
        import.histograms(&metric(&[("s", series)]), &samples).unwrap();
        import.report().samples_hidden
    };
    assert_eq!((take(&mut import, "a"), take(&mut import, "b")), (3, 6));
    delete(&engine, 6);
    assert_eq!((take(&mut import, "c"), take(&mut import, "d")), (11, 16));
}

#[test]
fn what_fails_after_the_samples_are_live_leaves_them_there() {
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    let mut import = engine.import(ImportOptions { tenant: tenant(), revision: 0 }, NOW);
    import.histograms(&metric(&[]), &[histogram(NOW.0, 2)]).unwrap();
    import.metadata(MetricMetadata {
        metric: "m".into(),
        metric_type: MetricType::Gauge,
        help: "h".into(),
        unit: "".into(),
    });
    import.publish().unwrap();
    disk.set_hook(|_| crate::sim::Outcome::Fail(std::io::ErrorKind::Other));
    assert!(import.finish().is_err());
    disk.clear_hook();
    assert_eq!(histograms(&engine).len(), 1);
}

#[test]
fn an_abandoned_import_leaves_nothing() {
    let disk = SimDisk::new(0);
    let engine = open(&disk);
    let options = ImportOptions { tenant: tenant(), revision: 0 };
    let mut import = engine.import(options, NOW);
    let labels = LabelSet::from_pairs([("__name__", "m")]).unwrap();
    let sample = Sample { timestamp_ms: 5, value: 1.0, start_timestamp_ms: 0, revision: 0 };
    import.samples(&labels, &[sample]).unwrap();
    import.write().unwrap();
    assert_eq!(disk.list("sstables").unwrap().len(), 1);
    import.abandon().unwrap();
    assert!(disk.list("sstables").unwrap().is_empty() && answer(&engine).is_empty());
}

#[test]
fn an_import_of_more_metadata_than_a_log_record_holds_is_taken() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let mut import = engine.import(ImportOptions { tenant: tenant(), revision: 0 }, NOW);
    for metric in 0..700 {
        import.metadata(MetricMetadata {
            metric: format!("m{metric}").into(),
            metric_type: MetricType::Gauge,
            help: "h".repeat(100 << 10).into(),
            unit: "".into(),
        });
    }
    assert_eq!(import.finish().unwrap().metadata, 700);
    drop(engine);
    let engine = open(&disk);
    assert_eq!(engine.metadata(&tenant(), &MetadataQuery { metric: None }).len(), 700);
}
