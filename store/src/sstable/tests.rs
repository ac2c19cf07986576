//! One small sstable: its bytes as documented, and every way to damage one of them.

use super::tables::Tables;
use super::window::Window;
use super::writer::{Encoding, PartitionId, Row, Writer};
use crate::bytes::{documented, dump};
use crate::chunk::Chunk;
use crate::config::Config;
use crate::engine::OpenReport;
use crate::error::Error;
use crate::manifest::{SSTABLE_DIRECTORY, SstableMeta, State, sstable_path};
use crate::merge;
use crate::select::{Gather, Query};
use crate::sim::SimDisk;
use model::read::{SelectBounds, Selection};
use model::{LabelSet, Matcher, Sample, SeriesColumns, TenantId, Text, TimeRange, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn sample((timestamp_ms, value): &(i64, f64)) -> Sample {
    let (timestamp_ms, value) = (*timestamp_ms, *value);
    Sample { timestamp_ms, value, start_timestamp_ms: 0, revision: 0 }
}

fn chunks(values: &[(i64, f64)]) -> Vec<Chunk> {
    Chunk::of(&values.iter().map(sample).collect::<Vec<_>>()).into_iter().collect()
}

/// Series with their samples; each has the job `j`.
type Series = Vec<(Vec<(&'static str, String)>, Vec<Sample>)>;

/// `up` of two instances, and a `down`.
fn ups() -> Series {
    let series = [
        ("up", "a", [(1000, 1.0), (16_000, 1.0), (31_000, 2.5)]),
        ("up", "b", [(1000, 1.0), (16_000, 0.1 + 0.2), (31_000, 0.0)]),
        ("down", "a", [(1000, 7.0), (16_000, 8.0), (31_000, 9.0)]),
    ];
    let of = |(name, instance, values): (&str, &str, [(i64, f64); 3])| {
        let pairs = vec![("__name__", name.to_owned()), ("instance", instance.to_owned())];
        (pairs, values.iter().map(sample).collect())
    };
    series.into_iter().map(of).collect()
}

/// Writes the file 8.
fn write(disk: &SimDisk, series: &Series, encoding: Encoding) -> SstableMeta {
    use crate::disk::Disk as _;
    disk.create_dir(SSTABLE_DIRECTORY).unwrap();
    let window = Window { first_day: 0, days: 1 };
    let mut writer = Writer::create(disk, 8, 0, window, model::TimestampMs(0)).unwrap();
    let with_job = |(pairs, samples): &(Vec<(&'static str, String)>, Vec<Sample>)| {
        let job = [("job", "j".to_owned())];
        let labels = LabelSet::from_pairs(pairs.iter().cloned().chain(job)).unwrap();
        (labels, merge::chunks_of(samples.clone()))
    };
    let held: Vec<(LabelSet, Vec<Chunk>)> = series.iter().map(with_job).collect();
    let texts = held.iter().flat_map(|(labels, _)| labels.iter()).flat_map(|(n, v)| [n, v]);
    let texts: Vec<Text> = texts.cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let place = |text: &Text| u32::try_from(texts.binary_search(text).unwrap()).unwrap();
    writer.begin_tenant(&tenant(), &texts).unwrap();
    let mut partitions: BTreeMap<PartitionId, Vec<Row>> = BTreeMap::new();
    for (labels, chunks) in &held {
        let pairs: Vec<_> = labels.iter().map(|(n, v)| (place(n), place(v))).collect();
        let day = |chunk: &Chunk| TimestampMs(chunk.head.first_ms).day();
        for chunks in chunks.chunk_by(|a, b| day(a) == day(b)) {
            let metric = labels.metric_name().into();
            let id = PartitionId { metric, day: day(&chunks[0]), depth: 0, shard: 0 };
            let row = Row { pairs: pairs.clone(), target: 0, chunks: chunks.to_vec() };
            partitions.entry(id).or_default().push(row);
        }
    }
    for (id, rows) in partitions {
        writer.partition(id, rows, encoding).unwrap();
    }
    writer.end_tenant().unwrap();
    writer.finish().unwrap()
}

fn open(disk: &SimDisk, meta: &SstableMeta) -> Result<Tables, Error> {
    let mut state = State::default();
    state.sstables.insert(meta.id, meta.clone());
    let mut report = OpenReport::default();
    Tables::open(Arc::new(disk.clone()), &state, &Config::default(), &mut report)
}

fn select(
    tables: &Tables,
    matchers: Vec<Matcher>,
    range: TimeRange,
) -> Result<Vec<SeriesColumns>, Error> {
    let bounds = SelectBounds::NONE;
    let selection = Selection {
        matchers,
        range,
        days: None,
        shard: model::QueryShard::ALL,
        bounds,
        wanted: model::read::Wanted::ALL,
    };
    let Some(query) = Query::of_selection(&selection)? else { return Ok(Vec::new()) };
    let mut gather = Gather::new(bounds);
    tables.collect(&tenant(), &query, &mut gather)?;
    gather.finish()
}

/// Opens the file and asks it for everything, and then for one metric.
fn read(disk: &SimDisk, meta: &SstableMeta) -> Result<Vec<SeriesColumns>, Error> {
    let tables = open(disk, meta)?;
    let mut answer = select(&tables, Vec::new(), TimeRange::ALL)?;
    let one = vec![Matcher::equal("__name__", "up"), Matcher::equal("instance", "b")];
    answer.extend(select(&tables, one, TimeRange::ALL)?);
    Ok(answer)
}

#[test]
fn the_format_is_the_documented_one() {
    let disk = SimDisk::new(1);
    let meta = write(&disk, &ups(), Encoding::Fast);
    let bytes = disk.bytes_of(&sstable_path(meta.id)).unwrap();
    assert_eq!(dump(&bytes), documented("an sstable"));
    assert_eq!(meta.file_hash, xxhash_rust::xxh3::xxh3_64(&bytes));
    assert_eq!((meta.series, meta.samples), (3, 9));
}

#[test]
fn a_changed_byte_anywhere_is_found_out_and_never_a_wrong_answer() {
    let disk = SimDisk::new(1);
    let meta = write(&disk, &ups(), Encoding::Fast);
    let samples = every_changed_byte_is_found_out(&disk, &meta);
    assert_eq!(samples, 12);
}

/// How many samples the good file answers with.
fn every_changed_byte_is_found_out(disk: &SimDisk, meta: &SstableMeta) -> usize {
    let path = sstable_path(meta.id);
    let good = disk.bytes_of(&path).unwrap();
    let expected = read(disk, meta).unwrap();
    for index in 0..good.len() {
        for change in [1_u8, 0x80, 0xff, good[index]] {
            let mut bytes = good.clone();
            bytes[index] ^= change;
            if bytes == good {
                continue;
            }
            disk.overwrite(&path, &bytes);
            let answer = read(disk, meta);
            assert!(
                matches!(answer, Err(Error::Corrupt { .. } | Error::NewerFormat { .. })),
                "byte {index} ^ {change}: {answer:?}"
            );
        }
    }
    expected.iter().map(|s| s.floats.len()).sum()
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let disk = SimDisk::new(1);
    let meta = write(&disk, &ups(), Encoding::Fast);
    let path = sstable_path(meta.id);
    let good = disk.bytes_of(&path).unwrap();
    for len in 0..good.len() {
        disk.overwrite(&path, &good[..len]);
        assert!(read(&disk, &meta).is_err(), "{len} bytes");
    }
}

mod sealed;

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
            let mut chunks = chunks(&[(i64::from(place), 1.0)]);
            if place % 4 > 0 {
                chunks[0].head.encoding = 1 + (place % 3) as u8;
                chunks[0].head.column = if place % 3 > 0 { place / 7 } else { 0 };
            }
            builder.push(pairs.into_iter(), chunks.iter().map(|c| (c.head, &*c.bytes)));
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
