//! The conformance data's configurations, through the library: what Prometheus accepts is accepted,
//! what it refuses is refused in words that hold its own. What is decided otherwise stands in a
//! table, with the reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data should panic")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use starling::config::{self, Config, Problems};

/// The discoveries that are run today; cases that need others are of the second test below.
const DISCOVERIES: [&str; 4] = ["static", "file", "http", "dns"];

/// Accepted by Prometheus, refused here.
const REFUSED_ON_PURPOSE: [(&str, &str, &str); 1] = [(
    "scrape_config_files_glob.good.yml",
    "`vultr_sd_configs` is not supported yet",
    "an included file has a discovery that comes later; to run without its targets would be silent loss",
)];

/// Refused by Prometheus' agent mode, accepted here with a warning.
const ACCEPTED_ON_PURPOSE: [(&str, &str, &str); 4] = [
    ("agent_mode.with_alert_manager.yml", "`alerting`", WARNED),
    ("agent_mode.with_alert_relabels.yml", "`alerting`", WARNED),
    ("agent_mode.with_rule_files.yml", "`rule_files`", WARNED),
    ("agent_mode.with_remote_reads.yml", "`remote_read`", WARNED),
];
const WARNED: &str = "one file may serve a server and this agent: a server's section is a warning";

#[test]
fn good_are_accepted() {
    let Some(folder) = conformance() else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "good.json").iter().filter(|case| needs_only_ours(case)) {
        let id = case["id"].as_str().unwrap();
        let outcome = load(&folder, case);
        let refused = REFUSED_ON_PURPOSE.iter().find(|(refused, ..)| *refused == id);
        match (outcome, refused) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => faults.push(format!("{id}: accepted, and in the table of refused")),
            (Err(problems), Some((_, why, _))) => {
                if !problems.to_string().contains(why) {
                    faults.push(format!("{id}: refused, but not for {why}: {problems}"));
                }
            }
            (Err(problems), None) => faults.push(format!("{id}: refused: {problems}")),
        }
    }
    report(&faults);
}

#[test]
fn bad_are_refused_in_prometheus_words() {
    let Some(folder) = conformance() else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "bad.json").iter().filter(|case| needs_only_ours(case)) {
        faults.extend(refusal_fault(&folder, case));
    }
    report(&faults);
}

#[test]
fn examples_are_judged_alike() {
    let Some(folder) = conformance() else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "examples.json").iter().filter(|case| needs_only_ours(case)) {
        if !case["accepted"].as_bool().unwrap() {
            faults.extend(refusal_fault(&folder, case));
        } else if let Err(problems) = load(&folder, case) {
            faults.push(format!("{}: refused: {problems}", case["id"]));
        }
    }
    report(&faults);
}

#[test]
fn a_servers_sections_are_warnings() {
    let Some(folder) = conformance() else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "agent_mode.json") {
        let id = case["id"].as_str().unwrap();
        let home = if case["error_contains"].is_null() { "good" } else { "bad" };
        let path = folder.join(home).join(id);
        let config = match config::load(&path, &|_| None) {
            Ok(config) => config,
            Err(problems) => {
                faults.push(format!("{id}: refused: {problems}"));
                continue;
            }
        };
        let expected = ACCEPTED_ON_PURPOSE.iter().find(|(accepted, ..)| *accepted == id);
        let warned = config.warnings.iter().filter(|w| w.contains("not an agent's work")).count();
        let named = expected.is_none_or(|(_, section, _)| config.warnings[0].contains(section));
        if warned != usize::from(expected.is_some()) || !named {
            faults.push(format!("{id}: warnings {:?}", config.warnings));
        }
    }
    report(&faults);
}

/// Whatever a configuration of the corpus needs that is not run yet is told as that, at its line,
/// and no key of Prometheus is taken for a typing error.
#[test]
fn later_discoveries_are_told_as_such() {
    let Some(folder) = conformance() else { return };
    let mut faults = Vec::new();
    for list in ["good.json", "bad.json", "examples.json"] {
        for case in cases(&folder, list).iter().filter(|case| !needs_only_ours(case)) {
            let id = &case["id"];
            let file = folder.join(case["file"].as_str().unwrap());
            let text = fs::read_to_string(&file).unwrap();
            let Err(problems) = config::load(&file, &|_| None) else {
                faults.push(format!("{id}: accepted"));
                continue;
            };
            let expected = later_lines(&text, case);
            let found: BTreeSet<u32> = problems
                .0
                .iter()
                .filter(|problem| problem.message.contains("_sd_configs` is not supported yet"))
                .map(|problem| problem.place.line)
                .collect();
            if found != expected {
                faults.push(format!("{id}: expected lines {expected:?}, found {found:?}"));
            }
            let unknown = problems.0.iter().filter(|p| p.message.starts_with("unknown key"));
            faults.extend(unknown.map(|problem| format!("{id}: {problem}")));
        }
    }
    report(&faults);
}

fn refusal_fault(folder: &Path, case: &Value) -> Option<String> {
    let id = &case["id"];
    let key = case["error_key"].as_str().unwrap();
    match load(folder, case) {
        Ok(_) => Some(format!("{id}: accepted, expected {key}")),
        Err(problems) if !problems.to_string().contains(key) => {
            Some(format!("{id}: expected {key}\n  found {problems}"))
        }
        Err(problems) if problems.0.iter().any(|problem| problem.place.line == 0) => {
            Some(format!("{id}: without a place: {problems}"))
        }
        Err(_) => None,
    }
}

/// The lines of the keys of discoveries that come later.
fn later_lines(text: &str, case: &Value) -> BTreeSet<u32> {
    let needed: Vec<String> = case["requires_sd"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| !DISCOVERIES.contains(name))
        .map(|name| format!("{name}_sd_configs:"))
        .collect();
    let lines = (1u32..).zip(text.lines().map(|line| line.trim_start_matches(['-', ' '])));
    lines
        .filter(|(_, line)| needed.iter().any(|key| line.starts_with(key.as_str())))
        .map(|(number, _)| number)
        .collect()
}

fn needs_only_ours(case: &Value) -> bool {
    let needed = case["requires_sd"].as_array().unwrap();
    needed.iter().all(|name| DISCOVERIES.contains(&name.as_str().unwrap()))
}

fn load(folder: &Path, case: &Value) -> Result<Config, Problems> {
    config::load(&folder.join(case["file"].as_str().unwrap()), &|_| None)
}

fn cases(folder: &Path, list: &str) -> Vec<Value> {
    let cases: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(folder.join(list)).unwrap()).unwrap();
    assert!(!cases.is_empty(), "{list} holds no case");
    cases
}

fn conformance() -> Option<PathBuf> {
    let named = env::var_os("STARLING_CONFORMANCE").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let folder = named.unwrap_or_else(beside);
    if folder.is_dir() {
        return Some(folder.join("config"));
    }
    eprintln!("skipped: no conformance data at {}", folder.display());
    None
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
