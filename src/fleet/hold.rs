//! What a node does that may have lost its share: one that stood still, or that hears that it was
//! declared dead, does nothing until it knows. Part of the state machine `membership`.

use std::collections::BTreeSet;

use crate::{
    fleet::{
        clock::Now,
        membership::Membership,
        message::{Card, Record},
        notice::HoldReason,
        seek::{GIVE_UP_MS, SYNC_MS},
        standing::Standing,
    },
    model::member::NodeId,
};

/// Of so many peers, or of all where there are fewer, the clock is asked before a share begins.
const CLOCKS: usize = 5;
/// Two deaths this near to each other, each declared by the other side, are one partition.
const MUTUAL_MS: i64 = 60_000;

#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) why: HoldReason,
    before: Standing,
    since_ms: u64,
    /// When last a member was heard that is not in doubt itself, though it may not hear us.
    heard_ms: u64,
    /// When a member, itself not in doubt, first answered.
    welcomed_ms: Option<u64>,
    /// Members that answered, and are in doubt themselves.
    doubtful: BTreeSet<NodeId>,
    pub(super) next_greet_ms: u64,
}

impl Membership {
    /// The process stood still: others may do its work by now.
    pub(super) fn stall(&mut self, now: Now) {
        self.hold(HoldReason::Stalled, now);
    }

    pub(super) fn told_dead(&mut self, now: Now) {
        let is_awake = !matches!(self.standing, Standing::Holding);
        if is_awake && self.swim.is_joined() && self.is_death_mutual() {
            self.come_back(self.standing, true, now);
        } else {
            self.hold(HoldReason::DeclaredDead, now);
        }
    }

    fn hold(&mut self, why: HoldReason, now: Now) {
        match self.standing {
            Standing::Waiting | Standing::Active { .. } | Standing::Leaving { .. } => {}
            Standing::Seeking | Standing::Refused | Standing::Gone => return,
            Standing::Holding => {
                if let Some(hold) = &mut self.hold
                    && why == HoldReason::Stalled
                {
                    hold.why = why;
                    hold.welcomed_ms = None;
                    self.clock.forget();
                }
                return;
            }
        }
        if why == HoldReason::Stalled && self.alive.is_empty() {
            // Nobody was there who could have taken its share.
            return;
        }
        let now_ms = self.lived_ms();
        if why == HoldReason::Stalled {
            self.clock.forget();
        }
        let before = self.standing;
        self.hold = Some(Hold {
            why,
            before,
            since_ms: now_ms,
            heard_ms: now_ms,
            welcomed_ms: None,
            doubtful: BTreeSet::new(),
            next_greet_ms: now_ms,
        });
        self.standing = Standing::Holding;
        self.greet(now);
    }

    /// Two who are both in doubt are no help to each other.
    pub(super) fn hear_of(&mut self, card: &Card) {
        let now_ms = self.lived_ms();
        if let Some(hold) = &mut self.hold
            && card.member
        {
            hold.heard_ms = now_ms;
        }
    }

    /// Somebody has answered this node, who may be in doubt as well.
    pub(super) fn hold_welcomed(&mut self, card: &Card) {
        let now_ms = self.lived_ms();
        if let Some(hold) = &mut self.hold {
            if card.member {
                hold.welcomed_ms.get_or_insert(now_ms);
                hold.doubtful.remove(&card.id.into());
            } else if self.alive.iter().any(|&(id, _)| id == card.id.into()) {
                hold.doubtful.insert(card.id.into());
            }
        }
    }

    /// When a member has answered and the time is known, or when nobody has been heard for long.
    pub(super) fn try_end_hold(&mut self, now: Now) {
        let now_ms = self.lived_ms();
        let Some(hold) = &self.hold else { return };
        // Where all are in doubt, the lowest id is the first to doubt no more.
        let is_first = now_ms >= hold.since_ms + SYNC_MS
            && hold.doubtful.len() >= self.alive.len()
            && hold.doubtful.first().is_some_and(|&lowest| self.settings.id < lowest);
        let is_over = match hold.welcomed_ms {
            Some(welcomed_ms) => self.knows_time() || now_ms >= welcomed_ms + SYNC_MS,
            None => is_first || now_ms >= hold.since_ms.max(hold.heard_ms) + GIVE_UP_MS,
        };
        if is_over && let Some(hold) = self.hold.take() {
            self.clock.set();
            self.end_hold(&hold, now);
        }
    }

    /// An interval that begins by a clock that nobody shares would begin for nobody else.
    pub(super) fn knows_time(&self) -> bool {
        self.clock.measured() >= self.alive.len().min(CLOCKS)
    }

    fn end_hold(&mut self, hold: &Hold, now: Now) {
        if self.is_closed() {
            self.come_back(hold.before, false, now);
        } else {
            self.standing = hold.before;
        }
    }

    fn come_back(&mut self, before: Standing, keeps_share: bool, now: Now) {
        self.standing = before;
        if !keeps_share {
            let fleet_ms = self.clock.fleet_ms(now);
            let death = self.records.get(self.settings.id).and_then(Record::death);
            self.end_interval(death.map_or(fleet_ms, |death| death.until_ms.min(fleet_ms)));
            if let Standing::Active { .. } = before {
                self.open(now);
            }
        }
        self.live_anew(now);
    }

    pub(super) fn is_closed(&self) -> bool {
        let record = self.records.get(self.settings.id);
        self.undead || record.is_some_and(|record| record.death().is_some())
    }

    /// Both sides of a partition gave each other up. One who worked on meanwhile has lost nothing:
    /// what it owned before it owns among all, by the nature of rendezvous hashing. Were both sides
    /// to hold and begin anew, nobody would own anything until then.
    fn is_death_mutual(&self) -> bool {
        let death = self.records.get(self.settings.id).and_then(Record::death);
        let Some(death) = death else { return false };
        let other = self.records.get(death.by.into()).and_then(|record| record.closure);
        other.is_some_and(|other| (other.until_ms - death.until_ms).abs() < MUTUAL_MS)
    }

    /// What others say of this very member.
    pub(super) fn hear_of_self(&mut self, heard: &Record, now: Now) {
        if let Some(death) = heard.closure
            && self.records.close(self.settings.id, death)
        {
            self.changed = true;
        }
        if heard.generation > self.generation {
            // A life of ours under a clock that was ahead, or another process with our id.
            if heard.about.address != self.about.address && !heard.is_closed() {
                self.seek.contest = Some((heard.about.address, self.lived_ms() + SYNC_MS));
            }
            self.generation = heard.generation;
            self.undead = true;
        }
        if self.is_closed() {
            self.told_dead(now);
        }
    }
}
