//! How rules of relabelling are read from YAML and written back: Prometheus' `relabel_config`.

use super::read::yaml;
use super::value::{Setting, wanted};
use guard::RelabelRule;
use guard::relabel::Action;
use serde_json::{Map, Value, json};

const RULES: &str = "a list of rules, such as - {action: labeldrop, regex: pod_.*}";

impl Setting for Vec<RelabelRule> {
    fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| wanted(RULES, value))?;
        let rules = list.iter().enumerate();
        rules.map(|(at, one)| rule(one).map_err(|error| format!("rule {at}: {error}"))).collect()
    }

    fn write(&self) -> String {
        let rules: Vec<Value> = self.iter().map(rule_json).collect();
        // JSON is YAML on one line.
        Value::from(rules).to_string()
    }
}

/// Rules by themselves, or under the key that they have in a configuration of ours or Prometheus'.
pub(crate) fn rules_of(text: &str) -> Result<Vec<RelabelRule>, String> {
    let value = yaml(text)?;
    let keys = ["metric_relabel_configs", "write_relabel_configs", "relabel_configs"];
    let under = keys.iter().find_map(|key| value.get(key));
    Vec::read(under.unwrap_or(&value))
}

fn rule(value: &Value) -> Result<RelabelRule, String> {
    let keys = value.as_object().ok_or_else(|| wanted("a rule, such as {action: keep}", value))?;
    let mut rule = RelabelRule::default();
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
        let told = |error: String| format!("{key}: {error}");
        match key.as_str() {
            "source_labels" => {
                let labels = value.as_array().ok_or_else(|| told(wanted("a list", value)))?;
                let labels = labels.iter().map(|label| text(label).map(Into::into));
                rule.source_labels = labels.collect::<Result<_, _>>().map_err(told)?;
            }
            "separator" => rule.separator = text(value).map_err(told)?,
            "target_label" => rule.target_label = text(value).map_err(told)?,
            "regex" => rule.regex = text(value).map_err(told)?,
            "replacement" => rule.replacement = text(value).map_err(told)?,
            "modulus" => rule.modulus = u64::read(value).map_err(told)?,
            "action" => {
                let name = text(value).map_err(told)?;
                let unknown = || format!("unknown relabel action \"{name}\"");
                rule.action = Action::parse(&name).ok_or_else(unknown)?;
            }
            _ => {
                return Err(told(
                    "unknown key; known here: source_labels, separator, target_label, regex, \
                     modulus, replacement, action"
                        .to_owned(),
                ));
            }
        }
    }
    Ok(rule)
}

/// Text, also where YAML takes it for a number or a truth: `replacement: 1`.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(wanted("text", value)),
    }
}

/// The rule with the keys that are not at their default, `action` always.
pub(crate) fn rule_json(rule: &RelabelRule) -> Value {
    let default = RelabelRule::default();
    let mut keys = Map::new();
    if !rule.source_labels.is_empty() {
        let labels: Vec<&str> = rule.source_labels.iter().map(|label| &**label).collect();
        keys.insert("source_labels".to_owned(), json!(labels));
    }
    for (key, value, default) in [
        ("separator", &rule.separator, &default.separator),
        ("regex", &rule.regex, &default.regex),
        ("target_label", &rule.target_label, &default.target_label),
        ("replacement", &rule.replacement, &default.replacement),
    ] {
        if value != default {
            keys.insert(key.to_owned(), json!(value));
        }
    }
    if rule.modulus != 0 {
        keys.insert("modulus".to_owned(), json!(rule.modulus));
    }
    keys.insert("action".to_owned(), json!(rule.action.as_str()));
    Value::Object(keys)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use guard::relabel::Action;

    const FILE: &str = r#"
limits:
  metric_relabel_configs:
    - source_labels: [__name__, le]
      separator: "-"
      regex: http_.*;(0.1|1)
      action: Drop
    - {target_label: zone, replacement: 1}
    - {action: hashmod, source_labels: [a], modulus: 8, target_label: b}
    - {action: labeldrop, regex: "a\nb"}
    - regex: x
      replacement:
      target_label: y
overrides:
  team:
    metric_relabel_configs: []
"#;

    #[test]
    fn rules_are_read_as_prometheus_reads_them_and_printed_so_that_they_read_the_same() {
        let (config, faults) = Config::parse(FILE);
        assert_eq!(faults, []);
        let rules = &config.limits.relabel_rules;
        assert_eq!(rules.len(), 5);
        assert_eq!(rules[0].action, Action::Drop);
        assert_eq!(rules[0].separator, "-");
        assert_eq!(rules[1].replacement, "1");
        assert_eq!(rules[2].modulus, 8);
        assert_eq!(rules[3].regex, "a\nb");
        assert_eq!(rules[4].replacement, "$1", "no value is as good as no key");
        assert!(config.overrides[0].1.relabel_rules.is_empty(), "a tenant may have none");
        let (again, faults) = Config::parse(&config.print());
        assert_eq!(faults, []);
        assert_eq!(again.limits.relabel_rules, *rules);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_told_with_its_key_and_place() {
        for (rules, wanted) in [
            ("5", "limits.metric_relabel_configs: wanted a list of rules"),
            ("[5]", "rule 0: wanted a rule"),
            ("[{}, {sources: [a]}]", "rule 1: sources: unknown key"),
            ("[{action: replaced}]", "rule 0: unknown relabel action \"replaced\""),
            ("[{modulus: -1}]", "rule 0: modulus: wanted a whole number"),
            ("[{source_labels: a}]", "rule 0: source_labels: wanted a list"),
            ("[{regex: [a]}]", "rule 0: regex: wanted text"),
            (
                "[{action: keep, regex: '('}]",
                "limits.metric_relabel_configs[0]: error parsing regexp",
            ),
            (
                "[{action: keep}, {}]",
                "limits.metric_relabel_configs[1]: relabel configuration for \
              replace action requires 'target_label' value",
            ),
        ] {
            let text = format!("limits: {{metric_relabel_configs: {rules}}}");
            let (config, mut faults) = Config::parse(&text);
            faults.extend(config.check());
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|fault| fault.contains(wanted)), "{rules}: {told:?}");
        }
    }
}
