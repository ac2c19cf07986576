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
const ENTRY_BYTES: usize = 512;

// A leaf: nothing is waited for while it is held.
static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// The regex of a text, if it was compiled lately; else it is compiled.
pub(super) fn get_or<E>(
    pattern: &str,
    compile: impl FnOnce() -> Result<AnchoredRegex, E>,
) -> Result<AnchoredRegex, E> {
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept().get(pattern) {
        return Ok(found);
    }
    let regex = compile()?;
    kept().put(pattern.into(), regex.clone());
    Ok(regex)
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
        self.put(pattern, regex.clone());
        Some(regex)
    }

    fn put(&mut self, pattern: Text, regex: AnchoredRegex) {
        let bytes = ENTRY_BYTES + pattern.len() + regex.bytes();
        if bytes > ONE_BYTES_MAX || self.young.contains_key(&pattern) {
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
        let text = |text: &Text| size_of::<Text>() + text.len();
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

    fn put(kept: &mut Kept, pattern: &str) {
        kept.put(pattern.into(), AnchoredRegex::new(pattern).unwrap());
    }

    fn has(kept: &mut Kept, pattern: &str) -> bool {
        let found = kept.get(pattern);
        found.inspect(|found| assert!(found.is_match("a7"))).is_some()
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_within_a_bound() {
        let mut kept = Kept::default();
        let (asked, left) = ("a.|asked", "a.|left");
        put(&mut kept, asked);
        put(&mut kept, left);
        let most = |kept: &Kept| kept.young.values().map(AnchoredRegex::bytes).sum::<usize>();
        for number in 0..20_000 {
            kept.put(format!("a.|{number}").into(), AnchoredRegex::new(asked).unwrap());
            assert!(has(&mut kept, asked), "{number}");
            assert!(kept.bytes <= BYTES_MAX && most(&kept) <= BYTES_MAX, "{number}");
        }
        assert!(!has(&mut kept, left));
        assert!(kept.old.len() < 20_000 && !kept.old.is_empty(), "{}", kept.old.len());
    }

    #[test]
    fn one_that_is_large_is_not_kept_and_one_that_is_wrong_is_wrong_each_time() {
        let mut kept = Kept::default();
        let large = (0..20_000).map(|number| format!("v{number}|")).collect::<String>() + "a7";
        put(&mut kept, &large);
        assert!(!has(&mut kept, &large) && kept.bytes == 0);
        for _ in 0..2 {
            assert!(AnchoredRegex::new("a(").is_err());
            assert!(AnchoredRegex::new("a[b-d]+").unwrap().is_match("abcd"));
            assert!(!AnchoredRegex::new("a[b-d]+").unwrap().is_match("ae"));
        }
    }
}
