//! Files that are cut, changed, gone, from a later release or made up: nothing is silently wrong.

use super::*;

/// A log of several segments, and the bytes of the segment in the middle of it.
fn sealed() -> (SimDisk, BTreeMap<u64, Vec<u8>>) {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 1).unwrap();
    let mut records = BTreeMap::new();
    for number in 0..24 {
        let sequence = log.append(&payload(1, number)).unwrap();
        records.insert(sequence, payload(1, number));
        log.sync().unwrap();
    }
    log.mark();
    log.sync().unwrap();
    (disk, records)
}

/// Everything that comes back was written, and what does not come back is told.
fn nothing_is_silently_wrong(disk: &SimDisk, records: &BTreeMap<u64, Vec<u8>>, case: &str) {
    let mut found = BTreeSet::new();
    let visited = CommitLog::open(Arc::new(disk.clone()), LOG, SMALL, 9, 0, &mut |record| {
        let written = records.get(&record.sequence).map(Vec::as_slice);
        assert_eq!(written, Some(record.payload), "{case}: invented");
        assert!(found.insert(record.sequence), "{case}: twice");
        Ok(())
    });
    let report = match visited {
        Ok((_, report)) => report,
        Err(Error::NewerFormat { .. }) => return,
        Err(error) => panic!("{case}: {error}"),
    };
    let lost: Vec<u64> = records.keys().copied().filter(|key| !found.contains(key)).collect();
    for sequence in &lost {
        let is_told = report.damage.iter().any(|damage| {
            damage.sequences.is_some_and(|(first, last)| (first..=last).contains(sequence))
        });
        assert!(is_told, "{case}: {sequence} is lost and not told: {report:?}");
    }
    assert!(!lost.is_empty() || report.damage.iter().all(|damage| damage.sequences.is_none()));
}

#[test]
fn a_segment_cut_at_any_length_loses_nothing_silently() {
    let (disk, records) = sealed();
    let paths = disk.paths();
    assert!(paths.len() >= 2, "{paths:?}");
    // The last segment's tail is a torn tail by its nature; the mark is what guards the others.
    for path in &paths[..paths.len() - 1] {
        let bytes = disk.bytes_of(path).unwrap();
        for length in 0..bytes.len() {
            let disk = disk.fork(0);
            disk.overwrite(path, &bytes[..length]);
            nothing_is_silently_wrong(&disk, &records, &format!("{path} cut at {length}"));
        }
    }
}

#[test]
fn a_changed_byte_anywhere_loses_one_record_at_most_and_never_silently() {
    let (disk, records) = sealed();
    let mut cases = 0;
    for path in disk.paths() {
        let bytes = disk.bytes_of(&path).unwrap();
        // Behind the last record that is not the mark nothing says what was synced.
        let end = bytes.len() - frame::RECORD_HEADER_BYTES;
        for at in 0..end {
            let change = [1 << (at % 8), 0xFF, bytes[at]][at % 3];
            if change == 0 {
                continue;
            }
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let disk = disk.fork(0);
            disk.overwrite(&path, &changed);
            let case = format!("{path} at {at} ^ {change}");
            nothing_is_silently_wrong(&disk, &records, &case);
            let report = open(&disk, 9).map(|opened| opened.1);
            assert!(report.is_ok_and(|report| report.records + 1 >= 24), "{case}");
            cases += 1;
        }
    }
    assert!(cases > 3_000, "{cases}");
}

#[test]
fn damage_is_told_by_file_offset_and_sequence() {
    let (disk, _) = sealed();
    let path = "log/0000000000000001.log";
    let mut bytes = disk.bytes_of(path).unwrap();
    let second = frame::SEGMENT_HEADER_BYTES + frame::RECORD_HEADER_BYTES + payload(1, 0).len();
    bytes[second + 50] ^= 1;
    disk.overwrite(path, &bytes);
    let (_, report, replayed) = open(&disk, 9).unwrap();
    let expected = Damage {
        path: path.to_owned(),
        offset: second as u64,
        bytes: (frame::RECORD_HEADER_BYTES + payload(1, 1).len()) as u64,
        sequences: Some((2, 2)),
    };
    assert_eq!(report.damage, [expected]);
    assert_eq!((replayed.len(), report.torn.len()), (23, 0));
}

#[test]
fn a_segment_that_is_gone_is_told() {
    let (disk, _) = sealed();
    let paths = disk.paths();
    let gone = disk.fork(0);
    Disk::unlink(&gone, &paths[1]).unwrap();
    let report = open(&gone, 9).unwrap().1;
    assert!(report.damage.iter().any(|damage| damage.path == paths[1]), "{report:?}");
}

#[test]
fn a_later_releases_segment_is_refused_by_name_and_nothing_is_visited() {
    let (disk, _) = sealed();
    let path = disk.paths().pop().unwrap();
    let mut bytes = disk.bytes_of(&path).unwrap();
    bytes[8] = 2;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..64]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    disk.overwrite(&path, &bytes);
    let calls = disk.calls();
    let visit = &mut |_: Replayed<'_>| panic!("visited");
    let opened = CommitLog::open(Arc::new(disk.clone()), LOG, SMALL, 9, 0, visit);
    let error = opened.unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains(&path), "{error}");
    assert_eq!(disk.calls(), calls, "nothing was touched");
}

#[test]
fn a_length_that_lies_allocates_nothing_beyond_the_file() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 1).unwrap();
    log.append(b"whole").unwrap();
    log.sync().unwrap();
    let path = "log/0000000000000001.log";
    let mut bytes = disk.bytes_of(path).unwrap();
    let mut lying = Vec::new();
    frame::push_record(&mut lying, 1, 2, 1, Payload::new(b"short"));
    lying[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let checksum = crc32c::crc32c(&lying[8..40]);
    lying[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes.extend(lying);
    disk.overwrite(path, &bytes);
    let config = Config { record_bytes_max: u32::MAX, ..SMALL };
    let (_, report) = CommitLog::open(Arc::new(disk), LOG, config, 9, 0, &mut |_| Ok(())).unwrap();
    assert_eq!((report.records, report.torn.len()), (1, 1));
}

#[test]
fn a_segment_that_cannot_be_read_is_told_by_name_and_nothing_is_changed() {
    let (disk, _) = sealed();
    let path = disk.paths()[1].clone();
    let bad = path.clone();
    disk.set_hook(move |call| match call.action {
        Action::Read if call.path == bad => Outcome::Fail(ErrorKind::Other),
        _ => Outcome::Done,
    });
    let calls = disk.calls();
    let error = open(&disk, 9).unwrap_err();
    assert!(error.to_string().contains(&path), "{error}");
    assert_eq!((error.kind(), disk.calls()), (Kind::Unavailable, calls));
    disk.clear_hook();
    assert_eq!(open(&disk, 9).unwrap().1.damage, []);
}
#[test]
fn segments_of_any_bytes_invent_nothing_and_double_nothing() {
    let (disk, records) = sealed();
    let paths = disk.paths();
    let pool: Vec<u8> = paths.iter().flat_map(|path| disk.bytes_of(path).unwrap()).collect();
    let mut random = 42_u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        usize::try_from(random >> 33).unwrap() % bound
    };
    let mut visited = 0;
    for case in 0..500 {
        let disk = disk.fork(case);
        let path = &paths[below(paths.len())];
        // Pieces of true segments in any order, with noise between.
        let mut bytes = Vec::new();
        for _ in 0..below(8) {
            let from = below(pool.len());
            bytes.extend_from_slice(&pool[from..pool.len().min(from + below(2_000))]);
            bytes.extend((0..below(50)).map(|_| u8::try_from(below(256)).unwrap()));
        }
        disk.overwrite(path, &bytes);
        let mut found = BTreeSet::new();
        let shared = Arc::new(disk);
        let opened = CommitLog::open(shared, LOG, SMALL, 9, 0, &mut |record| {
            assert_eq!(records.get(&record.sequence).map(Vec::as_slice), Some(record.payload));
            assert!(found.insert(record.sequence));
            Ok(())
        });
        assert!(opened.is_ok());
        visited += found.len();
    }
    assert!(visited > 5_000, "{visited}");
}
