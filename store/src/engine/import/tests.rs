//! Imports: live all at once or not at all, joined with what is there, and idempotent.

use super::{ImportOptions, ImportReport};
use crate::disk::Disk;
use crate::engine::{Engine, Parts};
use crate::sim::SimDisk;
use crate::{Config, Error, RetentionConfig};
use model::mutation::{MetricMetadata, MetricType};
use model::read::{MetadataQuery, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{
    LabelSet, MatchOp, Matcher, Retention, RetentionRules, Sample, TenantId, TimeRange, TimestampMs,
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
    };
    let series = engine.select(&tenant(), &selection, NOW).unwrap().into_iter();
    series.map(|one| (one.labels, one.floats.timestamps_ms, one.floats.values)).collect()
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
