//! Which series a query wants, from when to when, and what of them it looks at: each selection is
//! asked for once, however often and with whatever offsets it is written.
//!
//! # Invariants
//! - Selections of equal matchers whose ranges touch are one selection, of which all is wanted that
//!   any of them looks at; but those that can be worked through in shards stay apart.
//! - What is left out is never seen: an aggregation says so for the selector that it stands around
//!   itself, and nothing between them.
//!
//! Not here: the moments of windows (`plan.rs`); evaluation (`eval`), which looks selections up.

use super::{Ends, Times};
use crate::ast::{AggregateOp, Aggregation, Call, Edges, Expr, VectorSelector};
use crate::eval::{EvalError, EvalParams, Grid, Query, bare, shards};
use model::read::{SelectBounds, Selection, Steps, Wanted};
use model::{Matcher, QueryShard, Text, TimeRange, TimestampMs};
use std::collections::HashMap;

/// A selection that a query needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Which series.
    pub(crate) matchers: Vec<Matcher>,
    /// The first moment.
    pub(crate) first_ms: i64,
    /// The last moment.
    pub(crate) last_ms: i64,
    /// Whether the reset hints of its histograms can be seen in the answer.
    pub(crate) shows_hints: bool,
    /// Whether its selectors stand where one series after the other can be worked through.
    pub(crate) in_shards: bool,
    /// What of its series is looked at.
    pub(crate) wanted: Wanted,
}

impl Need {
    /// The need for what was there just before.
    pub(crate) fn before(&self, back_ms: i64) -> Option<Self> {
        let last_ms = self.first_ms.checked_sub(1)?;
        let first_ms = self.first_ms.checked_sub(back_ms)?;
        (first_ms <= last_ms).then(|| Self { first_ms, last_ms, ..self.clone() })
    }

    /// The question to the source.
    pub(crate) fn selection(&self, shard: QueryShard, bounds: SelectBounds) -> Selection {
        let (first, last) = (TimestampMs(self.first_ms), TimestampMs(self.last_ms));
        let range = TimeRange::inclusive(first, last);
        let (matchers, wanted) = (self.matchers.clone(), self.wanted.clone());
        Selection { matchers, range, days: None, shard, bounds, wanted }
    }
}

/// A selection that an evaluation asks its source for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which series: all of them have to match.
    pub matchers: Vec<Matcher>,
    /// Samples of which times: windows, offsets, `@`, subqueries and the lookback are in it.
    pub range: TimeRange,
    /// Whether the reset hints of its histograms can be seen in the answer. Then the evaluation may
    /// ask too for what was there a lookback earlier.
    pub shows_hints: bool,
    /// Whether it is worked through in parts if it is large.
    pub in_shards: bool,
    /// What of its series is looked at.
    pub wanted: Wanted,
}

/// Every selection that an evaluation of the query asks its source for: beside the query and its
/// parameters, its answer depends on nothing else.
///
/// # Errors
/// [`EvalError::Invalid`] if a duration makes no sense or the end lies before the start.
pub fn reads(query: Query<'_>, params: &EvalParams) -> Result<Vec<Read>, EvalError> {
    let end_ms = if params.is_instant() { params.start_ms } else { params.end_ms };
    let Some(grid) = Grid::new(params.start_ms, end_ms, params.step_ms) else {
        return Err(EvalError::Invalid("end timestamp must not be before start time".into()));
    };
    let needs = needs(query.expr, grid, &Times::new(params))?;
    let read = |need: Need| Read {
        range: TimeRange::inclusive(TimestampMs(need.first_ms), TimestampMs(need.last_ms)),
        matchers: need.matchers,
        shows_hints: need.shows_hints,
        in_shards: need.in_shards,
        wanted: need.wanted,
    };
    Ok(needs.into_iter().map(read).collect())
}

/// Every selection that the expression needs over the steps of `grid`.
pub(crate) fn needs(expr: &Expr, grid: Grid, times: &Times) -> Result<Vec<Need>, EvalError> {
    let mut found = Vec::new();
    collect(expr, grid, times, &Asker::default(), &mut found)?;
    Ok(united(found))
}

/// Functions in whose results, or in what is said about them, the hints of stored histograms can be
/// seen. All others answer floats or gauges, whatever the hints.
const SHOW_HINTS: &[&str] = &[
    "avg_over_time",
    "first_over_time",
    "histogram_avg",
    "histogram_count",
    "histogram_sum",
    "label_join",
    "label_replace",
    "last_over_time",
    "sort_by_label",
    "sort_by_label_desc",
    "sum_over_time",
];

/// What stands around an expression, as far as its selectors have to know.
#[derive(Clone, Debug, Default)]
struct Asker {
    /// Whether nobody can see the hints of its histograms.
    hides_hints: bool,
    /// Of its floats the newest of each step are looked at, of its histograms no hint.
    is_thin: bool,
    /// What is looked at of the series that it is, if it is a selector.
    presence: bool,
    labels: Option<Vec<Text>>,
}

impl Asker {
    /// Whoever works with the samples of all series, whether the hints are seen or not.
    fn samples(hides_hints: bool) -> Self {
        Self { hides_hints, ..Self::default() }
    }

    /// An aggregation inside of this.
    fn aggregation(&self, node: &Aggregation) -> Self {
        let is_thin = matches!(bare(&node.expr), Expr::Vector(_));
        match node.op {
            AggregateOp::Sum | AggregateOp::Avg | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                Self::samples(self.hides_hints)
            }
            // They come in the order of their groups, whatever the order of the series.
            AggregateOp::Count | AggregateOp::Group if is_thin => {
                let mut labels = node.grouping.clone();
                labels.sort();
                labels.dedup();
                let labels = (!node.without).then_some(labels);
                Self { hides_hints: true, is_thin, presence: true, labels }
            }
            // All others count histograms, or leave them out.
            _ => Self { is_thin, ..Self::samples(true) },
        }
    }

    /// What an instant selector that stands here looks at.
    fn wanted(&self, edges: Edges, ends: Ends, lookback_ms: i64) -> Wanted {
        if edges != Edges::Plain {
            // It looks at the samples around a step, and may say of which metric they are.
            return Wanted::ALL;
        }
        let Ends { first_ms, step_ms, last_ms } = ends;
        let steps = Steps { first_ms, step_ms, last_ms, back_ms: lookback_ms };
        let steps = self.is_thin.then_some(steps);
        Wanted { steps, presence: self.presence, labels: self.labels.clone() }
    }
}

fn collect(
    expr: &Expr,
    grid: Grid,
    times: &Times,
    asker: &Asker,
    found: &mut Vec<Need>,
) -> Result<(), EvalError> {
    let in_shards = shards::leaf(expr).is_some();
    let shows_hints = !asker.hides_hints;
    let mut need = |node: &VectorSelector, first_ms: i64, last_ms: i64, wanted: Wanted| {
        let matchers = node.matchers.clone();
        found.push(Need { matchers, first_ms, last_ms, shows_hints, in_shards, wanted });
    };
    match expr {
        Expr::Number(_) | Expr::String(_) => Ok(()),
        Expr::Vector(node) => {
            let (ends, first_ms, last_ms) = times.vector_range(node, grid)?;
            let wanted = asker.wanted(node.edges, ends, times.lookback_ms);
            need(node, first_ms, last_ms, wanted);
            Ok(())
        }
        Expr::Matrix(node) => {
            let (_, _, first_ms, last_ms) = times.matrix_range(node, grid)?;
            need(&node.vector, first_ms, last_ms, Wanted::ALL);
            Ok(())
        }
        Expr::Subquery(node) => match times.subquery_grid(node, grid)?.0 {
            // A subquery forgets the hints of what it has taken.
            Some(inner) => collect(&node.expr, inner, times, &Asker::samples(true), found),
            None => Ok(()),
        },
        Expr::Call(node) => {
            let before = found.len();
            collect_call(node, grid, times, asker, found)?;
            let looks_inside = ["timestamp", "start_timestamp"].contains(&node.function.name);
            if in_shards || looks_inside {
                found[before..].iter_mut().for_each(|need| need.in_shards = in_shards);
            }
            Ok(())
        }
        Expr::Aggregation(node) => {
            let param = node.param.as_deref();
            let of_param = Asker::samples(true);
            param.map_or(Ok(()), |param| collect(param, grid, times, &of_param, found))?;
            collect(&node.expr, grid, times, &asker.aggregation(node), found)
        }
        Expr::Binary(node) => {
            let asker = Asker::samples(asker.hides_hints);
            collect(&node.first, grid, times, &asker, found)?;
            let mut others = node.links.iter().map(|link| &link.rhs);
            others.try_for_each(|rhs| collect(rhs, grid, times, &asker, found))
        }
        Expr::Unary(node) => {
            collect(&node.expr, grid, times, &Asker::samples(asker.hides_hints), found)
        }
        Expr::Paren(node) => collect(&node.expr, grid, times, asker, found),
    }
}

fn collect_call(
    node: &Call,
    grid: Grid,
    times: &Times,
    asker: &Asker,
    found: &mut Vec<Need>,
) -> Result<(), EvalError> {
    if node.function.name == "info" {
        // The second argument only says which labels are wanted: it is no selector.
        let mut base = node.args.iter().take(1);
        let asker = Asker::samples(asker.hides_hints);
        base.try_for_each(|arg| collect(arg, grid, times, &asker, found))?;
        found.push(times.info_need(node, grid)?.1);
        return Ok(());
    }
    let hides_hints = asker.hides_hints || !SHOW_HINTS.contains(&node.function.name);
    let asker = Asker::samples(hides_hints);
    let mut args = node.args.iter();
    args.try_for_each(|arg| collect(arg, grid, times, &asker, found))
}

/// Joins needs of equal matchers whose ranges touch, if one of them has to be there as a whole. Those
/// that are left ascend in time.
pub(crate) fn united(found: Vec<Need>) -> Vec<Need> {
    let mut places: HashMap<Vec<Matcher>, usize> = HashMap::new();
    let mut groups: Vec<Vec<Need>> = Vec::new();
    for need in found.into_iter().filter(|need| need.first_ms <= need.last_ms) {
        let place = *places.entry(need.matchers.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(need);
    }
    let mut united: Vec<Need> = Vec::new();
    for mut group in groups {
        group.sort_by_key(|need| (need.first_ms, need.last_ms));
        let start = united.len();
        for need in group {
            match united[start..].last_mut() {
                // Who stand side by side and want the same are each worked through in shards.
                Some(last) if (last.first_ms, last.last_ms) == (need.first_ms, need.last_ms) => {
                    last.shows_hints |= need.shows_hints;
                    last.in_shards &= need.in_shards;
                    last.wanted = std::mem::take(&mut last.wanted).or(need.wanted);
                }
                Some(last)
                    if need.first_ms <= last.last_ms.saturating_add(1)
                        && !(last.in_shards && need.in_shards) =>
                {
                    last.last_ms = last.last_ms.max(need.last_ms);
                    last.shows_hints |= need.shows_hints;
                    last.in_shards = false;
                    last.wanted = Wanted::ALL;
                }
                _ => united.push(need),
            }
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(name: &str, first_ms: i64, last_ms: i64) -> Need {
        let matchers = vec![Matcher::equal("__name__", name)];
        let wanted = Wanted::ALL;
        Need { matchers, first_ms, last_ms, shows_hints: false, in_shards: true, wanted }
    }

    #[test]
    fn what_a_query_reads_is_widened_by_all_that_looks_elsewhere() {
        let read = |text: &str| {
            let expr = crate::parse(text, crate::ParseOptions::default()).unwrap();
            let query = Query { text, expr: &expr };
            let found = reads(query, &EvalParams::range(1_000_000, 1_060_000, 15_000)).unwrap();
            found.iter().map(|read| (read.range.start.0, read.range.end.0)).collect::<Vec<_>>()
        };
        assert_eq!(read("up"), [(700_001, 1_060_001)]);
        assert_eq!(read("up offset 10s"), [(690_001, 1_050_001)]);
        assert_eq!(read("up offset -10s"), [(710_001, 1_070_001)]);
        assert_eq!(read("rate(up[1m])"), [(940_001, 1_060_001)]);
        assert_eq!(read("up @ 100"), [(-199_999, 100_001)]);
        assert_eq!(read("max_over_time(up[1m:10s])"), [(650_001, 1_060_001)]);
        assert_eq!(read("up - rate(up[10m])"), [(400_001, 1_060_001), (700_001, 1_060_001)]);
        assert_eq!(read("timestamp(up) - rate(up[10m])"), [(400_001, 1_060_001)]);
        assert_eq!(read("up - up offset 1h"), [(-2_899_999, -2_539_999), (700_001, 1_060_001)]);
        assert_eq!(read("1 + time()"), []);
    }

    #[test]
    fn nothing_is_asked_for_that_an_aggregation_does_not_look_at() {
        let wanted = |text: &str| {
            let expr = crate::parse(text, crate::ParseOptions::ALL).unwrap();
            let params = EvalParams::range(1_000_000, 1_060_000, 15_000);
            let found = reads(Query { text, expr: &expr }, &params).unwrap();
            let [read] = &found[..] else { panic!("{found:?}") };
            read.wanted.clone()
        };
        let steps = Some(Steps {
            first_ms: 1_000_000,
            step_ms: 15_000,
            last_ms: 1_060_000,
            back_ms: 300_000,
        });
        let counted = |labels: Option<&[&str]>| Wanted {
            steps,
            presence: true,
            labels: labels.map(|names| names.iter().map(|name| Text::from(*name)).collect()),
        };
        assert_eq!(wanted("count(up)"), counted(Some(&[])));
        assert_eq!(wanted("group by (b, a, b) ((up))"), counted(Some(&["a", "b"])));
        assert_eq!(wanted("count without (a) (up)"), counted(None));
        assert_eq!(wanted("count(up) + count(up)"), counted(Some(&[])));
        assert_eq!(wanted("max by (a) (up)"), Wanted { steps, ..Wanted::ALL });
        assert_eq!(wanted("count(up) / max(up)"), Wanted { steps, ..Wanted::ALL });
        for text in ["up", "sum(up)", "count(-up)", "count(up smoothed)", "count(up) + up"] {
            assert_eq!(wanted(text), Wanted::ALL, "{text}");
        }
        assert_eq!(wanted("count(up) + rate(up[5m])"), Wanted::ALL);
    }

    #[test]
    fn selections_that_touch_are_asked_for_once() {
        let found = vec![need("a", 0, 10), need("b", 0, 10), need("a", 21, 30), need("a", 11, 20)];
        let whole = |need: Need| Need { in_shards: false, ..need };
        let all_whole = found.iter().cloned().map(whole).collect();
        assert_eq!(united(all_whole), [whole(need("a", 0, 30)), whole(need("b", 0, 10))]);
        let apart = [need("a", 0, 10), need("a", 11, 20), need("a", 21, 30), need("b", 0, 10)];
        assert_eq!(united(found), apart, "in shards");
        let one_whole = vec![need("a", 0, 10), whole(need("a", 5, 15)), need("a", 40, 50)];
        assert_eq!(united(one_whole), [whole(need("a", 0, 15)), need("a", 40, 50)]);
        assert_eq!(united(vec![need("a", 0, 10), need("a", 0, 10)]), [need("a", 0, 10)]);
    }
}
