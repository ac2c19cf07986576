//! Which group each series belongs to, and what the groups are called.

use crate::ast::{AggregateOp, Aggregation};
use crate::eval::names::Names;
use crate::eval::value::{Series, is_absent};
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

/// Whether a group's name goes at the end of the evaluation: as that of any of its series that is there
/// at the last step at which the group is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NameDrop {
    /// One more than the last step; 0 if there is none yet.
    end: usize,
    is_due: bool,
}

impl NameDrop {
    /// Adds a series of the group.
    pub(super) fn add(&mut self, op: AggregateOp, series: &Series) {
        let last = |is_there: &dyn Fn(usize) -> bool| {
            (0..series.values.len()).rev().find(|step| is_there(*step)).map_or(0, |step| step + 1)
        };
        let takes_histograms = matches!(
            op,
            AggregateOp::Sum | AggregateOp::Avg | AggregateOp::Count | AggregateOp::Group
        );
        let end = match takes_histograms {
            true => last(&|step| series.has(step)),
            false => last(&|step| !is_absent(series.values[step])),
        };
        self.absorb(Self { end, is_due: series.drop_name });
    }

    /// Adds what is known of other series of the group.
    pub(super) fn absorb(&mut self, other: Self) {
        if other.end > self.end {
            *self = other;
        } else if other.end == self.end {
            self.is_due |= other.is_due;
        }
    }

    pub(super) fn is_due(self) -> bool {
        self.is_due
    }
}
