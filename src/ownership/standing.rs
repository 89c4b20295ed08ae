//! Between the fleet and ownership: what the fleet shows is acted on, and what this member sees is
//! told to the others. Part of the shell in `mod`.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    config::{self, OnPartition},
    discovery::digest::jobs_digests,
    fleet::{
        self,
        membership::{Description, Order},
        notice::Difference,
        standing::Standing,
    },
    model::member::{MemberState, NodeId},
    ownership::{
        DETECTION_MS, OVERRIDES_WAIT, Ownership,
        differences::{self, Mark},
        letter::Letter,
        scales::Sight,
    },
};

impl Ownership {
    pub(super) fn status_changed(&mut self) {
        let status = Arc::clone(&self.links.status.borrow_and_update());
        let has_overrides = self.has_overrides(&status);
        match status.standing {
            Standing::Seeking | Standing::Refused | Standing::Gone => {}
            Standing::Waiting
            | Standing::Active { .. }
            | Standing::Holding
            | Standing::Leaving { .. } => {
                if has_overrides {
                    self.meet(status.standing);
                }
            }
        }
        self.roster_changed();
        // Behind the duties: who goes on goes on with those.
        self.look_at_hold();
        if has_overrides {
            self.grant(&status);
        }
    }

    /// Whether the overrides are here that others show, or were waited for in vain: without them,
    /// this member would take for its own what is another's.
    fn has_overrides(&mut self, status: &fleet::Status) -> bool {
        let now_ms = self.now_ms();
        let roster = self.links.roster.borrow();
        let at = Sight { now_ms, roster: &roster, facts: &status.facts };
        if !self.scales.is_behind(at) {
            self.behind_since = None;
            return true;
        }
        self.scales.tick(at);
        self.behind_since.get_or_insert_with(Instant::now).elapsed() >= OVERRIDES_WAIT
    }

    /// The roster that belongs to the status is acted on, as far as orders go.
    fn grant(&mut self, status: &fleet::Status) {
        match status.standing {
            Standing::Active { .. } | Standing::Leaving { .. } => {}
            Standing::Seeking
            | Standing::Waiting
            | Standing::Holding
            | Standing::Refused
            | Standing::Gone => return,
        }
        if self.granted != status.generation {
            self.granted = status.generation;
            self.division.grant(status.generation);
        }
    }

    /// From now on it is known what is whose.
    fn meet(&mut self, standing: Standing) {
        if self.is_met {
            return;
        }
        self.is_met = true;
        self.exchange.look_for_leftovers();
        self.roster_changed();
        let now_ms = self.now_ms();
        // A share that has begun already was kept through a restart.
        if let Standing::Active { from_ms } = standing
            && from_ms < now_ms
            && self.links.fleet.is_some()
        {
            self.division.resumed(now_ms - DETECTION_MS, now_ms);
        }
    }

    pub(super) fn roster_changed(&mut self) {
        let roster = Arc::clone(&self.links.roster.borrow_and_update());
        if !self.is_met {
            return;
        }
        let now_ms = self.now_ms();
        let before = self.base.clone();
        self.base.observe(&roster, now_ms);
        if self.base != before
            && let Err(error) = self.base_file.save(&self.base)
        {
            warn!(%error, "the members that a majority is counted over can't be kept on disk");
        }
        let overrides = self.scales.overrides().clone();
        self.division.placed(roster, overrides, now_ms);
        self.look_at_hold();
    }

    pub(super) async fn config_changed(&mut self) {
        let state = Arc::clone(&self.links.config.borrow_and_update());
        let config_digest = config::digest(&state.config);
        if self.config_digest != config_digest {
            self.config_digest = config_digest;
            self.describe().await;
        }
    }

    /// Tells the others what this member sees.
    pub(super) async fn describe(&mut self) {
        let Some(fleet) = &self.links.fleet else { return };
        let found = jobs_digests(&self.links.found.borrow());
        let (loads, overrides) = self.scales.tags();
        let targets = found.into_iter().collect();
        let config_digest = self.config_digest;
        let description = Description { config_digest, targets, loads, overrides };
        if self.described.as_ref() != Some(&description) {
            fleet.order(Order::Describe(description.clone())).await;
            self.described = Some(description);
        }
    }

    /// Whether all active members have the configuration of this one.
    pub(super) fn is_agreed(&self, now_ms: i64) -> bool {
        let (roster, status) = (self.links.roster.borrow(), self.links.status.borrow());
        let mut others = roster
            .active_at(now_ms)
            .filter(|member| member.id != self.settings.me && member.state == MemberState::Alive);
        others.all(|member| {
            let facts = status.facts.get(&member.id);
            facts.is_some_and(|facts| facts.config_digest == self.config_digest)
        })
    }

    pub(super) fn look_at_hold(&mut self) {
        let is_holding = self.links.status.borrow().standing == Standing::Holding;
        let is_minority = match self.settings.on_partition {
            OnPartition::ScrapeAll => false,
            OnPartition::MinorityStops => !self.base.holds(&self.links.roster.borrow()),
        };
        self.on_hold = is_holding || is_minority && self.is_met;
        if self.division.hold(self.on_hold) {
            self.exchange.hold(self.on_hold);
            info!(on_hold = self.on_hold, is_minority, "scraping and sending is held or goes on");
        }
    }

    /// Asks those whose targets have differed for a while.
    pub(super) fn ask_what_differs(&mut self, now_ms: i64) {
        let due = self.differences.take_due(&self.links.status.borrow().notices, now_ms);
        for (member, job) in due {
            let targets = differences::marks(&self.links.found.borrow(), &job);
            self.send(member, Letter::AskDifference { job, targets });
        }
    }

    pub(super) fn asked_what_differs(&mut self, from: NodeId, job: Arc<str>, targets: &[Mark]) {
        let first = differences::answer(&self.links.found.borrow(), &job, targets);
        self.send(from, Letter::Difference { job, first });
    }

    pub(super) fn heard_what_differs(
        &mut self,
        from: NodeId,
        job: &Arc<str>,
        first: Option<differences::Answer>,
    ) {
        let found = self.links.found.borrow().clone();
        let first = first.and_then(|first| differences::difference(&found, job, first));
        if let Some(Difference { job, url, found }) = &first {
            info!(member_id = %from, job = &**job, url, ?found, "a target that is not found alike");
        }
        self.news.push(Order::Differs(from, first));
    }

    pub(super) async fn tell_fleet(&mut self) {
        let Some(fleet) = &self.links.fleet else {
            // Nobody is there to differ.
            self.news.clear();
            return;
        };
        for news in self.news.drain(..) {
            fleet.order(news).await;
        }
        let minority = match self.settings.on_partition {
            OnPartition::ScrapeAll => None,
            OnPartition::MinorityStops => self.base.minority(&self.links.roster.borrow()),
        };
        if minority != self.minority {
            self.minority = minority;
            fleet.order(Order::Quorum(minority)).await;
        }
    }
}
