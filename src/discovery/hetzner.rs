//! `hetzner_sd_configs`: the servers of a project in the cloud, or the dedicated ones of an account.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    config::{Hetzner as Settings, HetznerRole, HttpClient},
    discovery::{
        api::{self, Api, Pages, or_empty},
        meta::{group, host_port, sanitized, target},
    },
    model::{labels::Labels, target::TargetGroup},
};

/// As many as the cloud gives at once.
const PER_PAGE: &str = "50";

pub(super) struct Hetzner {
    api: Api,
    settings: Settings,
}

impl Hetzner {
    pub(super) fn new(settings: Settings, refresh: Duration, client: &HttpClient) -> Self {
        Self { api: Api::new(client, refresh), settings }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let port = self.settings.port;
        let targets: Vec<Labels> = match self.settings.role {
            HetznerRole::Cloud => {
                let selector = &*self.settings.label_selector;
                let servers: Vec<CloudServer> = self.all("servers", selector).await?;
                let networks: Vec<Network> = self.all("networks", "").await?;
                let networks = networks.into_iter().map(|network| (network.id, network.name));
                let networks: BTreeMap<u64, String> = networks.collect();
                servers.iter().map(|server| server.target(&networks, port)).collect()
            }
            HetznerRole::Robot => {
                let url = api::url(&self.settings.endpoint, "/server", &[])?;
                let servers: Vec<RobotEntry> = self.api.get(url).await?;
                servers.iter().map(|entry| entry.server.target(port)).collect()
            }
        };
        Ok(group("hetzner", targets))
    }

    /// All pages of one of the cloud's lists.
    async fn all<T: DeserializeOwned>(&self, list: &str, selector: &str) -> Result<Vec<T>, String> {
        let (mut all, mut pages, mut next) = (Vec::new(), Pages::default(), Some(1_u64));
        while let Some(number) = next {
            let number = number.to_string();
            let mut query = vec![("page", &*number), ("per_page", PER_PAGE)];
            if !selector.is_empty() {
                query.push(("label_selector", selector));
            }
            let url = api::url(&self.settings.endpoint, &format!("/{list}"), &query)?;
            let mut page: Page<T> = self.api.get(url).await?;
            let Some(entries) = page.lists.remove(list) else {
                return Err(format!("unexpected answer: no `{list}` in it"));
            };
            pages.turn(entries.len())?;
            all.extend(entries);
            next = page.meta.pagination.next_page;
        }
        Ok(all)
    }
}

pub(super) fn decode(role: HetznerRole, answer: &[u8]) -> Vec<Labels> {
    match role {
        HetznerRole::Cloud => {
            let page: Option<Page<CloudServer>> = serde_json::from_slice(answer).ok();
            let servers = page.iter().flat_map(|page| page.lists.values().flatten());
            servers.map(|server| server.target(&BTreeMap::new(), 80)).collect()
        }
        HetznerRole::Robot => {
            let entries: Vec<RobotEntry> = serde_json::from_slice(answer).unwrap_or_default();
            entries.iter().map(|entry| entry.server.target(80)).collect()
        }
    }
}

/// One list under its own name, and where it goes on.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default, deserialize_with = "or_empty")]
    meta: Meta,
    #[serde(flatten)]
    lists: BTreeMap<String, Vec<T>>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, deserialize_with = "or_empty")]
    pagination: Pagination,
}

#[derive(Default, Deserialize)]
struct Pagination {
    next_page: Option<u64>,
}

#[derive(Deserialize)]
struct Network {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct CloudServer {
    id: u64,
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_empty")]
    public_net: PublicNet,
    #[serde(default, deserialize_with = "or_empty")]
    private_net: Vec<PrivateNet>,
    #[serde(default, deserialize_with = "or_empty")]
    server_type: ServerType,
    #[serde(default, deserialize_with = "or_empty")]
    datacenter: Datacenter,
    location: Option<Location>,
    image: Option<Image>,
    #[serde(default, deserialize_with = "or_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct PublicNet {
    #[serde(default, deserialize_with = "or_empty")]
    ipv4: Address,
    #[serde(default, deserialize_with = "or_empty")]
    ipv6: Address,
}

#[derive(Default, Deserialize)]
struct Address {
    #[serde(default, deserialize_with = "or_empty")]
    ip: String,
}

#[derive(Deserialize)]
struct PrivateNet {
    network: u64,
    ip: String,
}

#[derive(Default, Deserialize)]
struct ServerType {
    name: String,
    cores: u64,
    cpu_type: String,
    /// In GB, with a fraction.
    memory: f64,
    disk: u64,
}

#[derive(Default, Deserialize)]
struct Datacenter {
    #[serde(default, deserialize_with = "or_empty")]
    name: String,
    location: Option<Location>,
}

#[derive(Default, Deserialize)]
struct Location {
    #[serde(default, deserialize_with = "or_empty")]
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    network_zone: String,
}

#[derive(Default, Deserialize)]
struct Image {
    #[serde(default, deserialize_with = "or_empty")]
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    description: String,
    #[serde(default, deserialize_with = "or_empty")]
    os_flavor: String,
    #[serde(default, deserialize_with = "or_empty")]
    os_version: String,
}

impl CloudServer {
    fn target(&self, networks: &BTreeMap<u64, String>, port: u16) -> Labels {
        let public = &*self.public_net.ipv4.ip;
        // A server without a public address is reached where its first network has it.
        let private = self.private_net.first().map_or("", |net| &*net.ip);
        let address = host_port(if public.is_empty() { private } else { public }, port);
        let mut labels = target(
            address,
            [
                ("__meta_hetzner_role", HetznerRole::Cloud.name().to_owned()),
                ("__meta_hetzner_server_id", self.id.to_string()),
                ("__meta_hetzner_server_name", self.name.clone()),
                ("__meta_hetzner_server_status", self.status.clone()),
                ("__meta_hetzner_datacenter", self.datacenter.name.clone()),
                ("__meta_hetzner_public_ipv4", public.to_owned()),
                ("__meta_hetzner_public_ipv6_network", self.public_net.ipv6.ip.clone()),
                ("__meta_hetzner_hcloud_server_type", self.server_type.name.clone()),
                ("__meta_hetzner_hcloud_cpu_cores", self.server_type.cores.to_string()),
                ("__meta_hetzner_hcloud_cpu_type", self.server_type.cpu_type.clone()),
                (
                    "__meta_hetzner_hcloud_memory_size_gb",
                    self.server_type.memory.trunc().to_string(),
                ),
                ("__meta_hetzner_hcloud_disk_size_gb", self.server_type.disk.to_string()),
            ],
        );
        // The API has moved it out of the datacenter.
        if let Some(location) = self.location.as_ref().or(self.datacenter.location.as_ref()) {
            for name in ["location", "datacenter_location"] {
                let name = format!("__meta_hetzner_hcloud_{name}");
                labels.set(&format!("{name}_network_zone"), &*location.network_zone);
                labels.set(&name, &*location.name);
            }
        }
        if let Some(image) = &self.image {
            labels.set("__meta_hetzner_hcloud_image_name", &*image.name);
            labels.set("__meta_hetzner_hcloud_image_description", &*image.description);
            labels.set("__meta_hetzner_hcloud_image_os_flavor", &*image.os_flavor);
            labels.set("__meta_hetzner_hcloud_image_os_version", &*image.os_version);
        }
        for net in &self.private_net {
            if let Some(name) = networks.get(&net.network) {
                let name = format!("__meta_hetzner_hcloud_private_ipv4_{}", sanitized(name));
                labels.set(&name, &*net.ip);
            }
        }
        for (key, value) in &self.labels {
            let key = sanitized(key);
            labels.set(&format!("__meta_hetzner_hcloud_labelpresent_{key}"), "true");
            labels.set(&format!("__meta_hetzner_hcloud_label_{key}"), &**value);
        }
        labels
    }
}

#[derive(Deserialize)]
struct RobotEntry {
    server: RobotServer,
}

#[derive(Deserialize)]
struct RobotServer {
    #[serde(default, deserialize_with = "or_empty")]
    server_ip: String,
    server_number: u64,
    #[serde(default, deserialize_with = "or_empty")]
    server_name: String,
    #[serde(default, deserialize_with = "or_empty")]
    dc: String,
    #[serde(default, deserialize_with = "or_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_empty")]
    product: String,
    #[serde(default, deserialize_with = "or_empty")]
    cancelled: bool,
    #[serde(default, deserialize_with = "or_empty")]
    subnet: Vec<Subnet>,
}

#[derive(Deserialize)]
struct Subnet {
    ip: String,
    mask: String,
}

impl RobotServer {
    fn target(&self, port: u16) -> Labels {
        let datacenter = self.dc.to_lowercase();
        let ipv6 = self.subnet.iter().find(|subnet| subnet.ip.parse::<Ipv4Addr>().is_err());
        let ipv6 = ipv6.map_or_else(String::new, |subnet| format!("{}/{}", subnet.ip, subnet.mask));
        target(
            host_port(&self.server_ip, port),
            [
                ("__meta_hetzner_role", HetznerRole::Robot.name().to_owned()),
                ("__meta_hetzner_server_id", self.server_number.to_string()),
                ("__meta_hetzner_server_name", self.server_name.clone()),
                ("__meta_hetzner_server_status", self.status.clone()),
                ("__meta_hetzner_datacenter", datacenter.clone()),
                ("__meta_hetzner_public_ipv4", self.server_ip.clone()),
                ("__meta_hetzner_public_ipv6_network", ipv6),
                ("__meta_hetzner_robot_datacenter", datacenter),
                ("__meta_hetzner_robot_product", self.product.clone()),
                ("__meta_hetzner_robot_cancelled", self.cancelled.to_string()),
            ],
        )
    }
}
