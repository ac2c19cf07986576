//! The answer out of what was found.
//!
//! # Invariants
//! - The answer ascends by labels, each series occurs once, and each has a sample in the range.
//!
//! Not here: how sources add to it (`gather.rs`), the join of a series' samples (`merge.rs`).

use super::moments::SharedMoments;
use super::{Gather, Gathered};
use crate::error::{Error, Result};
use crate::merge;
use model::{LabelSet, LabelTable, SeriesColumns, Text};
use std::ops::Range;
use std::sync::Arc;

impl Gather {
    /// The series, ascending by labels.
    ///
    /// # Errors
    /// If there are more samples than the reader can bear.
    pub(crate) fn finish(mut self) -> Result<Vec<SeriesColumns>> {
        match self.wanted.labels.take() {
            Some(names) => self.keep_labels(&names),
            None => self.rank_texts(),
        }
        let mut series = std::mem::take(&mut self.series);
        let (texts, keys) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.keys));
        series.sort_by(|a, b| keys[a.key_start..a.key_end].cmp(&keys[b.key_start..b.key_end]));
        let table = LabelTable::new(texts, keys);
        let mut answer = Vec::with_capacity(series.len());
        let (mut samples, mut shared) = (0_u64, SharedMoments::default());
        for Gathered { key_start, key_end, runs } in series {
            let mut columns = merge::columns_of(runs);
            let floats = &mut columns.floats;
            shared.share(floats);
            samples += columns.samples();
            if samples > self.bounds.samples_max {
                return Err(Error::TooManySamples { samples_max: self.bounds.samples_max });
            }
            let labels = labels_of(&table, key_start..key_end);
            answer.push(SeriesColumns { labels, ..columns });
        }
        Ok(answer)
    }

    /// The label sets found, ascending.
    pub(crate) fn finish_labels(mut self) -> Vec<LabelSet> {
        self.rank_texts();
        let (texts, keys) = (self.texts, self.keys);
        let mut series: Vec<Range<usize>> =
            self.series.iter().map(|held| held.key_start..held.key_end).collect();
        series.sort_unstable_by(|a, b| keys[a.clone()].cmp(&keys[b.clone()]));
        let table = LabelTable::new(texts, keys);
        series.into_iter().map(|key| labels_of(&table, key)).collect()
    }

    /// The wanted names or values, ascending.
    pub(crate) fn finish_texts(self) -> Vec<Text> {
        let mut texts = self.lists.concat();
        let marked = self.texts.into_iter().zip(self.marked);
        texts.extend(marked.filter_map(|(text, marked)| marked.then_some(text)));
        texts.sort();
        texts.dedup();
        texts.truncate(self.texts_max);
        texts
    }

    /// Cuts the keys to the labels of these names; their texts are numbered by their order then.
    fn keep_labels(&mut self, names: &[Text]) {
        let is_wanted: Vec<bool> = self.texts.iter().map(|text| names.contains(text)).collect();
        let wanted = |id: u32| is_wanted.get(id as usize).copied().unwrap_or(false);
        let mut keys = Vec::new();
        for held in &mut self.series {
            let key_start = keys.len();
            let pairs = self.keys[held.key_start..held.key_end].chunks_exact(2);
            keys.extend(pairs.filter(|pair| wanted(pair[0])).flatten());
            (held.key_start, held.key_end) = (key_start, keys.len());
        }
        let mut used: Vec<u32> = keys.clone();
        used.sort_unstable();
        used.dedup();
        for id in &mut keys {
            *id = used.binary_search(id).map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX));
        }
        self.texts = used.iter().map(|id| self.texts[*id as usize].clone()).collect();
        self.keys = keys;
        self.rank_texts();
    }

    /// Numbers the texts by their order, so that keys compare as label sets do.
    fn rank_texts(&mut self) {
        let mut order: Vec<u32> = (0..).take(self.texts.len()).collect();
        order.sort_unstable_by(|a, b| self.texts[*a as usize].cmp(&self.texts[*b as usize]));
        let mut rank = vec![0_u32; order.len()];
        for (place, id) in (0..).zip(&order) {
            rank[*id as usize] = place;
        }
        for id in &mut self.keys {
            *id = rank[*id as usize];
        }
        self.texts = order.iter().map(|id| self.texts[*id as usize].clone()).collect();
    }
}

/// The labels of a key.
fn labels_of(table: &Arc<LabelTable>, key: Range<usize>) -> LabelSet {
    // Only a file that others made has a key that is no label set.
    table.row(key.clone()).unwrap_or_else(|| table.any_row(key).unwrap_or_default())
}
