//! What rules of relabelling do to a series, step by step: `cumae relabel test`.
//!
//! Not here: what a rule does (`guard::relabel`), how rules are read (`config::relabel`),
//! the route that tells the same (`gates.rs`).

use crate::cli::RelabelTest;
use crate::config::{Config, rule_json, rules_of};
use crate::told::{Colour, Style, parse_error};
use guard::relabel::{Relabeled, Step, VALUE_BYTES_MAX};
use guard::{RelabelRule, Relabeling};
use model::{LabelSet, TenantId};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::path::PathBuf;

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file of rules cannot be read.
    #[error("failed to read `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// The rules are none.
    #[error("{0}")]
    Rules(String),
    /// The name of no tenant.
    #[error("--tenant: {0}")]
    Tenant(#[from] model::tenant::BadTenantId),
    /// stdin gives no series.
    #[error("failed to read series from stdin: {0}")]
    Stdin(io::Error),
    /// Not a series; with its caret.
    #[error("{0}")]
    Series(String),
    /// A series was dropped, or could not be written, and the caller wanted to know.
    #[error("{0} of {1} series are not written")]
    NotWritten(usize, usize),
}

/// Runs `cumae relabel test`.
pub(crate) fn run(config: &Config, flags: &RelabelTest) -> Result<(), Error> {
    let rules = rules(config, flags)?;
    let relabeling = compiled(&rules)?;
    let style = Style::of_stdout();
    let texts = series_texts(flags)?;
    let mut gone = 0;
    for text in &texts {
        let labels = series(text).map_err(Error::Series)?;
        let steps = relabeling.steps(&labels);
        gone += usize::from(written(&labels, &steps).is_err());
        crate::print(&told(&labels, &rules, &steps, style));
    }
    if flags.strict && gone > 0 { Err(Error::NotWritten(gone, texts.len())) } else { Ok(()) }
}

fn rules(config: &Config, flags: &RelabelTest) -> Result<Vec<RelabelRule>, Error> {
    if let Some(path) = &flags.rules {
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| Error::Read { path: path.clone(), source })?;
        return rules_of(&text)
            .map_err(|error| Error::Rules(format!("{}: {error}", path.display())));
    }
    let tenant = TenantId::parse(&flags.tenant)?;
    let rules = config.limit_table().of(&tenant).relabel_rules.clone();
    if rules.is_empty() {
        let none = format!("tenant {tenant} has no metric_relabel_configs; give some with --rules");
        return Err(Error::Rules(none));
    }
    Ok(rules)
}

fn compiled(rules: &[RelabelRule]) -> Result<Relabeling, Error> {
    Relabeling::compile(rules).map_err(|faults| {
        let faults: Vec<String> =
            faults.iter().map(|(place, fault)| format!("rule {place}: {fault}")).collect();
        Error::Rules(faults.join("\n"))
    })
}

/// The series that are given; without one, those on stdin, one a line.
fn series_texts(flags: &RelabelTest) -> Result<Vec<String>, Error> {
    if !flags.series.is_empty() {
        return Ok(flags.series.clone());
    }
    let mut text = String::new();
    io::stdin().take(STDIN_BYTES_MAX).read_to_string(&mut text).map_err(Error::Stdin)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// More series than a person looks at.
const STDIN_BYTES_MAX: u64 = 16 << 20;

/// A series as PromQL writes it, without a sample.
fn series(text: &str) -> Result<LabelSet, String> {
    let read = promql::parse_series(text).map_err(|error| parse_error(text, &error))?;
    if read.items.is_empty() {
        Ok(read.labels)
    } else {
        Err(format!("{text}: wanted a series without samples, such as up{{job=\"a\"}}"))
    }
}

/// The labels that are written in the end, or why none are.
fn written(labels: &LabelSet, steps: &[Step]) -> Result<LabelSet, String> {
    let labels = match steps.last().map(|step| &step.outcome) {
        None => labels,
        Some(Relabeled::Kept(labels)) => labels,
        Some(Relabeled::Dropped) => return Err("dropped".to_owned()),
        Some(Relabeled::TooLong { .. }) => {
            return Err(format!("refused: more than {VALUE_BYTES_MAX} bytes in one label"));
        }
    };
    if labels.is_empty() {
        return Err("dropped: no label is left".to_owned());
    }
    if labels.metric_name().is_empty() {
        return Err("refused: no metric name".to_owned());
    }
    Ok(labels.clone())
}

/// The steps for people: what each rule is, and what it made of the series.
fn told(labels: &LabelSet, rules: &[RelabelRule], steps: &[Step], style: Style) -> String {
    let mut text = format!("{labels:?}\n");
    for (place, (rule, step)) in rules.iter().zip(steps).enumerate() {
        let after = match &step.outcome {
            Relabeled::Kept(labels) if step.acted => format!("{labels:?}"),
            Relabeled::Kept(_) => style.paint(Colour::Dim, "as before"),
            Relabeled::Dropped => style.paint(Colour::Bad, "dropped"),
            Relabeled::TooLong { .. } => style.paint(Colour::Bad, "too long"),
        };
        text += &format!("  {place}  {}\n     {after}\n", rule_json(rule));
    }
    let end = match written(labels, steps) {
        Ok(labels) => style.paint(Colour::Good, &format!("written as {labels:?}")),
        Err(why) => style.paint(Colour::Bad, &why),
    };
    text + "  " + &end + "\n"
}

/// The steps as JSON, each as Prometheus tells those of a target.
pub(crate) fn steps_json(rules: &[RelabelRule], text: &str) -> Result<Value, String> {
    let labels = series(text)?;
    let relabeling = compiled(rules).map_err(|error| error.to_string())?;
    let steps = relabeling.steps(&labels);
    let told = rules.iter().zip(&steps).map(|(rule, step)| {
        let (output, keep) = match &step.outcome {
            Relabeled::Kept(labels) => (object(labels), true),
            Relabeled::Dropped | Relabeled::TooLong { .. } => (json!({}), false),
        };
        json!({"rule": rule_json(rule), "output": output, "keep": keep})
    });
    let told: Vec<Value> = told.collect();
    Ok(match written(&labels, &steps) {
        Ok(labels) => json!({"steps": told, "written": object(&labels)}),
        Err(why) => json!({"steps": told, "reason": why}),
    })
}

fn object(labels: &LabelSet) -> Value {
    labels.iter().map(|(name, value)| ((**name).to_owned(), json!(&**value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<RelabelRule> {
        rules_of(
            "- {action: labeldrop, regex: pod}\n- {target_label: zone, replacement: eu}\n\
             - {action: drop, source_labels: [job], regex: b}",
        )
        .unwrap()
    }

    #[test]
    fn each_step_is_told_and_what_is_written_in_the_end() {
        let labels = series("up{job=\"a\", pod=\"x\"}").unwrap();
        let steps = compiled(&rules()).unwrap().steps(&labels);
        let text = told(&labels, &rules(), &steps, Style::PLAIN);
        let wanted = "{__name__=\"up\", job=\"a\", pod=\"x\"}
  0  {\"action\":\"labeldrop\",\"regex\":\"pod\"}
     {__name__=\"up\", job=\"a\"}
  1  {\"action\":\"replace\",\"replacement\":\"eu\",\"target_label\":\"zone\"}
     {__name__=\"up\", job=\"a\", zone=\"eu\"}
  2  {\"action\":\"drop\",\"regex\":\"b\",\"source_labels\":[\"job\"]}
     as before
  written as {__name__=\"up\", job=\"a\", zone=\"eu\"}
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn the_route_tells_each_step_with_its_rule_and_what_becomes_of_the_series() {
        let kept = steps_json(&rules(), "up{job=\"a\",pod=\"x\"}").unwrap();
        assert_eq!(kept["steps"].as_array().unwrap().len(), 3);
        assert_eq!(kept["steps"][0]["output"], json!({"__name__": "up", "job": "a"}));
        assert_eq!(kept["written"], json!({"__name__": "up", "job": "a", "zone": "eu"}));

        let dropped = steps_json(&rules(), "up{job=\"b\"}").unwrap();
        assert_eq!(dropped["steps"][2]["keep"], json!(false));
        assert_eq!(dropped["reason"], json!("dropped"));
        assert_eq!(
            steps_json(&[], "up").unwrap(),
            json!({"steps": [], "written": {"__name__": "up"}})
        );
        assert_eq!(
            steps_json(&[], "{a=\"1\"}").unwrap()["reason"],
            json!("refused: no metric name")
        );
        assert!(steps_json(&[], "up 1 2").unwrap_err().contains("without samples"));
        assert!(steps_json(&[], "up{").is_err());
    }

    #[test]
    fn rules_are_read_alone_or_under_the_key_that_they_have_elsewhere() {
        let rule = "{action: labeldrop, regex: pod}";
        for text in [
            format!("- {rule}"),
            format!("metric_relabel_configs: [{rule}]"),
            format!("write_relabel_configs: [{rule}]"),
            format!("relabel_configs:\n  - {rule}"),
        ] {
            assert_eq!(rules_of(&text).unwrap().len(), 1, "{text}");
        }
        for (text, wanted) in [
            ("5", "wanted a list of rules"),
            ("rules: []", "wanted a list of rules"),
            ("- {action: nothing}", "unknown relabel action"),
            ("[", ""),
        ] {
            let error = rules_of(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
