//! Which job is due: a flush leaves nothing behind that makes the next one due.

use super::tests::{NOW, labels, mutation, open_with, small_room, write};
use super::{AppendLimits, Engine, FlushReason, Job};
use crate::Config;
use crate::sim::SimDisk;
use model::mutation::Mutation;
use model::SeriesRef;

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
