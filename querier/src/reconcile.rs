//! Reconcile: one answer out of what several replicas answered, by the join of DESIGN.md D4.
//!
//! # Invariants
//! - The order of the answers does not matter, and an answer joined with itself is itself.
//! - Sorted in, sorted out; each label set and each timestamp once.
//!
//! Not here: whether enough replicas answered (`coverage.rs`); repairing those that lack something.

use model::exemplar::{self, SeriesExemplars};
use model::mutation::{MetricMetadata, MetricType};
use model::read::{LabelAnswer, MetadataAnswer};
use model::sample::{join_histograms, join_order};
use model::{Column, HistogramColumn, SeriesColumns};
use std::cmp::Ordering;

/// Joins answers to a selection, each ascending by labels.
#[must_use]
pub fn join_series(answers: Vec<Vec<SeriesColumns>>) -> Vec<SeriesColumns> {
    let merge = |a, b| merge_by(a, b, |a: &SeriesColumns, b| a.labels.cmp(&b.labels), join_two);
    tournament(answers, merge)
}

/// Joins answers to a question about labels and cuts them to `limit`, 0 for no limit. Answers of
/// another kind than the first are a peer's fault and add nothing.
#[must_use]
pub fn join_labels(answers: Vec<LabelAnswer>, limit: u64) -> Option<LabelAnswer> {
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let joined = answers.into_iter().reduce(|a, b| match (a, b) {
        (LabelAnswer::Texts(a), LabelAnswer::Texts(b)) => {
            LabelAnswer::Texts(merge_by(a, b, Ord::cmp, |a, _| a))
        }
        (LabelAnswer::Series(a), LabelAnswer::Series(b)) => {
            LabelAnswer::Series(merge_by(a, b, Ord::cmp, |a, _| a))
        }
        (a, _) => a,
    })?;
    Some(match joined {
        LabelAnswer::Texts(mut texts) => {
            texts.truncate(limit);
            LabelAnswer::Texts(texts)
        }
        LabelAnswer::Series(mut series) => {
            series.truncate(limit);
            LabelAnswer::Series(series)
        }
    })
}

/// Joins answers about exemplars, each ascending by labels: the union, thinned as on replicas.
#[must_use]
pub fn join_exemplars(answers: Vec<Vec<SeriesExemplars>>) -> Vec<SeriesExemplars> {
    let order = |a: &SeriesExemplars, b: &SeriesExemplars| a.labels.cmp(&b.labels);
    let join = |mut a: SeriesExemplars, b: SeriesExemplars| {
        exemplar::join(&mut a.exemplars, b.exemplars);
        a
    };
    tournament(answers, |a, b| merge_by(a, b, order, join))
}

/// Joins answers about metadata. Where replicas differ a known type goes before an unknown one, then
/// the greater text: no clock decides, and every querier decides alike.
#[must_use]
pub fn join_metadata(answers: Vec<MetadataAnswer>) -> MetadataAnswer {
    let rank = |m: &MetricMetadata| (m.metric_type != MetricType::Unknown, m.metric_type);
    let greater = |a: MetricMetadata, b: MetricMetadata| {
        let order = rank(&a).cmp(&rank(&b));
        let order = order.then_with(|| a.help.cmp(&b.help)).then_with(|| a.unit.cmp(&b.unit));
        if order == Ordering::Less { b } else { a }
    };
    tournament(answers, |a, b| {
        merge_by(a, b, |a: &MetricMetadata, b| a.metric.cmp(&b.metric), greater)
    })
}

/// Merges in pairs, so that each item is moved about log2(answers) times.
fn tournament<T>(mut lists: Vec<Vec<T>>, merge: impl Fn(Vec<T>, Vec<T>) -> Vec<T>) -> Vec<T> {
    while lists.len() > 1 {
        let mut round = lists.into_iter();
        let mut next = Vec::new();
        while let Some(a) = round.next() {
            next.push(match round.next() {
                Some(b) => merge(a, b),
                None => a,
            });
        }
        lists = next;
    }
    lists.pop().unwrap_or_default()
}

/// Merges two ascending lists; `join` makes one of two equals.
fn merge_by<T>(
    a: Vec<T>,
    b: Vec<T>,
    order: impl Fn(&T, &T) -> Ordering,
    join: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        match order(left, right) {
            Ordering::Less => merged.extend(a.next()),
            Ordering::Greater => merged.extend(b.next()),
            Ordering::Equal => merged.extend(a.next().zip(b.next()).map(|(a, b)| join(a, b))),
        }
    }
    merged.extend(a);
    merged.extend(b);
    merged
}

/// Joins what two replicas hold of one series.
fn join_two(a: SeriesColumns, b: SeriesColumns) -> SeriesColumns {
    let mut joined = SeriesColumns {
        labels: a.labels,
        floats: join_columns(a.floats, b.floats),
        histograms: join_histogram_columns(a.histograms, b.histograms),
    };
    joined.settle();
    joined
}

/// Joins two columns of one series.
fn join_columns(a: Column, b: Column) -> Column {
    if same(&a, &b) {
        return a;
    }
    let mut joined = Column::default();
    let take = |side, at| match side {
        Side::Left => joined.push_sample(&a.sample(at)),
        Side::Right => joined.push_sample(&b.sample(at)),
    };
    let wins = |i, j| join_order(&a.sample(i), &b.sample(j)) != Ordering::Less;
    merge_times(&a.timestamps_ms, &b.timestamps_ms, wins, take);
    joined
}

/// Joins the histograms of one series.
fn join_histogram_columns(a: HistogramColumn, b: HistogramColumn) -> HistogramColumn {
    if b.is_empty() || a == b {
        return a;
    }
    let mut joined = HistogramColumn::default();
    let take = |side, at| match side {
        Side::Left => joined.push_sample(a.sample(at)),
        Side::Right => joined.push_sample(b.sample(at)),
    };
    let wins = |i, j| join_histograms(&a.sample(i), &b.sample(j)) != Ordering::Less;
    merge_times(&a.timestamps_ms, &b.timestamps_ms, wins, take);
    joined
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Hands the places of both, ascending in time, to `take`; of two at one time the left one if it
/// `wins`.
fn merge_times(
    a: &[i64],
    b: &[i64],
    wins: impl Fn(usize, usize) -> bool,
    mut take: impl FnMut(Side, usize),
) {
    let (mut i, mut j) = (0, 0);
    while let (Some(left), Some(right)) = (a.get(i), b.get(j)) {
        let order = left.cmp(right);
        let is_left = order == Ordering::Less || (order == Ordering::Equal && wins(i, j));
        if is_left {
            take(Side::Left, i)
        } else {
            take(Side::Right, j)
        }
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    (i..a.len()).for_each(|at| take(Side::Left, at));
    (j..b.len()).for_each(|at| take(Side::Right, at));
}

/// Whether two replicas hold the same, bit by bit: nearly always.
fn same(a: &Column, b: &Column) -> bool {
    let mut pairs = a.values.iter().zip(&b.values);
    a.timestamps_ms == b.timestamps_ms
        && a.start_timestamps_ms == b.start_timestamps_ms
        && a.revisions == b.revisions
        && pairs.all(|(a, b)| a.to_bits() == b.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sample::stale_marker;
    use model::{Histogram, HistogramSample, LabelSet, Sample, Text};
    use std::sync::Arc;

    fn series(name: &str, samples: &[(i64, f64)]) -> SeriesColumns {
        let labels = LabelSet::from_pairs([("__name__", name)]).unwrap();
        let mut floats = Column::default();
        samples.iter().for_each(|(at, value)| floats.push(*at, *value));
        SeriesColumns { labels, floats, ..SeriesColumns::default() }
    }

    fn text(answer: &[SeriesColumns]) -> Vec<String> {
        let bits =
            |s: &SeriesColumns| s.floats.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        answer
            .iter()
            .map(|s| format!("{} {:?} {:x?}", s.labels, s.floats.timestamps_ms, bits(s)))
            .collect()
    }

    #[test]
    fn what_one_replica_lacks_another_gives_in_any_order_of_answers() {
        let a = vec![series("a", &[(1, 1.0), (3, stale_marker())]), series("c", &[(1, 1.0)])];
        let b = vec![series("a", &[(1, 2.0), (2, f64::NAN)]), series("b", &[(5, 5.0)])];
        let c = vec![series("a", &[(3, 3.0)])];
        let want = vec![
            series("a", &[(1, 2.0), (2, f64::NAN), (3, 3.0)]),
            series("b", &[(5, 5.0)]),
            series("c", &[(1, 1.0)]),
        ];
        let all = [a, b, c];
        for [x, y, z] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let answers = vec![all[x].clone(), all[y].clone(), all[z].clone(), all[x].clone()];
            assert_eq!(text(&join_series(answers)), text(&want));
        }
    }

    #[test]
    fn exemplars_of_all_replicas_are_joined_each_once_in_any_order_of_answers() {
        let of = |name: &str, times: &[i64]| SeriesExemplars {
            labels: LabelSet::from_pairs([("__name__", name)]).unwrap(),
            exemplars: times
                .iter()
                .map(|timestamp_ms| model::Exemplar {
                    timestamp_ms: *timestamp_ms,
                    value: 0.5,
                    labels: LabelSet::default(),
                })
                .collect(),
        };
        let all = [
            vec![of("a", &[1, 3]), of("b", &[1])],
            vec![of("a", &[2, 3]), of("c", &[7])],
            vec![of("b", &[1])],
        ];
        let want = vec![of("a", &[1, 2, 3]), of("b", &[1]), of("c", &[7])];
        for [x, y, z] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let answers = [x, y, z, x].map(|at| all[at].clone());
            assert_eq!(join_exemplars(answers.to_vec()), want);
        }
    }

    #[test]
    fn kinds_revisions_and_starts_decide_between_replicas() {
        let of = |samples: &[(i64, f64, i64, u32)]| {
            let mut one = series("a", &[]);
            for (timestamp_ms, value, start_timestamp_ms, revision) in samples.iter().copied() {
                let sample = Sample { timestamp_ms, value, start_timestamp_ms, revision };
                one.floats.push_sample(&sample);
            }
            one
        };
        let with = |mut one: SeriesColumns, samples: &[(i64, f64)]| {
            for (timestamp_ms, sum) in samples.iter().copied() {
                let histogram = Arc::new(Histogram { sum, ..Histogram::stale() });
                let (start_timestamp_ms, revision) = (0, 0);
                one.histograms.push_sample(HistogramSample {
                    timestamp_ms,
                    histogram,
                    start_timestamp_ms,
                    revision,
                });
            }
            one
        };
        let a = with(of(&[(1, 9.0, 0, 0), (2, 1.0, 0, 0), (4, 1.0, 7, 0)]), &[(3, 1.0)]);
        let b = with(of(&[(1, 1.0, 0, 1), (3, 5.0, 0, 1), (4, 1.0, 9, 0)]), &[(2, 1.0), (5, 2.0)]);
        let want =
            with(of(&[(1, 1.0, 0, 1), (3, 5.0, 0, 1), (4, 1.0, 9, 0)]), &[(2, 1.0), (5, 2.0)]);
        for answers in [[&a, &b], [&b, &a]] {
            let joined = join_series(answers.map(|one| vec![one.clone()]).to_vec());
            assert_eq!(joined, vec![want.clone()]);
        }
    }

    #[test]
    fn labels_are_united_and_cut_after_the_union() {
        let texts =
            |list: &[&str]| LabelAnswer::Texts(list.iter().map(|t| Text::from(*t)).collect());
        let answers = vec![texts(&["a", "c"]), texts(&["b", "c", "d"])];
        assert_eq!(join_labels(answers.clone(), 0), Some(texts(&["a", "b", "c", "d"])));
        assert_eq!(join_labels(answers, 3), Some(texts(&["a", "b", "c"])));
        assert_eq!(join_labels(Vec::new(), 3), None);
    }

    #[test]
    fn metadata_with_a_known_type_goes_before_unknown_whoever_answers_first() {
        let of = |metric_type, help: &str| {
            vec![MetricMetadata {
                metric: "m".into(),
                metric_type,
                help: help.into(),
                unit: "".into(),
            }]
        };
        let (known, unknown) = (of(MetricType::Counter, "a"), of(MetricType::Unknown, "z"));
        assert_eq!(join_metadata(vec![known.clone(), unknown.clone()]), known);
        assert_eq!(join_metadata(vec![unknown, known.clone()]), known);
    }
}
