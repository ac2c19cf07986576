//! Postings: label pair -> series, as runs of numbers.
//!
//! Numbers are given in order of arrival, and a scrape arrives together, so the series of a target
//! stand side by side and a list is a few runs: (gap to the run before, length) as varints.
//!
//! # Invariants
//! - A list ascends strictly.
//!
//! Not here: which pairs there are (`head`, `sstable`).

use crate::bytes::{Damaged, Input, put_uvarint};

/// A list of ascending numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    /// Runs that are complete.
    runs: Vec<u8>,
    /// Where the last complete run ends.
    runs_end: u32,
    /// The last run, which may grow; empty only in an empty list.
    last_start: u32,
    last_end: u32,
    count: u32,
}

impl List {
    /// Adds a number above all others. One that is there already is not added again.
    pub(crate) fn push(&mut self, number: u32) {
        if self.count > 0 && number < self.last_end {
            return;
        }
        if self.count == 0 {
            self.last_start = number;
        } else if number != self.last_end {
            put_run(&mut self.runs, &mut self.runs_end, self.last_start, self.last_end);
            self.last_start = number;
        }
        self.last_end = number.saturating_add(1);
        self.count += 1;
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The runs, ascending, as (first, after the last).
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        // What `push` wrote is read without fail.
        let complete = Runs::new(Input::new(&self.runs)).map_while(Result::ok);
        complete.chain((self.count > 0).then_some((self.last_start, self.last_end)))
    }

    /// Appends the whole list: its count of runs, then the runs.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.runs().count() as u64);
        out.extend_from_slice(&self.runs);
        if self.count > 0 {
            let mut end = self.runs_end;
            put_run(out, &mut end, self.last_start, self.last_end);
        }
    }
}

fn put_run(out: &mut Vec<u8>, runs_end: &mut u32, start: u32, end: u32) {
    put_uvarint(out, u64::from(start - *runs_end));
    put_uvarint(out, u64::from(end - start));
    *runs_end = end;
}

/// Reads runs from their bytes.
struct Runs<'a> {
    input: Input<'a>,
    end: u32,
}

impl<'a> Runs<'a> {
    fn new(input: Input<'a>) -> Self {
        Self { input, end: 0 }
    }

    fn read(&mut self) -> Result<(u32, u32), Damaged> {
        let gap = self.input.uvarint32()?;
        let len = self.input.uvarint32()?;
        let start = self.end.checked_add(gap).ok_or(Damaged("a run is out of range"))?;
        self.end = start.checked_add(len).ok_or(Damaged("a run is out of range"))?;
        Ok((start, self.end))
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<(u32, u32), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.input.is_empty()).then(|| self.read())
    }
}

/// Reads an encoded list of numbers below `bound` and hands each run to `visit`.
pub(crate) fn decode_runs(
    input: &mut Input<'_>,
    bound: u32,
    mut visit: impl FnMut(u32, u32),
) -> Result<(), Damaged> {
    let count = input.count(2)?;
    let mut runs = Runs::new(*input);
    for _ in 0..count {
        let (start, end) = runs.read()?;
        if start >= end || end > bound {
            return Err(Damaged("a posting is out of range"));
        }
        visit(start, end);
    }
    *input = runs.input;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_holds_what_was_pushed(numbers in prop::collection::btree_set(0_u32..500, 0..200)) {
            let mut list = List::default();
            numbers.iter().for_each(|number| list.push(*number));
            let held: Vec<u32> = list.runs().flat_map(|(start, end)| start..end).collect();
            prop_assert_eq!(&held, &numbers.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(list.count() as usize, held.len());

            let mut bytes = Vec::new();
            list.encode(&mut bytes);
            let mut decoded = Vec::new();
            let mut input = Input::new(&bytes);
            decode_runs(&mut input, 500, |start, end| decoded.extend(start..end)).unwrap();
            prop_assert_eq!(decoded, held);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_a_list_or_refused(bytes: Vec<u8>, bound: u32) {
            let mut last = 0;
            let _ = decode_runs(&mut Input::new(&bytes), bound, |start, end| {
                assert!(last <= start && start < end && end <= bound);
                last = end;
            });
        }
    }
}
