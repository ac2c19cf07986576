//! Relabelling: rules that change, keep or drop series by their labels, as Prometheus'
//! `relabel_config` has them. Plain data in, plain data out.
//!
//! A *rule* is what an operator writes (`rule.rs`); [`Relabeling`] is a list of them, compiled. The
//! rules of a list are run one after the other, each over what the one before left.
//!
//! # Invariants
//! - The same labels give the same outcome: a caller may remember it per series for ever.
//! - No text that a rule computes is longer than [`VALUE_BYTES_MAX`], whatever the labels are.
//!
//! Not here: which tenant has which rules (`limits.rs`); reading them from YAML (`node`); whether what
//! comes out is a series that may be stored (`distributor::validate`).

mod rule;
mod working;

pub use rule::{Action, RelabelFault, RelabelRule};

use model::{LabelSet, Text};
use rule::CompiledRule;
use working::Working;

/// The longest name or value that a rule may compute, in bytes.
pub const VALUE_BYTES_MAX: u64 = 64 << 10;

/// A list of rules, ready to be run.
#[derive(Clone, Debug, Default)]
pub struct Relabeling {
    rules: Vec<CompiledRule>,
}

/// What becomes of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relabeled {
    /// It goes on with these labels.
    Kept(LabelSet),
    /// A rule dropped it, or no label was left of it.
    Dropped,
    /// The rule at this place made a text longer than [`VALUE_BYTES_MAX`].
    TooLong {
        /// The place of the rule in its list.
        rule: usize,
    },
}

/// What one rule did to a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What becomes of the series, the rule included.
    pub outcome: Relabeled,
    /// Whether the rule changed a label or dropped the series.
    pub acted: bool,
}

/// A rule that cannot be run on these labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooLong;

/// What a rule says about going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
}

impl Relabeling {
    /// Compiles a list of rules.
    ///
    /// # Errors
    /// Every fault of every rule, with the rule's place.
    pub fn compile(rules: &[RelabelRule]) -> Result<Self, Vec<(usize, RelabelFault)>> {
        let mut compiled = Vec::with_capacity(rules.len());
        let mut faults = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            match CompiledRule::new(rule) {
                Ok(rule) => compiled.push(rule),
                Err(fault) => faults.push((place, fault)),
            }
        }
        if faults.is_empty() { Ok(Self { rules: compiled }) } else { Err(faults) }
    }

    /// Whether there is no rule, so that nothing ever changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Runs the rules over the labels of a series.
    #[must_use]
    pub fn apply(&self, labels: &LabelSet) -> Relabeled {
        let mut working = Working::new(labels);
        for (place, rule) in self.rules.iter().enumerate() {
            match rule.run(&mut working) {
                Ok(Verdict::Keep) => {}
                Ok(Verdict::Drop) => return Relabeled::Dropped,
                Err(TooLong) => return Relabeled::TooLong { rule: place },
            }
        }
        outcome(&working)
    }

    /// Runs the rules and tells what each one did. It ends behind the rule that drops the series.
    #[must_use]
    pub fn steps(&self, labels: &LabelSet) -> Vec<Step> {
        let mut working = Working::new(labels);
        let mut steps = Vec::new();
        let mut before = labels.clone();
        for (place, rule) in self.rules.iter().enumerate() {
            let outcome = match rule.run(&mut working) {
                Ok(Verdict::Keep) => {
                    let labels = working.labels();
                    let acted = labels != before;
                    before = labels.clone();
                    steps.push(Step { outcome: Relabeled::Kept(labels), acted });
                    continue;
                }
                Ok(Verdict::Drop) => Relabeled::Dropped,
                Err(TooLong) => Relabeled::TooLong { rule: place },
            };
            steps.push(Step { outcome, acted: true });
            break;
        }
        steps
    }
}

fn outcome(working: &Working) -> Relabeled {
    let labels = working.labels();
    if labels.is_empty() { Relabeled::Dropped } else { Relabeled::Kept(labels) }
}

/// A text that a rule computed, if it is short enough.
fn bounded(len: u64, text: impl FnOnce() -> String) -> Result<Text, TooLong> {
    if len > VALUE_BYTES_MAX { Err(TooLong) } else { Ok(text().into()) }
}

#[cfg(test)]
mod tests;
