//! Where peers may be: the entries of the list of peers, whose names are resolved for ever. Hints
//! only; who is a member is decided by an answer that opens.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use hickory_resolver::{TokioResolver, proto::rr::RData};
use tokio::{sync::watch, time};
use tracing::warn;

use crate::runtime::stop::Stop;

pub use crate::model::peer::Peer;

/// Names are asked for that often: a peer that moved is found again within it.
const RESOLVE: Duration = Duration::from_secs(10);
/// An answer that takes longer is waited for no more; what was known of the name stays.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(5);
/// Names asked for at once; the others wait.
const LOOKUPS_MAX: usize = 16;
/// Addresses taken of one name; the rest is ignored.
const ADDRESSES_PER_NAME_MAX: usize = 256;

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
                        warn!(%peer, error = fault, "a peer's name can't be resolved");
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
