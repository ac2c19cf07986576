//! Aggregations.

use super::eval::{Naive, bare};
use super::histogram_rate::Mean;
use super::numbers::{Kahan, decimal, mean, percent_g, quantile};
use super::quote::quoted;
use super::value::{Failure, Matrix, Sample, Series, Val, Vector, at, fail};
use model::histogram::ResetHint;
use model::{LabelSet, METRIC_NAME};
use promql::ast::{AggregateOp, Aggregation, Expr};
use std::cmp::Ordering;
use xxhash_rust::xxh64::xxh64;

/// The samples of a step that are aggregated together.
type Groups = Vec<(LabelSet, Vector)>;

impl Naive<'_> {
    pub(super) fn aggregation(
        &mut self,
        node: &Aggregation,
        steps: &[i64],
    ) -> Result<Matrix, Failure> {
        if node.op == AggregateOp::CountValues {
            return self.count_values(node, steps);
        }
        let params = match &node.param {
            Some(param) => self.scalar(param, steps)?,
            None => vec![0.0; steps.len()],
        };
        let matrix = self.vector(bare(&node.expr), steps)?;
        match node.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => self.picked(node, &params, &matrix, steps),
            _ => Ok(self.folded(node, &params, &matrix, steps)),
        }
    }

    fn folded(
        &mut self,
        node: &Aggregation,
        params: &[f64],
        matrix: &Matrix,
        steps: &[i64],
    ) -> Matrix {
        if node.op == AggregateOp::Quantile {
            self.check_quantiles(node, params);
        }
        // In the order of the first series of each group, whenever that is there; of those that only
        // count series, by their labels.
        let of_series = |series: &Series| grouped(&series.labels, node, |_| false);
        let mut out = Matrix::new();
        for labels in matrix.iter().map(of_series) {
            if !out.iter().any(|series| series.labels == labels) {
                out.push(Series { labels, drop_name: false, points: [].into() });
            }
        }
        if matches!(node.op, AggregateOp::Count | AggregateOp::Group) {
            out.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        for (index, time) in steps.iter().enumerate() {
            for (labels, members) in groups(at(matrix, *time), node) {
                let Some(value) = self.fold(node, params[index], &members) else { continue };
                let drop_name = members.iter().any(|sample| sample.drop_name);
                for series in out.iter_mut().filter(|series| series.labels == labels) {
                    series.drop_name = drop_name;
                    series.points.insert(*time, value.clone());
                }
            }
        }
        out.retain(|series| !series.points.is_empty());
        out
    }

    fn fold(&mut self, node: &Aggregation, param: f64, members: &Vector) -> Option<Val> {
        let op = node.op;
        match op {
            AggregateOp::Count => return Some(Val::Float(members.len() as f64)),
            AggregateOp::Group => return Some(Val::Float(1.0)),
            AggregateOp::Sum | AggregateOp::Avg => return self.total(node, members),
            _ => {}
        }
        let values: Vec<f64> = members.iter().filter_map(|sample| sample.value.float()).collect();
        if values.len() < members.len() {
            let text = format!("ignored histogram in {} aggregation", op.as_str());
            self.notes.inform(text, bare(&node.expr).span());
        }
        if values.is_empty() {
            return None;
        }
        Some(Val::Float(fold(op, param, values)))
    }

    /// `sum` and `avg`, of floats or of histograms.
    fn total(&mut self, node: &Aggregation, members: &Vector) -> Option<Val> {
        let span = bare(&node.expr).span();
        let mut floats = Vec::new();
        let mut hists = Vec::new();
        let is_first_float = members.first()?.value.float().is_some();
        let mut total: Option<Mean> = None;
        let mut is_incompatible = false;
        for sample in members.iter() {
            let of = match &sample.value {
                Val::Float(value) => {
                    floats.push(*value);
                    continue;
                }
                Val::Histogram(of) => of,
            };
            hists.push(of.hint);
            if is_first_float {
                continue;
            }
            let Some(total) = &mut total else {
                total = Some(Mean::new(of));
                continue;
            };
            match total.add(of, node.op == AggregateOp::Avg) {
                Ok(added) if added.is_reconciled => self
                    .notes
                    .inform("mismatched custom buckets were reconciled during aggregation", span),
                Ok(_) => {}
                Err(_) => {
                    let metric = sample.labels.metric_name();
                    self.notes.warn(super::histogram_rate::mixed_buckets(metric), span);
                    is_incompatible = true;
                    break;
                }
            }
        }
        if !floats.is_empty() && !hists.is_empty() {
            let text = "encountered a mix of histograms and floats for aggregation";
            self.notes.warn(text, span);
            return None;
        }
        if is_incompatible {
            return None;
        }
        if hists.contains(&ResetHint::Yes) && hists.contains(&ResetHint::No) {
            self.notes.warn("conflicting counter resets during histogram aggregation", span);
        }
        Some(match total {
            None => Val::Float(fold(node.op, 0.0, floats)),
            Some(total) if node.op == AggregateOp::Avg => Val::histogram(total.mean().compact()),
            Some(total) => Val::histogram(total.sum().compact()),
        })
    }

    fn check_quantiles(&mut self, node: &Aggregation, params: &[f64]) {
        let (least, greatest) = bounds(node, params);
        let span = param_span(node);
        let mut warn = |q: f64| {
            let text = format!("quantile value should be between 0 and 1, got {}", percent_g(q));
            self.notes.warn(text, span);
        };
        if params.iter().any(|q| q.is_nan()) {
            warn(f64::NAN);
        }
        if greatest > 1.0 {
            warn(greatest);
        }
        if least < 0.0 {
            warn(least);
        }
    }

    fn picked(
        &mut self,
        node: &Aggregation,
        params: &[f64],
        matrix: &Matrix,
        steps: &[i64],
    ) -> Result<Matrix, Failure> {
        let is_ratio = node.op == AggregateOp::LimitRatio;
        let is_any =
            if is_ratio { self.check_ratios(node, params)? } else { check_counts(node, params)? };
        if !is_any {
            return Ok(Matrix::new());
        }
        let mut vectors = Vec::new();
        for (index, time) in steps.iter().enumerate() {
            let groups = groups(at(matrix, *time), node).into_iter();
            let mut picked = Vector::new();
            for (_, mut members) in groups {
                let is_ranked = matches!(node.op, AggregateOp::Topk | AggregateOp::Bottomk);
                if is_ranked && params[index] >= 1.0 {
                    if members.iter().any(|sample| sample.value.float().is_none()) {
                        let text = format!("ignored histogram in {} aggregation", node.op.as_str());
                        self.notes.inform(text, node.span);
                    }
                    members.retain(|sample| sample.value.float().is_some());
                }
                if !is_ratio && self.params.step_ms != 0 {
                    // Over a range, of equal ones those whose labels come first are picked.
                    members.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                picked.extend(pick(node.op, params[index], members));
            }
            vectors.push((*time, picked));
        }
        self.collect(vectors)
    }

    /// Whether any ratio is not 0.
    fn check_ratios(&mut self, node: &Aggregation, ratios: &[f64]) -> Result<bool, Failure> {
        let (least, greatest) = bounds(node, ratios);
        if least == 0.0 && greatest == 0.0 {
            return Ok(false);
        }
        if ratios.iter().any(|ratio| ratio.is_nan()) {
            return fail("Ratio value is NaN");
        }
        for (ratio, used) in [(greatest, 1.0), (least, -1.0)] {
            if (used > 0.0 && ratio > used) || (used < 0.0 && ratio < used) {
                let (ratio, used) = (percent_g(ratio), percent_g(used));
                let text = format!(
                    "ratio value should be between -1 and 1, got {ratio}, capping to {used}"
                );
                self.notes.warn(text, param_span(node));
            }
        }
        Ok(true)
    }

    fn count_values(&mut self, node: &Aggregation, steps: &[i64]) -> Result<Matrix, Failure> {
        let Some(Expr::String(label)) = node.param.as_deref().map(bare) else {
            return fail("count_values has a text");
        };
        let Ok(name) = std::str::from_utf8(&label.bytes) else {
            return fail(format!("invalid label name {}", quoted(&label.bytes)));
        };
        if name.is_empty() {
            return fail("invalid label name \"\"");
        }
        let matrix = self.vector(bare(&node.expr), steps)?;
        let mut vectors = Vec::new();
        for time in steps {
            let mut counts: Vec<(LabelSet, f64)> = Vec::new();
            for mut sample in at(&matrix, *time) {
                let text = match &sample.value {
                    Val::Float(value) => decimal(*value),
                    Val::Histogram(of) => super::histogram::text(of),
                };
                sample.labels.set(name, text);
                let is_value = |other: &str| other == name && !node.without;
                let labels = grouped(&sample.labels, node, is_value);
                match counts.iter_mut().find(|(have, _)| *have == labels) {
                    Some((_, count)) => *count += 1.0,
                    None => counts.push((labels, 1.0)),
                }
            }
            let counts = counts.into_iter();
            let samples = counts.map(|(labels, count)| {
                let value = Val::Float(count);
                Sample { labels, drop_name: false, value }
            });
            vectors.push((*time, samples.collect()));
        }
        self.collect(vectors)
    }
}

/// The labels of the group that a series belongs to.
fn grouped(labels: &LabelSet, node: &Aggregation, is_kept: impl Fn(&str) -> bool) -> LabelSet {
    let is_listed = |name: &str| node.grouping.iter().any(|label| &**label == name);
    let mut group = labels.clone();
    group.retain(|name| match node.without {
        true => !is_listed(name) && name != METRIC_NAME,
        false => is_listed(name) || is_kept(name),
    });
    group
}

fn groups(vector: Vector, node: &Aggregation) -> Groups {
    let mut groups = Groups::new();
    for sample in vector {
        let labels = grouped(&sample.labels, node, |_| false);
        match groups.iter_mut().find(|(have, _)| *have == labels) {
            Some((_, members)) => members.push(sample),
            None => groups.push((labels, vec![sample])),
        }
    }
    groups
}

/// The place of the parameter.
fn param_span(node: &Aggregation) -> promql::Span {
    node.param.as_deref().map_or(node.span, |param| bare(param).span())
}

/// The least and the greatest parameter. Those of a literal may be infinite, those that were worked
/// out begin with the greatest and the least number there is.
fn bounds(node: &Aggregation, params: &[f64]) -> (f64, f64) {
    if matches!(node.param.as_deref().map(bare), Some(Expr::Number(_))) {
        return (params[0], params[0]);
    }
    let least = params.iter().fold(f64::MAX, |a, b| super::numbers::go_min(a, *b));
    let greatest = params.iter().fold(f64::MIN, |a, b| super::numbers::go_max(a, *b));
    (least, greatest)
}

fn fold(op: AggregateOp, param: f64, values: Vec<f64>) -> f64 {
    let first = values[0];
    match op {
        AggregateOp::Sum => {
            let mut sum = Kahan::new(first);
            values[1..].iter().for_each(|value| sum.add(*value));
            sum.total()
        }
        AggregateOp::Avg => mean(&values),
        AggregateOp::Min => {
            values.iter().fold(first, |a, b| if a > *b || a.is_nan() { *b } else { a })
        }
        AggregateOp::Max => {
            values.iter().fold(first, |a, b| if a < *b || a.is_nan() { *b } else { a })
        }
        AggregateOp::Stdvar => variance(&values),
        AggregateOp::Stddev => variance(&values).sqrt(),
        _ => quantile(param, values),
    }
}

/// Welford's way.
fn variance(values: &[f64]) -> f64 {
    let mut mean = values[0];
    let mut sum = if mean.is_finite() { 0.0 } else { f64::NAN };
    for (index, value) in values.iter().enumerate().skip(1) {
        let delta = value - mean;
        mean += delta / (index + 1) as f64;
        sum += delta * (value - mean);
    }
    sum / values.len() as f64
}

/// Whether any count is at least one.
fn check_counts(node: &Aggregation, counts: &[f64]) -> Result<bool, Failure> {
    let (least, greatest) = bounds(node, counts);
    if greatest < 1.0 {
        return Ok(false);
    }
    if counts.iter().any(|count| count.is_nan()) {
        return fail("Parameter value is NaN");
    }
    if least <= -9_223_372_036_854_775_808.0 {
        return fail(format!("Scalar value {} underflows int64", percent_g(least)));
    }
    if greatest >= 9_223_372_036_854_775_807.0 {
        return fail(format!("Scalar value {} overflows int64", percent_g(greatest)));
    }
    Ok(true)
}

fn pick(op: AggregateOp, param: f64, mut members: Vector) -> Vector {
    if op == AggregateOp::LimitRatio {
        let ratio = param.clamp(-1.0, 1.0);
        members.retain(|sample| {
            let place = hash(&sample.labels) as f64 / u64::MAX as f64;
            if ratio < 0.0 { place >= 1.0 + ratio } else { place < ratio }
        });
        return members;
    }
    // The better value first, NaN last; of equal ones the one that came first.
    let value = |sample: &Sample| sample.value.float().unwrap_or(f64::NAN);
    if op != AggregateOp::Limitk {
        members.sort_by(|a, b| match (value(a), value(b)) {
            (a, b) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
            (a, b) => {
                let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                if op == AggregateOp::Topk { order.reverse() } else { order }
            }
        });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    members.truncate(param as usize);
    members
}

/// The hash that upstream picks series by: names and values, each behind its length.
fn hash(labels: &LabelSet) -> u64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(len) if len < 255 => bytes.push(len),
            _ => {
                bytes.push(255);
                bytes.extend(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes()[..3]);
            }
        }
        bytes.extend(text.as_bytes());
    }
    xxh64(&bytes, 0)
}
