//! How a node comes, stays and goes: it joins, takes its share from an instant on, and gives it
//! back. Part of the state machine `membership`; `seek` comes before it, `hold` between.

use std::net::SocketAddr;

use crate::{
    fleet::{
        clock::Now,
        membership::{Membership, swim_id},
        message::{NodeKey, Phase, Record},
        notice::Notice,
        seek::SYNC_MS,
    },
    model::member::INTERVALS_MAX,
};

/// A refusal counts for so long; one that stays out asks again each round.
const REFUSAL_MS: u64 = 2500;
/// On a cold start, late comers may move the common start by so much.
const RAISE_MS_MAX: i64 = 10_000;
/// The start is moved no more when it is as near as this: not all would hear of it in time.
const RAISE_MARGIN_MS: i64 = 500;

/// Where this node stands in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Meets its peers, or waits until the agent is ready. Not a member.
    Seeking,
    /// A member without a share: the fleet has not its size yet.
    Waiting,
    /// Its share is its own from this instant of fleet time on, which may lie ahead.
    Active { from_ms: i64 },
    /// It may have lost its share, and does nothing until a peer has answered.
    Holding,
    /// It may not join; `Notice` says why.
    Refused,
    /// It gives up its share at this instant of fleet time, and stays: it was told to, or its share
    /// is to begin anew with another weight.
    Leaving { until_ms: i64 },
    /// It said goodbye.
    Gone,
}

impl Membership {
    /// What the passing of time alone brings about.
    pub(super) fn move_on(&mut self, now: Now) {
        match self.standing {
            Standing::Seeking | Standing::Refused => self.try_join(now),
            Standing::Waiting => {
                self.try_open(now);
                self.yield_name(now);
            }
            Standing::Active { from_ms } => {
                self.raise(from_ms, now);
                self.yield_name(now);
                self.reweigh(now);
            }
            Standing::Holding => self.try_end_hold(now),
            Standing::Leaving { until_ms } => {
                // Nobody told it to: it comes back with its new weight.
                if self.ready && self.clock.fleet_ms(now) >= until_ms {
                    self.standing = Standing::Waiting;
                }
            }
            Standing::Gone => {}
        }
    }

    /// Has a share, or will have one at an instant that it has named.
    pub fn works(&self) -> bool {
        matches!(self.standing, Standing::Active { .. } | Standing::Leaving { .. })
    }

    pub(super) fn be_ready(&mut self) {
        self.ready = true;
        if let Standing::Leaving { .. } = self.standing {
            self.standing = Standing::Waiting;
        }
    }

    fn try_join(&mut self, now: Now) {
        let now_ms = self.lived_ms();
        let is_met = self.seek.is_done(now_ms, self.settings.seeks_peers, self.knows_time());
        if !self.ready || !is_met || now_ms < self.seek.refused_until_ms {
            return;
        }
        if self.seek.is_shut_out(now_ms) {
            self.seek.refused_until_ms = now_ms + REFUSAL_MS;
            self.standing = Standing::Refused;
            return;
        }
        let earlier = self.records.get(self.settings.id).cloned();
        if let Some(earlier) = &earlier
            && earlier.about.address != self.about.address
            && !earlier.is_closed()
        {
            // It moved, or its disk was copied. The one at the old address, if any, will say.
            let until_ms = self.seek.contest.map_or(now_ms + SYNC_MS, |(_, until_ms)| until_ms);
            self.seek.contest = Some((earlier.about.address, until_ms));
            if now_ms < until_ms {
                return;
            }
        }
        self.seek.contest = None;
        self.intervals = earlier.as_ref().map(intervals_of).unwrap_or_default();
        if let Some(earlier) = &earlier {
            self.about.weight = earlier.about.weight;
        }
        let kept = self.intervals.last().filter(|(_, until)| until.is_none());
        // Still listed as alive after a restart: nothing has moved, and nothing shall.
        self.standing =
            kept.map_or(Standing::Waiting, |&(from_ms, _)| Standing::Active { from_ms });
        self.notices.retain(|n| !matches!(n, Notice::NameClash { .. } | Notice::IdClash { .. }));
        self.live_anew(now);
    }

    /// Becomes a member as a generation that nobody has heard of.
    pub(super) fn live_anew(&mut self, now: Now) {
        let known = self.records.get(self.settings.id);
        let known = known.map_or(0, |record| {
            record.generation.max(record.closure.map_or(0, |closure| closure.generation))
        });
        let clock = u64::try_from(now.wall_ms).unwrap_or(0);
        self.generation = clock.max(known.max(self.generation) + 1);
        self.phase = Phase::Here;
        self.undead = false;
        self.seek.contest = None;
        let members: Vec<_> = self
            .records
            .iter()
            .filter(|&(id, record)| id != self.settings.id && !record.is_closed())
            .map(|(_, record)| swim_id(record))
            .collect();
        let effects = self.swim.join(self.own_swim_id(), members.into_iter());
        self.apply(effects, now);
        self.proclaim();
    }

    fn try_open(&mut self, now: Now) {
        let size = self.alive.len() + 1;
        let is_patient = self.lived_ms() < self.settings.wait_timeout_ms;
        if !self.ready || !self.seek.had_size && size < self.settings.wait_for_size && is_patient {
            return;
        }
        if self.about.weight != self.settings.about.weight {
            let ends_ms = self.intervals.last().and_then(|&(_, until)| until);
            if ends_ms.is_some_and(|until_ms| until_ms > self.clock.fleet_ms(now)) {
                return;
            }
            self.about.weight = self.settings.about.weight;
        }
        self.seek.had_size = true;
        self.open(now);
        self.proclaim();
    }

    /// A weight has no instant of its own from which it counts: others take it up when they hear of
    /// it. So a member that is configured with another one, which takes a restart, first ends the
    /// share that it still has, with the weight that it was given for; the next one begins with the
    /// new weight, when nobody's ticks hang on either.
    fn reweigh(&mut self, now: Now) {
        if self.about.weight != self.settings.about.weight {
            let until_ms = self.clock.fleet_ms(now) + self.settings.settle_ms;
            self.end_interval(until_ms);
            self.standing = Standing::Leaving { until_ms };
            self.proclaim();
        }
    }

    /// A new interval, from the settling time on.
    pub(super) fn open(&mut self, now: Now) {
        let ended = self.intervals.last().and_then(|&(_, until)| until).unwrap_or(i64::MIN);
        let from_ms = (self.clock.fleet_ms(now) + self.settings.settle_ms).max(ended);
        if self.intervals.len() == INTERVALS_MAX {
            self.intervals.remove(0);
        }
        self.intervals.push((from_ms, None));
        self.seek.first_from_ms.get_or_insert(from_ms);
        self.standing = Standing::Active { from_ms };
    }

    /// On a cold start, all begin with the last of them, so that the first does not take everything.
    fn raise(&mut self, from_ms: i64, now: Now) {
        let fleet_ms = self.clock.fleet_ms(now);
        if from_ms <= fleet_ms + RAISE_MARGIN_MS {
            return;
        }
        let mut latest = from_ms;
        for (id, record) in self.records.iter().filter(|(_, record)| !record.is_closed()) {
            let intervals = record.effective();
            if intervals.iter().any(|interval| interval.contains(fleet_ms)) {
                return;
            }
            if id != self.settings.id {
                let pending = intervals.last().filter(|interval| interval.until_ms.is_none());
                latest = latest.max(pending.map_or(latest, |interval| interval.from_ms));
            }
        }
        let latest_max = self.seek.first_from_ms.unwrap_or(from_ms) + RAISE_MS_MAX;
        let raised = latest.min(latest_max);
        if raised > from_ms
            && let Some(last) = self.intervals.last_mut()
        {
            last.0 = raised;
            self.standing = Standing::Active { from_ms: raised };
            self.proclaim();
        }
    }

    /// Of two members of one name the one that started later goes out.
    fn yield_name(&mut self, now: Now) {
        let mine = (self.about.started_ms, NodeKey::from(self.settings.id));
        let elder = self.records.iter().find(|&(id, record)| {
            id != self.settings.id
                && record.about.name == self.about.name
                && !record.is_closed()
                && (record.about.started_ms, record.id) < mine
        });
        if let Some((_, elder)) = elder {
            let (name, holder) = (self.about.name.clone(), elder.about.address);
            self.stay_out(Notice::NameClash { name, holder }, now);
        }
    }

    pub(super) fn give_up_share(&mut self, now: Now) {
        let fleet_ms = self.clock.fleet_ms(now);
        self.ready = false;
        match self.standing {
            Standing::Active { from_ms } => {
                // A share that has not begun yet never does; unless others, ahead by their clocks or
                // behind with the news, would see it begin.
                let settle_ms = self.settings.settle_ms;
                let is_far = from_ms - fleet_ms > settle_ms / 2;
                let until_ms = if is_far { from_ms } else { fleet_ms + settle_ms };
                self.end_interval(until_ms);
                self.standing = Standing::Leaving { until_ms };
                self.proclaim();
            }
            Standing::Holding => {
                // Whether its share was given away or not, it does not come back for it.
                self.hold = None;
                self.end_interval(fleet_ms);
                self.standing = Standing::Leaving { until_ms: fleet_ms };
                if self.is_closed() { self.live_anew(now) } else { self.proclaim() }
            }
            Standing::Waiting => self.standing = Standing::Leaving { until_ms: fleet_ms },
            Standing::Seeking | Standing::Refused | Standing::Leaving { .. } | Standing::Gone => {}
        }
    }

    pub(super) fn depart(&mut self, now: Now) {
        self.withdraw(now);
        self.standing = Standing::Gone;
    }

    /// Stays out while somebody else has its name or its id, and asks again.
    pub(super) fn stay_out(&mut self, notice: Notice, now: Now) {
        if matches!(self.standing, Standing::Gone | Standing::Leaving { .. }) {
            return;
        }
        self.withdraw(now);
        self.seek.refused_until_ms = self.lived_ms() + REFUSAL_MS;
        self.standing = Standing::Refused;
        self.notices.retain(|n| !matches!(n, Notice::NameClash { .. } | Notice::IdClash { .. }));
        self.notices.insert(notice);
    }

    fn withdraw(&mut self, now: Now) {
        self.hold = None;
        if !self.swim.is_joined() {
            return;
        }
        self.end_interval(self.clock.fleet_ms(now));
        self.phase = Phase::Gone;
        self.proclaim();
        let effects = self.swim.leave();
        self.apply(effects, now);
    }

    /// Ends the last interval where it is open, or where it would end later.
    pub(super) fn end_interval(&mut self, until_ms: i64) {
        if let Some((from_ms, until)) = self.intervals.last_mut()
            && until.is_none_or(|until| until > until_ms)
        {
            *until = Some(until_ms);
            if *from_ms >= until_ms {
                self.intervals.pop();
            }
        }
    }

    pub(super) fn advertise(&mut self, address: SocketAddr, now: Now) {
        if address == self.about.address {
            return;
        }
        self.about.address = address;
        if self.swim.is_joined() {
            self.live_anew(now);
        }
    }
}

/// Those that a death has not taken, as the member itself would say them.
fn intervals_of(record: &Record) -> Vec<(i64, Option<i64>)> {
    record.effective().iter().map(|interval| (interval.from_ms, interval.until_ms)).collect()
}
