//! `docker_sd_configs`: the running containers of a Docker daemon, one target for each network of a
//! container and each TCP port it exposes.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use url::Url;

use crate::{
    config::{Docker as Settings, DockerDoor, HttpClient},
    discovery::{
        api::{self, Api, Pages, or_empty},
        meta::{group, host_port, sanitized},
    },
    model::{
        labels::Labels,
        target::{ADDRESS, TargetGroup},
    },
};

/// A container may share the network of one that shares another's; who goes in circles has none.
const SHARED_NETWORK_STEPS_MAX: usize = 8;
/// Any host will do for a daemon behind a socket.
const SOCKET_URL: &str = "http://docker";

pub(super) struct Docker {
    api: Result<Api, String>,
    base: String,
    settings: Settings,
}

impl Docker {
    pub(super) fn new(settings: Settings, refresh: Duration, client: &HttpClient) -> Self {
        let (api, base) = match settings.door() {
            Some(DockerDoor::Socket(path)) => {
                (Api::over_socket(path, refresh), SOCKET_URL.to_owned())
            }
            Some(DockerDoor::Url(base)) => {
                (Ok(Api::new(client, refresh)), base.expose().to_owned())
            }
            None => (Err("`host` names no daemon".to_owned()), String::new()),
        };
        Self { api, base, settings }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let api = self.api.as_ref().map_err(Clone::clone)?;
        let containers: Vec<Container> = api
            .get(self.containers_url()?)
            .await
            .map_err(|fault| self.told("error while listing containers", &fault))?;
        Pages::default().count(containers.len())?;
        // Without a version in the path the daemon answers in the newest that it has.
        let networks: Vec<Network> = api
            .get(api::url(&self.base, "/networks", &[])?)
            .await
            .map_err(|fault| self.told("error while computing network labels", &fault))?;
        Ok(group("Docker", targets(&containers, &networks, &self.settings)))
    }

    fn containers_url(&self) -> Result<Url, String> {
        if self.settings.filters.is_empty() {
            return api::url(&self.base, "/containers/json", &[]);
        }
        let mut filters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, values) in &self.settings.filters {
            filters.entry(name).or_default().extend(values.iter().map(String::as_str));
        }
        let filters = serde_json::to_string(&filters).expect("texts are JSON");
        api::url(&self.base, "/containers/json", &[("filters", &filters)])
    }

    /// Of a socket its own name says more than the URL that was asked for.
    fn told(&self, what: &str, fault: &str) -> String {
        match self.settings.door() {
            Some(DockerDoor::Socket(path)) => format!("`{}`: {what}: {fault}", path.display()),
            Some(DockerDoor::Url(_)) | None => format!("{what}: {fault}"),
        }
    }
}

/// The containers alone; networks are named or not.
pub(super) fn decode(answer: &[u8]) -> Vec<Labels> {
    let containers: Vec<Container> = serde_json::from_slice(answer).unwrap_or_default();
    let settings = Settings {
        host: crate::config::TypedUrl::default(),
        port: 80,
        filters: Vec::new(),
        host_networking_host: "localhost".to_owned(),
        match_first_network: false,
    };
    targets(&containers, &[], &settings)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default, deserialize_with = "or_empty")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    ports: Vec<Port>,
    #[serde(default, deserialize_with = "or_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_empty")]
    host_config: HostConfig,
    #[serde(default, deserialize_with = "or_empty")]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(rename = "PublicPort")]
    public: u16,
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

type Endpoints = BTreeMap<String, Option<Endpoint>>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_empty")]
    networks: Endpoints,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "IPAddress", deserialize_with = "or_empty")]
    ip: String,
    #[serde(rename = "NetworkID", deserialize_with = "or_empty")]
    network: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    scope: String,
    #[serde(default, deserialize_with = "or_empty")]
    internal: bool,
    #[serde(default, deserialize_with = "or_empty")]
    ingress: bool,
    #[serde(default, deserialize_with = "or_empty")]
    labels: BTreeMap<String, String>,
}

type Label = (String, String);

fn targets(containers: &[Container], networks: &[Network], settings: &Settings) -> Vec<Labels> {
    let by_id: BTreeMap<&str, &Container> = containers.iter().map(|it| (&*it.id, it)).collect();
    let networks: BTreeMap<&str, Vec<Label>> =
        networks.iter().map(|network| (&*network.id, network.labels())).collect();
    let mut targets = Vec::new();
    for container in containers {
        let Some(name) = container.names.first() else { continue };
        let endpoints = container.endpoints(&by_id);
        let some = endpoints.values().flatten();
        // The names come sorted.
        let endpoints_max = if settings.match_first_network { 1 } else { usize::MAX };
        for endpoint in some.take(endpoints_max) {
            let mut common = container.labels(name);
            common.set("__meta_docker_network_ip", &*endpoint.ip);
            for (name, value) in networks.get(&*endpoint.network).into_iter().flatten() {
                common.set(name, &**value);
            }
            targets.extend(container.at(endpoint, &common, settings));
        }
    }
    targets
}

impl Container {
    /// Its own networks, or those of the container whose network it shares.
    fn endpoints<'c>(&'c self, by_id: &BTreeMap<&str, &'c Self>) -> &'c Endpoints {
        let mut holder = self;
        for _ in 0..SHARED_NETWORK_STEPS_MAX {
            let shared = holder.host_config.network_mode.strip_prefix("container:");
            let next = shared.and_then(|id| by_id.get(id));
            match next {
                Some(next) if holder.network_settings.networks.is_empty() => holder = next,
                Some(_) | None => break,
            }
        }
        &holder.network_settings.networks
    }

    fn labels(&self, name: &str) -> Labels {
        let mut labels: Labels = [
            ("__meta_docker_container_id", &*self.id),
            ("__meta_docker_container_name", name),
            ("__meta_docker_container_network_mode", &self.host_config.network_mode),
        ]
        .into_iter()
        .collect();
        for (key, value) in &self.labels {
            let name = format!("__meta_docker_container_label_{}", sanitized(key));
            labels.set(&name, &**value);
        }
        labels
    }

    /// One target a TCP port; without any, one at the port that was set.
    fn at(&self, endpoint: &Endpoint, common: &Labels, settings: &Settings) -> Vec<Labels> {
        let tcp = self.ports.iter().filter(|port| port.r#type == "tcp");
        let mut targets: Vec<Labels> = tcp
            .map(|port| {
                let mut labels = common.clone();
                labels.set("__meta_docker_port_private", port.private.to_string());
                if port.public > 0 {
                    labels.set("__meta_docker_port_public", port.public.to_string());
                    labels.set("__meta_docker_port_public_ip", &*port.ip);
                }
                labels.set(ADDRESS, host_port(&endpoint.ip, port.private));
                labels
            })
            .collect();
        if targets.is_empty() {
            let mut labels = common.clone();
            let is_host = self.host_config.network_mode == "host";
            let address = if is_host {
                settings.host_networking_host.clone()
            } else {
                host_port(&endpoint.ip, settings.port)
            };
            labels.set(ADDRESS, address);
            targets.push(labels);
        }
        targets
    }
}

impl Network {
    fn labels(&self) -> Vec<Label> {
        let mut labels = vec![
            ("__meta_docker_network_id".to_owned(), self.id.clone()),
            ("__meta_docker_network_name".to_owned(), self.name.clone()),
            ("__meta_docker_network_scope".to_owned(), self.scope.clone()),
            ("__meta_docker_network_internal".to_owned(), self.internal.to_string()),
            ("__meta_docker_network_ingress".to_owned(), self.ingress.to_string()),
        ];
        labels.extend(self.labels.iter().map(|(key, value)| {
            (format!("__meta_docker_network_label_{}", sanitized(key)), value.clone())
        }));
        labels
    }
}
