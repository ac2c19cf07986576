//! Reads beside everything that changes files: each delete is seen whole or not at all, nothing is
//! lost, and nothing is there twice.

use super::tests::{NOW, all, labels, mutation, open_with, tenant, write};
use super::*;
use crate::config::Config;
use crate::retention::RetentionConfig;
use crate::sim::{Action, Outcome, SimDisk};
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::time::DAY_MS;
use model::{
    DeleteRequest, LabelSet, Matcher, Retention, RetentionRule, RetentionRules, Sample, SeriesRef,
    TimeRange,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, spawn, yield_now};

const DAYS: i64 = 4;
const SAMPLES: i64 = 5;

fn eager() -> Config {
    Config { purge_delay_ms: 0, ..compact::tests::eager(2) }
}

fn of_slot(slot: usize) -> LabelSet {
    labels(&[("__name__", "m"), ("slot", &slot.to_string())])
}

/// So many samples of each slot for each of some days, each day in a file of its own and today in
/// the head.
fn fill(engine: &Engine, slots: usize) {
    for day in (0..DAYS).rev() {
        let mut some = mutation("t");
        for slot in 0..slots {
            let at = |i: i64| NOW.0 - day * DAY_MS - i * 1000;
            let samples = (0..SAMPLES).rev().map(|i| (at(i), 1.0));
            some.push(SeriesRef::Labels(of_slot(slot)), samples);
        }
        let old = labels(&[("__name__", "old")]);
        some.push(SeriesRef::Labels(old), [(NOW.0 - (3 + day) * DAY_MS, 1.0)]);
        write(engine, &some);
        if day > 0 {
            engine.flush(NOW).unwrap();
        }
    }
}

fn delete(engine: &Engine, slot: usize) {
    let matchers = vec![Matcher::equal("slot", slot.to_string())];
    let range = TimeRange { start: TimestampMs(0), end: NOW.plus_ms(1) };
    let request = DeleteRequest { matcher_sets: vec![matchers], range, revision_max: 0 };
    engine.delete(&tenant("t"), &request, NOW).unwrap();
}

/// How many samples there are of each slot, and of other metrics by their names.
fn counts(engine: &Engine) -> BTreeMap<String, usize> {
    let series = engine.select(&tenant("t"), &all(&[]), NOW).unwrap();
    let count = |one: model::SeriesColumns| {
        let times = &one.floats.timestamps_ms;
        assert!(times.is_sorted_by(|a, b| a < b), "twice: {times:?}");
        let name = one.labels.get("slot").or(one.labels.get("__name__")).unwrap();
        (name.to_string(), times.len())
    };
    series.into_iter().map(count).collect()
}

#[test]
fn a_delete_that_a_purge_applies_in_the_middle_of_a_read_is_seen_whole_or_not_at_all() {
    let engine = open_with(&SimDisk::new(1), eager()).0;
    fill(&engine, 1);
    engine.flush(NOW).unwrap();
    let head = engine.tenant(&tenant("t"));
    let begun = AtomicBool::new(false);
    scope(|threads| {
        // The reader has its tombstones, and waits for the head.
        let held = head.symbols.write();
        let reader = threads.spawn(|| {
            begun.store(true, Ordering::Release);
            counts(&engine)
        });
        while !begun.load(Ordering::Acquire) {
            yield_now();
        }
        (0..2_000).for_each(|_| yield_now());
        delete(&engine, 0);
        let purged = engine.purge(NOW.plus_ms(1), &mut |_| true).unwrap();
        assert!(purged.is_some() && engine.stats().sstables > 2);
        drop(held);
        let count = reader.join().unwrap().get("0").copied();
        assert!(count.is_none_or(|count| count == 20), "half a delete: {count:?}");
    });
}

/// What the threads have done, and may have done.
#[derive(Debug, Default)]
struct Done {
    deletes_begun: AtomicUsize,
    deletes: AtomicUsize,
    appended: AtomicUsize,
    imported: AtomicUsize,
    rounds: AtomicUsize,
    is_over: AtomicBool,
}

impl Done {
    /// Goes on when the jobs have gone around once more.
    fn next_round(&self) {
        let round = self.rounds.load(Ordering::Acquire);
        while self.rounds.load(Ordering::Acquire) == round && !self.is_over() {
            yield_now();
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// Ends all threads when one ends, also by a panic.
struct EndsAll<'a>(&'a Done);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

/// One round of all jobs.
fn jobs(engine: &Engine, round: usize) {
    let later = NOW.plus_ms(1);
    let default =
        if round % 6 < 3 { Retention::FOR_EVER } else { Retention::from_ms(400 * 86_400_000) };
    let matchers = vec![Matcher::equal("__name__", "old")];
    let rule = RetentionRule { matchers, retention: Retention::from_ms(86_400_000) };
    let default = RetentionRules { default, rules: vec![rule] };
    engine.set_retention(&RetentionConfig { default, ..RetentionConfig::default() }, NOW).unwrap();
    engine.flush(NOW).unwrap();
    while let Some(due) = engine.next_pass(NOW).unwrap() {
        engine.compact(&due, NOW, &mut |_| true).unwrap();
    }
    while engine.purge(later, &mut |_| true).unwrap().is_some() {}
    engine.run(Job::Expire, NOW).unwrap();
    if let Some(due) = engine.next_compaction(NOW, round as u64) {
        engine.compact(&due, NOW, &mut |_| true).unwrap();
    }
}

fn append(engine: &Engine, done: &Done) {
    while !done.is_over() {
        let count = done.appended.load(Ordering::Acquire);
        let mut some = mutation("t");
        let at = NOW.0 - i64::try_from(count % 3).unwrap() * DAY_MS - i64::try_from(count).unwrap();
        some.push(SeriesRef::Labels(labels(&[("__name__", "w")])), [(at, 1.0)]);
        write(engine, &some);
        done.appended.store(count + 1, Ordering::Release);
        done.next_round();
    }
}

fn import(engine: &Engine, done: &Done) {
    while !done.is_over() {
        let count = done.imported.load(Ordering::Acquire);
        let mut import = engine.import(ImportOptions { tenant: tenant("t"), revision: 0 }, NOW);
        for day in 0..2 {
            let timestamp_ms = NOW.0 - day * DAY_MS - i64::try_from(count).unwrap();
            let sample = Sample { timestamp_ms, value: 1.0, start_timestamp_ms: 0, revision: 0 };
            import.samples(&labels(&[("__name__", "i")]), &[sample]).unwrap();
        }
        import.finish().unwrap();
        done.imported.store(count + 1, Ordering::Release);
        done.next_round();
    }
}

/// The slots of which a label query tells.
fn shown(engine: &Engine) -> BTreeSet<String> {
    let query = LabelQuery {
        want: LabelWant::Values("slot".into()),
        matcher_sets: Vec::new(),
        range: TimeRange::ALL,
        limit: 0,
        tombstones_max: u64::MAX,
    };
    match engine.labels(&tenant("t"), &query, NOW).unwrap() {
        LabelAnswer::Texts(texts) => texts.iter().map(ToString::to_string).collect(),
        LabelAnswer::Series(_) => panic!("values were asked for"),
    }
}

fn check(engine: &Engine, done: &Done, slots: usize) {
    let get = |count: &AtomicUsize| count.load(Ordering::Acquire);
    let before = (get(&done.deletes), get(&done.appended), get(&done.imported));
    let (found, shown) = (counts(engine), shown(engine));
    let begun = get(&done.deletes_begun);
    let of = |name: &str| found.get(name).copied().unwrap_or(0);
    for slot in 0..slots {
        let (count, whole) = (of(&slot.to_string()), usize::try_from(DAYS * SAMPLES).unwrap());
        assert!(count == 0 || count == whole, "slot {slot}: {count} of {whole} samples");
        assert!(slot >= before.0 || count == 0, "slot {slot} was deleted before");
        assert!(slot < begun || count == whole, "slot {slot} was lost");
        let is_shown = shown.contains(&slot.to_string());
        assert!(slot >= before.0 || !is_shown, "slot {slot} is no value any more");
        assert!(slot < begun || is_shown, "slot {slot} is a value");
    }
    assert!((before.1..=get(&done.appended) + 1).contains(&of("w")), "{} of {before:?}", of("w"));
    let imported = 2 * before.2..=2 * (get(&done.imported) + 1);
    assert!(of("i") % 2 == 0 && imported.contains(&of("i")), "{} of {before:?}", of("i"));
    assert_eq!(of("old"), 0, "its time is over");
}

#[test]
fn reads_beside_deletes_purges_passes_expiry_imports_and_flushes_are_right() {
    const SLOTS: usize = 30;
    let engine = open_with(&SimDisk::new(1), eager()).0;
    fill(&engine, SLOTS);
    jobs(&engine, 0);
    let done = Done::default();
    scope(|threads| {
        threads.spawn(|| {
            let _ends = EndsAll(&done);
            for slot in 0..SLOTS {
                done.deletes_begun.store(slot + 1, Ordering::Release);
                delete(&engine, slot);
                done.deletes.store(slot + 1, Ordering::Release);
                done.next_round();
            }
        });
        threads.spawn(|| {
            let _ends = EndsAll(&done);
            while !done.is_over() {
                jobs(&engine, done.rounds.load(Ordering::Acquire));
                done.rounds.fetch_add(1, Ordering::AcqRel);
            }
        });
        for work in [append, import] {
            let (engine, done) = (&engine, &done);
            threads.spawn(move || {
                let _ends = EndsAll(done);
                work(engine, done);
            });
        }
        for _ in 0..2 {
            threads.spawn(|| {
                let _ends = EndsAll(&done);
                while !done.is_over() {
                    check(&engine, &done, SLOTS);
                }
            });
        }
    });
    check(&engine, &done, SLOTS);
    assert!(done.rounds.load(Ordering::Acquire) >= SLOTS);
}

#[test]
fn who_may_not_wait_is_told_when_somebody_is_alone_with_the_log() {
    let (engine, _) = open_with(&SimDisk::new(1), Config::default());
    let mut one = mutation("t");
    one.push(SeriesRef::Labels(of_slot(1)), [(NOW.0, 1.0)]);
    let alone = engine.gate.write();
    assert!(engine.try_append(&one, AppendLimits::NONE, NOW).is_none());
    drop(alone);
    let appended = engine.try_append(&one, AppendLimits::NONE, NOW);
    assert!(
        matches!(appended, Some(Ok(Appended::Queued { .. }))),
        "nothing of it was there before"
    );
}

#[test]
fn a_file_that_goes_after_something_was_said_anew_of_it_stays_for_its_readers_of_before() {
    let disk = SimDisk::new(1);
    let (engine, _) = open_with(&disk, eager());
    fill(&engine, 1);
    engine.flush(NOW).unwrap();
    let readers = Arc::clone(&engine.tables.read());
    let metas = readers.metas();
    let ids: Vec<u64> = metas.iter().map(|meta| meta.id).collect();
    engine.publish_moved(&metas).unwrap();
    engine.publish(&[], &ids, &[]).unwrap();
    assert_eq!(engine.remove_retired().unwrap(), ids.len());
    drop(readers);
    assert_eq!(engine.remove_retired().unwrap(), 0);
    assert!(!disk.paths().iter().any(|path| path.ends_with(".sst")));
}

#[test]
fn while_a_flush_waits_for_a_sync_that_hangs_appends_go_on() {
    const TRIES: usize = 5_000;
    let disk = SimDisk::new(1);
    let engine = Arc::new(open_with(&disk, eager()).0);
    let mut some = mutation("t");
    some.push(SeriesRef::Labels(of_slot(0)), [(NOW.0, 1.0)]);
    engine.append(&some, AppendLimits::NONE, NOW).unwrap();
    let (flush, taken) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
    let (begun, counted, shared) =
        (Arc::clone(&flush), Arc::clone(&taken), Arc::downgrade(&engine));
    let mut is_first = true;
    disk.set_hook(move |call| {
        // In the first sync, which holds the log's file, the flush begins and cannot go on.
        if call.action == Action::SyncData && std::mem::take(&mut is_first) {
            let engine = shared.upgrade().unwrap();
            let flushes = Arc::clone(&engine);
            *begun.lock() = Some(spawn(move || flushes.flush(NOW).map(drop)));
            while !engine.flushing.is_locked() {
                yield_now();
            }
            for _ in 0..TRIES {
                yield_now();
                let appended = engine.try_append(&some, AppendLimits::NONE, NOW);
                counted.fetch_add(usize::from(appended.is_some()), Ordering::Relaxed);
            }
        }
        Outcome::Done
    });
    engine.sync().unwrap();
    flush.lock().take().unwrap().join().unwrap().unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), TRIES);
    assert_eq!(engine.select(&tenant("t"), &all(&[]), NOW).unwrap().len(), 1);
}
