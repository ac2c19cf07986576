//! Counts series by their labels: how many there are, of which names, of which values.
//!
//! Label sets are asked for in parts, so that no more than [`PART_SERIES_MAX`] of them are held at a
//! time, however many there are; what is counted stays, and is paid for out of the query's memory.
//!
//! Not here: what is told of it (`cardinality.rs`).

use crate::error::Error;
use crate::run::{Desk, SERIES_BYTES};
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::{Kind, LabelSet, Matcher, QueryShard, Text, TimeRange};
use std::collections::BTreeMap;

/// How many label sets are held at a time.
const PART_SERIES_MAX: u64 = 100_000;

/// So many are counted before others get their turn.
const SERIES_OF_A_TURN: usize = 1_024;

/// Into so many parts the series are cut at most.
const PARTS_MAX: u32 = 4_096;

/// What an entry of a table takes beside its text.
const ENTRY_BYTES: u64 = 96;

/// How many series have each value of a label.
pub(crate) type Values = BTreeMap<Text, u64>;

/// What is counted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Series that match all matchers of one of the sets; no set is every series.
    pub(crate) matcher_sets: Vec<Vec<Matcher>>,
    /// Only series with a sample in it.
    pub(crate) range: TimeRange,
    /// The labels whose values are counted, ascending; `None` is all of them.
    pub(crate) names: Option<Vec<String>>,
    /// The most deletes that may touch it.
    pub(crate) tombstones_max: u64,
}

/// The counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// How many series there are.
    pub(crate) series: u64,
    /// By label name.
    pub(crate) labels: BTreeMap<Text, Values>,
}

impl Census {
    /// Counts what is wanted.
    ///
    /// # Errors
    /// What the source says; [`Kind::Unavailable`] or [`Kind::Unexecutable`] if the tables need more
    /// memory than there is.
    pub(crate) fn take(desk: &Desk, wanted: &Wanted) -> Result<Self, Error> {
        let mut count = 1;
        loop {
            match Self::in_parts(desk, wanted, count) {
                // A part was too large.
                Err(error) if error.kind() == Kind::Unexecutable && count < PARTS_MAX => count *= 8,
                census => return census,
            }
        }
    }

    /// Counts part by part. A part with too many series is an error.
    fn in_parts(desk: &Desk, wanted: &Wanted, count: u32) -> Result<Self, Error> {
        let mut census = Self::default();
        let purse = &desk.source.purse;
        purse.settle(0);
        for index in 0..count {
            desk.check()?;
            let query = LabelQuery {
                want: LabelWant::SeriesPart(QueryShard { index, count }),
                matcher_sets: wanted.matcher_sets.clone(),
                range: wanted.range,
                limit: PART_SERIES_MAX,
                tombstones_max: wanted.tombstones_max,
            };
            let LabelAnswer::Series(sets) = desk.source.labels(query)? else {
                return Err(Error::new(Kind::Internal, "asked for series, got something else"));
            };
            let len = u64::try_from(sets.len()).unwrap_or(u64::MAX);
            purse.take(len * SERIES_BYTES)?;
            census.add_all(&sets, wanted.names.as_deref(), |bytes| {
                purse.take(bytes)?;
                desk.check()
            })?;
            purse.put_back(len * SERIES_BYTES);
        }
        Ok(census)
    }

    /// Counts series. `go_on` is told how many bytes the tables have grown by, and asked, every so often.
    fn add_all(
        &mut self,
        sets: &[LabelSet],
        names: Option<&[String]>,
        go_on: impl Fn(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        sets.chunks(SERIES_OF_A_TURN)
            .try_for_each(|sets| go_on(sets.iter().map(|set| self.add(set, names)).sum()))
    }

    /// Counts a series. Returns how many bytes the tables have grown by.
    fn add(&mut self, set: &LabelSet, names: Option<&[String]>) -> u64 {
        self.series += 1;
        let mut bytes = 0;
        for (name, value) in set.iter() {
            let is_it = |names: &[String]| names.binary_search_by(|one| (**one).cmp(name)).is_ok();
            if names.is_some_and(|names| !is_it(names)) {
                continue;
            }
            if !self.labels.contains_key(name) {
                self.labels.insert(name.clone(), Values::new());
                bytes += entry_bytes(name);
            }
            let Some(values) = self.labels.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(count) => *count += 1,
                None => {
                    values.insert(value.clone(), 1);
                    bytes += entry_bytes(value);
                }
            }
        }
        bytes
    }

    /// The values of a label; none if no series has it.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let values = self.labels.get(name).into_iter().flatten();
        values.map(|(value, count)| (&**value, *count))
    }

    /// How many pairs of a name and a value there are.
    pub(crate) fn pairs(&self) -> u64 {
        self.labels.values().map(|values| to_u64(values.len())).sum()
    }
}

fn entry_bytes(text: &str) -> u64 {
    ENTRY_BYTES + to_u64(text.len())
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The greatest counts, the greatest first; of equal ones, the first by name.
pub(crate) fn top<T: Ord>(counts: impl Iterator<Item = (T, u64)>, limit: usize) -> Vec<(T, u64)> {
    let mut counts: Vec<(T, u64)> = counts.collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn whoever_counts_many_series_is_stopped_in_between_and_pays_as_the_tables_grow() {
        let sets: Vec<LabelSet> = (0..3 * SERIES_OF_A_TURN)
            .map(|n| LabelSet::from_pairs([("n", n.to_string())]).unwrap())
            .collect();
        let (asked, paid) = (Cell::new(0), Cell::new(0));
        let go_on = |bytes| {
            asked.set(asked.get() + 1);
            paid.set(paid.get() + bytes);
            match asked.get() {
                2 => Err(Error::new(Kind::Canceled, "stopped")),
                _ => Ok(()),
            }
        };
        let mut census = Census::default();
        let stopped = census.add_all(&sets, None, go_on).unwrap_err();
        assert_eq!((stopped.kind(), census.series), (Kind::Canceled, 2_048));
        let texts: u64 = (0..2_048).map(|n: u64| entry_bytes(&n.to_string())).sum();
        assert_eq!(paid.get(), entry_bytes("n") + texts);
    }

    #[test]
    fn of_many_wanted_labels_each_is_found() {
        let mut names: Vec<String> = (0..10_000).map(|n| format!("l{n}")).collect();
        names.sort_unstable();
        let pairs = ["l0", "l9999", "l5", "m"].map(|name| (name, "v"));
        let mut census = Census::default();
        census.add(&LabelSet::from_pairs(pairs).unwrap(), Some(&names));
        let found: Vec<&str> = census.labels.keys().map(|name| &**name).collect();
        assert_eq!(found, ["l0", "l5", "l9999"]);
    }
}
