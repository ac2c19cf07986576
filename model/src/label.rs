//! Labels: what names a series.
//!
//! # Invariants
//! - A [`LabelSet`] is sorted by name in byte order, its names are unique and no value is empty.
//! - Two sets are equal exactly when they name the same series.
//!
//! Not here: which names and values a sender may use (`guard::limits`, `distributor::validate`).

use std::fmt;
use std::sync::Arc;

/// A label name or value. Cloning it counts a reference and copies nothing.
pub type Text = Arc<str>;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The labels of one series: sorted by name, names unique, no value empty. Cloning a set counts a
/// reference: series keep their labels through many steps of a query.
///
/// Two sets are equal exactly when they name the same series, so a set can be a map key. Sets are
/// ordered as Prometheus orders them: pair by pair, name before value, the shorter first.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet {
    // Invariant: names strictly ascending, no value empty. `from_pairs` sees to it, `from_ordered`
    // relies on its caller.
    pairs: Arc<[(Text, Text)]>,
}

/// A label name that occurs twice in one series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("duplicate label name {0:?}")]
pub struct DuplicateLabel(pub Text);

impl LabelSet {
    /// Sorts `pairs` into a set. An empty value means "no such label", so it is left out.
    ///
    /// # Errors
    /// [`DuplicateLabel`] if a name occurs twice, with an empty value or not.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, DuplicateLabel>
    where
        N: Into<Text>,
        V: Into<Text>,
    {
        let mut pairs: Vec<(Text, Text)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_unstable();
            if let Some([(name, _), _]) =
                pairs.windows(2).find(|two| matches!(two, [a, b] if a.0 == b.0))
            {
                return Err(DuplicateLabel(Arc::clone(name)));
            }
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self { pairs: pairs.into() })
    }

    /// The set of pairs of which the caller knows that names ascend strictly and no value is
    /// empty: for those that make many sets out of sorted data.
    #[must_use]
    pub fn from_ordered(pairs: Vec<(Text, Text)>) -> Self {
        debug_assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "names ascend strictly");
        debug_assert!(pairs.iter().all(|(_, value)| !value.is_empty()), "no value is empty");
        Self { pairs: pairs.into() }
    }

    /// How many labels there are, the metric name included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no label at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of the label `name`, if the set has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Text> {
        let index = self.place(name).ok()?;
        self.pairs.get(index).map(|(_, value)| value)
    }

    /// The value of the label `name`, empty if the set has no such label.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.get(name).map_or("", |value| value)
    }

    /// The metric name, empty if there is none.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.value(METRIC_NAME)
    }

    /// The pairs in ascending order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> + DoubleEndedIterator {
        self.pairs.iter().map(|(name, value)| (name, value))
    }

    /// Sets `name` to `value`; an empty value takes the label away.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            return self.remove(&name);
        }
        let mut pairs = self.pairs.to_vec();
        match self.place(&name) {
            Ok(index) => pairs[index].1 = value,
            Err(index) => pairs.insert(index, (name, value)),
        }
        self.pairs = pairs.into();
    }

    /// Takes the label `name` away, if it is there.
    pub fn remove(&mut self, name: &str) {
        if let Ok(index) = self.place(name) {
            let (before, after) = (&self.pairs[..index], &self.pairs[index + 1..]);
            self.pairs = before.iter().chain(after).cloned().collect();
        }
    }

    /// Keeps only the labels whose name passes `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let kept: Vec<_> = self.pairs.iter().filter(|(name, _)| keep(name)).collect();
        if kept.len() < self.pairs.len() {
            self.pairs = kept.into_iter().cloned().collect();
        }
    }

    /// Where the label `name` is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(have, _)| (**have).cmp(name))
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `{a="b", c="d"}`: every label in braces, the metric name as `__name__`, values quoted.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn order_of_arrival_and_empty_values_do_not_make_another_series() {
        assert_eq!(set(&[("b", "2"), ("a", "1"), ("c", "")]), set(&[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn a_name_may_occur_only_once() {
        let twice = LabelSet::from_pairs([("a", "1"), ("b", ""), ("a", "")]);
        assert_eq!(twice, Err(DuplicateLabel("a".into())));
    }

    #[test]
    fn setting_an_empty_value_takes_the_label_away() {
        let mut labels = set(&[("a", "1"), ("b", "2")]);
        labels.set("a", "");
        labels.set("c", "3");
        labels.set("b", "x");
        assert_eq!(labels, set(&[("b", "x"), ("c", "3")]));
    }
}
