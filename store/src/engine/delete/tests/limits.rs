//! Deletes are bounded in number, and what one question may look at of them is too.

use super::*;

#[test]
fn a_bad_matcher_and_one_tombstone_too_many_delete_nothing() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, 5, 1.0)]));
    let bad = DeleteRequest {
        matcher_sets: vec![vec![], vec![Matcher::new("a", MatchOp::Regex, "(")]],
        ..request(&[], 0, 10)
    };
    assert!(matches!(engine.delete(&t(), &bad, NOW), Err(Error::BadMatcher { .. })));
    let long = "x".repeat(40 << 20);
    let long = request(&[Matcher::equal("a", long.as_str())], 0, 10);
    assert!(matches!(engine.delete(&t(), &long, NOW), Err(Error::TooManyTombstones { .. })));
    assert_eq!(engine.tombstones(), vec![]);
    assert_eq!(everything(&engine, &[], TimeRange::ALL).len(), 1);
}

#[test]
fn a_read_that_too_many_deletes_touch_fails_by_name_and_others_do_not() {
    let disk = SimDisk::new(1);
    let config = Config { read_tombstones_warn: 1, tombstones_max: 4, ..Config::default() };
    let parts =
        Parts { disk: Arc::new(disk.clone()), cluster_name: "test".to_owned(), generation_seed: 1 };
    let engine = Engine::open(parts, config, NOW).unwrap().0;
    let delete = |i: i64| engine.delete(&t(), &request(&[], i * 10, i * 10 + 5), NOW);
    let until = |end| TimeRange { start: TimestampMs(0), end: TimestampMs(end) };
    let read = |end, tombstones_max| {
        let bounds = SelectBounds { tombstones_max, ..SelectBounds::NONE };
        engine.select(&t(), &Selection { bounds, ..selection(&[], until(end)) }, NOW)
    };
    for i in 0..4 {
        delete(i).unwrap();
    }
    assert!(read(25, 3).is_ok() && read(5, 1).is_ok() && read(40, 4).is_ok());
    assert_eq!(engine.stats().reads_tombstones_warned_total, 2);
    assert_eq!(engine.take_deleted_reads().len(), 1);
    let error = read(100, 3).unwrap_err();
    assert!(matches!(error, Error::TooManyReadTombstones { tombstones: 4, tombstones_max: 3, .. }));
    let text = "limit `max_query_tombstones` 3 of tenant `t`";
    assert!(error.to_string().contains(text), "{error}");
    let named = engine.take_deleted_reads();
    assert_eq!(named.len(), 1, "the worst read of a metric is named");
    assert_eq!((named[0].tombstones, named[0].is_refused), (4, true));
    assert_eq!(engine.take_deleted_reads(), []);
    let stats = engine.stats();
    assert_eq!((stats.reads_tombstones_warned_total, stats.reads_tombstones_refused_total), (3, 1));
    assert!(matches!(delete(4), Err(Error::TooManyTombstones { limit: 4, .. })));
}

#[test]
fn questions_about_labels_and_exemplars_keep_to_the_limit_of_deletes_as_samples_do() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    write(&engine, 0, &[(0, 5, 1.0)]);
    for i in 0..3 {
        engine.delete(&t(), &request(&[], 10 + i * 10, 15 + i * 10), NOW).unwrap();
    }
    let (range, matcher_sets) = (TimeRange::ALL, vec![vec![]]);
    let labels = |want, tombstones_max| {
        let matcher_sets = matcher_sets.clone();
        engine.labels(
            &t(),
            &LabelQuery { want, matcher_sets, range, limit: 0, tombstones_max },
            NOW,
        )
    };
    let exemplars = |tombstones_max| {
        let matcher_sets = matcher_sets.clone();
        let query = ExemplarQuery { matcher_sets, range, exemplars_max: u64::MAX, tombstones_max };
        engine.exemplars_at(&t(), &query, NOW)
    };
    let is_refused = |error| matches!(error, Error::TooManyReadTombstones { tombstones: 3, .. });
    for want in [LabelWant::Names, LabelWant::Series, LabelWant::Values("job".into())] {
        assert!(labels(want.clone(), 3).is_ok());
        assert!(is_refused(labels(want, 2).unwrap_err()));
    }
    assert!(exemplars(3).is_ok());
    assert!(is_refused(exemplars(2).unwrap_err()));
}
