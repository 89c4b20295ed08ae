//! The table of what becomes of Prometheus' fields knows every field that Prometheus' own test
//! configurations have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use starling::{
    cli::compatibility,
    config::yaml::{self, Node},
};

use crate::{conformance, report};

/// Mappings whose fields are in the table, by the key that they stand below.
const SECTIONS: [&str; 22] = [
    "global",
    "scrape_configs",
    "remote_write",
    "queue_config",
    "metadata_config",
    "tls_config",
    "oauth2",
    "sigv4",
    "basic_auth",
    "authorization",
    "relabel_configs",
    "metric_relabel_configs",
    "write_relabel_configs",
    "static_configs",
    "file_sd_configs",
    "http_sd_configs",
    "dns_sd_configs",
    "consul_sd_configs",
    "nomad_sd_configs",
    "ec2_sd_configs",
    "azure_sd_configs",
    "openstack_sd_configs",
];
/// The section of what stands in many mappings.
const HOW_REACHED: &str = "How a server is reached";

#[test]
fn no_field_of_prometheus_is_left_out() {
    let Some(folder) = conformance("config") else { return };
    let table = table(&compatibility::page());
    let mut faults = BTreeSet::new();
    let mut files = 0;
    for folder in ["good", "effective"].map(|name| folder.join(name)) {
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            let Ok(node) = yaml::parse(&text) else { continue };
            files += 1;
            look("", &node, &table, &mut faults);
        }
    }
    assert!(files > 50, "{files} configurations");
    report(&Vec::from_iter(faults));
}

/// The fields of each section of the page.
fn table(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for section in page.split("\n## ").skip(1) {
        let (title, rows) = section.split_once('\n').unwrap();
        let fields: BTreeSet<String> = rows
            .lines()
            .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
            .map(str::to_owned)
            .collect();
        let keys: Vec<_> = title.split('`').skip(1).step_by(2).collect();
        let names = if title.starts_with(HOW_REACHED) { vec![HOW_REACHED] } else { keys };
        for name in names {
            table.entry(name.to_owned()).or_default().extend(fields.clone());
        }
    }
    table
}

fn look(
    below: &str,
    node: &Node,
    table: &BTreeMap<String, BTreeSet<String>>,
    faults: &mut BTreeSet<String>,
) {
    for entry in node.as_seq().unwrap_or_default() {
        look(below, entry, table, faults);
    }
    for (key, node) in node.as_map().unwrap_or_default() {
        let known = |section: &str| table[section].contains(&key.text);
        if SECTIONS.contains(&below) && !known(below) && !known(HOW_REACHED) {
            faults.insert(format!("`{}` of `{below}` is not in the table", key.text));
        }
        look(&key.text, node, table, faults);
    }
}
