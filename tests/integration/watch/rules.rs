//! The alert rules: what promtool says of them, and that each one is tested, documented, and asks for
//! what there is.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::{Flock, PATIENCE, queries};
use crate::{eventually, process};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prometheus");
/// There only where the service manager sets a limit.
const LIMITED_ONLY: &str = "starling_memory_limit_bytes";

fn yaml(file: &str) -> Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output =
        Command::new("python3").args(["-c", script, file]).current_dir(FOLDER).output().unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rules() -> Vec<Value> {
    let file: Value = yaml("starling.rules.yml");
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn alerts() -> impl Iterator<Item = (String, Value)> {
    let named = |rule: Value| Some((rule["alert"].as_str()?.to_owned(), rule));
    rules().into_iter().filter_map(named)
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(FOLDER).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_takes_them_and_each_fires_when_it_should() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "starling.rules.yml"]);
    promtool(&["test", "rules", "starling.rules.test.yml"]);
}

#[test]
fn each_alert_is_tested_and_says_what_to_do() {
    let tests: Value = yaml("starling.rules.test.yml");
    let tests = tests["tests"].as_array().unwrap();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let mut count = 0;
    for (name, rule) in alerts() {
        let fires = tests.iter().find(|test| test["name"] == *name);
        let fires = fires.unwrap_or_else(|| panic!("`{name}` is not tested"));
        let asked = fires["promql_expr_test"].as_array().unwrap();
        let expected: Vec<bool> =
            asked.iter().map(|one| !one["exp_samples"].as_array().unwrap().is_empty()).collect();
        assert_eq!(expected, [false, true], "`{name}` is first silent, then fires");

        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let text = |key: &str| rule["annotations"][key].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("runbook"), format!("docs/alerts.md#{}", name.to_lowercase()));
        let heading = format!("\n### {name}\n");
        assert!(guide.contains(&heading), "`{name}` has no section in docs/alerts.md");
        assert!(!text("summary").is_empty() && !text("description").is_empty(), "{name}");
        count += 1;
    }
    assert_eq!(guide.matches("\n### Starling").count(), count, "sections of alerts that are gone");
}

/// A command that an alert names must be there when someone types it at night.
#[test]
fn the_commands_that_alerts_name_are_there() {
    let command = regex::Regex::new(r"`(starling(?: [a-z][a-z.-]*| --[a-z.-]+)*)").unwrap();
    let mut count = 0;
    for (name, rule) in alerts() {
        let description = rule["annotations"]["description"].as_str().unwrap().to_owned();
        for found in command.captures_iter(&description) {
            let mut words = found[1].split(' ').skip(1);
            let Some(word) = words.next() else { continue };
            let output = Command::new(env!("CARGO_BIN_EXE_starling"))
                .args([word, "--help"])
                .output()
                .unwrap();
            let help = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "`{name}` names `starling {word}`");
            for flag in words.filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "`{name}` names `{}`: {help}", &found[1]);
            }
            count += 1;
        }
    }
    assert!(count > 10, "only {count} commands were found");
}

pub(super) async fn ask_the_same_as_is_shown(flock: &Flock) {
    let mut asked = 0;
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap().replace(LIMITED_ONLY, "1");
        asked += queries::selectors(&expression).len();
        flock.has_all_that_is_named_in(&expression).await;
    }
    assert!(asked > 60, "only {asked} selectors were found");
}

/// All are evaluated without an error, and none fires while all is well.
pub(super) async fn are_silent(flock: &Flock) {
    let url = flock.prometheus.url("/api/v1/rules");
    let loaded = eventually("all rules were evaluated", PATIENCE, || async {
        let answer = process::json(&url).await.unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    assert_eq!(loaded.len(), rules().len());
    for rule in loaded {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_ne!(rule["state"], "firing", "{rule:#}");
    }
    for record in rules().iter().filter_map(|rule| rule["record"].as_str()) {
        flock.find(&format!("there was `{record}`"), record).await;
    }
}
