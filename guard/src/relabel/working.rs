//! The labels of a series while rules run over them.
//!
//! # Invariants
//! - A name is in at most one of the two lists, and no value is empty.
//! - `labelmap` and its like go through the labels in a fixed order: those that the series came with
//!   by name, then those that rules set in the order of their first setting. When two labels become
//!   one, the later of them wins, as it does in Prometheus.

use model::{LabelSet, Text};

/// Labels that change.
#[derive(Clone, Debug)]
pub(super) struct Working {
    came: Vec<(Text, Text)>,
    set: Vec<(Text, Text)>,
}

impl Working {
    pub(super) fn new(labels: &LabelSet) -> Self {
        let came = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { came, set: Vec::new() }
    }

    /// The value of a label, empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let mut all = self.set.iter().chain(&self.came);
        all.find(|(have, _)| **have == *name).map_or("", |(_, value)| value)
    }

    /// Sets a label; an empty value takes it away.
    pub(super) fn set(&mut self, name: &str, value: Text) {
        if value.is_empty() {
            return self.remove(name);
        }
        if let Some((_, have)) = self.set.iter_mut().find(|(have, _)| **have == *name) {
            *have = value;
            return;
        }
        self.came.retain(|(have, _)| **have != *name);
        self.set.push((name.into(), value));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.retain(|have| have != name);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.came.retain(|(name, _)| keep(name));
        self.set.retain(|(name, _)| keep(name));
    }

    /// All labels in the order of the invariant, as they are now.
    pub(super) fn in_order(&self) -> Vec<(Text, Text)> {
        self.came.iter().chain(&self.set).cloned().collect()
    }

    pub(super) fn labels(&self) -> LabelSet {
        // Names are unique, so this cannot fail.
        LabelSet::from_pairs(self.in_order()).unwrap_or_default()
    }
}
