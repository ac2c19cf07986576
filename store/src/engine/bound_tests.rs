//! What a read copies is bounded by what its reader can bear, and not by what there is.

use super::Engine;
use super::tests::{NOW, all, labels, mutation, open_with, small_room, tenant, up, write};
use crate::error::Error;
use crate::select::{Gather, Query, Want};
use crate::sim::SimDisk;
use model::read::{LabelAnswer, LabelQuery, LabelWant, SelectBounds, Selection};
use model::{Matcher, SeriesRef, TimeRange};

const SERIES: u64 = 1_000;
/// Of one more series, whose chunk is complete.
const SAMPLES: u64 = 1_024;

/// Many series with a sample each, and one with many, in the head, and what was there before in a
/// file as well.
fn filled() -> Engine {
    let (engine, _) = open_with(&SimDisk::new(1), small_room());
    for _ in 0..2 {
        engine.flush(NOW).unwrap();
        let mut some = mutation("t");
        for instance in 0..SERIES {
            some.push(SeriesRef::Labels(up(&instance.to_string())), [(NOW.0, 1.0)]);
        }
        let samples = (0..=SAMPLES).map(|n| (NOW.0 + n.cast_signed(), 1.0));
        some.push(SeriesRef::Labels(labels(&[("__name__", "long")])), samples);
        write(&engine, &some);
    }
    engine
}

fn asked(metric: &str, series_max: u64, samples_max: u64) -> Selection {
    let bounds = SelectBounds { series_max, samples_max, ..SelectBounds::NONE };
    Selection { bounds, ..all(&[Matcher::equal("__name__", metric)]) }
}

/// What the head alone says.
fn of_head(engine: &Engine, selection: &Selection) -> Result<(), Error> {
    let query = Query::of_selection(selection).unwrap().unwrap();
    let head = engine.tenant(&tenant("t"));
    head.collect(&query, &mut Gather::new(selection.bounds)).map(drop)
}

fn selected(engine: &Engine, selection: &Selection) -> Result<usize, Error> {
    engine.select(&tenant("t"), selection, NOW).map(|found| found.len())
}

#[test]
fn a_read_of_far_too_many_series_ends_before_they_are_copied() {
    let engine = filled();
    for (series_max, is_copied) in [(10, false), (SERIES / 2 - 1, false), (SERIES / 2, true)] {
        let asked = asked("up", series_max, u64::MAX);
        let is_refused =
            |error| matches!(error, Error::TooManySeries { series_max: max } if max == series_max);
        assert_eq!(
            of_head(&engine, &asked).map_err(is_refused),
            if is_copied { Ok(()) } else { Err(true) }
        );
        assert_eq!(selected(&engine, &asked).map_err(is_refused), Err(true));
    }
    let bearable = asked("up", SERIES, u64::MAX);
    assert_eq!(
        selected(&engine, &bearable).unwrap() as u64,
        SERIES,
        "those of file and head are the same"
    );
}

#[test]
fn a_read_of_far_too_many_samples_ends_before_they_are_copied() {
    let engine = filled();
    for (samples_max, is_copied) in [(10, false), (SAMPLES / 2 - 1, false), (SAMPLES / 2 + 1, true)]
    {
        let asked = asked("long", u64::MAX, samples_max);
        let is_refused = |error| matches!(error, Error::TooManySamples { samples_max: max } if max == samples_max);
        assert_eq!(
            of_head(&engine, &asked).map_err(is_refused),
            if is_copied { Ok(()) } else { Err(true) }
        );
        assert_eq!(selected(&engine, &asked).map_err(is_refused), Err(true));
    }
    let bearable = asked("long", 1, SAMPLES + 1);
    assert_eq!(selected(&engine, &bearable).unwrap(), 1, "those of file and head are the same");
}

#[test]
fn of_many_series_the_first_are_found_and_no_more_than_twice_as_many_held() {
    const MANY: u64 = 30_000;
    let (engine, _) = open_with(&SimDisk::new(1), small_room());
    // Some in a file, some in the head, some in both, and each in no order.
    for (from, to) in [(0, 2 * MANY / 3), (MANY / 3, MANY)] {
        engine.flush(NOW).unwrap();
        let mut some = mutation("t");
        for number in from..to {
            let own = up(&format!("{:05}", number * 7_919 % MANY));
            some.push(SeriesRef::Labels(own), [(NOW.0, 1.0), (NOW.0 + 9, 1.0)]);
        }
        write(&engine, &some);
    }
    for (limit, range) in [(10, TimeRange::ALL), (5_000, TimeRange::ALL)] {
        let mut query = LabelQuery {
            want: LabelWant::Series,
            matcher_sets: Vec::new(),
            range,
            limit,
            tombstones_max: u64::MAX,
        };
        let found = engine.labels(&tenant("t"), &query, NOW).unwrap();
        let wanted = (0..limit).map(|number| up(&format!("{number:05}"))).collect();
        assert_eq!(found, LabelAnswer::Series(wanted));
        let asked = Query::of_labels(&query, &[], Want::Presence).unwrap().unwrap();
        let mut gather = Gather::of_first(usize::try_from(limit).unwrap());
        let hits = engine.tenant(&tenant("t")).collect(&asked, &mut gather).unwrap();
        assert!(hits.series() as u64 <= 2 * limit.max(4_096), "{} for {limit}", hits.series());
        // None has a sample in between.
        query.range = TimeRange { start: NOW.plus_ms(1), end: NOW.plus_ms(9) };
        let none = engine.labels(&tenant("t"), &query, NOW).unwrap();
        assert_eq!(none, LabelAnswer::Series(Vec::new()));
    }
}
