//! A matcher in terms of a sorted dictionary: which symbols are values that match.
//!
//! Literals and prefixes are ranges of symbols, found by binary search; what only the regex can
//! tell it is asked once for each symbol that occurs.

use model::Text;
use model::matcher::{CompiledMatcher, NamedValues};
use model::regex::{Prefix, Rest};
use std::ops::Range;

/// Stands for the value of a label that a series does not have.
pub(crate) const NO_VALUE: u32 = u32::MAX;

/// The values of one matcher among a tenant's symbols in one file.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    matcher: &'a CompiledMatcher,
    symbols: &'a [Text],
    /// The symbol of the label's name; `None` if no series has the label.
    pub(crate) name: Option<u32>,
    /// Symbols that the matcher's text names, ascending and apart.
    named: Vec<Range<u32>>,
    /// Symbols for which the regex has to be asked, likewise; some may be named as well.
    unsure: Vec<Range<u32>>,
    /// Whether all but the named ones match.
    is_negated: bool,
    /// Whether a series without the label matches.
    pub(crate) matches_empty: bool,
    /// For each symbol what the regex said; empty until it is asked.
    said: Vec<Said>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    Yes,
    No,
}

impl<'a> Values<'a> {
    pub(crate) fn new(matcher: &'a CompiledMatcher, symbols: &'a [Text]) -> Self {
        let name = symbols.binary_search_by(|text| (**text).cmp(&matcher.name)).ok();
        let name = name.and_then(|place| u32::try_from(place).ok());
        let (named_values, is_negated) = matcher.named_values();
        let (mut named, mut unsure) = (Vec::new(), Vec::new());
        if name.is_some() {
            match named_values {
                NamedValues::Literals(texts) => literals(texts, symbols, &mut named),
                NamedValues::Prefixes(prefixes) => {
                    prefixes.iter().for_each(|p| ranges_of(p, symbols, &mut named, &mut unsure));
                }
            }
        }
        let matches_empty = matcher.matches("");
        let (named, unsure) = (union(named), union(unsure));
        Self { matcher, symbols, name, named, unsure, is_negated, matches_empty, said: Vec::new() }
    }

    /// Whether no series can match.
    pub(crate) fn match_nothing(&self) -> bool {
        let names_nothing = self.named.is_empty() && self.unsure.is_empty();
        !self.matches_empty && (self.name.is_none() || (names_nothing && !self.is_negated))
    }

    /// How well it narrows down, the less the better: a guess that costs nothing.
    pub(crate) fn breadth(&self) -> u64 {
        if self.is_negated || self.matches_empty {
            return u64::MAX;
        }
        let width = |ranges: &[Range<u32>]| ranges.iter().map(|r| u64::from(r.end - r.start)).sum();
        let (named, unsure): (u64, u64) = (width(&self.named), width(&self.unsure));
        named.saturating_add(unsure.saturating_mul(16))
    }

    /// Whether this symbol, or [`NO_VALUE`], is a value that matches.
    #[inline]
    pub(crate) fn matches(&mut self, symbol: u32) -> bool {
        if symbol == NO_VALUE {
            return self.matches_empty;
        }
        let is_named = contains(&self.named, symbol)
            || (contains(&self.unsure, symbol) && self.ask(symbol) != self.is_negated);
        is_named != self.is_negated
    }

    /// What the matcher itself says of a symbol.
    fn ask(&mut self, symbol: u32) -> bool {
        if self.said.is_empty() {
            self.said = vec![Said::Nothing; self.symbols.len()];
        }
        let Some(said) = self.said.get_mut(symbol as usize) else { return false };
        if *said == Said::Nothing {
            let text = self.symbols.get(symbol as usize).map_or("", |text| text);
            *said = if self.matcher.matches(text) { Said::Yes } else { Said::No };
        }
        *said == Said::Yes
    }

    /// The parts of `sorted`, symbols in ascending order, in which there may be values that match.
    pub(crate) fn among<'s>(&self, sorted: &'s [u32]) -> Vec<&'s [u32]> {
        if self.is_negated {
            return vec![sorted];
        }
        let all = union([&self.named[..], &self.unsure[..]].concat());
        let cut = |range: &Range<u32>| {
            let start = sorted.partition_point(|symbol| *symbol < range.start);
            let rest = sorted.get(start..).unwrap_or(&[]);
            &rest[..rest.partition_point(|symbol| *symbol < range.end)]
        };
        all.iter().map(cut).filter(|part| !part.is_empty()).collect()
    }
}

/// Whether a symbol lies in one of the ranges.
#[inline]
fn contains(ranges: &[Range<u32>], symbol: u32) -> bool {
    match ranges {
        [] => false,
        [only] => only.contains(&symbol),
        _ => {
            let after = ranges.partition_point(|range| range.start <= symbol);
            after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|r| symbol < r.end)
        }
    }
}

fn symbol(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NO_VALUE)
}

/// Finds texts, ascending, among the symbols; each is looked for behind the one before.
fn literals(texts: &[Text], symbols: &[Text], named: &mut Vec<Range<u32>>) {
    let mut from = 0;
    for text in texts {
        let rest = symbols.get(from..).unwrap_or(&[]);
        let place = from + rest.partition_point(|symbol| **symbol < **text);
        if symbols.get(place).is_some_and(|found| **found == **text) {
            named.push(symbol(place)..symbol(place) + 1);
        }
        from = place;
    }
}

fn ranges_of(
    prefix: &Prefix,
    symbols: &[Text],
    named: &mut Vec<Range<u32>>,
    unsure: &mut Vec<Range<u32>>,
) {
    let text = &*prefix.text;
    let start = symbols.partition_point(|symbol| **symbol < *text);
    let rest = symbols.get(start..).unwrap_or(&[]);
    let end = start + rest.partition_point(|symbol| symbol.starts_with(text));
    let is_there = rest.first().is_some_and(|first| **first == *text);
    let (start, end, first) = (symbol(start), symbol(end), u32::from(is_there));
    match prefix.rest {
        Rest::Nothing => named.push(start..start + first),
        Rest::Anything => named.push(start..end),
        Rest::Something => named.push(start + first..end),
        Rest::AsRegex => unsure.push(start..end),
    }
}

/// The same symbols as ranges that ascend and are apart.
fn union(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{MatchOp, Matcher};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_dictionary_says_what_the_matcher_says(
            texts in prop::collection::btree_set("[ab]{0,4}", 1..20),
            op in prop::sample::select(vec![
                MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex,
            ]),
            value in prop_oneof![
                "[ab]{0,3}",
                prop::sample::select(vec![
                    ".*", ".+", "a.*", "a.+", "ab.*|b", "(a|b.*|ab)b", "a?b.*a", ".*b", "(a|b)+",
                    "a|b|", "a|ba|bbb", "[ab]", "b{2}.*",
                ])
                .prop_map(str::to_owned),
            ],
        ) {
            let mut symbols: Vec<Text> = texts.iter().map(|text| text.as_str().into()).collect();
            symbols.push("name".into());
            let matcher = Matcher::new("name", op, value).compile().unwrap();
            let mut values = Values::new(&matcher, &symbols);
            for (place, text) in (0..).zip(&symbols) {
                prop_assert_eq!(values.matches(place), matcher.matches(text), "{}", text);
            }
            prop_assert_eq!(values.matches(NO_VALUE), matcher.matches(""));
            let all: Vec<u32> = (0..).take(symbols.len()).collect();
            let among = values.among(&all).concat();
            for symbol in all {
                prop_assert!(among.contains(&symbol) || !values.matches(symbol));
            }
            let any = (0..).take(symbols.len()).any(|symbol| values.matches(symbol));
            prop_assert!(!values.match_nothing() || (!any && !values.matches_empty));
        }
    }

    #[test]
    fn prefixes_and_literals_never_ask_the_regex() {
        let symbols: Vec<Text> = ["a", "ab", "b", "name"].map(Text::from).to_vec();
        let cases = [("a.*", 2), ("a.+|b", 2), ("a|b", 2), (".+", 4)];
        for (pattern, count) in cases {
            let matcher = Matcher::new("name", MatchOp::Regex, pattern).compile().unwrap();
            let mut values = Values::new(&matcher, &symbols);
            assert_eq!((0..4).filter(|symbol| values.matches(*symbol)).count(), count, "{pattern}");
            assert!(values.said.is_empty(), "{pattern}");
        }
    }
}
