//! Where peers may be: the entries of the list of peers, whose names are resolved for ever. Hints
//! only; who is a member is decided by an answer that opens.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use hickory_resolver::{TokioResolver, proto::rr::RData};
use tokio::{sync::watch, time};
use tracing::warn;

use crate::runtime::stop::Stop;

/// Names are asked for that often: a peer that moved is found again within it.
const RESOLVE: Duration = Duration::from_secs(10);
/// An answer that takes longer is waited for no more; what was known of the name stays.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(5);
/// Names asked for at once; the others wait.
const LOOKUPS_MAX: usize = 16;
/// Addresses taken of one name; the rest is ignored.
const ADDRESSES_PER_NAME_MAX: usize = 256;

/// One entry of the list of peers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Address(SocketAddr),
    /// All addresses of a name, with a port.
    Name(String, u16),
    /// All targets of an SRV record, with its ports.
    Service(String),
}

impl Peer {
    /// `IP`, `IP:port`, `host`, `host:port`, `dns+host:port` or `dnssrv+name`. Without a port, the
    /// peer listens where this node does.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let text = text.trim();
        if let Some(service) = text.strip_prefix("dnssrv+") {
            return host(service, text).map(Self::Service);
        }
        let place = text.strip_prefix("dns+").unwrap_or(text);
        if let Ok(address) = place.parse::<SocketAddr>() {
            return Ok(Self::Address(address));
        }
        let bare = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(place).parse::<IpAddr>() {
            return Ok(Self::Address(SocketAddr::new(ip, default_port)));
        }
        match place.rsplit_once(':') {
            None => Ok(Self::Name(host(place, text)?, default_port)),
            Some((name, port)) => {
                let port = port.parse().ok().filter(|&port| port != 0);
                let port = port.ok_or_else(|| {
                    format!("peer `{text}`: expected a port from 1 to 65535 after `:`")
                })?;
                Ok(Self::Name(host(name, text)?, port))
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Service(name) => write!(f, "dnssrv+{name}"),
        }
    }
}

fn host(name: &str, text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(is_plain) {
        return Err(format!("peer `{text}`: expected an address, a host name or `dnssrv+` a name"));
    }
    Ok(name.to_owned())
}

/// Publishes the addresses of all `peers` until told to stop.
pub(super) async fn run(peers: Vec<Peer>, found: watch::Sender<BTreeSet<SocketAddr>>, stop: Stop) {
    let mut known: BTreeMap<Peer, Vec<SocketAddr>> = BTreeMap::new();
    let mut silent: BTreeSet<Peer> = BTreeSet::new();
    loop {
        let lookups = peers.clone().into_iter().map(|peer| async move {
            let answer = time::timeout(ANSWER_SECONDS_MAX, addresses(&peer)).await;
            (peer, answer.unwrap_or_else(|_| Err("no answer in time".to_owned())))
        });
        let round = stream::iter(lookups).buffered(LOOKUPS_MAX).collect::<Vec<_>>();
        let answers = tokio::select! {
            answers = round => answers,
            () = stop.raised() => return,
        };
        for (peer, answer) in answers {
            match answer {
                Ok(mut addresses) => {
                    addresses.truncate(ADDRESSES_PER_NAME_MAX);
                    silent.remove(&peer);
                    known.insert(peer, addresses);
                }
                Err(fault) => {
                    if silent.insert(peer.clone()) {
                        warn!(%peer, fault, "a peer's name can't be resolved");
                    }
                }
            }
        }
        let all: BTreeSet<SocketAddr> = known.values().flatten().copied().collect();
        found.send_if_modified(|before| {
            let is_new = *before != all;
            *before = all;
            is_new
        });
        tokio::select! {
            () = time::sleep(RESOLVE) => {}
            () = stop.raised() => return,
        }
    }
}

async fn addresses(peer: &Peer) -> Result<Vec<SocketAddr>, String> {
    match peer {
        Peer::Address(address) => Ok(vec![*address]),
        Peer::Name(name, port) => {
            let found = tokio::net::lookup_host((name.as_str(), *port)).await;
            found.map(Iterator::collect).map_err(|error| error.to_string())
        }
        Peer::Service(name) => {
            // Built anew each time: the servers of `resolv.conf` change with the network.
            let resolver = TokioResolver::builder_tokio()
                .and_then(hickory_resolver::ResolverBuilder::build)
                .map_err(|error| error.to_string())?;
            let records =
                resolver.srv_lookup(name.as_str()).await.map_err(|error| error.to_string())?;
            let mut found = Vec::new();
            for record in records.answers() {
                if let RData::SRV(target) = &record.data {
                    let host = target.target.to_utf8();
                    let host = host.trim_end_matches('.');
                    if let Ok(some) = tokio::net::lookup_host((host, target.port)).await {
                        found.extend(some);
                    }
                }
            }
            Ok(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_written_in_many_ways() {
        let check = |text: &str, expected: &str| {
            let found = Peer::parse(text, 9734).map(|peer| format!("{peer:?}"));
            assert_eq!(found.unwrap_or_else(|error| error), expected);
        };
        check("10.0.0.1", "Address(10.0.0.1:9734)");
        check(" 10.0.0.1:1 ", "Address(10.0.0.1:1)");
        check("2001:db8::1", "Address([2001:db8::1]:9734)");
        check("[2001:db8::1]", "Address([2001:db8::1]:9734)");
        check("[2001:db8::1]:1", "Address([2001:db8::1]:1)");
        check("host", "Name(\"host\", 9734)");
        check("dns+host.example:1", "Name(\"host.example\", 1)");
        check("dnssrv+_starling._udp.example", "Service(\"_starling._udp.example\")");
        let expected = "expected an address, a host name or `dnssrv+` a name";
        check("", &format!("peer ``: {expected}"));
        check("a b", &format!("peer `a b`: {expected}"));
        check("dnssrv+", &format!("peer `dnssrv+`: {expected}"));
        check("host:0", "peer `host:0`: expected a port from 1 to 65535 after `:`");
        check("host:x", "peer `host:x`: expected a port from 1 to 65535 after `:`");
    }

    #[tokio::test]
    async fn names_become_addresses() {
        let (sender, mut found) = watch::channel(BTreeSet::new());
        let stop = Stop::new();
        let peers = vec![
            Peer::parse("localhost:7", 1).unwrap(),
            Peer::parse("10.0.0.1", 1).unwrap(),
            Peer::parse("no-such-host.invalid", 1).unwrap(),
        ];
        let task = crate::runtime::tasks::spawn("peers", run(peers, sender, stop.clone()));
        found.changed().await.unwrap();
        let addresses = found.borrow().clone();
        assert!(addresses.contains(&"127.0.0.1:7".parse().unwrap()), "{addresses:?}");
        assert!(addresses.contains(&"10.0.0.1:1".parse().unwrap()), "{addresses:?}");
        stop.raise();
        task.await.unwrap();
    }
}
