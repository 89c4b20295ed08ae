//! What gossip costs: bytes that a member sends and receives a second, with real sockets, in calm.

use std::time::Duration;

use prometheus_client::registry::Registry;
use starling::{
    fleet::{Fleet, FleetSettings, Handle, membership::Order, node_id, peers::Peer, seal::Secret},
    model::member::NodeId,
    runtime::{meters::Exposition, stop::Stop, tasks},
};
use tokio::time::{Instant, sleep, timeout};

const MEASURED: Duration = Duration::from_secs(10);

struct Running {
    handle: Handle,
    registry: Registry,
}

impl Running {
    async fn start(n: usize, peers: Vec<Peer>, stop: &Stop) -> Self {
        let settings = FleetSettings {
            cluster: "test".to_owned(),
            id: NodeId(u128::from_be_bytes(node_id::chance())),
            name: format!("node{n:02}"),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            api_address: format!("node{n:02}.example.com:9733"),
            weight: 100,
            zone: "zone-1".to_owned(),
            secrets: vec![Secret::new("secret")],
            peers,
            mdns: None,
            settle: Duration::from_millis(500),
            wait_for_size: 1,
            wait_timeout: Duration::from_secs(60),
        };
        let mut registry = Registry::default();
        let (handle, part) = Fleet::new(settings, &mut registry).await.unwrap();
        tasks::spawn("fleet", part.run(stop.clone()));
        handle.order(Order::Ready).await;
        Self { handle, registry }
    }

    fn counted(&self, name: &str) -> u64 {
        let text = Exposition::Text.encode(&self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }
}

async fn bytes_per_second(members: usize) -> [u64; 2] {
    let stop = Stop::new();
    let mut all: Vec<Running> = Vec::new();
    for n in 0..members {
        let seed = all.first().map(|first| Peer::Address(first.handle.local_address()));
        all.push(Running::start(n, seed.into_iter().collect(), &stop).await);
    }
    for one in &all {
        let mut roster = one.handle.roster();
        let meet = roster.wait_for(|roster| {
            roster.members.len() == members
                && roster.members.values().all(|member| !member.intervals.is_empty())
        });
        timeout(Duration::from_secs(30), meet).await.unwrap().unwrap();
    }
    // News is repeated for a while; calm is what is measured.
    sleep(Duration::from_secs(5)).await;
    let sum = |name| all.iter().map(|one| one.counted(name)).sum::<u64>();
    let names = [
        "starling_cluster_gossip_sent_bytes_total",
        "starling_cluster_gossip_received_bytes_total",
    ];
    let (before, began) = (names.map(sum), Instant::now());
    sleep(MEASURED).await;
    let (after, seconds) = (names.map(sum), began.elapsed().as_secs());
    stop.raise();
    [0, 1].map(|n| (after[n] - before[n]) / seconds / members as u64)
}

fn check(members: usize, bytes_max: u64) {
    let _machine = crate::shared_machine();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [sent, received] = runtime.block_on(bytes_per_second(members));
    println!("{members} members: each sends {sent} and receives {received} bytes a second in calm");
    assert!(sent < bytes_max && received < bytes_max, "more than {bytes_max}");
    assert!(sent > 0 && received > 0);
}

#[test]
fn gossip_of_3() {
    check(3, 5_000);
}

#[test]
fn gossip_of_20() {
    check(20, 5_000);
}
