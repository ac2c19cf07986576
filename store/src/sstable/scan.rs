//! One question to one tenant's part of one sstable: which series match, and what they hold.
//!
//! First the directory, and the tenant's dictionary if the metric is not named, say which
//! partitions can match; in each the matchers narrow the places down, the best one first. Label
//! names and values come from dictionary and columns; a chunk is touched only for samples, or when
//! a border of the range lies inside of it.
//!
//! Not here: where the parts come from (`reader.rs`).

use super::chunks::Chunks;
use super::columns::{ChunkAt, Column, Partition, Places, narrow};
use super::dictionary::PartitionSet;
use super::directory::{PartitionEntry, TenantPart};
use super::reader::Source;
use super::times::DenseReader;
use super::values::{NO_VALUE, Values};
use crate::compaction::cut::{self, Cut, Labels};
use crate::error::{Error, Result};
use crate::select::{Gather, Query, ShardFilter, Want};
use model::read::Estimate;
use model::{METRIC_NAME, TenantId, Text};
use std::sync::Arc;

/// With no more partitions to open than these, none is ruled out by the dictionary.
const FEW_PARTITIONS: usize = 8;

/// See the module.
pub(crate) struct Scan<'a> {
    source: &'a Source<'a>,
    query: &'a Query,
    /// The tenant's index in the directory.
    tenant: usize,
    part: &'a TenantPart,
    symbols: &'a [Text],
    /// All matchers but those of the metric's name, which partitions answer whole.
    matchers: Vec<Values<'a>>,
    dense: DenseReader,
    /// For each symbol its number in the answer and 1; 0 is none yet.
    texts: Vec<u32>,
    /// For each symbol whether it is one of the wanted names or values.
    marked: Vec<bool>,
    /// What is not shown.
    cut: Option<&'a dyn Cut>,
    /// Which series are asked for, if not all that match.
    shard: Option<ShardFilter>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(
        source: &'a Source<'a>,
        query: &'a Query,
        (tenant, part): (usize, &'a TenantPart),
        symbols: &'a [Text],
    ) -> Self {
        let others = query.matchers.iter().filter(|matcher| *matcher.name != *METRIC_NAME);
        let mut matchers: Vec<Values<'_>> = others.map(|m| Values::new(m, symbols)).collect();
        matchers.sort_by_key(Values::breadth);
        let (texts, marked) = (Vec::new(), Vec::new());
        let dense = DenseReader::default();
        let (cut, shard) = (None, ShardFilter::new(query, symbols.len()));
        Self { source, query, tenant, part, symbols, matchers, dense, texts, marked, cut, shard }
    }

    /// Shows nothing of what is cut.
    pub(crate) fn hiding(mut self, cut: &'a dyn Cut) -> Self {
        self.cut = Some(cut);
        self
    }

    /// Adds what matches.
    pub(crate) fn run(&mut self, gather: &mut Gather) -> Result<()> {
        if self.matchers.iter().any(Values::match_nothing) {
            return Ok(());
        }
        let mut wanted = self.by_metric();
        self.by_dictionary(&mut wanted)?;
        self.texts = vec![0; self.symbols.len()];
        if self.query.want == Want::Possibility {
            self.mark_looked_at(&mut wanted, gather)?;
            return self.mark_all(wanted, gather);
        }
        for index in wanted.iter() {
            let Some(entry) = self.part.partitions.get(index) else { continue };
            self.one(entry, gather).map_err(|error| self.named(entry, error))?;
        }
        Ok(())
    }

    /// Adds what matches, by the index: of a partition that the range cuts, the range's part.
    pub(crate) fn estimate(&mut self, estimate: &mut Estimate) -> Result<()> {
        if self.matchers.iter().any(Values::match_nothing) {
            return Ok(());
        }
        let mut wanted = self.by_metric();
        self.by_dictionary(&mut wanted)?;
        for index in wanted.iter() {
            let Some(entry) = self.part.partitions.get(index) else { continue };
            let partition = self.source.partition(entry, self.symbols.len());
            let partition = partition.map_err(|error| self.named(entry, error))?;
            let places = self.places(&partition);
            let series: u64 = places.iter().map(|(start, end)| u64::from(end - start)).sum();
            let span = |start: i64, end: i64| i128::from(end) - i128::from(start) + 1;
            let wanted = span(
                entry.min_ms.max(self.query.start_ms),
                entry.max_ms.min(self.query.end_ms.saturating_sub(1)),
            );
            let of_all =
                u128::from(entry.samples) * u128::from(series) / u128::from(entry.series.max(1));
            let whole = span(entry.min_ms, entry.max_ms).unsigned_abs().max(1);
            let samples = of_all.saturating_mul(wanted.max(0).unsigned_abs()) / whole;
            estimate.partitions += 1;
            estimate.series += series;
            estimate.samples += u64::try_from(samples).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Adds what matches in a partition.
    fn one(&mut self, entry: &PartitionEntry, gather: &mut Gather) -> Result<()> {
        let partition = self.partition(entry, gather)?;
        let places = self.places(&partition);
        match self.query.want {
            Want::Presence if gather.may_hide(&entry.metric, entry.min_ms, entry.max_ms) => {
                self.samples(entry, &partition, &places, gather)
            }
            Want::Samples => self.samples(entry, &partition, &places, gather),
            _ => self.presence(entry, &partition, &places, gather),
        }
    }

    /// Damage, and which partition cannot be answered for it.
    fn named(&self, entry: &PartitionEntry, error: Error) -> Error {
        match error {
            Error::Corrupt { path, offset, detail } => {
                let (tenant, metric, day) = (&self.part.tenant, &entry.metric, entry.day.0);
                let detail = format!("{detail}; tenant {tenant}, metric {metric}, day {day}");
                Error::Corrupt { path, offset, detail }
            }
            error => error,
        }
    }

    /// The index of a partition, which is counted as looked at.
    fn partition(&self, entry: &PartitionEntry, gather: &mut Gather) -> Result<Arc<Partition>> {
        gather.touch(&entry.metric, entry.day);
        self.source.partition(entry, self.symbols.len())
    }

    /// The partitions whose metric and times are asked for.
    fn by_metric(&self) -> PartitionSet {
        let of_metric = || self.query.matchers.iter().filter(|m| *m.name == *METRIC_NAME);
        let partitions = &self.part.partitions;
        let mut before: Option<(&Text, bool)> = None;
        let mut is_wanted = |entry: &'a PartitionEntry| {
            let matches = match before {
                // A metric's days are neighbours.
                Some((metric, matches)) if *metric == entry.metric => matches,
                _ => of_metric().all(|matcher| matcher.matches(&entry.metric)),
            };
            before = Some((&entry.metric, matches));
            matches && self.query.overlaps(entry.min_ms, entry.max_ms)
        };
        match of_metric().find_map(|matcher| matcher.equal_to()) {
            Some(metric) => {
                let range = self.part.metric(metric);
                let mut set = PartitionSet::none(partitions.len());
                for (index, entry) in range.clone().zip(&partitions[range]) {
                    set.put(index, is_wanted(entry));
                }
                set
            }
            None => PartitionSet::of(partitions.iter().map(is_wanted)),
        }
    }

    /// Leaves out partitions in which no series can match.
    fn by_dictionary(&mut self, wanted: &mut PartitionSet) -> Result<()> {
        let len = self.part.partitions.len();
        let narrows = self.matchers.iter().any(|values| !values.matches_empty);
        let count = wanted.len();
        // The dictionary is made of all partitions: it has to spare the reading of many.
        if !narrows || count <= FEW_PARTITIONS || count < len / 2 {
            return Ok(());
        }
        let dictionary = self.source.dictionary(self.tenant, self.part, self.symbols.len())?;
        for values in self.matchers.iter_mut().filter(|values| !values.matches_empty) {
            wanted.intersect(&dictionary.partitions(values, len));
        }
        Ok(())
    }

    /// The places of series that match.
    fn places(&mut self, partition: &Partition) -> Places {
        let mut places = partition.all();
        for values in &mut self.matchers {
            if places.is_empty() {
                break;
            }
            let column = values.name.and_then(|name| partition.column(name));
            places = narrow(column, places, |symbol| values.matches(symbol));
        }
        places
    }

    /// Whether a series of the partition may have no sample that is asked for.
    fn is_cut(&self, entry: &PartitionEntry) -> bool {
        entry.min_ms < self.query.start_ms
            || entry.max_ms >= self.query.end_ms
            || self.touching(entry).is_some()
    }

    /// What may hide something of a partition.
    fn touching(&self, entry: &PartitionEntry) -> Option<&'a dyn Cut> {
        self.cut.filter(|cut| cut.touches(&self.part.tenant, &entry.metric, entry.day))
    }

    /// The questions to the series of a partition.
    fn questions<'p>(&self, entry: &PartitionEntry, partition: &'p Partition) -> Questions<'p>
    where
        'a: 'p,
    {
        let cut = self.touching(entry).map(|cut| (&self.part.tenant, cut, Keys::new(partition)));
        Questions { query: self.query, symbols: self.symbols, cut }
    }

    /// Marks names or values of partitions that a delete may have cut, by their samples, and takes
    /// those out.
    fn mark_looked_at(&mut self, wanted: &mut PartitionSet, gather: &mut Gather) -> Result<()> {
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
    fn mark_all(&mut self, mut wanted: PartitionSet, gather: &mut Gather) -> Result<()> {
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
                super::columns::push_run(&mut kept, place, place + 1);
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

    /// Adds the label sets of series with a sample in the range.
    fn presence(
        &mut self,
        entry: &PartitionEntry,
        partition: &Partition,
        places: &Places,
        gather: &mut Gather,
    ) -> Result<()> {
        let is_cut = self.is_cut(entry);
        let mut keys = Keys::new(partition);
        let mut questions = self.questions(entry, partition);
        let origin = (self.source, self.tenant, self.part);
        let mut chunks = Chunks::new(origin, partition, self.query, &mut self.dense);
        for place in places.iter().flat_map(|(start, end)| *start..*end) {
            let narrowed = questions.narrowed(place);
            let query = narrowed.as_ref().unwrap_or(self.query);
            if !is_cut || is_present(query, partition, place, &mut chunks)? {
                let key =
                    keys.at(place, |symbol| text(&mut self.texts, self.symbols, symbol, gather));
                gather.add_present(key)?;
            }
        }
        Ok(())
    }

    /// Adds series and their samples.
    fn samples(
        &mut self,
        entry: &PartitionEntry,
        partition: &Partition,
        places: &Places,
        gather: &mut Gather,
    ) -> Result<()> {
        let (mut keys, mut shard_keys) = (Keys::new(partition), Keys::new(partition));
        let mut questions = self.questions(entry, partition);
        let origin = (self.source, self.tenant, self.part);
        let mut chunks = Chunks::new(origin, partition, self.query, &mut self.dense);
        for place in places.iter().flat_map(|(start, end)| *start..*end) {
            if let Some(shard) = &mut self.shard {
                let pairs = shard_keys.at(place, |symbol| symbol).chunks_exact(2);
                if !shard.holds(pairs.map(|pair| (pair[0], pair[1])), self.symbols) {
                    continue;
                }
            }
            let narrowed = questions.narrowed(place);
            let query = narrowed.as_ref().unwrap_or(self.query);
            let overlaps = |chunk: &ChunkAt| {
                let head = partition.head(chunk);
                query.overlaps(head.first_ms, head.last_ms)
            };
            if !partition.chunks(place).iter().any(overlaps) {
                continue;
            }
            let key = keys.at(place, |symbol| text(&mut self.texts, self.symbols, symbol, gather));
            gather.extend(key, |runs| {
                partition.chunk_range(place).try_for_each(|index| chunks.decode(query, index, runs))
            })?;
        }
        Ok(())
    }
}

/// Whether the series at a place has a sample that is asked for.
fn is_present(
    query: &Query,
    partition: &Partition,
    place: u32,
    chunks: &mut Chunks<'_>,
) -> Result<bool> {
    let heads = || partition.chunks(place).iter().map(|chunk| partition.head(chunk));
    if heads().any(|head| query.keeps(head.first_ms) || query.keeps(head.last_ms)) {
        return Ok(true);
    }
    for index in partition.chunk_range(place) {
        if chunks.is_present(query, index)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The questions to one series after the other: the query, or less where something is hidden.
struct Questions<'a> {
    query: &'a Query,
    symbols: &'a [Text],
    cut: Option<(&'a TenantId, &'a dyn Cut, Keys<'a>)>,
}

impl Questions<'_> {
    /// The question to the series at a place, which is behind the one before, if some of it is
    /// hidden.
    fn narrowed(&mut self, place: u32) -> Option<Query> {
        let (tenant, cut, keys) = self.cut.as_mut()?;
        let key = keys.at(place, |symbol| symbol);
        let pairs: Vec<(u32, u32)> = key.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let mut hidden = Vec::new();
        cut.spans(tenant, &Labels::new(self.symbols, &pairs), &mut hidden);
        let hidden = cut::normalized(hidden);
        (!hidden.is_empty()).then(|| self.query.without(&hidden))
    }
}

/// The number of a symbol in the answer.
fn text(texts: &mut [u32], symbols: &[Text], symbol: u32, gather: &mut Gather) -> u32 {
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
struct Keys<'a> {
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
    fn new(partition: &'a Partition) -> Self {
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
    fn at(&mut self, place: u32, mut text: impl FnMut(u32) -> u32) -> &[u32] {
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
