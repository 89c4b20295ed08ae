//! The conformance data's discovery, through the library as it runs: real files in real folders,
//! a real HTTP server and a real name server on loopback, targets awaited as they are published.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data should panic")]
#![allow(clippy::print_stderr, reason = "says what is skipped")]

mod agent;
mod dns;
mod file;
mod http;
mod name_server;
mod populate;
mod reload;
mod web_server;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use starling::discovery::group;

#[test]
fn groups_are_read_as_prometheus_reads_them() {
    let Some(folder) = conformance("discovery") else { return };
    for case in cases(&folder, "targetgroup.json") {
        // The cases are single groups; files and servers give lists of them.
        let groups = match (case["json"].as_str(), case["yaml"].as_str()) {
            (Some(json), _) => group::from_json(format!("[{json}]").as_bytes()),
            (_, Some(yaml)) => group::from_yaml(&format!("- {}", yaml.replace('\n', "\n  "))),
            _ => panic!("neither form: {case}"),
        };
        assert_eq!(groups.is_ok(), case["ok"].as_bool().unwrap(), "{case}: {groups:?}");
        let found: Vec<&str> = groups
            .iter()
            .flatten()
            .flat_map(|group| &group.targets)
            .map(|target| target.get("__address__"))
            .collect();
        assert_eq!(found.len(), case["targets"].as_array().unwrap().len(), "{case}");
    }
}

fn cases(folder: &Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn conformance(family: &str) -> Option<PathBuf> {
    let named = env::var_os("STARLING_CONFORMANCE").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let folder = named.unwrap_or_else(beside);
    if folder.is_dir() {
        return Some(folder.join(family));
    }
    eprintln!("skipped: no conformance data at {}", folder.display());
    None
}
