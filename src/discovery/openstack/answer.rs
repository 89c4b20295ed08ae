//! What OpenStack's services answer, and the labels that Prometheus makes of hypervisors, instances
//! and load balancers. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    discovery::{
        api::or_empty,
        meta::{host_port, sanitized, target},
    },
    model::labels::Labels,
};

/// One page of a list: `{"servers": [...], "servers_links": [{"rel": "next", "href": "..."}]}`.
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    /// What the next page is asked with, without the `?`.
    pub(super) next_query: Option<String>,
}

/// `list` is the name of the list in the answer.
pub(super) fn page<T: DeserializeOwned>(answer: &mut Value, list: &str) -> Result<Page<T>, String> {
    let entries = answer.get_mut(list).map(Value::take).ok_or_else(|| format!("no `{list}`"))?;
    let entries = serde_json::from_value(entries).map_err(|error| error.to_string())?;
    let links = answer.get(format!("{list}_links")).and_then(Value::as_array);
    let next = links.into_iter().flatten().find(|link| link["rel"] == "next");
    // Where the link points to, no token is taken: hosts behind a proxy do not know their own name.
    let next_query = next
        .and_then(|link| link["href"].as_str())
        .and_then(|href| href.split_once('?'))
        .map(|(_, query)| query.to_owned());
    Ok(Page { entries, next_query })
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(super) struct Hypervisor {
    /// A number, or since microversion 2.53 a text.
    id: Value,
    #[serde(default, deserialize_with = "or_empty")]
    hypervisor_hostname: String,
    #[serde(default, deserialize_with = "or_empty")]
    host_ip: String,
    #[serde(default, deserialize_with = "or_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_empty")]
    state: String,
    #[serde(default, deserialize_with = "or_empty")]
    hypervisor_type: String,
}

impl Hypervisor {
    pub(super) fn target(&self, port: u16) -> Labels {
        let id = self.id.as_str().map_or_else(|| self.id.to_string(), str::to_owned);
        target(
            host_port(&self.host_ip, port),
            [
                ("__meta_openstack_hypervisor_host_ip", self.host_ip.as_str()),
                ("__meta_openstack_hypervisor_hostname", &self.hypervisor_hostname),
                ("__meta_openstack_hypervisor_id", &id),
                ("__meta_openstack_hypervisor_state", &self.state),
                ("__meta_openstack_hypervisor_status", &self.status),
                ("__meta_openstack_hypervisor_type", &self.hypervisor_type),
            ],
        )
    }
}

#[derive(Deserialize)]
pub(super) struct Port {
    id: String,
    #[serde(default, deserialize_with = "or_empty")]
    device_id: String,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(super) struct FloatingIp {
    floating_ip_address: String,
    #[serde(default, deserialize_with = "or_empty")]
    port_id: String,
    #[serde(default, deserialize_with = "or_empty")]
    fixed_ip_address: String,
}

/// Which floating address leads to which of an instance's own.
#[derive(Default)]
pub(super) struct FloatingIps {
    /// By instance and its own address.
    by_fixed: BTreeMap<(String, String), String>,
    all: BTreeSet<String>,
}

impl FloatingIps {
    /// Those that are not in use, or of a port that is not among `ports`, lead nowhere.
    pub(super) fn new(ports: &[Port], addresses: &[FloatingIp]) -> Self {
        let devices: BTreeMap<&str, &str> =
            ports.iter().map(|port| (port.id.as_str(), port.device_id.as_str())).collect();
        let mut found = Self::default();
        for address in addresses.iter().filter(|it| !it.fixed_ip_address.is_empty()) {
            let Some(device) = devices.get(address.port_id.as_str()) else { continue };
            let key = ((*device).to_owned(), address.fixed_ip_address.clone());
            found.by_fixed.insert(key, address.floating_ip_address.clone());
            found.all.insert(address.floating_ip_address.clone());
        }
        found
    }
}

#[derive(Deserialize)]
pub(super) struct Server {
    id: String,
    #[serde(default, deserialize_with = "or_empty")]
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_empty")]
    tenant_id: String,
    #[serde(default, deserialize_with = "or_empty")]
    user_id: String,
    /// `id` before microversion 2.47, `original_name` since.
    #[serde(default)]
    flavor: Value,
    /// An empty text where the instance was started from a volume.
    #[serde(default)]
    image: Value,
    #[serde(default, deserialize_with = "or_empty")]
    metadata: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "or_empty")]
    addresses: BTreeMap<String, Vec<Address>>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default, deserialize_with = "or_empty")]
    addr: String,
}

impl Server {
    /// One for each of its own addresses.
    pub(super) fn targets(&self, port: u16, floating: &FloatingIps) -> Vec<Labels> {
        let flavor = self.flavor.get("original_name").or_else(|| self.flavor.get("id"));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
        let mut common = vec![
            ("__meta_openstack_instance_flavor".to_owned(), text(flavor)),
            ("__meta_openstack_instance_id".to_owned(), self.id.clone()),
            ("__meta_openstack_instance_image".to_owned(), text(self.image.get("id"))),
            ("__meta_openstack_instance_name".to_owned(), self.name.clone()),
            ("__meta_openstack_instance_status".to_owned(), self.status.clone()),
            ("__meta_openstack_project_id".to_owned(), self.tenant_id.clone()),
            ("__meta_openstack_user_id".to_owned(), self.user_id.clone()),
        ];
        common.extend(self.metadata.iter().map(|(key, value)| {
            (format!("__meta_openstack_tag_{}", sanitized(key)), text(Some(value)))
        }));
        let common = target(String::new(), common);

        let pools = self.addresses.iter();
        let addresses =
            pools.flat_map(|(pool, addresses)| addresses.iter().map(move |it| (pool, it)));
        let own = addresses
            .filter(|(_, it)| !it.addr.is_empty() && !floating.all.contains(&it.addr))
            .map(|(pool, Address { addr })| {
                let mut labels = common.clone();
                labels.set("__address__", host_port(addr, port));
                labels.set("__meta_openstack_address_pool", pool.as_str());
                labels.set("__meta_openstack_private_ip", addr.as_str());
                let key = (self.id.clone(), addr.clone());
                if let Some(public) = floating.by_fixed.get(&key) {
                    labels.set("__meta_openstack_public_ip", public.as_str());
                }
                labels
            });
        own.collect()
    }
}

#[derive(Deserialize)]
pub(super) struct Listener {
    protocol: String,
    protocol_port: u16,
    #[serde(default, deserialize_with = "or_empty")]
    loadbalancers: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
pub(super) struct LoadBalancer {
    id: String,
    #[serde(default, deserialize_with = "or_empty")]
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    operating_status: String,
    #[serde(default, deserialize_with = "or_empty")]
    provisioning_status: String,
    #[serde(default, deserialize_with = "or_empty")]
    availability_zone: String,
    #[serde(default, deserialize_with = "or_empty")]
    vip_address: String,
    #[serde(default, deserialize_with = "or_empty")]
    vip_port_id: String,
    #[serde(default, deserialize_with = "or_empty")]
    provider: String,
    #[serde(default, deserialize_with = "or_empty")]
    project_id: String,
    #[serde(default, deserialize_with = "or_empty")]
    tags: Vec<String>,
}

impl LoadBalancer {
    /// `None` where nothing of it listens for Prometheus.
    pub(super) fn target(
        &self,
        listeners: &[Listener],
        addresses: &[FloatingIp],
    ) -> Option<Labels> {
        let listener = listeners.iter().find(|listener| {
            listener.protocol == "PROMETHEUS"
                && listener.loadbalancers.iter().any(|own| own.id == self.id)
        })?;
        let floating = addresses
            .iter()
            .rfind(|it| !it.port_id.is_empty() && it.port_id == self.vip_port_id)
            .map_or("", |it| it.floating_ip_address.as_str());
        Some(target(
            host_port(&self.vip_address, listener.protocol_port),
            [
                (
                    "__meta_openstack_loadbalancer_availability_zone",
                    self.availability_zone.as_str(),
                ),
                ("__meta_openstack_loadbalancer_floating_ip", floating),
                ("__meta_openstack_loadbalancer_id", &self.id),
                ("__meta_openstack_loadbalancer_name", &self.name),
                ("__meta_openstack_loadbalancer_operating_status", &self.operating_status),
                ("__meta_openstack_loadbalancer_provider", &self.provider),
                ("__meta_openstack_loadbalancer_provisioning_status", &self.provisioning_status),
                ("__meta_openstack_loadbalancer_tags", &self.tags.join(",")),
                ("__meta_openstack_loadbalancer_vip", &self.vip_address),
                ("__meta_openstack_project_id", &self.project_id),
            ],
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn a_hypervisor() {
        let hypervisor: Hypervisor = decoded(json!({
            "id": 2, "hypervisor_hostname": "nc14.cloud.com", "host_ip": "172.16.70.14",
            "hypervisor_type": "QEMU", "state": "up", "status": "enabled", "vcpus": 4,
            "cpu_info": {"arch": "x86_64"}, "service": {"host": "a", "id": 6, "disabled_reason": null},
        }));
        let expected = [
            ("__address__", "172.16.70.14:9100"),
            ("__meta_openstack_hypervisor_host_ip", "172.16.70.14"),
            ("__meta_openstack_hypervisor_hostname", "nc14.cloud.com"),
            ("__meta_openstack_hypervisor_id", "2"),
            ("__meta_openstack_hypervisor_state", "up"),
            ("__meta_openstack_hypervisor_status", "enabled"),
            ("__meta_openstack_hypervisor_type", "QEMU"),
        ];
        assert_eq!(hypervisor.target(9100), labels(&expected));
        let newer: Hypervisor = decoded(json!({"id": "7a-b", "host_ip": "::1", "state": null}));
        let expected = [
            ("__address__", "[::1]:9100"),
            ("__meta_openstack_hypervisor_host_ip", "::1"),
            ("__meta_openstack_hypervisor_id", "7a-b"),
        ];
        assert_eq!(newer.target(9100), labels(&expected));
    }

    #[test]
    fn an_instance_has_a_target_for_each_own_address() {
        let ports: Vec<Port> = decoded(json!([
            {"id": "p1", "device_id": "s1"}, {"id": "p2", "device_id": ""},
        ]));
        let addresses: Vec<FloatingIp> = decoded(json!([
            {"floating_ip_address": "203.0.113.5", "port_id": "p1", "fixed_ip_address": "10.0.0.5"},
            {"floating_ip_address": "203.0.113.6", "port_id": null, "fixed_ip_address": null},
            {"floating_ip_address": "203.0.113.7", "port_id": "gone", "fixed_ip_address": "10.0.0.9"},
        ]));
        let floating = FloatingIps::new(&ports, &addresses);
        let server: Server = decoded(json!({
            "id": "s1", "name": "web-1", "status": "ACTIVE", "tenant_id": "t", "user_id": "u",
            "flavor": {"original_name": "m1.small", "vcpus": 1}, "image": {"id": "img", "links": []},
            "metadata": {"env": "prod", "a.b": "c"},
            "addresses": {
                "private": [
                    {"version": 4, "addr": "10.0.0.5", "OS-EXT-IPS:type": "fixed"},
                    {"version": 4, "addr": "203.0.113.5", "OS-EXT-IPS:type": "floating"},
                ],
                "storage": [{"version": 6, "addr": "fd00::5"}],
                "empty": [],
            },
        }));
        let common = [
            ("__meta_openstack_instance_flavor", "m1.small"),
            ("__meta_openstack_instance_id", "s1"),
            ("__meta_openstack_instance_image", "img"),
            ("__meta_openstack_instance_name", "web-1"),
            ("__meta_openstack_instance_status", "ACTIVE"),
            ("__meta_openstack_project_id", "t"),
            ("__meta_openstack_tag_a_b", "c"),
            ("__meta_openstack_tag_env", "prod"),
            ("__meta_openstack_user_id", "u"),
        ];
        let first = [
            ("__address__", "10.0.0.5:80"),
            ("__meta_openstack_address_pool", "private"),
            ("__meta_openstack_private_ip", "10.0.0.5"),
            ("__meta_openstack_public_ip", "203.0.113.5"),
        ];
        let second = [
            ("__address__", "[fd00::5]:80"),
            ("__meta_openstack_address_pool", "storage"),
            ("__meta_openstack_private_ip", "fd00::5"),
        ];
        let expected =
            [labels(&[&common[..], &first].concat()), labels(&[&common[..], &second].concat())];
        assert_eq!(server.targets(80, &floating), expected);

        // An older API, an instance started from a volume, one without an address.
        let older: Server = decoded(json!({
            "id": "s2", "flavor": {"id": "1"}, "image": "", "metadata": null,
            "addresses": {"private": [{"addr": "10.0.0.9"}]},
        }));
        let expected = [
            ("__address__", "10.0.0.9:80"),
            ("__meta_openstack_address_pool", "private"),
            ("__meta_openstack_instance_flavor", "1"),
            ("__meta_openstack_instance_id", "s2"),
            ("__meta_openstack_private_ip", "10.0.0.9"),
        ];
        assert_eq!(older.targets(80, &floating), [labels(&expected)]);
        let without: Server = decoded(json!({"id": "s3", "addresses": {}}));
        assert_eq!(without.targets(80, &floating), []);
    }

    #[test]
    fn a_load_balancer_that_listens_for_prometheus() {
        let listeners: Vec<Listener> = decoded(json!([
            {"protocol": "HTTP", "protocol_port": 80, "loadbalancers": [{"id": "lb1"}, {"id": "lb2"}]},
            {"protocol": "PROMETHEUS", "protocol_port": 8088, "loadbalancers": [{"id": "lb1"}]},
        ]));
        let addresses: Vec<FloatingIp> =
            decoded(json!([{"floating_ip_address": "203.0.113.5", "port_id": "vp"}]));
        let balancer: LoadBalancer = decoded(json!({
            "id": "lb1", "name": "front", "operating_status": "ONLINE", "provisioning_status": "ACTIVE",
            "availability_zone": "az1", "vip_address": "10.0.0.32", "vip_port_id": "vp",
            "provider": "amphora", "project_id": "p", "tags": ["a", "b"], "listeners": [{"id": "l"}],
        }));
        let expected = [
            ("__address__", "10.0.0.32:8088"),
            ("__meta_openstack_loadbalancer_availability_zone", "az1"),
            ("__meta_openstack_loadbalancer_floating_ip", "203.0.113.5"),
            ("__meta_openstack_loadbalancer_id", "lb1"),
            ("__meta_openstack_loadbalancer_name", "front"),
            ("__meta_openstack_loadbalancer_operating_status", "ONLINE"),
            ("__meta_openstack_loadbalancer_provider", "amphora"),
            ("__meta_openstack_loadbalancer_provisioning_status", "ACTIVE"),
            ("__meta_openstack_loadbalancer_tags", "a,b"),
            ("__meta_openstack_loadbalancer_vip", "10.0.0.32"),
            ("__meta_openstack_project_id", "p"),
        ];
        assert_eq!(balancer.target(&listeners, &addresses), Some(labels(&expected)));
        let other: LoadBalancer = decoded(json!({"id": "lb2", "vip_port_id": null, "tags": null}));
        assert_eq!(other.target(&listeners, &addresses), None);
    }

    #[test]
    fn a_page_tells_the_next() {
        type Told = (usize, Option<&'static str>);
        let check = |mut answer: Value, expected: Result<Told, &str>| {
            let found =
                page::<Port>(&mut answer, "ports").map(|it| (it.entries.len(), it.next_query));
            let found = found.map_err(|fault| fault.contains(expected.err().unwrap_or("no fault")));
            assert_eq!(found, expected.map(|(n, q)| (n, q.map(str::to_owned))).map_err(|_| true));
        };
        check(json!({"ports": []}), Ok((0, None)));
        check(
            json!({"ports": [{"id": "a"}], "ports_links": [
                {"rel": "previous", "href": "http://x/ports?marker=0"},
                {"rel": "next", "href": "http://evil/ports?limit=1&marker=a"},
            ]}),
            Ok((1, Some("limit=1&marker=a"))),
        );
        check(json!({"error": {"code": 500}}), Err("no `ports`"));
        check(json!([]), Err("no `ports`"));
        check(json!({"ports": [{"device_id": "x"}]}), Err("missing field `id`"));
        check(json!({"ports": {}}), Err("expected a sequence"));
    }
}
