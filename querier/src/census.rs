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
    /// The labels whose values are counted; `None` is all of them.
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
            for set in &sets {
                purse.take(census.add(set, wanted.names.as_deref()))?;
            }
            purse.put_back(len * SERIES_BYTES);
        }
        Ok(census)
    }

    /// Counts a series. Returns how many bytes the tables have grown by.
    fn add(&mut self, set: &LabelSet, names: Option<&[String]>) -> u64 {
        self.series += 1;
        let mut bytes = 0;
        for (name, value) in set.iter() {
            if names.is_some_and(|names| !names.iter().any(|wanted| **wanted == **name)) {
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
