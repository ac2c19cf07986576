//! Which group each series belongs to, and what the groups are called.

use crate::ast::Aggregation;
use crate::eval::names::Names;
use crate::eval::value::Series;
use model::{LabelSet, METRIC_NAME, Text};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// The groups of a vector, in the order of their first series.
#[derive(Debug)]
pub(super) struct Groups {
    /// The labels of each group.
    pub(super) labels: Vec<LabelSet>,
    /// The group of each series.
    pub(super) of_series: Vec<usize>,
}

/// Puts each series into its group.
pub(super) fn groups(vector: &[Series], node: &Aggregation) -> Groups {
    group_by(vector, &node.grouping, node.without)
}

/// Puts each series into its group.
pub(super) fn group_by(vector: &[Series], grouping: &[Text], without: bool) -> Groups {
    let mut grouper = Grouper::new(grouping, without);
    let of_series = vector.iter().map(|series| grouper.place(&series.labels)).collect();
    Groups { labels: grouper.labels, of_series }
}

/// Tells to which group a series belongs. The key is hashed in place; labels are built once a group.
#[derive(Debug)]
pub(super) struct Grouper<'a> {
    names: Names<'a>,
    without: bool,
    by_hash: HashMap<u64, Vec<usize>>,
    /// The labels of each group.
    pub(super) labels: Vec<LabelSet>,
}

impl<'a> Grouper<'a> {
    pub(super) fn new(grouping: &'a [Text], without: bool) -> Self {
        let names = Names::new(grouping);
        Self { names, without, by_hash: HashMap::new(), labels: Vec::new() }
    }

    /// The group of a series with these labels; a new one is the last.
    pub(super) fn place(&mut self, labels: &LabelSet) -> usize {
        let (names, without) = (&self.names, self.without);
        let keeps = |name: &str| {
            if without { !names.has(name) && name != METRIC_NAME } else { names.has(name) }
        };
        let mut state = self.by_hash.hasher().build_hasher();
        for pair in labels.iter().filter(|(name, _)| keeps(name)) {
            pair.hash(&mut state);
        }
        let same_hash = self.by_hash.entry(state.finish()).or_default();
        let is_group = |group: &&usize| {
            let mine = labels.iter().filter(|(name, _)| keeps(name));
            self.labels[**group].iter().eq(mine)
        };
        if let Some(group) = same_hash.iter().find(is_group) {
            return *group;
        }
        let mut of_group = labels.clone();
        of_group.retain(keeps);
        self.labels.push(of_group);
        same_hash.push(self.labels.len() - 1);
        self.labels.len() - 1
    }
}
