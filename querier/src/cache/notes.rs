//! What the segments of a query say beside their samples, put together.

use promql::{is_tally, without_place};
use std::collections::HashMap;

/// Warnings and infos, each text once, in the order in which they were said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl Notes {
    pub(super) fn new(warnings: &[String], infos: &[String]) -> Self {
        Self { warnings: warnings.to_vec(), infos: infos.to_vec() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.infos.is_empty()
    }

    /// Whether something tells a number that another segment's has to be added to.
    pub(super) fn are_tallies(&self) -> bool {
        self.texts().any(is_tally)
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.texts().map(|text| text.len() + 24).sum()
    }

    /// Adds what another segment says.
    pub(super) fn add(&mut self, other: &Self) {
        let lists = [(&mut self.warnings, &other.warnings), (&mut self.infos, &other.infos)];
        for (have, more) in lists {
            for text in more {
                if !have.contains(text) {
                    have.push(text.clone());
                }
            }
        }
    }

    /// Warnings and infos; `None` if one text was said of two places. Then the later place stays,
    /// and which that is only an evaluation of all segments can tell.
    pub(super) fn into_texts(self) -> Option<(Vec<String>, Vec<String>)> {
        let mut places: HashMap<&str, &str> = HashMap::new();
        let is_one =
            self.texts().all(|text| *places.entry(without_place(text)).or_insert(text) == text);
        is_one.then_some((self.warnings, self.infos))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().chain(&self.infos).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infos(texts: &[&str]) -> Notes {
        Notes::new(&[], &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_text_is_said_once_and_two_places_of_one_text_cannot_be_put_together() {
        let mut notes = infos(&["a (1:1)", "b (1:2)"]);
        notes.add(&infos(&["b (1:2)", "c (1:9)"]));
        let together = notes.clone().into_texts().unwrap();
        assert_eq!(together, (vec![], infos(&["a (1:1)", "b (1:2)", "c (1:9)"]).infos));
        notes.add(&infos(&["a (1:7)"]));
        assert_eq!(notes.into_texts(), None);
    }
}
