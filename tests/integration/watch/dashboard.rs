//! The dashboard: that its JSON is what Grafana documents, and that each question of it is answered.

use std::{collections::BTreeSet, process::Command};

use regex::Regex;
use serde_json::Value;

use super::{Flock, example};

/// Nothing to show is what is to be hoped for, or there is no limit to show here.
const MAY_BE_EMPTY: &[&str] = &[" > 0", "starling_memory_limit_bytes"];
const COLUMNS: u64 = 24;
/// Those that Grafana brings along and that this one uses.
const PANELS: &[&str] = &["row", "stat", "table", "timeseries"];

fn dashboard() -> Value {
    serde_json::from_str(&example("grafana/starling.json")).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn targets(panel: &Value) -> impl Iterator<Item = &Value> {
    panel["targets"].as_array().into_iter().flatten()
}

#[test]
fn the_dashboard_is_what_its_script_makes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grafana/dashboard.py");
    let output = Command::new("python3").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(made == dashboard(), "run `python3 dashboard.py > starling.json` in examples/grafana");
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!(dashboard["id"], Value::Null, "an id is of one Grafana alone");
    let uid = dashboard["uid"].as_str().unwrap();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!((1..=40).contains(&uid.len()) && uid.chars().all(is_plain), "{uid}");
    assert!(!dashboard["title"].as_str().unwrap().is_empty());
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38, "of Grafana 10");
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());

    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!((variables[0]["type"].as_str(), names[0]), (Some("datasource"), "datasource"));
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        let kind = panel["type"].as_str().unwrap();
        assert!(PANELS.contains(&kind), "{title}: {kind}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id twice");
        let mut letters = BTreeSet::new();
        for target in targets(panel) {
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}: a refId twice");
        }
        assert_eq!(kind == "row", letters.is_empty(), "{title}");
    }
    let mut found = Vec::new();
    strings(&dashboard, "", &mut found);
    let variable = Regex::new(r"\$\{?([a-zA-Z_]+)").unwrap();
    for (key, text) in found {
        for named in variable.captures_iter(text) {
            let is_known =
                names.contains(&&named[1]) || ["__rate_interval", "__all"].contains(&&named[1]);
            assert!(is_known, "`{}` in {key}: {text}", &named[0]);
        }
    }
}

/// All texts, by the key that they stand under. A source or a variable of another Grafana would leave all
/// panels empty.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<(String, &'a str)>) {
    match value {
        Value::String(text) => found.push((key.to_owned(), text)),
        Value::Array(values) => values.iter().for_each(|value| strings(value, key, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "datasource" {
                    assert_eq!(value["uid"], "${datasource}", "{value}");
                    assert_eq!(value["type"], "prometheus", "{value}");
                }
                strings(value, key, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn no_panel_lies_on_another() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
        assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another at {cell:?}", panel["title"]);
        }
    }
}

/// As Grafana would ask, with everything chosen.
fn filled_in(expression: &str) -> String {
    let filled = expression
        .replace("$__rate_interval", "10s")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$destination", ".*");
    assert!(!filled.contains('$'), "{filled}");
    filled
}

pub(super) async fn shows_something(flock: &Flock) {
    let dashboard = dashboard();
    let mut asked = 0;
    for panel in panels(&dashboard) {
        for target in targets(panel) {
            let expression = filled_in(target["expr"].as_str().unwrap());
            asked += 1;
            if MAY_BE_EMPTY.iter().any(|part| expression.contains(part)) {
                // It must parse, and ask for what there is.
                flock.ask(&expression).await;
                let expression = expression.replace("starling_memory_limit_bytes", "up");
                flock.has_all_that_is_named_in(&expression).await;
                continue;
            }
            let what = format!("`{}` showed something: {expression}", panel["title"]);
            flock.find(&what, &expression).await;
            flock.has_all_that_is_named_in(&expression).await;
        }
    }
    assert!(asked > 80, "only {asked} questions");
    let chooses = Regex::new(r"^label_values\((.*), ([a-z]+)\)$").unwrap();
    for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
        let query = filled_in(variable["query"]["query"].as_str().unwrap());
        let asked = chooses.captures(&query).expect("a variable offers values of a label");
        let found = flock.find(&query, &asked[1]).await;
        assert!(found.iter().all(|series| series["metric"][&asked[2]].is_string()), "{query}");
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let expression = filled_in(annotation["expr"].as_str().unwrap());
        flock.ask(&expression).await;
        flock.has_all_that_is_named_in(&expression).await;
    }
}
