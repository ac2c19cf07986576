//! Binary operators.

use super::eval::{Naive, is_fixed, repeated};
use super::histogram::Hist;
use super::labels::labels_text;
use super::rank::trim;
use super::value::{Failure, Sample, Val, Value, Vector, at, drop_reserved, fail};
use model::histogram::ResetHint;
use model::{LabelSet, METRIC_NAME};
use promql::ast::{BinaryChain, BinaryOp, Cardinality, Link, Matching};
use std::sync::Arc;

impl Naive<'_> {
    /// The chain's first operand with the first `len` operators applied.
    pub(super) fn chain(
        &mut self,
        node: &BinaryChain,
        len: usize,
        steps: &[i64],
    ) -> Result<Value, Failure> {
        let links = &node.links[..len];
        let is_all_fixed = is_fixed(&node.first) && links.iter().all(|link| is_fixed(&link.rhs));
        if self.end_ms != steps[0] && is_all_fixed {
            let outside = std::mem::replace(&mut self.end_ms, steps[0]);
            let once = self.chain(node, len, &steps[..1]);
            self.end_ms = outside;
            return Ok(repeated(once?, steps));
        }
        let Some((link, _)) = links.split_last() else { return self.eval(&node.first, steps) };
        let (left, right) = if is_trim(link.op) {
            self.with_buckets(|naive| {
                (naive.chain(node, len - 1, steps), naive.eval(&link.rhs, steps))
            })
        } else {
            (self.chain(node, len - 1, steps), self.eval(&link.rhs, steps))
        };
        let (left, right) = (left?, right?);
        self.link(left, link, right, steps)
    }

    fn link(
        &mut self,
        left: Value,
        link: &Link,
        right: Value,
        steps: &[i64],
    ) -> Result<Value, Failure> {
        let mut vectors = Vec::new();
        match (&left, &right) {
            (Value::Scalar(_), Value::Scalar(_)) if is_trim(link.op) => {
                let op = link.op.as_str();
                return fail(format!("operator {op:?} not allowed for Scalar operations"));
            }
            (Value::Scalar(left), Value::Scalar(right)) => {
                let two = left.iter().zip(right);
                let values = two.map(|(a, b)| {
                    let (value, is_kept) = apply(link.op, *a, *b);
                    if link.op.is_comparison() { number(is_kept) } else { value }
                });
                return Ok(Value::Scalar(values.collect()));
            }
            (Value::Vector(left), Value::Scalar(right)) => {
                for (index, time) in steps.iter().enumerate() {
                    let vector = self.with_scalar(at(left, *time), right[index], link, false);
                    vectors.push((*time, vector));
                }
            }
            (Value::Scalar(left), Value::Vector(right)) => {
                for (index, time) in steps.iter().enumerate() {
                    let vector = self.with_scalar(at(right, *time), left[index], link, true);
                    vectors.push((*time, vector));
                }
            }
            (Value::Vector(left), Value::Vector(right)) => {
                let Some(matching) = &link.matching else { return fail("no matching") };
                for time in steps {
                    let (left, right) = (at(left, *time), at(right, *time));
                    let vector = match link.op {
                        op if op.is_set() => set(op, left, right, matching),
                        _ => self.with_vector(left, right, link, matching)?,
                    };
                    vectors.push((*time, vector));
                }
            }
            _ => return fail("a text has no operators"),
        }
        Ok(Value::Vector(self.collect(vectors)?))
    }

    fn with_scalar(
        &mut self,
        vector: Vector,
        scalar: f64,
        link: &Link,
        is_scalar_left: bool,
    ) -> Vector {
        let mut out = Vector::new();
        let mut last = None;
        for mut sample in vector {
            let scalar = Val::Float(scalar);
            let (a, b) =
                if is_scalar_left { (&scalar, &sample.value) } else { (&sample.value, &scalar) };
            let Element { mut value, is_kept, .. } = match element(link.op, a, b) {
                Ok(element) => element,
                Err(note) => {
                    last = Some(note);
                    continue;
                }
            };
            if link.op.is_comparison() {
                value = match link.return_bool {
                    true => Val::Float(number(is_kept)),
                    false => sample.value.clone(),
                };
            }
            if !is_kept && !link.return_bool {
                continue;
            }
            sample.value = value;
            if changes_metric(link.op) || link.return_bool {
                self.drop_name(&mut sample.labels);
                sample.drop_name = true;
            }
            out.push(sample);
        }
        self.tell(last, link);
        out
    }

    /// Of what went wrong at a step upstream tells the last thing only.
    fn tell(&mut self, note: Option<Note>, link: &Link) {
        let op = link.op.as_str();
        let what = if link.op == BinaryOp::Sub { "subtraction" } else { "addition" };
        match note {
            None => {}
            Some(Note::Types(left, right)) => self.notes.inform(
                format!(
                    "incompatible sample types encountered for binary operator {op:?}: {left} {op} \
                     {right}"
                ),
                link.span,
            ),
            Some(Note::Layout) => self.notes.warn(
                format!("incompatible bucket layout encountered for binary operator {op}"),
                link.span,
            ),
            Some(Note::Collision) => self
                .notes
                .warn(format!("conflicting counter resets during histogram {what}"), link.span),
            Some(Note::Reconciled) => self.notes.inform(
                format!("mismatched custom buckets were reconciled during {what}"),
                link.span,
            ),
        }
    }

    fn with_vector(
        &mut self,
        left: Vector,
        right: Vector,
        link: &Link,
        matching: &Matching,
    ) -> Result<Vector, Failure> {
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if (left.is_empty() && right.is_empty())
            || ((left.is_empty() || right.is_empty()) && !has_fill)
        {
            return Ok(Vector::new());
        }
        // From here on there is a many side and a one side.
        let is_swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if is_swapped { (right, left) } else { (left, right) };
        self.check_one_side(&one, matching)?;
        let mut made = Made::default();
        for sample in &many {
            let key = key(&sample.labels, matching);
            match one.iter().find(|other| self::key(&other.labels, matching) == key) {
                Some(other) => {
                    self.pair((sample, other), link, (matching, is_swapped), &mut made)?
                }
                None => {
                    let Some(value) = matching.fill_right else { continue };
                    let other = filled(key, value);
                    self.pair((sample, &other), link, (matching, is_swapped), &mut made)?;
                }
            }
        }
        if let Some(value) = matching.fill_left {
            let mut matched: Vec<LabelSet> = made.seen.iter().map(|(key, _)| key.clone()).collect();
            for sample in &one {
                let key = key(&sample.labels, matching);
                if !matched.contains(&key) {
                    matched.push(key.clone());
                    let other = filled(key, value);
                    self.pair((&other, sample), link, (matching, is_swapped), &mut made)?;
                }
            }
        }
        self.tell(made.last, link);
        Ok(made.out)
    }

    /// No two series of the one side may have the same key.
    fn check_one_side(&self, one: &Vector, matching: &Matching) -> Result<(), Failure> {
        for (index, sample) in one.iter().enumerate() {
            let own = key(&sample.labels, matching);
            let before = one[..index].iter().rev();
            let mut twins = before.filter(|other| key(&other.labels, matching) == own);
            let Some(twin) = twins.next() else { continue };
            let side = match matching.cardinality {
                Cardinality::OneToMany => "left",
                _ => "right",
            };
            let own = labels_text(&own);
            let mut two = [labels_text(&sample.labels), labels_text(&twin.labels)];
            two.sort();
            return fail(format!(
                "found duplicate series for the match group {own} on the {side} hand-side of the \
                 operation: [{}, {}];many-to-many matching not allowed: matching labels must be \
                 unique on one side",
                two[0], two[1]
            ));
        }
        Ok(())
    }

    /// A series of the many side and one of the one side.
    fn pair(
        &self,
        (many, one): (&Sample, &Sample),
        link: &Link,
        (matching, is_swapped): (&Matching, bool),
        made: &mut Made,
    ) -> Result<(), Failure> {
        let (a, b) = if is_swapped { (one, many) } else { (many, one) };
        let Element { mut value, is_kept, note } = match element(link.op, &a.value, &b.value) {
            Ok(element) => element,
            Err(note) => {
                made.last = Some(note);
                return Ok(());
            }
        };
        made.last = note.or(made.last.take());
        if link.return_bool {
            value = Val::Float(number(is_kept));
        }
        let labels = self.result_labels(&many.labels, &one.labels, link, matching);
        let own = key(&many.labels, matching);
        if matching.cardinality == Cardinality::OneToOne {
            if made.seen.iter().any(|(key, _)| *key == own) {
                return fail(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                );
            }
        } else if made.seen.contains(&(own.clone(), labels.clone())) {
            return fail("multiple matches for labels: grouping labels must ensure unique matches");
        }
        made.seen.push((own, labels.clone()));
        if is_kept || link.return_bool {
            made.out.push(Sample { labels, drop_name: link.return_bool, value });
        }
        Ok(())
    }

    fn result_labels(
        &self,
        many: &LabelSet,
        one: &LabelSet,
        link: &Link,
        matching: &Matching,
    ) -> LabelSet {
        let mut labels = many.clone();
        if changes_metric(link.op) || (link.return_bool && !self.is_late()) {
            drop_reserved(&mut labels);
        }
        if matching.cardinality == Cardinality::OneToOne {
            let is_listed = |name: &str| matching.labels.iter().any(|label| &**label == name);
            labels.retain(|name| is_listed(name) == matching.on);
        }
        for name in &matching.include {
            labels.set(name.clone(), one.value(name));
        }
        labels
    }
}

fn filled(labels: LabelSet, value: f64) -> Sample {
    Sample { labels, drop_name: false, value: Val::Float(value) }
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// Whether the result is about something else than the operands.
fn changes_metric(op: BinaryOp) -> bool {
    !op.is_comparison() && !op.is_set() && !is_trim(op)
}

fn number(is_true: bool) -> f64 {
    if is_true { 1.0 } else { 0.0 }
}

/// The labels that two series must share to match.
fn key(labels: &LabelSet, matching: &Matching) -> LabelSet {
    let is_listed = |name: &str| matching.labels.iter().any(|label| &**label == name);
    let mut key = labels.clone();
    key.retain(|name| match matching.on {
        true => is_listed(name),
        false => !is_listed(name) && name != METRIC_NAME,
    });
    key
}

fn set(op: BinaryOp, left: Vector, right: Vector, matching: &Matching) -> Vector {
    let keys = |vector: &Vector| -> Vec<LabelSet> {
        vector.iter().map(|sample| key(&sample.labels, matching)).collect()
    };
    let (in_left, in_right) = (keys(&left), keys(&right));
    let has = |keys: &Vec<LabelSet>, sample: &Sample| keys.contains(&key(&sample.labels, matching));
    match op {
        BinaryOp::And => left.into_iter().filter(|sample| has(&in_right, sample)).collect(),
        BinaryOp::Unless => left.into_iter().filter(|sample| !has(&in_right, sample)).collect(),
        _ => {
            let more = right.into_iter().filter(|sample| !has(&in_left, sample));
            left.into_iter().chain(more).collect()
        }
    }
}

/// What came of two samples.
struct Element {
    value: Val,
    /// Whether a filter keeps it.
    is_kept: bool,
    note: Option<Note>,
}

/// What went wrong with two samples.
#[derive(Clone, Copy, Debug)]
enum Note {
    Types(&'static str, &'static str),
    Layout,
    Collision,
    Reconciled,
}

/// What a step has made so far.
#[derive(Default)]
struct Made {
    out: Vector,
    /// Key and labels of each pair.
    seen: Vec<(LabelSet, LabelSet)>,
    last: Option<Note>,
}

fn element(op: BinaryOp, a: &Val, b: &Val) -> Result<Element, Note> {
    let kept = |of: Hist| Ok(Element { value: Val::histogram(of), is_kept: true, note: None });
    match (a, b) {
        (Val::Float(_), Val::Float(_)) if is_trim(op) => Err(Note::Types("float", "float")),
        (Val::Float(a), Val::Float(b)) => {
            let (value, is_kept) = apply(op, *a, *b);
            Ok(Element { value: Val::Float(value), is_kept, note: None })
        }
        (Val::Float(a), Val::Histogram(b)) => match op {
            BinaryOp::Mul => kept(Hist::clone(b).mul(*a).compact()),
            _ => Err(Note::Types("float", "histogram")),
        },
        (Val::Histogram(a), Val::Float(b)) => match op {
            BinaryOp::Mul => kept(Hist::clone(a).mul(*b).compact()),
            BinaryOp::Div => kept(Hist::clone(a).div(*b).compact()),
            BinaryOp::TrimUpper => kept(trim(Hist::clone(a), *b, true)),
            BinaryOp::TrimLower => kept(trim(Hist::clone(a), *b, false)),
            _ => Err(Note::Types("histogram", "float")),
        },
        (Val::Histogram(a), Val::Histogram(b)) => of_two(op, a, b),
    }
}

fn of_two(op: BinaryOp, a: &Arc<Hist>, b: &Arc<Hist>) -> Result<Element, Note> {
    let is_equal = a.is_equal(b);
    let compared =
        |is_kept| Ok(Element { value: Val::Histogram(Arc::clone(a)), is_kept, note: None });
    let sign = match op {
        BinaryOp::Equal => return compared(is_equal),
        BinaryOp::NotEqual => return compared(!is_equal),
        BinaryOp::Add => 1.0,
        BinaryOp::Sub => -1.0,
        _ => return Err(Note::Types("histogram", "histogram")),
    };
    let (mut sum, added) = Hist::clone(a).plus(b, sign).map_err(|_| Note::Layout)?;
    if added.is_collision {
        return Err(Note::Collision);
    }
    if op == BinaryOp::Sub {
        sum.hint = ResetHint::Gauge;
    }
    let note = added.is_reconciled.then_some(Note::Reconciled);
    Ok(Element { value: Val::histogram(sum.compact()), is_kept: true, note })
}

/// The value of an operation, and whether a filter keeps it.
fn apply(op: BinaryOp, a: f64, b: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (a + b, true),
        BinaryOp::Sub => (a - b, true),
        BinaryOp::Mul => (a * b, true),
        BinaryOp::Div => (a / b, true),
        BinaryOp::Mod => (a % b, true),
        BinaryOp::Pow => (a.powf(b), true),
        BinaryOp::Atan2 => (a.atan2(b), true),
        BinaryOp::Equal => (a, a == b),
        BinaryOp::NotEqual => (a, a != b),
        BinaryOp::Less => (a, a < b),
        BinaryOp::LessEqual => (a, a <= b),
        BinaryOp::Greater => (a, a > b),
        BinaryOp::GreaterEqual => (a, a >= b),
        BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless
        | BinaryOp::TrimLower
        | BinaryOp::TrimUpper => (f64::NAN, false),
    }
}
