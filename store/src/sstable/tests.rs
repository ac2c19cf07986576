//! One small sstable: its bytes as documented, and every way to damage one of them.

use super::rows::{HeadRow, by_day, write_tenant};
use super::tables::Tables;
use super::window::Window;
use super::writer::{Encoding, Writer};
use crate::bytes::{documented, dump};
use crate::chunk::Chunk;
use crate::config::Config;
use crate::engine::OpenReport;
use crate::error::Error;
use crate::head::symbols::Symbols;
use crate::manifest::{SSTABLE_DIRECTORY, SstableMeta, State, sstable_path};
use crate::select::{Gather, Query};
use crate::sim::SimDisk;
use model::read::{SelectBounds, Selection};
use model::{LabelSet, Matcher, Sample, SeriesColumns, TenantId, TimeRange};
use std::sync::Arc;

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn chunks(values: &[(i64, f64)]) -> Vec<Chunk> {
    let sample = |(timestamp_ms, value): &(i64, f64)| Sample {
        timestamp_ms: *timestamp_ms,
        value: *value,
        start_timestamp_ms: 0,
        revision: 0,
    };
    Chunk::of(&values.iter().map(sample).collect::<Vec<_>>()).into_iter().collect()
}

/// `up` of two instances, and a `down`.
fn write(disk: &SimDisk) -> SstableMeta {
    use crate::disk::Disk as _;
    let mut symbols = Symbols::new(1);
    let series = [
        ("up", "a", [(1000, 1.0), (16_000, 1.0), (31_000, 2.5)]),
        ("up", "b", [(1000, 1.0), (16_000, 0.1 + 0.2), (31_000, 0.0)]),
        ("down", "a", [(1000, 7.0), (16_000, 8.0), (31_000, 9.0)]),
    ];
    let mut held: Vec<_> = series
        .iter()
        .map(|(name, instance, samples)| {
            let pairs = [("__name__", *name), ("instance", *instance), ("job", "j")];
            let labels = symbols.intern_labels(&LabelSet::from_pairs(pairs).unwrap());
            (labels, chunks(samples))
        })
        .collect();
    let days: Vec<_> = held.iter_mut().map(|(_, chunks)| by_day(chunks)).collect();
    let rows = held.iter().zip(&days).flat_map(|((labels, chunks), days)| {
        days.iter().map(move |(day, range)| HeadRow {
            labels,
            day: *day,
            target: 0,
            chunks: &chunks[range.clone()],
        })
    });
    disk.create_dir(SSTABLE_DIRECTORY).unwrap();
    let window = Window { first_day: 0, days: 1 };
    let mut writer = Writer::create(disk, 8, 0, window, model::TimestampMs(0)).unwrap();
    write_tenant(&mut writer, &tenant(), &symbols, rows.collect(), Encoding::Fast).unwrap();
    writer.finish().unwrap()
}

/// Opens the file and asks it for everything, and then for one metric.
fn read(disk: &SimDisk, meta: &SstableMeta) -> Result<Vec<SeriesColumns>, Error> {
    let mut state = State::default();
    state.sstables.insert(meta.id, meta.clone());
    let mut report = OpenReport::default();
    let tables = Tables::open(Arc::new(disk.clone()), &state, &Config::default(), &mut report)?;
    let mut answer = Vec::new();
    for matchers in
        [vec![], vec![Matcher::equal("__name__", "up"), Matcher::equal("instance", "b")]]
    {
        let (range, bounds) = (TimeRange::ALL, SelectBounds::NONE);
        let selection = Selection { matchers, range, days: None, bounds };
        let query = Query::of_selection(&selection)?.unwrap();
        let mut gather = Gather::new(bounds);
        tables.collect(&tenant(), &query, &mut gather)?;
        answer.extend(gather.finish()?);
    }
    Ok(answer)
}

#[test]
fn the_format_is_the_documented_one() {
    let disk = SimDisk::new(1);
    let meta = write(&disk);
    let bytes = disk.bytes_of(&sstable_path(meta.id)).unwrap();
    assert_eq!(dump(&bytes), documented("an sstable"));
    assert_eq!(meta.file_hash, xxhash_rust::xxh3::xxh3_64(&bytes));
    assert_eq!((meta.series, meta.samples), (3, 9));
}

#[test]
fn a_changed_byte_anywhere_is_found_out_and_never_a_wrong_answer() {
    let disk = SimDisk::new(1);
    let meta = write(&disk);
    let path = sstable_path(meta.id);
    let good = disk.bytes_of(&path).unwrap();
    let expected = read(&disk, &meta).unwrap();
    assert_eq!(expected.iter().map(|s| s.floats.len()).sum::<usize>(), 12);
    for index in 0..good.len() {
        for change in [1_u8, 0x80, 0xff, good[index]] {
            let mut bytes = good.clone();
            bytes[index] ^= change;
            if bytes == good {
                continue;
            }
            disk.overwrite(&path, &bytes);
            let answer = read(&disk, &meta);
            assert!(
                matches!(answer, Err(Error::Corrupt { .. } | Error::NewerFormat { .. })),
                "byte {index} ^ {change}: {answer:?}"
            );
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let disk = SimDisk::new(1);
    let meta = write(&disk);
    let path = sstable_path(meta.id);
    let good = disk.bytes_of(&path).unwrap();
    for len in 0..good.len() {
        disk.overwrite(&path, &good[..len]);
        assert!(read(&disk, &meta).is_err(), "{len} bytes");
    }
}

/// Bytes that pass their checksum and still make no sense: our own bug, or somebody's malice.
mod payloads {
    use super::super::directory::Directory;
    use super::super::partition::{Builder, PartitionIndex};
    use super::chunks;
    use proptest::prelude::*;

    fn payload() -> Vec<u8> {
        let mut builder = Builder::default();
        for place in 0..20_u32 {
            let pairs = [(0, 5), (1, 6 + place % 3), (2, 9 + place)];
            builder.push(pairs.into_iter(), chunks(&[(i64::from(place), 1.0)]).iter());
        }
        builder.encode()
    }

    fn read(payload: &[u8]) {
        let Ok(index) = PartitionIndex::decode(payload, 40) else { return };
        for name in &index.names {
            let _ = name.for_each(|value, start, end| {
                assert!(value < 40 && start < end && end <= index.series);
            });
        }
        let _ = index.chunks(|chunk| assert!(chunk.series < index.series));
    }

    proptest! {
        #[test]
        fn a_partition_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut: prop::sample::Index,
        ) {
            let mut payload = payload();
            for (index, byte) in changes {
                let index = index.index(payload.len());
                payload[index] = byte;
            }
            read(&payload);
            payload.truncate(cut.index(payload.len()));
            read(&payload);
        }

        #[test]
        fn any_bytes_are_a_directory_or_refused(bytes: Vec<u8>) {
            let _ = Directory::decode(&bytes);
        }
    }
}
