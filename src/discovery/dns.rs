//! `dns_sd_configs`: the records of names, one group a name. A name that can't be resolved keeps
//! its group; one that has no records, or does not exist, loses it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use futures_util::{StreamExt, stream};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    config::DnsRecord,
    discovery::provider::{Nameservers, Round, Rounds},
    model::{
        labels::Labels,
        target::{ADDRESS, TargetGroup},
    },
    runtime::clock,
};

const NAME: &str = "__meta_dns_name";
const SRV_TARGET: &str = "__meta_dns_srv_record_target";
const SRV_PORT: &str = "__meta_dns_srv_record_port";
const MX_TARGET: &str = "__meta_dns_mx_record_target";
const NS_TARGET: &str = "__meta_dns_ns_record_target";

/// Names of one provider that are looked up at once; the others wait.
const LOOKUPS_MAX: usize = 16;

pub(super) struct Asked {
    pub(super) names: Vec<String>,
    pub(super) record: DnsRecord,
    /// Of SRV records their own port is taken.
    pub(super) port: u16,
}

pub(super) async fn run(
    asked: Asked,
    refresh_interval: Duration,
    nameservers: Nameservers,
    rounds: Rounds,
) {
    let mut groups = BTreeMap::new();
    let mut due = interval(refresh_interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let began_ms = clock::now_ms();
        let round = match Resolver::new(&nameservers) {
            Ok(resolver) => refresh(&asked, &resolver, &mut groups, began_ms).await,
            Err(fault) => Round::failed(began_ms, fault),
        };
        rounds.tell(round).await;
    }
}

async fn refresh(
    asked: &Asked,
    resolver: &Resolver,
    groups: &mut BTreeMap<String, TargetGroup>,
    began_ms: i64,
) -> Round {
    let record_type = match asked.record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
    };
    let lookups = asked.names.iter().cloned().map(|name| async move {
        let answer = resolver.lookup(&name, record_type).await;
        (name, answer)
    });
    let answers: Vec<_> = stream::iter(lookups).buffered(LOOKUPS_MAX).collect().await;
    let mut faults = Vec::new();
    for (name, answer) in answers {
        match answer {
            Ok(records) => {
                let found = group(&name, asked, &records);
                groups.insert(name, found);
            }
            Err(fault) => faults.push(format!("`{name}`: {fault}")),
        }
    }
    Round { began_ms, groups: Some(groups.values().cloned().collect()), faults }
}

/// Records of another type than was asked for (a CNAME on the way) are passed over. Servers give
/// records in changing order, so they are sorted.
fn group(name: &str, asked: &Asked, records: &[RData]) -> TargetGroup {
    let mut targets: Vec<Labels> =
        records.iter().filter_map(|record| target(name, asked, record)).collect();
    targets.sort();
    TargetGroup { source: name.to_owned(), targets, labels: Labels::new() }
}

fn target(name: &str, asked: &Asked, record: &RData) -> Option<Labels> {
    let mut labels: Labels = [(NAME, name)].into_iter().collect();
    let address = match (asked.record, record) {
        (DnsRecord::A, RData::A(ip)) => host_port(&IpAddr::V4(ip.0).to_string(), asked.port),
        (DnsRecord::Aaaa, RData::AAAA(ip)) => host_port(&IpAddr::V6(ip.0).to_string(), asked.port),
        (DnsRecord::Srv, RData::SRV(srv)) => {
            labels.set(SRV_TARGET, srv.target.to_utf8());
            labels.set(SRV_PORT, srv.port.to_string());
            host_port(&srv.target.to_utf8(), srv.port)
        }
        (DnsRecord::Mx, RData::MX(mx)) => {
            labels.set(MX_TARGET, mx.exchange.to_utf8());
            host_port(&mx.exchange.to_utf8(), asked.port)
        }
        (DnsRecord::Ns, RData::NS(ns)) => {
            labels.set(NS_TARGET, ns.0.to_utf8());
            host_port(&ns.0.to_utf8(), asked.port)
        }
        (DnsRecord::A | DnsRecord::Aaaa | DnsRecord::Srv | DnsRecord::Mx | DnsRecord::Ns, _) => {
            return None;
        }
    };
    labels.set(ADDRESS, address);
    Some(labels)
}

fn host_port(host: &str, port: u16) -> String {
    let host = host.trim_end_matches('.');
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Asks servers for names, with the search list that the system's own resolver would use.
struct Resolver {
    servers: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

impl Resolver {
    fn new(nameservers: &Nameservers) -> Result<Self, String> {
        let (config, mut options) = match nameservers {
            Nameservers::System => read_system_conf()
                .map_err(|error| format!("can't use `/etc/resolv.conf`: {error}"))?,
            Nameservers::Fixed { servers, search } => {
                let servers = servers.iter().map(|server| {
                    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                    for connection in &mut connections {
                        connection.port = server.port();
                    }
                    NameServerConfig::new(server.ip(), true, connections.into())
                });
                let search = search.iter().map(|domain| parse(domain)).collect::<Result<_, _>>()?;
                let config = ResolverConfig::from_parts(None, search, servers.collect());
                (config, ResolverOpts::default())
            }
        };
        // Each refresh asks anew, and asks the servers: `/etc/hosts` is not the DNS.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let (search, ndots) = (config.search().to_vec(), options.ndots);
        let servers = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { servers, search, ndots })
    }

    /// The first candidate that the DNS knows answers, be it without such records. When all are
    /// said not to exist, there are no records; when one could not be told, nothing is known.
    async fn lookup(&self, name: &str, record_type: RecordType) -> Result<Vec<RData>, String> {
        let mut fault = None;
        for candidate in candidates(&parse(name)?, &self.search, self.ndots) {
            match self.servers.lookup(candidate, record_type).await {
                Ok(found) => {
                    return Ok(found.answers().iter().map(|record| record.data.clone()).collect());
                }
                Err(error) if exists(&error) => return Ok(Vec::new()),
                Err(error) if error.is_nx_domain() => {}
                Err(error) => fault = Some(error.to_string()),
            }
        }
        fault.map_or_else(|| Ok(Vec::new()), Err)
    }
}

/// A name that ends in a dot is itself only; another is tried behind the search domains, before or
/// after itself as `ndots` says.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut whole = name.clone();
    whole.set_fqdn(true);
    if name.is_fqdn() {
        return vec![whole];
    }
    let mut candidates: Vec<Name> =
        search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
    let first = usize::from(name.num_labels()) > ndots;
    candidates.insert(if first { 0 } else { candidates.len() }, whole);
    candidates
}

/// The name exists, and has no records of the type.
fn exists(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError
    )
}

fn parse(name: &str) -> Result<Name, String> {
    Name::from_str_relaxed(name).map_err(|error| format!("`{name}` is not a domain name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_follow_the_search_list() {
        let search: Vec<Name> = ["one.example", "two."].iter().map(|d| parse(d).unwrap()).collect();
        let check = |name, ndots, expected: &[&str]| {
            let candidates = candidates(&parse(name).unwrap(), &search, ndots);
            let shown: Vec<String> = candidates.iter().map(Name::to_utf8).collect();
            assert_eq!(shown, expected, "{name} {ndots}");
        };
        check("a.b.", 5, &["a.b."]);
        check("a", 1, &["a.one.example.", "a.two.", "a."]);
        check("a.b", 1, &["a.b.", "a.b.one.example.", "a.b.two."]);
        check("a.b", 2, &["a.b.one.example.", "a.b.two.", "a.b."]);
        check("_srv._tcp.b.", 1, &["_srv._tcp.b."]);
    }

    #[test]
    fn an_ipv6_host_is_bracketed() {
        assert_eq!(host_port("::1", 80), "[::1]:80");
        assert_eq!(host_port("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(host_port("db.example.com.", 80), "db.example.com:80");
    }
}
