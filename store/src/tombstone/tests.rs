//! What a set of tombstones promises, against each of them asked alone.

use super::*;
use model::TimestampMs;
use proptest::prelude::*;

fn stone(matchers: &[Matcher], start: i64, end: i64, revision_max: u32) -> Tombstone {
    Tombstone {
        tenant: TenantId::parse("t").unwrap(),
        matchers: matchers.to_vec(),
        range: TimeRange { start: TimestampMs(start), end: TimestampMs(end) },
        revision_max,
        created: TimestampMs(0),
    }
}

fn any_stone() -> impl Strategy<Value = Tombstone> {
    let time = || prop_oneof![-3..3_i64, (-40..40_i64).prop_map(|day| day * DAY_MS)];
    let metric = prop_oneof![
        Just(vec![]),
        Just(vec![Matcher::equal(METRIC_NAME, "a")]),
        Just(vec![Matcher::new(METRIC_NAME, model::MatchOp::Regex, "a|b")]),
        Just(vec![Matcher::new(METRIC_NAME, model::MatchOp::NotEqual, "b")]),
        Just(vec![Matcher::equal("x", "1")]),
        Just(vec![Matcher::equal("x", "")]),
    ];
    (metric, time(), time(), 0_u32..3).prop_map(|(matchers, a, b, revision_max)| {
        stone(&matchers, a.min(b), a.max(b), revision_max)
    })
}

/// What one tombstone hides by its definition.
fn hides(stone: &Tombstone, series: [&str; 2], at: i64, revision: u32) -> bool {
    let value = |name: &str| match name {
        METRIC_NAME => series[0],
        "x" => series[1],
        _ => "",
    };
    stone.matchers.iter().all(|m| m.compile().unwrap().matches(value(&m.name)))
        && stone.range.contains(TimestampMs(at))
        && revision <= stone.revision_max
}

const SERIES: [[&str; 2]; 4] = [["a", "1"], ["a", ""], ["b", "1"], ["c", "2"]];

proptest! {
    #[test]
    fn a_sample_is_hidden_exactly_if_a_tombstone_that_came_hides_it(
        batches in prop::collection::vec(prop::collection::vec(any_stone(), 1..4), 1..6),
        range in (-45..45_i64, -45..45_i64),
        ats in prop::collection::vec(prop_oneof![-4..4_i64, -45 * DAY_MS..45 * DAY_MS], 1..20),
    ) {
        let came: Vec<Tombstone> = batches.iter().flatten().cloned().collect();
        let mut held: BTreeMap<u64, Arc<Tombstone>> = BTreeMap::new();
        let mut set = Tombstones::default();
        let mut next = 1;
        for batch in batches {
            let Change { added, removed } = join(&held, batch);
            removed.iter().for_each(|id| drop(held.remove(id)));
            let added: Vec<_> =
                added.into_iter().zip(next..).map(|(stone, id)| (id, Arc::new(stone))).collect();
            next += added.len() as u64;
            held.extend(added.iter().cloned());
            set = set.replace(&removed, &added).unwrap();
        }
        prop_assert_eq!(set.len(), held.len());
        let (start, end) = (range.0.min(range.1) * DAY_MS, range.0.max(range.1) * DAY_MS);
        for set in [&set, &Tombstones::new(&held).unwrap()] {
            let touching = set.touching(&TenantId::parse("t").unwrap(), start, end);
            for series in SERIES {
                let hidden = touching.hidden(|name| match name {
                    METRIC_NAME => series[0],
                    "x" => series[1],
                    _ => "",
                });
                for (at, revision) in ats.iter().flat_map(|at| (0..4).map(move |r| (*at, r))) {
                    if at < start || end <= at {
                        continue;
                    }
                    let want = came.iter().any(|stone| hides(stone, series, at, revision));
                    prop_assert_eq!(contains(&hidden.ranges(revision), at), want);
                    prop_assert!(!want || touching.may_cut(series[0], at, at));
                }
            }
            let other = set.touching(&TenantId::parse("other").unwrap(), start, end);
            prop_assert!(other.is_empty());
        }
    }

    #[test]
    fn the_order_in_which_tombstones_come_does_not_matter(
        stones in prop::collection::vec(any_stone(), 0..6), seed: u64
    ) {
        let after = |stones: Vec<Tombstone>| {
            let mut held: BTreeMap<u64, Arc<Tombstone>> = BTreeMap::new();
            for (stone, id) in stones.into_iter().zip(1..) {
                let change = join(&held, vec![stone]);
                change.removed.iter().for_each(|id| drop(held.remove(id)));
                held.extend(change.added.into_iter().map(|stone| (id, Arc::new(stone))));
            }
            let mut all: Vec<String> = held.values().map(|stone| format!("{stone:?}")).collect();
            all.sort();
            all
        };
        let mut shuffled = stones.clone();
        for (index, turn) in (0..shuffled.len()).zip(0_u32..) {
            let other = usize::try_from(seed.rotate_left(turn * 7) % stones.len() as u64).unwrap();
            shuffled.swap(index, other);
        }
        let twice: Vec<Tombstone> = shuffled.iter().chain(&stones).cloned().collect();
        prop_assert_eq!(after(stones), after(twice));
    }
}

#[test]
fn the_same_again_changes_nothing_and_a_wider_one_takes_its_place() {
    let narrow = stone(&[Matcher::equal("a", "1")], 0, 10, 0);
    let held = BTreeMap::from([(7, Arc::new(narrow.clone()))]);
    assert_eq!(join(&held, vec![narrow.clone(), narrow.clone()]), Change::default());
    let later = Tombstone { created: TimestampMs(9), ..narrow.clone() };
    assert_eq!(join(&held, vec![later]), Change::default());
    let wide = stone(&[Matcher::equal("a", "1")], 0, 11, 0);
    assert_eq!(
        join(&held, vec![narrow, wide.clone()]),
        Change { added: vec![wide], removed: vec![7] }
    );
    assert_eq!(join(&held, vec![stone(&[], 3, 3, 0)]), Change::default());
}

#[test]
fn thousands_of_deletes_that_lie_apart_cost_a_read_nothing() {
    let stones = (0..5_000_i64).map(|i| stone(&[], i * DAY_MS, (i + 1) * DAY_MS, 0)).zip(1_u64..);
    let long = stone(&[Matcher::equal("x", "1")], -1, 40 * DAY_MS, 0);
    let mut held: BTreeMap<u64, Arc<Tombstone>> =
        stones.map(|(stone, id)| (id, Arc::new(stone))).collect();
    held.insert(9_000, Arc::new(long));
    let set = Tombstones::new(&held).unwrap();
    let touching = |start, end| set.touching(&TenantId::parse("t").unwrap(), start, end).len();
    assert_eq!(touching(-10, 0), 1);
    assert_eq!(touching(0, 1), 2);
    assert_eq!(touching(DAY_MS - 1, DAY_MS + 1), 3);
    assert_eq!(touching(50 * DAY_MS, 51 * DAY_MS), 1);
    assert_eq!(touching(i64::MIN, i64::MAX), 5_001);
    assert_eq!(set.through(), 9_000);
}
