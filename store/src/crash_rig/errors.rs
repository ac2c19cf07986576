//! Errors of the disk: a sync, a write or any call that fails, once or for good (D9, D10).

use super::checker::{History, Writer, now};
use super::workload::{Random, Senders, open};
use super::{Life, live, no_fault, plain, verdict};
use crate::sim::{Action, Outcome, SimDisk};
use std::io::ErrorKind;

/// Sends with a sync after each mutation; returns for each sync whether it acknowledged.
fn send_one_by_one(disk: &SimDisk, history: &mut History, count: u64) -> Vec<bool> {
    let (engine, _) = open(plain(disk), 1, now()).unwrap();
    let mut senders = Senders::new(&engine, history);
    let mut outcomes = Vec::new();
    for number in 0..count {
        let sample = senders.history.next(Writer { tenant: 0, number: number % 3 });
        let before = senders.acknowledged;
        senders.send(&[sample], true);
        senders.sync();
        outcomes.push(senders.acknowledged > before);
        if number % 9 == 8 {
            drop(engine.flush(now()));
        }
    }
    outcomes
}

/// Makes the log's syncs from the `first` to before the `last` fail, and counts them.
fn failing_log_syncs(disk: &SimDisk, first: u64, last: u64) {
    let mut syncs = 0;
    disk.set_hook(move |call| {
        if call.action != Action::SyncData || !call.path.starts_with("log/") {
            return Outcome::Done;
        }
        syncs += 1;
        match (first..last).contains(&(syncs - 1)) {
            true => Outcome::Fail(ErrorKind::Other),
            false => Outcome::Done,
        }
    });
}

#[test]
fn one_failed_fsync_refuses_one_group_and_the_next_is_acknowledged_and_survives() {
    for nth in 0..25 {
        let disk = SimDisk::new(nth);
        failing_log_syncs(&disk, nth, nth + 1);
        let mut history = History::default();
        let outcomes = send_one_by_one(&disk, &mut history, 30);
        assert_eq!(outcomes.iter().filter(|is_acknowledged| !**is_acknowledged).count(), 1);
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "sync {nth}");
    }
}

#[test]
fn fsyncs_that_fail_from_the_nth_on_acknowledge_nothing_ever_again() {
    for nth in 0..25 {
        let disk = SimDisk::new(nth);
        failing_log_syncs(&disk, nth, u64::MAX);
        let mut history = History::default();
        let outcomes = send_one_by_one(&disk, &mut history, 30);
        let first = outcomes.iter().position(|is_acknowledged| !is_acknowledged).unwrap();
        assert!(outcomes[first..].iter().all(|is_acknowledged| !is_acknowledged), "{outcomes:?}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "sync {nth}");
    }
}

#[test]
fn any_failing_sync_or_write_anywhere_loses_nothing_acknowledged() {
    for nth in 0..300 {
        let disk = SimDisk::new(nth);
        let mut calls = 0;
        disk.set_hook(move |_| {
            calls += 1;
            if calls == nth { Outcome::Fail(ErrorKind::StorageFull) } else { Outcome::Done }
        });
        let mut history = History::default();
        let mut random = Random::new(11);
        let life = Life { disk: &disk, plant: no_fault, number: 1 + nth % 2, steps: 90 };
        let opened = live(&life, &mut random, &mut history);
        let refused_to_open = opened.len() == 1 && opened[0].starts_with("does not");
        assert!(opened.is_empty() || refused_to_open, "call {nth}: {opened:?}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "call {nth}");
    }
}

#[test]
fn a_disk_that_fills_up_at_any_call_opens_loses_nothing_and_goes_on_when_there_is_room() {
    for nth in 0..60 {
        let disk = SimDisk::new(nth);
        let mut history = History::default();
        let mut random = Random::new(13);
        let life = Life { disk: &disk, plant: no_fault, number: 1, steps: 40 };
        assert_eq!(live(&life, &mut random, &mut history), Vec::<String>::new());
        // It has seen the disk with room, and kept some of it, but a little only.
        disk.set_capacity_bytes(Some(1 << 20));
        open(plain(&disk), 1, now()).unwrap().0.check_disk().unwrap();
        let used_bytes: usize =
            disk.paths().iter().filter_map(|path| disk.bytes_of(path)).map(|b| b.len()).sum();
        disk.set_capacity_bytes(Some(used_bytes as u64 + nth * 150));
        disk.kill();
        let life = Life { number: 2, ..life };
        assert_eq!(live(&life, &mut random, &mut history), Vec::<String>::new(), "{nth}");
        disk.set_capacity_bytes(None);
        disk.kill();
        let (before, life) = (history.acknowledged.len(), Life { number: 3, ..life });
        assert_eq!(live(&life, &mut random, &mut history), Vec::<String>::new(), "{nth}");
        assert!(history.acknowledged.len() > before);
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "{nth}");
    }
}
