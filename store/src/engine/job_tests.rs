//! Which job is due: a flush leaves nothing behind that makes the next one due.

use super::tests::{NOW, labels, mutation, open_with, small_room, write};
use super::{AppendLimits, Engine, FlushReason, Job};
use crate::Config;
use crate::sim::SimDisk;
use model::mutation::Mutation;
use model::{Exemplar, SeriesRef};

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
