//! Checkpoints of heads that are larger than a frame may be.

use crate::checkpoint::{self, FRAME_BYTES_MAX};
use crate::disk::Disk;
use crate::engine::tests::{NOW, labels, mutation, open, tenant, write};
use crate::engine::{AppendLimits, Engine};
use crate::manifest::CHECKPOINT_DIRECTORY;
use crate::sim::SimDisk;
use model::mutation::{MetricMetadata, MetricType};
use model::read::MetadataQuery;
use model::{Exemplar, LabelSet, SeriesRef};

/// The sizes of the frames of the only checkpoint.
fn frames(disk: &SimDisk) -> Vec<usize> {
    let names = disk.list(CHECKPOINT_DIRECTORY).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    let mut sizes = Vec::new();
    let path = format!("{CHECKPOINT_DIRECTORY}/{}", names[0]);
    checkpoint::read(disk, &path, &mut |frame| {
        sizes.push(frame.len());
        Ok(())
    })
    .unwrap();
    sizes
}

fn assert_bounded(frames: &[usize]) {
    assert!(frames.iter().all(|bytes| *bytes < FRAME_BYTES_MAX / 3), "{frames:?}");
}

/// A series with so many KiB of labels that no other has.
fn wide(number: usize, kib: usize) -> LabelSet {
    let names: Vec<String> = (0..kib).map(|index| format!("l{index:02}")).collect();
    let value = |index: usize| format!("{number:06}-{index:02}{}", "x".repeat(1015));
    let pairs = names.iter().enumerate().map(|(index, name)| (name.clone(), value(index)));
    LabelSet::from_pairs(pairs.chain([("__name__".to_owned(), "wide".to_owned())])).unwrap()
}

fn describe(engine: &Engine, metrics: usize, help_bytes: usize) {
    for metric in 0..metrics {
        let mut told = mutation("t");
        told.metadata.push(MetricMetadata {
            metric: format!("metric_{metric:06}").into(),
            metric_type: MetricType::Gauge,
            help: "h".repeat(help_bytes).into(),
            unit: "".into(),
        });
        write(engine, &told);
    }
}

#[test]
fn a_head_with_80_mib_of_labels_is_flushed_and_comes_back() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    for first in (0..5_000).step_by(500) {
        let mut some = mutation("t");
        for number in first..first + 500 {
            some.push(SeriesRef::Labels(wide(number, 16)), [(NOW.0, 1.0)]);
        }
        write(&engine, &some);
    }
    assert_eq!(engine.flush(NOW).unwrap().series, 5_000);
    assert_eq!(engine.stats().head_samples, 0);
    assert_bounded(&frames(&disk));
    drop(engine);
    disk.power_cut();
    let (engine, report) = open(&disk);
    assert_eq!(report.series, 5_000);
    let mut again = mutation("t");
    again.push(SeriesRef::Labels(wide(4_999, 16)), [(NOW.0 + 1, 1.0)]);
    write(&engine, &again);
    assert_eq!(engine.stats().series, 5_000, "it is known by its labels");
}

#[test]
fn a_tenant_with_80_mib_of_metadata_is_flushed_and_keeps_it() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    describe(&engine, 800, 100 << 10);
    engine.flush(NOW).unwrap();
    assert_bounded(&frames(&disk));
    drop(engine);
    disk.power_cut();
    let (engine, _) = open(&disk);
    assert_eq!(engine.metadata(&tenant("t"), &MetadataQuery { metric: None }).len(), 800);
}

#[test]
fn small_tenants_have_a_frame_of_series_each_and_their_exemplars_come_behind() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    for name in ["a", "b"] {
        let mut some = mutation(name);
        some.push(SeriesRef::Labels(labels(&[("__name__", "m")])), [(NOW.0, 1.0)]);
        let exemplar = Exemplar { labels: labels(&[("id", "1")]), value: 1.0, timestamp_ms: NOW.0 };
        some.exemplars.push((0, exemplar));
        write(&engine, &some);
        assert!(engine.append(&mutation(name), AppendLimits::NONE, NOW).is_ok());
    }
    engine.flush(NOW).unwrap();
    assert_eq!(frames(&disk).len(), 4);
    drop(engine);
    let (engine, _) = open(&disk);
    assert_eq!(engine.stats().exemplars, 2);
}
