//! How a node looks for its peers: whom it greets, who answered, and who may not join. Part of the
//! state machine `membership`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use rand::RngExt;

use crate::{
    fleet::{
        clock::Now,
        membership::Membership,
        message::{Card, Message, NodeKey, Record, Refusal},
        notice::Notice,
        seal::Rejected,
        standing::Standing,
    },
    model::member::NodeId,
};

/// A newcomer, or one who holds, that has heard of nobody for so long goes on alone.
pub(super) const GIVE_UP_MS: u64 = 5000;
/// From the first answer on, so long a newcomer waits for the whole of what its peers know.
pub(super) const SYNC_MS: u64 = 1000;
/// At first a newcomer greets that often, and always one who holds …
const GREET_EARLY_MS: u64 = 250;
const EARLY_MS: u64 = 3000;
/// … and later that often, as a member does to those who ought to be.
const GREET_MS: u64 = 1000;
/// Addresses greeted in one round.
const GREETED_MAX: usize = 8;
/// A dead member is greeted for so long: partitions heal by this.
const GREET_THE_DEAD_MS: i64 = 24 * 3600 * 1000;
/// A stranger that works keeps a newcomer out for so long after it was heard.
const SHUT_OUT_MS: u64 = 15_000;
/// Strangers remembered, for the sentence about them.
const STRANGERS_MAX: usize = 64;
/// Strangers answered in a second, each once: two that answer each other do not get louder by it, and
/// of several that greet in step each learns why it stays outside.
const HINTS_PER_SECOND_MAX: usize = 16;

/// The search for peers.
#[derive(Default)]
pub(super) struct Seek {
    pub(super) candidates: BTreeMap<SocketAddr, Candidate>,
    /// When the first peer answered, and the first member.
    met_ms: Option<u64>,
    members: Vec<NodeKey>,
    synced: bool,
    next_greet_ms: u64,
    pub(super) last_answer_ms: Option<u64>,
    pub(super) refused_until_ms: u64,
    /// Where another process with our id may be, to be asked before joining.
    pub(super) contest: Option<(SocketAddr, u64)>,
    pub(super) strangers: BTreeMap<SocketAddr, (Rejected, u64)>,
    /// Strangers that were answered in this second.
    pub(super) hinted: BTreeSet<SocketAddr>,
    /// The fleet had its size once, or was given up on.
    pub(super) had_size: bool,
    /// It had its size indeed.
    pub(super) was_whole: bool,
    pub(super) first_from_ms: Option<i64>,
}

#[derive(Default)]
pub(super) struct Candidate {
    pub(super) is_own: bool,
    answered_by: Option<NodeKey>,
}

impl Seek {
    pub(super) fn replace(&mut self, found: BTreeSet<SocketAddr>) {
        let mut known = std::mem::take(&mut self.candidates);
        let keep = |address| (address, known.remove(&address).unwrap_or_default());
        self.candidates = found.into_iter().map(keep).collect();
    }

    pub(super) fn note_own(&mut self, address: SocketAddr) {
        if let Some(candidate) = self.candidates.get_mut(&address) {
            candidate.is_own = true;
        }
    }

    /// True where the stranger is to be answered.
    pub(super) fn note_stranger(&mut self, from: SocketAddr, why: Rejected, now_ms: u64) -> bool {
        let is_known = self.strangers.contains_key(&from) || self.strangers.len() < STRANGERS_MAX;
        if self.candidates.contains_key(&from) && is_known {
            self.strangers.insert(from, (why, now_ms));
        }
        self.hinted.len() < HINTS_PER_SECOND_MAX && self.hinted.insert(from)
    }

    pub(super) fn answered(&mut self, from: SocketAddr, by: NodeKey, now_ms: u64) {
        self.last_answer_ms = Some(now_ms);
        self.strangers.remove(&from);
        if let Some(candidate) = self.candidates.get_mut(&from) {
            candidate.answered_by = Some(by);
        }
    }

    pub(super) fn welcomed(&mut self, card: &Card, now_ms: u64) {
        self.met_ms.get_or_insert(now_ms);
        if card.member && !self.members.contains(&card.id) && self.members.len() < GREETED_MAX {
            self.members.push(card.id);
        }
    }

    /// Two seekers that know as little as each other have not met the fleet.
    pub(super) fn compared(&mut self, same: bool, by: NodeKey) {
        self.synced |= same && self.members.contains(&by);
    }

    /// The fleet is there, works, and takes this node for a stranger: nobody has answered who has its
    /// secret, and somebody at a peer's address has another one, or another cluster. To go to work
    /// beside it would be to do its work twice. Strangers that do no work keep nobody out: two of
    /// them would keep each other so.
    pub(super) fn is_shut_out(&self, now_ms: u64) -> bool {
        let works = |(why, heard_ms): &(Rejected, u64)| {
            let (Rejected::UnknownKey { works } | Rejected::OtherCluster { works }) = why else {
                return false;
            };
            *works && now_ms < heard_ms + SHUT_OUT_MS
        };
        self.last_answer_ms.is_none() && self.strangers.values().any(works)
    }

    pub(super) fn is_done(&self, now_ms: u64, seeks_peers: bool, knows_time: bool) -> bool {
        self.synced && knows_time
            || match self.met_ms {
                Some(met_ms) => now_ms >= met_ms + SYNC_MS,
                None => !seeks_peers || now_ms >= GIVE_UP_MS,
            }
    }
}

impl Membership {
    /// Greets whoever ought to be a member and is not.
    pub(super) fn greet(&mut self, now: Now) {
        let now_ms = self.lived_ms();
        let next_ms = self.hold.as_ref().map_or(self.seek.next_greet_ms, |h| h.next_greet_ms);
        if now_ms < next_ms || self.standing == Standing::Gone {
            return;
        }
        let is_outside = !self.swim.is_joined() || self.hold.is_some();
        let is_early = now_ms < EARLY_MS || self.hold.is_some();
        let pause_ms = if is_outside && is_early { GREET_EARLY_MS } else { GREET_MS };
        self.seek.next_greet_ms = now_ms + pause_ms;
        if let Some(hold) = &mut self.hold {
            hold.next_greet_ms = now_ms + pause_ms;
        }

        let dead = self.dead_to_greet(self.clock.fleet_ms(now));
        let mut greeted = self.candidates_to_greet();
        greeted.extend(dead.keys());
        for n in 0..greeted.len().min(GREETED_MAX) {
            let other = self.rng.random_range(n..greeted.len());
            greeted.swap(n, other);
        }
        greeted.truncate(GREETED_MAX);
        if is_outside {
            greeted.extend(self.some_alive(GREETED_MAX).iter().map(|&(_, address)| address));
        }
        greeted.extend(self.seek.contest.map(|(address, _)| address));
        greeted.sort_unstable();
        greeted.dedup();
        for address in greeted {
            self.send(address, Message::Hello { card: self.card(), challenge: false });
            // Where it lives after all, it shall know what is said of it.
            for message in self.records.told(dead.get(&address).copied()) {
                self.send(address, message);
            }
        }
    }

    /// To a member, those who are members already need no greeting.
    fn candidates_to_greet(&self) -> Vec<SocketAddr> {
        let alive: BTreeMap<NodeId, SocketAddr> = self.alive.iter().copied().collect();
        let addresses: BTreeSet<SocketAddr> = alive.values().copied().collect();
        let is_open = |(address, candidate): &(&SocketAddr, &Candidate)| {
            let is_met = candidate.answered_by.is_some_and(|by| alive.contains_key(&by.into()))
                || addresses.contains(*address);
            !(self.is_own((address, candidate)) || is_met && self.swim.is_joined())
        };
        self.seek.candidates.iter().filter(is_open).map(|(&address, _)| address).collect()
    }

    fn dead_to_greet(&self, fleet_ms: i64) -> BTreeMap<SocketAddr, NodeId> {
        let may_live = |&(id, record): &(NodeId, &Record)| {
            id != self.settings.id
                && record.death().is_some_and(|death| {
                    let age_ms = fleet_ms.saturating_sub(death.until_ms);
                    !death.forgotten && age_ms < GREET_THE_DEAD_MS
                })
        };
        let dead = self.records.iter().filter(may_live);
        dead.map(|(id, record)| (record.about.address, id)).collect()
    }

    /// Why the one with this card may not be a member beside those who are.
    pub(super) fn refusal_of(&mut self, card: &Card, now: Now) -> Option<Refusal> {
        let age = |started_ms: i64, id: NodeKey, at: SocketAddr| (started_ms, id, at);
        let theirs = age(card.started_ms, card.id, card.address);
        let own_id = NodeKey::from(self.settings.id);
        let mine = age(self.about.started_ms, own_id, self.about.address);
        if card.id == own_id {
            if mine < theirs && self.standing != Standing::Gone {
                return Some(Refusal::Id(self.about.address));
            }
            self.stay_out(Notice::IdClash { holder: card.address }, now);
            return None;
        }
        if card.name == self.about.name
            && !matches!(self.standing, Standing::Gone | Standing::Refused)
            && mine < theirs
        {
            return Some(Refusal::Name(self.about.address));
        }
        let holder = self.records.iter().find(|&(id, record)| {
            let about = &record.about;
            id != self.settings.id
                && id != NodeId::from(card.id)
                && about.name == card.name
                && !record.is_closed()
                && (!card.member || age(about.started_ms, record.id, about.address) < theirs)
        });
        holder.map(|(_, record)| Refusal::Name(record.about.address))
    }
}
