//! Watches what the parts publish, and turns what changes into history and into live events.

mod ring;

use std::sync::Arc;

pub use crate::chronicle::ring::{EventId, Live, Next, Replay, Subscription};
use crate::{chronicle::ring::Ring, history, runtime::stop::Stop};

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
    history: history::Handle,
    ring: Arc<Ring>,
}

impl Chronicle {
    pub fn new(started_ms: i64, history: history::Handle) -> (Handle, Self) {
        let ring = Arc::new(Ring::new(started_ms));
        (Handle { ring: Arc::clone(&ring) }, Self { history, ring })
    }

    pub async fn run(self, stop: Stop) {
        let _ = (&self.history, &self.ring);
        stop.raised().await;
    }
}
