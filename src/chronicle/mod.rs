//! Watches what the parts publish, and turns what changes into history and into live events.

mod ring;

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

pub use crate::chronicle::ring::{EventId, Live, Next, Replay, Subscription};
use crate::{
    chronicle::ring::Ring,
    discovery::{self, Snapshot},
    fleet, history,
    model::member::{NodeId, Roster},
    outbox,
    ownership::{moves::Move, view::Owners},
    runtime::{clock::FleetTime, config_state::ConfigState, stop::Stop},
    scrape::HealthChange,
};

/// What is watched.
pub struct Links {
    pub me: NodeId,
    /// Of this node, where no roster tells it.
    pub name: String,
    pub time: FleetTime,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub status: watch::Receiver<Arc<fleet::Status>>,
    pub discovery: discovery::Handle,
    pub config: watch::Receiver<Arc<ConfigState>>,
    pub owners: watch::Receiver<Arc<Owners>>,
    pub moves: broadcast::Receiver<Arc<[Move]>>,
    pub health: broadcast::Receiver<Arc<HealthChange>>,
    pub outbox: outbox::Handle,
    pub history: history::Handle,
}

/// Who wants to be told as it happens.
#[derive(Clone)]
pub struct Handle {
    ring: Arc<Ring>,
}

impl Handle {
    /// All events from now on, with those since `after` first where they are still known.
    pub fn subscribe(&self, after: Option<EventId>) -> Subscription {
        self.ring.subscribe(after)
    }
}

pub struct Chronicle {
    links: Links,
    found: watch::Receiver<Arc<Snapshot>>,
    ring: Arc<Ring>,
}

impl Chronicle {
    pub fn new(links: Links) -> (Handle, Self) {
        let ring = Arc::new(Ring::new(links.time.now_ms()));
        let found = links.discovery.targets();
        (Handle { ring: Arc::clone(&ring) }, Self { links, found, ring })
    }

    /// Ends with a last word to those who listen.
    pub async fn run(self, stop: Stop) {
        let _ = (&self.links.me, &self.found);
        stop.raised().await;
        self.ring.close();
    }
}
