//! Labels: what names a series.
//!
//! # Invariants
//! - A [`LabelSet`] is sorted by name in byte order, its names are unique and no value is empty.
//! - Two sets are equal exactly when they name the same series.
//!
//! Not here: which names and values a sender may use (`guard::limits`, `distributor::validate`).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// A label name or value. Cloning it counts a reference and copies nothing.
pub type Text = Arc<str>;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The labels of one series: sorted by name, names unique, no value empty.
///
/// Two sets are equal exactly when they name the same series, so a set can be a map key. Sets are
/// ordered as Prometheus orders them: pair by pair, name before value, the shorter first.
/// A clone shares the pairs; changing it copies them.
#[derive(Clone)]
pub struct LabelSet {
    // Invariant: names strictly ascending, no value empty. `from_pairs` sees to it, `from_ordered`
    // relies on its caller.
    pairs: Pairs,
}

#[derive(Clone)]
enum Pairs {
    Own(Arc<Vec<(Text, Text)>>),
    /// Some of the keys of a table.
    Row {
        table: Arc<LabelTable>,
        start: u32,
        end: u32,
    },
}

/// The labels of many series that are read together: each text once, and for each series the
/// places of its names and values. Its sets are slices of it, and keep it whole.
///
/// # Invariants
/// - Texts ascend strictly, so that places compare as texts do.
pub struct LabelTable {
    texts: Vec<Text>,
    keys: Vec<u32>,
}

impl LabelTable {
    /// A table of ascending texts, and keys: the places of name, value, name, value …
    #[must_use]
    pub fn new(texts: Vec<Text>, keys: Vec<u32>) -> Arc<Self> {
        assert!(texts.is_sorted_by(|a, b| a < b), "the texts of a table ascend strictly");
        Arc::new(Self { texts, keys })
    }

    /// Each text once, ascending.
    #[must_use]
    pub fn texts(&self) -> &[Text] {
        &self.texts
    }

    /// The label set of some keys; `None` if they are no label set: a place or name out of order,
    /// an empty value, half a pair.
    #[must_use]
    pub fn row(self: &Arc<Self>, keys: Range<usize>) -> Option<LabelSet> {
        let row = self.keys.get(keys.clone())?;
        let (pairs, half) = row.as_chunks::<2>();
        let is_set = |[_, value]: &[u32; 2]| {
            self.texts.get(*value as usize).is_some_and(|text| !text.is_empty())
        };
        let ascends = pairs.is_sorted_by(|a, b| a[0] < b[0]);
        let last = pairs.last().is_none_or(|[name, _]| (*name as usize) < self.texts.len());
        let (start, end) = (u32::try_from(keys.start).ok()?, u32::try_from(keys.end).ok()?);
        let is_row = half.is_empty() && ascends && last && pairs.iter().all(is_set);
        is_row.then(|| LabelSet { pairs: Pairs::Row { table: Arc::clone(self), start, end } })
    }

    /// The label set of keys of which nothing is known, put in order; places that there are not are
    /// empty texts.
    ///
    /// # Errors
    /// [`DuplicateLabel`] if a name occurs twice.
    pub fn any_row(&self, keys: Range<usize>) -> Result<LabelSet, DuplicateLabel> {
        let text = |place: u32| self.texts.get(place as usize).cloned().unwrap_or_default();
        let row = self.keys.get(keys).unwrap_or(&[]).as_chunks::<2>().0.iter();
        LabelSet::from_pairs(row.map(|[name, value]| (text(*name), text(*value))))
    }
}

impl fmt::Debug for LabelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (texts, keys) = (self.texts.len(), self.keys.len());
        f.debug_struct("LabelTable").field("texts", &texts).field("keys", &keys).finish()
    }
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
        Ok(Self { pairs: Pairs::Own(Arc::new(pairs)) })
    }

    /// The set of pairs of which the caller knows that names ascend strictly and no value is
    /// empty: for those that make many sets out of sorted data.
    #[must_use]
    pub fn from_ordered(pairs: Vec<(Text, Text)>) -> Self {
        debug_assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "names ascend strictly");
        debug_assert!(pairs.iter().all(|(_, value)| !value.is_empty()), "no value is empty");
        Self { pairs: Pairs::Own(Arc::new(pairs)) }
    }

    /// The table that it is a row of, if it is one, and the places of its texts there: name, value,
    /// name, value …
    #[must_use]
    pub fn places(&self) -> Option<(&Arc<LabelTable>, &[u32])> {
        match &self.pairs {
            Pairs::Own(_) => None,
            Pairs::Row { table, start, end } => {
                // `LabelTable::row` saw to it that they are there.
                Some((table, &table.keys[*start as usize..*end as usize]))
            }
        }
    }

    #[inline]
    fn pair(&self, index: usize) -> (&Text, &Text) {
        match &self.pairs {
            Pairs::Own(pairs) => (&pairs[index].0, &pairs[index].1),
            Pairs::Row { table, start, .. } => {
                let at = *start as usize + 2 * index;
                let text = |place: u32| &table.texts[place as usize];
                (text(table.keys[at]), text(table.keys[at + 1]))
            }
        }
    }

    /// Changes the pairs, which are nobody else's then.
    fn change<T>(&mut self, change: impl FnOnce(&mut Vec<(Text, Text)>) -> T) -> T {
        if let Pairs::Own(pairs) = &mut self.pairs {
            return change(Arc::make_mut(pairs));
        }
        let mut own = self.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let done = change(&mut own);
        self.pairs = Pairs::Own(Arc::new(own));
        done
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match (**self.pair(middle).0).cmp(name) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// How many labels there are, the metric name included.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.pairs {
            Pairs::Own(pairs) => pairs.len(),
            Pairs::Row { start, end, .. } => (end - start) as usize / 2,
        }
    }

    /// Whether there is no label at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the label `name`, if the set has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.position(name).ok().map(|index| self.pair(index).1)
    }

    /// The value of the label `name`, empty if the set has no such label.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.get(name).map_or("", |value| value)
    }

    /// The value of the label that holds the metric's name, if there is one.
    #[must_use]
    pub fn metric(&self) -> Option<&Text> {
        // Mostly it is the first.
        match self.iter().next() {
            Some((name, value)) if **name == *METRIC_NAME => Some(value),
            _ => self.get(METRIC_NAME),
        }
    }

    /// The metric name, empty if there is none.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.metric().map_or("", |value| value)
    }

    /// The pairs in ascending order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> + DoubleEndedIterator {
        (0..self.len()).map(|index| self.pair(index))
    }

    /// Sets `name` to `value`; an empty value takes the label away.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let (name, value) = (name.into(), value.into());
        match self.position(&name) {
            Ok(index) if value.is_empty() => drop(self.change(|pairs| pairs.remove(index))),
            Ok(index) => self.change(|pairs| pairs[index].1 = value),
            Err(_) if value.is_empty() => {}
            Err(index) => self.change(|pairs| pairs.insert(index, (name, value))),
        }
    }

    /// Takes the label `name` away, if it is there.
    pub fn remove(&mut self, name: &str) {
        if let Ok(index) = self.position(name) {
            self.change(|pairs| pairs.remove(index));
        }
    }

    /// Keeps only the labels whose name passes `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let kept = self.iter().filter(|(name, _)| keep(name));
        let kept: Vec<_> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        if kept.len() < self.len() {
            self.pairs = Pairs::Own(Arc::new(kept));
        }
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        Self { pairs: Pairs::Own(Arc::default()) }
    }
}

impl PartialEq for LabelSet {
    fn eq(&self, other: &Self) -> bool {
        if let (Some((a, a_row)), Some((b, b_row))) = (self.places(), other.places())
            && Arc::ptr_eq(a, b)
        {
            return a_row == b_row;
        }
        self.iter().eq(other.iter())
    }
}

impl Eq for LabelSet {}

impl Hash for LabelSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|pair| pair.hash(state));
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Some((a, a_row)), Some((b, b_row))) = (self.places(), other.places()) {
            if Arc::ptr_eq(a, b) {
                return a_row.cmp(b_row);
            }
            // Tables of one source share their texts.
            let mut orders = a_row.iter().zip(b_row).map(|(at, bt)| {
                let (at, bt) = (&a.texts[*at as usize], &b.texts[*bt as usize]);
                if Arc::ptr_eq(at, bt) { Ordering::Equal } else { at.cmp(bt) }
            });
            let differs = orders.find(|order| order.is_ne());
            return differs.unwrap_or_else(|| a_row.len().cmp(&b_row.len()));
        }
        self.iter().cmp(other.iter())
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
    fn rows_of_two_tables_compare_as_their_labels_do() {
        let sets: Vec<LabelSet> = (0..64)
            .map(|bits| {
                let value = |shift: u32| ["", "x", "xy", "z"][bits >> shift & 3];
                set(&[("a", value(0)), ("b", value(2)), ("c", value(4))])
            })
            .collect();
        let rows = |texts: Vec<Text>| {
            let place = |text: &Text| u32::try_from(texts.binary_search(text).unwrap()).unwrap();
            let keys = |set: &LabelSet| -> Vec<u32> {
                set.iter().flat_map(|(name, value)| [place(name), place(value)]).collect()
            };
            let keys: Vec<Vec<u32>> = sets.iter().map(keys).collect();
            let table = LabelTable::new(texts.clone(), keys.concat());
            let mut end = 0;
            let row = |keys: &Vec<u32>| {
                end += keys.len();
                table.row(end - keys.len()..end).unwrap()
            };
            keys.iter().map(row).collect::<Vec<LabelSet>>()
        };
        let texts: Vec<Text> = ["a", "b", "c", "x", "xy", "z"].map(Text::from).to_vec();
        let of_other_texts = rows(["a", "aa", "b", "c", "x", "xy", "z"].map(Text::from).to_vec());
        let (one, two) = (rows(texts.clone()), rows(texts));
        for (i, a) in sets.iter().enumerate() {
            for (j, b) in sets.iter().enumerate() {
                assert_eq!(one[i].cmp(&two[j]), a.cmp(b), "{a} {b}");
                assert_eq!(one[i].cmp(&of_other_texts[j]), a.cmp(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn setting_an_empty_value_takes_the_label_away() {
        let mut labels = set(&[("a", "1"), ("b", "2")]);
        labels.set("a", "");
        labels.set("c", "3");
        labels.set("b", "x");
        assert_eq!(labels, set(&[("b", "x"), ("c", "3")]));
    }

    #[test]
    fn a_row_of_a_table_is_the_set_of_its_pairs_in_every_way() {
        use std::hash::BuildHasher;
        let texts: Vec<Text> = ["", "a", "b", "c", "x", "y"].map(Text::from).to_vec();
        let rows = [vec![], vec![1, 4], vec![1, 5], vec![1, 4, 2, 5], vec![2, 2], vec![1, 4, 3, 4]];
        let keys: Vec<u32> = rows.concat();
        let table = LabelTable::new(texts.clone(), keys);
        let (mut at, mut sets) = (0, Vec::new());
        for row in &rows {
            let text = |place: u32| texts[place as usize].clone();
            let pairs = row.as_chunks::<2>().0.iter().map(|[n, v]| (text(*n), text(*v)));
            let own = LabelSet::from_pairs(pairs).unwrap();
            sets.push((table.row(at..at + row.len()).unwrap(), own));
            at += row.len();
        }
        let hasher = std::hash::RandomState::new();
        for (row, own) in &sets {
            assert_eq!((row, row.len(), row.get("a")), (own, own.len(), own.get("a")));
            assert_eq!(hasher.hash_one(row), hasher.hash_one(own));
            assert_eq!(row.to_string(), own.to_string());
            let (mut one, mut two) = (row.clone(), own.clone());
            one.set("b", "z");
            two.set("b", "z");
            assert_eq!(one, two);
            one.retain(|name| name != "a");
            two.remove("a");
            assert_eq!(one, two);
            for (other_row, other) in &sets {
                assert_eq!(row.cmp(other_row), own.cmp(other));
                assert_eq!(row.cmp(other), own.cmp(other_row));
                assert_eq!(row == other_row, own == other);
            }
        }
    }

    #[test]
    fn keys_that_are_no_label_set_are_no_row() {
        let texts: Vec<Text> = ["", "a", "b"].map(Text::from).to_vec();
        let row = |keys: &[u32]| LabelTable::new(texts.clone(), keys.to_vec()).row(0..keys.len());
        assert!(row(&[1, 2]).is_some());
        for keys in [&[1, 2, 1, 1][..], &[2, 1, 1, 1], &[1, 0], &[1], &[1, 3], &[3, 1]] {
            assert!(row(keys).is_none(), "{keys:?}");
        }
        assert!(LabelTable::new(texts.clone(), Vec::new()).row(0..2).is_none());
    }
}
