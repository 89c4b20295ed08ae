//! The conformance data's relabelling, through the library: what rules make of labels, and which
//! rules Prometheus refuses, in its own words.

use std::collections::BTreeMap;

use serde_json::Value;
use starling::{
    config,
    model::{
        labels::Labels,
        relabel::{self, Action, NameValidation, Rule, RuleFault, RuleSpec},
    },
};

use crate::{cases, conformance, report};

#[test]
fn rules_make_of_labels_what_prometheus_makes() {
    let Some(folder) = conformance("relabel") else { return };
    let mut faults = Vec::new();
    for file in ["relabel.json", "relabel_vm.json", "relabel_bench.json"] {
        for case in cases(&folder, file) {
            let id = case["id"].as_str().unwrap();
            let expected = (!case["drop"].as_bool().unwrap()).then(|| labels(&case["output"]));
            match relabelled(&case, labels(&case["input"])) {
                Ok(found) if found == expected => {}
                Ok(found) => faults.push(format!("{file} {id}: {found:?}, not {expected:?}")),
                Err(problems) => faults.push(format!("{file} {id}: {problems}")),
            }
        }
    }
    report(&faults);
}

/// Others (`vm_differs_from_prometheus.json`) hash with xxhash and fills `{{label}}` in; we do as Prometheus does.
#[test]
fn where_victoriametrics_differs_we_follow_prometheus() {
    let Some(folder) = conformance("relabel") else { return };
    for case in cases(&folder, "vm_differs_from_prometheus.json") {
        let found = relabelled(&case, exposed(case["input"].as_str().unwrap())).unwrap();
        assert_eq!(found, Some(labels(&case["prometheus"])), "line {}", case["line"]);
    }
}

#[test]
fn rules_are_refused_in_prometheus_words() {
    let Some(folder) = conformance("relabel") else { return };
    for case in cases(&folder, "relabel_validate.json") {
        let outcome = checked(&case);
        let told: Vec<String> = outcome.err().unwrap_or_default();
        match case["error_contains"].as_str() {
            None => assert!(told.is_empty(), "{}: {told:?}", case["id"]),
            Some(expected) => {
                assert!(told.iter().any(|t| t.contains(expected)), "{}: {told:?}", case["id"]);
            }
        }
    }
}

#[test]
fn legacy_target_labels_may_hold_variables() {
    let Some(folder) = conformance("relabel") else { return };
    for case in cases(&folder, "target_label_legacy.json") {
        let target_label = case["target_label"].as_str().map(str::to_owned);
        let spec = RuleSpec { target_label, ..RuleSpec::default() };
        let accepted = Rule::compile(spec, NameValidation::Legacy).is_ok();
        assert_eq!(accepted, case["valid_legacy"].as_bool().unwrap(), "{case}");
    }
}

fn relabelled(case: &Value, labels: Labels) -> Result<Option<Labels>, String> {
    let rules = config::relabel_rules(case["yaml"].as_str().unwrap(), validation(case))
        .map_err(|problems| problems.to_string())?;
    Ok(relabel::apply(&rules, labels))
}

/// The cases are what Go's code checks after YAML: a field that is not there is empty, and only
/// those that have an `action` were given the defaults.
fn checked(case: &Value) -> Result<Rule, Vec<String>> {
    let config = &case["config"];
    let text = |field: &str| config[field].as_str().map(str::to_owned);
    let action = Action::parse(config["action"].as_str().unwrap_or_default());
    let spec = RuleSpec {
        source_labels: config["source_labels"]
            .as_array()
            .map(|names| names.iter().map(|n| n.as_str().unwrap().to_owned()).collect()),
        separator: text("separator"),
        regex: text("regex"),
        modulus: config["modulus"].as_u64(),
        target_label: text("target_label"),
        replacement: text("replacement"),
        action: Some(action.map_err(|error| vec![error])?),
    };
    Rule::compile(spec, validation(case))
        .map_err(|faults| faults.into_iter().map(|RuleFault { message, .. }| message).collect())
}

fn validation(case: &Value) -> NameValidation {
    match case["name_validation_scheme"].as_str() {
        Some("legacy") => NameValidation::Legacy,
        Some("utf8") | None => NameValidation::Utf8,
        Some(other) => panic!("no such scheme: {other}"),
    }
}

fn labels(object: &Value) -> Labels {
    let pairs: BTreeMap<String, String> = serde_json::from_value(object.clone()).unwrap();
    pairs.into_iter().collect()
}

/// `name{label="value",…}`, without escapes.
fn exposed(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap();
    let mut labels: Labels = rest
        .trim_end_matches('}')
        .split(',')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(label, value)| (label, value.trim_matches('"')))
        .collect();
    labels.set("__name__", name);
    labels
}
