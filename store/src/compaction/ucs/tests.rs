use super::*;
use crate::compaction::decision::Lot;
use crate::manifest::Stage;

const MIB: u64 = 1 << 20;

/// Cassandra's defaults, which the vectors are for.
fn defaults() -> CompactionConfig {
    CompactionConfig {
        sstable_bytes: 1024 * MIB,
        sstable_bytes_min: 100 * MIB,
        flush_bytes: 100 * MIB,
        ..CompactionConfig::default()
    }
}

fn with<R>(config: &CompactionConfig, scaling: &str, run: impl FnOnce(&Ucs<'_>) -> R) -> R {
    let (scaling, space) = (scaling.parse().unwrap(), Space::default());
    run(&Ucs { config, scaling: &scaling, space: &space })
}

fn candidate(id: u64, mib: u64, span: (u64, u64)) -> Candidate {
    Candidate {
        id,
        lot: Lot { first_day: 20_000, days: 1, class: 0 },
        bytes: mib * MIB,
        token_first: span.0,
        token_last: span.1,
        partitions: 100_000,
        min_ms: 0,
        max_ms: i64::try_from(id).unwrap(),
        created_ms: 0,
        stage: Stage::Flushed,
        is_compacting: false,
    }
}

const WHOLE: (u64, u64) = (0, u64::MAX);

fn flushes(count: u64) -> Vec<Candidate> {
    (1..=count).map(|id| candidate(id, 100, WHOLE)).collect()
}

fn pick(ucs: &Ucs<'_>, candidates: &[Candidate], chance: u64) -> Option<Pick> {
    let all: Vec<&Candidate> = candidates.iter().collect();
    ucs.pick(&all, known_partitions(&all), chance)
}

#[test]
fn golden_levels_of_t4_and_100_mib_begin_at_310_1240_4960_19840_79360_mib() {
    let bounds = with(&defaults(), "T4", |ucs| ucs.level_bounds());
    let mib: Vec<u128> = bounds.iter().take(5).map(|bound| bound / u128::from(MIB)).collect();
    assert_eq!(mib, [310, 1_240, 4_960, 19_840, 79_360]);
    assert_eq!(bounds.len(), 32);
}

#[test]
fn the_level_rises_with_the_density_and_falls_with_the_base_one_level_for_a_fanout() {
    let level_of = |base_mib: u64, mib: u64| {
        let config = CompactionConfig { flush_bytes: base_mib * MIB, ..defaults() };
        let all = [candidate(1, mib, WHOLE)];
        with(&config, "T8", |ucs| ucs.levels(&[&all[0]], 100_000).len() - 1)
    };
    for base in 1..200 {
        for mib in (0..40).map(|step| 1_u64 << step >> 3) {
            let level = level_of(base, mib);
            assert!(level <= level_of(base, mib + 1) && level >= level_of(base + 1, mib));
            assert_eq!(level_of(base * 8, mib * 8), level, "base {base}, {mib} MiB");
        }
    }
}

#[test]
fn golden_shards_by_density() {
    let golden: [(u64, u64); 11] = [
        (50, 1),
        (150, 1),
        (200, 2),
        (399, 2),
        (400, 4),
        (4_096, 4),
        (8_192, 8),
        (16_384, 8),
        (65_536, 32),
        (262_144, 64),
        (1_048_576, 128),
    ];
    with(&defaults(), "T4", |ucs| {
        for (mib, shards) in golden {
            assert_eq!(ucs.shards(u128::from(mib * MIB)), shards, "{mib} MiB");
        }
    });
}

#[test]
fn golden_shards_without_growth_and_with_nothing_but_growth() {
    let shards = |growth_permille, mib: u64| {
        let config = CompactionConfig { growth_permille, ..defaults() };
        with(&config, "T4", |ucs| ucs.shards(u128::from(mib * MIB)))
    };
    assert_eq!(shards(1000, 1 << 20), 4);
    // Rounded at the square root of two: 4 GiB × 1.414 = 5,793 MiB.
    assert_eq!([5_792, 5_793].map(|mib| shards(0, mib)), [4, 8]);
    assert_eq!(shards(0, 1 << 20), 1_024);
    assert_eq!(shards(0, 1 << 43), 4 << 20, "no more than 2^20 times the base");
}

#[test]
fn shards_of_a_base_that_is_no_power_of_two_keep_their_boundaries() {
    let shards = |base_shards, mib: u64| {
        let config = CompactionConfig { base_shards, ..defaults() };
        with(&config, "T4", |ucs| ucs.shards(u128::from(mib * MIB)))
    };
    assert_eq!([100, 250, 590, 600].map(|mib| shards(6, mib)), [1, 2, 2, 6]);
    assert_eq!([200, 290, 300].map(|mib| shards(3, mib)), [1, 1, 3]);
}

#[test]
fn golden_pick_sizes_of_late_compactions() {
    let golden: [(&str, usize, usize, usize); 13] = [
        ("2", 32, 4, 4),
        ("2", 32, 5, 5),
        ("2", 32, 16, 16),
        ("2", 32, 17, 16),
        ("2", 32, 55, 16),
        ("2", usize::MAX, 200, 64),
        ("-2", 32, 55, 32),
        ("-2", usize::MAX, 55, 48),
        ("0", 32, 5, 4),
        ("0", 32, 55, 32),
        ("6", 32, 17, 17),
        ("6", 32, 55, 32),
        ("6", usize::MAX, 200, 64),
    ];
    let size = |w: &str, sstables_max, count: usize| {
        let config = CompactionConfig { sstables_max, ..defaults() };
        let candidates = flushes(u64::try_from(count).unwrap());
        with(&config, w, |ucs| pick(ucs, &candidates, 0).unwrap().inputs.len())
    };
    for (w, most, count, wanted) in golden {
        assert_eq!(size(w, most, count), wanted, "W={w} maxN={most}: {count}");
    }
    assert_eq!(size("6", 32, 200), 8);
}

#[test]
fn golden_the_fourth_flush_of_t4_makes_four_shards_of_100_mib_in_level_1() {
    with(&defaults(), "T4", |ucs| {
        assert_eq!(ucs.shards(u128::from(100 * MIB)), 1);
        assert_eq!(pick(ucs, &flushes(3), 0), None);
        let four = flushes(4);
        let found = pick(ucs, &four, 0).unwrap();
        assert_eq!((found.level, found.overlap, found.inputs), (0, 4, vec![0, 1, 2, 3]));
        let all: Vec<&Candidate> = four.iter().collect();
        let quarter = 1 << 62;
        let boundaries = ucs.output_boundaries(&all, 100_000);
        assert_eq!(boundaries, [Token(quarter), Token(2 * quarter), Token(3 * quarter)]);
        let shard = candidate(5, 100, (quarter, 2 * quarter - 1));
        assert_eq!(ucs.levels(&[&shard], 100_000), vec![vec![], vec![0]]);
        assert_eq!(ucs.density(shard.bytes, span(&shard), 100_000, 1), u128::from(400 * MIB));
    });
}

#[test]
fn golden_each_shard_of_level_1_is_a_compaction_of_its_own_and_chance_chooses_uniformly() {
    let quarter = 1_u64 << 62;
    let shards = |id: u64| {
        (0..4).map(move |s| candidate(id + s, 100, (s * quarter, s * quarter + (quarter - 1))))
    };
    let all: Vec<Candidate> = (0..4).flat_map(|generation| shards(1 + 4 * generation)).collect();
    with(&defaults(), "T4", |ucs| {
        let mut chosen: Vec<Vec<usize>> =
            (0..8).map(|chance| pick(ucs, &all, chance).unwrap().inputs).collect();
        assert_eq!(chosen[0], chosen[4]);
        chosen.sort();
        chosen.dedup();
        assert_eq!(chosen, [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]]);
    });
}

#[test]
fn golden_the_level_with_most_overlap_wins_and_of_equal_ones_the_lower() {
    let level_1 = |id| candidate(id, 400, WHOLE);
    let mut all = flushes(4);
    all.extend((10..14).map(level_1));
    with(&defaults(), "T4", |ucs| assert_eq!(pick(ucs, &all, 0).unwrap().level, 0));
    all.push(level_1(14));
    with(&defaults(), "T4", |ucs| assert_eq!(pick(ucs, &all, 0).unwrap().level, 1));
}

#[test]
fn a_level_below_its_threshold_holds_up_no_other() {
    let mut all = flushes(7);
    all.extend((10..12).map(|id| candidate(id, 1000, WHOLE)));
    with(&defaults(), "T8,N", |ucs| {
        let found = pick(ucs, &all, 0).unwrap();
        assert_eq!((found.level, found.inputs), (1, vec![7, 8]));
    });
}

#[test]
fn an_sstable_of_few_partitions_is_no_denser_than_their_share() {
    with(&defaults(), "T4", |ucs| {
        // One of ten partitions: a tenth of the space, although it spans one token.
        assert_eq!(ucs.density(10 * MIB, (7, 7), 1, 10), u128::from(100 * MIB));
        assert_eq!(ucs.density(10 * MIB, (7, 7), 10, 10), u128::from(10 * MIB));
        // With 100 partitions and a span that is not tiny the span counts.
        assert_eq!(ucs.density(MIB, (0, (1 << 54) - 1), 100, 100), u128::from(1024 * MIB));
        assert_eq!(ucs.density(MIB, (0, (1 << 15) - 1), 100, 100), u128::from(MIB));
    });
    let flushes: Vec<Candidate> =
        (1..=4).map(|id| Candidate { partitions: 3, ..candidate(id, 5, (100, 900)) }).collect();
    with(&defaults(), "T4", |ucs| {
        let found = pick(ucs, &flushes, 0).unwrap();
        assert_eq!((found.level, found.inputs.len()), (0, 4));
        let all: Vec<&Candidate> = flushes.iter().collect();
        assert_eq!(ucs.output_boundaries(&all, known_partitions(&all)), []);
    });
}

#[test]
fn what_is_compacting_is_passed_over() {
    let mut all = flushes(4);
    all[2].is_compacting = true;
    with(&defaults(), "T4", |ucs| assert_eq!(pick(ucs, &all, 0), None));
}

#[test]
fn a_major_compaction_takes_what_overlaps_transitively_together() {
    let spans = [(0, 3), (2, 7), (6, 9), (20, 30), (30, 31), (32, 33)];
    let mut all: Vec<Candidate> =
        (1_u64..).zip(spans).map(|(id, span)| candidate(id, 100, span)).collect();
    let majors = |all: &[Candidate]| major(&all.iter().collect::<Vec<_>>());
    assert_eq!(majors(&all), vec![vec![0, 1, 2], vec![3, 4], vec![5]]);
    all[1].is_compacting = true;
    assert_eq!(majors(&all), vec![vec![0], vec![2], vec![3, 4], vec![5]]);
}
