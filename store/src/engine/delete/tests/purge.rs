//! After a purge, nothing is left of what was deleted: no byte in any file.

use super::*;

#[test]
fn after_a_purge_no_file_holds_a_byte_of_what_was_deleted() {
    const NEEDLE: &str = "needle-9f3ac1";
    let value = f64::from_bits(0x4a5b_6c7d_8e9f_a1b3);
    let deleted =
        LabelSet::from_pairs([("__name__", "m"), ("instance", NEEDLE), ("job", "gone")]).unwrap();
    for seals in [false, true] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        let rows: Vec<_> = (0_usize..6).map(|index| (index, NOW.0, 1.0)).collect();
        let keep: Vec<_> = (0_usize..6).map(|index| (index, NOW.0 - 5 * DAY_MS, 2.0)).collect();
        assert!(write(&engine, 0, &rows) && write(&engine, 0, &keep));
        let mut m = Mutation::empty(context());
        // In windows of its own, beside others, and in the head.
        m.push(SeriesRef::Labels(deleted.clone()), [(NOW.0 - 9 * DAY_MS, value), (NOW.0, value)]);
        assert!(append(&engine, &m));
        engine.flush(NOW).unwrap();
        if seals {
            seal(&engine);
        }
        let mut m = Mutation::empty(context());
        m.push(SeriesRef::Labels(deleted.clone()), [(NOW.0 + 1, value)]);
        assert!(append(&engine, &m));

        let needles =
            [NEEDLE.as_bytes(), &value.to_bits().to_le_bytes(), &value.to_bits().to_be_bytes()];
        let found = |needles: &[&[u8]]| -> Vec<String> {
            needles.iter().flat_map(|needle| files_with(&disk, needle)).collect()
        };
        assert!(!found(&needles[..1]).is_empty() && !found(&needles[1..]).is_empty());
        let job = [Matcher::equal("job", "gone")];
        let others = everything(&engine, &[Matcher::equal("job", "")], TimeRange::ALL);
        assert_eq!(everything(&engine, &[], TimeRange::ALL).len(), others.len() + 1);
        engine.delete(&t(), &request(&job, i64::MIN, i64::MAX), NOW).unwrap();
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);

        let reports = purge(&engine);
        assert_eq!(found(&needles), Vec::<String>::new());
        // Of three windows one goes whole, one is written anew, one is left alone.
        let mut after: Vec<bool> = reports.iter().map(|report| report.bytes_after > 0).collect();
        after.sort_unstable();
        assert_eq!(after, [false, true]);
        assert_eq!(purge(&engine), []);
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);
        // What comes late stays hidden, and goes with the next purge.
        assert!(append(&engine, &m));
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);
        purge(&engine);
        assert_eq!(found(&needles), Vec::<String>::new());
        drop(engine);
        let engine = open(&disk);
        assert_eq!(everything(&engine, &[], TimeRange::ALL), others);
        assert_eq!(purge(&engine), []);
    }
}

#[test]
fn after_a_purge_nothing_says_what_a_metric_means_that_is_gone_and_others_are_told() {
    const NEEDLE: &str = "needle-help";
    let described = |engine: &Engine| -> Vec<String> {
        let all = engine.metadata(&t(), &model::read::MetadataQuery { metric: None });
        all.iter().map(|entry| entry.metric.to_string()).collect()
    };
    for (asked, flushes) in [(true, false), (true, true), (false, true)] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        let m = described_series(NEEDLE);
        assert!(append(&engine, &m));
        if flushes {
            engine.flush(NOW).unwrap();
        }
        let names = Matcher::new("__name__", MatchOp::Regex, "gone|left|w.*");
        let gone = [Matcher::equal("job", "x"), names];
        engine.delete(&t(), &request(&gone, i64::MIN, i64::MAX), NOW).unwrap();
        assert_eq!(described(&engine), ["gone", "left", "other", "wide"]);
        if asked {
            purge_as_threads_do(&engine);
            assert_eq!(files_with(&disk, NEEDLE.as_bytes()), Vec::<String>::new());
            assert!(!files_with(&disk, b"kept-help").is_empty());
        } else {
            let later = NOW.plus_ms(20 * 60 * 1000);
            while engine.purge(later, &mut |_| true).unwrap().is_some() {}
            engine.flush(later).unwrap();
        }
        // No delete can mean `other`, and a series of a histogram is left.
        assert_eq!(described(&engine), ["left", "other", "wide"]);
        drop(engine);
        let engine = open(&disk);
        assert_eq!(described(&engine), ["left", "other", "wide"]);
        assert!(append(&engine, &m));
        assert_eq!(described(&engine).len(), 4, "who says it again is heard");
    }
}

/// Series of two jobs, and metadata of them and of a metric without a series.
fn described_series(help: &str) -> Mutation {
    let mut m = Mutation::empty(context());
    for (metric, job) in
        [("gone", "x"), ("left", "x"), ("left", "y"), ("wide_bucket", "y"), ("wide_sum", "x")]
    {
        let labels = LabelSet::from_pairs([("__name__", metric), ("job", job)]).unwrap();
        m.push(SeriesRef::Labels(labels), [(NOW.0 - DAY_MS, 1.0), (NOW.0, 2.0)]);
    }
    for metric in ["gone", "left", "wide", "other"] {
        m.metadata.push(model::mutation::MetricMetadata {
            metric: metric.into(),
            metric_type: model::mutation::MetricType::Gauge,
            help: if metric == "gone" { help } else { "kept-help" }.into(),
            unit: "".into(),
        });
    }
    m
}

/// Jobs and purges, until there is no more of either.
fn purge_as_threads_do(engine: &Engine) {
    engine.ask_for_purge();
    for _ in 0..5 {
        let mut is_idle = true;
        while let Some(job) = engine.next_job(NOW) {
            engine.run(job, NOW).unwrap();
            is_idle = false;
            // What comes in the middle of the flushes makes them begin again.
            while engine.purge(NOW, &mut |_| true).unwrap().is_some() {}
        }
        while engine.purge(NOW, &mut |_| true).unwrap().is_some() {}
        if is_idle {
            return;
        }
    }
    panic!("it comes to an end");
}

/// What is shown of exemplars: series by `instance`, and the traces of each.
fn traces(engine: &Engine) -> Vec<(String, Vec<String>)> {
    let found = engine.exemplars(&t(), &[vec![]], TimeRange::ALL, NOW).unwrap();
    let text = |labels: &LabelSet, name: &str| labels.get(name).unwrap().to_string();
    let of = |series: model::exemplar::SeriesExemplars| {
        let traces = series.exemplars.iter().map(|e| text(&e.labels, "trace_id")).collect();
        (text(&series.labels, "instance"), traces)
    };
    found.into_iter().map(of).collect()
}

/// Writes exemplars of a series: times and traces.
fn write_traces(engine: &Engine, instance: &str, traces: &[(i64, &str)]) {
    let labels = [("__name__", "m"), ("instance", instance)];
    let mut m = Mutation::empty(context());
    m.push(SeriesRef::Labels(LabelSet::from_pairs(labels).unwrap()), [(NOW.0, 1.0)]);
    for (timestamp_ms, trace) in traces.iter().copied() {
        let labels = LabelSet::from_pairs([("trace_id", trace)]).unwrap();
        let value = f64::from_bits(0x4a5b_6c7d_8e9f_a1b3);
        m.exemplars.push((0, model::Exemplar { timestamp_ms, value, labels }));
    }
    assert!(append(engine, &m));
}

#[test]
fn after_a_purge_no_file_holds_a_byte_of_a_deleted_exemplar_and_the_others_are_there() {
    const GONE: &str = "needle-trace";
    let kept = |instance: &str| (instance.to_owned(), vec!["kept-trace".to_owned()]);
    for flushes in [false, true] {
        let disk = SimDisk::new(1);
        let engine = open(&disk);
        write_traces(&engine, "whole-needle", &[(NOW.0 - 7, GONE)]);
        write_traces(&engine, "part", &[(NOW.0 - 10, GONE), (NOW.0 - 5, "kept-trace")]);
        write_traces(&engine, "other", &[(NOW.0 - 10, "kept-trace")]);
        if flushes {
            // In the checkpoint, and no longer in the log.
            engine.flush(NOW).unwrap();
        }
        assert!(!files_with(&disk, GONE.as_bytes()).is_empty());
        let whole = [Matcher::equal("instance", "whole-needle")];
        engine.delete(&t(), &request(&whole, i64::MIN, i64::MAX), NOW).unwrap();
        let part = [Matcher::equal("instance", "part")];
        engine.delete(&t(), &request(&part, NOW.0 - 10, NOW.0 - 5), NOW).unwrap();
        let left = vec![kept("other"), kept("part")];
        assert_eq!(traces(&engine), left, "hidden at once");
        purge(&engine);
        assert_eq!(files_with(&disk, GONE.as_bytes()), Vec::<String>::new());
        assert!(!files_with(&disk, b"kept-trace").is_empty());
        assert_eq!(traces(&engine), left);
        // What comes late is hidden, and goes with the next purge.
        write_traces(&engine, "part", &[(NOW.0 - 10, GONE)]);
        assert_eq!(traces(&engine), left);
        purge(&engine);
        assert_eq!(files_with(&disk, GONE.as_bytes()), Vec::<String>::new());
        assert_eq!(engine.stats().exemplars, 2);
        drop(engine);
        let engine = open(&disk);
        assert_eq!(traces(&engine), left, "from the checkpoint");
        let stats = engine.stats();
        assert_eq!((stats.exemplars_lost_limit_total, stats.exemplars_lost_idle_total), (0, 0));
    }
}

#[test]
fn nobody_asked_a_delete_is_purged_when_it_is_old_enough_and_only_what_it_hides() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, NOW.0, 1.0), (1, NOW.0, 1.0)]));
    engine.flush(NOW).unwrap();
    let at = |now: TimestampMs| engine.purge(now, &mut |_| true).unwrap();
    engine.delete(&t(), &request(&[Matcher::equal("x", "1")], 0, i64::MAX), NOW).unwrap();
    let later = NOW.plus_ms(20 * 60 * 1000);
    assert_eq!(at(later), None, "nothing is hidden");
    engine.delete(&t(), &request(&[Matcher::equal(METRIC_NAME, "m")], 0, i64::MAX), NOW).unwrap();
    assert_eq!(at(NOW), None);
    let report = at(later).unwrap();
    assert_eq!((report.samples_purged, at(later)), (1, None));
}

#[test]
fn a_delete_that_is_repeated_again_and_again_does_not_put_off_its_purge() {
    const MINUTE_MS: i64 = 60 * 1000;
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    assert!(write(&engine, 0, &[(0, NOW.0, 1.0), (1, NOW.0, 1.0)]));
    engine.flush(NOW).unwrap();
    let mut purged = Vec::new();
    for minute in 0..60 {
        let now = NOW.plus_ms(minute * MINUTE_MS);
        if minute % 5 == 0 {
            let again = request(&[Matcher::equal(METRIC_NAME, "m")], 0, now.0 + 1);
            engine.delete(&t(), &again, now).unwrap();
            assert_eq!(engine.stats().tombstones, 1);
        }
        while let Some(report) = engine.purge(now, &mut |_| true).unwrap() {
            purged.push((minute, report.samples_purged));
        }
    }
    assert_eq!(purged, [(16, 1)]);
}
