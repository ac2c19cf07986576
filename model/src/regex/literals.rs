//! Regexes that are nothing but literals: spelled out into a list, within bounded memory.

use super::COMPILED_BYTES_MAX;
use crate::label::Text;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use std::sync::Arc;

/// So many combinations of several parts are spelled out; of one part, all.
pub(super) const LITERALS_MAX: usize = 256;

/// As [`super::Form::Literals`] has them.
pub(super) fn sorted(mut literals: Vec<Text>) -> Arc<[Text]> {
    literals.sort_unstable();
    literals.dedup();
    literals.into()
}

/// `a|b\.c` without any character that means something else: the fast way for long lists.
pub(super) fn plain_alternation(pattern: &str) -> Option<Arc<[Text]>> {
    let mut all = Vec::new();
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => {
                all.push(Text::from(text.as_str()));
                text.clear();
            }
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            _ => text.push(c),
        }
    }
    all.push(Text::from(text));
    Some(sorted(all))
}

/// The strings a regex matches if it is nothing but literals: as many as it spells out, or few.
pub(super) fn literal_set(hir: &Hir, pattern_bytes: usize) -> Option<Vec<Text>> {
    let bytes_left = COMPILED_BYTES_MAX.max(pattern_bytes.saturating_mul(16));
    let mut parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    // The whole value has to match anyway.
    let is = |part: &Hir, look| *part.kind() == HirKind::Look(look);
    while let Some((_, rest)) = parts.split_first().filter(|(part, _)| is(part, Look::Start)) {
        parts = rest;
    }
    while let Some((_, rest)) = parts.split_last().filter(|(part, _)| is(part, Look::End)) {
        parts = rest;
    }
    Literals { bytes_left }.cross_product(parts)
}

/// Spells literals out, within so much memory: a few bytes of a regex may stand for gigabytes.
struct Literals {
    bytes_left: usize,
}

impl Literals {
    fn of(&mut self, hir: &Hir) -> Option<Vec<Text>> {
        match hir.kind() {
            HirKind::Empty => Some(vec!["".into()]),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                self.take(1, text.len())?;
                Some(vec![text.into()])
            }
            HirKind::Capture(capture) => self.of(&capture.sub),
            HirKind::Alternation(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.of(part)?);
                }
                Some(all)
            }
            HirKind::Concat(parts) => self.cross_product(parts),
            HirKind::Class(class) => small_class(class),
            HirKind::Look(_) | HirKind::Repetition(_) => None,
        }
    }

    fn cross_product(&mut self, parts: &[Hir]) -> Option<Vec<Text>> {
        let bytes = |texts: &[Text]| texts.iter().map(|text| text.len()).sum::<usize>();
        let mut all: Vec<Text> = vec!["".into()];
        for part in parts {
            let tails = self.of(part)?;
            let count = all.len().checked_mul(tails.len())?;
            if count > LITERALS_MAX.max(tails.len()).max(all.len()) {
                return None;
            }
            let product = bytes(&all).checked_mul(tails.len())?;
            self.take(count, product.checked_add(bytes(&tails).checked_mul(all.len())?)?)?;
            let joined = |head: &Text, tail: &Text| Text::from(format!("{head}{tail}"));
            all = all.iter().flat_map(|head| tails.iter().map(|tail| joined(head, tail))).collect();
        }
        Some(all)
    }

    /// Takes memory for so many texts of so many bytes in all.
    fn take(&mut self, texts: usize, bytes: usize) -> Option<()> {
        let bytes = texts.checked_mul(8)?.checked_add(bytes)?;
        self.bytes_left = self.bytes_left.checked_sub(bytes)?;
        Some(())
    }
}

fn small_class(class: &Class) -> Option<Vec<Text>> {
    let Class::Unicode(class) = class else { return None };
    let mut all = Vec::new();
    for range in class.iter() {
        for c in range.start()..=range.end() {
            if all.len() >= LITERALS_MAX {
                return None;
            }
            all.push(Text::from(c.to_string()));
        }
    }
    Some(all)
}
