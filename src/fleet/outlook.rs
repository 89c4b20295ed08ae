//! What a node shows of the fleet: the roster, the facts about each peer, and what someone should
//! look at. Part of the state machine `membership`.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    fleet::{
        clock::Now,
        drift,
        membership::Membership,
        message::{LoadsTag, OverridesTag, Phase, Record},
        notice::Notice,
        records::RECORDS_MAX,
        seal::Rejected,
        seek::Candidate,
        standing::Standing,
    },
    model::member::{Member, MemberState, NodeId, Roster},
};

/// How often the book is looked through for what time alone changes.
const CARE_MS: u64 = 1000;
/// Clocks further apart are named …
const SKEW_MS_MAX: i64 = 500;
/// … until they are as near as this, so that one at the border is not named again each second.
const SKEW_MS_CALM: i64 = 400;
/// So long after the last member that found no room, there are too many.
const CROWDED_MS: u64 = 60_000;
/// Digests may differ for so long while a new config is rolled out.
const DRIFT_MS: u64 = 60_000;
/// A stranger that was silent for so long is forgotten.
const STRANGER_MS: u64 = 60_000;
/// Two maps of overrides are one again after so long: the next one is published within a minute.
const CONFLICT_MS: u64 = 60_000;
/// Hosts that start together are not the same second ready.
const GATHERING_MS: u64 = 10_000;
/// Configured peers that were all silent for so long do not answer; a starting node asks so long.
const SILENCE_MS: u64 = 5000;

/// What is known of a member beside what placement needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where its gossip and its peer channel answer.
    pub address: SocketAddr,
    pub generation: u64,
    pub config_digest: u64,
    pub targets_digest: u64,
    pub loads: LoadsTag,
    pub overrides: OverridesTag,
    /// How far its clock is ahead of this node's, where that was measured.
    pub clock_ahead_ms: Option<i64>,
}

#[cfg(test)]
impl Facts {
    /// Of a member that has told nothing but its address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self {
            address,
            generation: 0,
            config_digest: 0,
            targets_digest: 0,
            loads: LoadsTag::default(),
            overrides: crate::fleet::message::OverridesTag::default(),
            clock_ahead_ms: None,
        }
    }
}

impl Membership {
    /// Looks after what time alone changes.
    pub(super) fn care(&mut self, now: Now) {
        let now_ms = self.lived_ms();
        if now_ms < self.last_care_ms + CARE_MS {
            return;
        }
        self.last_care_ms = now_ms;
        self.new_second();
        let alive = &self.alive;
        self.clock.keep_only(|peer| alive.iter().any(|&(id, _)| id == peer));
        self.changed |= self.records.forget_old(self.clock.fleet_ms(now));
        let strangers = &mut self.seek.strangers;
        strangers.retain(|_, (_, heard_ms)| now_ms < *heard_ms + STRANGER_MS);
        self.look_for_drift();
        self.look_around();
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter()
    }

    pub fn fleet_offset_ms(&self) -> i64 {
        self.clock.offset_ms()
    }

    /// Whether the roster may differ from the one last shown.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub fn roster(&self, version: u64) -> Roster {
        let ids = self.records.iter().map(|(id, _)| id);
        let members = ids.filter_map(|id| Some((id, self.member(id)?)));
        Roster { members: members.collect(), version }
    }

    /// One member as the roster shows it.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        let record = self.records.get(id)?;
        (!record.is_forgotten()).then(|| member(id, record, self.suspects.contains(&id)))
    }

    pub fn facts(&self) -> BTreeMap<NodeId, Facts> {
        let facts = |(id, record): (NodeId, &Record)| {
            let about = &record.about;
            let facts = Facts {
                address: about.address,
                generation: record.generation,
                config_digest: about.config_digest,
                targets_digest: about.targets_digest,
                loads: about.loads,
                overrides: about.overrides,
                clock_ahead_ms: self.clock.peer_offset_ms(id),
            };
            (id, facts)
        };
        self.records.iter().map(facts).collect()
    }

    fn look_for_drift(&mut self) {
        let now_ms = self.lived_ms();
        let mut drifts = BTreeMap::new();
        self.notices.retain(|notice| {
            !matches!(notice, Notice::ConfigDrift { .. } | Notice::TargetDrift { .. })
        });
        for &(member, _) in &self.alive {
            let Some(record) = self.records.get(member) else { continue };
            let (mine, theirs) = (&self.about, &record.about);
            let differ = |mine: u64, theirs: u64| mine != 0 && theirs != 0 && mine != theirs;
            let config = differ(mine.config_digest, theirs.config_digest);
            let targets = differ(mine.targets_digest, theirs.targets_digest);
            for (is_config, _) in [(true, config), (false, targets)].iter().filter(|one| one.1) {
                let key = (member, *is_config);
                let since_ms = self.differs_since.get(&key).copied().unwrap_or(now_ms);
                drifts.insert(key, since_ms);
                if now_ms >= since_ms + DRIFT_MS {
                    let name = theirs.name.clone();
                    self.notices.insert(if *is_config {
                        Notice::ConfigDrift { member, name }
                    } else {
                        let jobs = drift::differing(&self.targets, &record.about.jobs);
                        let first = self.differences.get(&member).cloned();
                        Notice::TargetDrift { member, name, jobs, first }
                    });
                }
            }
        }
        self.differences.retain(|member, _| drifts.contains_key(&(*member, false)));
        self.differs_since = drifts;
    }

    /// Says anew all that is a state, and not an event.
    fn look_around(&mut self) {
        let was_skewed = self.notices.iter().any(|one| matches!(one, Notice::ClockSkew { .. }));
        self.notices.retain(|notice| match notice {
            Notice::WrongSecret { .. }
            | Notice::WrongCluster { .. }
            | Notice::LoopbackAdvertise { .. }
            | Notice::ClockSkew { .. }
            | Notice::NoPeerAnswers { .. }
            | Notice::Holding { .. }
            | Notice::TooManyMembers { .. }
            | Notice::QuorumLost(_)
            | Notice::WaitingForSize { .. }
            | Notice::Insecure
            | Notice::OverrideConflict => false,
            Notice::NameClash { .. }
            | Notice::IdClash { .. }
            | Notice::ConfigDrift { .. }
            | Notice::TargetDrift { .. } => true,
        });
        for (&peer, &(why, _)) in &self.seek.strangers {
            self.notices.insert(match why {
                Rejected::OtherCluster { .. } => Notice::WrongCluster { peer },
                _ => Notice::WrongSecret { peer },
            });
        }
        let address = self.about.address;
        let elsewhere = self.seek.candidates.keys().any(|peer| !peer.ip().is_loopback());
        if address.ip().is_loopback() && (elsewhere || self.seek.candidates.is_empty()) {
            self.notices.insert(Notice::LoopbackAdvertise { address });
        }
        let ahead_ms = self.clock.skew_ms();
        if ahead_ms.abs() > if was_skewed { SKEW_MS_CALM } else { SKEW_MS_MAX } {
            self.notices.insert(Notice::ClockSkew { ahead_ms });
        }
        if self.is_unanswered() && self.standing != Standing::Refused {
            let own =
                self.seek.candidates.iter().filter(|candidate| self.is_own(*candidate)).count();
            let configured = self.settings.configured_peers.saturating_sub(own);
            self.notices.insert(Notice::NoPeerAnswers { configured: configured.max(1) });
        }
        if let Some(hold) = &self.hold {
            self.notices.insert(Notice::Holding { why: hold.why });
        }
        if self.crowded_ms.is_some_and(|at_ms| self.lived_ms() < at_ms + CROWDED_MS) {
            self.notices.insert(Notice::TooManyMembers { records_max: RECORDS_MAX });
        }
        self.notices.extend(self.minority.map(Notice::QuorumLost));
        let awaited = self.awaited();
        self.notices.extend(awaited);
        self.notices.extend(self.insecure.clone());
        if self.conflict_ms.is_some_and(|at_ms| self.lived_ms() < at_ms + CONFLICT_MS) {
            self.notices.insert(Notice::OverrideConflict);
        }
    }

    /// The size that the fleet was to have at the start, where it has not had it since.
    fn awaited(&mut self) -> Option<Notice> {
        let (here, size) = (self.alive.len() + 1, self.settings.wait_for_size);
        self.seek.was_whole |= here >= size;
        if self.seek.was_whole || self.lived_ms() < GATHERING_MS {
            return None;
        }
        let seconds_max = match self.standing {
            Standing::Seeking | Standing::Refused | Standing::Gone => return None,
            Standing::Waiting => Some(self.settings.wait_timeout_ms / 1000),
            Standing::Active { .. } | Standing::Holding | Standing::Leaving { .. } => None,
        };
        Some(Notice::WaitingForSize { here, size, seconds_max })
    }

    fn is_unanswered(&self) -> bool {
        let candidates = &self.seek.candidates;
        let is_alone_by_choice = self.settings.configured_peers == 0
            || !candidates.is_empty() && candidates.iter().all(|candidate| self.is_own(candidate));
        let last_ms = self.seek.last_answer_ms.unwrap_or(0);
        !is_alone_by_choice && self.alive.is_empty() && self.lived_ms() >= last_ms + SILENCE_MS
    }

    /// Its own address need not be greeted to be known.
    pub(super) fn is_own(&self, (address, candidate): (&SocketAddr, &Candidate)) -> bool {
        candidate.is_own || *address == self.about.address
    }
}

fn member(id: NodeId, record: &Record, is_suspect: bool) -> Member {
    let state = match (record.phase, record.death()) {
        (Phase::Gone, _) => MemberState::Left,
        (Phase::Here, Some(_)) => MemberState::Dead,
        (Phase::Here, None) if is_suspect => MemberState::Suspect,
        (Phase::Here, None) => MemberState::Alive,
    };
    let about = &record.about;
    Member {
        id,
        name: about.name.clone(),
        api_address: about.api_address.clone(),
        weight: about.weight,
        zone: about.zone.clone(),
        state,
        intervals: record.effective(),
    }
}
