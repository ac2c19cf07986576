//! Puts together what several places answered: each series, and each metric's metadata, is in one of them.
//!
//! Not here: whom to ask (`member/serve.rs`, `fleet.rs`).

use model::exemplar::SeriesExemplars;
use model::mutation::{WriteAnswer, Written};
use model::read::{Activity, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, SelectBounds};
use model::{Kind, SeriesColumns, Tombstone};
use std::collections::{BTreeMap, HashSet};
use store::Error;
use tokio::task::JoinSet;
use wire::replica::{Answer, ReplicaError};
use xxhash_rust::xxh3::xxh3_64;

/// Waits for all answers, which come at once, and gives them in the order of the asks.
pub(super) async fn all<T: Send + 'static>(
    mut asked: Vec<Answer<T>>,
) -> Result<Vec<T>, ReplicaError> {
    if asked.len() <= 1 {
        return match asked.pop() {
            Some(one) => Ok(vec![one.await?]),
            None => Ok(Vec::new()),
        };
    }
    let mut tasks = JoinSet::new();
    for (number, one) in asked.into_iter().enumerate() {
        tasks.spawn(async move { (number, one.await) });
    }
    let mut answers = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (number, answer) = done.map_err(|error| ReplicaError {
            replica: String::new(),
            kind: Kind::Internal,
            message: format!("an answer was lost: {error}"),
        })?;
        answers.insert(number, answer?);
    }
    Ok(answers.into_values().collect())
}

/// One number for what all say of a range: it changes when one of them does, or who they are.
pub(super) fn versions(answers: &[Vec<u64>], ranges: usize) -> Vec<u64> {
    let of_range = |range: usize| {
        let each = answers.iter().map(|versions| versions.get(range).copied().unwrap_or(0));
        let each: Vec<u64> = each.collect();
        let bytes: Vec<u8> = each.iter().flat_map(|version| version.to_le_bytes()).collect();
        if each.contains(&0) { 0 } else { xxh3_64(&bytes).max(1) }
    };
    (0..ranges).map(of_range).collect()
}

/// What all have together.
pub(super) fn activity(answers: &[Activity]) -> Activity {
    answers.iter().fold(Activity::default(), |sum, one| Activity {
        series: sum.series.saturating_add(one.series),
        samples: sum.samples.saturating_add(one.samples),
    })
}

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
    let mut seen = HashSet::new();
    let all = answers.into_iter().flatten();
    all.filter(|tombstone| seen.insert(tombstone.clone())).collect()
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
