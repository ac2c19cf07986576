//! Which series of a shard match: those that the most selective matcher leaves, each tried by its
//! labels.

use super::super::series::Series;
use super::super::shard::Shard;
use super::super::symbols::Symbols;
use crate::postings::List;
use crate::select::Query;
use model::matcher::CompiledMatcher;

/// A matcher in terms of one tenant's symbols.
pub(super) struct Plan<'q> {
    matcher: &'q CompiledMatcher,
    name: Option<u32>,
    matches_empty: bool,
    /// The only symbols that match, if it is a set of literals and does not match the empty value.
    literals: Option<Vec<u32>>,
    /// For each shape, where among a series' ids the value of `name` stands; 0 is nowhere.
    places: Vec<usize>,
    /// For each symbol: not tried yet, matches, does not.
    tried: Vec<Option<bool>>,
}

impl<'q> Plan<'q> {
    pub(super) fn new(matcher: &'q CompiledMatcher, symbols: &Symbols) -> Self {
        let name = symbols.get(&matcher.name);
        let matches_empty = matcher.matches("");
        let literals = matcher
            .literals()
            .filter(|_| !matches_empty)
            .map(|texts| texts.iter().filter_map(|text| symbols.get(text)).collect());
        let place =
            |shape: &[u32]| shape.iter().position(|n| Some(*n) == name).map_or(0, |p| p + 1);
        let places = symbols.shapes().iter().map(|shape| place(shape)).collect();
        Self { matcher, name, matches_empty, literals, places, tried: vec![None; symbols.len()] }
    }

    /// Whether no series can match.
    pub(super) fn is_vain(&self) -> bool {
        !self.matches_empty
            && (self.name.is_none() || self.literals.as_ref().is_some_and(Vec::is_empty))
    }

    fn matches(&mut self, ids: &[u32], symbols: &Symbols) -> bool {
        let shape = ids.first().copied().unwrap_or(0) as usize;
        match self.places.get(shape).copied().unwrap_or(0) {
            0 => self.matches_empty,
            place => self.matches_value(ids.get(place).copied().unwrap_or(0), symbols),
        }
    }

    fn matches_value(&mut self, symbol: u32, symbols: &Symbols) -> bool {
        let tried = &mut self.tried[symbol as usize];
        *tried.get_or_insert_with(|| self.matcher.matches(symbols.text(symbol)))
    }

    /// The postings of the values that match, if they are fewer numbers than `count_max` and
    /// cheap to find: by literals, or by a try of each value that the label has here.
    fn lists<'s>(
        &mut self,
        shard: &'s Shard,
        symbols: &Symbols,
        count_max: u64,
    ) -> Option<Vec<&'s List>> {
        if self.matches_empty {
            return None;
        }
        let name = self.name?;
        let values = shard.values(name);
        let lists: Vec<&List> = match &self.literals {
            Some(literals) if literals.len() <= values.len() => {
                literals.iter().filter_map(|value| shard.postings(name, *value)).collect()
            }
            _ if values.len() as u64 > count_max => return None,
            _ => {
                let matching = values.iter().filter(|value| self.matches_value(**value, symbols));
                matching.filter_map(|value| shard.postings(name, *value)).collect()
            }
        };
        let count: u64 = lists.iter().map(|list| u64::from(list.count())).sum();
        (count < count_max).then_some(lists)
    }
}

/// Visits the series of a shard that match and may have a sample in the range: those that the most
/// selective matcher leaves, each tried by its labels.
pub(super) fn for_each_match(
    shard: &Shard,
    query: &Query,
    plans: &mut [Plan<'_>],
    symbols: &Symbols,
    mut visit: impl FnMut(&Series),
) {
    if shard.samples == 0 {
        return;
    }
    let candidates = narrowest(shard, plans, symbols);
    let mut visit_if = |series: &Series| {
        if series.may_overlap(query.start_ms, query.end_ms)
            && plans.iter_mut().all(|plan| plan.matches(&series.labels, symbols))
        {
            visit(series);
        }
    };
    match candidates {
        None => shard.iter().for_each(&mut visit_if),
        Some(locals) => {
            locals.iter().filter_map(|local| shard.get(*local)).for_each(&mut visit_if);
        }
    }
}

/// The local numbers that the most selective matcher leaves, ascending; `None` if a look at every
/// series is no worse.
fn narrowest(shard: &Shard, plans: &mut [Plan<'_>], symbols: &Symbols) -> Option<Vec<u32>> {
    let mut count_max = shard.len() as u64 / 2;
    let mut best = None;
    // Literals first: they may spare the rest.
    plans.sort_by_key(|plan| plan.literals.as_ref().map_or(usize::MAX, Vec::len));
    for plan in plans {
        if let Some(lists) = plan.lists(shard, symbols, count_max) {
            count_max = lists.iter().map(|list| u64::from(list.count())).sum();
            best = Some(lists);
        }
    }
    let lists = best?;
    let mut locals: Vec<u32> =
        lists.iter().flat_map(|list| list.runs().flat_map(|(start, end)| start..end)).collect();
    if lists.len() > 1 {
        locals.sort_unstable();
        locals.dedup();
    }
    Some(locals)
}
