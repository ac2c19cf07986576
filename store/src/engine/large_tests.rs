//! Large partitions, summed over everything that holds a part of them; metrics of many series.

use super::tests::{NOW, mutation, open, tenant, up, write};
use super::{LargeMetric, PARTITION_BYTES_ALARM, PARTITION_BYTES_WARN};
use crate::sim::SimDisk;
use model::time::DAY_MS;
use model::{SeriesRef, TenantId};

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
    let bytes = in_files[0].bytes;
    let over = [bytes, bytes + 1].map(|bytes_min| engine.partitions_over(bytes_min).len());
    assert_eq!(over, [1, 0], "at its size, and one past it");
    assert_eq!((PARTITION_BYTES_WARN, PARTITION_BYTES_ALARM), (64_000_000, 100_000_000));
    add(20_000);
    let all = engine.partitions_over(200_000);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].bytes > in_files[0].bytes + 20_000 * 6, "{all:?}");
    assert_eq!((&all[0].tenant, &*all[0].metric, all[0].day.0), (&tenant("t"), "up", 0));
    assert_eq!((engine.large_partitions(), engine.stats().partitions_large), (vec![], 0));
}

#[test]
fn a_metric_with_a_fifth_of_the_series_that_it_may_have_is_named_and_with_one_less_it_is_not() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let mut some = mutation("t");
    (0..20).for_each(|n| {
        some.push(SeriesRef::Labels(up(&n.to_string())), [(NOW.0, 1.0)]);
    });
    write(&engine, &some);
    let named = |limit: u64| engine.large_metrics(|_| limit, |_, _| false);
    assert_eq!(named(101), []);
    let large = LargeMetric { tenant: tenant("t"), metric: "up".into(), series: 20, limit: 100 };
    assert_eq!(named(100), [large]);
    let told = |id: &TenantId, metric: &str| *id == tenant("t") && metric == "up";
    assert_eq!(engine.large_metrics(|_| 100, told), [], "each is named once");
    assert_eq!(named(u64::MAX), [], "without a limit there is no fifth of it");
}
