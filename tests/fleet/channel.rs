//! The peer channel beside the gossip that tells it who is where: on the same port number, from the
//! first roster to the restart of a member.

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use starling::{
    fleet::{
        Fleet, FleetSettings, Handle,
        channel::{self, Channel, ChannelSettings, Inbox, Topic},
        membership::Order,
        node_id,
        peers::Peer,
        seal::Secret,
    },
    model::member::NodeId,
    runtime::{stop::Stop, tasks},
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
/// How soon the rules above say again what was not answered.
const AGAIN: Duration = Duration::from_millis(100);

struct Node {
    id: NodeId,
    fleet: Handle,
    channel: channel::Handle,
    inbox: Inbox,
    stop: Stop,
}

impl Node {
    async fn start(id: NodeId, name: &str, peers: Vec<Peer>) -> Self {
        let settings = FleetSettings {
            cluster: "test".to_owned(),
            id,
            name: name.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            api_address: format!("{name}:9733"),
            weight: 100,
            zone: String::new(),
            secrets: vec![Secret::new("secret")],
            peers,
            mdns: None,
            settle: Duration::from_millis(500),
            wait_for_size: 1,
            wait_timeout: Duration::from_secs(60),
        };
        loop {
            let mut registry = Registry::default();
            let (fleet, part) = Fleet::new(settings.clone(), &mut registry).await.unwrap();
            let settings = ChannelSettings {
                cluster: "test".to_owned(),
                me: id,
                listen: fleet.local_address(),
                secrets: vec![Secret::new("secret")],
            };
            // A port that is free for UDP may be somebody's for TCP.
            let bound = Channel::new(settings, fleet.status(), &mut registry).await;
            let Ok((channel, inboxes, speaking)) = bound else { continue };
            let stop = Stop::new();
            tasks::spawn("fleet", part.run(stop.clone()));
            tasks::spawn("channel", speaking.run(stop.clone()));
            fleet.order(Order::Ready).await;
            return Self { id, fleet, channel, inbox: inboxes.letters, stop };
        }
    }

    fn seed(&self) -> Vec<Peer> {
        vec![Peer::Address(self.fleet.local_address())]
    }

    /// Says it again and again until it has arrived.
    async fn reaches(&self, other: &mut Self, text: &'static str) {
        let said = async {
            loop {
                self.channel.send(other.id, Topic::Ownership, Bytes::from_static(text.as_bytes()));
                match timeout(AGAIN, other.inbox.receive()).await {
                    Ok(Some((from, message))) if from == self.id && message == text => return,
                    Ok(_) | Err(_) => {}
                }
            }
        };
        assert!(timeout(PATIENCE, said).await.is_ok(), "`{text}` does not arrive");
    }
}

fn id() -> NodeId {
    NodeId(u128::from_be_bytes(node_id::chance()))
}

#[tokio::test]
async fn members_speak_as_soon_as_they_have_met() {
    let mut a = Node::start(id(), "a", Vec::new()).await;
    let mut b = Node::start(id(), "b", a.seed()).await;
    a.reaches(&mut b, "from a").await;
    b.reaches(&mut a, "from b").await;

    // With the same id on another port, as after a restart elsewhere.
    let b_id = b.id;
    b.stop.raise();
    let mut b = Node::start(b_id, "b", a.seed()).await;
    a.reaches(&mut b, "to the next life").await;
    b.reaches(&mut a, "from the next life").await;
    assert!(!a.channel.send(id(), Topic::Ownership, Bytes::new()), "said to who is no member");
}
