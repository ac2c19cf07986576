//! Natural order of texts: runs of digits and runs of anything else are compared one by one, those of
//! digits as numbers.

use std::cmp::Ordering;

/// `a2` before `a10`, and `a1` before `a-1`: the run `a` is the start of the run `a-`. Of runs that are all
/// equal fewer come first; texts that differ in leading zeros alone compare byte by byte.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while !left.is_empty() && !right.is_empty() {
        let (x, after_x) = run(left);
        let (y, after_y) = run(right);
        let order = compare_runs(x, y);
        if order.is_ne() {
            return order;
        }
        (left, right) = (after_x, after_y);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The longest start that is all digits or has none, and what follows it.
fn run(text: &[u8]) -> (&[u8], &[u8]) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let of_digits = text.first().is_some_and(is_digit);
    let end = text.iter().position(|byte| is_digit(byte) != of_digits);
    text.split_at(end.unwrap_or(text.len()))
}

/// Numbers of any length are compared as such: one order for all of them, else there would be none.
fn compare_runs(a: &[u8], b: &[u8]) -> Ordering {
    let are_numbers = [a, b].iter().all(|run| run.first().is_some_and(u8::is_ascii_digit));
    if !are_numbers {
        return a.cmp(b);
    }
    let (a, b) = (without_zeros(a), without_zeros(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_texts_are_compared_as_numbers() {
        let mut texts = ["a10", "a2", "b1", "a02", "a", "a2b", "10", "9"];
        texts.sort_by(|a, b| compare(a, b));
        assert_eq!(texts, ["9", "10", "a", "a02", "a2", "a2b", "a10", "b1"]);
    }

    #[test]
    fn runs_are_compared_as_a_whole() {
        let mut texts = ["host-1", "v02b", "host10", "v2a", "host2", "99999999999999999999", "3"];
        texts.sort_by(|a, b| compare(a, b));
        let sorted = ["3", "99999999999999999999", "host2", "host10", "host-1", "v2a", "v02b"];
        assert_eq!(texts, sorted);
    }
}
