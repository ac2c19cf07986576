//! `info`: series take on labels of info series that share their job and instance.
//!
//! Of info series with the same identity the one with the newest sample counts. Which that is may
//! change from step to step, and with it the labels of the result.

use super::Args;
use crate::ast::{Call, Expr};
use crate::eval::{EvalError, Series, info_times, merge};
use crate::math::convert::to_i64;
use crate::print::labels_text;
use model::matcher::CompiledMatcher;
use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};
use std::collections::{BTreeMap, HashMap, HashSet};

const IDENTITY: [&str; 2] = ["instance", "job"];

/// Which labels are wanted: the matchers of the second argument.
fn wanted(node: &Call) -> &[Matcher] {
    match node.args.get(1).map(crate::eval::bare) {
        Some(Expr::Vector(selector)) => &selector.matchers,
        _ => &[],
    }
}

/// The names of info metrics: as asked for; if only told which not, all that end in `_info`.
fn name_matchers(node: &Call) -> Vec<Matcher> {
    let asked = wanted(node).iter().filter(|matcher| &*matcher.name == METRIC_NAME);
    let mut matchers: Vec<Matcher> = asked.cloned().collect();
    let is_positive = |matcher: &Matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
    if matchers.is_empty() {
        matchers.push(Matcher::equal(METRIC_NAME, "target_info"));
    } else if !matchers.iter().any(is_positive) {
        matchers.insert(0, Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info"));
    }
    matchers
}

/// What selects the info series.
pub(crate) fn matchers(node: &Call) -> Vec<Matcher> {
    let data = wanted(node).iter().filter(|matcher| &*matcher.name != METRIC_NAME);
    data.cloned().chain(name_matchers(node)).collect()
}

/// Evaluates the call.
pub(super) fn info(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let base = args.vector(0)?;
    let names = compile(&name_matchers(args.node))?;
    let is_info = |labels: &LabelSet| {
        let name = labels.metric_name();
        names.iter().all(|matcher| matcher.matches(name))
    };
    let meant = Identities::of(base.iter().map(|of| &of.labels).filter(|of| !is_info(of)));
    let infos = info_times(args.ctx, args.node, args.grid, |labels| meant.have(labels))?;
    let data: Vec<Matcher> =
        wanted(args.node).iter().filter(|matcher| &*matcher.name != METRIC_NAME).cloned().collect();
    let join = Join {
        needs_partner: compile(&data)?.iter().any(|matcher| !matcher.matches("")),
        infos: &infos,
        by_identity: by_identity(&infos),
        data: &data,
    };
    let mut result = Vec::new();
    let mut is_there = vec![false; args.grid.len];
    for series in base {
        args.ctx.budget.tick(args.grid.len)?;
        for (step, there) in is_there.iter_mut().enumerate() {
            *there |= series.has(step);
        }
        if is_info(&series.labels) {
            result.push(series);
        } else {
            join.enrich(args, &series, &mut result)?;
        }
    }
    join.check_ambiguity(&is_there)?;
    if args.grid.is_instant && args.ctx.params.delayed_name_removal {
        return Ok(result);
    }
    merge::same_labels(result)
}

fn compile(matchers: &[Matcher]) -> Result<Vec<CompiledMatcher>, EvalError> {
    let compiled: Result<_, _> = matchers.iter().map(Matcher::compile).collect();
    compiled.map_err(|error| EvalError::Invalid(error.to_string()))
}

/// The values that the identifying labels have in the series to enrich: each label for itself, so an
/// info series may be meant that no series shares all of them with.
struct Identities {
    /// Of the labels that any of them has.
    values: Vec<(&'static str, HashSet<String>)>,
}

impl Identities {
    fn of<'a>(base: impl Iterator<Item = &'a LabelSet>) -> Self {
        let mut values = IDENTITY.map(|name| (name, HashSet::new()));
        for labels in base {
            for (name, values) in &mut values {
                let value = labels.value(name);
                if !value.is_empty() && !values.contains(value) {
                    values.insert(value.to_string());
                }
            }
        }
        Self { values: values.into_iter().filter(|(_, values)| !values.is_empty()).collect() }
    }

    /// Whether an info series is meant. None is if nothing identifies a series.
    fn have(&self, info: &LabelSet) -> bool {
        let has = |(name, values): &(&str, HashSet<String>)| values.contains(info.value(name));
        !self.values.is_empty() && self.values.iter().all(has)
    }
}

/// Info series by their identity, then by their metric's name.
type ByIdentity = HashMap<LabelSet, BTreeMap<String, Vec<usize>>>;

fn by_identity(infos: &[Series]) -> ByIdentity {
    let mut found = ByIdentity::new();
    for (index, series) in infos.iter().enumerate() {
        let names = found.entry(identity(&series.labels)).or_default();
        names.entry(series.labels.metric_name().to_string()).or_default().push(index);
    }
    found
}

fn identity(labels: &LabelSet) -> LabelSet {
    let mut labels = labels.clone();
    labels.retain(|name| IDENTITY.contains(&name));
    labels
}

struct Join<'a> {
    infos: &'a [Series],
    by_identity: ByIdentity,
    /// Only these labels are taken over, if there are any.
    data: &'a [Matcher],
    /// Whether a series without info series is left out.
    needs_partner: bool,
}

impl Join<'_> {
    /// Adds the series to the result, cut where its info series change.
    fn enrich(
        &self,
        args: &Args<'_>,
        series: &Series,
        result: &mut Vec<Series>,
    ) -> Result<(), EvalError> {
        let empty = BTreeMap::new();
        let names = self.by_identity.get(&identity(&series.labels)).unwrap_or(&empty);
        let mut places: HashMap<Vec<usize>, usize> = HashMap::new();
        for step in 0..series.values.len() {
            if !series.has(step) {
                continue;
            }
            let partners: Vec<usize> =
                names.values().filter_map(|infos| self.newest(infos, step)).collect();
            if partners.is_empty() && self.needs_partner {
                continue;
            }
            let place = match places.get(&partners) {
                Some(place) => *place,
                None => {
                    let labels = self.labels(&series.labels, &partners)?;
                    args.ctx.budget.take_column(args.grid.len)?;
                    result.push(Series { labels, ..series.emptied() });
                    places.insert(partners, result.len() - 1);
                    result.len() - 1
                }
            };
            result[place].copy_step(step, series);
        }
        Ok(())
    }

    /// The info series whose sample is the newest at a step.
    fn newest(&self, infos: &[usize], step: usize) -> Option<usize> {
        let there = infos.iter().copied().filter(|index| self.infos[*index].has(step));
        there.max_by(|a, b| self.infos[*a].values[step].total_cmp(&self.infos[*b].values[step]))
    }

    /// The series' labels with those of its info series that it does not have itself.
    fn labels(&self, base: &LabelSet, partners: &[usize]) -> Result<LabelSet, EvalError> {
        let mut added = LabelSet::default();
        for index in partners {
            for (name, value) in self.infos[*index].labels.iter() {
                let is_wanted =
                    self.data.is_empty() || self.data.iter().any(|matcher| matcher.name == *name);
                if &**name == METRIC_NAME || !is_wanted {
                    continue;
                }
                let have = added.value(name);
                if !have.is_empty() && have != &**value {
                    let text = format!("conflicting label: {name}");
                    return Err(EvalError::Unexecutable(text));
                }
                if base.get(name).is_none() {
                    added.set(name.clone(), value.clone());
                }
            }
        }
        let mut labels = base.clone();
        added.iter().for_each(|(name, value)| labels.set(name.clone(), value.clone()));
        Ok(labels)
    }

    /// Two info series of one identity and name, both with a newest sample of the same time, are
    /// an error at each step where there is something to enrich.
    fn check_ambiguity(&self, is_there: &[bool]) -> Result<(), EvalError> {
        let groups = self.by_identity.values().flat_map(BTreeMap::values);
        for infos in groups.filter(|infos| infos.len() > 1) {
            for step in (0..is_there.len()).filter(|step| is_there[*step]) {
                let mut newest: Option<usize> = None;
                for index in infos.iter().copied().filter(|index| self.infos[*index].has(step)) {
                    let time = |of: usize| self.infos[of].values[step];
                    match newest {
                        Some(have) if time(have) == time(index) => {
                            return Err(self.ambiguous(have, index, step));
                        }
                        Some(have) if time(have) > time(index) => {}
                        _ => newest = Some(index),
                    }
                }
            }
        }
        Ok(())
    }

    fn ambiguous(&self, have: usize, new: usize, step: usize) -> EvalError {
        let name = |index: usize| {
            let series = &self.infos[index];
            format!("{} @ {}", labels_text(&series.labels), to_i64(series.values[step]))
        };
        EvalError::Unexecutable(format!(
            "found duplicate series for info metric: existing {}, new {}",
            name(have),
            name(new)
        ))
    }
}
