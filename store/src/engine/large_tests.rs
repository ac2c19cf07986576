//! Large partitions, summed over everything that holds a part of them.

use super::tests::{NOW, mutation, open, tenant, up, write};
use crate::sim::SimDisk;
use model::SeriesRef;
use model::time::DAY_MS;

#[test]
fn a_partition_is_as_large_as_its_parts_in_the_head_and_in_all_files_together() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let (mut random, mut at) = (1_u64, 0);
    let mut add = |samples: i64| {
        let mut some = mutation("t");
        let rows: Vec<(i64, f64)> = (0..samples)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                at += 1000;
                (at, f64::from_bits(random >> 2))
            })
            .collect();
        some.push(SeriesRef::Labels(up("a")), rows);
        some.push(SeriesRef::Labels(up("later")), [(DAY_MS + at, 1.0)]);
        write(&engine, &some);
    };
    for _ in 0..2 {
        add(20_000);
        engine.flush(NOW).unwrap();
    }
    let in_files = engine.partitions_over(1);
    assert_eq!(in_files.len(), 1, "one sample is not large: {in_files:?}");
    assert!(
        in_files[0].bytes > 2 * 20_000 * 6 && in_files[0].bytes <= engine.stats().sstable_bytes
    );
    add(20_000);
    let all = engine.partitions_over(200_000);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].bytes > in_files[0].bytes + 20_000 * 6, "{all:?}");
    assert_eq!((&all[0].tenant, &*all[0].metric, all[0].day.0), (&tenant("t"), "up", 0));
    assert_eq!((engine.large_partitions(), engine.stats().partitions_large), (vec![], 0));
}
