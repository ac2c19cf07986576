//! B9: regexes that take memory to compile or time to match.

use super::stack::survives;
use model::{Column, LabelSet, SeriesColumns};
use std::sync::Arc;
use std::time::Duration;
use tests::memory::MemorySource;

/// Five thousand names as Grafana puts them into a query for "All", with and without escapes.
fn names(escaped: bool) -> Vec<String> {
    let dot = if escaped { "\\\\." } else { "-" };
    (0..5_000).map(|n| format!("host-{n:05}{dot}example{dot}com")).collect()
}

fn source() -> Arc<MemorySource> {
    let mut source = MemorySource::default();
    for n in 0..6_000 {
        let mut labels = LabelSet::default();
        labels.set("__name__", "up");
        let dot = if n % 2 == 0 { "." } else { "-" };
        labels.set("instance", format!("host-{n:05}{dot}example{dot}com").as_str());
        let mut floats = Column::default();
        floats.push(490_000, 1.0);
        source.add(&SeriesColumns { labels, floats, ..SeriesColumns::default() });
    }
    Arc::new(source)
}

#[test]
fn b9_the_all_variable_of_5_000_values_is_answered_and_quick() {
    let source = source();
    for escaped in [false, true] {
        let names = names(escaped).join("|");
        for text in [
            format!("up{{instance=~\"{names}\"}}"),
            format!("sum(up{{instance=~\"({names})\"}})"),
            format!("count(rate(up{{instance!~\"({names})\"}}[5m]))"),
        ] {
            let (ended, took) = survives(&source, &text);
            println!("{} bytes, escaped {escaped}: {took:?}", text.len());
            assert_eq!(ended, Ok(()));
            // Parsed, printed, parsed again, and asked twice.
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    }
}

#[test]
fn b9_a_regex_that_is_too_large_is_refused_before_it_takes_memory() {
    let source = source();
    let long = "x".repeat(5_000);
    let bombs = [
        ("(a{1000}){1000}".to_owned(), "repeat count"),
        ("((a{100}){100}){100}".to_owned(), "repeat count"),
        ("[\\\\p{L}]{1000}.*[\\\\p{L}]{1000}".to_owned(), "larg"),
        (".{1000}.{1000}.{1000}".to_owned(), "larg"),
        (format!("{}a{}", "(".repeat(60), ")".repeat(60)), "deep"),
        (format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000)), "deep"),
        (format!("{long}.+"), "longer than 4096 bytes"),
        (format!("{}b", "(a.*)|".repeat(900)), "longer than 4096 bytes"),
        ("[a-z".to_owned(), "missing closing ]"),
        // What is never closed is looked for once.
        (format!("[{}", "[:".repeat(100_000)), "missing closing ]"),
        ("\\\\x{".repeat(60_000), "hexadecimal"),
    ];
    for (pattern, word) in bombs {
        let (ended, took) = survives(&source, &format!("up{{instance=~\"{pattern}\"}}"));
        let reason = ended.unwrap_err();
        assert!(reason.contains(word), "{pattern:.40}: {reason:.300}");
        assert!(took < Duration::from_millis(500), "{pattern:.40}: {took:?}");
        for call in
            ["label_replace(up, \"x\", \"$1\", \"instance\", \"P\")", "info(up, {x=~\"P\"})"]
        {
            let (ended, took) = survives(&source, &call.replace('P', &pattern));
            assert!(ended.is_err(), "{call}: {pattern:.40}");
            assert!(took < Duration::from_millis(500), "{call}: {pattern:.40}: {took:?}");
        }
    }
}

#[test]
fn b9_a_regex_that_is_slow_elsewhere_is_matched_in_time_that_grows_with_the_values() {
    let source = source();
    for pattern in [
        ".*",
        "(.*)*",
        "(.*.*)*x",
        "(a|aa)+",
        "(.*)(.*)(.*)(.*)(.*)[^c]om",
        "(h|ho|hos|host)*-.*",
        "(?i).*COM.*",
        "[^x]*[^y]*[^z]*com",
        ".*0.*1.*2.*3.*",
        "(x+x+)+y|host.*",
    ] {
        let (ended, took) = survives(&source, &format!("count(up{{instance=~\"{pattern}\"}})"));
        println!("{pattern}: {took:?}");
        assert_eq!(ended, Ok(()), "{pattern}");
        // 6,000 values, asked for twice.
        assert!(took < Duration::from_millis(500), "{pattern}: {took:?}");
    }
}
