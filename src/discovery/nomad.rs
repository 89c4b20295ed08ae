//! `nomad_sd_configs`: the instances of each service in Nomad's own registry.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use url::{Url, form_urlencoded::byte_serialize};

use crate::{
    config::{HttpClient, Nomad as Settings},
    discovery::{
        api::{self, Api, Pages, or_empty},
        meta::{group, host_port, some_joined, target},
    },
    model::{labels::Labels, target::TargetGroup},
};

/// Services that are asked for at once; the others wait.
const LOOKUPS_MAX: usize = 8;
const EVERY_NAMESPACE: &str = "*";

pub(super) struct Nomad {
    api: Api,
    settings: Settings,
}

impl Nomad {
    pub(super) fn new(settings: Settings, refresh: Duration, client: &HttpClient) -> Self {
        Self { api: Api::new(client, refresh), settings }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let own = &*self.settings.namespace;
        let spaces: Vec<Namespace> = self.api.get(self.url("/v1/services", own)?).await?;
        let mut urls = Vec::new();
        for Namespace { name, services } in &spaces {
            // Of all namespaces at once a service can't be asked for.
            let space = if own == EVERY_NAMESPACE { name } else { own };
            for service in services {
                let name = byte_serialize(service.name.as_bytes()).collect::<String>();
                let path = format!("/v1/service/{}", name.replace('+', "%20"));
                urls.push(self.url(&path, space)?);
            }
        }
        let (mut targets, mut pages) = (Vec::new(), Pages::default());
        let lists = urls.into_iter().map(|url| self.api.get::<Vec<Instance>>(url));
        let mut lists = stream::iter(lists).buffered(LOOKUPS_MAX);
        while let Some(found) = lists.try_next().await? {
            pages.count(found.len())?;
            let separator = &self.settings.tag_separator;
            targets.extend(found.iter().map(|instance| instance.target(separator)));
        }
        Ok(group("Nomad", targets))
    }

    fn url(&self, path: &str, namespace: &str) -> Result<Url, String> {
        let mut query = Vec::new();
        for (name, value) in [("region", &*self.settings.region), ("namespace", namespace)] {
            if !value.is_empty() {
                query.push((name, value));
            }
        }
        if self.settings.allow_stale {
            query.push(("stale", ""));
        }
        api::url(self.settings.server.expose(), path, &query)
    }
}

pub(super) fn decode(answer: &[u8]) -> Vec<Labels> {
    let instances: Vec<Instance> = serde_json::from_slice(answer).unwrap_or_default();
    instances.iter().map(|instance| instance.target(",")).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Namespace {
    #[serde(rename = "Namespace", default)]
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "ServiceName")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    #[serde(rename = "ID")]
    id: String,
    service_name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    datacenter: String,
    #[serde(deserialize_with = "or_empty")]
    tags: Vec<String>,
    address: String,
    port: i64,
}

impl Instance {
    fn target(&self, separator: &str) -> Labels {
        let port = self.port.to_string();
        target(
            host_port(&self.address, &port),
            [
                ("__meta_nomad_address", &*self.address),
                ("__meta_nomad_dc", &self.datacenter),
                ("__meta_nomad_node_id", &self.node_id),
                ("__meta_nomad_namespace", &self.namespace),
                ("__meta_nomad_service", &self.service_name),
                ("__meta_nomad_service_address", &self.address),
                ("__meta_nomad_service_id", &self.id),
                ("__meta_nomad_service_port", &port),
                ("__meta_nomad_tags", &some_joined(&self.tags, separator)),
            ],
        )
    }
}
