//! Columns of moments: the timestamps of a scrape group, the start timestamps of a chunk.
//!
//! A column is a few runs of equal steps, or its distances from a straight line as integers,
//! whichever is shorter.

use super::ints;
use super::pages::{self, Buffers};
use crate::bytes::{Damaged, Input, put_ivarint, put_uvarint};
use std::ops::Range;

/// No column is longer: what a few bytes can ask for is 512 KiB.
pub(crate) const COLUMN_LEN_MAX: usize = 1 << 16;

const RUNS: u8 = 0;
const LINE: u8 = 1;

/// Appends a column of moments, at least one, in any order.
pub(crate) fn put(moments: &[i64], level: usize, out: &mut Vec<u8>) {
    let mut as_runs = vec![RUNS];
    put_runs(moments, &mut as_runs);
    if as_runs.len() > 24 {
        let mut as_line = vec![LINE];
        if put_line(moments, level, &mut as_line).is_some() && as_line.len() < as_runs.len() {
            out.extend_from_slice(&as_line);
            return;
        }
    }
    out.extend_from_slice(&as_runs);
}

/// The first moment; then of each run of equal steps how much longer they are than those before,
/// and how many.
fn put_runs(moments: &[i64], out: &mut Vec<u8>) {
    let Some(first) = moments.first() else { return };
    put_ivarint(out, *first);
    let steps: Vec<i64> = moments.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    let mut before = 0_i64;
    for run in steps.chunk_by(|a, b| a == b) {
        put_ivarint(out, run[0].wrapping_sub(before));
        put_uvarint(out, run.len() as u64);
        before = run[0];
    }
}

/// The line's first moment and step, then each moment's distance from it.
fn put_line(moments: &[i64], level: usize, out: &mut Vec<u8>) -> Option<()> {
    let (first, last) = (*moments.first()?, *moments.last()?);
    let steps = i64::try_from(moments.len()).ok()?.saturating_sub(1).max(1);
    let step = last.checked_sub(first).map_or(0, |span| span.saturating_add(steps / 2) / steps);
    put_ivarint(out, first);
    put_ivarint(out, step);
    let mut line = first;
    let distances = moments.iter().map(|moment| {
        let distance = moment.wrapping_sub(line);
        line = line.wrapping_add(step);
        distance
    });
    ints::put(&distances.collect::<Vec<_>>(), level, out)
}

/// Reads all of `bytes` as a column of `count` moments.
pub(crate) fn read(bytes: &[u8], count: usize, buffers: &mut Buffers) -> Result<Vec<i64>, Damaged> {
    if count == 0 || count > COLUMN_LEN_MAX {
        return Err(Damaged("a column's length is out of range"));
    }
    let mut input = Input::new(bytes);
    let method = input.u8()?;
    let first = input.ivarint()?;
    match method {
        RUNS => read_runs(&mut input, first, count),
        LINE => {
            let step = input.ivarint()?;
            let mut moments = Vec::with_capacity(count);
            let rest = input.take(input.len())?;
            let all = pages::pages_of(&(0..count));
            ints::read(rest, count, all, buffers, |_, of_page| moments.extend_from_slice(of_page))?;
            let mut line = first;
            for moment in &mut moments {
                *moment = moment.wrapping_add(line);
                line = line.wrapping_add(step);
            }
            Ok(moments)
        }
        _ => Err(Damaged("a column has an unknown form")),
    }
}

fn read_runs(input: &mut Input<'_>, first: i64, count: usize) -> Result<Vec<i64>, Damaged> {
    let mut moments = Vec::with_capacity(count);
    moments.push(first);
    let (mut moment, mut step) = (first, 0_i64);
    while moments.len() < count {
        step = step.wrapping_add(input.ivarint()?);
        let len = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
        if len == 0 || len > count - moments.len() {
            return Err(Damaged("a column is longer than it says"));
        }
        for _ in 0..len {
            moment = moment.wrapping_add(step);
            moments.push(moment);
        }
    }
    if input.is_empty() { Ok(moments) } else { Err(Damaged("a column goes on behind its end")) }
}

/// The timestamps of a scrape group: they ascend, each occurs once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// All steps are equal.
    Regular { first_ms: i64, step_ms: i64, len: usize },
    /// As they are.
    Listed(Box<[i64]>),
}

impl Times {
    /// Reads a column whose moments ascend.
    pub(crate) fn read(bytes: &[u8], count: usize, buffers: &mut Buffers) -> Result<Self, Damaged> {
        let moments = read(bytes, count, buffers)?;
        if !moments.is_sorted_by(|a, b| a < b) {
            return Err(Damaged("a chunk's times do not ascend"));
        }
        let span = |two: &[i64]| two[1].wrapping_sub(two[0]);
        let step_ms = moments.windows(2).next().map_or(1, span);
        // A span beyond 63 bits is no step that can be counted with.
        let is_regular = step_ms > 0 && moments.windows(2).all(|two| span(two) == step_ms);
        Ok(match moments.first() {
            Some(first) if is_regular => {
                Self::Regular { first_ms: *first, step_ms, len: moments.len() }
            }
            _ => Self::Listed(moments.into()),
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Regular { len, .. } => *len,
            Self::Listed(moments) => moments.len(),
        }
    }

    /// The first and the last.
    pub(crate) fn ends(&self) -> Option<(i64, i64)> {
        match self {
            Self::Listed(moments) => Some((*moments.first()?, *moments.last()?)),
            Self::Regular { first_ms, step_ms, len } => {
                let steps = i64::try_from(*len).ok()?.checked_sub(1)?;
                Some((*first_ms, first_ms.wrapping_add(step_ms.wrapping_mul(steps))))
            }
        }
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Regular { .. } => 64,
            Self::Listed(moments) => 64 + moments.len() * 8,
        }
    }

    /// The places of the moments in `[start_ms, end_ms)`.
    pub(crate) fn places(&self, start_ms: i64, end_ms: i64) -> Range<usize> {
        let before = |at: i64| match self {
            Self::Listed(moments) => moments.partition_point(|moment| *moment < at),
            Self::Regular { first_ms, step_ms, len } => {
                let distance = i128::from(at) - i128::from(*first_ms);
                let step = i128::from(*step_ms);
                let steps = (distance + step - 1).div_euclid(step);
                usize::try_from(steps.max(0)).unwrap_or(usize::MAX).min(*len)
            }
        };
        let start = before(start_ms);
        start..before(end_ms).max(start)
    }

    /// Appends the moments of some places.
    pub(crate) fn extend(&self, places: Range<usize>, into: &mut Vec<i64>) {
        match self {
            Self::Listed(moments) => into.extend_from_slice(&moments[places]),
            Self::Regular { first_ms, step_ms, .. } => {
                let place = i64::try_from(places.start).unwrap_or(i64::MAX);
                let mut at = first_ms.wrapping_add(step_ms.wrapping_mul(place));
                into.extend(places.map(|_| {
                    let now = at;
                    at = at.wrapping_add(*step_ms);
                    now
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(first: i64, steps: &[i64]) -> Vec<i64> {
        let mut moments = vec![first];
        for step in steps {
            moments.push(moments[moments.len() - 1].wrapping_add(*step));
        }
        moments
    }

    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![Just(15_000_i64), 14_990..15_010_i64, 1..2_000_000_i64];
        prop_oneof![
            prop::collection::vec(Just(15_000_i64), 0..700),
            prop::collection::vec(step, 0..700),
            prop::collection::vec(14_997..15_003_i64, 0..700),
        ]
    }

    proptest! {
        #[test]
        fn moments_in_any_order_come_back(moments in prop::collection::vec(any::<i64>(), 1..700)) {
            let mut bytes = Vec::new();
            put(&moments, 8, &mut bytes);
            prop_assert_eq!(read(&bytes, moments.len(), &mut Buffers::default()).unwrap(), moments);
        }

        #[test]
        fn times_say_where_a_range_lies(
            first in -5_000_000_i64..5_000_000, steps in steps(),
            start in -6_000_000_i64..20_000_000, len in 0_i64..20_000_000,
        ) {
            let moments = column(first, &steps);
            let mut bytes = Vec::new();
            put(&moments, 8, &mut bytes);
            let times = Times::read(&bytes, moments.len(), &mut Buffers::default()).unwrap();
            let places = times.places(start, start + len);
            let mut found = Vec::new();
            times.extend(places, &mut found);
            let inside = |at: &&i64| start <= **at && **at < start + len;
            prop_assert_eq!(found, moments.iter().filter(inside).copied().collect::<Vec<_>>());
            let mut all = Vec::new();
            times.extend(times.places(i64::MIN, i64::MAX), &mut all);
            prop_assert_eq!(all, moments);
        }

        #[test]
        fn any_bytes_are_a_column_or_refused(bytes: Vec<u8>, count in 0_usize..100_000) {
            if let Ok(moments) = read(&bytes, count, &mut Buffers::default()) {
                prop_assert_eq!(moments.len(), count);
            }
        }
    }

    #[test]
    fn a_regular_day_takes_a_dozen_bytes_and_a_jittery_one_less_than_half_a_byte_a_sample() {
        let size = |steps: &[i64]| {
            let mut bytes = Vec::new();
            put(&column(1_760_054_400_000, steps), 8, &mut bytes);
            bytes.len()
        };
        assert!(size(&[15_000; 5759]) < 16);
        let jitter: Vec<i64> =
            (0..5759_i64).map(|i| 15_000 + (i * i) % 3 - (i * i + 2 * i + 1) % 3).collect();
        assert!(size(&jitter) < 5760 / 2, "{}", size(&jitter));
    }
}
