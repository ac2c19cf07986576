//! A tenant's labels in one file: for each name its values, and for each value the partitions
//! that have it.
//!
//! It is built from the partitions' columns when somebody first asks for it, and kept in the
//! cache. Label names and values come out of it without a look at any partition, and a selector
//! without a metric's name opens only the partitions in which it can match.
//!
//! # Invariants
//! - Names ascend, and the values of a name; partitions are known by their index in the directory.
//!
//! Not here: which values match (`values.rs`).

use super::columns::Partition;
use super::values::Values;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::ops::Range;

/// A set of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionSet {
    bits: Vec<bool>,
}

impl PartitionSet {
    /// No partition of so many.
    pub(crate) fn none(len: usize) -> Self {
        Self { bits: vec![false; len] }
    }

    /// Those of which `is_in` is true.
    pub(crate) fn of(is_in: impl Iterator<Item = bool>) -> Self {
        Self { bits: is_in.collect() }
    }

    fn fill(&mut self, run: Range<u32>) {
        if let Some(bits) = self.bits.get_mut(run.start as usize..run.end as usize) {
            bits.fill(true);
        }
    }

    /// Whether one of the run is in the set.
    fn meets(&self, run: &Range<u32>) -> bool {
        let bits = self.bits.get(run.start as usize..run.end as usize);
        bits.is_some_and(|bits| bits.contains(&true))
    }

    /// Keeps those that are in the other set too.
    pub(crate) fn intersect(&mut self, other: &Self) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(bit, other)| *bit &= other);
    }

    /// Whether all are in the set.
    pub(crate) fn is_all(&self) -> bool {
        !self.bits.contains(&false)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bits.iter().filter(|bit| **bit).count()
    }

    /// Their indexes, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.bits.iter().enumerate().filter_map(|(index, bit)| bit.then_some(index))
    }

    /// Whether a partition is in the set.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.bits.get(index) == Some(&true)
    }

    /// Puts a partition in, or takes it out.
    pub(crate) fn put(&mut self, index: usize, is_in: bool) {
        if let Some(bit) = self.bits.get_mut(index) {
            *bit = is_in;
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    /// Each name's symbol, and where its values are.
    names: Vec<(u32, Range<usize>)>,
    values: Vec<u32>,
    /// Where each value's runs of partitions end.
    runs_end: Vec<u32>,
    runs: Vec<Range<u32>>,
}

/// A dictionary that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pairs: HashMap<(u32, u32), usize, FixedState>,
    /// For each pair its runs of partitions; most have one.
    lists: Vec<(Range<u32>, Vec<Range<u32>>)>,
    partitions: u32,
}

impl Builder {
    /// Adds the next partition.
    pub(crate) fn push(&mut self, partition: &Partition) {
        let here = self.partitions;
        for column in &partition.columns {
            let mut before = None;
            for value in column.values().filter(|value| before.replace(*value) != Some(*value)) {
                let lists = &mut self.lists;
                let index = *self.pairs.entry((column.name, value)).or_insert_with(|| {
                    lists.push((here..here, Vec::new()));
                    lists.len() - 1
                });
                let Some((last, complete)) = self.lists.get_mut(index) else { continue };
                if last.end < here {
                    complete.push(std::mem::replace(last, here..here));
                }
                last.end = here + 1;
            }
        }
        self.partitions += 1;
    }

    /// The dictionary.
    pub(crate) fn finish(self) -> Dictionary {
        let mut pairs: Vec<((u32, u32), usize)> = self.pairs.into_iter().collect();
        pairs.sort_unstable();
        let mut dictionary = Dictionary::default();
        for ((name, value), index) in pairs {
            let at = dictionary.values.len();
            match dictionary.names.last_mut() {
                Some((last, values)) if *last == name => values.end = at + 1,
                _ => dictionary.names.push((name, at..at + 1)),
            }
            dictionary.values.push(value);
            if let Some((last, complete)) = self.lists.get(index) {
                dictionary.runs.extend(complete.iter().chain([last]).cloned());
            }
            let end = u32::try_from(dictionary.runs.len()).unwrap_or(u32::MAX);
            dictionary.runs_end.push(end);
        }
        dictionary
    }
}

impl Dictionary {
    /// The bytes it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.names.len() * size_of::<(u32, Range<usize>)>()
            + self.values.len() * 8
            + self.runs.len() * size_of::<Range<u32>>()
    }

    fn values_of(&self, name: u32) -> Range<usize> {
        let at = self.names.binary_search_by_key(&name, |(name, _)| *name).ok();
        at.and_then(|at| self.names.get(at)).map_or(0..0, |(_, values)| values.clone())
    }

    fn runs(&self, index: usize) -> &[Range<u32>] {
        let before = index.checked_sub(1).and_then(|before| self.runs_end.get(before));
        let start = before.map_or(0, |end| *end as usize);
        let end = self.runs_end.get(index).map_or(0, |end| *end as usize);
        self.runs.get(start..end).unwrap_or(&[])
    }

    /// The partitions that hold a value that matches.
    pub(crate) fn partitions(&self, matching: &mut Values<'_>, len: usize) -> PartitionSet {
        let mut set = PartitionSet::none(len);
        let Some(name) = matching.name else { return set };
        let range = self.values_of(name);
        let sorted = self.values.get(range.clone()).unwrap_or(&[]);
        let mut from = range.start;
        for part in matching.among(sorted) {
            let Some(first) = part.first() else { continue };
            from += self.values.get(from..range.end).unwrap_or(&[]).partition_point(|v| v < first);
            for (index, value) in (from..).zip(part) {
                if matching.matches(*value) {
                    self.runs(index).iter().for_each(|run| set.fill(run.clone()));
                }
            }
        }
        set
    }

    /// The symbols of the values of a name, or of all names, that some of these partitions have.
    pub(crate) fn symbols(&self, values_of: Option<u32>, among: &PartitionSet) -> Vec<u32> {
        let is_all = among.is_all();
        let is_in = |index: usize| is_all || self.runs(index).iter().any(|run| among.meets(run));
        match values_of {
            Some(name) => {
                let range = self.values_of(name);
                let found = range.filter(|index| is_in(*index));
                found.filter_map(|index| self.values.get(index).copied()).collect()
            }
            None => {
                let has = |(_, values): &&(u32, Range<usize>)| values.clone().any(is_in);
                self.names.iter().filter(has).map(|(name, _)| *name).collect()
            }
        }
    }
}
