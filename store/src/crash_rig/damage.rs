//! Files that come back other than they were written: cut, or with a changed byte (D5, D6, D7).

use super::checker::{History, Writer, now};
use super::workload::{Random, Senders, everything, open, seal};
use super::{alarms, plain};
use crate::engine::OpenReport;
use crate::error::Error;
use crate::sim::SimDisk;
use std::io::ErrorKind;

/// A store with samples in sstables, a checkpoint and the log, closed by nothing but a kill.
fn filled() -> (SimDisk, History) {
    let disk = SimDisk::new(1);
    let mut history = History::default();
    {
        let (engine, _) = open(plain(&disk), 1, now()).unwrap();
        let mut senders = Senders::new(&engine, &mut history);
        let mut random = Random::new(5);
        for turn in 0..60 {
            senders.step_without_flush(&mut random);
            if turn == 30 {
                engine.flush(now()).unwrap();
                assert!(seal(&engine, now()) > 0);
            }
            if turn == 40 {
                engine.flush(now()).unwrap();
                // From here on there are series that only the log defines.
                senders.first_number = 30;
            }
            if turn == 45 {
                // Hidden by a tombstone in the manifest alone.
                senders.first_number = 0;
                senders.job("delete", &mut random);
                senders.first_number = 30;
            }
            if turn == 50 {
                senders.job("flush", &mut random);
            }
        }
        let sample = senders.history.next(Writer { tenant: 1, number: 3 });
        senders.send(&[sample], true);
        senders.sync();
        engine.idle_sync().unwrap();
    }
    disk.kill();
    (disk, history)
}

/// Opens a damaged store: it refuses by name, or it says what is damaged, or nothing is lost. Whatever it
/// answers was written.
fn nothing_is_silently_wrong(disk: &SimDisk, history: &History, case: &str) -> OpenReport {
    let (engine, report) = match open(plain(disk), 50, now()) {
        Ok(opened) => opened,
        Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => return OpenReport::default(),
        // A manifest that lost its end may name files that are gone.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return OpenReport::default();
        }
        Err(error) => panic!("{case}: {error}"),
    };
    let is_told = !alarms(&report).is_empty() || report.samples_without_series > 0;
    let mut is_refused = false;
    for seals in [false, true] {
        if seals {
            seal(&engine, now());
        }
        match everything(&engine, now()) {
            Ok(answers) => {
                // A compaction makes no good file of a damaged one.
                assert!(!is_refused, "{case}: answers again");
                let (mut faults, _) = history.check(&answers);
                faults.retain(|fault| !is_told || !fault.ends_with("lost"));
                assert_eq!(faults, Vec::<String>::new(), "{case}");
            }
            Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => is_refused = true,
            Err(error) => panic!("{case}: {error}"),
        }
    }
    report
}

#[test]
fn a_file_cut_anywhere_is_told_and_nothing_wrong_is_answered() {
    let (disk, history) = filled();
    let paths = disk.paths();
    assert!(
        ["MANIFEST", "log/", "checkpoints/", "sstables/"]
            .iter()
            .all(|kind| paths.iter().any(|path| path.starts_with(kind)))
    );
    let last_segment = paths.iter().rfind(|path| path.starts_with("log/")).unwrap();
    for path in paths.iter().filter(|path| *path != last_segment) {
        let bytes = disk.bytes_of(path).unwrap();
        assert!(bytes.len() < 64 << 10, "small enough for every length");
        for length in 0..bytes.len() {
            let disk = disk.fork(0);
            disk.overwrite(path, &bytes[..length]);
            let case = format!("{path} cut at {length}");
            nothing_is_silently_wrong(&disk, &history, &case);
        }
    }
}

#[test]
fn a_changed_byte_anywhere_is_told_and_nothing_wrong_is_answered() {
    let (disk, history) = filled();
    let mut random = Random::new(9);
    let paths = disk.paths();
    for case in 0..20_000 {
        let path = &paths[usize::try_from(random.below(paths.len() as u64)).unwrap()];
        let mut bytes = disk.bytes_of(path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let bit = 1 << random.below(8);
        bytes[at] = [bytes[at] ^ bit, 0, 0xFF][usize::try_from(random.below(3)).unwrap()];
        let disk = disk.fork(case);
        disk.overwrite(path, &bytes);
        let case = format!("{path} changed at {at}");
        let report = nothing_is_silently_wrong(&disk, &history, &case);
        // No record is needed by all later ones, so only the one that was hit is lost.
        let is_log = path.starts_with("log/");
        assert!(!is_log || report.samples_without_series == 0, "{case}: {report:?}");
    }
}
