//! Puts together what several places answered: each series, and each metric's metadata, is in one of them.
//!
//! Not here: whom to ask (`member/serve.rs`, `fleet.rs`).

use model::exemplar::SeriesExemplars;
use model::mutation::{WriteAnswer, Written};
use model::read::{LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, SelectBounds};
use model::{SeriesColumns, Tombstone};
use std::collections::HashSet;
use std::hash::Hash;
use store::Error;

/// The series of all answers, ascending by labels.
pub(super) fn series(
    answers: Vec<Vec<SeriesColumns>>,
    bounds: SelectBounds,
) -> Result<Vec<SeriesColumns>, Error> {
    let SelectBounds { series_max, samples_max, .. } = bounds;
    let mut all = only_or_all(answers);
    if all.len() as u64 > series_max {
        return Err(Error::TooManySeries { series_max });
    }
    if all.iter().map(SeriesColumns::samples).sum::<u64>() > samples_max {
        return Err(Error::TooManySamples { samples_max });
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}

/// All answers to a question about labels, cut to its limit.
pub(super) fn labels(query: &LabelQuery, answers: Vec<LabelAnswer>) -> Result<LabelAnswer, Error> {
    let limit = match query.limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let (mut texts, mut series) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            LabelAnswer::Texts(some) => texts.extend(some),
            LabelAnswer::Series(some) => series.extend(some),
        }
    }
    match query.want {
        LabelWant::Names | LabelWant::Values(_) => Ok(LabelAnswer::Texts(first_of(texts, limit))),
        LabelWant::SeriesPart(_) if series.len() > limit => {
            Err(Error::TooManySeries { series_max: query.limit })
        }
        LabelWant::Series | LabelWant::SeriesPart(_) => {
            Ok(LabelAnswer::Series(first_of(series, limit)))
        }
    }
}

fn first_of<T: Ord>(mut all: Vec<T>, limit: usize) -> Vec<T> {
    all.sort();
    all.dedup();
    all.truncate(limit);
    all
}

/// The exemplars of all answers, ascending by labels.
pub(super) fn exemplars(
    answers: Vec<Vec<SeriesExemplars>>,
    exemplars_max: u64,
) -> Result<Vec<SeriesExemplars>, Error> {
    let mut all = only_or_all(answers);
    if all.iter().map(|series| series.exemplars.len() as u64).sum::<u64>() > exemplars_max {
        return Err(Error::TooManySamples { samples_max: exemplars_max });
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}

/// The metadata of all answers, ascending by metric.
pub(super) fn metadata(answers: Vec<MetadataAnswer>) -> MetadataAnswer {
    let mut all = only_or_all(answers);
    all.sort_by(|a, b| a.metric.cmp(&b.metric));
    all.dedup_by(|a, b| a.metric == b.metric);
    all
}

/// A delete is in every place that it may concern.
pub(super) fn tombstones(answers: Vec<Vec<Tombstone>>) -> Vec<Tombstone> {
    unique(answers.into_iter().flatten())
}

fn unique<T: Eq + Hash + Clone>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    all.filter(|one| seen.insert(one.clone())).collect()
}

fn only_or_all<T>(mut answers: Vec<Vec<T>>) -> Vec<T> {
    match answers.len() {
        1 => answers.pop().unwrap_or_default(),
        _ => answers.into_iter().flatten().collect(),
    }
}

/// The answer to a mutation that was cut: by each part the index in the whole of its series, what a number
/// that it gave is in the whole, if it is any, and its answer.
pub(super) fn written<'a>(
    generation: u64,
    parts: impl IntoIterator<Item = (&'a [u32], &'a dyn Fn(u32) -> Option<u32>, WriteAnswer)>,
) -> WriteAnswer {
    let mut whole = Written { generation, ..Written::default() };
    for (index, number, answer) in parts {
        let WriteAnswer::Written(part) = answer else { return WriteAnswer::NeedLabels };
        let at = |series: u32| index.get(series as usize).copied();
        let numbers = part.numbers.iter().filter_map(|(i, n)| Some((at(*i)?, number(*n)?)));
        whole.numbers.extend(numbers);
        whole.refused.extend(part.refused.into_iter().filter_map(|(i, why)| Some((at(i)?, why))));
    }
    whole.numbers.sort_unstable();
    whole.refused.sort_by_key(|(series, _)| *series);
    WriteAnswer::Written(whole)
}
