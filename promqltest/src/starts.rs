//! The notation of start timestamps: durations relative to each sample.

/// `_ _x3 -1m -1mx2 -30s-1mx2`: the offsets in milliseconds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in text.split_whitespace() {
        push(item, &mut offsets).ok_or_else(|| format!("not a start timestamp: {item}"))?;
    }
    Ok(offsets)
}

fn push(item: &str, offsets: &mut Vec<Option<i64>>) -> Option<()> {
    if let Some(rest) = item.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { count(rest)? };
        offsets.extend((0..count).map(|_| None));
        return Some(());
    }
    let (mut offset, rest) = duration(item)?;
    let (step, rest) = match rest.chars().next() {
        Some('+' | '-') => duration(rest)?,
        _ => (0, rest),
    };
    let times = if rest.is_empty() { 0 } else { count(rest)? };
    for _ in 0..=times {
        offsets.push(Some(offset));
        offset += step;
    }
    Some(())
}

/// `x5`
fn count(text: &str) -> Option<u32> {
    text.strip_prefix('x')?.parse().ok().filter(|count| *count <= 1_000_000)
}

/// A duration with its sign, and what follows it.
fn duration(text: &str) -> Option<(i64, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let unit = rest[digits..].find(|c: char| !c.is_ascii_alphabetic() || c == 'x');
    let end = unit.map_or(rest.len(), |len| digits + len);
    let (duration, rest) = rest.split_at(end);
    let ms = promql::parse_duration(duration).ok()?;
    Some((sign * i64::try_from(ms).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_counted_out() {
        assert!(offsets("_ -1m x _x2").is_err());
        let have = offsets("_ -1m 1ms _x2 -30s-1mx2 -1sx1").unwrap();
        let want = [
            None,
            Some(-60_000),
            Some(1),
            None,
            None,
            Some(-30_000),
            Some(-90_000),
            Some(-150_000),
            Some(-1_000),
            Some(-1_000),
        ];
        assert_eq!(have, want);
    }
}
