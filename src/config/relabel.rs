//! Relabelling rules: YAML into what was typed; compiling and checking them is the model's.

use std::path::Path;

use crate::{
    config::{
        decode::{Findings, Section},
        problem::{Place, Problems},
        yaml::{self, Node},
    },
    model::relabel::{Action, NameValidation, Rule, RuleSpec},
};

/// The rules of the list `key`; `empty` is what an empty entry is told as.
pub(super) fn rules(
    section: &mut Section<'_, '_>,
    key: &'static str,
    validation: NameValidation,
    empty: &str,
) -> Vec<Rule> {
    let nodes = section.entries(key, empty);
    nodes.into_iter().filter_map(|node| rule(node, key, validation, section.findings)).collect()
}

/// A text that is a list of rules and nothing else.
pub(super) fn list(text: &str, validation: NameValidation) -> Result<Vec<Rule>, Problems> {
    let mut findings = Findings::of(Path::new(""));
    let (root, problems) = yaml::read(text);
    findings.problems = problems;
    let root = root.filter(|root| !root.is_null());
    if let Some(node) = root.as_ref().filter(|root| root.as_seq().is_none()) {
        let message = format!("expected a list of relabelling rules, found {}", node.kind());
        findings.problem(node.place, message);
    }
    let mut rules = Vec::new();
    for node in root.as_ref().and_then(Node::as_seq).unwrap_or(&[]) {
        if node.is_null() {
            findings.problem(node.place, "empty or null relabeling rule");
        } else {
            rules.extend(rule(node, "relabel_configs", validation, &mut findings));
        }
    }
    if findings.problems.is_empty() { Ok(rules) } else { Err(Problems(findings.problems)) }
}

fn rule(
    node: &Node,
    list: &'static str,
    validation: NameValidation,
    findings: &mut Findings,
) -> Option<Rule> {
    let problems_before = findings.problems.len();
    let mut section = Section::open(node, list, findings)?;
    let action = action(&mut section);
    let spec = RuleSpec {
        source_labels: source_labels(&mut section),
        separator: typed_text(&mut section, "separator"),
        regex: typed_text(&mut section, "regex"),
        modulus: section.number("modulus", 0..=i128::from(u64::MAX)),
        target_label: typed_text(&mut section, "target_label"),
        replacement: typed_text(&mut section, "replacement"),
        action: Some(action.unwrap_or_default()),
    };
    let places: Vec<(&'static str, Place)> = FIELDS
        .iter()
        .map(|field| (*field, section.typed(field).map_or(node.place, |node| node.place)))
        .collect();
    section.close();
    action?;
    match Rule::compile(spec, validation) {
        Ok(rule) => (findings.problems.len() == problems_before).then_some(rule),
        Err(faults) => {
            for fault in faults {
                let place = places.iter().find(|(field, _)| *field == fault.field);
                findings.problem(place.map_or(node.place, |(_, place)| *place), fault.message);
            }
            None
        }
    }
}

const FIELDS: [&str; 7] =
    ["source_labels", "separator", "regex", "modulus", "target_label", "replacement", "action"];

/// `None`, told: the action is unknown or empty.
fn action(section: &mut Section<'_, '_>) -> Option<Action> {
    let text = match typed_text(section, "action") {
        Some(text) => text,
        None if section.has("action") => return None,
        None => return Some(Action::default()),
    };
    match Action::parse(&text) {
        Ok(action) => Some(action),
        Err(message) => {
            let place = section.place_of("action");
            section.problem(place, message);
            None
        }
    }
}

/// An empty value is an empty text here, not the default: so Prometheus takes it.
fn typed_text(section: &mut Section<'_, '_>, key: &'static str) -> Option<String> {
    let node = section.typed(key)?;
    if node.is_null() {
        return Some(String::new());
    }
    section.text(key).map(str::to_owned)
}

fn source_labels(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    section.get("source_labels")?;
    let texts = section.texts("source_labels");
    Some(texts.into_iter().map(|(text, _)| text.to_owned()).collect())
}
