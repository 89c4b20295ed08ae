//! The conformance data's configurations, through the library: what Prometheus accepts is accepted,
//! what it refuses is refused in words that hold its own. What is decided otherwise stands in a
//! table, with the reason.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use starling::{
    cli::check::{Asked, check},
    config::{
        self, Config, Problems, TypedCluster, show,
        yaml::{self, Node},
    },
};

use crate::{cases, conformance, report};

/// The discoveries that are run today; cases that need others are of the second test below.
const DISCOVERIES: [&str; 13] = [
    "static",
    "file",
    "http",
    "dns",
    "azure",
    "consul",
    "digitalocean",
    "docker",
    "ec2",
    "gce",
    "hetzner",
    "nomad",
    "openstack",
];

/// Accepted by Prometheus, refused here.
const REFUSED_ON_PURPOSE: [(&str, &str, &str); 2] = [
    (
        "scrape_config_files_glob.good.yml",
        "`vultr_sd_configs` is not supported yet",
        "an included file has a discovery that is not here; to run without its targets would be silent loss",
    ),
    (
        "alloy-azure.yaml",
        "`proxy_url`: URL scheme must be",
        "`proxy` leads nowhere, which Prometheus tells at each request; two ways to log in are not here",
    ),
];

/// Refused by Prometheus' agent mode, accepted here with a warning.
const ACCEPTED_ON_PURPOSE: [(&str, &str, &str); 4] = [
    ("agent_mode.with_alert_manager.yml", "`alerting`", WARNED),
    ("agent_mode.with_alert_relabels.yml", "`alerting`", WARNED),
    ("agent_mode.with_rule_files.yml", "`rule_files`", WARNED),
    ("agent_mode.with_remote_reads.yml", "`remote_read`", WARNED),
];
const WARNED: &str = "one file may serve a server and this agent: a server's section is a warning";

/// Where what we show differs from what Prometheus shows; `[]` stands for any entry of a list.
const SHOWN_OTHERWISE: [(&str, &str); 16] = [
    ("runtime", SERVERS_OWN),
    ("otlp", SERVERS_OWN),
    ("storage", SERVERS_OWN),
    ("tracing", SERVERS_OWN),
    ("rule_files", SERVERS_OWN),
    ("scrape_config_files", "its jobs are shown among the others"),
    ("global.evaluation_interval", SERVERS_OWN),
    ("global.metric_name_escaping_scheme", "Prometheus leaves it out where `global` is typed"),
    ("global.scrape_timestamp_tolerance", "a flag in Prometheus"),
    ("global.external_labels.foo", "a label with an empty value is none"),
    ("remote_write.[].name", "a destination always has one: its queue is kept under it"),
    ("remote_write.[].queue_config.capacity", OUTBOX),
    ("remote_write.[].queue_config.max_shards", OUTBOX),
    ("remote_write.[].queue_config.min_shards", OUTBOX),
    ("outbox", OUTBOX),
    ("history", "what has been is kept, in a section of its own"),
];
const SERVERS_OWN: &str = "only a server does that";
const OUTBOX: &str = "unsent data waits in the outbox, which has settings of its own";

/// Shown by both, with another default or none.
const OTHER_DEFAULTS: [(&str, &str); 3] = [
    ("remote_write.[].queue_config.max_samples_per_send", "fewer, larger requests"),
    (
        "remote_write.[].queue_config.batch_send_deadline",
        "a sample waits a third of a second, not five",
    ),
    ("remote_write.[].metadata_config", "no metadata is sent yet"),
];

#[test]
fn the_effective_configuration_is_prometheus_own() {
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    let mut compared = 0;
    for case in cases(&folder, "good.json").iter().filter(|case| needs_only_ours(case)) {
        let id = case["id"].as_str().unwrap();
        let Ok(expected) = fs::read_to_string(folder.join("effective").join(id)) else { continue };
        let Ok(config) = load(&folder, case) else { continue };
        // Prometheus' were written in the folder of the files.
        let shown = show::show(&config).replace(&format!("{}/", folder.join("good").display()), "");
        let (shown, expected) = (yaml::parse(&shown).unwrap(), yaml::parse(&expected).unwrap());
        let mut differences = Vec::new();
        compare(&shown, &expected, "", &mut differences);
        faults.extend(differences.into_iter().map(|difference| format!("{id}: {difference}")));
        compared += 1;
    }
    assert!(compared > 15, "only {compared} were compared");
    report(&faults);
}

fn compare(shown: &Node, expected: &Node, at: &str, differences: &mut Vec<String>) {
    let known = SHOWN_OTHERWISE.iter().chain(&OTHER_DEFAULTS);
    if known.map(|(path, _)| *path).any(|path| path == at) {
        return;
    }
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match (shown.as_map(), expected.as_map(), shown.as_seq(), expected.as_seq()) {
        (Some(own), Some(theirs), ..) => {
            let nothing = yaml::parse("").unwrap();
            let names: BTreeSet<&str> =
                own.iter().chain(theirs).map(|(key, _)| key.text.as_str()).collect();
            for name in names {
                let value = |entries: &[(yaml::Key, Node)]| {
                    let found = entries.iter().find(|(key, _)| key.text == name);
                    found.map_or_else(|| nothing.clone(), |(_, node)| node.clone())
                };
                compare(&value(own), &value(theirs), &below(name), differences);
            }
        }
        (_, _, Some(own), Some(theirs)) if own.len() == theirs.len() => {
            for (own, theirs) in own.iter().zip(theirs) {
                compare(own, theirs, &below("[]"), differences);
            }
        }
        _ if shown.as_str().is_some() && shown.as_str() == expected.as_str() => {}
        _ => differences
            .push(format!("{at}: shown {:?}, expected {:?}", shown.value, expected.value)),
    }
}

#[test]
fn check_judges_static_targets_and_missing_files() {
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "promtool/cases.json") {
        let id = case["id"].as_str().unwrap();
        // Without `--syntax-only`, promtool looks for the files: that is `--strict` here.
        let strict = !case["syntax_only"].as_bool().unwrap();
        let path = folder.join("promtool").join(case["file"].as_str().unwrap());
        let mut out = Vec::new();
        let asked = Asked {
            files: vec![path],
            web_config_file: None,
            listen_address: "127.0.0.1:9733".to_owned(),
            cluster: TypedCluster::default(),
        };
        let code = check(&asked, strict, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let expected = match case["error_contains"].as_str() {
            Some("error checking authorization credentials or bearer token file") => {
                Some("`credentials_file`: /random/file/which/does/not/exist.yml cannot be read")
            }
            own => own,
        };
        if (code == 1) != expected.is_some() || !out.contains(expected.unwrap_or("")) {
            faults.push(format!("{id}: exit {code}, expected {expected:?}\n{out}"));
        }
    }
    report(&faults);
}

#[test]
fn good_are_accepted() {
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "good.json").iter().filter(|case| needs_only_ours(case)) {
        faults.extend(acceptance_fault(&folder, case));
    }
    report(&faults);
}

fn acceptance_fault(folder: &Path, case: &Value) -> Option<String> {
    let id = case["id"].as_str().unwrap();
    let refused = REFUSED_ON_PURPOSE.iter().find(|(refused, ..)| *refused == id);
    match (load(folder, case), refused) {
        (Ok(_), None) => None,
        (Ok(_), Some(_)) => Some(format!("{id}: accepted, and in the table of refused")),
        (Err(problems), Some((_, why, _))) => (!problems.to_string().contains(why))
            .then(|| format!("{id}: refused, but not for {why}: {problems}")),
        (Err(problems), None) => Some(format!("{id}: refused: {problems}")),
    }
}

#[test]
fn bad_are_refused_in_prometheus_words() {
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "bad.json").iter().filter(|case| needs_only_ours(case)) {
        faults.extend(refusal_fault(&folder, case));
    }
    report(&faults);
}

#[test]
fn examples_are_judged_alike() {
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "examples.json").iter().filter(|case| needs_only_ours(case)) {
        if case["accepted"].as_bool().unwrap() {
            faults.extend(acceptance_fault(&folder, case));
        } else {
            faults.extend(refusal_fault(&folder, case));
        }
    }
    report(&faults);
}

#[test]
fn a_servers_sections_are_warnings() {
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    for case in cases(&folder, "agent_mode.json") {
        let id = case["id"].as_str().unwrap();
        let home = if case["error_contains"].is_null() { "good" } else { "bad" };
        let path = folder.join(home).join(id);
        let config = match config::load(&path, &TypedCluster::default(), &|_| None) {
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
    let Some(folder) = conformance("config") else { return };
    let mut faults = Vec::new();
    for list in ["good.json", "bad.json", "examples.json"] {
        for case in cases(&folder, list).iter().filter(|case| !needs_only_ours(case)) {
            let id = &case["id"];
            let file = folder.join(case["file"].as_str().unwrap());
            let text = fs::read_to_string(&file).unwrap();
            let Err(problems) = config::load(&file, &TypedCluster::default(), &|_| None) else {
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
    let file = folder.join(case["file"].as_str().unwrap());
    config::load(&file, &TypedCluster::default(), &|_| None)
}
