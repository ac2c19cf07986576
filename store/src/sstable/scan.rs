//! One question to one tenant's part of one sstable: which series match, and what they hold.
//!
//! First the directory, and the tenant's dictionary if the metric is not named, say which
//! partitions can match; in each the matchers narrow the places down, the best one first. Label
//! names and values come from dictionary and columns; a chunk is touched only for samples, or when
//! a border of the range lies inside of it.
//!
//! Not here: where the parts come from (`reader.rs`).

mod keys;
mod names;
mod series;

use super::columns::{Partition, Places, narrow};
use super::dictionary::PartitionSet;
use super::directory::{PartitionEntry, TenantPart};
use super::reader::Source;
use super::times::DenseReader;
use super::values::Values;
use crate::compaction::cut::Cut;
use crate::error::{Error, Result};
use crate::select::{Gather, Query, Want};
use model::read::Estimate;
use model::{METRIC_NAME, Text};
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
        let cut = None;
        Self { source, query, tenant, part, symbols, matchers, dense, texts, marked, cut }
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
}
