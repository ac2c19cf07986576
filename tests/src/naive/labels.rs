//! `label_replace`, `label_join`, `sort_by_label`.

use super::eval::{Naive, bare};
use super::value::{Failure, Matrix, Vector, fail, merged};
use model::regex::{AnchoredRegex, CaptureRegex};
use model::{LabelSet, METRIC_NAME};
use promql::ast::{Call, Expr};
use std::cmp::Ordering;

/// A label set in a message: names that are not plain stand in quotes.
pub(super) fn labels_text(labels: &LabelSet) -> String {
    let is_plain = |name: &str| {
        name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
            && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    let pair = |name: &str, value: &str| match is_plain(name) {
        true => format!("{name}={value:?}"),
        false => format!("{name:?}={value:?}"),
    };
    let pairs: Vec<String> = labels.iter().map(|(name, value)| pair(name, value)).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn bytes(node: &Call, index: usize) -> &[u8] {
    match node.args.get(index).map(bare) {
        Some(Expr::String(text)) => &text.bytes,
        _ => &[],
    }
}

fn text(node: &Call, index: usize) -> String {
    String::from_utf8_lossy(bytes(node, index)).into_owned()
}

fn name(node: &Call, index: usize, what: &str) -> Result<String, Failure> {
    match std::str::from_utf8(bytes(node, index)) {
        Ok(name) if !name.is_empty() => Ok(name.into()),
        _ => fail(format!("invalid {what}: {}", text(node, index))),
    }
}

pub(super) fn replace(
    naive: &mut Naive<'_>,
    node: &Call,
    steps: &[i64],
) -> Result<Matrix, Failure> {
    let (template, source, pattern) = (text(node, 2), text(node, 3), text(node, 4));
    let Ok(regex) = CaptureRegex::new(&pattern) else {
        return fail(format!("invalid regular expression in label_replace(): {pattern}"));
    };
    let target = name(node, 1, "destination label name in label_replace()")?;
    let mut matrix = naive.vector(bare(&node.args[0]), steps)?;
    for series in &mut matrix {
        let value = series.labels.value(&source).to_string();
        let Some(groups) = regex.captures(&value) else { continue };
        series.labels.set(&*target, expand(&template, &regex, &groups));
        series.drop_name &= target != METRIC_NAME;
    }
    merged(matrix)
}

/// Puts groups in the place of `$1`, `${1}`, `$name`; `$$` is a dollar.
fn expand(template: &str, regex: &CaptureRegex, groups: &[Option<&str>]) -> String {
    let mut out = String::new();
    let mut rest = template;
    let word = AnchoredRegex::new("[\\pL\\p{Nd}_]").expect("it is one");
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let is_word = |c: char| word.is_match(&c.to_string());
        let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let word_len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (group, after) = match braced {
            Some((word, after)) if !word.is_empty() && word.chars().all(is_word) => (word, after),
            _ if word_len > 0 => rest.split_at(word_len),
            _ => {
                out.push('$');
                continue;
            }
        };
        rest = after;
        let is_plain = group == "0" || !group.starts_with('0');
        let meant = match group.chars().all(|c| c.is_ascii_digit()) && is_plain {
            true => group.parse().into_iter().collect(),
            false => regex.groups_named(group),
        };
        let mut there = meant.iter().filter_map(|at: &usize| *groups.get(*at)?);
        out.push_str(there.next().unwrap_or_default());
    }
    out + rest
}

pub(super) fn join(naive: &mut Naive<'_>, node: &Call, steps: &[i64]) -> Result<Matrix, Failure> {
    let separator = text(node, 2);
    let mut sources = Vec::new();
    for index in 3..node.args.len() {
        sources.push(name(node, index, "source label name in label_join()")?);
    }
    let target = name(node, 1, "destination label name in label_join()")?;
    let mut matrix = naive.vector(bare(&node.args[0]), steps)?;
    for series in &mut matrix {
        let values: Vec<&str> = sources.iter().map(|name| series.labels.value(name)).collect();
        let value = values.join(&separator);
        series.labels.set(&*target, value);
        series.drop_name &= target != METRIC_NAME;
    }
    merged(matrix)
}

/// `sort_by_label`, `sort_by_label_desc`
pub(super) fn sorted(node: &Call, mut vector: Vector, is_descending: bool) -> Vector {
    let names: Vec<String> = (1..node.args.len()).map(|index| text(node, index)).collect();
    let compare = |a: &LabelSet, b: &LabelSet| {
        for name in &names {
            let (a, b) = (a.value(name), b.value(name));
            if a != b {
                return if natural_less(a, b) { Ordering::Less } else { Ordering::Greater };
            }
        }
        a.cmp(b)
    };
    vector.sort_by(|a, b| {
        let order = compare(&a.labels, &b.labels);
        if is_descending { order.reverse() } else { order }
    });
    vector
}

/// Whether `a` comes before `b` if runs of digits count as numbers.
fn natural_less(a: &str, b: &str) -> bool {
    let (of_a, of_b) = (chunks(a), chunks(b));
    for (x, y) in of_a.iter().zip(&of_b) {
        let are_numbers = [x, y].iter().all(|of| of.starts_with(|c: char| c.is_ascii_digit()));
        let (x, y) = match are_numbers {
            // As long as each other, numbers are in the order of their digits.
            true => (format!("{x:0>len$}", len = y.len()), format!("{y:0>len$}", len = x.len())),
            false => (x.to_string(), y.to_string()),
        };
        if x != y {
            return x < y;
        }
    }
    (of_a.len(), a) < (of_b.len(), b)
}

/// Runs of digits and what lies between them.
fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let len = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(len);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
