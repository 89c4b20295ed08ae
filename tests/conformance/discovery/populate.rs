//! From discovered labels and a job's settings to a target's labels, or to what is wrong with it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::{Value, json};
use starling::{
    config::{self, Job},
    discovery::resolve::{discovered_labels, populate},
    model::labels::Labels,
};

/// Label values that are no UTF-8 are refused where they are read, so no target ever has one; the
/// case's bytes are lost in its JSON.
const CAN_NOT_ARISE: [&str; 1] = ["populate-06"];

#[test]
fn labels_are_populated_as_in_prometheus() {
    let Some(folder) = crate::conformance("targets") else { return };
    for case in crate::cases(&folder, "populate_labels.json") {
        let id = case["id"].as_str().unwrap();
        if CAN_NOT_ARISE.contains(&id) {
            continue;
        }
        let job = job(&case["scrape_config"]);
        let given = labels(&case["discovered_target_labels"]);
        let discovered = discovered_labels(&job, "", &given, &Labels::new());
        let outcome = populate(&job, discovered.clone());
        if let Some(expected) = case["error"].as_str() {
            assert_eq!(outcome.unwrap_err().error.as_deref(), Some(expected), "{id}");
            continue;
        }
        assert_eq!(discovered, labels(&case["discovered_labels_after_defaults"]), "{id}");
        assert_eq!(outcome.unwrap().labels, labels(&case["final_labels"]), "{id}");
    }
}

fn job(scrape_config: &Value) -> Arc<Job> {
    // JSON is YAML.
    let text = json!({ "scrape_configs": [scrape_config] }).to_string();
    let config = config::parse(Path::new("test.yml"), &text, &|_| None).unwrap();
    Arc::clone(&config.jobs[0])
}

fn labels(object: &Value) -> Labels {
    let pairs: BTreeMap<String, String> = serde_json::from_value(object.clone()).unwrap();
    pairs.into_iter().collect()
}
