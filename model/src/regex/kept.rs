//! Regexes that were compiled lately, by their text: a dashboard asks with the same ones again and again,
//! and a query makes them ready once for each of its parts.
//!
//! # Invariants
//! - What is kept takes at most [`BYTES_MAX`] since the last turn, and as much from before it. At a turn
//!   those go that were not asked for since the one before.
//! - What is kept never searches, so it does not grow: who gets one has caches of its own.

use super::{AnchoredRegex, Form};
use crate::label::Text;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What is kept since the last turn, in bytes.
const BYTES_MAX: usize = 2 << 20;
/// A larger one is not kept.
const ONE_BYTES_MAX: usize = 256 << 10;
/// What an entry takes besides its regex.
const ENTRY_BYTES: usize = 2048;

// A leaf: nothing is waited for while it is held.
static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// The regex of a text, if it was compiled lately; else it is compiled.
pub(super) fn get_or<E>(
    pattern: &str,
    compile: impl FnOnce() -> Result<AnchoredRegex, E>,
) -> Result<AnchoredRegex, E> {
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if pattern.len() > ONE_BYTES_MAX {
        return compile();
    }
    if let Some(found) = kept().get(pattern) {
        return Ok(found);
    }
    let regex = compile()?;
    let bytes = weight(pattern, &regex);
    if bytes <= ONE_BYTES_MAX {
        let (pattern, regex) = (pattern.into(), regex.clone());
        kept().put(pattern, regex, bytes);
    }
    Ok(regex)
}

/// What an entry takes, about.
fn weight(pattern: &str, regex: &AnchoredRegex) -> usize {
    ENTRY_BYTES + pattern.len() + regex.bytes()
}

#[derive(Debug, Default)]
struct Kept {
    /// Asked for since the last turn.
    young: HashMap<Text, AnchoredRegex>,
    /// Of [`Self::young`].
    bytes: usize,
    old: HashMap<Text, AnchoredRegex>,
}

impl Kept {
    fn get(&mut self, pattern: &str) -> Option<AnchoredRegex> {
        if let Some(found) = self.young.get(pattern) {
            return Some(found.clone());
        }
        let (pattern, regex) = self.old.remove_entry(pattern)?;
        let bytes = weight(&pattern, &regex);
        self.put(pattern, regex.clone(), bytes);
        Some(regex)
    }

    fn put(&mut self, pattern: Text, regex: AnchoredRegex, bytes: usize) {
        if self.young.contains_key(&pattern) {
            return;
        }
        if self.bytes + bytes > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.young.insert(pattern, regex);
    }
}

impl AnchoredRegex {
    fn bytes(&self) -> usize {
        // Each is an allocation.
        let text = |text: &Text| size_of::<Text>() + 32 + text.len();
        let prefixes: usize = self.prefixes.iter().map(|prefix| 1 + text(&prefix.text)).sum();
        prefixes
            + match &self.form {
                Form::Literals(set) => set.iter().map(text).sum(),
                Form::Any | Form::NotEmpty => 0,
                Form::Automaton(regex) => regex.memory_usage(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_kept(pattern: &str) -> bool {
        KEPT.lock().unwrap().young.contains_key(pattern)
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_within_a_bound() {
        let (mut kept, regex) = (Kept::default(), AnchoredRegex::new("a.|b").unwrap());
        let bytes = ENTRY_BYTES + 4 + regex.bytes();
        for name in ["asked", "left"] {
            kept.put(name.into(), regex.clone(), bytes);
        }
        let most = |kept: &Kept| kept.young.len().max(kept.old.len()) * bytes;
        for number in 0..20_000 {
            kept.put(format!("{number}").into(), regex.clone(), bytes);
            assert!(kept.get("asked").is_some_and(|found| found.is_match("a7")), "{number}");
            assert!(kept.bytes <= BYTES_MAX && most(&kept) <= BYTES_MAX, "{number}");
        }
        assert!(kept.get("left").is_none() && !kept.old.is_empty());
    }

    #[test]
    fn one_that_is_large_is_not_kept_and_one_that_is_wrong_is_wrong_each_time() {
        let large = (0..20_000).map(|number| format!("v{number}|")).collect::<String>() + "a7";
        for _ in 0..2 {
            assert!(AnchoredRegex::new(&large).unwrap().is_match("v19999"));
            assert!(AnchoredRegex::new("a(").is_err());
            assert!(AnchoredRegex::new("a[b-d]+kept").unwrap().is_match("abcdkept"));
            assert!(!AnchoredRegex::new("a[b-d]+kept").unwrap().is_match("aekept"));
        }
        assert!(is_kept("a[b-d]+kept") && !is_kept(&large) && !is_kept("a("));
    }
}
