//! When a tombstone goes, and what that shows and hides.

use crate::engine::retain::tests::{days, keep_all, open_jumping, pass, push, rules, shown};
use crate::engine::tests::{NOW, open, tenant};
use crate::engine::{Engine, Job};
use crate::retention::RetentionConfig;
use crate::sim::SimDisk;
use model::time::DAY_MS;
use model::{DeleteRequest, Matcher, TimeRange, TimestampMs};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Deletes `up` in `[start_ms, end_ms)`.
fn delete(engine: &Engine, start_ms: i64, end_ms: i64) {
    let range = TimeRange { start: TimestampMs(start_ms), end: TimestampMs(end_ms) };
    let matcher_sets = vec![vec![Matcher::equal("__name__", "up")]];
    let request = DeleteRequest { matcher_sets, range, revision_max: 0 };
    engine.delete(&tenant("t"), &request, NOW).unwrap();
}

fn tombstones(engine: &Engine) -> usize {
    engine.tombstones().len()
}

/// Runs what is due at a moment, as a node does; returns how many jobs that was.
fn run_all(engine: &Engine, now: i64) -> usize {
    let now = TimestampMs(now);
    let mut count = 0;
    while let Some(job) = engine.next_job(now) {
        engine.run(job, now).unwrap();
        count += 1;
        assert!(count < 10, "it does not come to rest");
    }
    count
}

/// A store that keeps three days, with a sample of today and a delete of the hour around it.
fn with_delete(disk: &SimDisk) -> Engine {
    let engine = open_jumping(disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "up", &[NOW.0]);
    push(&engine, "other", &[NOW.0 + 2 * DAY_MS]);
    engine.flush(NOW).unwrap();
    delete(&engine, NOW.0, NOW.0 + HOUR_MS);
    engine
}

/// When the window of today goes.
fn gone_ms() -> i64 {
    NOW.day().range().end.0 + 3 * DAY_MS + HOUR_MS
}

#[test]
fn a_tombstone_goes_with_the_last_window_of_its_range_and_not_before() {
    let disk = SimDisk::new(1);
    let engine = with_delete(&disk);
    // Its range is over for long, but its window is there.
    run_all(&engine, gone_ms() - 1);
    assert_eq!(tombstones(&engine), 1);
    assert!(run_all(&engine, gone_ms()) > 0);
    assert_eq!(tombstones(&engine), 0);
    drop(engine);
    let engine = open_jumping(&disk);
    assert_eq!(tombstones(&engine), 0, "reopened");
    // Numbers of those that come later are higher than of any that went.
    delete(&engine, NOW.0 + 2 * DAY_MS, NOW.0 + 3 * DAY_MS);
    assert_eq!((tombstones(&engine), shown(&engine, NOW.0).len()), (1, 1));
}

#[test]
fn without_a_file_a_tombstone_goes_an_hour_after_its_range_to_the_millisecond() {
    let disk = SimDisk::new(2);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "other", &[NOW.0 + 2 * DAY_MS]);
    engine.flush(NOW).unwrap();
    let end = NOW.0 + 5 * HOUR_MS;
    delete(&engine, NOW.0, end);
    let over = end + 3 * DAY_MS + HOUR_MS;
    for (now, left) in [(over - 1, 1), (over, 0)] {
        engine.run(Job::Expire, TimestampMs(now)).unwrap();
        assert_eq!(tombstones(&engine), left, "{}", now - over);
    }
}

#[test]
fn the_longest_rule_of_the_tenant_decides_and_for_ever_is_never_over() {
    let disk = SimDisk::new(3);
    let engine = open_jumping(&disk);
    engine.set_retention(&rules(30, 3), NOW).unwrap();
    push(&engine, "up", &[NOW.0 + 100 * DAY_MS]);
    engine.flush(NOW).unwrap();
    delete(&engine, NOW.0, NOW.0 + HOUR_MS);
    run_all(&engine, NOW.0 + 20 * DAY_MS);
    assert_eq!(tombstones(&engine), 1);
    run_all(&engine, NOW.0 + 31 * DAY_MS);
    assert_eq!(tombstones(&engine), 0);
    // Of `debug_.*` everything is kept.
    engine.set_retention(&rules(0, 3), TimestampMs(NOW.0 + 31 * DAY_MS)).unwrap();
    delete(&engine, NOW.0, NOW.0 + HOUR_MS);
    run_all(&engine, NOW.0 + 90 * DAY_MS);
    assert_eq!(tombstones(&engine), 1);
}

#[test]
fn data_in_the_head_holds_a_tombstone_until_it_is_flushed_away() {
    let disk = SimDisk::new(4);
    let engine = with_delete(&disk);
    let now = TimestampMs(gone_ms());
    push(&engine, "other", &[NOW.0 + HOUR_MS - 1]);
    engine.run(Job::Expire, now).unwrap();
    assert_eq!(tombstones(&engine), 1, "the head has a sample of the range");
    assert_ne!(engine.next_job(now), Some(Job::Expire), "nothing is due over and over");
    engine.flush(now).unwrap();
    engine.run(Job::Expire, now).unwrap();
    assert_eq!(tombstones(&engine), 0);
}

#[test]
fn what_arrives_late_in_a_forgotten_range_is_hidden_also_when_more_is_kept_and_what_comes_after_is_taken()
 {
    let disk = SimDisk::new(5);
    let engine = with_delete(&disk);
    let now = gone_ms();
    run_all(&engine, now);
    assert_eq!(tombstones(&engine), 0);
    let other = ("other".to_owned(), vec![NOW.0 + 2 * DAY_MS]);
    push(&engine, "up", &[NOW.0 + 1]);
    assert_eq!(shown(&engine, now), std::slice::from_ref(&other), "too old");
    engine.set_retention(&keep_all(days(30)), TimestampMs(now)).unwrap();
    assert_eq!(shown(&engine, now), std::slice::from_ref(&other), "it came before more was kept");
    pass(&engine, now);
    drop(engine);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(30)), TimestampMs(now)).unwrap();
    assert_eq!(shown(&engine, now), std::slice::from_ref(&other), "reopened");
    push(&engine, "up", &[NOW.0 + 2]);
    assert_eq!(shown(&engine, now), [other, ("up".to_owned(), vec![NOW.0 + 2])]);
}

#[test]
fn a_tombstone_that_has_not_gone_when_more_is_kept_stays_as_long_as_that() {
    let disk = SimDisk::new(6);
    let engine = with_delete(&disk);
    let now = gone_ms() - 1;
    engine.set_retention(&keep_all(days(30)), TimestampMs(now)).unwrap();
    pass(&engine, now);
    run_all(&engine, gone_ms() + DAY_MS);
    assert_eq!(tombstones(&engine), 1);
    push(&engine, "up", &[NOW.0 + 2]);
    assert_eq!(shown(&engine, now).len(), 1, "`up` stays hidden");
}

#[test]
fn a_clock_that_starts_far_ahead_forgets_no_tombstone() {
    let disk = SimDisk::new(7);
    let (engine, _) = open(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    push(&engine, "other", &[NOW.0 + 2 * DAY_MS]);
    engine.flush(NOW).unwrap();
    delete(&engine, NOW.0, NOW.0 + HOUR_MS);
    engine.run(Job::Expire, TimestampMs(NOW.0 + 20_000 * DAY_MS)).unwrap();
    assert_eq!(tombstones(&engine), 1);
}

#[test]
fn rules_that_the_manifest_does_not_know_forget_no_tombstone() {
    let disk = SimDisk::new(8);
    let engine = open_jumping(&disk);
    engine.set_retention(&keep_all(days(3)), NOW).unwrap();
    delete(&engine, NOW.0, NOW.0 + HOUR_MS);
    run_all(&engine, NOW.0 + 20 * DAY_MS);
    assert_eq!(tombstones(&engine), 1);
    engine.set_retention(&RetentionConfig::default(), NOW).unwrap();
    push(&engine, "up", &[NOW.0 + 1]);
    assert_eq!(shown(&engine, NOW.0), []);
}

/// Asks as replicas do: each takes what the other has; returns how many were news.
fn exchange(a: &Engine, b: &Engine, now: i64) -> u64 {
    let of_a = a.adopt(b.tombstones(), TimestampMs(now)).unwrap();
    of_a + b.adopt(a.tombstones(), TimestampMs(now)).unwrap()
}

#[test]
fn replicas_that_forget_at_times_of_their_own_do_not_hand_a_tombstone_back_and_forth() {
    let disks = [SimDisk::new(9), SimDisk::new(10)];
    let [a, b] = disks.each_ref().map(with_delete);
    assert_eq!(exchange(&a, &b, gone_ms() - 1), 0);
    run_all(&a, gone_ms());
    assert_eq!((tombstones(&a), tombstones(&b)), (0, 1));
    for _ in 0..3 {
        assert_eq!(exchange(&a, &b, gone_ms()), 0, "one that has forgotten it takes it no more");
        assert_eq!(run_all(&a, gone_ms()), 0, "and has nothing to forget");
    }
    assert!(run_all(&b, gone_ms()) > 0);
    assert_eq!((exchange(&a, &b, gone_ms()), tombstones(&a), tombstones(&b)), (0, 0, 0));
}

#[test]
fn a_replica_that_was_away_takes_what_is_not_over_here_to_the_millisecond() {
    let disks = [SimDisk::new(11), SimDisk::new(12)];
    let [a, b] = disks.each_ref().map(open_jumping);
    for engine in [&a, &b] {
        engine.set_retention(&keep_all(days(3)), NOW).unwrap();
        push(engine, "other", &[NOW.0 + 2 * DAY_MS]);
        engine.flush(NOW).unwrap();
    }
    let end = NOW.0 + 5 * HOUR_MS;
    delete(&a, NOW.0, end);
    delete(&a, NOW.0 + 2 * DAY_MS, NOW.0 + 2 * DAY_MS + 1);
    let over = end + 3 * DAY_MS + HOUR_MS;
    let adopt = |now| b.adopt(a.tombstones(), TimestampMs(now)).unwrap();
    assert_eq!((adopt(over), tombstones(&b)), (1, 1), "the other delete is not over");
    assert_eq!((adopt(over - 1), tombstones(&b)), (1, 2));
}

#[test]
fn a_tombstone_of_a_peer_is_taken_while_there_is_something_here_that_it_hides() {
    let disks = [SimDisk::new(13), SimDisk::new(14)];
    let [a, b] = disks.each_ref().map(open_jumping);
    for engine in [&a, &b] {
        engine.set_retention(&keep_all(days(3)), NOW).unwrap();
        push(engine, "other", &[NOW.0 + 2 * DAY_MS]);
        engine.flush(NOW).unwrap();
    }
    delete(&a, NOW.0, NOW.0 + HOUR_MS);
    push(&b, "up", &[NOW.0 + 1]);
    assert_eq!(b.adopt(a.tombstones(), TimestampMs(gone_ms())).unwrap(), 1, "in the head");
    // More is kept: what is deleted may be shown again, so it has to be known.
    let disk = SimDisk::new(15);
    let c = open_jumping(&disk);
    c.set_retention(&keep_all(days(30)), NOW).unwrap();
    push(&c, "other", &[NOW.0 + 2 * DAY_MS]);
    c.flush(NOW).unwrap();
    assert_eq!(c.adopt(a.tombstones(), TimestampMs(gone_ms())).unwrap(), 1, "kept for longer");
}
