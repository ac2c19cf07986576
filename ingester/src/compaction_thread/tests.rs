//! The order of work when some of it cannot be done.

use super::*;
use model::mutation::Mutation;
use model::time::DAY_MS;
use model::{
    Context, DeleteRequest, LabelSet, Matcher, Principal, RequestId, SeriesRef, TenantId,
    TimeRange, TimestampMs,
};
use prometheus::Registry;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use store::disk::Disk;
use store::engine::{AppendLimits, Parts};
use store::sim::SimDisk;

const NOW_MS: i64 = 20_000 * DAY_MS + DAY_MS / 2;

#[derive(Debug)]
struct SetByHand {
    now_ms: AtomicI64,
    ns: AtomicU64,
}

impl Clock for SetByHand {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Ordering::Relaxed))
    }
    fn monotonic_ns(&self) -> u64 {
        self.ns.fetch_add(3_600_000_000_000, Ordering::Relaxed)
    }
}

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

/// Flushes so many samples of a metric into a window of so many days ago.
fn flush(engine: &Engine, metric: &str, days_ago: i64, samples: i64) {
    let mut mutation = Mutation::empty(Arc::new(Context {
        tenant: tenant(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: TimestampMs(0),
        ring_version: 0,
    }));
    let labels = LabelSet::from_pairs([("__name__", metric)]).unwrap();
    let at = |i: i64| NOW_MS - days_ago * DAY_MS + i;
    let value = |i: i64| (i as f64).sin();
    mutation.push(SeriesRef::Labels(labels), (0..samples).map(|i| (at(i), value(i))));
    engine.append(&mutation, AppendLimits::NONE, TimestampMs(NOW_MS)).unwrap();
    engine.sync().unwrap();
    engine.flush(TimestampMs(NOW_MS)).unwrap();
}

/// What a thread on this disk does, with no thread; and its clock.
fn compactor(disk: &SimDisk) -> (Compactor, Arc<SetByHand>, SyncSender<Message>) {
    let parts =
        Parts { disk: Arc::new(disk.clone()), cluster_name: "c".to_owned(), generation_seed: 7 };
    let config = store::Config {
        disk_reserve_bytes: Some(0),
        purge_delay_ms: 0,
        ..store::Config::default()
    };
    let (engine, _) = Engine::open(parts, config, TimestampMs(NOW_MS)).unwrap();
    let clock = SetByHand { now_ms: AtomicI64::new(NOW_MS), ns: AtomicU64::new(0) };
    let clock = Arc::new(clock);
    let (inbox, messages) = sync_channel(ASKS_MAX);
    let compactor = Compactor {
        engine: Arc::new(engine),
        clock: clock.clone(),
        telemetry: Arc::new(Telemetry::new(&Registry::new()).unwrap()),
        messages,
        bytes_per_second: 1 << 40,
        scrub: ScrubPace::new(1, 0),
        asks: Vec::new(),
        stopped: false,
    };
    (compactor, clock, inbox)
}

#[test]
fn a_window_that_finds_no_room_holds_up_no_other_window_no_purge_and_no_scrub() {
    let disk = SimDisk::new(1);
    let (mut compactor, clock, _inbox) = compactor(&disk);
    let engine = Arc::clone(&compactor.engine);
    flush(&engine, "deleted", 4, 10);
    assert_eq!((compactor.next(), compactor.next()), (Step::Done, Step::Rest));
    flush(&engine, "large", 2, 20_000);
    flush(&engine, "large", 2, 20_000);
    flush(&engine, "small", 3, 10);
    flush(&engine, "small", 3, 10);
    let request = DeleteRequest {
        matcher_sets: vec![vec![Matcher::equal("__name__", "deleted")]],
        range: TimeRange { start: TimestampMs(0), end: TimestampMs(NOW_MS) },
        revision_max: 0,
    };
    engine.delete(&tenant(), &request, TimestampMs(NOW_MS - 1)).unwrap();
    let used = (1 << 40) - disk.free_bytes().unwrap();
    disk.set_capacity_bytes(Some(used + 50_000));
    let windows = engine.windows_to_seal().len();

    let steps: Vec<Step> = (0..10).map(|_| compactor.next()).collect();
    let stats = engine.stats();
    assert!(steps.contains(&Step::Rest), "{steps:?}");
    assert_eq!((windows, engine.windows_to_seal().len()), (2, 1), "the small window is sealed");
    assert_eq!(stats.sstables, 3, "what is deleted is gone: {steps:?}");
    compactor.scrub();
    assert!(engine.stats().scrubbed_bytes_total > 0);

    // There is room again, and the large window has its turn after a while.
    disk.set_capacity_bytes(None);
    assert_eq!(compactor.next(), Step::Rest);
    clock.now_ms.fetch_add(3_600_000, Ordering::Relaxed);
    assert_eq!(compactor.next(), Step::Done);
    assert_eq!((engine.windows_to_seal().len(), engine.stats().sstables), (0, 2));
}
