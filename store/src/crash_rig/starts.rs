//! Starts that do not go as they should: cut off again and again, with a clock that is wrong, on a
//! disk that may not be written (D12, D14).

use super::checker::History;
use super::workload::{Random, everything, open_at};
use super::{Life, live, no_fault, plain, verdict};
use crate::engine::Parts;
use crate::sim::{Outcome, SimDisk};
use model::TimestampMs;
use std::io::ErrorKind;

/// A store that was stopped in the middle of its work, and what is known of it.
fn stopped(seed: u64) -> (SimDisk, History) {
    let disk = SimDisk::new(seed);
    let (mut random, mut history) = (Random::new(seed), History::default());
    for number in 1..3 {
        disk.stop_at(disk.calls() + 100 + random.below(200));
        let life = Life { disk: &disk, plant: no_fault, number, steps: 90 };
        assert_eq!(live(&life, &mut random, &mut history), Vec::<String>::new(), "seed {seed}");
        if random.below(2) == 0 { disk.kill() } else { disk.power_cut() }
    }
    (disk, history)
}

/// How many calls of the disk a start takes.
fn calls_of_a_start(disk: &SimDisk, history: &History) -> u64 {
    let fork = disk.fork(1);
    assert_eq!(verdict(&fork, &mut history.clone()), Vec::<String>::new());
    fork.calls()
}

#[test]
fn killed_200_times_while_it_recovers_it_converges_and_no_start_takes_longer() {
    for seed in 0..8 {
        let (disk, mut history) = stopped(seed);
        let mut random = Random::new(seed + 1000);
        let calls = calls_of_a_start(&disk, &history);
        assert!(calls > 2, "there is something to do");
        for round in 0..200 {
            disk.stop_at(disk.calls() + random.below(calls));
            let life = Life { disk: &disk, plant: no_fault, number: 10 + round, steps: 0 };
            let faults = live(&life, &mut random, &mut history);
            assert_eq!(faults, Vec::<String>::new(), "seed {seed} round {round}");
            if random.below(2) == 0 { disk.kill() } else { disk.power_cut() }
        }
        let again = calls_of_a_start(&disk, &history);
        assert!(again <= calls + 20, "seed {seed}: {calls} calls, then {again}");
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn killed_at_each_call_of_a_recovery_and_at_each_of_the_next_one_it_loses_nothing() {
    let (disk, history) = stopped(3);
    for first in 0..calls_of_a_start(&disk, &history) {
        let once = disk.fork(first);
        let mut history = history.clone();
        for stop_at in [first, 1, 2] {
            once.stop_at(once.calls() + stop_at);
            let life = Life { disk: &once, plant: no_fault, number: 20 + first, steps: 0 };
            let faults = live(&life, &mut Random::new(first), &mut history);
            assert_eq!(faults, Vec::<String>::new(), "{first}");
            once.power_cut();
        }
        assert_eq!(verdict(&once, &mut history), Vec::<String>::new(), "{first}");
    }
}

#[test]
fn a_start_in_1970_or_2100_loses_nothing_and_neither_does_the_next_one() {
    for (seed, at) in [(1, TimestampMs(0)), (2, TimestampMs(4_102_444_800_000))] {
        let (disk, mut history) = stopped(seed);
        // What was refused or not by then is settled by a start with a good clock.
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new());
        let parts =
            Parts { disk: plain(&disk), cluster_name: "rig".to_owned(), generation_seed: 77 };
        let (engine, _) = open_at(parts, 1, at).unwrap();
        let faults = |case: &str| {
            let (faults, _) = history.check(&everything(&engine, history.now()).unwrap());
            assert_eq!(faults, Vec::<String>::new(), "{at:?} {case}");
        };
        faults("opened");
        engine.flush(at).unwrap();
        faults("flushed");
        for chance in 0..20 {
            if let Some(due) = engine.next_compaction(at, chance) {
                engine.compact(&due, at, &mut |_| true).unwrap();
            }
        }
        faults("compacted");
        while engine.purge(at, &mut |_| true).unwrap().is_some() {}
        faults("purged");
        engine.close(history.now()).unwrap();
        drop(engine);
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "{at:?}");
    }
}

#[test]
fn a_disk_that_may_not_be_written_is_refused_or_served_and_not_touched() {
    for seed in 0..20 {
        let (disk, mut history) = stopped(seed);
        let bytes = |disk: &SimDisk| -> Vec<_> {
            disk.paths().into_iter().map(|path| (disk.bytes_of(&path), path)).collect()
        };
        let before = bytes(&disk);
        disk.set_hook(|_| Outcome::Fail(ErrorKind::ReadOnlyFilesystem));
        let parts =
            Parts { disk: plain(&disk), cluster_name: "rig".to_owned(), generation_seed: 77 };
        let opened = open_at(parts, 1, history.now());
        let error = opened.map(|_| ()).expect_err("a log cannot be begun");
        assert!(error.to_string().contains("simulated"), "{error}");
        assert_eq!(bytes(&disk), before, "seed {seed}");
        disk.clear_hook();
        disk.kill();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "seed {seed}");
    }
}
