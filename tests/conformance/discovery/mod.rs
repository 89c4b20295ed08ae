//! The conformance data's discovery, through the library as it runs: real files in real folders,
//! a real HTTP server and a real name server on loopback, targets awaited as they are published.

mod agent;
mod dns;
mod file;
mod http;
mod name_server;
mod populate;
mod reload;
mod web_server;

use starling::discovery::group;

use crate::{cases, conformance};

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
