//! What Consul's answers hold: the names of services, and the instances of one. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    discovery::{
        api::or_empty,
        meta::{host_port, joined, sanitized, target},
    },
    model::labels::Labels,
};

/// What an answer says.
pub(super) enum Found {
    /// Services and their tags.
    Names(BTreeMap<String, Vec<String>>),
    /// The instances of one service.
    Targets(Vec<Labels>),
}

pub(super) fn datacenter(body: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Myself {
        config: Config,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        datacenter: String,
    }
    let myself: Myself = read(body)?;
    Ok(myself.config.datacenter)
}

pub(super) fn service_names(body: &[u8]) -> Result<BTreeMap<String, Vec<String>>, String> {
    let names: BTreeMap<String, Option<Vec<String>>> = read(body)?;
    Ok(names.into_iter().map(|(name, tags)| (name, tags.unwrap_or_default())).collect())
}

/// Without what all instances of a service have in common.
pub(in crate::discovery) fn targets(body: &[u8], separator: &str) -> Result<Vec<Labels>, String> {
    let instances: Vec<Instance> = read(body)?;
    Ok(instances.iter().map(|instance| instance.target(separator)).collect())
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("unexpected answer: {error}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
    #[serde(default, deserialize_with = "or_empty")]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "Node")]
    name: String,
    address: String,
    #[serde(default, deserialize_with = "or_empty")]
    tagged_addresses: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_empty")]
    meta: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default, deserialize_with = "or_empty")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_empty")]
    address: String,
    #[serde(default, deserialize_with = "or_empty")]
    port: i64,
    #[serde(default, deserialize_with = "or_empty")]
    namespace: String,
    #[serde(default, deserialize_with = "or_empty")]
    partition: String,
}

#[derive(Deserialize)]
struct Check {
    #[serde(rename = "CheckID", default)]
    id: String,
    #[serde(rename = "Status", default)]
    status: String,
}

impl Instance {
    fn target(&self, separator: &str) -> Labels {
        let (node, service) = (&self.node, &self.service);
        let port = service.port.to_string();
        // A service may be registered through a node that it does not run on.
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let tags = joined(service.tags.iter().map(String::as_str), separator);
        let mut labels = target(
            host_port(host, &port),
            [
                ("__meta_consul_address", &*node.address),
                ("__meta_consul_node", &node.name),
                ("__meta_consul_namespace", &service.namespace),
                ("__meta_consul_partition", &service.partition),
                ("__meta_consul_tags", &tags),
                ("__meta_consul_service_address", &service.address),
                ("__meta_consul_service_port", &port),
                ("__meta_consul_service_id", &service.id),
                ("__meta_consul_health", health(&self.checks)),
            ],
        );
        for (prefix, values) in [
            ("__meta_consul_metadata_", &node.meta),
            ("__meta_consul_service_metadata_", &service.meta),
            ("__meta_consul_tagged_address_", &node.tagged_addresses),
        ] {
            for (key, value) in values {
                labels.set(&format!("{prefix}{}", sanitized(key)), &**value);
            }
        }
        labels
    }
}

/// Of an instance the worst of its checks; what is being maintained is not judged.
fn health(checks: &[Check]) -> &'static str {
    let is_maintenance =
        |id: &str| id == "_node_maintenance" || id.starts_with("_service_maintenance:");
    if checks.iter().any(|check| is_maintenance(&check.id)) {
        return "maintenance";
    }
    let worst = ["critical", "warning"];
    let found = worst.into_iter().find(|status| checks.iter().any(|check| check.status == *status));
    found.unwrap_or("passing")
}
