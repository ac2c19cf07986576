//! Reads against a brute-force evaluator, and what they may touch.

use super::*;
use crate::RetentionConfig;
use crate::error::Error;
use crate::sim::{Action, Outcome, SimDisk};
use model::mutation::Mutation;
use model::read::{LabelAnswer, LabelQuery, LabelWant, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{
    Context, LabelSet, MatchOp, Matcher, Principal, QueryShard, RequestId, SeriesRef, Text,
    TimeRange,
};
use model::{Retention, RetentionRules};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

const NOW: TimestampMs = TimestampMs(1_760_000_000_000);
const METRICS: [&str; 6] = ["a", "ab", "abc", "b", "up", ""];
const VALUES: [&str; 6] = ["", "a", "ab", "b", "x.y", "ba"];
const NAMES: [&str; 4] = ["__name__", "l", "m", "n"];
const PATTERNS: [&str; 14] = [
    "", ".*", ".+", "a", "a.*", "a.+", "a|b|ba", "b|", "[ab]+", "(a|b).*", ".*b", "x\\.y", "no",
    "a.*b|x.*",
];

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn open(disk: &SimDisk, window_days: u16, cache_bytes_max: usize) -> Engine {
    let parts =
        Parts { disk: Arc::new(disk.clone()), cluster_name: "test".to_owned(), generation_seed: 7 };
    let config = Config { cache_bytes_max, ..Config::default() };
    let engine = Engine::open(parts, config, NOW).unwrap().0;
    // Windows of what is kept for 400 days have 7 days.
    let days = if window_days == 7 { 400 } else { 0 };
    let default = RetentionRules::all(Retention::from_ms(days * 86_400_000));
    engine.set_retention(&RetentionConfig { default, ..RetentionConfig::default() }, NOW).unwrap();
    engine
}

/// Samples are (who, when), each with the value 1.
type Samples = Vec<(LabelSet, i64)>;

fn write(engine: &Engine, samples: &Samples) {
    let context = Context {
        tenant: tenant(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    };
    let mut mutation = Mutation::empty(Arc::new(context));
    for (labels, at) in samples {
        mutation.push(SeriesRef::Labels(labels.clone()), [(*at, 1.0)]);
    }
    engine.append(&mutation, AppendLimits::NONE, NOW).unwrap();
    engine.sync().unwrap();
}

fn series() -> impl Strategy<Value = LabelSet> {
    let pick = |from: &'static [&'static str]| prop::sample::select(from);
    (pick(&METRICS), pick(&VALUES), pick(&VALUES), pick(&VALUES)).prop_map(|(metric, l, m, n)| {
        LabelSet::from_pairs(NAMES.into_iter().zip([metric, l, m, n])).unwrap()
    })
}

/// Samples of three days.
fn samples() -> impl Strategy<Value = Samples> {
    let at =
        (0_i64..3, 0_i64..4).prop_map(|(day, hour)| (20_000 + day) * DAY_MS + hour * 3_600_000);
    prop::collection::vec((series(), at), 0..60)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let ops = vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let names = vec!["__name__", "l", "m", "n", "missing"];
    (prop::sample::select(names), prop::sample::select(ops), 0..PATTERNS.len())
        .prop_map(|(name, op, pattern)| Matcher::new(name, op, PATTERNS[pattern]))
}

fn range() -> impl Strategy<Value = TimeRange> {
    let hours = (-2_i64..80, 0_i64..80).prop_map(|(start, len)| {
        let start = 20_000 * DAY_MS + start * 3_600_000 - 1;
        TimeRange { start: TimestampMs(start), end: TimestampMs(start + len * 3_600_000 + 1) }
    });
    prop_oneof![1 => Just(TimeRange::ALL), 3 => hours]
}

fn matching(samples: &Samples, matchers: &[Matcher], range: TimeRange) -> Samples {
    let compiled: Vec<_> = matchers.iter().map(|matcher| matcher.compile().unwrap()).collect();
    let is_in = |at: i64| range.start.0 <= at && at < range.end.0;
    let is_match = |labels: &LabelSet| compiled.iter().all(|m| m.matches_labels(labels));
    samples.iter().filter(|(labels, at)| is_in(*at) && is_match(labels)).cloned().collect()
}

fn days_of(range: TimeRange) -> TimeRange {
    if range == TimeRange::ALL {
        return range;
    }
    let start = range.start.0.div_euclid(DAY_MS) * DAY_MS;
    let end = (range.end.0 + DAY_MS - 1).div_euclid(DAY_MS) * DAY_MS;
    TimeRange { start: TimestampMs(start), end: TimestampMs(end) }
}

fn expect_labels(samples: &Samples, query: &LabelQuery) -> LabelAnswer {
    let range = match query.want {
        LabelWant::Series | LabelWant::SeriesPart(_) => query.range,
        _ => days_of(query.range),
    };
    let every = vec![Vec::new()];
    let sets = if query.matcher_sets.is_empty() { &every } else { &query.matcher_sets };
    let mut found: Vec<LabelSet> =
        sets.iter().flat_map(|set| matching(samples, set, range)).map(|(who, _)| who).collect();
    found.sort();
    found.dedup();
    let limit = if query.limit == 0 { usize::MAX } else { usize::try_from(query.limit).unwrap() };
    let mut texts: Vec<Text> = match &query.want {
        LabelWant::Series => {
            found.truncate(limit);
            return LabelAnswer::Series(found);
        }
        LabelWant::SeriesPart(part) => {
            found.retain(|set| part.holds(set));
            return LabelAnswer::Series(found);
        }
        LabelWant::Names => {
            found.iter().flat_map(|set| set.iter().map(|(name, _)| name.clone())).collect()
        }
        LabelWant::Values(name) => found.iter().map(|set| set.value(name).into()).collect(),
    };
    texts.retain(|text| !text.is_empty());
    texts.sort();
    texts.dedup();
    texts.truncate(limit);
    LabelAnswer::Texts(texts)
}

fn check(engine: &Engine, written: &Samples, matchers: &[Matcher], range: TimeRange) {
    let mut expected: BTreeMap<LabelSet, Vec<i64>> = BTreeMap::new();
    for (labels, at) in matching(written, matchers, range) {
        expected.entry(labels).or_default().push(at);
    }
    for times in expected.values_mut() {
        times.sort_unstable();
        times.dedup();
    }
    let bounds = SelectBounds::NONE;
    let selection = Selection {
        matchers: matchers.to_vec(),
        range,
        days: None,
        shard: model::QueryShard::ALL,
        bounds,
        wanted: model::read::Wanted::ALL,
    };
    let found = engine.select(&tenant(), &selection, NOW).unwrap();
    let found: Vec<_> =
        found.into_iter().map(|s| (s.labels, s.floats.timestamps_ms.to_vec())).collect();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{matchers:?} {range:?}");

    let wants = [
        LabelWant::Names,
        LabelWant::Values("l".into()),
        LabelWant::Values("__name__".into()),
        LabelWant::Series,
        LabelWant::SeriesPart(QueryShard { index: 1, count: 3 }),
    ];
    for (want, limit) in wants.into_iter().zip([0, 2, 0, 0, 0]) {
        for matcher_sets in [vec![matchers.to_vec()], Vec::new()] {
            let query = LabelQuery {
                want: want.clone(),
                matcher_sets,
                range,
                limit,
                tombstones_max: u64::MAX,
            };
            let found = engine.labels(&tenant(), &query, NOW).unwrap();
            assert_eq!(found, expect_labels(written, &query), "{query:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_read_finds_what_a_look_at_every_sample_finds(
        parts in prop::collection::vec(samples(), 1..4),
        questions in prop::collection::vec((prop::collection::vec(matcher(), 0..4), range()), 1..8),
        window_days in prop::sample::select(vec![1_u16, 7]),
        cache_bytes_max in prop::sample::select(vec![0_usize, 3_000, 64 << 20]),
    ) {
        let disk = SimDisk::new(1);
        let engine = open(&disk, window_days, cache_bytes_max);
        let mut written = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                engine.flush(NOW).unwrap();
            }
            write(&engine, part);
            written.extend_from_slice(part);
        }
        for (matchers, range) in &questions {
            check(&engine, &written, matchers, *range);
            // The second time much of it comes from the cache.
            check(&engine, &written, matchers, *range);
            prop_assert!(engine.stats().cache_bytes <= cache_bytes_max as u64);
        }
    }
}

/// Twenty metrics of ten series each, on disk; each sample in the first hour of the day.
fn flushed(disk: &SimDisk) -> Samples {
    let mut samples = Vec::new();
    for metric in 0..20 {
        for instance in 0..10 {
            let pairs = [
                ("__name__", format!("metric_{metric}")),
                ("instance", format!("i{instance}")),
                ("job", "j".to_owned()),
            ];
            let labels = LabelSet::from_pairs(pairs).unwrap();
            samples.extend((0..3).map(|n| (labels.clone(), 20_000 * DAY_MS + n * 1000)));
        }
    }
    let engine = open(disk, 1, 1 << 20);
    write(&engine, &samples);
    engine.close(NOW).unwrap();
    samples
}

fn hour() -> TimeRange {
    let start = 20_000 * DAY_MS;
    TimeRange { start: TimestampMs(start), end: TimestampMs(start + 3_600_000) }
}

/// How often sstables are read from now on.
fn count_reads(disk: &SimDisk) -> Arc<AtomicU64> {
    let reads = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reads);
    disk.set_hook(move |call| {
        count.fetch_add(u64::from(call.action == Action::Read), Ordering::Relaxed);
        Outcome::Done
    });
    reads
}

#[test]
fn labels_and_series_are_answered_though_every_chunk_on_disk_is_damaged() {
    let disk = SimDisk::new(1);
    let samples = flushed(&disk);
    let path = disk.paths().into_iter().find(|path| path.ends_with(".sst")).unwrap();
    let mut bytes = disk.bytes_of(&path).unwrap();
    let (mut at, mut damaged) = (16, 0);
    while at + 60 < bytes.len() {
        let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if bytes[at + 8] == 3 {
            bytes[at + 9] ^= 1;
            damaged += 1;
        }
        at += 9 + len;
    }
    assert_eq!(damaged, 20);
    disk.overwrite(&path, &bytes);
    let engine = open(&disk, 1, 1 << 20);
    for want in [LabelWant::Names, LabelWant::Values("instance".into()), LabelWant::Series] {
        for matchers in [vec![], vec![Matcher::equal("instance", "i3")]] {
            let (matcher_sets, limit) = (vec![matchers], 0);
            let query = LabelQuery {
                want: want.clone(),
                matcher_sets,
                range: hour(),
                limit,
                tombstones_max: u64::MAX,
            };
            let found = engine.labels(&tenant(), &query, NOW).unwrap();
            assert_eq!(found, expect_labels(&samples, &query));
        }
    }
    let bounds = SelectBounds::NONE;
    let matchers = vec![Matcher::equal("__name__", "metric_1")];
    let selection = Selection {
        matchers,
        range: hour(),
        days: None,
        shard: model::QueryShard::ALL,
        bounds,
        wanted: model::read::Wanted::ALL,
    };
    assert!(matches!(engine.select(&tenant(), &selection, NOW), Err(Error::Corrupt { .. })));
}

#[test]
fn an_estimate_counts_by_the_index_and_reads_no_chunk() {
    let disk = SimDisk::new(1);
    flushed(&disk);
    let engine = open(&disk, 1, 1 << 20);
    let of = |matchers: &[(&str, &str)], range| {
        let matchers = matchers.iter().map(|(name, value)| Matcher::equal(*name, *value)).collect();
        let (shard, bounds) = (model::QueryShard::ALL, SelectBounds::NONE);
        let selection = Selection {
            matchers,
            range,
            days: None,
            shard,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        let found = engine.select(&tenant(), &selection, NOW).unwrap();
        let samples: usize = found.iter().map(|series| series.floats.len()).sum();
        let reads = count_reads(&disk);
        let estimate = engine.estimate(&tenant(), &selection, TimestampMs(0)).unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 0);
        assert_eq!(estimate.series, found.len() as u64);
        (estimate, samples as u64)
    };
    let (all, samples) = of(&[], TimeRange::ALL);
    assert_eq!((all.partitions, all.samples), (20, samples));
    let (one, samples) = of(&[("__name__", "metric_1"), ("instance", "i3")], TimeRange::ALL);
    assert_eq!((one.partitions, one.series, one.samples), (1, 1, samples));
    let (none, _) = of(&[("instance", "nowhere")], TimeRange::ALL);
    assert_eq!(none.samples, 0);
}

#[test]
fn an_estimate_of_what_is_in_memory_is_of_the_range() {
    let engine = open(&SimDisk::new(1), 1, 1 << 30);
    // Of 4,000 series the first half ended after 100 seconds, when the others began.
    let named = |i: i64| LabelSet::from_pairs([("__name__", "m"), ("i", &i.to_string())]).unwrap();
    for (series, seconds) in [(0..2_000, 0..100), (2_000..4_000, 100..600)] {
        for at in seconds.step_by(10) {
            write(&engine, &series.clone().map(|i| (named(i), at * 1_000)).collect());
        }
    }
    let of = |from_s: i64, to_s: i64| {
        let range =
            TimeRange { start: TimestampMs(from_s * 1_000), end: TimestampMs(to_s * 1_000) };
        let selection = Selection {
            matchers: vec![Matcher::equal("__name__", "m")],
            range,
            days: None,
            shard: model::QueryShard::ALL,
            bounds: SelectBounds::NONE,
            wanted: model::read::Wanted::ALL,
        };
        let estimate = engine.estimate(&tenant(), &selection, NOW).unwrap();
        (estimate.series, estimate.samples)
    };
    for (from_s, to_s, all, held) in
        [(0, 600, 4_000, 120_000), (300, 600, 2_000, 60_000), (0, 100, 2_000, 20_000)]
    {
        let (series, samples) = of(from_s, to_s);
        assert_eq!(series, all);
        assert!((held * 2 / 3..held * 3 / 2).contains(&samples), "{samples} of {held}");
    }
    assert_eq!(of(1_000, 2_000), (0, 0));
}

#[test]
fn what_was_asked_before_is_not_read_again() {
    let disk = SimDisk::new(1);
    flushed(&disk);
    let engine = open(&disk, 1, 1 << 20);
    let reads = count_reads(&disk);
    let ask = |range: TimeRange| {
        let matchers = vec![Matcher::equal("instance", "i3"), Matcher::equal("job", "j")];
        let bounds = SelectBounds::NONE;
        let selection = Selection {
            matchers,
            range,
            days: None,
            shard: model::QueryShard::ALL,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        assert_eq!(engine.select(&tenant(), &selection, NOW).unwrap().len(), 20);
        reads.swap(0, Ordering::Relaxed)
    };
    // Directory, symbols, and of each partition its index and its block of chunks.
    assert_eq!(ask(hour()), 42);
    assert_eq!(ask(hour()), 0);
    let stats = engine.stats();
    assert!(stats.cache_hits_total >= 42 && stats.cache_misses_total >= 42);
}

#[test]
fn a_scan_of_more_than_a_day_leaves_no_chunks_in_the_cache() {
    let disk = SimDisk::new(1);
    flushed(&disk);
    let engine = open(&disk, 1, 1 << 20);
    let reads = count_reads(&disk);
    let (matchers, bounds) = (vec![Matcher::equal("job", "j")], SelectBounds::NONE);
    let selection = Selection {
        matchers,
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds,
        wanted: model::read::Wanted::ALL,
    };
    for expected in [42, 20, 20] {
        engine.select(&tenant(), &selection, NOW).unwrap();
        assert_eq!(reads.swap(0, Ordering::Relaxed), expected);
    }
}

#[test]
fn a_selector_without_a_metric_opens_only_partitions_in_which_it_can_match() {
    let disk = SimDisk::new(1);
    let mut samples = flushed(&disk);
    let engine = open(&disk, 1, 0);
    let rare = [("__name__", "metric_7"), ("instance", "rare"), ("job", "j")];
    let rare = vec![(LabelSet::from_pairs(rare).unwrap(), 20_000 * DAY_MS)];
    write(&engine, &rare);
    engine.close(NOW).unwrap();
    samples.extend(rare);
    let engine = open(&disk, 1, 1 << 20);
    let matchers = [Matcher::new("instance", MatchOp::Regex, "ra.*"), Matcher::equal("job", "j")];
    check(&engine, &samples, &matchers, hour());
    let nothing = [Matcher::equal("instance", "i33")];
    let reads = count_reads(&disk);
    check(&engine, &samples, &nothing, hour());
    assert_eq!(reads.load(Ordering::Relaxed), 0);
}

#[test]
fn a_partition_in_many_sstables_is_counted_and_named_once() {
    let disk = SimDisk::new(1);
    let engine = open(&disk, 1, 1 << 20);
    let series = |metric: &str| LabelSet::from_pairs([("__name__", metric)]).unwrap();
    for n in 0..32 {
        let mut samples = vec![(series("wide"), 20_000 * DAY_MS + n)];
        if n < 31 {
            samples.push((series("narrow"), 20_000 * DAY_MS + n));
        }
        write(&engine, &samples);
        engine.flush(NOW).unwrap();
    }
    let select = |metric: &str| {
        let matchers = vec![Matcher::equal("__name__", metric)];
        let bounds = SelectBounds::NONE;
        let selection = Selection {
            matchers,
            range: hour(),
            days: None,
            shard: model::QueryShard::ALL,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        engine.select(&tenant(), &selection, NOW).unwrap()[0].floats.len()
    };
    assert_eq!(select("narrow"), 31);
    assert_eq!((engine.take_wide_reads(), engine.stats().reads_sstables_warned_total), (vec![], 0));
    for _ in 0..3 {
        assert_eq!(select("wide"), 32);
    }
    let day = model::DayBucket(20_000);
    let wide = WideRead { tenant: tenant(), metric: "wide".into(), day, sstables: 32 };
    assert_eq!(engine.take_wide_reads(), [wide]);
    assert_eq!(engine.take_wide_reads(), []);
    let stats = engine.stats();
    assert_eq!((stats.reads_sstables_warned_total, stats.reads_sstables_alarmed_total), (3, 0));
    for sstables in 33..=64 {
        write(&engine, &vec![(series("wide"), 20_000 * DAY_MS + i64::from(sstables))]);
        engine.flush(NOW).unwrap();
        assert_eq!(select("wide"), sstables as usize);
        let is_alarm = sstables == READ_SSTABLES_ALARM;
        assert_eq!(engine.stats().reads_sstables_alarmed_total, u64::from(is_alarm), "{sstables}");
    }
}

#[test]
fn a_window_in_which_more_than_three_times_a_merges_sstables_overlap_is_named() {
    let disk = SimDisk::new(1);
    let config = Config {
        compaction: crate::config::CompactionConfig {
            scaling_parameters: "T2".parse().unwrap(),
            ..Default::default()
        },
        ..Config::default()
    };
    let (engine, _) = super::tests::open_with(&disk, config);
    let labels = LabelSet::from_pairs([("__name__", "m")]).unwrap();
    for n in 0..7 {
        assert_eq!(engine.crowded_windows(), [], "{n} sstables");
        write(&engine, &vec![(labels.clone(), 20_000 * DAY_MS + n)]);
        engine.flush(NOW).unwrap();
    }
    let [crowded] = engine.crowded_windows()[..] else { panic!("one window") };
    assert_eq!((crowded.window.first_day, crowded.overlap, crowded.bound), (20_000, 7, 6));
    assert_eq!(engine.stats().overlap_max, 7);
}

#[test]
fn more_series_of_a_part_than_the_limit_are_an_error_and_never_a_cut() {
    let engine = open(&SimDisk::new(1), 1, 0);
    let who = |n: u32| LabelSet::from_pairs([("__name__", "m"), ("n", &*n.to_string())]).unwrap();
    write(&engine, &(0..4).map(|n| (who(n), NOW.0)).collect());
    for (limit, is_answered) in [(0, true), (4, true), (3, false)] {
        let want = LabelWant::SeriesPart(QueryShard::ALL);
        let (matcher_sets, tombstones_max) = (Vec::new(), u64::MAX);
        let query = LabelQuery { want, matcher_sets, range: TimeRange::ALL, limit, tombstones_max };
        let answer = engine.labels(&tenant(), &query, NOW);
        match is_answered {
            true => assert_eq!(answer.unwrap(), LabelAnswer::Series((0..4).map(who).collect())),
            false => assert!(matches!(answer, Err(Error::TooManySeries { series_max: 3 }))),
        }
    }
}
