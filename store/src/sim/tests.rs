//! What a kill, a power cut, a failed sync and a full disk leave.

use super::*;
use crate::disk::{Disk, DiskFile};

fn written(disk: &SimDisk, path: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let mut file = disk.create_new(path).unwrap();
    file.append(bytes).unwrap();
    file
}

#[test]
fn a_kill_keeps_what_was_written_and_a_power_cut_only_what_was_synced() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        written(&disk, "synced", &[1; 9000]).sync_data().unwrap();
        disk.sync_dir("").unwrap();
        drop(written(&disk, "loose", &[2; 9000]));
        disk.kill();
        assert_eq!(disk.bytes_of("loose").unwrap(), [2; 9000]);
        disk.power_cut();
        assert_eq!(disk.bytes_of("synced").unwrap(), [1; 9000]);
        let loose = disk.bytes_of("loose");
        assert!(loose.iter().flatten().all(|byte| *byte == 0 || *byte == 2));
        outcomes.insert(loose.map(|bytes| (bytes.len(), bytes.contains(&0))));
    }
    // Gone, empty, whole, cut, with holes: all of it happens.
    assert!(outcomes.len() > 6, "{outcomes:?}");
    assert!(outcomes.contains(&None) && outcomes.contains(&Some((9000, false))));
}

#[test]
fn after_a_failed_sync_the_next_says_ok_and_the_bytes_are_lost() {
    let disk = SimDisk::new(5);
    let mut file = written(&disk, "f", &[1; 100]);
    disk.sync_dir("").unwrap();
    disk.set_hook(|call| match call.action {
        Action::SyncData => Outcome::Fail(io::ErrorKind::Other),
        _ => Outcome::Done,
    });
    file.sync_data().unwrap_err();
    disk.clear_hook();
    file.sync_data().unwrap();
    assert_eq!(disk.bytes_of("f").unwrap(), [1; 100], "the page cache still has them");
    disk.power_cut();
    assert_eq!(disk.bytes_of("f").unwrap(), [0; 100]);
}

#[test]
fn a_stopped_process_does_nothing_more_and_its_files_are_dead() {
    let disk = SimDisk::new(5);
    let mut file = written(&disk, "f", b"1234");
    disk.stop_at(disk.calls());
    file.append(b"5678").unwrap_err();
    assert!(disk.is_stopped() && disk.list("").is_err() && disk.sync_dir("").is_err());
    disk.kill();
    assert_eq!(disk.bytes_of("f").unwrap(), b"123456", "a part of the last write is there");
    file.append(b"9").unwrap_err();
    assert!(disk.list("").is_ok());
}

#[test]
fn a_rename_that_was_not_synced_leaves_one_name_or_the_other() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        written(&disk, "old", b"old").sync_data().unwrap();
        written(&disk, "new", b"new").sync_data().unwrap();
        disk.sync_dir("").unwrap();
        disk.rename("new", "old").unwrap();
        disk.power_cut();
        let left = (disk.bytes_of("old").unwrap(), disk.bytes_of("new"));
        let before = (b"old".to_vec(), Some(b"new".to_vec()));
        assert!(left == before || left == (b"new".to_vec(), None), "{left:?}");
    }
}

#[test]
fn same_seed_and_calls_give_the_same_outcome() {
    let outcome = |seed| {
        let disk = SimDisk::new(seed);
        for name in ["a", "b", "c", "d"] {
            drop(written(&disk, name, &[7; 20_000]));
        }
        disk.power_cut();
        disk.paths().iter().map(|path| disk.bytes_of(path)).collect::<Vec<_>>()
    };
    assert!((0..20).all(|seed| outcome(seed) == outcome(seed)));
    assert!((0..20).any(|seed| outcome(seed) != outcome(seed + 1)));
}

#[test]
fn a_full_disk_takes_what_fits_and_a_removed_file_makes_room() {
    let disk = SimDisk::new(5);
    disk.set_capacity_bytes(Some(10));
    let mut file = written(&disk, "f", b"12345678");
    assert_eq!(disk.free_bytes().unwrap(), 2);
    file.append(b"9abc").unwrap_err();
    assert_eq!(disk.bytes_of("f").unwrap(), b"123456789a");
    Disk::unlink(&disk, "f").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 10);
}
