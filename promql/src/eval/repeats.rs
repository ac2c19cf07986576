//! Sub-expressions that a query has more than once: the first that is evaluated keeps its value for
//! the others.
//!
//! # Invariants
//! - A value is used again only for the same steps and the same wish for buckets, and only if its
//!   evaluation had nothing to say: what is said names the place, and each has its own.
//! - What is kept counts as memory until its last use.
//!
//! Not here: data, which selectors with equal matchers share anyway (`plan/needs.rs`).

use super::evaluator::BucketsWanted;
use super::grid::Grid;
use super::value::Val;
use crate::ast::Expr;
use crate::span::Span;
use std::cell::RefCell;
use std::collections::HashMap;

/// Queries with more calls, aggregations and selectors than this are made by machines, and looking
/// for repetitions in them would cost more than it saves.
const CANDIDATES_MAX: usize = 128;
/// Likewise for longer ones.
const TEXT_MAX: usize = 16 << 10;

/// The sub-expressions that a query has more than once, by where they stand.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    by_place: HashMap<Span, usize>,
    groups: Vec<RefCell<Group>>,
}

/// Sub-expressions that are the same.
#[derive(Debug)]
struct Group {
    uses_left: usize,
    kept: Option<Kept>,
}

/// The value of one of them.
#[derive(Debug)]
struct Kept {
    grid: Grid,
    buckets: BucketsWanted,
    val: Val,
    bytes: u64,
}

impl Repeats {
    /// What the query `text`, which is `expr`, has more than once.
    pub(crate) fn of(text: &str, expr: &Expr) -> Self {
        let mut repeats = Self::default();
        let mut seen = Seen { count: 0, first: HashMap::new() };
        if text.len() > TEXT_MAX || repeats.look(expr, &mut seen).is_none() {
            return Self::default();
        }
        repeats
    }

    /// Looks for what was seen before; what stands inside of it is not evaluated and not looked at.
    /// `None` if there is too much.
    fn look(&mut self, expr: &Expr, seen: &mut Seen) -> Option<()> {
        if is_candidate(expr) {
            seen.count += 1;
            if seen.count > CANDIDATES_MAX {
                return None;
            }
            match seen.first.entry(expr.to_string()) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(expr.span());
                }
                std::collections::hash_map::Entry::Occupied(first) => {
                    let groups = &mut self.groups;
                    let group = *self.by_place.entry(*first.get()).or_insert_with(|| {
                        groups.push(RefCell::new(Group { uses_left: 1, kept: None }));
                        groups.len() - 1
                    });
                    self.groups[group].borrow_mut().uses_left += 1;
                    self.by_place.insert(expr.span(), group);
                    return Some(());
                }
            }
        }
        children(expr).try_for_each(|child| self.look(child, seen))
    }

    /// Whether an expression is one of several.
    pub(crate) fn has(&self, expr: &Expr) -> bool {
        !self.by_place.is_empty() && self.group(expr).is_some()
    }

    fn group(&self, expr: &Expr) -> Option<&RefCell<Group>> {
        let group = is_candidate(expr).then(|| self.by_place.get(&expr.span()))??;
        self.groups.get(*group)
    }

    /// The value that was kept for these steps, if it was, and how many bytes are kept no longer.
    pub(crate) fn take(
        &self,
        expr: &Expr,
        grid: Grid,
        buckets: BucketsWanted,
    ) -> (Option<Val>, u64) {
        let Some(group) = self.group(expr) else { return (None, 0) };
        let mut group = group.borrow_mut();
        group.uses_left = group.uses_left.saturating_sub(1);
        let fits = |kept: &&Kept| kept.grid == grid && kept.buckets == buckets;
        if group.uses_left > 0 {
            return (group.kept.as_ref().filter(fits).map(|kept| kept.val.clone()), 0);
        }
        match group.kept.take() {
            Some(kept) if fits(&&kept) => (Some(kept.val), kept.bytes),
            Some(kept) => (None, kept.bytes),
            None => (None, 0),
        }
    }

    /// Keeps a value if there is a use for it to come; whether it is kept.
    pub(crate) fn keep(
        &self,
        expr: &Expr,
        (grid, buckets): (Grid, BucketsWanted),
        val: &Val,
        bytes: u64,
    ) -> bool {
        let Some(group) = self.group(expr) else { return false };
        let mut group = group.borrow_mut();
        let is_kept = group.uses_left > 0 && group.kept.is_none();
        if is_kept {
            group.kept = Some(Kept { grid, buckets, val: val.clone(), bytes });
        }
        is_kept
    }
}

/// What was seen of a query.
struct Seen {
    count: usize,
    first: HashMap<String, Span>,
}

/// Whether an expression costs more than it takes to copy its value.
fn is_candidate(expr: &Expr) -> bool {
    matches!(expr, Expr::Vector(_) | Expr::Call(_) | Expr::Aggregation(_))
}

/// The expressions that are evaluated for this one. A function that looks at its argument's samples
/// itself has none.
fn children(expr: &Expr) -> Box<dyn Iterator<Item = &Expr> + '_> {
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => {
            Box::new(std::iter::empty())
        }
        Expr::Subquery(node) => Box::new(std::iter::once(&*node.expr)),
        Expr::Call(node) if LOOKS_INSIDE.contains(&node.function.name) => {
            Box::new(std::iter::empty())
        }
        Expr::Call(node) => Box::new(node.args.iter()),
        Expr::Aggregation(node) => Box::new(node.param.as_deref().into_iter().chain([&*node.expr])),
        Expr::Binary(node) => {
            let operands = node.links.iter().map(|link| &link.rhs);
            Box::new(std::iter::once(&*node.first).chain(operands))
        }
        Expr::Unary(node) => Box::new(std::iter::once(&*node.expr)),
        Expr::Paren(node) => Box::new(std::iter::once(&*node.expr)),
    }
}

/// Functions that do not evaluate all of their arguments.
const LOOKS_INSIDE: &[&str] = &["info", "start_timestamp", "timestamp"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse};

    fn repeated(text: &str) -> Vec<String> {
        let expr = parse(text, ParseOptions::ALL).unwrap();
        let repeats = Repeats::of(text, &expr);
        let mut places: Vec<&Span> = repeats.by_place.keys().collect();
        places.sort_by_key(|span| span.start);
        places.iter().map(|span| text[span.start as usize..span.end as usize].to_owned()).collect()
    }

    #[test]
    fn what_stands_twice_is_found_but_not_again_what_stands_in_it() {
        assert_eq!(repeated("sum(rate(a[5m])) / count(rate(a[5m]))"), ["rate(a[5m])"; 2]);
        assert_eq!(repeated("sum(rate(a[5m])) > sum(rate(a[5m]))"), ["sum(rate(a[5m]))"; 2]);
        assert_eq!(repeated("a + sum(a)"), ["a"; 2]);
        assert_eq!(repeated("a * 2 + (a)"), ["a"; 2]);
        assert!(repeated("rate(a[5m]) / rate(a[6m])").is_empty());
        assert!(repeated("timestamp(a) - timestamp(b) + a").is_empty());
    }
}
