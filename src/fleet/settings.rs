//! What a node of a fleet must be told, and how the configuration says it.

use std::{net::SocketAddr, time::Duration};

use crate::{
    config::Cluster,
    fleet::{Interfaces, peers::Peer, seal::Secret},
    model::member::NodeId,
};

#[derive(Clone, Debug)]
pub struct FleetSettings {
    pub cluster: String,
    pub id: NodeId,
    pub name: String,
    pub listen: SocketAddr,
    /// Where others reach this node; without it, the address that a route to a peer would use.
    pub advertise: Option<SocketAddr>,
    /// Where its admin API answers, as `host:port`.
    pub api_address: String,
    pub weight: u32,
    pub zone: String,
    /// Sealed is with the first, opened with any.
    pub secrets: Vec<Secret>,
    pub peers: Vec<Peer>,
    pub mdns: Option<Interfaces>,
    /// How far ahead joins and leaves are announced.
    pub settle: Duration,
    /// The first share begins when so many members are here …
    pub wait_for_size: usize,
    /// … or after so long.
    pub wait_timeout: Duration,
}

impl FleetSettings {
    /// `host` is the name that this node has where none is configured.
    pub fn of(cluster: &Cluster, id: NodeId, host: String, api_address: String) -> Self {
        let interfaces = match cluster.mdns_interfaces.as_slice() {
            [] => Interfaces::Outward,
            names => Interfaces::Named(names.to_vec()),
        };
        Self {
            cluster: cluster.name.clone(),
            id,
            name: cluster.node_name.clone().unwrap_or(host),
            listen: cluster.listen_address,
            advertise: cluster.advertise(),
            api_address,
            weight: cluster.weight,
            zone: cluster.zone.clone(),
            secrets: secrets(cluster),
            peers: cluster.peers(),
            mdns: cluster.mdns.then_some(interfaces),
            settle: cluster.settle,
            wait_for_size: cluster.wait_for_size,
            wait_timeout: cluster.wait_timeout,
        }
    }
}

/// In the order of the configuration: sealed is with the first, opened with any.
pub fn secrets(cluster: &Cluster) -> Vec<Secret> {
    cluster.keys.iter().map(|key| Secret::new(key.expose())).collect()
}
