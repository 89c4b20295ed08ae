//! Where a job's targets come from: `*_sd_configs` and `static_configs`. Kinds that ask an API have a
//! file each.

mod azure;
mod consul;
mod digitalocean;
mod docker;
mod ec2;
mod gce;
mod hetzner;
mod nomad;
mod openstack;
mod polled;

use std::time::Duration;

pub(super) use crate::config::discovery::polled::show;
pub use crate::config::discovery::{
    azure::{Azure, AzureAuthentication, AzureEnvironment},
    consul::Consul,
    digitalocean::DigitalOcean,
    docker::{Docker, DockerDoor},
    ec2::{Ec2, Ec2Filter},
    gce::Gce,
    hetzner::{Hetzner, HetznerRole},
    nomad::Nomad,
    openstack::{OpenStack, OpenStackAvailability, OpenStackIdentity, OpenStackRole},
    polled::{Polled, Provider},
};

use crate::{
    config::{
        Discovery, DnsRecord, TypedUrl,
        decode::{Findings, Section, nearest, shown},
        http, labels,
        problem::Place,
        yaml::Node,
    },
    model::{labels::Labels, relabel::NameValidation, target::TargetGroup},
};

/// Known to Prometheus, not run here.
const LATER: [&str; 25] = [
    "aws",
    "dockerswarm",
    "ecs",
    "elasticache",
    "eureka",
    "ionos",
    "kubernetes",
    "kuma",
    "lightsail",
    "linode",
    "marathon",
    "msk",
    "nerve",
    "oci",
    "outscale",
    "ovhcloud",
    "puppetdb",
    "rds",
    "scaleway",
    "serverset",
    "stackit",
    "tencent",
    "triton",
    "uyuni",
    "vultr",
];

const NOW: [&str; 4] = ["static_configs", "file_sd_configs", "http_sd_configs", "dns_sd_configs"];

/// All discoveries of a job, or of an Alertmanager.
pub(super) fn discoveries(section: &mut Section<'_, '_>) -> Vec<Discovery> {
    let mut found = Vec::new();
    for node in entries(section, "file_sd_configs") {
        found.extend(file(node, section.findings));
    }
    for node in entries(section, "http_sd_configs") {
        found.extend(http(node, section.findings));
    }
    for node in entries(section, "dns_sd_configs") {
        found.extend(dns(node, section.findings));
    }
    for kind in &polled::KINDS {
        for node in entries(section, kind.key) {
            found.extend(polled::read(kind, node, section.findings));
        }
    }
    let groups: Vec<TargetGroup> = entries(section, "static_configs")
        .into_iter()
        .enumerate()
        .filter_map(|(n, node)| group(node, n, section.findings))
        .collect();
    if !groups.is_empty() {
        found.push(Discovery::Static(groups));
    }
    unsupported(section);
    found
}

/// For those that no relabelling can mend: a URL is no address.
pub(super) fn check_addresses(section: &mut Section<'_, '_>) {
    for node in section.peek("static_configs") {
        let targets = node.as_map().and_then(|entries| {
            entries.iter().find(|(key, _)| key.text == "targets").map(|(_, node)| node)
        });
        for target in targets.and_then(Node::as_seq).unwrap_or(&[]) {
            let Some(address) = target.as_str().filter(|address| address.contains('/')) else {
                continue;
            };
            let message = format!(
                "{:?} is not a valid hostname; expected `host:port` (the path goes into `metrics_path`, the scheme into `scheme`)",
                shown(&without_credentials(address))
            );
            section.problem(target.place, message);
        }
    }
}

/// An address that was typed as a URL may have a password in it, and a token in its query.
pub(super) fn without_credentials(url: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?<secret>"));
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '#']).map_or(url.len(), |at| start + at);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}xxxxx{}{query}", &url[..start], &url[start + at..]),
        None => format!("{url}{query}"),
    }
}

/// `Some`: why `url` is none that an HTTP request could go to. Tells nothing of its content.
pub(super) fn url_fault(url: &str) -> Option<&'static str> {
    if url.is_empty() {
        return Some("URL is missing");
    }
    let rest = match url.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            rest
        }
        Some(_) | None => return Some("URL scheme must be 'http' or 'https'"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    if host.is_empty() || host.starts_with(':') {
        return Some("host is missing in URL");
    }
    url::Url::parse(url).is_err().then_some("not a valid URL")
}

fn entries<'n>(section: &mut Section<'n, '_>, key: &'static str) -> Vec<&'n Node> {
    section.entries(key, &format!("empty or null section in {key}"))
}

fn file(node: &Node, findings: &mut Findings) -> Option<Discovery> {
    let mut section = Section::open(node, "file_sd_configs", findings)?;
    let texts = section.texts("files");
    if texts.is_empty() {
        section.problem(
            node.place,
            "file service discovery config must contain at least one path name (`files`)",
        );
    }
    let mut files = Vec::new();
    for (text, place) in texts {
        if is_target_file(text) {
            files.push(section.findings.path(text).display().to_string());
        } else {
            let message = format!(
                "path name {:?} is not valid for file discovery; expected a file .json, .yml or .yaml, `*` only in its last part",
                shown(text)
            );
            section.problem(place, message);
        }
    }
    let refresh_interval = refresh(&mut section, Duration::from_secs(300));
    section.close();
    Some(Discovery::File { files, refresh_interval })
}

/// At most one `*`, and that in the last part.
fn is_target_file(path: &str) -> bool {
    let Some((stem, extension)) = path.rsplit_once('.') else { return false };
    ["json", "yml", "yaml", "JSON", "YML", "YAML"].contains(&extension)
        && stem.split_once('*').is_none_or(|(_, after)| !after.contains('/'))
}

fn http(node: &Node, findings: &mut Findings) -> Option<Discovery> {
    let mut section = Section::open(node, "http_sd_configs", findings)?;
    let url = section.text("url").unwrap_or("").to_owned();
    if let Some(fault) = url_fault(&url) {
        let place = section.place_of("url");
        section.problem(place, format!("`url`: {fault}"));
    }
    let refresh_interval = refresh(&mut section, Duration::from_secs(60));
    let client = http::client(&mut section, true);
    section.close();
    Some(Discovery::Http { url: TypedUrl::new(url), refresh_interval, client })
}

fn dns(node: &Node, findings: &mut Findings) -> Option<Discovery> {
    let mut section = Section::open(node, "dns_sd_configs", findings)?;
    let names: Vec<String> = section.texts("names").iter().map(|(n, _)| (*n).to_owned()).collect();
    if names.is_empty() {
        section.problem(
            node.place,
            "DNS-SD config must contain at least one SRV record name (`names`)",
        );
    }
    let record = match section.text("type") {
        None => Some(DnsRecord::Srv),
        Some(text) => record(&mut section, text),
    };
    let port: Option<u16> = section.number("port", 0..=65_535);
    if !section.has("port") && record.is_some_and(|record| record != DnsRecord::Srv)
        || port == Some(0) && record.is_some_and(|record| record != DnsRecord::Srv)
    {
        section.problem(
            node.place,
            "a port is required in DNS-SD configs for all record types except SRV",
        );
    }
    let refresh_interval = refresh(&mut section, Duration::from_secs(30));
    section.close();
    Some(Discovery::Dns { names, record: record?, port: port.unwrap_or(0), refresh_interval })
}

fn record(section: &mut Section<'_, '_>, text: &str) -> Option<DnsRecord> {
    let record = match text.to_ascii_uppercase().as_str() {
        "A" => DnsRecord::A,
        "AAAA" => DnsRecord::Aaaa,
        "SRV" => DnsRecord::Srv,
        "MX" => DnsRecord::Mx,
        "NS" => DnsRecord::Ns,
        _ => {
            let place = section.place_of("type");
            let message = format!(
                "invalid DNS-SD records type {}; expected A, AAAA, SRV, MX or NS",
                shown(text)
            );
            section.problem(place, message);
            return None;
        }
    };
    Some(record)
}

/// Of targets for which the API has none; 80 as in Prometheus.
fn port(section: &mut Section<'_, '_>) -> u16 {
    section.number("port", 0..=65_535).unwrap_or(80)
}

fn refresh(section: &mut Section<'_, '_>, unset: Duration) -> Duration {
    match section.duration("refresh_interval") {
        Some(Duration::ZERO) => {
            let place = section.place_of("refresh_interval");
            section.problem(place, "`refresh_interval` must be more than 0");
            unset
        }
        Some(interval) => interval,
        None => unset,
    }
}

fn group(node: &Node, number: usize, findings: &mut Findings) -> Option<TargetGroup> {
    let mut section = Section::open(node, "static_configs", findings)?;
    let targets = section
        .texts("targets")
        .into_iter()
        .map(|(address, _)| Labels::from_iter([("__address__", address)]))
        .collect();
    let labels = labels::pairs(&mut section, "labels", NameValidation::Utf8);
    section.close();
    Some(TargetGroup {
        source: number.to_string(),
        targets,
        labels: labels
            .into_iter()
            .map(|(name, value, _): (&str, &str, Place)| (name, value))
            .collect(),
    })
}

/// Tells the discoveries that come later, and what looks like one.
fn unsupported(section: &mut Section<'_, '_>) {
    let unknown: Vec<_> = section
        .others()
        .filter(|(key, _)| key.text.ends_with("_sd_configs"))
        .map(|(key, node)| (key.place, key.text.as_str(), node))
        .collect();
    for (place, key, node) in unknown {
        let kind = key.trim_end_matches("_sd_configs");
        let Some(known) = LATER.iter().find(|later| **later == kind) else {
            let near = nearest(kind, &LATER).map(|near| format!("{near}_sd_configs"));
            let keys: Vec<&str> =
                NOW.into_iter().chain(polled::KINDS.iter().map(|kind| kind.key)).collect();
            let near = nearest(key, &keys).map(str::to_owned).or(near);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            section.told(key);
            section.problem(place, format!("unknown key `{}`{hint}", shown(key)));
            continue;
        };
        section.told(key);
        let entries = node.as_seq().unwrap_or(&[]);
        let is_empty =
            |entry: &&Node| entry.is_null() || entry.as_map().is_some_and(<[_]>::is_empty);
        for entry in entries.iter().filter(is_empty) {
            section.problem(entry.place, format!("empty or null section in {key}"));
        }
        if !node.is_null() && node.as_seq().is_none_or(|entries| !entries.is_empty()) {
            let message = format!(
                "`{known}_sd_configs` is not supported yet; use `file_sd_configs` or `http_sd_configs` meanwhile"
            );
            section.problem(place, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn a_shown_url_has_neither_password_nor_query() {
        for (url, shown) in [
            ("http://a/b", "http://a/b"),
            ("http://me:hunter2@a:1/b", "http://xxxxx@a:1/b"),
            ("http://a/w?token=hunter2", "http://a/w?<secret>"),
            ("http://me:hunter2@a?t=x@y", "http://xxxxx@a?<secret>"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
