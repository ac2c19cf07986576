use super::*;
use crate::sim::SimDisk;
use proptest::prelude::*;

/// A disk with a snapshot `s` of two files and a manifest; the sstable is a real one.
fn with_snapshot() -> (SimDisk, Snapshot) {
    let disk = SimDisk::new(0);
    for directory in [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY] {
        disk.create_dir(directory).unwrap();
    }
    let window = crate::sstable::window::Window { first_day: 20_000, days: 1 };
    let id = 8;
    let writer =
        crate::sstable::writer::Writer::create(&disk, id, 0, window, TimestampMs(5)).unwrap();
    let meta = writer.finish().unwrap();
    let path = manifest::checkpoint_path(7);
    let mut writer = crate::checkpoint::Writer::create(&disk, &path).unwrap();
    writer.frame(b"frame").unwrap();
    writer.finish().unwrap();
    let state = State {
        sstables: [(id, meta)].into(),
        checkpoint: Some(manifest::CheckpointRef { id: 7, log_from_segment: 9 }),
        next_file_id: 10,
        ..State::default()
    };
    begin(&disk, "s").unwrap();
    link(&disk, "s", &state).unwrap();
    let snapshot = finish(&disk, "s", TimestampMs(5), state).unwrap();
    (disk, snapshot)
}

#[test]
fn names_are_made_of_the_time() {
    for (ms, expected) in [
        (0, "19700101T000000Z-0000000000000001"),
        (951_782_399_000, "20000228T235959Z-0000000000000001"),
        (951_782_400_000, "20000229T000000Z-0000000000000001"),
        (1_767_225_600_000, "20260101T000000Z-0000000000000001"),
        (4_107_542_399_999, "21000228T235959Z-0000000000000001"),
        (4_107_542_400_000, "21000301T000000Z-0000000000000001"),
    ] {
        assert_eq!(name(TimestampMs(ms), 1), expected);
        check_name(expected).unwrap();
    }
}

#[test]
fn the_format_document_shows_a_list() {
    let path = "sstables/0000000000000008.sst".to_owned();
    let files = vec![
        File { path, bytes: 12_345, hash: 0xFEDC_BA98_7654_3210 },
        File { path: MANIFEST_FILE.to_owned(), bytes: 178, hash: 7 },
    ];
    let snapshot =
        Snapshot { name: "s".to_owned(), created: TimestampMs(1_700_000_000_123), files };
    let text = snapshot.encode();
    assert_eq!(text.trim_end(), crate::bytes::documented("a snapshot's list"));
    assert_eq!(Snapshot::decode("s", "SNAPSHOT", text.as_bytes()).unwrap(), snapshot);
}

#[test]
fn a_list_reads_back_and_a_changed_one_is_refused() {
    let (disk, snapshot) = with_snapshot();
    assert_eq!(load(&disk, "s").unwrap(), snapshot);
    let path = "snapshots/s/SNAPSHOT";
    let bytes = disk.bytes_of(path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 7);
        disk.overwrite(path, &changed);
        assert!(load(&disk, "s").is_err(), "byte {at}");
        disk.overwrite(path, &bytes[..at]);
        assert!(load(&disk, "s").is_err(), "cut at {at}");
    }
    // With its damaged list it can still be deleted.
    delete(&disk, "s").unwrap();
    assert!(list(&disk).unwrap().is_empty());
    assert!(matches!(delete(&disk, "s"), Err(Error::NoSuchSnapshot { .. })));
    assert!(disk.paths().iter().all(|path| !path.starts_with("snapshots/")));
}

#[test]
fn a_list_from_elsewhere_leads_nowhere_else() {
    let (disk, _) = with_snapshot();
    for path in ["../x", "/etc/passwd", "sstables/../MANIFEST", "sstables/x.sst", "log/1", ""] {
        let mut text = format!("{FIRST_LINE}\ncreated 5\nfile {:016x} 1 {path}\n", 1);
        let sum = xxh3_64(text.as_bytes());
        text.push_str(&format!("sum {sum:016x}\n"));
        disk.overwrite("snapshots/s/SNAPSHOT", text.as_bytes());
        let error = load(&disk, "s").unwrap_err();
        assert!(error.to_string().contains("line 3"), "{path}: {error}");
    }
}

#[test]
fn pinned_is_what_the_store_has_let_go() {
    let (disk, snapshot) = with_snapshot();
    let manifest_bytes = snapshot.files.last().unwrap().bytes;
    assert_eq!(snapshot.pinned_bytes(&disk).unwrap(), manifest_bytes);
    Disk::unlink(&disk, "sstables/0000000000000008.sst").unwrap();
    let sstable_bytes = snapshot.files[0].bytes;
    assert_eq!(snapshot.pinned_bytes(&disk).unwrap(), manifest_bytes + sstable_bytes);
}

#[test]
fn a_second_copy_copies_what_is_new_and_a_partial_one_is_refused_by_name() {
    let (disk, snapshot) = with_snapshot();
    let backup = SimDisk::new(0);
    let first = copy(&disk, Place::Store, &snapshot, &backup).unwrap();
    assert_eq!((first.files, first.bytes, first.bytes_known), (3, snapshot.bytes(), 0));
    let second = copy(&disk, Place::Store, &snapshot, &backup).unwrap();
    assert_eq!((second.files, second.bytes_known), (0, snapshot.bytes()));
    assert_eq!(Place::of(&backup).unwrap(), Place::Backup);
    assert_eq!(list(&backup).unwrap(), std::slice::from_ref(&snapshot));

    for file in &snapshot.files {
        let object = Place::Backup.path_of(&snapshot, file);
        let bytes = backup.bytes_of(&object).unwrap();
        for damaged in
            [bytes[..bytes.len() - 1].to_vec(), [&bytes[..bytes.len() - 1], &[7]].concat()]
        {
            backup.overwrite(&object, &damaged);
            let target = SimDisk::new(0);
            let error = restore(&backup, Place::Backup, &snapshot, &target, "t").unwrap_err();
            assert!(error.to_string().contains(&object), "{error}");
            assert!(target.bytes_of(MANIFEST_FILE).is_none());
        }
        backup.overwrite(&object, &bytes);
    }
    let object = Place::Backup.path_of(&snapshot, &snapshot.files[0]);
    Disk::unlink(&backup, &object).unwrap();
    let target = SimDisk::new(0);
    let error = restore(&backup, Place::Backup, &snapshot, &target, "t").unwrap_err();
    assert!(error.to_string().contains(&object) && target.paths().is_empty(), "{error}");
    // The copy repairs it.
    assert_eq!(copy(&disk, Place::Store, &snapshot, &backup).unwrap().files, 1);
    restore(&backup, Place::Backup, &snapshot, &target, "t").unwrap();
    let again = restore(&backup, Place::Backup, &snapshot, &target, "t").unwrap_err();
    assert!(matches!(again, Error::NotEmpty { .. }), "{again}");
}

#[test]
fn stopped_at_every_call_a_backup_lists_only_what_it_has_whole() {
    let (disk, snapshot) = with_snapshot();
    let whole = SimDisk::new(0);
    copy(&disk, Place::Store, &snapshot, &whole).unwrap();
    for stop_at in 0..=whole.calls() {
        for seed in 0..6 {
            let backup = SimDisk::new(seed);
            backup.stop_at(stop_at);
            let done = copy(&disk, Place::Store, &snapshot, &backup).is_ok();
            backup.power_cut();
            let listed = list(&backup).unwrap();
            assert!(!done || listed.len() == 1, "{stop_at} {seed}");
            for snapshot in listed {
                let verified = verify(&backup, Place::Backup, &snapshot).unwrap();
                assert!(verified.damage.is_empty(), "{stop_at} {seed}: {verified:?}");
            }
            copy(&disk, Place::Store, &snapshot, &backup).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn a_flipped_byte_is_found_with_its_file_and_place(which in 0_usize..3, at: prop::sample::Index, flip in 1_u8..) {
        let (disk, snapshot) = with_snapshot();
        prop_assert!(verify(&disk, Place::Store, &snapshot).unwrap().damage.is_empty());
        let path = Place::Store.path_of(&snapshot, &snapshot.files[which]);
        let mut bytes = disk.bytes_of(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        disk.overwrite(&path, &bytes);
        let damage = verify(&disk, Place::Store, &snapshot).unwrap().damage;
        let found = damage.iter().any(|error| match error {
            // A frame whose length is wrong is found behind its header.
            Error::Corrupt { path: found, offset, .. } => {
                *found == path && *offset <= at as u64 + 8
            }
            Error::NewerFormat { path: found, .. } => *found == path,
            _ => false,
        });
        prop_assert!(found, "{at} of {path}: {damage:?}");
    }
}
