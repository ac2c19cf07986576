//! What the manifest promises, on a disk that breaks.

use super::*;
use crate::sim::{Action, Outcome, SimDisk};
use model::{MatchOp, Matcher, Retention, RetentionRule, RetentionRules, TimeRange, TimestampMs};
use std::io::ErrorKind;

fn sstable(id: u64) -> SstableMeta {
    SstableMeta {
        id,
        retention_class: 0,
        window_first_day: -3,
        window_days: 1,
        file_bytes: id * 100,
        file_hash: id.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        series: 5,
        samples: 50,
        min_timestamp_ms: -5,
        max_timestamp_ms: i64::MAX,
        partitions: 3,
        token_first: 7,
        token_last: u64::MAX,
        created_ms: -1,
        stage: [Stage::Flushed, Stage::Compacted, Stage::Sealed][(id % 3) as usize],
        tombstones_through: id / 2,
        retention_version: id / 3,
    }
}

fn tombstone(turn: u64) -> Tombstone {
    let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex].into_iter();
    let value = format!("é{turn}");
    Tombstone {
        tenant: TenantId::parse("t").unwrap(),
        matchers: ops.map(|op| Matcher::new("name", op, value.as_str())).collect(),
        range: TimeRange { start: TimestampMs(i64::MIN), end: TimestampMs(-1) },
        revision_max: u32::MAX,
        created: TimestampMs(1),
    }
}

fn open(disk: &SimDisk) -> Result<Manifest> {
    Manifest::open(Arc::new(disk.clone()))
}

/// A change like a flush's: one more sstable, and replay begins later; each third one compacts.
fn change(manifest: &mut Manifest, turn: u64) -> Vec<Edit> {
    let id = manifest.allocate_file_id();
    let checkpoint = CheckpointRef { id: manifest.allocate_file_id(), log_from_segment: turn + 2 };
    let mut edits = vec![Edit::AddSstable(sstable(id)), Edit::SetCheckpoint(checkpoint)];
    if turn.is_multiple_of(3) {
        let old = manifest.state().sstables.keys().copied().filter(|old| *old != id);
        edits.extend(old.map(Edit::RemoveSstable));
        edits.extend(retention_edits(turn));
    } else {
        edits.extend(manifest.state().tombstones.keys().copied().map(Edit::RemoveTombstone));
        edits.push(Edit::AddTombstone(manifest.allocate_file_id(), Arc::new(tombstone(turn))));
        edits.push(Edit::SetRevision(tombstone(turn).tenant, 3));
    }
    edits
}

/// A class, and rules that took the place of others.
fn retention_edits(turn: u64) -> [Edit; 3] {
    let retention = Retention::from_ms(30 * 86_400_000 + turn);
    let class = RetentionClass { id: 1, retention, window_days: 1 };
    let matchers =
        vec![Matcher::new("__name__", MatchOp::Regex, "debug_.*"), Matcher::equal("env", "")];
    let rules = vec![RetentionRule { matchers, retention }];
    let sets = vec![
        RuleSet { version: turn, until_ms: Some(-5), rules: RetentionRules::all(retention) },
        RuleSet {
            version: turn + 1,
            until_ms: None,
            rules: RetentionRules { default: Retention::FOR_EVER, rules },
        },
    ];
    let tenant = TenantId::parse("t").unwrap();
    [
        Edit::SetRetentionClass(class),
        Edit::SetRetentionRules(tenant, sets),
        Edit::SetTrustedTime(-1),
    ]
}

/// The states after each change of a life of `turns` changes that may be cut short: those that
/// were acknowledged, and the one that was being written.
fn live(disk: &SimDisk, turns: u64) -> Option<(State, Option<State>)> {
    let mut manifest = open(disk).ok()?;
    for turn in 0..turns {
        let before = manifest.state().clone();
        let edits = change(&mut manifest, turn);
        let mut tried = manifest.state().clone();
        edits.iter().for_each(|edit| tried.apply(edit));
        if manifest.apply(&edits).is_err() {
            let state = manifest.state();
            assert_eq!(state.sstables, before.sstables, "a failed edit changes nothing");
            assert_eq!(state.checkpoint, before.checkpoint);
            return Some((before, Some(tried)));
        }
        assert_eq!(*manifest.state(), tried);
    }
    Some((manifest.state().clone(), None))
}

/// Equal but for the next file's number, which may be any that was not used.
fn same(one: &State, other: &State) -> bool {
    one.sstables == other.sstables
        && one.checkpoint == other.checkpoint
        && one.retention_classes == other.retention_classes
        && one.retention_rules == other.retention_rules
        && one.trusted_ms == other.trusted_ms
}

#[test]
fn stopped_at_every_call_each_change_is_whole_or_not_there() {
    let whole = SimDisk::new(0);
    live(&whole, 7).unwrap();
    for stop_at in 0..=whole.calls() {
        for seed in 0..8 {
            let disk = SimDisk::new(seed);
            disk.stop_at(stop_at);
            let lived = live(&disk, 7);
            if seed == 0 {
                disk.kill()
            } else {
                disk.power_cut()
            }
            let found = open(&disk).unwrap();
            let Some((sure, tried)) = lived else { continue };
            let case = format!("stop {stop_at} seed {seed}");
            let is_tried = tried.is_some_and(|tried| same(&tried, found.state()));
            assert!(is_tried || same(&sure, found.state()), "{case}: {:?}", found.state());
            let used = found.state().sstables.keys().last().copied().unwrap_or(0);
            assert!(found.state().next_file_id > used, "{case}");
            // What was read stays, whatever happens next.
            let read = found.state().clone();
            disk.power_cut();
            assert_eq!(*open(&disk).unwrap().state(), read, "{case}");
        }
    }
}

#[test]
fn after_a_failed_sync_the_next_change_comes_with_a_new_file() {
    let disk = SimDisk::new(3);
    let mut manifest = open(&disk).unwrap();
    manifest.apply(&[Edit::AddSstable(sstable(1))]).unwrap();
    let mut failures = 1;
    disk.set_hook(move |call| match call.action {
        Action::SyncData if failures > 0 => {
            failures -= 1;
            Outcome::Fail(ErrorKind::Other)
        }
        _ => Outcome::Done,
    });
    manifest.apply(&[Edit::AddSstable(sstable(2))]).unwrap_err();
    assert_eq!(manifest.state().sstables.len(), 1);
    let before = disk.bytes_of(MANIFEST_FILE);
    manifest.apply(&[Edit::AddSstable(sstable(3))]).unwrap();
    assert_ne!(disk.bytes_of(MANIFEST_FILE), before);
    for seed in 0..20 {
        let cut = disk.fork(seed);
        cut.power_cut();
        let found = open(&cut).unwrap();
        assert_eq!(found.state().sstables.keys().collect::<Vec<_>>(), [&1, &3]);
    }
}

#[test]
fn a_long_manifest_is_written_anew() {
    let disk = SimDisk::new(3);
    let mut manifest = open(&disk).unwrap();
    for turn in 0..6_000 {
        let edits = [Edit::AddSstable(sstable(turn)), Edit::RemoveSstable(turn)];
        manifest.apply(&edits).unwrap();
    }
    manifest.apply(&[Edit::AddSstable(sstable(9))]).unwrap();
    let bytes = disk.bytes_of(MANIFEST_FILE).unwrap().len() as u64;
    assert!(bytes < EDIT_BYTES_MAX + 1_000, "{bytes}");
    assert_eq!(open(&disk).unwrap().state().sstables.len(), 1);
}

#[test]
fn a_manifest_is_never_written_larger_than_may_be_and_an_edit_too_many_changes_nothing() {
    let disk = SimDisk::new(3);
    let mut manifest = open(&disk).unwrap();
    manifest.bytes_max = 20_000;
    let mark_bytes = 28;
    let refused = loop {
        let id = manifest.allocate_file_id();
        let gone = manifest.allocate_file_id();
        let edits = [Edit::AddSstable(sstable(gone)), Edit::RemoveSstable(gone)];
        let done =
            manifest.apply(&edits).and_then(|()| manifest.apply(&[Edit::AddSstable(sstable(id))]));
        let bytes = disk.bytes_of(MANIFEST_FILE).unwrap().len();
        assert!(bytes <= 20_000 + mark_bytes, "{bytes}");
        if let Err(error) = done {
            break error;
        }
        assert!(id < 1_000, "it is never full");
    };
    assert!(matches!(refused, Error::ManifestFull { bytes_max: 20_000, .. }), "{refused}");
    let state = manifest.state().clone();
    assert!(state.sstables.len() > 100, "{}", state.sstables.len());
    assert_eq!(open(&disk.fork(0)).unwrap().state().sstables, state.sstables);
    let (first, last) = (*state.sstables.keys().next().unwrap(), manifest.allocate_file_id());
    manifest.apply(&[Edit::AddSstable(sstable(last))]).unwrap_err();
    manifest.apply(&[Edit::RemoveSstable(first)]).unwrap();
    manifest.apply(&[Edit::AddSstable(sstable(last))]).unwrap();
    // One that came from elsewhere and is too large already may become smaller, and no larger.
    manifest.bytes_max = 10_000;
    manifest.apply(&[Edit::AddSstable(sstable(first))]).unwrap_err();
    manifest.apply(&[Edit::RemoveSstable(last)]).unwrap();
}

#[test]
fn what_an_edit_names_is_no_leftover_for_the_disk_may_come_back_with_an_earlier_one() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut manifest = open(&disk).unwrap();
        let paths = [1, 2, 3].map(sstable_path);
        paths.iter().for_each(|path| drop(disk.create_new(path).unwrap()));
        disk.sync_dir(SSTABLE_DIRECTORY).unwrap();
        manifest.apply(&[Edit::AddSstable(sstable(1))]).unwrap();
        disk.set_hook(|call| match call.action {
            Action::SyncData => Outcome::Fail(ErrorKind::Other),
            _ => Outcome::Done,
        });
        manifest.apply(&[Edit::RemoveSstable(1), Edit::AddSstable(sstable(2))]).unwrap_err();
        disk.clear_hook();
        disk.kill();
        let (state, found) = leftovers::find(&disk).unwrap();
        assert_eq!(state.sstables.keys().collect::<Vec<_>>(), [&2], "as the page cache has it");
        assert_eq!(found, [paths[2].clone()]);
        leftovers::remove(&disk, &found).unwrap();
        disk.power_cut();
        for id in open(&disk).unwrap().state().sstables.keys() {
            assert!(disk.len(&sstable_path(*id)).unwrap().is_some(), "{id} is live on disk");
        }
    }
}

#[test]
fn a_number_is_given_that_no_file_has_though_no_edit_names_it() {
    let disk = SimDisk::new(3);
    drop(open(&disk).unwrap());
    let foreign = format!("{SSTABLE_DIRECTORY}/ffffffffffffffff.sst");
    for path in [sstable_path(9), format!("{}.tmp", checkpoint_path(57)), foreign] {
        disk.create_new(&path).unwrap();
    }
    let mut manifest = open(&disk).unwrap();
    assert_eq!((manifest.allocate_file_id(), manifest.allocate_file_id()), (58, 59));
}

#[test]
fn only_what_is_not_live_is_an_orphan() {
    let disk = SimDisk::new(3);
    let mut manifest = open(&disk).unwrap();
    let paths = [sstable_path(1), sstable_path(2), checkpoint_path(3), checkpoint_path(4)];
    for path in &paths {
        disk.create_new(path).unwrap();
    }
    disk.create_new("sstables/0000000000000001.sst.tmp").unwrap();
    let checkpoint = CheckpointRef { id: 3, log_from_segment: 2 };
    manifest.apply(&[Edit::AddSstable(sstable(1)), Edit::SetCheckpoint(checkpoint)]).unwrap();
    let manifest = open(&disk).unwrap();
    let removed = manifest.remove_orphans().unwrap();
    assert_eq!(removed, ["sstables/0000000000000001.sst.tmp", &paths[1], &paths[3]]);
    assert_eq!(disk.list(SSTABLE_DIRECTORY).unwrap().len(), 1);
    assert_eq!(disk.list(CHECKPOINT_DIRECTORY).unwrap().len(), 1);
    assert_eq!(manifest.remove_orphans().unwrap(), Vec::<String>::new());
    assert_eq!(manifest.state().log_from_segment(), 2);
}

#[test]
fn a_directory_with_files_and_no_manifest_is_refused() {
    let disk = SimDisk::new(3);
    drop(open(&disk).unwrap());
    disk.create_new(&sstable_path(1)).unwrap();
    Disk::unlink(&disk, MANIFEST_FILE).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path, .. } if path == MANIFEST_FILE), "{error}");
    assert_eq!(disk.list(SSTABLE_DIRECTORY).unwrap().len(), 1, "nothing was removed");
}

#[test]
fn a_later_releases_manifest_is_refused_by_name_and_left_alone() {
    let disk = SimDisk::new(3);
    drop(open(&disk).unwrap());
    let mut bytes = disk.bytes_of(MANIFEST_FILE).unwrap();
    bytes[8] = 2;
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    disk.overwrite(MANIFEST_FILE, &bytes);
    let calls = disk.calls();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, .. }), "{error}");
    assert_eq!(disk.calls(), calls);
}

/// A disk with a snapshot and some edits behind it, and the state after each edit.
fn sample() -> (SimDisk, Vec<State>) {
    let disk = SimDisk::new(0);
    live(&disk, 2).unwrap();
    let mut manifest = open(&disk).unwrap();
    let mut states = vec![manifest.state().clone()];
    for turn in 2..6 {
        let edits = change(&mut manifest, turn);
        manifest.apply(&edits).unwrap();
        states.push(manifest.state().clone());
    }
    (disk, states)
}

#[test]
fn a_cut_manifest_is_an_earlier_state_or_refused() {
    let (disk, states) = sample();
    let bytes = disk.bytes_of(MANIFEST_FILE).unwrap();
    for length in 0..bytes.len() {
        let disk = disk.fork(0);
        disk.overwrite(MANIFEST_FILE, &bytes[..length]);
        match open(&disk) {
            Ok(found) => {
                let is_known = states.iter().any(|state| same(state, found.state()));
                assert!(is_known, "cut at {length}: {:?}", found.state());
            }
            Err(Error::Corrupt { path, .. }) => assert_eq!(path, MANIFEST_FILE),
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
}

#[test]
fn a_changed_byte_anywhere_in_an_edit_is_refused_by_name() {
    let (disk, states) = sample();
    let bytes = disk.bytes_of(MANIFEST_FILE).unwrap();
    let mark_bytes = 28;
    for at in 0..bytes.len() {
        for change in [1 << (at % 8), 0xFF, bytes[at]] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let disk = disk.fork(0);
            disk.overwrite(MANIFEST_FILE, &changed);
            match open(&disk) {
                // Unchanged, or only the last mark is hit, which says nothing about the state.
                Ok(found) => {
                    assert!(change == 0 || at >= bytes.len() - mark_bytes, "{at} ^ {change}");
                    assert!(same(found.state(), states.last().unwrap()), "{at} ^ {change}");
                }
                Err(Error::Corrupt { path, .. }) => assert_eq!(path, MANIFEST_FILE),
                Err(error) => panic!("{at} ^ {change}: {error}"),
            }
        }
    }
}

/// Each kind of edit once, in the order of their tags.
fn each_edit() -> Vec<Edit> {
    let [class, rules, trusted] = retention_edits(0);
    let mut tombstone = tombstone(0);
    tombstone.range.start = TimestampMs(-2);
    let mut sstable = sstable(2);
    sstable.max_timestamp_ms = 5;
    vec![
        Edit::AddSstable(sstable),
        Edit::RemoveSstable(1),
        Edit::SetCheckpoint(CheckpointRef { id: 3, log_from_segment: 4 }),
        class,
        rules,
        trusted,
        Edit::AddTombstone(5, Arc::new(tombstone.clone())),
        Edit::RemoveTombstone(4),
        Edit::SetRevision(tombstone.tenant, 9),
    ]
}

#[test]
fn the_format_document_shows_each_edit() {
    let mut bytes = edit::Header::encode().to_vec();
    bytes.extend(edit::encode_record(7, 6, &each_edit()));
    assert_eq!(crate::bytes::dump(&bytes), crate::bytes::documented("a manifest"));
    let decoded = edit::Decoded::at(&bytes, HEADER_BYTES, 6).unwrap();
    assert_eq!((decoded.number, decoded.next_file_id, decoded.end), (7, 6, bytes.len()));
    assert_eq!(decoded.edits, each_edit());
    for edit in &decoded.edits {
        // A new kind of edit does not compile until it stands above and in the document.
        match edit {
            Edit::AddSstable(_)
            | Edit::RemoveSstable(_)
            | Edit::SetCheckpoint(_)
            | Edit::SetRetentionClass(_)
            | Edit::SetRetentionRules(..)
            | Edit::SetTrustedTime(_)
            | Edit::AddTombstone(..)
            | Edit::RemoveTombstone(_)
            | Edit::SetRevision(..) => {}
        }
    }
}
