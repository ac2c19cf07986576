//! B8: texts that are long, deep, or noise.

use super::stack::{source, survives};
use promql::{DEPTH_MAX, LENGTH_MAX, ParseOptions, ValueType};
use std::time::Duration;
use tests::random::queries::Queries;
use tests::random_series::Numbers;

/// `one` with `between` in between, about so many bytes.
fn many(bytes: usize, one: &str, between: &str) -> String {
    vec![one; bytes / (one.len() + between.len())].join(between)
}

/// What grows without nesting: a name, and its text of about so many bytes.
type Growing = (&'static str, fn(usize) -> String);

const GROWING: &[Growing] = &[
    ("or", |bytes| many(bytes, "a", " or ")),
    ("different selectors", |bytes| {
        let selectors: Vec<String> =
            (0..bytes / 18).map(|n| format!("a{{x!=\"{n:05}\"}}")).collect();
        selectors.join(" or ")
    }),
    ("and, unless", |bytes| many(bytes, "a and b", " unless ")),
    ("sum of numbers", |bytes| many(bytes, "1", "+")),
    ("sum of selectors", |bytes| many(bytes, "a", "+")),
    ("comparisons", |bytes| many(bytes, "a", " >= ")),
    ("mixed levels", |bytes| many(bytes, "a * b", " - a or ")),
    ("calls", |bytes| many(bytes, "abs(a)", " + ")),
    ("aggregations", |bytes| many(bytes, "sum by (job) (a)", " + ")),
    ("joins", |bytes| many(bytes, "a", " + on (job, instance) ")),
    ("regexes", |bytes| format!("a{{{}}}", many(bytes / 4, "job=~\"j.+\"", ","))),
    ("different matchers", |bytes| {
        let matchers: Vec<String> = (0..bytes / 11).map(|n| format!("x!=\"{n:05}\"")).collect();
        format!("a{{{}}}", matchers.join(","))
    }),
    ("labels of a grouping", |bytes| format!("sum by ({}) (a)", many(bytes, "job", ","))),
    ("labels of a join", |bytes| format!("a * on (instance, {}) a", many(bytes, "job", ","))),
    ("arguments", |bytes| format!("label_join(a, \"x\", \"-\", {})", many(bytes, "\"job\"", ","))),
    ("a string", |bytes| format!("\"{}\"", many(bytes, "\\xff", ""))),
    ("a duration", |bytes| format!("rate(a[{}])", many(bytes, "1", "+"))),
    ("spaces", |bytes| format!("a{}", " ".repeat(bytes))),
    ("comments", |bytes| format!("{}a", "# c\n".repeat(bytes / 4))),
    ("windows", |bytes| many(bytes, "rate(a[3m])", " + ")),
];

#[test]
fn b8_the_time_of_a_long_text_grows_with_its_length_and_no_faster() {
    let source = source();
    let (short, long) = (LENGTH_MAX / 16, LENGTH_MAX / 4);
    for (name, text) in GROWING {
        let (ended, brief) = survives(&source, &text(short));
        let (ended_long, took) = survives(&source, &text(long));
        println!("{name}: {brief:?} {took:?} {:?}", ended_long.as_ref().err());
        assert_eq!(ended.is_ok(), ended_long.is_ok(), "{name}: {ended_long:?}");
        assert!(ended.is_ok(), "{name}: {ended:?}");
        // Four times as long; the processor's caches are not, so a little more.
        let most = brief * 4 * 2 + Duration::from_millis(100);
        assert!(took < most, "{name}: {brief:?}, and four times as long {took:?}");
    }
}

/// What nests: what is opened, what is innermost, what is closed.
const NESTING: &[(&str, &str, &str)] = &[
    ("(", "a", ")"),
    ("-", "a", ""),
    ("+-", "1", ""),
    ("abs(", "a", ")"),
    ("sum by (job, instance) (", "a", ")"),
    ("topk(1, b + ", "a", ")"),
    ("a ^ ", "a", ""),
    ("1 + (", "a", ")"),
    ("(", "a", " * 2)"),
    ("a or (", "a", ")"),
    ("a + on (job, instance) (", "a", ")"),
    ("vector(scalar(", "a", "))"),
    ("label_replace(", "a", ", \"x\", \"y\", \"job\", \".*\")"),
    ("histogram_quantile(0.5, ", "a", ")"),
    ("max_over_time(", "a", "[10s:10s])"),
    ("rate((sum(", "a", ") or a)[20s:10s] @ 300 offset 5s)"),
    ("absent(", "nothing", ")"),
    ("count_values(\"v\", ", "a", ")"),
    ("(a or b and a < b + a * b ^ ", "a", ")"),
    ("sort(round(clamp_max(", "a", ", 5)))"),
];

#[test]
fn b8_the_deepest_query_of_each_kind_is_answered_on_a_small_stack_and_a_deeper_one_refused() {
    let source = source();
    for (open, inner, close) in NESTING {
        let nested = |times| format!("{}{inner}{}", open.repeat(times), close.repeat(times));
        let deepest = (1..=DEPTH_MAX + 1)
            .rev()
            .find(|times| promql::parse(&nested(*times), ParseOptions::ALL).is_ok());
        let deepest = deepest.unwrap_or_else(|| panic!("{open} never parses"));
        assert!(deepest >= DEPTH_MAX / 8, "{open}: {deepest}");
        let (ended, took) = survives(&source, &nested(deepest));
        println!("{deepest:4} x {open} {took:?} {:?}", ended.as_ref().err());
        for times in [deepest + 1, 1_000, (LENGTH_MAX - 20) / (open.len() + close.len())] {
            let (ended, took) = survives(&source, &nested(times));
            let reason = ended.unwrap_err();
            assert!(reason.contains("nested deeper than"), "{times} x {open}: {reason}");
            assert!(took < Duration::from_secs(1), "{times} x {open}: {took:?}");
        }
    }
}

#[test]
fn b8_a_megabyte_is_refused_unread() {
    let source = source();
    for one in ["-", "(", "a or ", "abs(", "\u{fffd}", "\"", "{", "1", "[", "# ", "\0"] {
        let (ended, took) = survives(&source, &one.repeat((1 << 20) / one.len()));
        assert!(ended.unwrap_err().contains("longer than 524288 bytes"), "{one}");
        assert!(took < Duration::from_millis(50), "{one}: {took:?}");
    }
}

const TOKENS: &[&str] = &[
    "a",
    "b",
    "sum",
    "by",
    "without",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "5m",
    "1",
    "0x",
    "1e",
    ",",
    ":",
    "=",
    "=~",
    "!=",
    "\"x\"",
    "'",
    "`",
    "+",
    "-",
    "^",
    "%",
    "atan2",
    "@",
    "offset",
    "start()",
    "step()",
    "rate",
    "on",
    "ignoring",
    "group_left",
    "bool",
    "fill",
    "or",
    "unless",
    "#\n",
    "é",
    "\\",
    "anchored",
    "smoothed",
    "topk",
    "inf",
    "nan",
    "__name__",
    " ",
    "\u{feff}",
    "\0",
];

#[test]
fn b8_noise_ends_in_words_and_in_time_that_grows_with_its_length() {
    let source = source();
    let mut numbers = Numbers::new(8);
    // A megabyte of each in all, in pieces of every length.
    for bytes in [16, 64, 1_000, 30_000, LENGTH_MAX - 100] {
        for _ in 0..(1 << 20) / bytes / 16 + 1 {
            let mut tokens = String::new();
            while tokens.len() + 12 < bytes {
                tokens.push_str(TOKENS[numbers.below(52) as usize]);
                tokens.push_str(if numbers.below(2) == 0 { " " } else { "" });
            }
            let letters: Vec<u8> =
                (0..bytes).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect();
            let letters = String::from_utf8_lossy(&letters).into_owned();
            for text in [tokens, letters] {
                let (_, took) = survives(&source, &text);
                let most = Duration::from_millis(200) + Duration::from_micros(bytes as u64);
                assert!(took < most, "{bytes} bytes took {took:?}: {text:.200}");
            }
        }
    }
}

#[test]
fn b8_a_long_text_of_whatever_the_grammar_allows_is_answered() {
    let source = source();
    let mut queries = Queries::new(11);
    let mut parts = Vec::new();
    let mut bytes = 0;
    while bytes < 100_000 {
        let text = queries.question().text;
        let Ok(expr) = promql::parse(&text, ParseOptions::ALL) else { continue };
        // What fails by itself would hide all that comes after it.
        if expr.value_type() == ValueType::Vector && survives(&source, &text).0.is_ok() {
            bytes += text.len();
            parts.push(text);
        }
    }
    for between in [") or (", ") and (", ") unless ("] {
        let text = format!("({})", parts.join(between));
        let (ended, took) = survives(&source, &text);
        println!("{} queries, {} bytes: {took:?}", parts.len(), text.len());
        assert_eq!(ended, Ok(()));
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
