//! The label pairs of one place of a partition after the other, made from runs of its columns.

use crate::select::Gather;
use crate::sstable::columns::{Column, Partition};
use crate::sstable::values::NO_VALUE;
use model::Text;

/// The number of a symbol in the answer.
pub(super) fn text(texts: &mut [u32], symbols: &[Text], symbol: u32, gather: &mut Gather) -> u32 {
    let (Some(number), Some(text)) = (texts.get_mut(symbol as usize), symbols.get(symbol as usize))
    else {
        return 0;
    };
    if *number == 0 {
        *number = gather.text(text) + 1;
    }
    *number - 1
}

/// The label pairs of one place after the other.
pub(super) struct Keys<'a> {
    columns: &'a [Column],
    /// For each column the run it stands at, where that ends, and its name and value in the
    /// answer if the series of the run have the label.
    runs: Vec<usize>,
    ends: Vec<u32>,
    pairs: Vec<Option<[u32; 2]>>,
    key: Vec<u32>,
    /// Where each column's pair is in `key`.
    slots: Vec<usize>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(partition: &'a Partition) -> Self {
        let len = partition.columns.len();
        Self {
            columns: &partition.columns,
            runs: vec![0; len],
            ends: vec![0; len],
            pairs: vec![None; len],
            key: Vec::with_capacity(2 * len),
            slots: vec![0; len],
        }
    }

    /// The label pairs at a place, which is behind the one before; `text` numbers symbols.
    pub(super) fn at(&mut self, place: u32, mut text: impl FnMut(u32) -> u32) -> &[u32] {
        let mut is_other_shape = false;
        for (index, end) in self.ends.iter_mut().enumerate() {
            if *end > place {
                continue;
            }
            let column = &self.columns[index];
            self.runs[index] = column.run_at(place, self.runs[index]);
            let (run_end, value) = column.run(self.runs[index]);
            *end = run_end;
            let pair = (value != NO_VALUE).then(|| [text(column.name), text(value)]);
            is_other_shape |= pair.is_some() != self.pairs[index].is_some();
            self.pairs[index] = pair;
            if let (Some([_, value]), false) = (pair, is_other_shape) {
                self.key[self.slots[index] + 1] = value;
            }
        }
        if is_other_shape {
            self.key.clear();
            for (slot, pair) in self.slots.iter_mut().zip(&self.pairs) {
                *slot = self.key.len();
                self.key.extend(pair.iter().flatten());
            }
        }
        &self.key
    }
}
