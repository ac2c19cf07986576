//! Which place a series is in, and a mutation cut by places.
//!
//! A metric of a tenant is in one place, all of its days: a series is in one head under one number, a day's
//! end moves nothing, and a question about one metric is one place's. A series' number among all
//! places is its place's and the number that it has there.
//!
//! Not here: who serves a place (`cluster::ownership`).

use cluster::Ring;
use model::mutation::Mutation;
use model::partition::token_of;
use model::{DayBucket, LabelSet, METRIC_NAME, Matcher, SeriesRef, TenantId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where series are.
#[derive(Clone, Debug)]
pub struct Placing {
    ring: Ring<()>,
    /// The bits of a number that a place gives.
    number_bits: u32,
}

/// What of a mutation is one place's.
#[derive(Debug)]
pub struct Part {
    /// Its series, samples and metadata.
    pub mutation: Mutation,
    /// The index in the whole of each of its series.
    pub index: Vec<u32>,
}

impl Placing {
    /// A ring of so many places.
    #[must_use]
    pub fn new(places: u16) -> Self {
        let place_bits = u32::from(places.max(1)).next_power_of_two().trailing_zeros();
        Self { ring: Ring::even(places, ()), number_bits: u32::BITS - place_bits }
    }

    /// All places.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.ring.vnodes().len()
    }

    /// The place of a metric.
    #[must_use]
    pub fn of_metric(&self, tenant: &TenantId, metric: &str) -> usize {
        self.ring.vnode_of(token_of(tenant, metric, DayBucket(0), 0, 0))
    }

    fn of_labels(&self, tenant: &TenantId, labels: &LabelSet) -> usize {
        self.of_metric(tenant, labels.get(METRIC_NAME).map_or("", |name| name))
    }

    /// The places of the series that one of the sets of matchers may match; `None` is any place. No set at
    /// all is every series.
    #[must_use]
    pub fn of_matchers<'a>(
        &self,
        tenant: &TenantId,
        sets: impl IntoIterator<Item = &'a [Matcher]>,
    ) -> Option<BTreeSet<usize>> {
        let mut places = BTreeSet::new();
        let mut sets = sets.into_iter().peekable();
        sets.peek()?;
        for set in sets {
            places.extend(self.of_set(tenant, set)?);
        }
        Some(places)
    }

    fn of_set(&self, tenant: &TenantId, set: &[Matcher]) -> Option<BTreeSet<usize>> {
        let on_name = set.iter().filter(|matcher| *matcher.name == *METRIC_NAME);
        // What does not compile is refused by whoever is asked.
        let literals = on_name.filter_map(|m| m.compile().ok()).find_map(|m| m.literals());
        let names = literals?;
        Some(names.iter().map(|name| self.of_metric(tenant, name)).collect())
    }

    /// The number of a series among all places; `None` if there is none.
    #[must_use]
    pub fn number(&self, place: usize, within: u32) -> Option<u32> {
        if self.number_bits == u32::BITS {
            return Some(within);
        }
        let place = u32::try_from(place).ok()?;
        (within >> self.number_bits == 0).then(|| (place << self.number_bits) | within)
    }

    /// The place that gave a number, and the number there.
    #[must_use]
    pub fn within(&self, number: u32) -> (usize, u32) {
        if self.number_bits == u32::BITS {
            return (0, number);
        }
        let mask = (1 << self.number_bits) - 1;
        ((number >> self.number_bits) as usize, number & mask)
    }

    /// Cuts a mutation by places. Numbers become those of the places; their generation stays as it is.
    #[must_use]
    pub fn cut_by_place(&self, mutation: &Mutation) -> BTreeMap<usize, Part> {
        self.cut(mutation, |place| place, |_, within| within)
    }

    /// Cuts a mutation by who has the places. Numbers, and their generation, stay as they are.
    #[must_use]
    pub fn cut_by_owner<K: Ord + Copy>(
        &self,
        mutation: &Mutation,
        owner: impl Fn(usize) -> K,
    ) -> BTreeMap<K, Part> {
        self.cut(mutation, owner, |all, _| all)
    }

    /// `number`: of the number among all places, and within its own, the one that a part has.
    fn cut<K: Ord + Copy>(
        &self,
        mutation: &Mutation,
        of_place: impl Fn(usize) -> K,
        number: impl Fn(u32, u32) -> u32,
    ) -> BTreeMap<K, Part> {
        let mut parts = BTreeMap::new();
        let context = Arc::clone(&mutation.context);
        let tenant = &context.tenant;
        let (mut start, mut at) = (0, Vec::with_capacity(mutation.series.len()));
        for (whole, rows) in (0_u32..).zip(&mutation.series) {
            let end = rows.sample_end as usize;
            let (place, series) = match &rows.series {
                SeriesRef::Labels(labels) => {
                    (self.of_labels(tenant, labels), SeriesRef::Labels(labels.clone()))
                }
                SeriesRef::Number(all) => {
                    let (place, within) = self.within(*all);
                    (place, SeriesRef::Number(number(*all, within)))
                }
            };
            let key = of_place(place);
            let part: &mut Part = part_of(&mut parts, key, mutation);
            let into = &mut part.mutation;
            copy(&mut into.timestamps_ms, &mutation.timestamps_ms, start..end);
            copy(&mut into.values, &mutation.values, start..end);
            copy(&mut into.histograms, &mutation.histograms, start..end);
            copy(&mut into.start_timestamps_ms, &mutation.start_timestamps_ms, start..end);
            at.push((key, u32::try_from(part.index.len()).unwrap_or(u32::MAX)));
            into.end_series(series);
            part.index.push(whole);
            start = end;
        }
        for (series, exemplar) in &mutation.exemplars {
            if let Some((key, index)) = at.get(*series as usize)
                && let Some(part) = parts.get_mut(key)
            {
                part.mutation.exemplars.push((*index, exemplar.clone()));
            }
        }
        for entry in &mutation.metadata {
            let key = of_place(self.of_metric(tenant, &entry.metric));
            part_of(&mut parts, key, mutation).mutation.metadata.push(entry.clone());
        }
        parts
    }
}

fn part_of<'a, K: Ord>(parts: &'a mut BTreeMap<K, Part>, key: K, whole: &Mutation) -> &'a mut Part {
    parts.entry(key).or_insert_with(|| {
        let mut mutation = Mutation::empty(Arc::clone(&whole.context));
        (mutation.generation, mutation.revision) = (whole.generation, whole.revision);
        mutation.kind = whole.kind;
        Part { mutation, index: Vec::new() }
    })
}

/// Copies a range of a column, which may be empty.
fn copy<T: Clone>(into: &mut Vec<T>, from: &[T], range: std::ops::Range<usize>) {
    into.extend_from_slice(from.get(range).unwrap_or_default());
}
