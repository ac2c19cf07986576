//! Symbols: each label string of a tenant once, and a number for it.
//!
//! *Shape*: the names of a label set, in their order. Series of one metric mostly share one, so a
//! series keeps its shape's number and the symbols of its values.
//!
//! Texts stay when the last series with them leaves. When too many have no series they are all
//! numbered anew ([`Renumber`]).
//!
//! # Invariants
//! - A symbol's number and a shape's change only when all series are numbered anew at once.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use model::{LabelSet, METRIC_NAME, Text};
use std::hash::BuildHasher;
use std::sync::Arc;

/// A series' labels: its shape's number, then the symbol of each value in the shape's order.
/// Counted, because flushes, checkpoints and readers take them along.
pub(crate) type LabelIds = Arc<[u32]>;

/// The strings of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Symbols {
    texts: Vec<Text>,
    by_text: HashTable<u32>,
    shapes: Vec<Box<[u32]>>,
    by_shape: HashMap<Box<[u32]>, u32, FixedState>,
    hasher: FixedState,
}

impl Symbols {
    /// The symbol of `__name__`.
    pub(crate) const METRIC_NAME: u32 = 0;

    /// Knows `__name__` only. The seed is random, so that nobody can choose colliding labels.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_hasher(FixedState::with_seed(seed))
    }

    fn with_hasher(hasher: FixedState) -> Self {
        let mut symbols = Self {
            texts: Vec::new(),
            by_text: HashTable::new(),
            shapes: Vec::new(),
            by_shape: HashMap::with_hasher(hasher.clone()),
            hasher,
        };
        symbols.intern(&METRIC_NAME.into());
        symbols
    }

    /// How many symbols there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a symbol of this tenant.
    pub(crate) fn text(&self, symbol: u32) -> &Text {
        &self.texts[symbol as usize]
    }

    /// All texts, by symbol.
    pub(crate) fn texts(&self) -> &[Text] {
        &self.texts
    }

    /// All shapes, by number.
    pub(crate) fn shapes(&self) -> &[Box<[u32]>] {
        &self.shapes
    }

    /// The symbol of a text, if it has one.
    pub(crate) fn get(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.by_text.find(hash, |symbol| *self.texts[*symbol as usize] == *text).copied()
    }

    /// The symbol of a text, which gets one if it has none.
    pub(super) fn intern(&mut self, text: &Text) -> u32 {
        self.intern_as(text, own)
    }

    fn intern_as(&mut self, text: &Text, keep: impl FnOnce(&Text) -> Text) -> u32 {
        let hash = self.hasher.hash_one(&**text);
        let Self { texts, by_text, hasher, .. } = self;
        let entry = by_text.entry(
            hash,
            |symbol| *texts[*symbol as usize] == **text,
            |symbol| hasher.hash_one(&*texts[*symbol as usize]),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(found) => *found.get(),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let symbol = u32::try_from(texts.len());
                assert!(symbol.is_ok(), "a tenant has fewer than 2^32 label strings in memory");
                let symbol = symbol.unwrap_or(u32::MAX);
                vacant.insert(symbol);
                texts.push(keep(text));
                symbol
            }
        }
    }

    /// The ids of a label set; new strings and shapes get numbers.
    pub(crate) fn intern_labels(&mut self, labels: &LabelSet) -> LabelIds {
        let names = labels.iter().map(|(name, _)| self.intern(name)).collect();
        let shape = self.shape_of(names);
        let mut ids = Vec::with_capacity(1 + labels.len());
        ids.push(shape);
        ids.extend(labels.iter().map(|(_, value)| self.intern(value)));
        ids.into()
    }

    /// The number of a shape, given as the symbols of its names.
    pub(super) fn shape_of(&mut self, names: Box<[u32]>) -> u32 {
        if let Some(shape) = self.by_shape.get(&names) {
            return *shape;
        }
        let shape = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        self.shapes.push(names.clone());
        self.by_shape.insert(names, shape);
        shape
    }

    /// The (name, value) symbols of a series, in the order of its labels.
    pub(crate) fn pairs<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = (u32, u32)> + 'a {
        let (shape, values) = ids.split_first().unwrap_or((&0, &[]));
        let names = self.shapes.get(*shape as usize).map_or(&[][..], |names| names);
        names.iter().copied().zip(values.iter().copied())
    }

    /// The symbol of the metric name of a series, if it has one.
    pub(crate) fn metric(&self, ids: &[u32]) -> Option<u32> {
        self.pairs(ids).find(|(name, _)| *name == Self::METRIC_NAME).map(|(_, value)| value)
    }

    /// Whether these are the ids of this label set.
    pub(crate) fn is(&self, ids: &[u32], labels: &LabelSet) -> bool {
        ids.len() == labels.len() + 1
            && self.pairs(ids).zip(labels.iter()).all(|((name, value), (n, v))| {
                **self.text(value) == **v && **self.text(name) == **n
            })
    }
}

/// A copy of our own: a text of a request may hold on to more than itself.
fn own(text: &Text) -> Text {
    Text::from(&**text)
}

/// Symbols without the texts that no series has: each that is asked for gets a new number.
#[derive(Debug)]
pub(crate) struct Renumber<'a> {
    old: &'a Symbols,
    new: Symbols,
    /// By old numbers; [`UNKNOWN`] is not asked for yet.
    symbols: Vec<u32>,
    shapes: Vec<u32>,
}

/// No number yet.
const UNKNOWN: u32 = u32::MAX;

impl<'a> Renumber<'a> {
    /// Nothing has a new number yet, but for `__name__`.
    pub(crate) fn new(old: &'a Symbols) -> Self {
        let mut symbols = vec![UNKNOWN; old.texts.len()];
        symbols[Symbols::METRIC_NAME as usize] = Symbols::METRIC_NAME;
        let shapes = vec![UNKNOWN; old.shapes.len()];
        Self { old, new: Symbols::with_hasher(old.hasher.clone()), symbols, shapes }
    }

    /// The new ids of a series.
    pub(crate) fn ids(&mut self, ids: &[u32]) -> LabelIds {
        let (shape, values) = ids.split_first().unwrap_or((&0, &[]));
        let mut new = Vec::with_capacity(ids.len());
        new.push(self.shape(*shape));
        new.extend(values.iter().map(|value| self.symbol(*value)));
        new.into()
    }

    fn shape(&mut self, old: u32) -> u32 {
        let held = self.shapes.get(old as usize).copied().unwrap_or(UNKNOWN);
        if held != UNKNOWN {
            return held;
        }
        let symbols = self.old;
        let names = symbols.shapes.get(old as usize).map_or(&[][..], |names| names);
        let names: Box<[u32]> = names.iter().map(|name| self.symbol(*name)).collect();
        let new = self.new.shape_of(names);
        if let Some(held) = self.shapes.get_mut(old as usize) {
            *held = new;
        }
        new
    }

    fn symbol(&mut self, old: u32) -> u32 {
        let held = self.symbols[old as usize];
        if held != UNKNOWN {
            return held;
        }
        let new = self.new.intern_as(self.old.text(old), Text::clone);
        self.symbols[old as usize] = new;
        new
    }

    /// The new number of a symbol, if it has one.
    pub(crate) fn get(&self, old: u32) -> Option<u32> {
        self.symbols.get(old as usize).copied().filter(|new| *new != UNKNOWN)
    }

    /// What has new numbers so far.
    pub(crate) fn symbols(&self) -> &Symbols {
        &self.new
    }

    /// What has new numbers.
    pub(crate) fn finish(self) -> Symbols {
        self.new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_of(symbols: &Symbols, ids: &[u32]) -> LabelSet {
        let text = |symbol| symbols.text(symbol).clone();
        LabelSet::from_pairs(symbols.pairs(ids).map(|(n, v)| (text(n), text(v)))).unwrap()
    }

    #[test]
    fn labels_come_back_from_their_ids() {
        let mut symbols = Symbols::new(7);
        let a = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
        let b = LabelSet::from_pairs([("__name__", "up"), ("job", "b")]).unwrap();
        let (ids_a, ids_b) = (symbols.intern_labels(&a), symbols.intern_labels(&b));
        assert_eq!(labels_of(&symbols, &ids_a), a);
        assert_eq!(labels_of(&symbols, &ids_b), b);
        assert!(symbols.is(&ids_a, &a) && !symbols.is(&ids_a, &b));
        assert_eq!(symbols.shapes().len(), 1);
        assert_eq!(symbols.metric(&ids_b), symbols.get("up"));
    }

    #[test]
    fn what_is_numbered_anew_has_the_same_labels_and_the_rest_is_gone() {
        let mut symbols = Symbols::new(7);
        let set = |pod: usize| {
            let pod = pod.to_string();
            let name = if pod.len() == 1 { "a" } else { "b" };
            LabelSet::from_pairs([("__name__", "up"), (name, "x"), ("pod", &pod)]).unwrap()
        };
        let ids: Vec<LabelIds> = (0..100).map(|pod| symbols.intern_labels(&set(pod))).collect();
        let mut renumber = Renumber::new(&symbols);
        let kept: Vec<LabelIds> = (90..100).map(|pod| renumber.ids(&ids[pod])).collect();
        assert_eq!(renumber.get(symbols.get("95").unwrap()), renumber.symbols().get("95"));
        assert_eq!(renumber.get(symbols.get("5").unwrap()), None);
        let after = renumber.finish();
        for (ids, pod) in kept.iter().zip(90..) {
            assert_eq!(labels_of(&after, ids), set(pod));
            assert!(after.is(ids, &set(pod)) && after.metric(ids) == after.get("up"));
        }
        // `__name__`, `up`, `b`, `x`, `pod` and ten pods.
        assert_eq!((after.len(), after.shapes().len()), (15, 1));
    }
}
