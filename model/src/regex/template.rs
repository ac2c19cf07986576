//! A replacement for what a regex matched, expanded as Go expands it: `label_replace` and relabelling.

use super::CaptureRegex;
use regex_syntax::hir::{Class, ClassUnicode, HirKind};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A text with places for the groups of a regex.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// What names stand for: of each the groups of which the first that took part is meant.
    names: Vec<Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What a name stands for.
    Name(usize),
}

impl Template {
    /// Cuts `$1`, `${1}`, `$name`, `${name}` and `$$` out. A name is as long as it can be: `$1x` is
    /// the group `1x`. What names no group stands for nothing; a `$` before anything else for itself.
    #[must_use]
    pub fn new(template: &str, regex: &CaptureRegex) -> Self {
        let (mut pieces, mut names) = (Vec::new(), Vec::new());
        let mut by_name = HashMap::new();
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
                    let name = *by_name.entry(name).or_insert_with(|| {
                        names.push(group_indexes(name, regex));
                        names.len() - 1
                    });
                    pieces.push(Piece::Name(name));
                    rest = after;
                }
                None => pieces.push(Piece::Text("$".into())),
            }
        }
        pieces.push(Piece::Text(rest.into()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Self { pieces, names }
    }

    /// How many bytes [`expand`](Self::expand) will return.
    #[must_use]
    pub fn expanded_len(&self, groups: &[Option<&str>]) -> u64 {
        let values = self.values(groups);
        self.pieces.iter().map(|of| of.text(&values).len() as u64).sum()
    }

    /// The text with the groups of a match in their places.
    #[must_use]
    pub fn expand(&self, groups: &[Option<&str>]) -> String {
        let values = self.values(groups);
        self.pieces.iter().map(|of| of.text(&values)).collect()
    }

    /// What each name stands for in a match.
    fn values<'t>(&self, groups: &[Option<&'t str>]) -> Vec<&'t str> {
        let value = |of: &Vec<usize>| of.iter().find_map(|index| groups.get(*index).copied()?);
        self.names.iter().map(|of| value(of).unwrap_or("")).collect()
    }
}

/// The name at the start of `rest`, in braces or not, and what follows it.
fn group_name(rest: &str) -> Option<(&str, &str)> {
    let (name, after) = match rest.strip_prefix('{') {
        Some(inner) => inner.split_once('}')?,
        None => rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
    };
    (!name.is_empty() && name.chars().all(is_word)).then_some((name, after))
}

/// Whether it belongs to a name: a letter, a decimal digit or `_`. Other numbers, as in `m²`, do not.
fn is_word(c: char) -> bool {
    static WORD: LazyLock<Option<ClassUnicode>> = LazyLock::new(|| {
        let parsed = regex_syntax::parse("[\\p{L}\\p{Nd}]").ok()?;
        match parsed.into_kind() {
            HirKind::Class(Class::Unicode(class)) => Some(class),
            _ => None,
        }
    });
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    let ranges = WORD.as_ref().map(ClassUnicode::ranges).unwrap_or_default();
    let at = ranges.partition_point(|range| range.end() < c);
    ranges.get(at).is_some_and(|range| range.start() <= c)
}

fn group_indexes(name: &str, regex: &CaptureRegex) -> Vec<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && (name.len() == 1 || !name.starts_with('0')) {
        return name.parse().into_iter().collect();
    }
    regex.groups_named(name)
}

impl Piece {
    fn text<'t>(&'t self, values: &[&'t str]) -> &'t str {
        match self {
            Self::Text(text) => text,
            Self::Name(name) => values.get(*name).copied().unwrap_or(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(template: &str) -> String {
        let regex = CaptureRegex::new("(?P<host>[a-z]+)-(\\d+)(x)?").unwrap();
        let groups = regex.captures("db-12").unwrap();
        let template = Template::new(template, &regex);
        let text = template.expand(&groups);
        assert_eq!(template.expanded_len(&groups), text.len() as u64);
        text
    }

    #[test]
    fn a_replacement_is_expanded_as_go_does() {
        assert_eq!(expanded("$1:${2}"), "db:12");
        assert_eq!(expanded("$host/$$1"), "db/$1");
        assert_eq!(expanded("a$1x"), "a", "the group 1x does not exist");
        assert_eq!(expanded("[$3][$9]"), "[][]");
        assert_eq!(expanded("5$ ${ $-"), "5$ ${ $-");
        assert_eq!(expanded("$1²$1Ⅷ${1}٣"), "db²dbⅧdb٣", "numbers that are no digits end a name");
        assert_eq!(expanded("$1٣$1é|$1e\u{301}$01"), "|\u{301}", "digits, letters: other names");
    }
}
