use super::*;
use proptest::prelude::*;

fn is_match(pattern: &str, value: &str) -> bool {
    AnchoredRegex::new(pattern).unwrap().is_match(value)
}

#[test]
fn the_whole_value_has_to_match() {
    assert!(is_match("fo+", "foo") && !is_match("fo+", "xfoo") && !is_match("fo+", "foox"));
    assert!(is_match("a|ab", "ab") && is_match("(a|ab)(c|bcd)", "abcd"));
    assert!(is_match("a.+|b.+", "bx") && !is_match("a.+|b.+", "xbx"));
    assert!(is_match("", "") && !is_match("", "x"));
}

#[test]
fn brackets_and_braces_are_read_as_re2_reads_them() {
    assert!(is_match("a{b}", "a{b}") && is_match("a{,2}", "a{,2}") && is_match("{", "{"));
    assert!(is_match("a{2}", "aa") && is_match("a{1,}", "aaa") && is_match("a{1,2}b", "ab"));
    assert!(is_match("[[a]+", "[a") && is_match("[[:digit:]x]+", "1x"));
    assert!(is_match("[a&&b]+", "a&b") && is_match("[]a]+", "]a") && is_match("[^]a]", "b"));
    assert!(is_match("\\p{Greek}\\x{41}", "αA") && is_match("[{]", "{"));
}

#[test]
fn a_syntax_error_has_re2s_words() {
    let cases = [
        ("a[b", "missing closing ]: `[b`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("\\q", "invalid escape sequence: `\\q`"),
        ("a\\1", "invalid escape sequence: `\\1`"),
        ("a(?i_b)", "invalid or unsupported Perl syntax: `(?i_`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        ("[x\\p{Grek}]", "invalid character class range: `\\p{Grek}`"),
        ("\\p{L", "invalid character class range: `\\p{L`"),
        ("\\pX", "invalid character class range: `\\pX`"),
        ("a|*?", "missing argument to repetition operator: `*?`"),
        ("**", "missing argument to repetition operator: `*`"),
        (".**", "invalid nested repetition operator: `**`"),
        ("a*??", "invalid nested repetition operator: `*??`"),
        ("xa{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("\\b++", "invalid nested repetition operator: `++`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{99999999999999999999999}", "invalid repeat count: `{99999999999999999999999}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("(a{500}){3}", "invalid repeat count: `{3}`"),
        ("(?:(x{2,}){2}|y{1000}){2}", "invalid repeat count: `{2}`"),
        ("(?P<n>a{100}){11}", "invalid repeat count: `{11}`"),
        ("a(?i-x)", "invalid or unsupported Perl syntax: `(?i-x`"),
        ("(?u)a", "invalid or unsupported Perl syntax: `(?u`"),
        ("(?R:a)", "invalid or unsupported Perl syntax: `(?R`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?<=a)", "invalid named capture: `(?<=a)`"),
        ("(?P<a.b>a)", "invalid named capture: `(?P<a.b>`"),
        ("\\u0061", "invalid escape sequence: `\\u`"),
        ("[\\U0061]", "invalid escape sequence: `\\U`"),
    ];
    for (pattern, text) in cases {
        let error = AnchoredRegex::new(pattern).unwrap_err().to_string();
        assert_eq!(error, format!("error parsing regexp: {text}"));
    }
}

#[test]
fn what_re2_takes_is_taken() {
    assert!(is_match("(?)aaa", "aaa") && is_match("(?:)*a", "a") && is_match("(?ii)A", "a"));
    assert!(is_match("(?s-i:a)b", "ab") && is_match("(?i-i)a", "a") && !is_match("(?i-i)a", "A"));
    assert!(is_match("\\p{^Greek}", "b") && !is_match("\\p{^Greek}", "α"));
    assert!(is_match("\\P{^Greek}", "α") && is_match("[\\p{^Greek}]", "b"));
    assert!(is_match("\\p{Any}\\pL\\p{Old_Italic}\\P{Cs}", "xa𐌀x") && !is_match("\\p{Cs}", "x"));
    assert!(is_match("(?P<1>a)(?<1>b)", "ab") && is_match("(?P<_>a)*?", "aa"));
    assert!(is_match("a??b+?", "bb") && is_match("^*a$*", "a") && is_match("(a*)*", "aa"));
    assert!(is_match("((a{1000}){0}b){1000}", &"b".repeat(1000)));
    assert!(is_match("(a{0}){1000}", "") && is_match("(a{2}b{2}){2,}", "aabbaabb"));
    assert!(is_match("a{,2}{2}", "a{,2}}") && is_match("[[:^word:]\\_]", "_"));
}

#[test]
fn a_bracket_that_groups_are_asked_of_may_be_closed_by_the_text() {
    let regex = CaptureRegex::new("a)|(b").unwrap();
    assert_eq!(regex.captures("ax"), Some(vec![Some("a"), None]));
    assert_eq!(regex.captures("xb"), Some(vec![Some("b"), Some("b")]));
    assert_eq!(regex.captures("bx"), None);
    assert!(AnchoredRegex::new("a)|(b").is_err());
    assert!(CaptureRegex::new("a\\").is_err() && CaptureRegex::new("\\Qa").is_err());
}

#[test]
fn a_dot_matches_a_newline_and_classes_are_ascii() {
    assert!(is_match("a.b", "a\nb") && is_match(".*x", "\n\nx"));
    assert!(is_match("\\d+", "12") && !is_match("\\d", "٣"));
    assert!(is_match("[\\d_]+", "1_2") && !is_match("\\w", "é") && is_match("\\W", "é"));
    assert!(is_match("\\Qa.b\\E+", "a.bb") && !is_match("\\Qa.b\\E", "axb"));
}

#[test]
fn what_is_an_operator_to_our_library_only_is_a_character() {
    assert!(is_match("\\<a.*", "<ab") && !is_match("\\<a.*", "ab") && is_match("a\\>?", "a>"));
    assert!(is_match("[a-z--b]+", "az-.A") && !is_match("[a-z--b]", "+"));
    assert!(is_match("[+--]+", "+,-") && !is_match("[+--]", "."));
    assert!(is_match("[--a]+", "-Aa") && !is_match("[--a]", "b"));
    assert!(is_match("[]-a]+", "]^_`a") && !is_match("[]-a]", "-"));
    assert!(is_match("[^]a-]", "x") && !is_match("[^]a-]", "-") && is_match("[a-]+", "a-"));
    assert!(is_match("[\\d-z]+", "1-z") && !is_match("[\\d-z]", "a") && is_match("[a^]+", "^a"));
    assert!(is_match("[a&&b]+", "&ab") && is_match("[a~~[:digit:]]+", "~1"));
    assert!(is_match("[\\pL-z]+", "é-z") && !is_match("[\\pL-z]", "+"));
    assert!(is_match("[[:alpha:]-z]+", "a-z") && is_match("[\\x{41}-\\x{43}]+", "ABC"));
    assert!(is_match("[^]-a]", "b") && is_match("[\\]a]+", "a]") && is_match("[a\\-z]+", "-z"));
    assert!(is_match("\\101\\1012[\\102-\\104]\\0", "AA2C\0"));
    assert!(is_match("[[:]+", "[:") && is_match("a{01}", "a{01}") && !is_match("a{01}", "a"));
    assert!(is_match("a{1,02}", "a{1,02}") && is_match("a{0,10}b", "aab"));
    for wrong in
        ["[.-\\d]", "[+-\\s]", "[!-\\pL]", "\\18", "[\\b]", "[\\Qa\\E]", "[z--]", "[a-\\d]"]
    {
        assert!(AnchoredRegex::new(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_alternation_of_literals_is_a_set() {
    let many = (0..5_000).map(|n| format!("host-{n}\\.example")).collect::<Vec<_>>().join("|");
    let regex = AnchoredRegex::new(&many).unwrap();
    assert_eq!(regex.literals().map(<[Text]>::len), Some(5_000));
    assert!(regex.is_match("host-4999.example") && !regex.is_match("host-4999xexample"));
    // As dashboards put a variable of many values in: in brackets, and with something around.
    for around in ["(V)", "(?:V)", "^(V)$", "((V))", "node-(V)", "(V):9100", "a(V)b"] {
        let regex = AnchoredRegex::new(&around.replace('V', &many)).unwrap();
        let value = around.replace('V', "host-4999.example").replace(['(', ')', '^', '$'], "");
        assert!(regex.is_match(value.trim_start_matches("?:")), "{around} {value}");
        assert!(!regex.is_match(&value.replace("4999", "5000")), "{around}");
    }
    let prefixed = AnchoredRegex::new("node-(a|b|c)").unwrap();
    assert_eq!(prefixed.literals().unwrap().len(), 3);
}

#[test]
fn the_start_of_what_matches_is_known() {
    let prefixes = |pattern: &str| {
        let regex = AnchoredRegex::new(pattern).unwrap();
        let list = regex.prefixes().iter();
        list.map(|prefix| format!("{}{:?}", prefix.text, prefix.rest)).collect::<Vec<_>>()
    };
    assert_eq!(prefixes("node_.*"), ["node_Anything"]);
    assert_eq!(prefixes("node_.+|up"), ["node_Something", "upNothing"]);
    assert_eq!(prefixes("a(b|c.*)"), ["abNothing", "acAnything"]);
    assert_eq!(prefixes("a.*b"), ["aAsRegex"]);
    assert_eq!(prefixes("a[0-9]+"), (0..10).map(|n| format!("a{n}AsRegex")).collect::<Vec<_>>());
    assert_eq!(prefixes(".*a"), ["AsRegex"]);
    assert_eq!(prefixes(".+"), ["Something"]);
    assert_eq!(prefixes("(?i)ab.*").len(), 4);
    assert_eq!(prefixes("a|b"), Vec::<String>::new());
}

proptest! {
    #[test]
    fn prefixes_and_the_regex_agree(
        pattern in "([ab.]|[ab][*+?]|\\.[*+]|\\((a|b.*|ab)\\|[ab.]{0,2}[*]?\\)|[|]){1,6}",
        values in prop::collection::vec("[abc]{0,4}", 0..20),
    ) {
        let Ok(regex) = AnchoredRegex::new(&pattern) else { return Ok(()) };
        for value in values.iter().filter(|_| regex.literals().is_none()) {
            let by_prefix = regex.prefixes().iter().any(|prefix| {
                value.strip_prefix(&*prefix.text).is_some_and(|rest| match prefix.rest {
                    Rest::Nothing => rest.is_empty(),
                    Rest::Anything => true,
                    Rest::Something => !rest.is_empty(),
                    Rest::AsRegex => regex.is_match(value),
                })
            });
            prop_assert_eq!(by_prefix, regex.is_match(value), "{} {}", pattern, value);
        }
    }
}

#[test]
fn bombs_are_refused() {
    assert!(AnchoredRegex::new("(a{1000}){1000}").is_err());
    assert!(AnchoredRegex::new(&"(".repeat(100_000)).is_err());
    assert!(AnchoredRegex::new(&format!("{}.+", "a".repeat(PATTERN_BYTES_MAX))).is_err());
    assert!(AnchoredRegex::new("a(").is_err());
    // Spelled out, this is 10 GB.
    let values = (0..50_000).map(|n| n.to_string()).collect::<Vec<_>>().join("|");
    assert!(AnchoredRegex::new(&format!("b|{}({values})", "a".repeat(200_000))).is_err());
}

#[test]
fn groups_can_be_asked_for() {
    let regex = CaptureRegex::new("(?P<host>[^:]+):(\\d+)?").unwrap();
    assert_eq!(regex.captures("h:1"), Some(vec![Some("h:1"), Some("h"), Some("1")]));
    assert_eq!(regex.captures("h:"), Some(vec![Some("h:"), Some("h"), None]));
    assert_eq!(regex.captures("h"), None);
    assert_eq!(regex.groups_named("host"), [1]);
    let twice = CaptureRegex::new("(?P<n>a)|(?:(?<n>b)(?P<1>c))").unwrap();
    assert_eq!((twice.groups_named("n"), twice.groups_named("1")), (vec![1, 2], vec![3]));
}
