//! `digitalocean_sd_configs`: droplets that have an IPv4 address.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::{
    config::{DigitalOcean as Settings, HttpClient},
    discovery::{
        api::{self, Api, Pages, or_empty},
        meta::{group, host_port, some_joined, target},
    },
    model::{labels::Labels, target::TargetGroup},
};

pub(super) struct DigitalOcean {
    api: Api,
    settings: Settings,
}

impl DigitalOcean {
    pub(super) fn new(settings: Settings, refresh: Duration, client: &HttpClient) -> Self {
        Self { api: Api::new(client, refresh), settings }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let (mut targets, mut pages) = (Vec::new(), Pages::default());
        for number in 1.. {
            let page: Page = self.api.get(self.url(number)?).await?;
            pages.turn(page.droplets.len())?;
            targets.extend(page.droplets.iter().filter_map(|it| it.target(self.settings.port)));
            if page.links.pages.next.is_empty() {
                break;
            }
        }
        Ok(group("DigitalOcean", targets))
    }

    /// The next page is counted, not followed: where an answer points to, no token is taken.
    fn url(&self, page: usize) -> Result<Url, String> {
        let page = page.to_string();
        api::url(&self.settings.endpoint, "/v2/droplets", &[("page", &page), ("per_page", "200")])
    }
}

pub(super) fn decode(answer: &[u8]) -> Vec<Labels> {
    let page: Option<Page> = serde_json::from_slice(answer).ok();
    page.iter().flat_map(|page| &page.droplets).filter_map(|it| it.target(80)).collect()
}

#[derive(Deserialize)]
struct Page {
    #[serde(deserialize_with = "or_empty")]
    droplets: Vec<Droplet>,
    #[serde(default, deserialize_with = "or_empty")]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    #[serde(default, deserialize_with = "or_empty")]
    pages: PageLinks,
}

#[derive(Default, Deserialize)]
struct PageLinks {
    #[serde(default, deserialize_with = "or_empty")]
    next: String,
}

#[derive(Deserialize)]
struct Droplet {
    id: u64,
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    status: String,
    #[serde(default, deserialize_with = "or_empty")]
    features: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    region: Named,
    #[serde(default, deserialize_with = "or_empty")]
    image: Named,
    #[serde(default, deserialize_with = "or_empty")]
    size_slug: String,
    #[serde(default, deserialize_with = "or_empty")]
    vpc_uuid: String,
    #[serde(default, deserialize_with = "or_empty")]
    networks: Networks,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "or_empty")]
    slug: String,
    #[serde(default, deserialize_with = "or_empty")]
    name: String,
}

#[derive(Default, Deserialize)]
struct Networks {
    #[serde(default, deserialize_with = "or_empty")]
    v4: Vec<Network>,
    #[serde(default, deserialize_with = "or_empty")]
    v6: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    ip_address: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Droplet {
    /// `None` without an IPv4 address: Prometheus passes over it, too.
    fn target(&self, port: u16) -> Option<Labels> {
        if self.networks.v4.is_empty() {
            return None;
        }
        let first = |networks: &[Network], kind: &str| {
            let found = networks.iter().find(|network| network.kind == kind);
            found.map_or_else(String::new, |network| network.ip_address.clone())
        };
        let public = first(&self.networks.v4, "public");
        Some(target(
            host_port(&public, port),
            [
                ("__meta_digitalocean_droplet_id", self.id.to_string()),
                ("__meta_digitalocean_droplet_name", self.name.clone()),
                ("__meta_digitalocean_image", self.image.slug.clone()),
                ("__meta_digitalocean_image_name", self.image.name.clone()),
                ("__meta_digitalocean_private_ipv4", first(&self.networks.v4, "private")),
                ("__meta_digitalocean_public_ipv4", public),
                ("__meta_digitalocean_public_ipv6", first(&self.networks.v6, "public")),
                ("__meta_digitalocean_region", self.region.slug.clone()),
                ("__meta_digitalocean_size", self.size_slug.clone()),
                ("__meta_digitalocean_status", self.status.clone()),
                ("__meta_digitalocean_vpc", self.vpc_uuid.clone()),
                ("__meta_digitalocean_features", some_joined(&self.features, ",")),
                ("__meta_digitalocean_tags", some_joined(&self.tags, ",")),
            ],
        ))
    }
}
