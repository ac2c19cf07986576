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

/// Puts each series into its group. The key is hashed in place; labels are built once a group.
pub(super) fn group_by(vector: &[Series], grouping: &[Text], without: bool) -> Groups {
    let names = Names::new(grouping);
    let keeps = |name: &str| {
        if without { !names.has(name) && name != METRIC_NAME } else { names.has(name) }
    };
    let mut groups = Groups { labels: Vec::new(), of_series: Vec::with_capacity(vector.len()) };
    let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
    let hasher = by_hash.hasher().clone();
    for series in vector {
        let mut state = hasher.build_hasher();
        for pair in series.labels.iter().filter(|(name, _)| keeps(name)) {
            pair.hash(&mut state);
        }
        let same_hash = by_hash.entry(state.finish()).or_default();
        let is_group = |group: &&usize| {
            let mine = series.labels.iter().filter(|(name, _)| keeps(name));
            groups.labels[**group].iter().eq(mine)
        };
        let group = match same_hash.iter().find(is_group) {
            Some(group) => *group,
            None => {
                let mut labels = series.labels.clone();
                labels.retain(keeps);
                groups.labels.push(labels);
                same_hash.push(groups.labels.len() - 1);
                groups.labels.len() - 1
            }
        };
        groups.of_series.push(group);
    }
    groups
}
