//! How the agent fares, for the service manager: what is looked at, and what has still to be given to
//! the others when it leaves.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    fleet,
    model::member::{MemberState, Roster},
    outbox,
    ownership::view::View,
    runtime::service::{Facts, Left, QueueFacts},
    scrape::{self, Health},
};

/// Looks in where others do, and keeps nothing.
#[derive(Clone)]
pub(super) struct Fare {
    pub(super) is_cluster: bool,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) status: watch::Receiver<Arc<fleet::Status>>,
    pub(super) ownership: watch::Receiver<Arc<View>>,
    pub(super) scrape: scrape::Handle,
    pub(super) outbox: outbox::Handle,
}

impl Fare {
    pub(super) fn facts(&self) -> Facts {
        let targets = self.scrape.targets();
        let down = targets.iter().filter(|status| status.health == Health::Down).count();
        let notices = Arc::clone(&self.status.borrow());
        Facts {
            loud: notices.notices.iter().map(|raised| raised.notice.to_string()).collect(),
            members: self.is_cluster.then(|| self.members()),
            targets: targets.len(),
            down,
            queue: self.queue(),
        }
    }

    pub(super) fn left(&self) -> Left {
        let view = self.ownership.borrow();
        let (lines, targets) = (view.hand_over.giving, view.hand_over.passing);
        Left { bytes: self.outbox.queues().iter().map(|queue| queue.bytes).sum(), lines, targets }
    }

    fn members(&self) -> usize {
        let roster = self.roster.borrow();
        roster.members.values().filter(|member| member.state == MemberState::Alive).count()
    }

    fn queue(&self) -> Option<QueueFacts> {
        let queues = self.outbox.queues();
        let samples = queues.iter().map(|queue| queue.samples).sum();
        let age_ms = queues.iter().filter_map(|queue| queue.oldest_age_ms).max();
        (!queues.is_empty()).then_some(QueueFacts { samples, age_ms })
    }
}
