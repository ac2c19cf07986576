use super::*;

const HOUR_MS: i64 = 3_600_000;
const MIB: u64 = 1 << 20;
const TODAY: i32 = 20_000;

fn lot(first_day: i32, class: u32) -> Lot {
    Lot { first_day, days: 1, class }
}

fn noon(day: i32) -> i64 {
    i64::from(day) * DAY_MS + 12 * HOUR_MS
}

fn flushed(id: u64, lot: Lot, mib: u64) -> Candidate {
    Candidate {
        id,
        lot,
        bytes: mib * MIB,
        token_first: 0,
        token_last: u64::MAX,
        partitions: 1000,
        min_ms: 0,
        max_ms: i64::try_from(id).unwrap(),
        created_ms: noon(lot.first_day),
        stage: Stage::Flushed,
        is_compacting: false,
    }
}

fn sealed(id: u64, lot: Lot, mib: u64) -> Candidate {
    let created_ms = end_ms(lot) + HOUR_MS;
    Candidate { stage: Stage::Sealed, created_ms, ..flushed(id, lot, mib) }
}

fn many(ids: std::ops::Range<u64>, lot: Lot, mib: u64) -> Vec<Candidate> {
    ids.map(|id| flushed(id, lot, mib)).collect()
}

fn decider(strategy: Strategy) -> Decider {
    Decider::new(CompactionConfig { strategy, ..CompactionConfig::default() }, Space::default())
}

fn classes() -> BTreeMap<u32, RetentionClass> {
    let class = |id, days: u64| {
        let retention = model::Retention::from_ms(days * 86_400_000);
        (id, RetentionClass { id, retention, window_days: 1 })
    };
    BTreeMap::from([class(0, 0), class(1, 3), class(2, 30)])
}

fn decide(candidates: &[Candidate], now: i64) -> Decision {
    let moment = Moment { now: TimestampMs(now), chance: 0, classes: &classes() };
    decider(Strategy::Ucs).decide(candidates, &moment)
}

fn plan(decision: Decision) -> Plan {
    match decision {
        Decision::Compact(plan) => plan,
        other => panic!("{other:?} is no compaction"),
    }
}

#[test]
fn the_most_urgent_comes_first_across_windows() {
    let (today, yesterday, before, oldest) =
        (lot(TODAY, 0), lot(TODAY - 1, 0), lot(TODAY - 2, 0), lot(TODAY - 3, 0));
    let mut all = vec![flushed(1, lot(TODAY - 9, 1), 5)];
    all.extend(many(10..18, today, 100));
    all.extend(many(20..22, yesterday, 100));
    all.push(sealed(30, before, 2400));
    all.extend(many(31..39, before, 1));
    all.push(sealed(40, oldest, 1000));
    all.extend(many(41..43, oldest, 100));

    let mut reasons = Vec::new();
    for _ in 0..9 {
        let ids = match decide(&all, noon(TODAY)) {
            Decision::Rest => break,
            Decision::Drop { ids, reason } => {
                reasons.push(reason);
                ids
            }
            Decision::Compact(plan) => {
                reasons.push(plan.reason);
                plan.inputs
            }
        };
        all.retain(|candidate| !ids.contains(&candidate.id));
    }
    let wanted = [Reason::Expired, Reason::Open, Reason::Seal, Reason::Delta, Reason::Reseal];
    assert_eq!(reasons, wanted);
}

#[test]
fn of_open_windows_the_most_crowded_and_of_closed_ones_the_newest_is_first() {
    let mut open = many(1..9, lot(TODAY, 0), 100);
    open.extend(many(11..21, lot(TODAY + 1, 0), 100));
    assert_eq!(plan(decide(&open, noon(TODAY))).inputs[0], 11);
    let closed = [flushed(1, lot(TODAY - 2, 0), 1), flushed(2, lot(TODAY - 1, 0), 1)];
    let found = plan(decide(&closed, noon(TODAY)));
    assert_eq!(
        (found.inputs, found.encoding, found.stage),
        (vec![2], Encoding::Dense, Stage::Sealed)
    );
}

#[test]
fn a_window_is_open_until_its_end_and_a_quarter_of_an_hour() {
    let all = many(1..4, lot(TODAY, 0), 100);
    let end = i64::from(TODAY + 1) * DAY_MS;
    assert_eq!(decide(&all, end + HOUR_MS / 4 - 1), Decision::Rest);
    let found = plan(decide(&all, end + HOUR_MS / 4));
    assert_eq!((found.reason, found.inputs), (Reason::Seal, vec![1, 2, 3]));
    assert_eq!(found.boundaries.len(), 3, "300 MiB are four shards");
}

#[test]
fn a_few_deltas_leave_the_sealed_run_alone_and_eight_are_merged_among_themselves() {
    let day = lot(TODAY - 1, 0);
    let with = |deltas: u64| {
        let mut all = vec![sealed(1, day, 2400)];
        all.extend(many(2..2 + deltas, day, 1));
        all
    };
    assert_eq!(decide(&with(7), noon(TODAY)), Decision::Rest);
    let found = plan(decide(&with(8), noon(TODAY)));
    assert_eq!((found.reason, found.inputs), (Reason::Delta, (2..10).collect()));
    assert_eq!(found.stage, Stage::Compacted);
}

#[test]
fn a_window_is_sealed_again_after_a_day_if_a_tenth_came_late_and_only_once() {
    let day = lot(TODAY - 1, 0);
    let end = i64::from(TODAY) * DAY_MS;
    let all = [sealed(1, day, 1000), flushed(2, day, 100)];
    assert_eq!(decide(&all, end + 24 * HOUR_MS - 1), Decision::Rest);
    assert_eq!(plan(decide(&all, end + 24 * HOUR_MS)).reason, Reason::Reseal);
    let little = [all[0].clone(), flushed(2, day, 99)];
    assert_eq!(decide(&little, end + 48 * HOUR_MS), Decision::Rest);
    let again = Candidate { created_ms: end + 25 * HOUR_MS, ..all[0].clone() };
    assert_eq!(decide(&[again, all[1].clone()], end + 48 * HOUR_MS), Decision::Rest);
}

#[test]
fn a_seal_that_was_asked_for_early_is_followed_by_the_real_one() {
    let day = lot(TODAY, 0);
    let early = Candidate { created_ms: noon(TODAY), ..sealed(1, day, 500) };
    let end = i64::from(TODAY + 1) * DAY_MS;
    assert_eq!(decide(std::slice::from_ref(&early), end + HOUR_MS), Decision::Rest);
    let found = plan(decide(&[early, flushed(2, day, 1)], end + HOUR_MS));
    assert_eq!((found.reason, found.inputs), (Reason::Seal, vec![1, 2]));
}

#[test]
fn each_class_drops_its_window_at_its_own_time() {
    let all =
        [flushed(1, lot(TODAY, 0), 1), sealed(2, lot(TODAY, 1), 1), sealed(3, lot(TODAY, 2), 1)];
    let of = |class: usize, after_days: i64, more_ms: i64| {
        let now = (i64::from(TODAY) + 1 + after_days) * DAY_MS + HOUR_MS + more_ms;
        decide(&all[class..=class], now)
    };
    assert_eq!(of(1, 3, 0), Decision::Rest);
    assert_eq!(of(1, 3, 1), Decision::Drop { ids: vec![2], reason: Reason::Expired });
    assert_eq!(of(2, 30, 0), Decision::Rest);
    assert_eq!(of(2, 30, 1), Decision::Drop { ids: vec![3], reason: Reason::Expired });
    assert_eq!(plan(of(0, 4000, 0)).reason, Reason::Seal, "for ever");
}

#[test]
fn a_seal_on_demand_is_for_every_window_that_is_not_one_sealed_run() {
    let mut all = vec![sealed(1, lot(TODAY - 3, 0), 9), flushed(2, lot(TODAY, 0), 1)];
    all.extend([sealed(3, lot(TODAY - 2, 0), 9), flushed(4, lot(TODAY - 2, 0), 1)]);
    all.extend([flushed(5, lot(TODAY, 1), 1), flushed(6, lot(TODAY - 1, 0), 1)]);
    all[5].is_compacting = true;
    let plans = decider(Strategy::Ucs).seal_plan(&all);
    let inputs: Vec<Vec<u64>> = plans.iter().map(|plan| plan.inputs.clone()).collect();
    assert_eq!(inputs, [vec![5], vec![2], vec![3, 4]]);
    assert!(
        plans.iter().all(|plan| plan.reason == Reason::Requested && plan.stage == Stage::Sealed)
    );
}

#[test]
fn twcs_takes_the_newest_window_seen_for_now_but_none_of_the_future() {
    let moment = |now, classes| Moment { now: TimestampMs(now), chance: 0, classes };
    let classes = classes();
    let twcs = |all: &[Candidate], now| decider(Strategy::Twcs).decide(all, &moment(now, &classes));
    // A day later by the clock, but nothing newer seen: it is still the newest.
    let two = many(1..3, lot(TODAY, 0), 100);
    assert_eq!(twcs(&two, noon(TODAY + 1)), Decision::Rest);
    let mut next = two.clone();
    next.push(flushed(9, lot(TODAY + 1, 0), 1));
    assert_eq!(twcs(&next, noon(TODAY)), Decision::Rest, "the future is not seen");
    let found = plan(twcs(&next, noon(TODAY + 1)));
    assert_eq!(
        (found.inputs, found.stage, found.encoding),
        (vec![1, 2], Stage::Sealed, Encoding::Dense)
    );
    let four = plan(twcs(&many(1..5, lot(TODAY, 0), 100), noon(TODAY)));
    assert_eq!((four.reason, four.encoding), (Reason::Open, Encoding::Fast));
}

/// Numbers that look random, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn any(chance: &mut Chance, id: u64) -> Candidate {
    let day = TODAY - i32::try_from(chance.below(5)).unwrap();
    let lot = lot(day, u32::try_from(chance.below(3)).unwrap());
    let mib = [1, 20, 100, 600][usize::try_from(chance.below(4)).unwrap()];
    let quarter = chance.below(4) << 62;
    let is_whole = chance.below(2) == 0;
    let (token_first, token_last) =
        if is_whole { (0, u64::MAX) } else { (quarter, quarter + ((1 << 62) - 1)) };
    Candidate {
        token_first,
        token_last,
        partitions: 1 + chance.below(200),
        max_ms: i64::try_from(chance.below(1000)).unwrap(),
        stage: [Stage::Flushed, Stage::Compacted, Stage::Sealed]
            [usize::try_from(chance.below(3)).unwrap()],
        is_compacting: chance.below(5) == 0,
        ..flushed(id, lot, mib)
    }
}

#[test]
fn no_decision_names_what_is_compacting_or_mixes_lots_and_the_same_input_decides_the_same() {
    let classes = classes();
    for seed in 0..400 {
        let mut chance = Chance(seed);
        let count = 1 + chance.below(80);
        let mut all: Vec<Candidate> = (1..=count).map(|id| any(&mut chance, id)).collect();
        let moment = Moment { now: TimestampMs(noon(TODAY)), chance: seed, classes: &classes };
        for strategy in Strategy::ALL {
            let decider = decider(strategy);
            let found = decider.decide(&all, &moment);
            let ids = match &found {
                Decision::Rest => continue,
                Decision::Drop { ids, .. } => ids,
                Decision::Compact(plan) => &plan.inputs,
            };
            let named: Vec<&Candidate> =
                ids.iter().map(|id| all.iter().find(|c| c.id == *id).unwrap()).collect();
            assert!(named.iter().all(|c| !c.is_compacting && c.lot == named[0].lot), "{found:?}");
            if let Decision::Compact(plan) = &found {
                assert!(plan.boundaries.is_sorted_by(|a, b| a < b), "{plan:?}");
                assert!(named.is_sorted_by_key(|c| (c.max_ms, c.id)), "{plan:?}");
            }
            all.reverse();
            assert_eq!(decider.decide(&all, &moment), found, "seed {seed}");
        }
    }
}

#[test]
fn a_pick_skips_no_older_sstable_of_its_level_that_overlaps_it() {
    let (config, scaling) = (CompactionConfig::default(), Scaling::tiered(4));
    let ucs = Ucs { config: &config, scaling: &scaling, space: &Space::default() };
    let mut picks = 0;
    for seed in 0..400 {
        let mut chance = Chance(seed);
        let all: Vec<Candidate> = (1..=100).map(|id| any(&mut chance, id)).collect();
        let all: Vec<&Candidate> = all.iter().filter(|c| c.lot.first_day == TODAY).collect();
        let known = ucs::known_partitions(&all);
        let Some(pick) = ucs.pick(&all, known, seed) else { continue };
        let age = |item: usize| (all[item].max_ms, all[item].id);
        for &left in &ucs.levels(&all, known)[pick.level] {
            let overlaps = |&&item: &&usize| {
                let (a, b) = (ucs::span(all[item]), ucs::span(all[left]));
                a.0 <= b.1 && b.0 <= a.1
            };
            let is_skipped = !pick.inputs.contains(&left)
                && pick.inputs.iter().filter(overlaps).any(|&item| age(left) < age(item));
            assert!(!is_skipped, "seed {seed}: {left} of {pick:?}");
        }
        picks += 1;
    }
    assert!(picks > 50);
}
