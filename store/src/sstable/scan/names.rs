//! Label names and values of what matches: from dictionary and columns, and only where a border of
//! the range or a delete lies inside of a partition from its chunks.
//!
//! Not here: which partitions and places match (`scan.rs`).

use super::series::is_present;
use super::{FEW_PARTITIONS, Scan};
use crate::error::Result;
use crate::select::Gather;
use crate::sstable::chunks::Chunks;
use crate::sstable::columns::{self, ChunkAt, Partition, Places};
use crate::sstable::dictionary::PartitionSet;
use crate::sstable::directory::PartitionEntry;
use crate::sstable::values::NO_VALUE;

impl Scan<'_> {
    /// Marks names or values of partitions that a delete may have cut, by their samples, and takes
    /// those out.
    pub(super) fn mark_looked_at(
        &mut self,
        wanted: &mut PartitionSet,
        gather: &mut Gather,
    ) -> Result<()> {
        if !gather.may_hide_any() {
            return Ok(());
        }
        let mut whole = wanted.clone();
        for index in wanted.iter() {
            let Some(entry) = self.part.partitions.get(index) else { continue };
            if gather.may_hide(&entry.metric, entry.min_ms, entry.max_ms) {
                whole.put(index, false);
                let partition = self.partition(entry, gather)?;
                let places = self.places(&partition);
                self.samples(entry, &partition, &places, gather)?;
            }
        }
        *wanted = whole;
        Ok(())
    }

    /// Marks names or values: of whole partitions at once where that is right.
    pub(super) fn mark_all(&mut self, mut wanted: PartitionSet, gather: &mut Gather) -> Result<()> {
        let values_of = match gather.values_of() {
            None => None,
            Some(name) => match self.symbol(name) {
                Some(symbol) => Some(symbol),
                None => return Ok(()),
            },
        };
        self.marked = vec![false; self.symbols.len()];
        if self.matchers.is_empty() {
            self.mark_whole(values_of, &mut wanted)?;
        }
        for index in wanted.iter() {
            let Some(entry) = self.part.partitions.get(index) else { continue };
            let partition = self.partition(entry, gather)?;
            let mut places = self.places(&partition);
            if self.is_cut(entry) {
                places = self.not_cut(entry, &partition, &places)?;
            }
            self.mark(&partition, &places, values_of);
        }
        let marked = self.symbols.iter().zip(&self.marked);
        gather.add_texts(marked.filter_map(|(text, marked)| marked.then_some(text)));
        Ok(())
    }

    /// Marks what the dictionary has of partitions that count whole, and takes those out.
    fn mark_whole(&mut self, values_of: Option<u32>, wanted: &mut PartitionSet) -> Result<()> {
        let mut whole = wanted.clone();
        for (index, entry) in self.part.partitions.iter().enumerate() {
            whole.put(index, whole.has(index) && !self.is_cut(entry));
        }
        if whole.len() <= FEW_PARTITIONS {
            return Ok(());
        }
        let dictionary = self.source.dictionary(self.tenant, self.part, self.symbols.len())?;
        for symbol in dictionary.symbols(values_of, &whole) {
            self.set_marked(symbol);
        }
        whole.iter().for_each(|index| wanted.put(index, false));
        Ok(())
    }

    fn set_marked(&mut self, symbol: u32) {
        if let Some(marked) = self.marked.get_mut(symbol as usize) {
            *marked = true;
        }
    }

    fn symbol(&self, text: &str) -> Option<u32> {
        let place = self.symbols.binary_search_by(|symbol| (**symbol).cmp(text)).ok()?;
        u32::try_from(place).ok()
    }

    /// Of these places those with a chunk that may hold what is asked for. Where something is hidden
    /// chunks are looked into: what is shown is a shown sample's.
    fn not_cut(
        &mut self,
        entry: &PartitionEntry,
        partition: &Partition,
        places: &Places,
    ) -> Result<Places> {
        let mut kept = Vec::new();
        let mut questions = self.questions(entry, partition);
        let origin = (self.source, self.tenant, self.part);
        let mut chunks = Chunks::new(origin, partition, self.query, &mut self.dense);
        for place in places.iter().flat_map(|(start, end)| *start..*end) {
            let overlaps = |chunk: &ChunkAt| {
                let head = partition.head(chunk);
                self.query.overlaps(head.first_ms, head.last_ms)
            };
            let is_kept = match questions.narrowed(place) {
                Some(query) => is_present(&query, partition, place, &mut chunks)?,
                None => partition.chunks(place).iter().any(overlaps),
            };
            if is_kept {
                columns::push_run(&mut kept, place, place + 1);
            }
        }
        Ok(kept)
    }

    fn mark(&mut self, partition: &Partition, places: &Places, values_of: Option<u32>) {
        match values_of {
            Some(name) => {
                let Some(column) = partition.column(name) else { return };
                column.for_each_in(places, |value, _, _| self.set_marked(value));
            }
            None => {
                for column in &partition.columns {
                    let mut has = false;
                    column.for_each_in(places, |value, _, _| has |= value != NO_VALUE);
                    if has {
                        self.set_marked(column.name);
                    }
                }
            }
        }
    }
}
