//! Which job is due: a flush leaves nothing behind that makes the next one due.

use super::tests::{NOW, labels, mutation, open_with, small_room, tenant, write};
use super::{AppendLimits, FlushReason, Job};
use crate::Config;
use crate::disk::Disk;
use crate::head::shard::Shard;
use crate::manifest::SSTABLE_DIRECTORY;
use crate::sim::{Action, Call, Outcome, SimDisk};
use model::mutation::Mutation;
use model::sample::SampleKind;
use model::time::DAY_MS;
use model::{Exemplar, Histogram, SeriesRef};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

fn flush(reason: FlushReason) -> Option<Job> {
    Some(Job::Flush(reason))
}

/// Samples of one series.
fn samples(samples: impl IntoIterator<Item = (i64, f64)>) -> Mutation {
    let mut one = mutation("t");
    one.push(SeriesRef::Labels(labels(&[("__name__", "up")])), samples);
    one
}

#[test]
fn samples_that_fell_to_others_of_their_moment_leave_no_tail() {
    let config = Config { tail_samples_max: 100, tail_samples_per_series: 0, ..small_room() };
    let (engine, _) = open_with(&SimDisk::new(1), config);
    write(&engine, &samples([(NOW.0 + 1_000, 0.0)]));
    write(&engine, &samples((0..300).map(|n| (NOW.0 + 500, f64::from(n)))));
    assert_eq!(engine.next_job(NOW), flush(FlushReason::LongTail));
    engine.flush(NOW).unwrap();
    assert_eq!(engine.stats().head_samples, 0);
    assert_eq!(engine.next_job(NOW), None);
    write(&engine, &samples([(NOW.0 + 2_000, 0.0)]));
    assert_eq!((engine.stats().head_samples, engine.next_job(NOW)), (1, None));
}

#[test]
fn exemplars_which_no_flush_takes_are_no_memory_pressure() {
    let config = Config { head_bytes_max: 1 << 20, ..small_room() };
    let (engine, _) = open_with(&SimDisk::new(1), config);
    let mut many = mutation("t");
    for series in 0..100 {
        let own = labels(&[("__name__", "up"), ("instance", &series.to_string())]);
        many.push(SeriesRef::Labels(own), [(NOW.0, 1.0)]);
        many.exemplars.extend((0..100).map(|n| {
            let labels = labels(&[("trace_id", &n.to_string())]);
            (series, Exemplar { timestamp_ms: NOW.0 + n, value: 1.0, labels })
        }));
    }
    write(&engine, &many);
    engine.flush(NOW).unwrap();
    assert_eq!(engine.stats().exemplars, 10_000);
    write(&engine, &samples([(NOW.0 + 1_000, 0.0)]));
    assert_eq!(engine.next_job(NOW), None);
}

/// A sample on each of so many days, which are a chunk each: as one row, or as a row each.
fn days(kind: SampleKind, count: i64, is_one_row: bool) -> Mutation {
    let series = || SeriesRef::Labels(labels(&[("__name__", "up")]));
    let mut many = mutation("t");
    many.kind = kind;
    for day in 0..count {
        many.timestamps_ms.push(NOW.0 + day * DAY_MS);
        match kind {
            SampleKind::Float => many.values.push(1.0),
            SampleKind::Histogram => many.histograms.push(Arc::new(Histogram::stale())),
        }
        if !is_one_row || day == count - 1 {
            many.end_series(series());
        }
    }
    many
}

#[test]
fn chunks_that_a_request_completes_count_as_memory() {
    for kind in [SampleKind::Float, SampleKind::Histogram] {
        let (engine, _) = open_with(&SimDisk::new(1), small_room());
        write(&engine, &days(kind, 2_000, true));
        let counted = engine.stats().head_sample_bytes;
        let held = |shard: &Shard| shard.iter().map(|own| own.sample_bytes() as u64).sum::<u64>();
        let held: u64 = engine.tenant(&tenant("t")).shards().map(|shard| held(&shard)).sum();
        assert!(held >= 64 * 2_000 && counted == held, "{kind:?}: {counted}, and {held} are held");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time is what is looked at")]
fn rows_of_a_series_take_no_longer_for_the_chunks_it_has() {
    let append = |kind| {
        let (engine, _) = open_with(&SimDisk::new(1), Config::default());
        let many = days(kind, 50_000, false);
        let began = Instant::now();
        engine.append(&many, AppendLimits::NONE, NOW).unwrap();
        began.elapsed()
    };
    // The least of a few: the machine may have other things to do in between.
    let least = |kind| (0..3).map(|_| append(kind)).min().unwrap_or_default();
    let (floats, histograms) = (least(SampleKind::Float), least(SampleKind::Histogram));
    assert!(histograms < floats * 10, "{histograms:?}, and {floats:?} for floats");
}

/// Fails each new sstable.
fn no_sstable(call: Call<'_>) -> Outcome {
    match call.action == Action::CreateNew && call.path.starts_with(SSTABLE_DIRECTORY) {
        true => Outcome::Fail(ErrorKind::StorageFull),
        false => Outcome::Done,
    }
}

#[test]
fn a_flush_for_a_short_disk_is_due_until_one_is_done() {
    let disk = SimDisk::new(1);
    let config = Config { disk_reserve_bytes: Some(4 << 20), ..small_room() };
    let (engine, _) = open_with(&disk, config);
    write(&engine, &samples([(NOW.0, 1.0)]));
    disk.set_capacity_bytes(Some(
        disk.total_bytes().unwrap() - disk.free_bytes().unwrap() + (2 << 20),
    ));
    assert!(engine.check_disk().unwrap().is_short);
    disk.set_hook(no_sstable);
    for _ in 0..2 {
        assert_eq!(engine.next_job(NOW), flush(FlushReason::DiskReserve));
        engine.flush(NOW).unwrap_err();
        engine.check_disk().unwrap();
    }
    disk.clear_hook();
    assert_eq!(engine.next_job(NOW), flush(FlushReason::DiskReserve));
    engine.flush(NOW).unwrap();
    assert_eq!(engine.next_job(NOW), None);
}

#[test]
fn a_clock_that_was_ahead_holds_up_no_border_and_keeps_no_series() {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    let (engine, _) = open_with(&SimDisk::new(1), small_room());
    let ahead = NOW.plus_ms(30 * DAY_MS);
    engine.append(&samples([(NOW.0, 1.0)]), AppendLimits::NONE, ahead).unwrap();
    engine.flush(ahead).unwrap();
    write(&engine, &samples([(NOW.0 + 1, 1.0)]));
    let border = flush(FlushReason::BlockBorder);
    assert_eq!(engine.next_job(NOW.plus_ms(3 * HOUR_MS)), border);
    engine.append(&samples([(NOW.0 + 2, 1.0)]), AppendLimits::NONE, ahead).unwrap();
    assert_eq!(engine.flush(NOW.plus_ms(3 * HOUR_MS)).unwrap().series_dropped, 0);
    assert_eq!(engine.flush(NOW.plus_ms(5 * HOUR_MS)).unwrap().series_dropped, 1);
}

#[test]
fn a_purge_asked_for_again_while_its_flush_works_begins_again() {
    let disk = SimDisk::new(1);
    let (engine, _) = open_with(&disk, small_room());
    let engine = Arc::new(engine);
    write(&engine, &samples([(NOW.0, 1.0)]));
    engine.ask_for_purge();
    let asks = Arc::downgrade(&engine);
    disk.set_hook(move |call| {
        if no_sstable(call) != Outcome::Done {
            asks.upgrade().unwrap().ask_for_purge();
        }
        Outcome::Done
    });
    engine.flush(NOW).unwrap();
    disk.clear_hook();
    write(&engine, &samples([(NOW.0 + 1, 1.0)]));
    for _ in 0..2 {
        assert_eq!(engine.next_job(NOW), flush(FlushReason::Asked));
        engine.flush(NOW).unwrap();
    }
    assert_eq!(engine.next_job(NOW), None);
}
