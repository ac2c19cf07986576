//! The checker is checked: each way to lie is found out, and what is true is not called a lie.

use super::super::ledger::Ledger;
use super::*;

/// The faults of these samples of series 5: missing, wrong, never sent, twice.
fn faults(ledger: &Ledger, samples: &[(i64, f64)]) -> [u64; 4] {
    let mut faults = Faults::default();
    judge_series(ledger.run.run, 5, &ledger.batches[&0], samples, &mut faults);
    [faults.missing, faults.wrong, faults.unknown, faults.twice]
}

#[test]
fn what_was_acknowledged_is_there_once_and_nothing_else() {
    let lines = [
        "run 7 1 100 1",
        "try 0 10",
        "ok 0 10 11 1 204",
        "try 0 20",
        "no 0 20 21 1 503",
        "try 0 30",
        "no 0 30 31 1 0",
        "ok 0 30 32 1 204",
    ];
    let mut ledger = Ledger::default();
    lines.iter().for_each(|line| ledger.add(line).unwrap());
    let [a, b, c] = [10, 20, 30].map(|at| (at, value_of(7, 5, at)));
    assert!(![a, b, c].iter().any(|sample| is_stale(sample.1)));
    assert_eq!(faults(&ledger, &[a, c]), [0, 0, 0, 0]);
    assert_eq!(faults(&ledger, &[a, b, c]), [0, 0, 0, 0], "nobody knows of the second");
    assert_eq!(faults(&ledger, &[a, b]), [1, 0, 0, 0]);
    assert_eq!(faults(&ledger, &[a, a, c]), [0, 0, 0, 1]);
    assert_eq!(faults(&ledger, &[a, (30, b.1)]), [0, 1, 0, 0]);
    assert_eq!(faults(&ledger, &[a, c, (40, value_of(7, 5, 40))]), [0, 0, 1, 0]);
}

const RUN: Run = Run { run: 11, batches: 3, batch_series: 8, metrics: 4 };
const BATCH: u32 = 1;

/// Times of a batch by chance, and an honest answer about them.
fn honest(seed: u64) -> (Times, Found) {
    let mut times = Times::new();
    for n in 0..12_i64 {
        let chance = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (4 * n)) % 4;
        let outcome = match chance {
            0 => Outcome::Doubtful,
            1 => Outcome::Sent,
            _ => Outcome::Acknowledged,
        };
        times.insert(1_000 + 10 * n + i64::try_from(seed % 7).unwrap(), outcome);
    }
    // At least one of each, so that there is something to lie about.
    times.insert(2_000, Outcome::Acknowledged);
    times.insert(2_010, Outcome::Acknowledged);
    times.insert(2_020, Outcome::Doubtful);
    let mut found = Found::new();
    for series in RUN.series_of(BATCH) {
        for (at, outcome) in &times {
            let value = value_of(RUN.run, series, *at);
            // What is in doubt is there for every other metric.
            let is_there = *outcome == Outcome::Acknowledged || series % 2 == 0;
            if is_there && !is_stale(value) {
                found.entry(series).or_default().push((*at, value));
            }
        }
    }
    (times, found)
}

fn verdict(times: &Times, found: &Found) -> u64 {
    let mut faults = Faults::default();
    judge(RUN, BATCH, times, found, &mut faults);
    judge_parts(RUN, BATCH, times, found, &mut faults);
    faults.count()
}

/// A way to lie: what it does, and how.
type Lie = (&'static str, fn(&mut Found));

/// The samples of the first series that has any at this time.
fn at(found: &mut Found, time: i64) -> (u32, usize) {
    let place = |all: &Vec<(i64, f64)>| all.iter().position(|sample| sample.0 == time);
    found.iter().find_map(|(series, all)| Some((*series, place(all)?))).unwrap()
}

fn change(found: &mut Found, time: i64, how: impl FnOnce(&mut Vec<(i64, f64)>, usize)) {
    let (series, place) = at(found, time);
    how(found.get_mut(&series).unwrap(), place);
}

const LIES: [Lie; 13] = [
    ("a sample is left out", |f| change(f, 2_000, |all, i| _ = all.remove(i))),
    ("a sample comes twice", |f| change(f, 2_000, |all, i| all.insert(i, all[i]))),
    ("a time is another", |f| change(f, 2_000, |all, i| all[i].0 += 1)),
    ("a time is another that was sent", |f| change(f, 2_000, |all, i| all[i].0 = 2_010)),
    ("a bit is flipped", |f| {
        change(f, 2_000, |all, i| all[i].1 = f64::from_bits(all[i].1.to_bits() ^ 1));
    }),
    ("the value before", |f| change(f, 2_010, |all, i| all[i].1 = all[i - 1].1)),
    ("the sign is lost", |f| change(f, 2_000, |all, i| all[i].1 = -all[i].1)),
    ("a series is left out", |f| drop(f.pop_first())),
    ("two series are exchanged", |f| {
        let (a, b) = (f.remove(&8).unwrap(), f.remove(&9).unwrap());
        f.extend([(8, b), (9, a)]);
    }),
    ("a series of another batch", |f| drop(f.insert(2, vec![(2_000, value_of(11, 2, 2_000))]))),
    ("labels of nobody", |f| drop(f.insert(STRAY, vec![(2_000, 1.0)]))),
    ("a sample that was never sent", |f| change(f, 2_000, |all, _| all.push((3_000, 1.0)))),
    ("half of a request", |f| change(f, 2_020, |all, i| _ = all.remove(i))),
];

#[test]
fn the_truth_is_never_called_a_lie_and_each_lie_is_found_out() {
    for seed in 0..1_000 {
        let (times, found) = honest(seed);
        assert_eq!(verdict(&times, &found), 0, "seed {seed}");
        for (what, lie) in LIES {
            let mut told = found.clone();
            lie(&mut told);
            // A NaN has no sign that JSON could tell, and two of them are one.
            let same = |a: &Found| format!("{a:?}");
            if same(&told) != same(&found) {
                assert!(verdict(&times, &told) > 0, "{what}, seed {seed}");
            }
        }
    }
}

#[test]
fn labels_are_those_that_were_sent_or_nobodys() {
    let labels = |metric: &str, batch: &str| json!({"__name__": metric, "run": "11", "batch": batch, "series": "9"});
    assert_eq!(series_of_labels(RUN, &labels("cumae_verify_1", "1")), 9);
    assert_eq!(series_of_labels(RUN, &labels("cumae_verify_2", "1")), STRAY);
    assert_eq!(series_of_labels(RUN, &labels("cumae_verify_1", "2")), STRAY);
    let mut more = labels("cumae_verify_1", "1");
    more["tenant"] = json!("b");
    assert_eq!(series_of_labels(RUN, &more), STRAY);
}
