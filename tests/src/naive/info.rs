//! `info`: labels of info metrics join the series they are about.

use super::eval::{Naive, bare};
use super::labels::labels_text;
use super::value::{Failure, Matrix, Sample, Vector, at, fail, same_labels};
use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};
use promql::ast::{At, Call, Expr};

/// The labels that say what an info metric is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// An info series at a step: its labels and when its sample was taken.
type Info = (LabelSet, i64);

impl Naive<'_> {
    pub(super) fn info(&mut self, node: &Call, steps: &[i64]) -> Result<Matrix, Failure> {
        let base = bare(&node.args[0]);
        let (held_at, offset_ms) = self.first_selector(base)?.unwrap_or((None, 0));
        let matrix = self.vector(base, steps)?;
        let wanted: &[Matcher] = match node.args.get(1).map(bare) {
            Some(Expr::Vector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (of_name, of_data): (Vec<_>, Vec<_>) =
            wanted.iter().cloned().partition(|matcher| &*matcher.name == METRIC_NAME);
        let of_name = effective(of_name);
        let is_info = |labels: &LabelSet| matches(&of_name, labels);
        let mut needed = of_data.clone();
        needed.extend(of_name.iter().cloned());
        let mut found = Vec::new();
        for name in IDENTIFYING {
            let mut values: Vec<&str> = Vec::new();
            let plain = matrix.iter().filter(|series| !is_info(&series.labels));
            plain.for_each(|series| values.push(series.labels.value(name)));
            values.retain(|value| !value.is_empty());
            if !values.is_empty() {
                found.push((name, values));
            }
        }
        let mut infos = Vec::new();
        if !found.is_empty() {
            infos = self.data.select(&needed);
            infos.retain(|info| {
                found.iter().all(|(name, values)| values.contains(&info.labels.value(name)))
            });
        }
        let mut vectors = Vec::new();
        for time in steps {
            let moment = self.moment(held_at, offset_ms, *time);
            let seen = infos
                .iter()
                .filter_map(|stored| Some((stored.labels.clone(), self.latest(stored, moment)?.0)));
            let infos = newest(seen.collect())?;
            let mut vector = Vector::new();
            for sample in at(&matrix, *time) {
                if is_info(&sample.labels) {
                    vector.push(sample);
                } else {
                    vector.extend(joined(sample, &infos, &of_data)?);
                }
            }
            let mut labels: Vec<_> = vector.iter().map(|sample| &sample.labels).collect();
            labels.sort();
            if labels.windows(2).any(|two| two[0] == two[1]) {
                return same_labels();
            }
            vectors.push((*time, vector));
        }
        self.collect(vectors)
    }

    /// `@` and offset of the first selector; subqueries around it shift it until one is held.
    fn first_selector(&self, expr: &Expr) -> Result<Option<(Option<At>, i64)>, Failure> {
        let mut children: Vec<&Expr> = Vec::new();
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(node) => {
                return Ok(Some((node.at, self.duration(&node.offset, false)?)));
            }
            Expr::Matrix(node) => {
                return Ok(Some((node.vector.at, self.duration(&node.vector.offset, false)?)));
            }
            Expr::Subquery(node) => {
                return Ok(match self.first_selector(&node.expr)? {
                    Some((None, inner_ms)) => {
                        Some((node.at, inner_ms + self.duration(&node.offset, false)?))
                    }
                    found => found,
                });
            }
            Expr::Unary(node) => children.push(&node.expr),
            Expr::Paren(node) => children.push(&node.expr),
            Expr::Call(node) => children.extend(&node.args),
            Expr::Aggregation(node) => {
                children.push(&node.expr);
                children.extend(node.param.as_deref());
            }
            Expr::Binary(node) => {
                children.push(&node.first);
                children.extend(node.links.iter().map(|link| &link.rhs));
            }
        }
        for child in children {
            let found = self.first_selector(child)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// What the name of an info metric has to match.
fn effective(of_name: Vec<Matcher>) -> Vec<Matcher> {
    if of_name.is_empty() {
        return vec![Matcher::equal(METRIC_NAME, "target_info")];
    }
    if of_name.iter().any(|matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)) {
        return of_name;
    }
    let mut all = vec![Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info")];
    all.extend(of_name);
    all
}

fn matches(matchers: &[Matcher], labels: &LabelSet) -> bool {
    matchers
        .iter()
        .all(|matcher| matcher.compile().is_ok_and(|compiled| compiled.matches_labels(labels)))
}

/// Name and identifying labels.
fn identity(labels: &LabelSet, name: &str) -> LabelSet {
    let mut identity = labels.clone();
    identity.retain(|label| IDENTIFYING.contains(&label));
    identity.set(METRIC_NAME, name);
    identity
}

/// The newest info series of each name and identity.
fn newest(infos: Vec<Info>) -> Result<Vec<Info>, Failure> {
    let mut newest: Vec<Info> = Vec::new();
    for (labels, time) in infos {
        let own = identity(&labels, labels.metric_name());
        let twin = newest.iter_mut().find(|(have, _)| identity(have, have.metric_name()) == own);
        match twin {
            None => newest.push((labels, time)),
            Some((_, have)) if *have > time => {}
            Some(twin) if twin.1 < time => *twin = (labels, time),
            Some((have, at)) => {
                let [have, labels] = [&*have, &labels].map(labels_text);
                return fail(format!(
                    "found duplicate series for info metric: existing {have} @ {at}, new {labels} \
                     @ {time}"
                ));
            }
        }
    }
    Ok(newest)
}

/// The sample with the labels of its info series; nothing if it had to have one.
fn joined(
    mut sample: Sample,
    infos: &[Info],
    of_data: &[Matcher],
) -> Result<Option<Sample>, Failure> {
    let mut more = LabelSet::default();
    let mut is_any = false;
    for (info, _) in infos {
        let name = info.metric_name();
        if identity(&sample.labels, name) != identity(info, name) {
            continue;
        }
        is_any = true;
        for (label, value) in info.iter().filter(|(label, _)| &***label != METRIC_NAME) {
            if !of_data.is_empty() && !of_data.iter().any(|matcher| matcher.name == *label) {
                continue;
            }
            if more.get(label).is_some_and(|have| have != value) {
                return fail(format!("conflicting label: {label}"));
            }
            if sample.labels.get(label).is_none() {
                more.set(label.clone(), value.clone());
            }
        }
    }
    let matches_none =
        |matcher: &Matcher| matcher.compile().is_ok_and(|compiled| compiled.matches(""));
    if !is_any && !of_data.iter().all(matches_none) {
        return Ok(None);
    }
    for (label, value) in more.iter() {
        sample.labels.set(label.clone(), value.clone());
    }
    Ok(Some(sample))
}
