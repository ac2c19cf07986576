//! `label_replace`, `label_join`.

use super::Args;
use crate::eval::{EvalError, Series, merge};
use model::regex::CaptureRegex;
use model::{METRIC_NAME, Text};

/// `label_replace`: where the regex matches the whole source value, the expansion becomes the
/// destination's value; empty, it takes the label away.
pub(super) fn replace(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let (replacement, source) = (args.text(2)?, args.text(3)?);
    let pattern = args.text(4)?;
    let regex = CaptureRegex::new(&pattern).map_err(|_| {
        let text = format!("invalid regular expression in label_replace(): {pattern}");
        EvalError::Unexecutable(text)
    })?;
    let destination = label_name(args.bytes(1)?, "destination label name in label_replace()")?;
    let template = parse_template(&replacement, &regex);
    let mut vector = args.vector(0)?;
    for series in &mut vector {
        args.ctx.budget.tick(1)?;
        let Some(groups) = regex.captures(series.labels.value(&source)) else { continue };
        args.ctx.budget.take_bytes(expanded_len(&template, &groups))?;
        let value = expand(&template, &groups);
        set(series, &destination, value);
    }
    merge::same_labels(vector)
}

/// `label_join`: the source values, the separator between them, become the destination's value.
pub(super) fn join(args: &Args<'_>) -> Result<Vec<Series>, EvalError> {
    let separator = args.text(2)?;
    let mut sources = Vec::new();
    for index in 3..args.len() {
        sources.push(label_name(args.bytes(index)?, "source label name in label_join()")?);
    }
    let destination = label_name(args.bytes(1)?, "destination label name in label_join()")?;
    let mut vector = args.vector(0)?;
    for series in &mut vector {
        args.ctx.budget.tick(1)?;
        let values: Vec<&str> = sources.iter().map(|name| series.labels.value(name)).collect();
        let len: usize = values.iter().map(|value| value.len() + separator.len()).sum();
        args.ctx.budget.take_bytes(len as u64)?;
        let value = values.join(&separator);
        set(series, &destination, value);
    }
    merge::same_labels(vector)
}

fn set(series: &mut Series, name: &Text, value: String) {
    series.labels.set(name.clone(), value);
    if &**name == METRIC_NAME {
        series.drop_name = false;
    }
}

/// Any UTF-8 text but the empty one is a label's name.
fn label_name(bytes: &[u8], what: &str) -> Result<Text, EvalError> {
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name.into()),
        _ => {
            let name = String::from_utf8_lossy(bytes);
            Err(EvalError::Unexecutable(format!("invalid {what}: {name}")))
        }
    }
}

/// Bytes in quotes, what is not UTF-8 as `\xff`.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

/// A piece of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

/// Cuts `$1`, `${1}`, `$name`, `${name}` and `$$` out. A name is as long as it can be: `$1x` is the
/// group `1x`. What names no group stands for nothing; a `$` before anything else for itself.
fn parse_template(template: &str, regex: &CaptureRegex) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        pieces.push(Piece::Text(rest[..at].into()));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            pieces.push(Piece::Text("$".into()));
            rest = after;
            continue;
        }
        match group_name(rest) {
            Some((name, after)) => {
                pieces.extend(group_index(name, regex).map(Piece::Group));
                rest = after;
            }
            None => pieces.push(Piece::Text("$".into())),
        }
    }
    pieces.push(Piece::Text(rest.into()));
    pieces
}

/// The name at the start of `rest`, in braces or not, and what follows it.
fn group_name(rest: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let (name, after) = match rest.strip_prefix('{') {
        Some(inner) => {
            let (name, after) = inner.split_once('}')?;
            (name, after)
        }
        None => rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
    };
    (!name.is_empty() && name.chars().all(is_word)).then_some((name, after))
}

fn group_index(name: &str, regex: &CaptureRegex) -> Option<usize> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_plain = name.len() == 1 || !name.starts_with('0');
        return if is_plain { name.parse().ok() } else { None };
    }
    regex.group_index(name)
}

fn piece<'t>(piece: &'t Piece, groups: &[Option<&'t str>]) -> &'t str {
    match piece {
        Piece::Text(text) => text,
        Piece::Group(index) => groups.get(*index).copied().flatten().unwrap_or(""),
    }
}

fn expanded_len(template: &[Piece], groups: &[Option<&str>]) -> u64 {
    template.iter().map(|of| piece(of, groups).len() as u64).sum()
}

fn expand(template: &[Piece], groups: &[Option<&str>]) -> String {
    template.iter().map(|of| piece(of, groups)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(template: &str) -> String {
        let regex = CaptureRegex::new("(?P<host>[a-z]+)-(\\d+)(x)?").unwrap();
        let groups = regex.captures("db-12").unwrap();
        expand(&parse_template(template, &regex), &groups)
    }

    #[test]
    fn a_replacement_is_expanded_as_go_does() {
        assert_eq!(expanded("$1:${2}"), "db:12");
        assert_eq!(expanded("$host/$$1"), "db/$1");
        assert_eq!(expanded("a$1x"), "a", "the group 1x does not exist");
        assert_eq!(expanded("[$3][$9]"), "[][]");
        assert_eq!(expanded("5$ ${ $-"), "5$ ${ $-");
    }
}
