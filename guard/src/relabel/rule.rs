//! One rule: what an operator writes, what is wrong with it, and what it does.

use super::working::Working;
use super::{TooLong, Verdict, bounded};
use model::Text;
use model::regex::{AnchoredRegex, CaptureRegex, RegexError, Template};

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the replacement where the regex matches.
    #[default]
    Replace,
    /// Drops the series unless the regex matches.
    Keep,
    /// Drops the series if the regex matches.
    Drop,
    /// Drops the series unless the source equals the target label's value.
    KeepEqual,
    /// Drops the series if the source equals the target label's value.
    DropEqual,
    /// Sets the target label to a hash of the source, modulo `modulus`.
    HashMod,
    /// Copies each label whose name matches to the name that the replacement makes of it.
    LabelMap,
    /// Takes each label away whose name matches.
    LabelDrop,
    /// Takes each label away whose name does not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl Action {
    /// Every action, in order.
    pub const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// The action as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// The action of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(name))
    }

    fn needs_target(self) -> bool {
        !matches!(
            self,
            Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep
        )
    }

    fn compares(self) -> bool {
        matches!(self, Self::KeepEqual | Self::DropEqual)
    }
}

/// One `relabel_config`: each field is a key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelRule {
    /// The labels whose values, joined, are the source.
    pub source_labels: Vec<Text>,
    /// What stands between them.
    pub separator: String,
    /// The label that is set, or compared.
    pub target_label: String,
    /// What the whole source, or label name, has to match.
    pub regex: String,
    /// The modulus of `hashmod`.
    pub modulus: u64,
    /// What the target label is set to; `$1` and `${name}` are groups of the regex.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
}

/// The separator of a rule that names none.
const SEPARATOR: &str = ";";
/// The regex of a rule that names none.
const REGEX: &str = "(.*)";
/// The replacement of a rule that names none.
const REPLACEMENT: &str = "$1";

impl Default for RelabelRule {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.to_owned(),
            target_label: String::new(),
            regex: REGEX.to_owned(),
            modulus: 0,
            replacement: REPLACEMENT.to_owned(),
            action: Action::Replace,
        }
    }
}

/// What is wrong with a rule, in Prometheus' words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum RelabelFault {
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    NoModulus,
    #[error("relabel configuration for {action} action requires 'target_label' value")]
    NoTarget { action: &'static str },
    #[error("'replacement' can not be set for {action} action")]
    Replacement { action: &'static str },
    #[error("\"\" is invalid 'replacement' for labelmap action: it is a label's name")]
    NoName,
    #[error(
        "{action} action requires only 'source_labels' and `target_label`, and no other fields"
    )]
    OnlyLabels { action: &'static str },
    #[error("{action} action requires only 'regex', and no other fields")]
    OnlyRegex { action: &'static str },
    #[error("\"\" is not a valid label name ('source_labels')")]
    EmptySource,
    #[error(transparent)]
    Regex(#[from] RegexError),
}

impl RelabelRule {
    /// What is wrong with the rule, but for its regex.
    fn check(&self) -> Result<(), RelabelFault> {
        let action = self.action.as_str();
        let has_replacement = self.replacement != REPLACEMENT;
        let has_separator = self.separator != SEPARATOR;
        if self.source_labels.iter().any(|name| name.is_empty()) {
            return Err(RelabelFault::EmptySource);
        }
        if self.action == Action::HashMod && self.modulus == 0 {
            return Err(RelabelFault::NoModulus);
        }
        if self.action.needs_target() && self.target_label.is_empty() {
            return Err(RelabelFault::NoTarget { action });
        }
        match self.action {
            Action::LabelMap if self.replacement.is_empty() => Err(RelabelFault::NoName),
            Action::Lowercase | Action::Uppercase if has_replacement => {
                Err(RelabelFault::Replacement { action })
            }
            compares if compares.compares() && has_replacement => {
                Err(RelabelFault::Replacement { action })
            }
            compares
                if compares.compares()
                    && (self.regex != REGEX || self.modulus != 0 || has_separator) =>
            {
                Err(RelabelFault::OnlyLabels { action })
            }
            Action::LabelDrop | Action::LabelKeep
                if !self.source_labels.is_empty()
                    || !self.target_label.is_empty()
                    || self.modulus != 0
                    || has_separator
                    || has_replacement =>
            {
                Err(RelabelFault::OnlyRegex { action })
            }
            _ => Ok(()),
        }
    }
}

/// A rule that can be run.
#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    source_labels: Vec<Text>,
    separator: String,
    target_label: String,
    deed: Deed,
}

/// What a rule does, with what it needs for that.
#[derive(Clone, Debug)]
enum Deed {
    Replace(Replace),
    /// Keeps what matches, or the rest.
    Filter {
        regex: AnchoredRegex,
        keeps: bool,
    },
    /// Keeps what equals the target label's value, or the rest.
    Compare {
        keeps: bool,
    },
    HashMod {
        modulus: u64,
    },
    Map {
        regex: CaptureRegex,
        replacement: Template,
    },
    /// Keeps labels whose name matches, or the rest.
    FilterLabels {
        regex: AnchoredRegex,
        keeps: bool,
    },
    Case(fn(char) -> char),
}

#[derive(Clone, Debug)]
struct Replace {
    regex: CaptureRegex,
    target: Template,
    replacement: Template,
    /// What an empty source sets the target label to, whatever the regex: a rule that gives no regex
    /// and has no group in it means to set a label.
    constant: Option<Text>,
}

impl Replace {
    fn new(rule: &RelabelRule) -> Result<Self, RegexError> {
        let regex = CaptureRegex::new(&rule.regex)?;
        let has_group = |text: &str| text.contains('$');
        let is_constant =
            rule.regex == REGEX && !has_group(&rule.target_label) && !has_group(&rule.replacement);
        Ok(Self {
            target: Template::new(&rule.target_label, &regex),
            replacement: Template::new(&rule.replacement, &regex),
            regex,
            constant: is_constant.then(|| rule.replacement.as_str().into()),
        })
    }
}

impl CompiledRule {
    pub(super) fn new(rule: &RelabelRule) -> Result<Self, RelabelFault> {
        rule.check()?;
        let filter = |keeps| AnchoredRegex::new(&rule.regex).map(|regex| (regex, keeps));
        let deed = match rule.action {
            Action::Replace => Deed::Replace(Replace::new(rule)?),
            Action::Keep | Action::Drop => {
                let (regex, keeps) = filter(rule.action == Action::Keep)?;
                Deed::Filter { regex, keeps }
            }
            Action::KeepEqual => Deed::Compare { keeps: true },
            Action::DropEqual => Deed::Compare { keeps: false },
            Action::HashMod => Deed::HashMod { modulus: rule.modulus },
            Action::LabelMap => {
                let regex = CaptureRegex::new(&rule.regex)?;
                let replacement = Template::new(&rule.replacement, &regex);
                Deed::Map { regex, replacement }
            }
            Action::LabelKeep | Action::LabelDrop => {
                let (regex, keeps) = filter(rule.action == Action::LabelKeep)?;
                Deed::FilterLabels { regex, keeps }
            }
            Action::Lowercase => Deed::Case(lower),
            Action::Uppercase => Deed::Case(upper),
        };
        Ok(Self {
            source_labels: rule.source_labels.clone(),
            separator: rule.separator.clone(),
            target_label: rule.target_label.clone(),
            deed,
        })
    }

    /// Runs the rule over some labels.
    pub(super) fn run(&self, labels: &mut Working) -> Result<Verdict, TooLong> {
        let source = self.source(labels);
        let keeps = match &self.deed {
            Deed::Filter { regex, keeps } => regex.is_match(&source) == *keeps,
            Deed::Compare { keeps } => (labels.get(&self.target_label) == source) == *keeps,
            deed => {
                self.change(deed, labels, &source)?;
                true
            }
        };
        Ok(if keeps { Verdict::Keep } else { Verdict::Drop })
    }

    fn change(&self, deed: &Deed, labels: &mut Working, source: &str) -> Result<(), TooLong> {
        match deed {
            Deed::Filter { .. } | Deed::Compare { .. } => {}
            Deed::Replace(replace) => self.replace(replace, labels, source)?,
            Deed::HashMod { modulus } => {
                // The last half of the digest, as Prometheus takes it; a modulus of 0 is a fault.
                let [.., a, b, c, d, e, f, g, h] = md5::compute(source.as_bytes()).0;
                let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                let shard = hash.checked_rem(*modulus).unwrap_or(0);
                labels.set(&self.target_label, shard.to_string().into());
            }
            Deed::Map { regex, replacement } => map(regex, replacement, labels)?,
            Deed::FilterLabels { regex, keeps } => {
                labels.retain(|name| regex.is_match(name) == *keeps);
            }
            Deed::Case(of) => {
                let text: String = source.chars().map(of).collect();
                labels.set(&self.target_label, bounded(text.len() as u64, || text)?);
            }
        }
        Ok(())
    }

    fn source(&self, labels: &Working) -> String {
        let mut source = String::new();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                source.push_str(&self.separator);
            }
            source.push_str(labels.get(name));
        }
        source
    }

    fn replace(
        &self,
        Replace { regex, target, replacement, constant }: &Replace,
        labels: &mut Working,
        source: &str,
    ) -> Result<(), TooLong> {
        if let (Some(constant), true) = (constant, source.is_empty()) {
            labels.set(&self.target_label, constant.clone());
            return Ok(());
        }
        let Some(groups) = regex.captures(source) else { return Ok(()) };
        let target = expand(target, &groups)?;
        // What names no label sets none.
        if !target.is_empty() {
            labels.set(&target, expand(replacement, &groups)?);
        }
        Ok(())
    }
}

fn map(regex: &CaptureRegex, replacement: &Template, labels: &mut Working) -> Result<(), TooLong> {
    for (name, value) in labels.in_order() {
        if let Some(groups) = regex.captures(&name) {
            labels.set(&expand(replacement, &groups)?, value);
        }
    }
    Ok(())
}

fn expand(template: &Template, groups: &[Option<&str>]) -> Result<Text, TooLong> {
    bounded(template.expanded_len(groups), || template.expand(groups))
}

/// One character for one, as Go has it: what has no such lower case stays.
fn lower(c: char) -> char {
    let mut many = c.to_lowercase();
    match (many.next(), many.next()) {
        (Some(one), None) => one,
        // The only one whose full lower case is longer: İ.
        (Some(first), Some(_)) => first,
        _ => c,
    }
}

/// The same for upper case. What is two letters in upper case stays (ß), but for Greek letters with
/// an iota below, which have a single capital.
fn upper(c: char) -> char {
    let mut many = c.to_uppercase();
    if let (Some(one), None) = (many.next(), many.next()) {
        return one;
    }
    let above = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(c) + above).unwrap_or(c)
}
