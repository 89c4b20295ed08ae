//! What discoveries that ask an API have in common, and which there are: a new one is a file beside
//! this one, an arm of `Provider` and a line of `KINDS`.

use std::time::Duration;

use crate::config::{
    HttpClient,
    decode::{Findings, Section},
    discovery::{
        Azure, Consul, DigitalOcean, Discovery, Docker, Ec2, Gce, Hetzner, Nomad, OpenStack, azure,
        consul, digitalocean, docker, ec2, gce, hetzner, nomad, openstack, refresh,
    },
    http::shown::client,
    show::{Field, duration},
    yaml::Node,
    yaml_out::{Shown, map},
};

/// One entry of such a `*_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Polled {
    pub provider: Provider,
    pub refresh_interval: Duration,
    pub client: HttpClient,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    Azure(Azure),
    Consul(Consul),
    DigitalOcean(DigitalOcean),
    Docker(Docker),
    Ec2(Ec2),
    Gce(Gce),
    Hetzner(Hetzner),
    Nomad(Nomad),
    OpenStack(OpenStack),
}

impl Provider {
    /// As metrics and logs call it.
    pub fn kind(&self) -> &'static str {
        self.key().trim_end_matches("_sd_configs")
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Azure(_) => "azure_sd_configs",
            Self::Consul(_) => "consul_sd_configs",
            Self::DigitalOcean(_) => "digitalocean_sd_configs",
            Self::Docker(_) => "docker_sd_configs",
            Self::Ec2(_) => "ec2_sd_configs",
            Self::Gce(_) => "gce_sd_configs",
            Self::Hetzner(_) => "hetzner_sd_configs",
            Self::Nomad(_) => "nomad_sd_configs",
            Self::OpenStack(_) => "openstack_sd_configs",
        }
    }

    /// Whether that key of an HTTP client is one of its own.
    fn takes(&self, key: &str) -> bool {
        match self {
            Self::Gce(_) => false,
            Self::OpenStack(_) => key == "tls_config",
            Self::Azure(_)
            | Self::Consul(_)
            | Self::DigitalOcean(_)
            | Self::Docker(_)
            | Self::Ec2(_)
            | Self::Hetzner(_)
            | Self::Nomad(_) => true,
        }
    }

    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Azure(azure) => azure.fields(),
            Self::Consul(consul) => consul.fields(),
            Self::DigitalOcean(digitalocean) => digitalocean.fields(),
            Self::Docker(docker) => docker.fields(),
            Self::Ec2(ec2) => ec2.fields(),
            Self::Gce(gce) => gce.fields(),
            Self::Hetzner(hetzner) => hetzner.fields(),
            Self::Nomad(nomad) => nomad.fields(),
            Self::OpenStack(openstack) => openstack.fields(),
        }
    }
}

type Read = fn(&mut Section<'_, '_>) -> Option<(Provider, HttpClient)>;

pub(super) struct Kind {
    pub(super) key: &'static str,
    /// Its `refresh_interval` where none is typed.
    unset: Duration,
    /// Reads all keys but `refresh_interval`.
    read: Read,
}

const HALF_A_MINUTE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) const KINDS: [Kind; 9] = [
    Kind { key: "azure_sd_configs", unset: MINUTE.saturating_mul(5), read: azure::read },
    Kind { key: "consul_sd_configs", unset: HALF_A_MINUTE, read: consul::read },
    Kind { key: "digitalocean_sd_configs", unset: MINUTE, read: digitalocean::read },
    Kind { key: "docker_sd_configs", unset: MINUTE, read: docker::read },
    Kind { key: "ec2_sd_configs", unset: MINUTE, read: ec2::read },
    Kind { key: "gce_sd_configs", unset: MINUTE, read: gce::read },
    Kind { key: "hetzner_sd_configs", unset: MINUTE, read: hetzner::read },
    Kind { key: "nomad_sd_configs", unset: MINUTE, read: nomad::read },
    Kind { key: "openstack_sd_configs", unset: MINUTE, read: openstack::read },
];

pub(super) fn read(kind: &Kind, node: &Node, findings: &mut Findings) -> Option<Discovery> {
    let mut section = Section::open(node, kind.key, findings)?;
    let read = (kind.read)(&mut section);
    let refresh_interval = refresh(&mut section, kind.unset);
    section.close();
    let (provider, client) = read?;
    Some(Discovery::Polled(Box::new(Polled { provider, refresh_interval, client })))
}

/// The key of its list, and itself as the list shows it.
pub(in crate::config) fn show(polled: &Polled) -> (&'static str, Shown) {
    let mut fields = polled.provider.fields();
    fields.push(("refresh_interval", Some(duration(polled.refresh_interval))));
    fields.extend(client(&polled.client).into_iter().filter(|(key, _)| polled.provider.takes(key)));
    (polled.provider.key(), map(fields))
}
