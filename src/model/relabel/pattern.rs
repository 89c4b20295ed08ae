//! A rule's regular expression, compiled: it matches whole values only, and a dot matches newlines.

use regex::{Regex, RegexBuilder};

use crate::model::relabel::go_regex;

/// Memory of a compiled expression; one that needs more is refused when the file is checked.
const COMPILED_BYTES_MAX: usize = 10 << 20;
/// Memory of the states an expression remembers; beyond it they are forgotten and found again.
const STATES_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// `.*` or `(.*)`, by far the most common.
    Anything {
        groups: usize,
    },
    /// No special character in it.
    Literal(String),
    Regex {
        regex: Regex,
        names: Vec<(String, usize)>,
    },
}

impl Pattern {
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        match text {
            ".*" => return Ok(Self::Anything { groups: 0 }),
            "(.*)" => return Ok(Self::Anything { groups: 1 }),
            _ if is_literal(text) => return Ok(Self::Literal(text.to_owned())),
            _ => {}
        }
        let translated = go_regex::translate(text).map_err(|why| fault(text, &why))?;
        let regex = RegexBuilder::new(&format!("^(?s:{})$", translated.pattern))
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(STATES_BYTES_MAX)
            .build()
            .map_err(|error| fault(text, &build_fault(&error)))?;
        Ok(Self::Regex { regex, names: translated.names })
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Anything { .. } => true,
            Self::Literal(text) => text == value,
            Self::Regex { regex, .. } => regex.is_match(value),
        }
    }

    /// `None` where `value` does not match. The groups are looked for only where `wanted`, as that
    /// takes an allocation.
    pub(super) fn groups<'v>(&self, value: &'v str, wanted: bool) -> Option<Groups<'v>> {
        if !self.matches(value) {
            return None;
        }
        Some(match self {
            Self::Anything { groups } => Groups::Same { value, groups: *groups },
            Self::Regex { regex, .. } if wanted => Groups::Found(regex.captures(value)?),
            Self::Literal(_) | Self::Regex { .. } => Groups::Same { value, groups: 0 },
        })
    }

    /// The number of the group that a template calls `name`. A number with a leading zero is a name.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        let is_number =
            name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
        if is_number {
            let number: usize = name.parse().ok()?;
            return (number < self.groups_len()).then_some(number);
        }
        match self {
            Self::Anything { .. } | Self::Literal(_) => None,
            Self::Regex { names, .. } => {
                names.iter().find(|(own, _)| own == name).map(|(_, number)| *number)
            }
        }
    }

    /// The whole match counts, too.
    fn groups_len(&self) -> usize {
        match self {
            Self::Anything { groups } => groups + 1,
            Self::Literal(_) => 1,
            Self::Regex { regex, .. } => regex.captures_len(),
        }
    }
}

/// What the groups of a match hold.
pub(super) enum Groups<'v> {
    /// The first `groups` of them hold the whole value.
    Same {
        value: &'v str,
        groups: usize,
    },
    Found(regex::Captures<'v>),
}

impl Groups<'_> {
    /// Empty for a group that took no part in the match.
    pub(super) fn get(&self, number: usize) -> &str {
        match self {
            Self::Same { value, groups } if number <= *groups => value,
            Self::Same { .. } => "",
            Self::Found(captures) => captures.get(number).map_or("", |group| group.as_str()),
        }
    }
}

fn is_literal(text: &str) -> bool {
    !text.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'])
}

fn fault(text: &str, why: &str) -> String {
    format!("error parsing regexp: {why}: `{text}`")
}

/// The library's own message shows the translated pattern, over several lines.
fn build_fault(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(max) => {
            format!("expression too large (more than {max} bytes compiled)")
        }
        regex::Error::Syntax(text) => {
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
        other => other.to_string(),
    }
}
