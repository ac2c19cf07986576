//! What OTLP's metrics, labels and units are called here: CONTRACTS.md section 6, which goes by
//! `prometheus/otlptranslator`. Text in, text out.

use guard::Translation;

/// What a metric's name tells of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// `_ratio` if its unit is `1`.
    Gauge,
    /// `_total`.
    MonotonicSum,
    /// Nothing.
    Other,
}

/// The name of a metric; `None` if nothing of it would be left.
pub(super) fn metric_name(
    name: &str,
    unit: &str,
    kind: NameKind,
    translation: Translation,
) -> Option<String> {
    let made = match (translation.escapes(), translation.adds_suffixes()) {
        (true, true) => tokens_of(name, unit, kind),
        (true, false) => {
            let is_other = |c: char| !is_plain(c) && c != '_';
            let parts: Vec<&str> = name.split(is_other).filter(|part| !part.is_empty()).collect();
            not_a_digit_first(parts.join("_"))
        }
        (false, true) => suffixed(name, unit, kind),
        (false, false) => name.to_owned(),
    };
    let says_nothing = made.is_empty() || (made != name && made.bytes().all(|byte| byte == b'_'));
    (!says_nothing).then_some(made)
}

/// The name of a label; `None` if nothing of it would be left.
pub(super) fn label_name(name: &str, translation: Translation) -> Option<String> {
    if name.bytes().all(|byte| byte == b'_') {
        return None;
    }
    if !translation.escapes() {
        return Some(name.to_owned());
    }
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let made: String = name.chars().map(|c| if is_fine(c) { c } else { '_' }).collect();
    if made.bytes().all(|byte| byte == b'_') {
        return None;
    }
    if made.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(format!("key_{made}"));
    }
    if made.starts_with('_') && !made.starts_with("__") {
        return Some(format!("key{made}"));
    }
    Some(made)
}

/// A unit in words, for a metric's metadata.
pub(super) fn unit_name(unit: &str, translation: Translation) -> String {
    let (main, per) = unit_words(unit);
    let (main, per) =
        if translation.escapes() { (cleaned(&main), cleaned(&per)) } else { (main, per) };
    [main, per].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// A character of a plain metric name that is no underscore.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn not_a_digit_first(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// A plain name out of the words of `name`, its unit and its type.
fn tokens_of(name: &str, unit: &str, kind: NameKind) -> String {
    let is_other = |c: char| !is_plain(c);
    let mut tokens: Vec<&str> = name.split(is_other).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit_words(unit);
    let (mut main, per) = (cleaned(&main), cleaned(&per));
    let has = |tokens: &[&str], word: &str| tokens.contains(&word);
    if has(&tokens, &main) {
        main.clear();
    }
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if has(&tokens, per) {
        per = "";
    }
    let mut main = main.as_str();
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let last = match kind {
        NameKind::MonotonicSum => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    not_a_digit_first(tokens.join("_"))
}

/// A name as it is, with its unit and its type behind it.
fn suffixed(name: &str, unit: &str, kind: NameKind) -> String {
    let mut name = name.to_owned();
    let last = match kind {
        NameKind::MonotonicSum => "total",
        NameKind::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    let (main, per) = unit_words(unit);
    for word in [last, &per] {
        cut_word(&mut name, word);
    }
    if !main.is_empty() && !name.ends_with(&main) {
        name = format!("{name}_{main}");
    }
    for word in [&*per, last] {
        if !word.is_empty() {
            name = format!("{name}_{word}");
        }
    }
    name
}

/// Takes a word off the end, and the character before it, unless nothing else would be left.
fn cut_word(name: &mut String, word: &str) {
    if !word.is_empty()
        && let Some(rest) = name.strip_suffix(word)
        && let Some((delimiter, _)) = rest.char_indices().next_back()
        && delimiter > 0
    {
        name.truncate(delimiter);
    }
}

/// A unit as words: what is counted, and `per_` what. Either may be empty.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |text: &str, table: fn(&str) -> Option<&'static str>| {
        let text = text.trim();
        match text.contains(['{', '}']) {
            true => String::new(),
            false => table(text).unwrap_or(text).to_owned(),
        }
    };
    let (main, mut per) = (word(main, main_unit), word(per, per_unit));
    if !per.is_empty() {
        per.insert_str(0, "per_");
    }
    (main, per)
}

/// A unit's word with nothing but plain characters, and no two underscores together.
fn cleaned(word: &str) -> String {
    let mut clean = String::with_capacity(word.len());
    for c in word.chars() {
        let c = if is_plain(c) { c } else { '_' };
        if c != '_' || !clean.ends_with('_') {
            clean.push(c);
        }
    }
    clean.strip_prefix('_').map(str::to_owned).unwrap_or(clean)
}

fn main_unit(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        _ => return None,
    })
}

fn per_unit(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Gauge, MonotonicSum, Other};
    use Translation::{
        NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes,
        UnderscoreEscapingWithoutSuffixes,
    };

    #[test]
    fn metrics_are_called_as_the_contract_says() {
        for (name, unit, kind, want) in [
            ("http.server.request.duration", "s", Other, "http_server_request_duration_seconds"),
            ("system.cpu.utilization", "1", Gauge, "system_cpu_utilization_ratio"),
            ("requests.total.count", "{request}", MonotonicSum, "requests_count_total"),
            ("throughput", "By/s", Gauge, "throughput_bytes_per_second"),
            ("memory_bytes", "By", Gauge, "memory_bytes"),
            ("a..b--c", "", Gauge, "a_b_c"),
            ("3rd.metric", "", Gauge, "_3rd_metric"),
            ("http.requests", "1", MonotonicSum, "http_requests_total"),
            ("x", "1", Other, "x"),
            ("x", "1/s", Gauge, "x_per_second"),
            ("x", "{packet}/{batch}", Gauge, "x"),
            ("x", "m/m", Gauge, "x_meters_per_minute"),
            ("x", "By/foo bar", Gauge, "x_bytes_per_foo_bar"),
            ("x", "_weird_", Gauge, "x_weird_"),
            ("a:b", "", Gauge, "a:b"),
            ("é.x", "", Gauge, "x"),
        ] {
            let have = metric_name(name, unit, kind, UnderscoreEscapingWithSuffixes);
            assert_eq!(have.as_deref(), Some(want), "{name} {unit} {kind:?}");
        }
    }

    #[test]
    fn the_other_strategies_keep_characters_or_leave_suffixes_out() {
        for (name, unit, kind, translation, want) in [
            ("http.requests", "1", MonotonicSum, NoTranslation, "http.requests"),
            (
                "http.requests",
                "1",
                MonotonicSum,
                UnderscoreEscapingWithoutSuffixes,
                "http_requests",
            ),
            ("a__b..c", "s", Gauge, UnderscoreEscapingWithoutSuffixes, "a__b_c"),
            ("3x", "s", Gauge, UnderscoreEscapingWithoutSuffixes, "_3x"),
            (
                "http.requests",
                "By",
                MonotonicSum,
                NoUtf8EscapingWithSuffixes,
                "http.requests_bytes_total",
            ),
            (
                "http.requests.total",
                "1",
                MonotonicSum,
                NoUtf8EscapingWithSuffixes,
                "http.requests_total",
            ),
            ("io", "By/s", Gauge, NoUtf8EscapingWithSuffixes, "io_bytes_per_second"),
            ("cpu.ratio", "1", Gauge, NoUtf8EscapingWithSuffixes, "cpu_ratio"),
            ("total", "", MonotonicSum, NoUtf8EscapingWithSuffixes, "total_total"),
            ("étotal", "", MonotonicSum, NoUtf8EscapingWithSuffixes, "étotal_total"),
        ] {
            let have = metric_name(name, unit, kind, translation);
            assert_eq!(have.as_deref(), Some(want), "{name} {translation:?}");
        }
    }

    #[test]
    fn a_name_of_which_nothing_would_be_left_is_none() {
        for name in ["", "...", "_", "é"] {
            assert_eq!(metric_name(name, "", Other, UnderscoreEscapingWithSuffixes), None);
        }
        assert_eq!(metric_name("", "", Other, NoTranslation), None);
        assert_eq!(metric_name("..", "", Other, UnderscoreEscapingWithoutSuffixes), None);
    }

    #[test]
    fn labels_are_called_as_the_contract_says() {
        for (name, want) in [
            ("http.method", "http_method"),
            ("1x", "key_1x"),
            ("_x", "key_x"),
            (".x", "key_x"),
            ("__x", "__x"),
            ("a..b", "a__b"),
            ("é1", "key_1"),
            ("a:b", "a_b"),
        ] {
            assert_eq!(label_name(name, UnderscoreEscapingWithSuffixes).as_deref(), Some(want));
            assert_eq!(label_name(name, NoTranslation).as_deref(), Some(name));
        }
        for name in ["", "_", "...", "__"] {
            assert_eq!(label_name(name, UnderscoreEscapingWithSuffixes), None, "{name}");
        }
    }

    #[test]
    fn a_unit_in_words_is_what_metadata_says() {
        for (unit, want) in
            [("s", "seconds"), ("By/s", "bytes_per_second"), ("1", ""), ("{x}", ""), ("", "")]
        {
            assert_eq!(unit_name(unit, UnderscoreEscapingWithSuffixes), want);
        }
    }
}
