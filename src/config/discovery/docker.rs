//! `docker_sd_configs`: the containers of one Docker daemon.

use std::path::Path;

use url::Url;

use crate::config::{
    HttpClient, TypedUrl,
    decode::{Findings, Section},
    discovery::{Provider, port},
    http,
    show::{Field, some_list, texts, url},
    yaml::Node,
    yaml_out::{flag, map, number, text},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docker {
    /// As typed: `unix:///var/run/docker.sock`, `tcp://host:2375`, an HTTP URL.
    pub host: TypedUrl,
    /// Of containers that expose none.
    pub port: u16,
    /// Names and their values, as the daemon's API takes them.
    pub filters: Vec<(String, Vec<String>)>,
    /// The address of containers that share the host's network.
    pub host_networking_host: String,
    /// Of a container in several networks, the one whose name is first.
    pub match_first_network: bool,
}

/// Where a daemon listens.
#[derive(Debug, PartialEq, Eq)]
pub enum DockerDoor<'d> {
    Socket(&'d Path),
    /// An HTTP URL, without a slash at the end.
    Url(TypedUrl),
}

impl Docker {
    /// `None`: nothing that a daemon could be asked at.
    pub fn door(&self) -> Option<DockerDoor<'_>> {
        let host = self.host.expose();
        let (scheme, rest) = host.split_once("://")?;
        let base = match scheme {
            "unix" => {
                return rest.starts_with('/').then(|| DockerDoor::Socket(Path::new(rest)));
            }
            // As Docker's own clients do where no TLS is asked for: that is what `https` is for.
            "tcp" => format!("http://{rest}"),
            "http" | "https" => host.to_owned(),
            _ => return None,
        };
        Url::parse(&base).ok()?.host_str()?;
        Some(DockerDoor::Url(TypedUrl::new(base.trim_end_matches('/'))))
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let filters = self.filters.iter().map(|(name, values)| {
            map([("name", Some(text(&**name))), ("values", Some(texts(values)))])
        });
        vec![
            ("host", Some(url(self.host.expose()))),
            ("port", Some(number(self.port))),
            ("filters", some_list(filters.collect())),
            ("host_networking_host", Some(text(&*self.host_networking_host))),
            ("match_first_network", Some(flag(self.match_first_network))),
        ]
    }
}

#[expect(clippy::unnecessary_wraps, reason = "of other kinds there may be none")]
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let host = TypedUrl::new(section.text("host").unwrap_or(""));
    let port = port(section);
    let nodes = section.entries("filters", "empty or null filter in docker_sd_configs");
    let filters = nodes.into_iter().filter_map(|node| filter(node, section.findings)).collect();
    let host_networking_host =
        section.text("host_networking_host").unwrap_or("localhost").to_owned();
    let match_first_network = section.boolean("match_first_network").unwrap_or(true);
    let docker = Docker { host, port, filters, host_networking_host, match_first_network };
    let place = section.place_of("host");
    if docker.host.expose().is_empty() {
        section.problem(place, "host missing (`host`)");
    } else if docker.door().is_none() {
        section.problem(
            place,
            "`host`: expected `unix:///path/of/the.sock`, `tcp://host:port` or an HTTP URL",
        );
    }
    Some((Provider::Docker(docker), http::client(section, true)))
}

fn filter(node: &Node, findings: &mut Findings) -> Option<(String, Vec<String>)> {
    let mut section = Section::open(node, "filters", findings)?;
    let name = section.text("name").unwrap_or("").to_owned();
    let values = section.texts("values").into_iter().map(|(value, _)| value.to_owned()).collect();
    if name.is_empty() {
        section.problem(node.place, "a filter needs a name (`name`)");
    }
    section.close();
    Some((name, values))
}
