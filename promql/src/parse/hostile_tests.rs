//! Queries meant to do harm: deep, long, or noise. Each has to end soon, on a small stack, in a
//! tree or an error.

use crate::{DEPTH_MAX, LENGTH_MAX, ParseOptions, parse, parse_selector, parse_series, pretty};
use proptest::prelude::*;
use std::time::Duration;

const STACK_BYTES: usize = 512 << 10;
/// Far more than any of it takes on a busy machine; work with the square of the text takes longer.
const SOON: Duration = Duration::from_secs(15);

/// Parses, prints and drops `query` on a small stack; answers whether it parsed.
#[expect(clippy::disallowed_methods, reason = "this is about time on the wall")]
fn survives(name: &str, query: String) -> Result<(), String> {
    let started = std::time::Instant::now();
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let expr = parse(&query, ParseOptions::ALL).map_err(|error| error.to_string())?;
        let text = expr.to_string();
        let again = parse(&text, ParseOptions::ALL);
        let too_long = text.len() > LENGTH_MAX;
        assert!(too_long || again.is_ok_and(|again| again.to_string() == text));
        let _ = pretty(&expr);
        assert_eq!(expr.clone(), expr);
        drop(expr);
        Ok(())
    });
    let answer = thread.unwrap().join().unwrap();
    let took = started.elapsed();
    println!(
        "{name}: {took:?} {}",
        answer.as_ref().map_or_else(|e: &String| &e[..e.len().min(90)], |()| "ok")
    );
    assert!(took < SOON, "{name} took {took:?}");
    answer
}

fn many(times: usize, one: &str, between: &str) -> String {
    vec![one; times].join(between)
}

fn nested(times: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn depth_is_limited_whatever_makes_it() {
    let open = [
        ("parentheses", "(", "a", ")"),
        ("calls", "abs(", "a", ")"),
        ("aggregations", "sum(", "a", ")"),
        ("signs", "-", "a", ""),
        ("signs of a number", "-", "1", ""),
        ("powers", "a^", "a", ""),
        ("subqueries", "", "a", "[5m:]"),
        ("operands on the right", "1+(", "a", ")"),
        ("operands on the left", "(", "a", "+1)"),
        ("levels", "(a^b*c+d<e and f or g", "", ")"),
        ("durations", "", "a[((((((((5m))))))))]", ""),
    ];
    for (name, open, inner, close) in open {
        let answer = survives(name, nested(10_000, open, inner, close));
        assert!(answer.is_err() || name == "durations", "{name}");
    }
    for inner in ["(", "-", "1^", "min_of(1,"] {
        for head in ["a[", "a offset (", "a offset -("] {
            let query = format!("{head}{}", inner.repeat(10_000));
            assert!(survives(inner, query).unwrap_err().contains("deeper"), "{head}{inner}");
        }
    }
}

#[test]
fn the_deepest_query_is_parsed_on_a_small_stack() {
    assert_eq!(survives("parentheses", nested(DEPTH_MAX, "(", "a", ")")), Ok(()));
    assert!(survives("one more", nested(DEPTH_MAX + 1, "(", "a", ")")).is_err());
    let deep = [
        nested(DEPTH_MAX, "abs(", "a", ")"),
        nested(DEPTH_MAX, "sum by (a) (", "a", ")"),
        nested(DEPTH_MAX / 2, "-abs(", "a", ")"),
        nested(DEPTH_MAX / 2, "(1 + ", "a", ")"),
        nested(DEPTH_MAX / 2, "topk(1, b + ", "a", ")"),
        nested(DEPTH_MAX / 3, "avg_over_time(sum(", "a", ")[5m:])"),
        nested(DEPTH_MAX / 7, "(a or b and c < d + e * f ^ ", "a", ")"),
        format!("a[{}]", nested(DEPTH_MAX, "(", "5m", ")")),
        format!("a[{}5m]", "-".repeat(DEPTH_MAX)),
        format!("a offset {}", nested(DEPTH_MAX - 1, "(", "5m+step()", ")")),
    ];
    for (index, query) in deep.into_iter().enumerate() {
        let answer = survives(&format!("deep {index}"), query);
        assert!(answer.as_ref().err().is_none_or(|error| !error.contains("deeper")), "{answer:?}");
    }
}

#[test]
fn long_queries_take_time_in_proportion() {
    let labels = many(60_000, "a", ",");
    let long = [
        ("or", many(100_000, "a", " or ")),
        ("sum", many(250_000, "1", "+")),
        ("mixed levels", many(50_000, "a*b", "-c or ")),
        ("arguments", format!("label_join(a,\"b\",\"c\",{})", many(100_000, "\"d\"", ","))),
        ("matchers", format!("{{{}}}", many(60_000, "a=\"b\"", ","))),
        ("grouping", format!("sum by ({labels}) (a)")),
        ("matching", format!("a * on ({labels}) group_left ({}) b", many(60_000, "c", ","))),
        ("string", format!("\"{}\"", "\\xff".repeat(120_000))),
        ("duration", format!("a[{}]", many(200_000, "1", "+"))),
        ("spaces", format!("a{}b", " ".repeat(500_000))),
        ("comments", format!("{}a", "# c\n".repeat(100_000))),
        (
            "matchers deep down",
            nested(120, "(", &format!("{{{}}}", many(60_000, "a=\"b\"", ",")), ")"),
        ),
        ("long chain deep down", nested(100, "(", &many(80_000, "a", " or "), ")")),
        ("quotes", many(120_000, "'\\n'", "")),
        ("regexes", format!("{{{}}}", many(40_000, "a=~\"b.+\"", ","))),
        ("same regex", many(20_000, "{a=~\"x.*(b|c)+\"}", " or ")),
        (
            "big regexes",
            (0..260)
                .map(|i| format!("{{a=~\".{{{}}}\"}}", 300 + i))
                .collect::<Vec<_>>()
                .join(" or "),
        ),
        ("fill", many(30_000, "fill", "         ")),
    ];
    for (name, query) in long {
        assert!(query.len() <= LENGTH_MAX, "{name} {}", query.len());
        let answer = survives(name, query);
        assert!(
            answer.is_ok() || ["quotes", "spaces", "fill", "big regexes"].contains(&name),
            "{name}: {answer:?}"
        );
    }
}

#[test]
fn a_text_over_the_limit_is_refused_unread() {
    for one in ["-", "(", "a or ", "\u{fffd}", "\"", "{", "1", "[", "# "] {
        let query = one.repeat((1 << 20) / one.len());
        assert!(survives(one, query).unwrap_err().contains("longer than 524288 bytes"));
    }
}

#[test]
fn noise_ends_in_an_error_and_not_in_a_panic() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let words = [
        "a",
        "sum",
        "by",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "5m",
        "1",
        ",",
        ":",
        "=",
        "=~",
        "!=",
        "\"x\"",
        "'",
        "+",
        "-",
        "^",
        "@",
        "offset",
        "start",
        "step()",
        "rate",
        "on",
        "group_left",
        "bool",
        "or",
        "#\n",
        "é",
        "\\",
        "anchored",
        "fill",
        "1e",
        "0x",
        " ",
    ];
    for length in [10, 100, 1000, 100_000] {
        for _ in 0..20_000_000 / (length * 1000) {
            let query: String = (0..length).map(|_| words[random() % words.len()]).collect();
            let _ = parse(&query, ParseOptions::ALL);
            let _ = parse_selector(&query);
            let _ = parse_series(&query);
        }
    }
    let letters: String =
        (0..500_000).map(|_| char::from(32 + u8::try_from(random() % 95).unwrap())).collect();
    assert!(survives("letters", letters).is_err());
}

/// Queries of every kind, to be cut up and glued together.
const QUERIES: &[&str] = &[
    "sum by (job, instance) (rate(http_requests_total{job=~\"a.*\",code!=\"500\"}[5m] offset 1h))",
    "a * on (x) group_left (y) b - ignoring (z) fill (0) c > bool 3 ^ -2",
    "topk(5, -m @ start()) or max_over_time(sum(m)[1h:5m] @ 100 offset -(step() * 2))",
    "label_replace({\"m.x\", `l`='v\\n\\xff'}, \"a\", \"$1\", \"b\", \"(.*)\") and on () vector(1h30m)",
    "quantile(0.9, foo anchored) </ 5 atan2 time() % 0x1F unless bar[5m]",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = parse(&text, ParseOptions::ALL);
        let _ = parse_selector(&text);
        let _ = parse_series(&text);
    }

    #[test]
    fn what_parses_prints_to_the_same_tree(
        from in 0..QUERIES.len(), other in 0..QUERIES.len(),
        cut in any::<prop::sample::Index>(), back in any::<prop::sample::Index>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let (a, b) = (QUERIES[from], QUERIES[other]);
        let text = format!(
            "{}{}{}", &a[..cut.index(a.len())], &b[back.index(b.len())..], &a[keep.index(a.len())..]
        );
        for text in [text, a[cut.index(a.len())..].to_owned(), a[..cut.index(a.len())].to_owned()] {
            let Ok(expr) = parse(&text, ParseOptions::ALL) else { continue };
            let printed = expr.to_string();
            let again = parse(&printed, ParseOptions::ALL);
            prop_assert_eq!(again.map(|again| again.to_string()), Ok(printed.clone()));
            let formatted = pretty(&expr).unwrap();
            let again = parse(&formatted, ParseOptions::ALL);
            prop_assert_eq!(again.map(|again| again.to_string()), Ok(printed));
        }
    }
}
