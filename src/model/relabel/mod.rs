//! Relabelling: rules that keep, drop and rewrite label sets (Prometheus `model/relabel`). Typed
//! specs are checked and compiled here; `step` runs them, over targets and over samples alike.

mod go_regex;
mod pattern;
mod step;
mod template;

use std::fmt;

use crate::model::{
    labels::Labels,
    relabel::{pattern::Pattern, step::Step, template::Template},
};

/// Which characters a metric or label name may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameValidation {
    #[default]
    Utf8,
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*` for metrics, without the colon for labels.
    Legacy,
}

impl NameValidation {
    pub fn allows_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => {
                !name.starts_with(|c: char| c.is_ascii_digit())
                    && !name.is_empty()
                    && name.bytes().all(is_word)
            }
        }
    }

    /// A label name that may hold `$1` and `${1}`, to be expanded later.
    fn allows_label_template(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy_label_template(name),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    const ALL: [Self; 11] = [
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

    /// As a file writes it, in any case. A `null` is the empty name.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("relabel action cannot be empty".to_owned());
        }
        Self::ALL
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("unknown relabel action {name:?}"))
    }

    pub fn name(self) -> &'static str {
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
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule as typed: `None` where the file says nothing. A `null` in the file is not nothing but the
/// empty value (`Some("")`, 0), save for `source_labels`: so Go's YAML reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    pub source_labels: Option<Vec<String>>,
    pub separator: Option<String>,
    pub regex: Option<String>,
    pub modulus: Option<u64>,
    pub target_label: Option<String>,
    pub replacement: Option<String>,
    pub action: Option<Action>,
}

/// What is wrong with one field of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// The field's name in the file.
    pub field: &'static str,
    pub message: String,
}

/// A checked and compiled rule. Two rules are equal when what was typed is.
#[derive(Clone, Debug)]
pub struct Rule {
    spec: RuleSpec,
    validation: NameValidation,
    step: Step,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.validation == other.validation
    }
}

impl Rule {
    /// Tells every fault of `spec`, not the first.
    pub fn compile(spec: RuleSpec, validation: NameValidation) -> Result<Self, Vec<RuleFault>> {
        let settings = Settings::of(&spec);
        let mut faults = settings.faults(validation);
        let pattern = Pattern::compile(settings.regex)
            .map_err(|message| faults.push(RuleFault { field: "regex", message }));
        match pattern {
            Ok(pattern) if faults.is_empty() => {
                let step = settings.step(pattern, validation);
                Ok(Self { spec, validation, step })
            }
            Ok(_) | Err(()) => Err(faults),
        }
    }

    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }
}

/// A rule's effect, for a person who asks why a target looks as it does.
#[derive(Clone, Debug)]
pub struct Traced<'a> {
    pub rule: &'a Rule,
    /// As the rule left them; a rule that drops the set leaves it as it was.
    pub labels: Labels,
    /// `false`: this rule dropped the set, and no later one ran.
    pub kept: bool,
}

/// `None`: a rule dropped the set.
pub fn apply(rules: &[Rule], labels: Labels) -> Option<Labels> {
    apply_with(rules, labels, &mut String::new())
}

/// `apply` for a loop over many sets: with a `scratch` that is kept, a set that no rule changes
/// costs no allocation.
pub fn apply_with(rules: &[Rule], mut labels: Labels, scratch: &mut String) -> Option<Labels> {
    rules.iter().all(|rule| rule.step.run(&mut labels, scratch)).then_some(labels)
}

/// What each rule does to the set, up to the one that drops it.
pub fn trace(rules: &[Rule], mut labels: Labels) -> Vec<Traced<'_>> {
    let mut scratch = String::new();
    let mut steps = Vec::with_capacity(rules.len());
    for rule in rules {
        let kept = rule.step.run(&mut labels, &mut scratch);
        steps.push(Traced { rule, labels: labels.clone(), kept });
        if !kept {
            break;
        }
    }
    steps
}

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// A spec with Prometheus' defaults in the gaps. What a rule may not set is compared with these, so
/// that a default written out is no fault.
struct Settings<'a> {
    source_labels: Option<&'a [String]>,
    separator: &'a str,
    regex: &'a str,
    modulus: u64,
    target_label: &'a str,
    replacement: &'a str,
    action: Action,
}

impl<'a> Settings<'a> {
    fn of(spec: &'a RuleSpec) -> Self {
        Self {
            source_labels: spec.source_labels.as_deref(),
            separator: spec.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR),
            regex: spec.regex.as_deref().unwrap_or(DEFAULT_REGEX),
            modulus: spec.modulus.unwrap_or(0),
            target_label: spec.target_label.as_deref().unwrap_or(""),
            replacement: spec.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT),
            action: spec.action.unwrap_or_default(),
        }
    }

    fn faults(&self, validation: NameValidation) -> Vec<RuleFault> {
        let mut faults = Vec::new();
        let mut fault = |field, message| faults.push(RuleFault { field, message });
        if self.source_labels.is_some_and(|names| names.iter().any(String::is_empty)) {
            fault("source_labels", "\"\" is not a valid label name".to_owned());
        }
        let action = self.action;
        match action {
            Action::Keep | Action::Drop => {}
            Action::LabelDrop | Action::LabelKeep => {
                if let Some(field) = self.first_set(&ALL_BUT_REGEX) {
                    let message =
                        format!("{action} action requires only 'regex', and no other fields");
                    fault(field, message);
                }
            }
            Action::LabelMap => {
                if !validation.allows_label_template(self.replacement) {
                    fault("replacement", self.invalid("replacement", self.replacement));
                }
            }
            Action::Replace => self.target_faults(
                |name| {
                    if name.contains('$') {
                        validation.allows_label_template(name)
                    } else {
                        validation.allows_label(name)
                    }
                },
                fault,
            ),
            Action::HashMod => {
                if self.modulus == 0 {
                    let message = "relabel configuration for hashmod requires non-zero modulus";
                    fault("modulus", message.to_owned());
                }
                self.target_faults(|name| validation.allows_label(name), fault);
            }
            Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual => {
                if self.replacement != DEFAULT_REPLACEMENT {
                    fault(
                        "replacement",
                        format!("'replacement' can not be set for {action} action"),
                    );
                }
                if matches!(action, Action::KeepEqual | Action::DropEqual)
                    && let Some(field) = self.first_set(&ALL_BUT_LABELS)
                {
                    let message = format!(
                        "{action} action requires only 'source_labels' and `target_label`, and no other fields"
                    );
                    fault(field, message);
                }
                self.target_faults(|name| validation.allows_label(name), fault);
            }
        }
        faults
    }

    fn target_faults(
        &self,
        allowed: impl Fn(&str) -> bool,
        mut fault: impl FnMut(&'static str, String),
    ) {
        if self.target_label.is_empty() {
            let action = self.action;
            let message =
                format!("relabel configuration for {action} action requires 'target_label' value");
            fault("target_label", message);
        } else if !allowed(self.target_label) {
            fault("target_label", self.invalid("target_label", self.target_label));
        }
    }

    fn invalid(&self, field: &str, value: &str) -> String {
        format!("{value:?} is invalid '{field}' for {} action", self.action)
    }

    /// The first of `fields` that is not at its default.
    fn first_set(&self, fields: &[&'static str]) -> Option<&'static str> {
        fields.iter().copied().find(|&field| match field {
            "source_labels" => self.source_labels.is_some(),
            "separator" => self.separator != DEFAULT_SEPARATOR,
            "regex" => self.regex != DEFAULT_REGEX,
            "modulus" => self.modulus != 0,
            "target_label" => !self.target_label.is_empty(),
            "replacement" => self.replacement != DEFAULT_REPLACEMENT,
            _ => unreachable!("only the fields of the two lists below are asked for"),
        })
    }

    fn step(&self, pattern: Pattern, validation: NameValidation) -> Step {
        let target = || self.target_label.to_owned();
        let kind = match self.action {
            Action::Replace => step::Kind::Replace {
                target: Template::compile(self.target_label, &pattern),
                replacement: Template::compile(self.replacement, &pattern),
                pattern,
                validation,
            },
            Action::Keep => step::Kind::Keep(pattern),
            Action::Drop => step::Kind::Drop(pattern),
            Action::KeepEqual => step::Kind::KeepEqual(target()),
            Action::DropEqual => step::Kind::DropEqual(target()),
            Action::HashMod => step::Kind::HashMod { modulus: self.modulus, target: target() },
            Action::LabelMap => step::Kind::LabelMap {
                replacement: Template::compile(self.replacement, &pattern),
                pattern,
            },
            Action::LabelDrop => step::Kind::LabelDrop(pattern),
            Action::LabelKeep => step::Kind::LabelKeep(pattern),
            Action::Lowercase => step::Kind::Lowercase(target()),
            Action::Uppercase => step::Kind::Uppercase(target()),
        };
        let source = self.source_labels.unwrap_or_default().to_vec();
        Step::new(source, self.separator.to_owned(), kind)
    }
}

const ALL_BUT_REGEX: [&str; 5] =
    ["source_labels", "target_label", "modulus", "separator", "replacement"];
const ALL_BUT_LABELS: [&str; 4] = ["regex", "modulus", "separator", "replacement"];

/// Word characters, `$word` and `${word}`, the first of them no digit.
fn is_legacy_label_template(name: &str) -> bool {
    let mut rest = name;
    while let Some(first) = rest.bytes().next() {
        rest = match first {
            b'$' => match after_variable(&rest[1..]) {
                Some(after) => after,
                None => return false,
            },
            b'0'..=b'9' if rest.len() == name.len() => return false,
            _ if is_word(first) => &rest[1..],
            _ => return false,
        };
    }
    !name.is_empty()
}

/// What follows `word` or `{word}`.
fn after_variable(text: &str) -> Option<&str> {
    let (text, close) = match text.strip_prefix('{') {
        Some(inner) => (inner, "}"),
        None => (text, ""),
    };
    let end = text.bytes().position(|b| !is_word(b)).unwrap_or(text.len());
    if end == 0 { None } else { text[end..].strip_prefix(close) }
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests;
