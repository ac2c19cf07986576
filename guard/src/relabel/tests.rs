//! The cases of `cases.txt`, and what does not fit there.

use super::*;

/// A script of rules, series, and what becomes of them. `tests/external/relabel.py` gives the same
/// cases to a real Prometheus.
const CASES: &str = include_str!("cases.txt");

/// One case: the rules in force, a series, and what becomes of it.
struct Case {
    line: usize,
    rules: Vec<RelabelRule>,
    labels: LabelSet,
    /// `None`: it is dropped.
    wanted: Option<LabelSet>,
}

/// `key=value` pairs with blanks between them; a value is JSON's text, or has no blank.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut rest = line.trim();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, after) = if rest.starts_with('"') {
            let (key, after) = quoted(rest);
            (key, after.strip_prefix('=').unwrap())
        } else {
            let (key, after) = rest.split_once('=').unwrap();
            (key.to_owned(), after)
        };
        let (value, after) = if after.starts_with('"') {
            quoted(after)
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        pairs.push((key, value));
        rest = after.trim_start();
    }
    pairs
}

/// A text in quotes, where `\n`, `\"` and `\\` are known, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("no closing quote: {text}");
}

fn rule(line: &str) -> RelabelRule {
    let mut rule = RelabelRule::default();
    for (key, value) in pairs(line) {
        match &*key {
            "source" => rule.source_labels = value.split(',').map(Text::from).collect(),
            "separator" => rule.separator = value,
            "target" => rule.target_label = value,
            "regex" => rule.regex = value,
            "modulus" => rule.modulus = value.parse().unwrap(),
            "replacement" => rule.replacement = value,
            "action" => rule.action = Action::parse(&value).unwrap(),
            other => panic!("unknown key {other}"),
        }
    }
    rule
}

fn cases() -> Vec<Case> {
    let (mut cases, mut rules, mut labels, mut rules_are_done) =
        (Vec::new(), Vec::new(), LabelSet::default(), true);
    for (line, text) in CASES.lines().enumerate() {
        match text.split_once(' ').unwrap_or((text, "")) {
            ("rule", rest) => {
                if std::mem::take(&mut rules_are_done) {
                    rules = Vec::new();
                }
                rules.push(rule(rest));
            }
            ("in", rest) => {
                rules_are_done = true;
                labels = LabelSet::from_pairs(pairs(rest)).unwrap();
            }
            ("out", rest) => {
                let wanted = Some(LabelSet::from_pairs(pairs(rest)).unwrap());
                let labels = labels.clone();
                cases.push(Case { line: line + 1, rules: rules.clone(), labels, wanted });
            }
            ("dropped", _) => {
                let labels = labels.clone();
                cases.push(Case { line: line + 1, rules: rules.clone(), labels, wanted: None });
            }
            ("" | "#", _) => {}
            (other, _) => panic!("line {}: {other}", line + 1),
        }
    }
    cases
}

#[test]
fn every_case_has_the_outcome_that_prometheus_gives_it() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    for Case { line, rules, labels, wanted } in cases {
        let relabeling = Relabeling::compile(&rules).unwrap();
        let wanted = wanted.map_or(Relabeled::Dropped, Relabeled::Kept);
        assert_eq!(relabeling.apply(&labels), wanted, "line {line} of cases.txt");
    }
}

#[test]
fn every_action_has_a_case() {
    let cases = cases();
    for action in Action::ALL {
        let has = cases.iter().any(|case| case.rules.iter().any(|rule| rule.action == action));
        assert!(has, "{}", action.as_str());
        assert_eq!(Action::parse(&action.as_str().to_uppercase()), Some(action));
    }
    assert_eq!(Action::parse("replaced"), None);
}

#[test]
fn what_is_wrong_with_a_rule_is_told_in_prometheus_words() {
    for (text, wanted) in [
        ("action=hashmod target=a", "relabel configuration for hashmod requires non-zero modulus"),
        (
            "action=hashmod modulus=2",
            "relabel configuration for hashmod action requires 'target_label' value",
        ),
        ("source=a", "relabel configuration for replace action requires 'target_label' value"),
        (
            "action=uppercase source=a",
            "relabel configuration for uppercase action requires 'target_label' value",
        ),
        (
            "action=keepequal source=a",
            "relabel configuration for keepequal action requires 'target_label' value",
        ),
        (
            "action=lowercase target=b replacement=x",
            "'replacement' can not be set for lowercase action",
        ),
        (
            "action=dropequal target=b replacement=x",
            "'replacement' can not be set for dropequal action",
        ),
        (
            "action=dropequal target=b regex=x",
            "dropequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            "action=keepequal target=b separator=x",
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            "action=labeldrop regex=x source=a",
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (
            "action=labelkeep regex=x target=a",
            "labelkeep action requires only 'regex', and no other fields",
        ),
        (
            "action=labelkeep regex=x replacement=a",
            "labelkeep action requires only 'regex', and no other fields",
        ),
        (
            "action=labelmap replacement=",
            "\"\" is invalid 'replacement' for labelmap action: it is a label's name",
        ),
        ("action=keep source=a, regex=x", "\"\" is not a valid label name ('source_labels')"),
        ("action=keep regex=a)", "error parsing regexp: unexpected ): `a)`"),
        ("action=replace target=b regex=a)", "error parsing regexp: unexpected ): `^(?s:a))$`"),
    ] {
        let faults = Relabeling::compile(&[rule(text)]).unwrap_err();
        let told: Vec<String> = faults.iter().map(|(_, fault)| fault.to_string()).collect();
        assert_eq!(told, [wanted], "{text}");
    }
}

#[test]
fn all_faults_of_a_list_are_told_with_their_places() {
    let rules = [rule("source=a"), rule("target=b"), rule("action=keep regex=(")];
    let faults = Relabeling::compile(&rules).unwrap_err();
    assert_eq!(faults.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn steps_tell_what_each_rule_did_up_to_the_one_that_drops() {
    let rules = [
        rule("source=a target=b"),
        rule("source=none regex=x target=c replacement=y"),
        rule("action=drop source=b regex=1"),
        rule("target=never replacement=1"),
    ];
    let labels = LabelSet::from_pairs([("a", "1")]).unwrap();
    let steps = Relabeling::compile(&rules).unwrap().steps(&labels);
    let both = LabelSet::from_pairs([("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(
        steps,
        [
            Step { outcome: Relabeled::Kept(both.clone()), acted: true },
            Step { outcome: Relabeled::Kept(both), acted: false },
            Step { outcome: Relabeled::Dropped, acted: true },
        ]
    );
}

#[test]
fn a_list_of_many_names_is_a_search_and_not_an_automaton() {
    let names: Vec<String> = (0..5_000).map(|number| format!("metric_number_{number}")).collect();
    let regex = names.join("|");
    let keep = RelabelRule {
        source_labels: vec![model::METRIC_NAME.into()],
        regex,
        action: Action::Keep,
        ..RelabelRule::default()
    };
    let relabeling = Relabeling::compile(&[keep]).unwrap();
    let of = |name: &str| LabelSet::from_pairs([(model::METRIC_NAME, name)]).unwrap();
    let known = of("metric_number_4999");
    assert_eq!(relabeling.apply(&known), Relabeled::Kept(known.clone()));
    assert_eq!(relabeling.apply(&of("metric_number_5000")), Relabeled::Dropped);
}

#[test]
fn rules_that_double_a_value_end_at_the_bound_and_not_in_memory() {
    let double = rule("source=a target=a replacement=$1$1");
    let relabeling = Relabeling::compile(&vec![double; 64]).unwrap();
    let labels = LabelSet::from_pairs([("a", "x".repeat(1024))]).unwrap();
    // 64 KiB are reached by the sixth rule.
    assert_eq!(relabeling.apply(&labels), Relabeled::TooLong { rule: 6 });
    let steps = relabeling.steps(&labels);
    assert_eq!(steps.last().unwrap().outcome, Relabeled::TooLong { rule: 6 });
    assert_eq!(steps.len(), 7);
}

#[test]
fn without_a_rule_nothing_changes() {
    let labels = LabelSet::from_pairs([("a", "1")]).unwrap();
    let relabeling = Relabeling::default();
    assert!(relabeling.is_empty());
    assert_eq!(relabeling.apply(&labels), Relabeled::Kept(labels.clone()));
}
