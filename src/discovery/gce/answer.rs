//! What Google's Compute Engine answers, and the labels that Prometheus makes of an instance. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    discovery::{
        api::or_empty,
        meta::{host_port, sanitized, some_joined, target},
    },
    model::labels::Labels,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(rename = "kind")]
    _kind: Kind,
    /// Left out where there are none.
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) items: Vec<Instance>,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) next_page_token: String,
}

/// Without it any JSON would be an empty list.
#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "compute#instanceList")]
    InstanceList,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    id: String,
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_empty")]
    zone: String,
    #[serde(default, deserialize_with = "or_empty")]
    machine_type: String,
    #[serde(default, deserialize_with = "or_empty")]
    network_interfaces: Vec<Interface>,
    #[serde(default, deserialize_with = "or_empty")]
    tags: Tags,
    #[serde(default, deserialize_with = "or_empty")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interface {
    #[serde(deserialize_with = "or_empty")]
    name: String,
    #[serde(deserialize_with = "or_empty")]
    network: String,
    #[serde(deserialize_with = "or_empty")]
    subnetwork: String,
    #[serde(rename = "networkIP", deserialize_with = "or_empty")]
    address: String,
    #[serde(rename = "accessConfigs", deserialize_with = "or_empty")]
    access: Vec<Access>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Access {
    #[serde(rename = "type", deserialize_with = "or_empty")]
    kind: String,
    #[serde(rename = "natIP", deserialize_with = "or_empty")]
    address: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tags {
    #[serde(deserialize_with = "or_empty")]
    items: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "or_empty")]
    items: Vec<MetadataItem>,
}

#[derive(Deserialize)]
struct MetadataItem {
    key: String,
    #[serde(default, deserialize_with = "or_empty")]
    value: String,
}

impl Instance {
    /// `None` without a network.
    pub(super) fn target(&self, project: &str, tag_separator: &str, port: u16) -> Option<Labels> {
        let first = self.network_interfaces.first()?;
        let public = first.access.first().filter(|access| access.kind == "ONE_TO_ONE_NAT");
        let labels = [
            ("__meta_gce_instance_id", self.id.as_str()),
            ("__meta_gce_instance_name", &self.name),
            ("__meta_gce_instance_status", &self.status),
            ("__meta_gce_machine_type", &self.machine_type),
            ("__meta_gce_network", &first.network),
            ("__meta_gce_private_ip", &first.address),
            ("__meta_gce_project", project),
            ("__meta_gce_public_ip", public.map_or("", |access| &access.address)),
            ("__meta_gce_subnetwork", &first.subnetwork),
            ("__meta_gce_tags", &some_joined(&self.tags.items, tag_separator)),
            ("__meta_gce_zone", &self.zone),
        ];
        let mut labels = target(host_port(&first.address, port), labels);
        let mut set = |prefix: &str, name: &str, value: &str| {
            labels.set(&format!("__meta_gce_{prefix}_{}", sanitized(name)), value);
        };
        for interface in &self.network_interfaces {
            set("interface_ipv4", &interface.name, &interface.address);
        }
        for (name, value) in &self.labels {
            set("label", name, value);
        }
        for item in &self.metadata.items {
            set("metadata", &item.key, &item.value);
        }
        Some(labels)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn instance(value: Value) -> Instance {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_label_has_its_source() {
        const API: &str = "https://www.googleapis.com/compute/v1/projects/p";
        let vm = instance(json!({
            "kind": "compute#instance", "id": "4567890123", "name": "web-1", "status": "RUNNING",
            "creationTimestamp": "2026-01-01T00:00:00.000-08:00",
            "zone": format!("{API}/zones/us-east1-b"),
            "machineType": format!("{API}/zones/us-east1-b/machineTypes/e2-small"),
            "tags": {"items": ["http", "web"], "fingerprint": "x="},
            "metadata": {"items": [{"key": "created-by", "value": "me"}, {"key": "flag"}]},
            "labels": {"env-name": "prod"},
            "networkInterfaces": [
                {
                    "network": format!("{API}/global/networks/default"),
                    "subnetwork": format!("{API}/regions/us-east1/subnetworks/default"),
                    "networkIP": "10.142.0.2", "name": "nic0",
                    "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT", "natIP": "35.1.2.3"}],
                },
                {"network": "other", "networkIP": "10.9.0.2", "name": "nic1"},
            ],
            "disks": [{"kind": "compute#attachedDisk"}],
        }));
        let [zone, machine, network, subnetwork] = [
            "zones/us-east1-b",
            "zones/us-east1-b/machineTypes/e2-small",
            "global/networks/default",
            "regions/us-east1/subnetworks/default",
        ]
        .map(|path| format!("{API}/{path}"));
        let expected = [
            ("__address__", "10.142.0.2:9100"),
            ("__meta_gce_instance_id", "4567890123"),
            ("__meta_gce_instance_name", "web-1"),
            ("__meta_gce_instance_status", "RUNNING"),
            ("__meta_gce_interface_ipv4_nic0", "10.142.0.2"),
            ("__meta_gce_interface_ipv4_nic1", "10.9.0.2"),
            ("__meta_gce_label_env_name", "prod"),
            ("__meta_gce_machine_type", &machine),
            ("__meta_gce_metadata_created_by", "me"),
            ("__meta_gce_network", &network),
            ("__meta_gce_private_ip", "10.142.0.2"),
            ("__meta_gce_project", "p"),
            ("__meta_gce_public_ip", "35.1.2.3"),
            ("__meta_gce_subnetwork", &subnetwork),
            ("__meta_gce_tags", ";http;web;"),
            ("__meta_gce_zone", &zone),
        ];
        assert_eq!(vm.target("p", ";", 9100), Some(expected.into_iter().collect()));
    }

    #[test]
    fn what_is_absent_makes_no_label() {
        let bare = json!({"id": "1", "name": "a", "networkInterfaces": [
            {"networkIP": "10.0.0.1", "accessConfigs": [{"type": "DIRECT_IPV6", "natIP": "x"}]},
        ]});
        let expected = [
            ("__address__", "10.0.0.1:80"),
            ("__meta_gce_instance_id", "1"),
            ("__meta_gce_instance_name", "a"),
            ("__meta_gce_interface_ipv4_", "10.0.0.1"),
            ("__meta_gce_private_ip", "10.0.0.1"),
            ("__meta_gce_project", "p"),
        ];
        assert_eq!(instance(bare).target("p", ",", 80), Some(expected.into_iter().collect()));
        assert_eq!(instance(json!({"id": "1", "name": "a"})).target("p", ",", 80), None);
    }

    #[test]
    fn anything_else_is_no_empty_list() {
        for (body, is_list) in [
            (r#"{"kind": "compute#instanceList", "id": "x"}"#, true),
            (r#"{"kind": "compute#instanceList", "items": null, "nextPageToken": "t"}"#, true),
            (r#"{"kind": "compute#zoneList", "items": []}"#, false),
            (r#"{"items": []}"#, false),
            ("{}", false),
            (r#"{"kind": "compute#instanceList", "items": [{"id": 1}]}"#, false),
            ("<html/>", false),
        ] {
            assert_eq!(serde_json::from_str::<Page>(body).is_ok(), is_list, "{body}");
        }
    }
}
